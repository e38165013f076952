"""Predictions: what they refuse, with the row named, and that a CSV file keeps every digit."""

import numpy as np
import pandas as pd
import pytest

from medimg.errors import MetricsError
from medimg.metrics import Predictions

IDS = ["a", "b", "c", "d"]
TRUE = [0, 1, 1, 0]
SCORE = [0.1, 0.9, 0.4, 0.3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((IDS, TRUE, [0.1, 0.9, 0.4]), "y_score has 3 rows and ids has 4, so row 3"),
        ((IDS, TRUE[:2], SCORE), "y_true has 2 rows and ids has 4, so row 2"),
        ((IDS, TRUE, [0.1, np.nan, 0.4, np.nan]), r"row 1 \(image 'b'\): y_score is nan, missing"),
        ((IDS, TRUE, [0.1, 0.9, -0.01, 7]), r"row 2 \(image 'c'\): y_score is -0.01, outside"),
        ((IDS, TRUE, [0.1, 0.9, 0.4, np.inf]), r"row 3 \(image 'd'\): y_score is inf"),
        ((IDS, [0, 1, 2, 0], SCORE), r"row 2 \(image 'c'\): y_true is .*2.*from 0 to 1"),
        ((IDS, [0, 0.5, 1, 0], SCORE), r"row 1 \(image 'b'\): y_true is .*0.5"),
        ((IDS, [0, 1, 1, np.nan], SCORE), r"row 3 \(image 'd'\): y_true is .*nan"),
        ((IDS, ["0", "1", "x", "0"], SCORE), r"row 2 \(image 'c'\): y_true is .*x"),
        ((["a", "b", "a", "d"], TRUE, SCORE), r"row 2 \(image 'a'\) was already given"),
        (([], [], []), "no predictions at all"),
        ((IDS, TRUE, np.ones((4, 2)) / 2), r"shape \(4, 2\); expected \(N,\)"),
        ((IDS, TRUE, ["a", "b", "c", "d"]), "not a table of numbers"),
        ((IDS, [[0], [1], [1], [0]], SCORE), r"y_true has the shape \(4, 1\)"),
        ((IDS, TRUE, SCORE, ["p"]), "patient_ids has 1 rows"),
        *(((IDS, TRUE, SCORE, ["p", blank, "q", ""]), r"row 1 \(image 'b'\): its patient_id is")
          for blank in ("", "  ", None, np.nan, pd.NA, pd.NaT, np.str_("nan"))),
        ((IDS, TRUE, SCORE, None, ("a", "b", "c")), "3 class names for scores of 2 classes"),
        ((IDS, TRUE, [[0.2, 0.3, 0.5], [0.5, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]),
         r"row 1 \(image 'b'\).*does not sum to 1"),
    ],
)  # fmt: skip
def test_bad_input_names_the_first_offending_row(arguments, words):
    with pytest.raises(MetricsError, match=words):
        Predictions(*arguments)


def test_calls_subsets_and_one_against_rest():
    p = Predictions(IDS, TRUE, SCORE, ["p", "p", "q", "r"], ("normal", "pneumonia"))
    assert p.predicted(0.4).tolist() == [0, 1, 1, 0]  # at the threshold is positive
    assert p.positive == "pneumonia"
    assert p.n_patients == 3
    assert p.subset([True, False, False, True]).ids.tolist() == ["a", "d"]
    assert p.one_vs_rest(1) is p
    many = Predictions("ab", [0, 2], [[0.5, 0.25, 0.25], [0, 0.125, 0.875]])
    assert many.predicted().tolist() == [0, 2]
    rest = many.one_vs_rest(2)
    assert rest.y_true.tolist() == [0, 1]
    assert rest.y_score.tolist() == [0.25, 0.875]
    assert rest.classes == ("not class 2", "class 2")

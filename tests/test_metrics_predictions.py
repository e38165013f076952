"""Predictions: what they refuse, with the row named."""

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
        ((IDS, TRUE, [0.1, 0.9, 0.4]), "y_score has 3 rows for 4 images"),
        ((IDS, TRUE[:2], SCORE), "y_true has 2 rows for 4 images"),
        ((IDS, TRUE, [0.1, np.nan, 0.4, np.nan]), r"row 1 \(image 'b'\): y_score is nan; expected"),
        ((IDS, TRUE, [0.1, 0.9, -0.01, 7]), r"row 2 \(image 'c'\): y_score is -0.01; expected"),
        ((IDS, TRUE, [0.1, 0.9, 0.4, np.inf]), r"row 3 \(image 'd'\): y_score is inf"),
        ((IDS, [0, 1, 2, 0], SCORE), r"row 2 \(image 'c'\): y_true is .*2.*from 0 to 1"),
        ((IDS, [0, 0.5, 1, 0], SCORE), r"row 1 \(image 'b'\): y_true is .*0.5"),
        ((IDS, [0, 1, 1, np.nan], SCORE), r"row 3 \(image 'd'\): y_true is .*nan"),
        ((IDS, ["0", "1", "x", "0"], SCORE), r"row 2 \(image 'c'\): y_true is .*x"),
        ((["a", "b", "a", "d"], TRUE, SCORE), r"row 2 \(image 'a'\) was already given"),
        ((IDS, TRUE, 0.5), r"y_score \(\); expected"),
        (([], [], []), "with at least one image"),
        ((IDS, TRUE, np.ones((4, 2)) / 2), r"y_score \(4, 2\); expected \(N,\)"),
        ((IDS, TRUE, ["a", "b", "c", "d"]), "not a table of numbers"),
        ((IDS, [[0], [1], [1], [0]], SCORE), r"y_true has the shape \(4, 1\)"),
        ((IDS, TRUE, SCORE, ["p"]), "patient_id has 1 rows"),
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


FILMS = Predictions(
    list("abcdef"), [0, 1, 0, 0, 1, 1], [0.2, 0.9, 0.4, 0.1, 0.6, 0.5], list("ppqrss"),
    ("normal", "ill"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("how", "scores"), [("mean", [0.55, 0.4, 0.1, 0.55]), ("max", [0.9, 0.4, 0.1, 0.6])]
)
def test_one_prediction_per_patient_by_hand(how, scores):
    """A patient is positive when one of the films is."""
    found = FILMS.aggregate(how=how)
    assert found.y_score.tolist() == pytest.approx(scores)
    assert found.y_true.tolist() == [1, 0, 0, 1]
    assert found.ids.tolist() == found.patient_ids.tolist() == list("pqrs")
    assert found.classes == FILMS.classes


def test_one_prediction_per_study_keeps_the_patients():
    found = FILMS.aggregate(["s1", "s2", "s3", "s4", "s5", "s5"])
    assert found.ids.tolist() == ["s1", "s2", "s3", "s4", "s5"]
    assert found.patient_ids.tolist() == list("ppqrs")
    assert (found.n_patients, len(found)) == (4, 5)


def test_many_classes_are_averaged_and_sum_to_1():
    scores = [[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]
    p = Predictions("abc", [2, 2, 1], scores, "ppq")
    np.testing.assert_allclose(p.aggregate().y_score, [[0.4, 0.25, 0.35], scores[2]])
    largest = np.array([0.6, 0.3, 0.6])
    np.testing.assert_allclose(p.aggregate(how="max").y_score[0], largest / largest.sum())
    assert p.aggregate().y_true.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: FILMS.aggregate(how="median"), "how 'median'; expected"),
        (lambda: FILMS.aggregate("study"), "by is 'study'"),
        (lambda: Predictions("ab", [0, 1], [0.1, 0.2]).aggregate(), "if the patients are known"),
        (lambda: FILMS.aggregate(list("xxxyyy")), r"row 2 \(image 'c'\) .*more than one patient"),
        (lambda: FILMS.aggregate(["x"]), "unit has 1 rows for 6 images"),
        (lambda: FILMS.aggregate(["x", "", "y", "y", "z", "z"]), r"row 1 .*its unit is missing"),
        (lambda: Predictions("ab", [0, 2], np.eye(3)[[0, 2]], "pp").aggregate(),
         r"\(image 'a'\) .*more than one class"),
    ],
)  # fmt: skip
def test_units_that_do_not_fit_are_refused(call, words):
    with pytest.raises(MetricsError, match=words):
        call()


def test_grades_are_cut_by_their_summed_probabilities():
    names = ("none", "mild", "moderate", "severe")
    p = Predictions("abc", [0, 2, 3], [[0.4, 0.3, 0.2, 0.1], [0, 0.4, 0.3, 0.3], [0, 0, 0, 1]],
                    "ppq", names)  # fmt: skip
    found = p.at_least("moderate")
    assert found.y_true.tolist() == [0, 1, 1]
    assert found.y_score.tolist() == pytest.approx([0.3, 0.6, 1])
    assert found.classes == ("below moderate", "moderate or worse")
    np.testing.assert_array_equal(p.at_least(2).y_score, found.y_score)
    assert found.patient_ids.tolist() == list("ppq")
    for bad in (0, 4, "none", "grave", 1.5):
        with pytest.raises(MetricsError, match="cannot divide the classes none, mild"):
            p.at_least(bad)


def test_whether_patients_are_known_is_said():
    assert FILMS.patients_known
    assert FILMS.count_text == "6 images of 4 patients"
    alone = Predictions(FILMS.ids, FILMS.y_true, FILMS.y_score)
    assert not alone.patients_known
    assert alone.count_text == "6 images (patients not known: each image counts as one patient)"
    assert repr(alone) == f"Predictions({alone.count_text}; negative 3, positive 3)"

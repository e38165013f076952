"""Thresholds: by hand, each rule, and that the result says where it comes from."""

import math

import numpy as np
import pytest

from medimg.errors import MetricsError
from medimg.metrics import Predictions, choose_threshold, evaluate
from medimg.metrics.roc import as_threshold

# score:        .1 .2 .3 .4 .5 .6 .7 .8 .9
TRUE = np.array([0, 0, 1, 0, 0, 1, 0, 1, 1])
VAL = Predictions([str(i) for i in range(9)], TRUE, np.arange(1, 10) / 10)


@pytest.mark.parametrize(
    ("settings", "value", "sensitivity", "specificity"),
    [
        ({}, 0.6, 3 / 4, 4 / 5),
        ({"rule": "sensitivity", "floor": 0.8}, 0.3, 1, 2 / 5),
        ({"rule": "sensitivity", "floor": 0.75}, 0.6, 3 / 4, 4 / 5),
        ({"rule": "specificity", "floor": 0.9}, 0.8, 1 / 2, 1),
        ({"rule": "specificity", "floor": 0.3}, 0.3, 1, 2 / 5),
        ({"rule": "cost", "cost_ratio": 1.0}, 0.6, 3 / 4, 4 / 5),
        ({"rule": "cost", "cost_ratio": 10.0}, 0.3, 1, 2 / 5),
    ],
)
def test_each_rule_by_hand(settings, value, sensitivity, specificity):
    found = choose_threshold(VAL, **settings)
    assert found.value == pytest.approx(value)
    assert found.sensitivity == pytest.approx(sensitivity)
    assert found.specificity == pytest.approx(specificity)
    assert found.chosen_on == "validation (9 images, 4 positive)"
    tested = evaluate(VAL, threshold=found)
    assert tested["sensitivity"].value == pytest.approx(sensitivity)
    assert tested["specificity"].value == pytest.approx(specificity)


def test_where_a_miss_costs_next_to_nothing_no_one_is_called():
    assert choose_threshold(VAL, rule="cost", cost_ratio=1e-3).value == 0.8
    upside_down = VAL.with_scores(1 - VAL.y_score)
    found = choose_threshold(upside_down, rule="cost", cost_ratio=0.1)
    assert found.value == math.inf
    assert evaluate(VAL, threshold=found)["sensitivity"].value == 0


def test_the_result_says_when_images_are_tested_again():
    found = choose_threshold(VAL)
    words = "9 of these images were also used to choose the threshold"
    assert any(words in w for w in evaluate(VAL, threshold=found).warnings)
    others = Predictions([f"t{i}" for i in range(9)], TRUE, VAL.y_score)
    assert not any("choose" in w for w in evaluate(others, threshold=found).warnings)
    assert "chosen on validation" in repr(evaluate(others, threshold=found))


def test_constant_scores_call_everyone():
    flat = VAL.with_scores(np.full(9, 0.4))
    found = choose_threshold(flat, rule="sensitivity", floor=0.9)
    assert (found.value, found.sensitivity, found.specificity) == (0.4, 1, 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rule": "best"}, "rule is 'best'; expected one of youden"),
        ({"floor": -0.1}, "floor is -0.1"),
        ({"floor": 1.1}, "floor is 1.1"),
        ({"cost_ratio": 0}, "cost_ratio is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(MetricsError, match=words):
        choose_threshold(VAL, **settings)


def test_one_class_only_and_a_floor_that_calls_no_one_are_refused():
    with pytest.raises(MetricsError, match="no negative image in the validation set"):
        choose_threshold(VAL.subset(TRUE == 1))
    upside_down = VAL.with_scores(1 - VAL.y_score)
    with pytest.raises(MetricsError, match="would call every image negative; lower the floor"):
        choose_threshold(upside_down, rule="specificity", floor=0.9)


def test_a_plain_number_says_that_it_was_given_by_hand():
    assert str(as_threshold(0.25)) == "0.25 (given by hand)"


def test_what_is_printed_of_a_threshold_is_what_is_used(rng):
    """A number that is rounded up would miss the very image that it was chosen for."""
    steep = [0.1, 0.2, 0.3, 0.4, 0.5, 0.99997, 0.99998, 0.99998, 0.99999, 0.999995]
    for scores in (steep, rng.random(10), rng.random(10) * 1e-5, rng.random(10).astype("f4")):
        p = Predictions(range(10), [0] * 5 + [1] * 5, np.sort(scores))
        cut = choose_threshold(p, rule="sensitivity", floor=1.0)
        printed = float(str(cut).split()[0])
        assert printed == cut.value
        assert (p.y_score >= printed).tolist() == [False] * 5 + [True] * 5
    assert str(choose_threshold(p.with_scores(steep))).startswith("0.99 (")

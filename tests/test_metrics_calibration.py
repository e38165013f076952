"""Calibration and decision curves: by hand, and against scikit-learn, statsmodels and dcurves."""

import math

import numpy as np
import pandas as pd
import pytest
from dcurves import dca
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from medimg.errors import MetricsError
from medimg.metrics import (
    Predictions,
    brier,
    calibration_line,
    decision_curve,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
)


def made(true, score, patients=None, weights=None):
    return Predictions([str(i) for i in range(len(true))], true, score, patients, (), weights)


def overconfident(rng, n=2000, factor=2.0):
    """Logits that are right, then sharpened by a factor."""
    logit = rng.normal(size=n) * 1.5
    true = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return made(true, 1 / (1 + np.exp(-factor * logit)))


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_are_those_of_scikit_learn(rng, strategy):
    p = overconfident(rng, n=333)
    ours = reliability(p, bins=7, strategy=strategy)
    observed, score = calibration_curve(p.y_true, p.y_score, n_bins=7, strategy=strategy)
    np.testing.assert_allclose(ours["observed"], observed)
    np.testing.assert_allclose(ours["score"], score)
    assert ours["n"].sum() == 333
    assert ((ours["low"] <= ours["observed"]) & (ours["observed"] <= ours["high"])).all()


def test_bins_by_hand():
    p = made([0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.6, 1.0])
    table = reliability(p, bins=2, strategy="uniform")
    assert table["n"].tolist() == [3, 2]
    np.testing.assert_allclose(table["score"], [0.8 / 3, 0.8])
    np.testing.assert_allclose(table["observed"], [1 / 3, 1])
    ece = expected_calibration_error(p, bins=2, strategy="uniform")
    assert ece.value == pytest.approx(abs(0.8 - 1) / 5 + abs(1.6 - 2) / 5)


def test_constant_scores_make_one_bin():
    table = reliability(made([0, 1, 1], [0.4, 0.4, 0.4]))
    assert table[["n", "score"]].to_numpy().tolist() == [[3, pytest.approx(0.4)]]
    assert table["observed"][0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_brier_is_that_of_scikit_learn_and_its_parts_add_up(rng, weighted):
    p = overconfident(rng, n=200)
    if weighted:
        p = made(p.y_true, p.y_score, None, rng.integers(1, 4, 200))
    found = brier(p)
    expected = sk.brier_score_loss(p.y_true, p.y_score, sample_weight=p.weights)
    assert found.score.value == pytest.approx(expected, abs=1e-14)
    total = found.reliability - found.resolution + found.uncertainty + found.within
    assert total == pytest.approx(expected, abs=1e-14)
    assert found.skill == pytest.approx(1 - expected / found.uncertainty)


def test_murphys_parts_by_hand():
    """Two distinct scores, each its own bin: nothing is left within bins."""
    found = brier(made([0, 0, 1, 0, 1, 1], [0.2] * 3 + [0.8] * 3), bins=2, strategy="uniform")
    assert found.reliability == pytest.approx((0.2 - 1 / 3) ** 2)
    assert found.resolution == pytest.approx((1 / 3 - 1 / 2) ** 2)
    assert found.uncertainty == pytest.approx(0.25)
    assert found.within == pytest.approx(0, abs=1e-15)


def test_one_class_has_no_skill_and_no_line():
    p = made([1, 1], [0.9, 0.8])
    assert math.isnan(brier(p).skill)
    assert calibration_line(p).slope.reason == "all images are of one class"


def test_temperature_finds_the_factor_that_was_put_in(rng):
    p = overconfident(rng, n=20_000, factor=2.5)
    found = fit_temperature(p)
    assert found.value == pytest.approx(2.5, abs=0.1)
    mended = found.apply(p)
    assert expected_calibration_error(mended, draws=2).value < 0.02
    assert expected_calibration_error(p, draws=2).value > 0.08
    np.testing.assert_array_equal(np.argsort(mended.y_score), np.argsort(p.y_score))
    assert log_loss(mended) < log_loss(p)
    assert log_loss(p) == pytest.approx(sk.log_loss(p.y_true, p.y_score))
    assert found.chosen_on == "validation (20000 images)"


def test_temperature_of_many_classes_keeps_the_calls(rng):
    true = rng.integers(0, 3, 3000)
    logits = rng.normal(size=(3000, 3))
    logits[np.arange(3000), true] += 1
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    p = made(true, sharp)
    found = fit_temperature(p)
    mended = found.apply(p)
    assert found.value == pytest.approx(3, abs=0.2)
    np.testing.assert_array_equal(mended.predicted(), p.predicted())
    np.testing.assert_allclose(mended.y_score.sum(axis=1), 1)
    assert log_loss(p) == pytest.approx(sk.log_loss(true, sharp), rel=1e-6)
    right = (p.predicted() == true) - p.y_score.max(axis=1)
    one_bin = expected_calibration_error(p, bins=1, draws=2).value
    assert one_bin == pytest.approx(abs(right.mean()))


def test_temperature_needs_two_classes():
    with pytest.raises(MetricsError, match="images of 1 class only"):
        fit_temperature(made([1, 1], [0.9, 0.8]))


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([0.1, 0.3, 0.2, 0.8, 0.7, 0.9], "the scores separate the classes"),
        ([0.1, 0.3, 0.2, 0.45, 0.4, 0.9], "the scores separate the classes"),  # not at one half
        ([0.5, 0.3, 0.2, 0.5, 0.7, 0.9], "smallest at 0.05, the end of what was tried"),
        ([0.9, 0.8, 0.7, 0.1, 0.2, 0.3], "smallest at 20, the end of what was tried"),
    ],
)
def test_a_temperature_that_the_data_do_not_tell_is_1(scores, words, caplog):
    """At the bound of 0.05 hundreds of scores would become 1 and rank no more."""
    found = fit_temperature(made([0, 0, 0, 1, 1, 1], scores))
    assert found.value == 1
    assert words in found.note
    assert words in caplog.text
    assert fit_temperature(made([0, 1] * 3, [0.1, 0.8, 0.6, 0.4, 0.2, 0.9])).note == ""


def test_a_temperature_of_separated_classes_keeps_the_ranks(rng):
    logit = np.r_[rng.uniform(-12, -3, 200), rng.uniform(3, 12, 200)]
    p = made(np.repeat([0, 1], 200), 1 / (1 + np.exp(-logit)))
    mended = fit_temperature(p).apply(p)
    assert len(np.unique(mended.y_score)) == 400


def test_a_temperature_of_many_separated_classes_is_1():
    scores = np.eye(3) * 0.4 + 0.2
    assert "separate the classes" in fit_temperature(made([0, 1, 2], scores)).note


def _intercept(offset, true):
    """Newton's steps to the intercept at which the mean prediction is the prevalence."""
    a = 0.0
    for _ in range(30):
        fitted = 1 / (1 + np.exp(-(a + offset)))
        a += np.sum(true - fitted) / np.sum(fitted * (1 - fitted))
    return a


def test_the_line_is_that_of_a_logistic_regression(rng):
    p = overconfident(rng, n=500)
    x = np.log(p.y_score / (1 - p.y_score))[:, None]
    slope = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, p.y_true).coef_[0, 0]
    found = calibration_line(p)
    assert found.slope.value == pytest.approx(slope, abs=1e-5)

    # The sandwich by hand, with the usual correction for few patients.
    design = np.column_stack([np.ones(500), x])
    fitted = 1 / (1 + np.exp(-(x[:, 0] * slope + _intercept(x[:, 0] * slope, p.y_true))))
    bread = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    meat = design.T @ (design * ((p.y_true - fitted) ** 2)[:, None])
    error = math.sqrt((bread @ meat @ bread)[1, 1] * 500 / 499 * 499 / 498)
    assert found.slope.high - slope == pytest.approx(1.959963984540054 * error, rel=1e-3)


def test_the_line_through_separated_classes_is_not_defined():
    p = made([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8])
    assert calibration_line(p).slope.reason == "the classes are separated by the score"
    flat = made([0, 0, 1, 1], [0.3] * 4)
    assert calibration_line(flat).slope.reason == "all scores are equal"
    assert calibration_line(flat).intercept.value == pytest.approx(np.log(7 / 3))


def test_one_patient_has_no_line():
    """The variance by patient divides by the number of patients less one."""
    p = made([0, 0, 1, 1, 0, 1], [0.1, 0.6, 0.4, 0.7, 0.2, 0.3], ["p"] * 6)
    for found in (calibration_line(p).slope, calibration_line(p).intercept):
        assert found.reason == "all images are of one patient"


def test_images_that_all_weigh_nothing_have_no_diagram():
    assert reliability(made([0, 1], [0.2, 0.6], None, [0, 0])).empty


def test_net_benefit_by_hand():
    p = made([0, 0, 0, 1, 1], [0.1, 0.3, 0.6, 0.3, 0.9])
    table = decision_curve(p, thresholds=[0.3, 0.5]).set_index("threshold")
    assert table.loc[0.3, "model"] == pytest.approx(2 / 5 - 2 / 5 * 3 / 7)  # at 0.3 is positive
    assert table.loc[0.5, "model"] == pytest.approx(1 / 5 - 1 / 5)
    assert table.loc[0.5, "all"] == pytest.approx(2 / 5 - 3 / 5)
    assert (table["none"] == 0).all()
    gain = np.array([0, -3 / 7, -3 / 7, 1, 1])
    half = 1.959963984540054 * gain.std(ddof=1) / math.sqrt(5)
    assert table.loc[0.3, "high"] - table.loc[0.3, "model"] == pytest.approx(half)


def test_thresholds_may_come_in_any_order_and_twice(rng):
    p = overconfident(rng, n=60)
    rising = decision_curve(p, thresholds=[0.1, 0.3, 0.8])
    pd.testing.assert_frame_equal(decision_curve(p, thresholds=[0.8, 0.1, 0.3, 0.1]), rising)


def test_net_benefit_is_that_of_dcurves_at_another_prevalence(rng):
    p = overconfident(rng, n=300)
    grid = [0.05, 0.2, 0.7]
    ours = decision_curve(p, thresholds=grid, prevalence=0.1)
    frame = pd.DataFrame({"y": p.y_true, "m": p.y_score})
    theirs = dca(frame, outcome="y", modelnames=["m"], thresholds=grid, prevalence=0.1)
    np.testing.assert_allclose(ours["model"], theirs[theirs["model"] == "m"]["net_benefit"])
    np.testing.assert_allclose(ours["all"], theirs[theirs["model"] == "all"]["net_benefit"])
    assert ours["low"].isna().all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: decision_curve(p, thresholds=[0.0]), "between 0 and 1"),
        (lambda p: decision_curve(p, prevalence=1.5), "prevalence is 1.5"),
        (lambda p: decision_curve(p, prevalence=0), "prevalence is 0"),
        (lambda p: decision_curve(p.subset(p.y_true == 1)), "images of both classes"),
        (lambda p: reliability(p, bins=0), "bins is 0"),
        (lambda p: reliability(p, strategy="log"), "strategy 'log'"),
    ],
)
def test_bad_settings_are_refused(call, words):
    with pytest.raises(MetricsError, match=words):
        call(made([0, 1, 1], [0.2, 0.6, 0.7]))


def test_weights_are_refused_where_they_would_be_ignored():
    p = made([0, 1, 1], [0.2, 0.6, 0.7], None, [1, 2, 3])
    for function in (decision_curve, calibration_line):
        with pytest.raises(MetricsError, match="takes no weights"):
            function(p)

"""Calibration: by hand, and against scikit-learn and statsmodels."""

import math
from functools import partial

import numpy as np
import pytest
import scipy
import statsmodels.api as sm
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from medimg.errors import MetricsError
from medimg.metrics import (
    Predictions,
    brier,
    calibration_line,
    fit_temperature,
    reliability,
    temper,
)


def made(true, score, patients=None):
    return Predictions([str(i) for i in range(len(true))], true, score, patients)


def overconfident(rng, n=2000, factor=2.0):
    """Logits that are right, then sharpened by a factor."""
    logit = rng.normal(size=n) * 1.5
    true = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return made(true, 1 / (1 + np.exp(-factor * logit)))


def gap(p):
    """Mean gap between score and observed share, weighted by the bins' sizes."""
    table = reliability(p)
    return np.average((table["score"] - table["observed"]).abs(), weights=table["n"])


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


def test_constant_scores_make_one_bin():
    table = reliability(made([0, 1, 1], [0.4, 0.4, 0.4]))
    assert table[["n", "score"]].to_numpy().tolist() == [[3, pytest.approx(0.4)]]
    assert table["observed"][0] == pytest.approx(2 / 3)


def test_brier_is_that_of_scikit_learn(rng):
    p = overconfident(rng, n=200)
    found = brier(p)
    expected = sk.brier_score_loss(p.y_true, p.y_score)
    assert found.value == pytest.approx(expected, abs=1e-14)


def test_one_class_has_no_line():
    p = made([1, 1], [0.9, 0.8])
    assert calibration_line(p).slope.reason == "all images are of one class"


def test_temperature_finds_the_factor_that_was_put_in(rng):
    p = overconfident(rng, n=20_000, factor=2.5)
    found = fit_temperature(p)
    assert found == pytest.approx(2.5, abs=0.1)
    mended = temper(p, found)
    assert gap(mended) < 0.02
    assert gap(p) > 0.08
    np.testing.assert_array_equal(np.argsort(mended.y_score), np.argsort(p.y_score))
    assert sk.log_loss(p.y_true, mended.y_score) < sk.log_loss(p.y_true, p.y_score)


def test_temperature_of_many_classes_keeps_the_calls(rng):
    true = rng.integers(0, 3, 3000)
    logits = rng.normal(size=(3000, 3))
    logits[np.arange(3000), true] += 1
    sharp = np.exp(3 * logits) / np.exp(3 * logits).sum(axis=1, keepdims=True)
    p = made(true, sharp)
    found = fit_temperature(p)
    mended = temper(p, found)
    assert found == pytest.approx(3, abs=0.2)
    np.testing.assert_array_equal(mended.predicted(), p.predicted())
    np.testing.assert_allclose(mended.y_score.sum(axis=1), 1)
    worse = [p.with_scores(scipy.special.softmax(np.log(sharp) / t, axis=1)).y_score
             for t in (0.98 * found, 1.02 * found)]  # fmt: skip
    assert sk.log_loss(true, mended.y_score) < min(sk.log_loss(true, w) for w in worse)


def test_temperature_needs_two_classes():
    with pytest.raises(MetricsError, match="at least two classes"):
        fit_temperature(made([1, 1], [0.9, 0.8]))


@pytest.mark.parametrize(
    "scores",
    [
        [0.1, 0.3, 0.2, 0.8, 0.7, 0.9],
        [0.1, 0.3, 0.2, 0.45, 0.4, 0.9],  # separate, but not at one half
        [0.5, 0.3, 0.2, 0.5, 0.7, 0.9],  # best at 0.05, the end of what is tried
        [0.9, 0.8, 0.7, 0.1, 0.2, 0.3],  # best at 20, the other end
    ],
)
def test_a_temperature_that_the_data_do_not_tell_is_1(scores, caplog):
    """At the bound of 0.05 hundreds of scores would become 1 and rank no more."""
    assert fit_temperature(made([0, 0, 0, 1, 1, 1], scores)) == 1
    assert "separate the classes, or are worse than chance" in caplog.text
    caplog.clear()
    assert fit_temperature(made([0, 1] * 3, [0.1, 0.8, 0.6, 0.4, 0.2, 0.9])) < 0.8
    assert caplog.text == ""


def test_a_temperature_of_separated_classes_keeps_the_ranks(rng):
    logit = np.r_[rng.uniform(-12, -3, 200), rng.uniform(3, 12, 200)]
    p = made(np.repeat([0, 1], 200), 1 / (1 + np.exp(-logit)))
    mended = temper(p, fit_temperature(p))
    assert len(np.unique(mended.y_score)) == 400


def test_a_temperature_of_many_separated_classes_is_1():
    scores = np.eye(3) * 0.4 + 0.2
    assert fit_temperature(made([0, 1, 2], scores)) == 1


@pytest.mark.parametrize("images", [1, 3])
def test_the_line_is_that_of_a_logistic_regression(rng, images):
    """Points and variance by patient are those of statsmodels, x G / (G - 1), with t of G - 1."""
    p = overconfident(rng, n=510)
    patient = np.arange(510) // images
    found = calibration_line(made(p.y_true, p.y_score, patient.astype(str)))
    x, family = np.log(p.y_score / (1 - p.y_score)), sm.families.Binomial()
    both = sm.GLM(p.y_true, sm.add_constant(x), family=family)
    large = sm.GLM(p.y_true, np.ones(510), family=family, offset=x)
    count = 510 // images
    reach = scipy.stats.t.ppf(0.975, count - 1) * math.sqrt(count / (count - 1))
    for ours, model, k in ((found.slope, both, 1), (found.intercept, large, 0)):
        options = {"groups": patient, "use_correction": False}
        theirs = model.fit(cov_type="cluster", cov_kwds=options, tol=1e-12)
        assert ours.value == pytest.approx(theirs.params[k], abs=1e-10)
        assert ours.high - ours.value == pytest.approx(reach * theirs.bse[k], rel=1e-8)
        assert ours.value - ours.low == pytest.approx(ours.high - ours.value)
        assert ours.method == "sandwich"


def test_the_sandwich_agrees_with_the_bootstrap(rng):
    """Patients of three images that share a part of the score: drawn whole, 400 times."""
    patient = np.repeat(np.arange(150), 3)
    logit = rng.normal(size=150)[patient] + rng.normal(size=450)
    true = (rng.random(450) < scipy.special.expit(logit)).astype(int)
    score = scipy.special.expit(1.5 * logit)
    found = calibration_line(made(true, score, patient.astype(str)))
    drawn = []
    for _ in range(400):
        rows = (3 * rng.integers(0, 150, 150)[:, None] + np.arange(3)).ravel()
        line = calibration_line(made(true[rows], score[rows]))
        drawn.append([line.intercept.value, line.slope.value])
    for ours, spread in zip((found.intercept, found.slope), np.std(drawn, axis=0), strict=True):
        assert ours.high - ours.low == pytest.approx(2 * 1.976 * spread, rel=0.15)


def test_confident_errors_do_not_throw_the_line_off():
    """Undamped, Newton's method once ended at -2.25e15; the score equation's root is -3.911."""
    y = [0] * 20 + [1] * 20
    s = np.where(np.array(y) == 1, 0.999, 0.001)
    s[[0, 1]], s[39] = 0.999, 0.001
    found = calibration_line(made(y, s))
    x = np.log(s / (1 - s))
    root = scipy.optimize.brentq(lambda a: np.sum(y - scipy.special.expit(a + x)), -20, 20)
    assert round(root, 3) == -3.911
    assert found.intercept.value == pytest.approx(root, abs=1e-7)
    assert found.intercept.low < root < found.intercept.high
    # Two scores only, so that the fitted shares are the observed ones: 1 of 19 and 19 of 21.
    rise = scipy.special.logit(19 / 21) - scipy.special.logit(1 / 19)
    assert found.slope.value == pytest.approx(rise / (x[1] - x[39]), abs=1e-7)


def surplus(x, y, slope, intercept):
    """By how much the positives exceed what the line expects."""
    return np.sum(y - scipy.special.expit(intercept + slope * x))


def test_every_line_solves_its_equation_or_says_why_not(rng):
    """Small sets of scores at the ends, which undamped steps run away from."""
    for _ in range(60):
        n = int(rng.integers(2, 40))
        y = rng.integers(0, 2, n)
        ends = rng.choice([0.0, 1e-9, 0.001, 0.5, 0.999, 1.0], n)
        s = np.where(rng.random(n) < 0.5, ends, rng.random(n))
        found = calibration_line(made(y, s))
        x = scipy.special.logit(np.clip(s, 1e-7, 1 - 1e-7))
        for e in (found.intercept, found.slope):
            assert math.isfinite(e.low) or e.reason
        a, b = found.intercept.value, found.slope.value
        if math.isfinite(a):
            assert np.mean(y - scipy.special.expit(a + x)) == pytest.approx(0, abs=1e-8)
        if math.isfinite(b):
            a = scipy.optimize.brentq(partial(surplus, x, y, b), -99, 99)
            assert np.mean((y - scipy.special.expit(a + b * x)) * x) == pytest.approx(0, abs=1e-6)


def test_decimal_scores_lie_on_decimal_edges():
    """In binary 0.3 is below 3 * 0.1 and 0.7 above 7 * 0.1; a score on an edge begins its bin."""
    for bins in (4, 5, 10, 20):
        scores = np.arange(bins) / bins
        for shown in (
            scores,
            np.arange(bins) * (1 / bins),
            np.cumsum(np.full(bins, 1 / bins)) - 1 / bins,
        ):
            table = reliability(made([0, 1] * (bins // 2) + [1] * (bins % 2), np.clip(shown, 0, 1)),
                                bins=bins, strategy="uniform")  # fmt: skip
            assert table["n"].tolist() == [1] * bins, bins
            assert table["from"].tolist() == scores.round(12).tolist()


def test_bins_of_equally_many_are_equal_on_decimals():
    """101 scores 0.00 to 1.00: each decile but the last holds ten."""
    p = made([0, 1] * 50 + [1], np.arange(101) / 100)
    assert reliability(p)["n"].tolist() == [10] * 9 + [11]


def test_the_line_through_separated_classes_is_not_defined():
    p = made([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8])
    assert calibration_line(p).slope.reason == "the classes are separated by the score"
    flat = made([0, 0, 1, 1], [0.3] * 4)
    assert calibration_line(flat).slope.reason == "all scores are equal"
    assert calibration_line(flat).intercept.value == pytest.approx(np.log(7 / 3))


@pytest.mark.parametrize(
    ("truth", "scores"),
    [
        ([0, 0, 1, 1], [0.0, 1.0, 0.0, 1.0]),
        ([0] * 100 + [1] * 100, [0.0] * 90 + [1.0] * 10 + [0.0] * 10 + [1.0] * 90),
    ],
)
def test_nearly_certain_scores_have_an_intercept_without_an_interval(truth, scores):
    line = calibration_line(Predictions([f"i{n}" for n in range(len(truth))], truth, scores))
    assert np.isfinite(line.intercept.value)
    assert np.isnan(line.intercept.low)
    assert line.intercept.reason.endswith("hardly differ or are nearly all 0 or 1")


def test_one_patient_has_no_interval():
    p = made([0, 0, 1, 1, 0, 1], [0.1, 0.6, 0.4, 0.7, 0.2, 0.3], ["p"] * 6)
    one = "a class of one patient alone shows no variance"
    same, line = "every bootstrap sample gives the same value", calibration_line(p)
    for found, why in ((line.slope, one), (line.intercept, one), (brier(p), same)):
        assert math.isfinite(found.value)
        assert math.isnan(found.low)
        assert found.reason == why


def test_a_class_of_one_patient_has_no_line_interval():
    """Its one residual would balance all the others', and the interval would be far too narrow."""
    p = made([1, 1, 0, 0, 0], [0.4, 0.1, 0.2, 0.3, 0.15], list("ppqrs"))
    line = calibration_line(p)
    for found in (line.intercept, line.slope):
        assert math.isfinite(found.value)
        assert "a class of one patient" in repr(found)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: reliability(p, bins=0), "0 bins"),
        (lambda p: reliability(p, strategy="log"), "'log'; give"),
        (lambda p: temper(p, 0), "temperature is 0; expected a number between 0 and inf"),
        (lambda p: temper(p, -1.5), "temperature is -1.5"),  # it would reverse the ranks
    ],
)
def test_bad_settings_are_refused(call, words):
    with pytest.raises(MetricsError, match=words):
        call(made([0, 1, 1], [0.2, 0.6, 0.7]))


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.9), (0.0, 1.0)])
def test_the_many_images_with_the_highest_score_are_a_bin_of_their_own(low, high):
    """Merged with the bin below, a model that is wrong on both sides looks calibrated."""
    truth = [0] + [1] * 44 + [1] + [0] * 54
    p = made(truth, [low] * 45 + [high] * 55)
    table = reliability(p)
    observed, score = calibration_curve(p.y_true, p.y_score, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(table["observed"], observed)
    np.testing.assert_allclose(table["score"], score)
    assert table["n"].tolist() == [45, 55]
    assert table["to"].tolist() == [high, high]


def test_scores_that_hardly_differ_are_not_called_certain(rng):
    line = calibration_line(made(rng.integers(0, 2, 60), rng.uniform(0.48, 0.52, 60)))
    assert "hardly differ" in line.slope.reason

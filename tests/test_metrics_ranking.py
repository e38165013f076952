"""AUC, its intervals and its differences: against print, scikit-learn, brute force, bootstrap."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from medimg.errors import MetricsError
from medimg.metrics import (
    Predictions,
    auc,
    auc_difference,
    average_precision,
    pr_curve,
    roc_curve,
)
from medimg.metrics.bootstrap import bootstrap_weights
from medimg.metrics.estimates import Rows, wilson
from medimg.metrics.ranking import auc_of_rows, auc_parts, newcombe_auc

# Hanley JA, McNeil BJ (1982) Radiology 143:29-36, table I: one reader's ratings of 109 CT images,
# from "definitely normal" to "definitely abnormal".
RATED_NORMAL, RATED_ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def made(true, score, patients=None, weights=None):
    return Predictions([str(i) for i in range(len(true))], true, score, patients, (), weights)


def hanley_mcneil():
    """The ratings as predictions: scores brought into [0, 1], which changes no rank."""
    ratings = np.arange(1, 6) / 5
    score = np.r_[np.repeat(ratings, RATED_NORMAL), np.repeat(ratings, RATED_ABNORMAL)]
    return made(np.repeat([0, 1], [58, 51]), score)


def readers(seed=3, n=113):
    """Three readers of the same patients, who err together."""
    rng = np.random.default_rng(seed)
    true = (rng.random(n) < 0.36).astype(int)
    common = rng.normal(size=n) + 0.9 * true
    scores = [common + k * rng.normal(size=n) for k in (0.6, 1.0, 1.4)]
    return [made(true, np.round(1 / (1 + np.exp(-s)), 2)) for s in scores]


def test_delong_gives_the_published_interval():
    """Stata Base Reference Manual, `roctab` on these data: 0.8932, 0.83295 to 0.95339 (DeLong)."""
    found = auc(hanley_mcneil(), scale="plain")
    assert (round(found.value, 4), round(found.low, 5), round(found.high, 5)) == (
        0.8932,
        0.83295,
        0.95339,
    )


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2)])
def test_the_paired_difference_by_its_definition(first, second):
    """DeLong 1988, equation 6: the covariance of the two readers' placement values."""
    one, other = (readers()[k] for k in (first, second))
    x, y = (np.array([p.y_score[p.y_true == k] for p in (one, other)]) for k in (1, 0))
    psi = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    cover = np.cov(v10) / x.shape[1] + np.cov(v01) / y.shape[1]
    difference = psi[0].mean() - psi[1].mean()
    error = math.sqrt(cover[0, 0] + cover[1, 1] - 2 * cover[0, 1])
    found = auc_difference(one, other, interval="delong")
    assert found.difference.value == pytest.approx(difference, abs=1e-12)
    half = 1.959963984540054 * error
    assert found.difference.high - found.difference.value == pytest.approx(half, rel=1e-9)
    assert found.p_value == pytest.approx(math.erfc(abs(difference) / error / math.sqrt(2)))


def test_square_and_add_by_hand():
    """One AUC is 1, so that DeLong says nothing of it and the two count as independent."""
    true = np.repeat([1, 0], [6, 8])
    perfect = made(true, np.r_[np.full(6, 0.9), np.full(8, 0.1)])
    good = np.r_[0.9, 0.8, 0.7, 0.6, 0.35, 0.2, np.full(4, 0.1), 0.3, 0.3, 0.4, 0.5]
    value, variance = brute_force(true, good)
    found = auc_difference(perfect, made(true, good)).difference
    size = value * (1 - value) / variance
    one, other = newcombe_auc(1.0, 6, 8), wilson(value * size, size)
    assert found.value == pytest.approx(1 - value)
    assert found.low == pytest.approx(1 - value - math.hypot(1 - one.low, other.high - value))
    assert found.high == pytest.approx(1 - other.low)


@pytest.mark.parametrize("interval", ["square-and-add", "delong"])
def test_the_difference_turns_round_with_the_models(interval):
    one, other = readers()[0], readers()[2]
    ours = auc_difference(one, other, interval=interval).difference
    turned = auc_difference(other, one, interval=interval).difference
    assert (ours.value, ours.low, ours.high) == pytest.approx(
        (-turned.value, -turned.high, -turned.low), abs=1e-12
    )


def test_both_intervals_of_the_difference_agree_on_many_images():
    one, other = (readers(n=4000)[k] for k in (0, 2))
    ours, delong = (
        auc_difference(one, other, interval=how).difference for how in ("square-and-add", "delong")
    )
    assert (ours.low, ours.high) == pytest.approx((delong.low, delong.high), abs=2e-4)


def test_the_bootstrap_agrees_on_the_difference(rng):
    one, other = readers()[0], readers()[2]
    drawn = []
    for _ in range(2000):
        rows = rng.integers(0, len(one), len(one))
        true = one.y_true[rows]
        drawn.append(sk.roc_auc_score(true, one.y_score[rows])
                     - sk.roc_auc_score(true, other.y_score[rows]))  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = auc_difference(one, other).difference
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_an_interval_that_is_not_known():
    with pytest.raises(MetricsError, match="interval 'wald' is not known; expected one of square"):
        auc_difference(readers()[0], readers()[1], interval="wald")


def brute_force(true, score):
    """DeLong's variance by its definition, over all pairs."""
    x, y = score[true == 1], score[true == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
    return psi.mean(), v10.var(ddof=1) / len(x) + v01.var(ddof=1) / len(y)


def test_ties_by_brute_force(rng):
    true = np.array([1] * 17 + [0] * 23)
    score = np.round(rng.random(40) + 0.2 * true, 1) / 2
    value, variance = brute_force(true, score)
    data = Rows(true == 1, score, np.ones(40), np.arange(40))
    ours, part = auc_parts(data)
    assert ours == pytest.approx(value, abs=1e-14)
    assert np.sum(part**2) == pytest.approx(variance, rel=1e-12)
    assert ours == pytest.approx(sk.roc_auc_score(true, score), abs=1e-14)


def test_the_bootstrap_agrees(rng):
    p = readers()[0]

    def weighted(times):
        if times[p.y_true == 1].sum() * times[p.y_true == 0].sum() == 0:
            return math.nan
        return auc_parts(Rows(p.y_true == 1, p.y_score, times, np.arange(len(p))))[0]

    drawn = bootstrap_weights(weighted, np.arange(len(p)), draws=2000, rng=rng)
    ours = auc(p)
    assert drawn.low == pytest.approx(ours.low, abs=0.02)
    assert drawn.high == pytest.approx(ours.high, abs=0.02)


def test_images_of_one_patient_by_brute_force():
    """Obuchowski's variance, written out with sums over patients who have both kinds of image."""
    rng = np.random.default_rng(5)
    cluster = rng.integers(0, 20, 90)
    true = rng.integers(0, 2, 90)
    score = np.round(rng.random(90) / 2 + 0.3 * true, 2)
    x, y = score[true == 1], score[true == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    value = psi.mean()
    i10, i01 = len(set(cluster[true == 1])), len(set(cluster[true == 0]))
    ten, one = np.zeros(20), np.zeros(20)
    np.add.at(ten, cluster[true == 1], psi.mean(axis=1) - value)
    np.add.at(one, cluster[true == 0], psi.mean(axis=0) - value)
    m, n = len(x), len(y)
    s10, s01 = i10 / ((i10 - 1) * m) * np.sum(ten**2), i01 / ((i01 - 1) * n) * np.sum(one**2)
    s11 = np.sum(ten * one) * math.sqrt(i10 / (i10 - 1) * i01 / (i01 - 1))
    variance = s10 / m + s01 / n + 2 * s11 / (m * n)
    found = auc(made(true, score, cluster.astype(str)), scale="plain")
    assert found.method == "DeLong by patient (Obuchowski)"
    assert found.high - found.value == pytest.approx(1.959963984540054 * math.sqrt(variance))


def test_copies_of_images_do_not_narrow_the_interval():
    p = readers()[0]
    copies = made(np.tile(p.y_true, 2), np.tile(p.y_score, 2), np.tile(p.ids, 2))
    assert auc(copies).low == pytest.approx(auc(p).low, abs=1e-12)


def test_weights_repeat_images(rng):
    p = readers()[0]
    times = rng.integers(0, 3, len(p))
    weighted = auc(made(p.y_true, p.y_score, None, times))
    repeated = auc(made(np.repeat(p.y_true, times), np.repeat(p.y_score, times),
                        np.repeat(p.ids, times)))  # fmt: skip
    assert (weighted.value, weighted.low) == pytest.approx((repeated.value, repeated.low))


@pytest.mark.parametrize(("shift", "value"), [(0.5, 1.0), (-0.5, 0.0), (None, 0.5)])
def test_without_variance_the_interval_is_newcombes(shift, value):
    """A perfect, an inverted and a constant model: DeLong would give an interval of width 0."""
    true = np.repeat([0, 1], 12)
    score = np.full(24, 0.3) if shift is None else 0.5 + shift * (true - 0.5)
    found = auc(made(true, score))
    assert found.value == value
    assert found.method == "Newcombe method 5"
    assert found.high - found.low > 0.15
    assert 0 <= found.low <= value <= found.high <= 1


def test_newcombe_solves_its_equation():
    found = newcombe_auc(0.8, 30, 40)
    for t in (found.low, found.high):
        star = 34
        variance = t * (1 - t) * (1 + star * ((1 - t) / (2 - t) + t / (1 + t))) / 1200
        assert (0.8 - t) ** 2 == pytest.approx(1.959963984540054**2 * variance, abs=1e-9)


def test_one_image_of_a_class_and_none():
    assert auc(made([1, 0, 0], [0.9, 0.1, 0.2])).method == "Newcombe method 5"
    lone = auc(made([1], [0.9]))
    assert math.isnan(lone.value)
    assert lone.reason == "no negative image"
    assert math.isnan(auc_difference(made([1], [0.9]), made([1], [0.8])).p_value)


def test_a_hundred_thousand_rows_are_the_sum_over_few_distinct_scores(rng):
    """Large and heavily tied, so that a quadratic method would need 2.5e9 pairs."""
    true = rng.integers(0, 2, 100_000)
    score = (rng.integers(0, 8, 100_000) + 3 * true) / 10
    counts = np.array([[np.sum((score == s) & (true == k)) for s in np.unique(score)]
                       for k in (0, 1)])  # fmt: skip
    below = np.cumsum(counts[0]) - counts[0]
    by_hand = np.sum(counts[1] * (below + counts[0] / 2)) / counts[0].sum() / counts[1].sum()
    data = Rows(true == 1, score, np.ones(len(true)), np.arange(len(true)))
    assert auc_of_rows(data).value == pytest.approx(by_hand, abs=1e-12)


def test_models_of_other_images_are_refused():
    p = made([0, 1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(MetricsError, match="the first model has 3 rows and the second 2"):
        auc_difference(p, p.subset([0, 1]))
    with pytest.raises(MetricsError, match="row 0: the first model has image '0'"):
        auc_difference(p, p.subset([2, 1, 0]))


def test_a_model_against_itself_has_no_interval_and_a_reason():
    found = auc_difference(readers()[1], readers()[1])
    assert found.difference.value == 0
    assert math.isnan(found.difference.low)
    assert "no variance" in found.difference.reason


def test_curves_are_those_of_scikit_learn():
    p = readers()[2]
    ours = roc_curve(p)
    fpr, tpr, cut = sk.roc_curve(p.y_true, p.y_score, drop_intermediate=False)
    np.testing.assert_allclose(ours["sensitivity"], tpr)
    np.testing.assert_allclose(1 - ours["specificity"], fpr, atol=1e-15)
    np.testing.assert_array_equal(ours["threshold"], cut)
    precision, recall, _ = sk.precision_recall_curve(p.y_true, p.y_score)
    np.testing.assert_allclose(pr_curve(p)["precision"], precision[-2::-1])
    np.testing.assert_allclose(pr_curve(p)["recall"], recall[-2::-1])
    assert average_precision(p).value == pytest.approx(
        sk.average_precision_score(p.y_true, p.y_score)
    )


def test_curves_of_images_that_all_weigh_nothing_are_undefined():
    p = made([0, 1, 1], [0.1, 0.2, 0.3], None, [0, 0, 0])
    assert roc_curve(p)["threshold"].tolist() == [math.inf]
    assert roc_curve(p)[["sensitivity", "specificity"]].isna().all(axis=None)
    assert pr_curve(p).empty
    assert average_precision(p).reason == "no positive image"


def test_two_class_metrics_refuse_three_classes():
    many = Predictions("ab", [0, 2], [[0.5, 0.25, 0.25], [0, 0.125, 0.875]])
    for metric in (auc, average_precision, roc_curve, pr_curve):
        with pytest.raises(MetricsError, match=r"use predictions\.one_vs_rest"):
            metric(many)

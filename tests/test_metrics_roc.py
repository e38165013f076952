"""AUC, its intervals and its differences: against print, scikit-learn, brute force, bootstrap."""

import math

import numpy as np
import pytest
from scipy.special import logit
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
from medimg.metrics.intervals import bootstrap_images
from medimg.metrics.predictions import Rows
from medimg.metrics.roc import area, newcombe_auc

# Hanley JA, McNeil BJ (1982) Radiology 143:29-36, table I: one reader's ratings of 109 CT images,
# from "definitely normal" to "definitely abnormal".
RATED_NORMAL, RATED_ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def made(true, score, patients=None):
    return Predictions([str(i) for i in range(len(true))], true, score, patients)


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
    found = area(hanley_mcneil().rows)
    half = 1.959963984540054 * math.sqrt(found.parts @ found.parts)
    assert round(found.value, 4) == 0.8932
    assert (round(found.value - half, 5), round(found.value + half, 5)) == (0.83295, 0.95339)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2)])
def test_the_parts_of_a_difference_by_their_definition(first, second):
    """DeLong 1988, equation 6: the covariance of the two readers' placement values."""
    one, other = (readers()[k] for k in (first, second))
    x, y = (np.array([p.y_score[p.y_true == k] for p in (one, other)]) for k in (1, 0))
    psi = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    cover = np.cov(psi.mean(axis=2)) / x.shape[1] + np.cov(psi.mean(axis=1)) / y.shape[1]
    parts = np.array([area(p.rows).parts for p in (one, other)])
    np.testing.assert_allclose(parts @ parts.T, cover, rtol=1e-10)


def test_delongs_z_is_that_of_mlstatkit():
    stats = pytest.importorskip("MLstatkit")
    one, other = readers()[0], readers()[2]
    a, b = (area(p.rows) for p in (one, other))
    z = (a.value - b.value) / math.sqrt(np.sum((a.parts - b.parts) ** 2))
    theirs = stats.Delong_test(one.y_true, one.y_score, other.y_score)
    assert (abs(z), math.erfc(abs(z) / math.sqrt(2))) == pytest.approx(
        (abs(theirs[0]), theirs[1]), rel=1e-6
    )


def test_a_difference_is_joined_by_hand():
    one, other = readers()[0], readers()[2]
    a, b = auc(one), auc(other)
    parts = [area(p.rows).parts for p in (one, other)]
    r = np.dot(*parts) / math.sqrt(np.dot(parts[0], parts[0]) * np.dot(parts[1], parts[1]))
    x, y = a.value - a.low, b.high - b.value
    found = auc_difference(one, other)
    gap = a.value - b.value
    assert found.value == pytest.approx(gap)
    assert found.low == pytest.approx(gap - math.sqrt(x**2 + y**2 - 2 * r * x * y))
    x, y = a.high - a.value, b.value - b.low
    assert found.high == pytest.approx(gap + math.sqrt(x**2 + y**2 - 2 * r * x * y))


def test_a_perfect_model_counts_as_independent():
    """One AUC is 1, so that DeLong says nothing of it."""
    true = np.repeat([1, 0], [6, 8])
    perfect = made(true, np.r_[np.full(6, 0.9), np.full(8, 0.1)])
    good = made(true, np.r_[0.9, 0.8, 0.7, 0.6, 0.35, 0.2, np.full(4, 0.1), 0.3, 0.3, 0.4, 0.5])
    found, other = auc_difference(perfect, good), auc(good)
    assert found.low == pytest.approx(
        1 - other.value - math.hypot(1 - newcombe_auc(1.0, 6, 8).low, other.high - other.value)
    )
    assert found.high == pytest.approx(1 - other.low)


def test_a_difference_turned_round_is_its_mirror():
    """Small test sets, ties, perfect and constant models, several images per patient."""
    rng, seen = np.random.default_rng(2), 0
    for _ in range(100):
        n = int(rng.integers(6, 60))
        true = np.r_[0, 1, rng.integers(0, 2, n - 2)]
        patients = rng.integers(0, n, n).astype(str)
        one, other = (
            made(true, np.round(np.clip(k * true + rng.random(n), 0, 2) / 2, 1), patients)
            for k in rng.choice([0, 1, 2], 2)
        )
        found, turned = auc_difference(one, other), auc_difference(other, one)
        if math.isnan(found.low):
            assert found.reason
            continue
        seen += 1
        assert (found.low, found.value, found.high) == pytest.approx(
            (-turned.high, -turned.value, -turned.low), abs=1e-12
        )
        assert -1 <= found.low <= found.value <= found.high <= 1
    assert seen > 50


def test_the_bootstrap_agrees_on_the_difference(rng):
    one, other = readers()[0], readers()[2]
    drawn = []
    for _ in range(2000):
        taken = rng.integers(0, len(one), len(one))
        true = one.y_true[taken]
        drawn.append(sk.roc_auc_score(true, one.y_score[taken])
                     - sk.roc_auc_score(true, other.y_score[taken]))  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = auc_difference(one, other)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_the_bootstrap_agrees_on_the_area():
    p = readers()[0]
    data = p.rows

    def areas(times):
        rep = [np.repeat(np.arange(len(p)), t.astype(int)) for t in times]
        return np.array([sk.roc_auc_score(p.y_true[r], p.y_score[r]) for r in rep])

    (drawn,), ours = bootstrap_images(areas, data.patient, 0.95), auc(p)
    assert (drawn.low, drawn.high) == pytest.approx((ours.low, ours.high), abs=0.025)


def test_one_class_leaves_curves_undefined_with_a_reason():
    p = made([0, 0], [0.1, 0.2])
    assert roc_curve(p)["sensitivity"].isna().all()
    assert pr_curve(p)["recall"].isna().all()
    assert roc_curve(made([1, 1], [0.1, 0.2]))["specificity"].isna().all()
    assert pr_curve(made([1, 1], [0.1, 0.2]))["recall"].tolist() == [0.5, 1]
    for metric in (auc(p), average_precision(p)):
        assert metric.reason == "no positive image"


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
    found = area(Rows(true == 1, score, np.arange(40), 40))
    ours = found.value
    assert ours == pytest.approx(value, abs=1e-14)
    assert np.sum(found.parts**2) == pytest.approx(variance, rel=1e-12)
    assert ours == pytest.approx(sk.roc_auc_score(true, score), abs=1e-14)


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
    p = made(true, score, cluster.astype(str))
    found = area(p.rows)
    assert found.parts @ found.parts == pytest.approx(variance)
    assert auc(p).method == "DeLong"
    reach = 1.959963984540054 * math.sqrt(variance) / (value * (1 - value))
    assert logit(auc(p).high) == pytest.approx(logit(value) + reach)


def test_copies_of_images_do_not_narrow_the_interval():
    p = readers()[0]
    copies = made(np.tile(p.y_true, 2), np.tile(p.y_score, 2), np.tile(p.ids, 2))
    assert auc(copies).low == pytest.approx(auc(p).low, abs=1e-12)


@pytest.mark.parametrize(("shift", "value"), [(0.5, 1.0), (-0.5, 0.0), (None, 0.5)])
def test_without_variance_the_interval_is_newcombes(shift, value):
    """A perfect, an inverted and a constant model: DeLong would give an interval of width 0."""
    true = np.repeat([0, 1], 12)
    score = np.full(24, 0.3) if shift is None else 0.5 + shift * (true - 0.5)
    found = auc(made(true, score))
    assert found.value == value
    assert found.high - found.low > 0.15
    assert 0 <= found.low <= value <= found.high <= 1


def test_newcombe_solves_its_equation():
    found = newcombe_auc(0.8, 30, 40)
    for t in (found.low, found.high):
        star = 34
        variance = t * (1 - t) * (1 + star * ((1 - t) / (2 - t) + t / (1 + t))) / 1200
        assert (0.8 - t) ** 2 == pytest.approx(1.959963984540054**2 * variance, abs=1e-9)


def test_one_image_of_a_class_and_none():
    assert auc(made([1, 0, 0], [0.9, 0.1, 0.2])) == newcombe_auc(1.0, 1, 2)
    lone = auc(made([1], [0.9]))
    assert math.isnan(lone.value)
    assert lone.reason == "no negative image"
    assert auc_difference(made([1], [0.9]), made([1], [0.8])).reason == "no negative image"


def test_a_hundred_thousand_rows_are_the_sum_over_few_distinct_scores(rng):
    """Large and heavily tied, so that a quadratic method would need 2.5e9 pairs."""
    true = rng.integers(0, 2, 100_000)
    score = (rng.integers(0, 8, 100_000) + 3 * true) / 10
    counts = np.array([[np.sum((score == s) & (true == k)) for s in np.unique(score)]
                       for k in (0, 1)])  # fmt: skip
    below = np.cumsum(counts[0]) - counts[0]
    by_hand = np.sum(counts[1] * (below + counts[0] / 2)) / counts[0].sum() / counts[1].sum()
    data = Rows(true == 1, score, np.arange(len(true)), len(true))
    assert area(data).value == pytest.approx(by_hand, abs=1e-12)


def test_models_of_other_images_are_refused():
    p = made([0, 1, 1], [0.1, 0.2, 0.3])
    for other in (p.subset([0, 1]), p.subset([2, 1, 0]), made([0, 1, 0], [0.1, 0.2, 0.3])):
        with pytest.raises(MetricsError, match="the same ids and y_true, in the same order"):
            auc_difference(p, other)


def test_a_model_against_itself_has_no_interval_and_a_reason():
    found = auc_difference(readers()[1], readers()[1])
    assert found.value == 0
    assert math.isnan(found.low)
    assert "no variance" in found.reason


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


def test_two_class_metrics_refuse_three_classes():
    many = Predictions("ab", [0, 2], [[0.5, 0.25, 0.25], [0, 0.125, 0.875]])
    for metric in (auc, average_precision, roc_curve, pr_curve):
        with pytest.raises(MetricsError, match=r"use predictions\.one_vs_rest"):
            metric(many)

"""The three kinds of intervals, and differences: by hand, against statsmodels, at the edges."""

import math

import numpy as np
import pytest
import scipy
from statsmodels.stats.proportion import proportion_confint

from medimg.errors import MetricsError
from medimg.metrics import (
    Estimate,
    Predictions,
    bootstrap,
    evaluate,
    mean_by_patient,
    patient_codes,
    share_by_patient,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (899, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_statsmodels(k, n, level):
    ours = wilson(k, n, level=level)
    low, high = proportion_confint(k, n, alpha=1 - level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-14)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


@pytest.mark.parametrize("counts", [(3, 2), (-1, 5), (math.nan, 5), (1, math.inf)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(MetricsError, match="expected counts with 0 <= successes <= total"):
        wilson(*counts)


def test_the_effective_size_by_hand():
    """Four patients of two images, hits 2, 2, 1, 0: the ratio estimator's variance, written out."""
    ours = share_by_patient([1, 1, 1, 1, 1, 0, 0, 0], np.repeat(list("pqrs"), 2))
    p, variance = 5 / 8, 4 / 3 * ((2 - 1.25) ** 2 * 2 + (1 - 1.25) ** 2 + 1.25**2) / 64
    n = p * (1 - p) / variance * (1.959963984540054 / 3.182446305284263) ** 2
    by_hand = wilson(p * n, n)
    assert (ours.low, ours.high) == pytest.approx((by_hand.low, by_hand.high), abs=1e-12)
    assert ours.method == "Wilson"


def test_when_all_hit_each_patient_counts_once():
    ours = share_by_patient([True] * 6, ["p", "p", "p", "q", "q", "q"])
    assert (ours.low, ours.high) == pytest.approx((wilson(2, 2).low, 1.0))
    assert share_by_patient([True] * 3, "ppp").low == pytest.approx(wilson(1, 1).low)


def test_the_mean_by_patient_has_the_error_of_the_ratio_estimator(rng):
    """120 patients of one to five images that share a part."""
    images = rng.integers(1, 6, 120)
    patients = np.repeat(np.arange(120), images)
    values = rng.normal(size=120)[patients] + 0.3 * rng.normal(size=len(patients))
    ours = mean_by_patient(values, patients)
    sums = np.bincount(patients, weights=values - values.mean())
    half = 1.959963984540054 * math.sqrt(120 / 119 * np.sum(sums**2)) / len(values)
    assert ours.value == pytest.approx(values.mean())
    assert ours.high - ours.low == pytest.approx(2 * half, rel=0.08)
    unaware = mean_by_patient(values)
    assert unaware.high - unaware.low < 0.6 * (ours.high - ours.low)


@pytest.mark.parametrize("n", [8, 20])
def test_a_mean_of_few_patients_has_students_width(rng, n):
    """Percentiles alone would be narrower by 22 % for 8 patients, and by 9 % for 20."""
    values = np.mean([np.sort(rng.normal(size=n)) for _ in range(200)], axis=0)  # no odd ones
    ours = mean_by_patient(values)
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean(), scipy.stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.06 * (high - low))


def test_patients_are_drawn_whole():
    """Two patients: every sample is one of three, whatever the number of images."""
    found = bootstrap(
        lambda s: s[:, 0] / s[:, 1], [[1, 1]] * 50 + [[0, 1]] * 50, [0] * 50 + [1] * 50
    )
    assert (found.low, found.value, found.high) == (0.0, 0.5, 1.0)


def test_a_bootstrap_that_cannot_tell_says_why():
    same = bootstrap(lambda s: s[:, 0] / s[:, 1], [[1, 1]] * 9)
    assert (same.value, same.reason) == (1.0, "every bootstrap sample gives the same value")
    rare = bootstrap(lambda s: s[:, 1] / s[:, 0], [[1, 1]] + [[0, 1]] * 9)
    assert "bootstrap samples define it" in rare.reason
    assert math.isnan(rare.low)
    never = bootstrap(lambda s: s[:, 1] / s[:, 0], [[0, 1]] * 9)
    assert never.reason == "not defined on these data"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap(lambda s: s[:, 0], np.zeros((0, 2))), r"shape \(0, 2\); expected"),
        (lambda: mean_by_patient([]), "with N > 0"),
        (lambda: mean_by_patient([1.0, 2.0], ["p"]), "patient_id has 1 rows for 2 images"),
        (lambda: patient_codes(["p", ""], 2), r"row 1 \(image '1'\): its patient_id is missing"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(MetricsError, match=words):
        call()


def test_an_estimate_is_shown_with_its_reason():
    no_interval = Estimate(0.5, math.nan, math.nan, reason="one patient")
    assert f"{no_interval:+.1f}" == "+0.5 (no interval: one patient)"
    assert f"{Estimate(-0.0001, -0.2, 0.1):.2f}" == "0.00 (-0.20 to 0.10)"


def test_each_method_is_one_word(rng):
    """Two and three classes, one and two images per patient."""
    for classes in (2, 3):
        score = rng.dirichlet(np.ones(classes), 200)
        true = np.r_[:classes, rng.integers(0, classes, 200 - classes)]
        for patients in (None, [str(i // 2) for i in range(200)]):
            shown = score[:, 1] if classes == 2 else score
            p = Predictions([str(i) for i in range(200)], true, shown, patients)
            result = evaluate(p, ordinal=True)
            words = {e.method for e in result.estimates.values()}
            for table in (result.per_class, result.per_cut):
                words |= set() if table is None else {e.method for e in table["estimate"]}
            assert words == {"Wilson", "DeLong", "bootstrap"}

"""Predictive values, people, net benefit, study size: by hand, by dcurves, and at the edges."""

import math

import numpy as np
import pandas as pd
import pytest

from medimg.errors import MetricsError
from medimg.metrics import (
    Estimate,
    Predictions,
    decision_curve,
    mean_by_patient,
    natural_frequencies,
    ppv_npv_at,
    sample_size,
    wilson,
)


def made(true, score, patients=None):
    return Predictions([str(i) for i in range(len(true))], true, score, patients)


def overconfident(rng, n=2000, factor=2.0):
    """Logits that are right, then sharpened by a factor."""
    logit = rng.normal(size=n) * 1.5
    true = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    return made(true, 1 / (1 + np.exp(-factor * logit)))


def test_bayes_by_hand():
    """Eddy's mammography problem: 1 %, 80 %, 9.6 % false alarms gives 7.8 %."""
    values = ppv_npv_at(0.01, 0.8, 0.904)
    assert values.ppv.value == pytest.approx(0.008 / (0.008 + 0.099 * 0.96), abs=1e-12)
    assert values.npv.value == pytest.approx(0.99 * 0.904 / (0.99 * 0.904 + 0.002))
    assert math.isnan(values.ppv.low)
    assert "without intervals" in values.ppv.reason


def test_bayes_has_an_interval_which_narrows_with_the_data():
    few = ppv_npv_at(0.05, wilson(45, 50), wilson(85, 100))
    many = ppv_npv_at(0.05, wilson(4500, 5000), wilson(8500, 10000))
    for values in (few, many):
        for e in (values.ppv, values.npv):
            assert 0 < e.low < e.value < e.high < 1
    assert many.ppv.high - many.ppv.low < 0.15 * (few.ppv.high - few.ppv.low)


def test_without_false_alarms_the_ppv_is_1_with_an_open_end():
    values = ppv_npv_at(0.05, wilson(9, 10), wilson(10, 10))
    assert (values.ppv.value, values.ppv.high) == (1, 1)
    assert 0 < values.ppv.low < 0.6


@pytest.mark.parametrize(
    ("prevalence", "se", "sp", "ppv", "npv"),
    [(0, 0.9, 0.9, 0, 1), (1, 0.9, 0.9, 1, 0), (0.5, 0, 1, math.nan, 0.5),
     (0.5, 1, 0, 0.5, math.nan)],
)  # fmt: skip
def test_edges_of_bayes(prevalence, se, sp, ppv, npv):
    values = ppv_npv_at(prevalence, se, sp)
    assert values.ppv.value == pytest.approx(ppv, nan_ok=True)
    assert values.npv.value == pytest.approx(npv, nan_ok=True)


def test_shares_out_of_range_are_refused():
    with pytest.raises(MetricsError, match="prevalence is 5"):
        ppv_npv_at(5, 0.9, 0.9)
    with pytest.raises(MetricsError, match=r"specificity is 1\.2"):
        ppv_npv_at(0.1, 0.9, 1.2)
    with pytest.raises(MetricsError, match="sensitivity is -1"):
        natural_frequencies(0.1, -1, 0.5)


def test_undefined_sensitivity_stays_undefined():
    values = ppv_npv_at(0.1, wilson(0, 0), wilson(9, 10))
    assert math.isnan(values.ppv.value)
    assert values.ppv.reason


def test_natural_frequencies_add_up(rng):
    for prevalence, se, sp in rng.random((50, 3)):
        c = natural_frequencies(prevalence, se, sp)
        assert c.diseased + c.false_positive + c.true_negative == 1000
        assert min(c.true_positive, c.false_negative, c.false_positive, c.true_negative) >= 0


def test_an_interval_lies_on_both_sides_of_the_value():
    """A wide specificity once gave a PPV of 0.286 (1.000 to 0.500)."""
    ppv = ppv_npv_at(0.1, Estimate(0.9, 0.8, 0.95), Estimate(0.75, 0.5, 0.9)).ppv
    assert ppv.value == pytest.approx(0.09 / (0.09 + 0.225))
    below = math.hypot(math.log(0.9 / 0.8), math.log(0.5 / 0.25))
    above = math.hypot(math.log(0.95 / 0.9), math.log(0.25 / 0.1))
    for bound, step in ((ppv.low, -below), (ppv.high, above)):
        odds = 0.1 / 0.9 * 3.6 * math.exp(step)
        assert bound == pytest.approx(odds / (1 + odds))


def test_every_pair_of_intervals_gives_bounds_in_order(rng):
    """Also where a bound or the value is 0 or 1, at any prevalence, rounded as in print."""
    for digits in (1, 2, 12):
        for _ in range(300):
            se, sp = (np.sort(row) for row in np.round(rng.random((2, 3)), digits))
            prevalence = rng.choice([0, 0.001, 0.1, 0.5, 0.99, 1])
            found = ppv_npv_at(prevalence, *(Estimate(v, lo, hi) for lo, v, hi in (se, sp)))
            for e in (found.ppv, found.npv):
                assert (math.isnan(e.value) and e.reason) or 0 <= e.low <= e.value <= e.high <= 1


def test_a_value_that_print_has_rounded_out_of_its_interval_is_taken():
    found = ppv_npv_at(0.1, Estimate(0.9, 0.902, 0.95), Estimate(0.8, 0.7, 0.796)).ppv
    assert found.low < found.value < found.high
    turned = ppv_npv_at(0.1, Estimate(0.9, 0.95, 0.902), Estimate(0.8, 0.796, 0.7)).ppv
    assert turned == found  # bounds may come in either order


@pytest.mark.parametrize(
    ("se", "sp", "words"),
    [
        (Estimate(0.9, 0.8, 1.2), 0.9, "sensitivity is 1.2"),
        (Estimate(0.9, 0.8, 0.95, 0.9), Estimate(0.9, 0.8, 0.95), "give one level for both"),
    ],
)
def test_intervals_that_cannot_be_are_refused(se, sp, words):
    with pytest.raises(MetricsError, match=words):
        ppv_npv_at(0.1, se, sp)


def test_net_benefit_by_hand():
    p = made([0, 0, 0, 1, 1], [0.1, 0.3, 0.6, 0.3, 0.9])
    table = decision_curve(p).set_index("threshold")
    assert table.loc[0.3, "model"] == pytest.approx(2 / 5 - 2 / 5 * 3 / 7)  # at 0.3 is positive
    assert table.loc[0.5, "model"] == pytest.approx(1 / 5 - 1 / 5)
    assert table.loc[0.5, "all"] == pytest.approx(2 / 5 - 3 / 5)
    assert (table["none"] == 0).all()


def test_net_benefit_is_that_of_dcurves(rng):
    dca = pytest.importorskip("dcurves").dca
    p = overconfident(rng, n=300)
    grid = [0.05, 0.2, 0.7]
    ours = decision_curve(p).set_index("threshold").loc[grid]
    frame = pd.DataFrame({"y": p.y_true, "m": p.y_score})
    theirs = dca(frame, outcome="y", modelnames=["m"], thresholds=grid)
    np.testing.assert_allclose(ours["model"], theirs[theirs["model"] == "m"]["net_benefit"])
    np.testing.assert_allclose(ours["all"], theirs[theirs["model"] == "all"]["net_benefit"])
    assert (ours["low"] < ours["model"]).all()
    assert (ours["model"] < ours["high"]).all()


def test_net_benefit_has_the_bootstrap_interval_of_a_mean():
    """At a threshold net benefit is the mean of what each image adds."""
    rng = np.random.default_rng(0)
    p = overconfident(rng, n=300)
    row = decision_curve(p).set_index("threshold").loc[0.3]
    gain = (p.y_score >= 0.3) * np.where(p.y_true == 1, 1.0, -3 / 7)
    mean = mean_by_patient(gain)
    assert row["model"] == pytest.approx(mean.value)
    assert (row["low"], row["high"]) == pytest.approx((mean.low, mean.high), abs=0.01)


def test_decimal_thresholds_meet_decimal_scores():
    """0.29 on the grid was once 0.29000000000000004, above a score of 0.29."""
    for score in np.arange(1, 100) / 100:
        table = decision_curve(made([0, 1], [0.0, score])).set_index("threshold")
        assert table.loc[score, "model"] == 0.5, score


def test_where_no_one_is_called_the_bootstrap_cannot_tell():
    table = decision_curve(made([0, 1, 1], [0.1, 0.2, 0.3])).set_index("threshold")
    assert table.loc[[0.2, 0.5], "low"].isna().tolist() == [False, True]


def test_a_study_is_just_large_enough():
    found = sample_size(sensitivity=0.9, half_width=0.05, prevalence=0.2)
    widths = [np.subtract(*[getattr(wilson(0.9 * n, n), e) for e in ("high", "low")])
              for n in (found.positive - 1, found.positive)]  # fmt: skip
    assert widths[0] > 0.1 >= widths[1]
    assert found.negative == 4 * found.positive


def test_a_study_of_an_auc_is_hanley_and_mcneils():
    """Their formula, written out for the 51 + 58 images and the AUC of their example."""
    a, q1, q2 = 0.893, 0.893 / 1.107, 2 * 0.893**2 / 1.893
    error = math.sqrt((a * (1 - a) + 50 * (q1 - a**2) + 57 * (q2 - a**2)) / (51 * 58))
    width = 1.959963984540054 * error
    found = sample_size(auc=0.893, half_width=width, prevalence=51 / 109)
    assert (found.positive, found.negative) == (51, 58)
    assert sample_size(auc=0.893, half_width=width * 0.999, prevalence=51 / 109).positive == 52


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"half_width": 0.05}, "either the expected sensitivity or the expected AUC"),
        ({"half_width": 0.05, "auc": 0.8, "sensitivity": 0.8}, "either the expected"),
        ({"half_width": 0, "auc": 0.8}, "half_width is 0"),
        ({"half_width": 0.05, "auc": 0.5}, "auc is 0.5"),
        ({"half_width": 0.05, "sensitivity": 1}, "sensitivity is 1"),
        ({"half_width": 0.05, "auc": 0.8, "prevalence": 1}, "prevalence is 1"),
    ],
)
def test_a_study_that_cannot_be_planned(settings, words):
    with pytest.raises(MetricsError, match=words):
        sample_size(**settings)


def test_net_benefit_of_one_class_is_refused():
    p = made([0, 1, 1], [0.2, 0.6, 0.7])
    with pytest.raises(MetricsError, match="images of both classes"):
        decision_curve(p.subset(p.y_true == 1))


@pytest.mark.parametrize("prevalence", [0.07, 0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("auc", [0.6, 0.8, 0.85, 0.95])
@pytest.mark.parametrize("half_width", [0.04, 0.1, 0.2])
def test_no_smaller_study_is_large_enough(prevalence, auc, half_width):
    """The numbers without disease are whole, so that the width does not fall evenly."""
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)

    def half(n):
        m = max(1, round(n * (1 - prevalence) / prevalence))
        spread = auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)
        return 1.959963984540054 * math.sqrt(spread / (n * m))

    found = sample_size(auc=auc, half_width=half_width, prevalence=prevalence).positive
    assert half(found) <= half_width
    assert all(half(n) > half_width for n in range(1, found))


def test_of_a_rare_disease_more_people_are_counted():
    with pytest.raises(MetricsError, match="1,000 people are too few for this prevalence"):
        natural_frequencies(0.0004, 0.9, 0.9)
    assert natural_frequencies(0.0004, 0.9, 0.9, people=10_000).diseased == 4
    assert natural_frequencies(0, 0.9, 0.9).diseased == 0

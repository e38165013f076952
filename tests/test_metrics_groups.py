"""Prevalence, subgroups, robustness: by hand, by fairlearn, and at the edges."""

import math

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, false_negative_rate, true_negative_rate

from medimg.errors import MetricsError
from medimg.metrics import (
    Predictions,
    age_bands,
    auc,
    corrupt,
    evaluate,
    natural_frequencies,
    ppv_npv_at,
    predictive_values,
    robustness,
    subgroups,
    wilson,
)
from medimg.metrics.robustness import STRENGTHS


def cohort(rng, n=600):
    true = rng.integers(0, 2, n)
    score = np.clip(0.35 * true + 0.65 * rng.random(n), 0, 1)
    table = pd.DataFrame(
        {
            "sex": rng.choice(["F", "M"], n),
            "age": age_bands(rng.uniform(0, 90, n)),
            "severity": np.where(true == 1, rng.choice(["mild", "severe"], n, p=[0.4, 0.6]), ""),
        }
    )
    return Predictions([str(i) for i in range(n)], true, score), table


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
    table = predictive_values([0.01, 0.1], 0.9, 0.9)
    assert table["ppv"].tolist() == pytest.approx([0.009 / 0.108, 0.5])


def test_groups_are_those_of_fairlearn(rng):
    p, table = cohort(rng)
    found = subgroups(p, table[["sex", "age"]], threshold=0.5).table
    for attribute in ("sex", "age"):
        frame = MetricFrame(
            metrics={"miss": false_negative_rate, "specificity": true_negative_rate},
            y_true=p.y_true, y_pred=p.predicted(0.5), sensitive_features=table[attribute],
        ).by_group  # fmt: skip
        ours = found[found["attribute"] == attribute].pivot_table(
            index="group", columns="metric", values="value"
        )
        ours = ours.loc[frame.index.astype(str)]
        np.testing.assert_allclose(ours["sensitivity"], 1 - frame["miss"])
        np.testing.assert_allclose(ours["specificity"], frame["specificity"])


def test_gaps_by_hand(rng):
    p, table = cohort(rng)
    report = subgroups(p, table[["sex"]], threshold=0.5)
    big, small = table["sex"].value_counts().index
    each = {s: evaluate(p.subset((table["sex"] == s).to_numpy()), threshold=0.5) for s in "FM"}
    gaps = report.gaps.set_index("metric")
    assert (gaps["group"] == small).all()
    assert (gaps["reference"] == big).all()
    for metric in ("sensitivity", "specificity", "auc"):
        a, b = each[small][metric], each[big][metric]
        assert gaps.loc[metric, "value"] == pytest.approx(a.value - b.value)
        low = a.value - b.value - math.hypot(a.value - a.low, b.high - b.value)
        assert gaps.loc[metric, "low"] == pytest.approx(low)


@pytest.mark.parametrize("nothing", ["", "none", "None", None])
def test_what_only_the_diseased_have_is_set_against_all_the_healthy(rng, nothing):
    p, table = cohort(rng)
    table["severity"] = table["severity"].where(p.y_true == 1, nothing)
    found = subgroups(p, table[["severity"]], threshold=0.5).table
    assert set(found["group"]) == {"mild", "severe"}
    assert set(found["metric"]) == {"sensitivity", "auc"}
    mild = p.subset(((table["severity"] == "mild") | (p.y_true == 0)).to_numpy())
    row = found[(found["group"] == "mild") & (found["metric"] == "auc")].iloc[0]
    assert row["value"] == auc(mild).value
    assert row["n"] == row["positives"] == (table["severity"] == "mild").sum()


def test_none_is_a_group_like_others_where_some_healthy_have_more(rng):
    p, _ = cohort(rng)
    devices = pd.DataFrame({"device": rng.choice(["none", "pacemaker"], len(p))})
    found = subgroups(p, devices, threshold=0.5).table
    assert (found.groupby("group")["metric"].nunique() == 3).all()
    assert set(found["group"]) == {"none", "pacemaker"}


def test_small_and_unknown_groups_say_so(rng):
    p, _ = cohort(rng, n=80)
    site = pd.Series(["A"] * 70 + ["B"] * 5 + [None] * 5, name="site")
    report = subgroups(p, site.to_frame(), threshold=0.5)
    assert list(dict.fromkeys(report.table["group"])) == ["A", "B", "unknown"]
    assert any(w.startswith("site B: too small to say") for w in report.warnings)
    assert not any(w.startswith("site A") for w in report.warnings)
    assert "too small to say" in repr(report)


def test_a_group_of_one_class_is_undefined_with_a_reason():
    p = Predictions("abcd", [0, 1, 1, 1], [0.1, 0.8, 0.7, 0.2])
    report = subgroups(p, pd.DataFrame({"view": ["PA", "PA", "AP", "AP"]}), threshold=0.5)
    row = report.table.set_index(["group", "metric"]).loc[("AP", "specificity")]
    assert math.isnan(row["value"])
    assert row["reason"] == "no negative image"
    assert report.gaps.set_index("metric").loc["auc", "reason"]


def test_groups_that_do_not_fit_are_refused(rng):
    p, table = cohort(rng, n=30)
    with pytest.raises(MetricsError, match="groups has 29 rows and the predictions 30, so row 29"):
        subgroups(p, table[:29], threshold=0.5)
    with pytest.raises(MetricsError, match="column 'id' has 30 groups"):
        subgroups(p, pd.DataFrame({"id": range(30)}), threshold=0.5)


def test_age_bands_at_their_edges():
    ages = [0, 17.9, 18, 39.9, 40, "64.99", "65", 103, None, " ", np.nan]
    found = age_bands(pd.Series(ages, dtype=object))
    names = ["under 18"] * 2 + ["18-39"] * 2 + ["40-64"] * 2 + ["65 and over"] * 2
    assert found[:8].tolist() == names
    assert found[8:].isna().all()
    assert age_bands([3, 70], edges=(5,)).tolist() == ["under 5", "5 and over"]


def test_ages_as_dicom_writes_them():
    """PS3.5: three digits and D, W, M or Y."""
    ages = ["017Y", "018Y", "216M", "215M", "939W", "940W", "999D", "065Y", ""]
    found = age_bands(ages)
    old = ["18-39", "18-39", "under 18", "under 18", "18-39", "under 18", "65 and over"]
    assert found[:8].tolist() == ["under 18", *old]
    assert found[8:].isna().all()


@pytest.mark.parametrize("age", ["x", "34Y", "034y", -1, "-3", np.inf])
def test_an_age_that_cannot_be_read_is_named(age):
    with pytest.raises(MetricsError, match=rf"row 1: the age is .*{age}.*034Y"):
        age_bands(pd.Series([30, age], dtype=object))


def images(rng, n=24):
    """Images of 20 x 30 with a bright patch, off the centre, in the second half."""
    made = rng.integers(60, 120, (n, 20, 30)).astype(np.uint8)
    made[n // 2 :, 3:8, 20:27] += 90
    return made


@pytest.mark.parametrize("kind", list(STRENGTHS))
def test_corruptions_keep_the_form_and_grow(rng, kind):
    clean = images(rng)
    before = clean.copy()
    change = []
    for strength in STRENGTHS[kind]:
        worse = corrupt(clean, kind, strength)
        assert worse.shape == clean.shape
        assert worse.dtype == np.uint8
        change.append(np.abs(worse.astype(float) - clean).mean())
    assert change == sorted(change)
    assert change[0] < change[-1]
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(corrupt(clean, kind, 1.5), corrupt(clean, kind, 1.5))


def test_corruptions_by_hand():
    row = np.array([[[0, 64, 255]]], np.uint8)
    assert corrupt(row, "exposure", 0.5).ravel().tolist() == [
        0,
        round(255 * (64 / 255) ** 0.5),
        255,
    ]
    assert corrupt(row, "contrast", 0.0).ravel().tolist() == [106, 106, 106]
    assert corrupt(row, "exposure", 1.0).ravel().tolist() == [0, 64, 255]
    dot = np.zeros((1, 5, 7), np.uint8)
    dot[0, 2, 5] = 200
    turned = corrupt(dot, "rotation", 90)
    assert np.unravel_index(turned.argmax(), turned.shape) in [(0, 0, 3), (0, 4, 3)]
    noisy = corrupt(np.full((1, 200, 300), 128, np.uint8), "noise", 10)
    assert noisy.std() == pytest.approx(10, rel=0.02)


def test_robustness_measures_what_it_says(rng):
    clean = images(rng)
    true = np.repeat([0, 1], 12)

    def patch(x):
        return x[:, 3:8, 20:27].mean(axis=(1, 2)) / 255

    table = robustness(patch, clean, true, threshold=0.5, strengths={"contrast": (0.5, 0.1)})
    assert table["level"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert table["metric"].tolist() == ["auc", "sensitivity", "specificity"] * 3
    for level, strength in ((0, 1.0), (2, 0.1)):
        p = Predictions(
            [str(i) for i in range(24)], true, patch(corrupt(clean, "contrast", strength))
        )
        row = table[(table["level"] == level) & (table["metric"] == "sensitivity")].iloc[0]
        assert row["value"] == evaluate(p, threshold=0.5)["sensitivity"].value


def test_bad_images_and_kinds_are_refused(rng):
    with pytest.raises(MetricsError, match=r"float64 of shape \(2, 3\); expected uint8"):
        corrupt(np.zeros((2, 3)), "noise", 1)
    with pytest.raises(MetricsError, match="corruption 'fog' is not known"):
        corrupt(images(rng), "fog", 1)
    with pytest.raises(MetricsError, match="corruption 'fog' is not known"):
        robustness(lambda x: x, images(rng), [0, 1], threshold=0.5, strengths={"fog": (1,)})

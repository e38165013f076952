"""Subgroups and ages: by hand, by fairlearn, and at the edges."""

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
    auc_difference,
    evaluate,
    subgroups,
    wilson,
)


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


def test_a_group_of_one_class_is_undefined_with_a_reason():
    p = Predictions("abcd", [0, 1, 1, 1], [0.1, 0.8, 0.7, 0.2])
    report = subgroups(p, pd.DataFrame({"view": ["PA", "PA", "AP", "AP"]}), threshold=0.5)
    row = report.table.set_index(["group", "metric"]).loc[("AP", "specificity")]
    assert math.isnan(row["value"])
    assert row["reason"] == "no negative image"
    assert report.gaps.set_index("metric").loc["auc", "reason"]


def test_without_a_positive_image_every_attribute_still_has_its_groups():
    """Where no one is ill, "none" of all was once taken for what only the diseased have."""
    p = Predictions("abcd", [0, 0, 0, 0], [0.1, 0.8, 0.7, 0.2])
    report = subgroups(p, pd.DataFrame({"grade": ["none", "none", "", ""]}), threshold=0.5)
    found = report.table.set_index(["group", "metric"])
    assert found.loc[("none", "specificity"), "value"] == 0.5
    assert found.loc[("none", "sensitivity"), "reason"] == "no positive image"


def test_groups_that_do_not_fit_are_refused(rng):
    p, table = cohort(rng, n=30)
    with pytest.raises(MetricsError, match="groups has 29 rows for 30 images"):
        subgroups(p, table[:29], threshold=0.5)
    with pytest.raises(MetricsError, match="column 'id' has 30 groups"):
        subgroups(p, pd.DataFrame({"id": range(30)}), threshold=0.5)


def test_age_bands_at_their_edges():
    ages = [0, 17.9, 18, 39.9, 40, "64.99", "65", 103, None, " ", np.nan]
    found = age_bands(pd.Series(ages, dtype=object))
    names = ["under 18"] * 2 + ["18-39"] * 2 + ["40-64"] * 2 + ["65 and over"] * 2
    assert found[:8].tolist() == names
    assert found[8:].isna().all()


@pytest.mark.parametrize("age", ["x", "034Y", -1, "-3", np.inf])
def test_an_age_that_cannot_be_read_is_named(age):
    with pytest.raises(MetricsError, match=rf"row 1: the age is .*{age}.*years as a number"):
        age_bands(pd.Series([30, age], dtype=object))


def two_machines(rng, n=120):
    """Each film twice: as it is, and from a machine on which all scores are lower and noisier."""
    true = rng.integers(0, 2, n)
    score = np.clip(0.4 * true + 0.6 * rng.random(n), 0, 1)
    other = np.clip(score - 0.15 + 0.05 * rng.normal(size=n), 0, 1)
    patients = [str(i // 2) for i in range(n)]
    one = Predictions([f"{i}A" for i in range(n)], true, score, patients)
    both = Predictions([*one.ids, *(f"{i}B" for i in range(n))], np.tile(true, 2),
                       np.r_[score, other], patients * 2)  # fmt: skip
    return one, both, pd.DataFrame({"machine": np.repeat(["A", "B"], n)})


def test_the_same_films_twice_are_compared_in_pairs(rng):
    """The gap is that of `auc_difference`, and far narrower than between independent groups."""
    one, both, machines = two_machines(rng)
    gaps = subgroups(both, machines, threshold=0.5).gaps.set_index("metric")
    paired = auc_difference(one.with_scores(both.y_score[len(one) :]), one)
    found = gaps.loc["auc"]
    assert (found["value"], found["low"], found["high"]) == pytest.approx(
        (paired.value, paired.low, paired.high)
    )
    apart = Predictions(both.ids, both.y_true, both.y_score)  # as if all films were of strangers
    wide = subgroups(apart, machines, threshold=0.5).gaps.set_index("metric")
    for metric in ("sensitivity", "auc"):
        width = gaps.loc[metric, "high"] - gaps.loc[metric, "low"]
        assert width < 0.8 * (wide.loc[metric, "high"] - wide.loc[metric, "low"]), metric


def test_a_paired_gap_of_shares_is_newcombes_by_hand():
    """Newcombe 1998b, method 10 without continuity correction, by its formula.

    One film per patient on each machine; called on A and B: 36 both, 12 A only, 2 B only, 0 none.
    """
    called = np.repeat([[1, 1], [1, 0], [0, 1]], [36, 12, 2], axis=0)
    n = len(called)
    patients = [str(i) for i in range(n)] * 2
    both = Predictions([str(i) for i in range(2 * n)], [1] * 2 * n, called.T.ravel(), patients)
    machines = pd.DataFrame({"machine": np.repeat(["A", "B"], n)})
    found = subgroups(both, machines, threshold=0.5).gaps.set_index("metric").loc["sensitivity"]
    a, b = wilson(48, 50), wilson(38, 50)
    r = np.corrcoef(called.T)[0, 1]
    x, y = b.value - b.low, a.high - a.value
    assert found["value"] == pytest.approx(-0.2)
    assert found["low"] == pytest.approx(-0.2 - math.sqrt(x**2 + y**2 - 2 * r * x * y))
    x, y = b.high - b.value, a.value - a.low
    assert found["high"] == pytest.approx(-0.2 + math.sqrt(x**2 + y**2 - 2 * r * x * y))


def test_independent_groups_have_newcombes_interval():
    """Newcombe 1998, example 56/70 against 48/80: 0.0524 to 0.3339 (method 10)."""
    true, called = [1] * 150, [1] * 56 + [0] * 14 + [1] * 48 + [0] * 32
    p = Predictions([str(i) for i in range(150)], true, called)
    site = pd.DataFrame({"site": ["small"] * 70 + ["large"] * 80})
    gap = subgroups(p, site, threshold=0.5).gaps.set_index("metric").loc["sensitivity"]
    assert (round(gap["value"], 4), round(gap["low"], 4), round(gap["high"], 4)) == (
        0.2,
        0.0524,
        0.3339,
    )


@pytest.mark.parametrize("count", [5, 7])  # of which Student's t at a level near 0 rounds to 0
def test_a_group_of_few_patients_with_several_images_has_a_gap(count):
    people = [f"p{k}" for k in range(count)]
    p = Predictions(
        [f"x{k}" for k in range(count + 7)], [1] * (count + 5) + [0, 0],
        [0.1, 0.9, *[0.8] * (count - 1), 0.9, 0.9, 0.2, 0.7, 0.1, 0.2],
        [people[0], *people, *"cdefgh"],
    )  # fmt: skip
    groups = pd.DataFrame({"site": ["S"] * (count + 1) + ["N"] * 6})
    gap = subgroups(p, groups, threshold=0.5).gaps.set_index("metric").loc["sensitivity"]
    assert gap["low"] < gap["value"] < gap["high"]
    assert abs(gap["value"]) == pytest.approx(abs(count / (count + 1) - 3 / 4))


def test_unknown_is_one_group_however_it_is_written_and_no_reference(rng):
    p, _ = cohort(rng, n=80)
    sexes = ["F"] * 10 + ["M "] * 20 + [" "] * 20 + ["Unknown"] * 10 + ["UNKNOWN"] * 5 + [None] * 15
    sexes[10] = "M"
    for column in (pd.Series(sexes), pd.Series(sexes, dtype="category")):
        report = subgroups(p, column.to_frame("sex"), threshold=0.5)
        sizes = report.table.drop_duplicates("group").set_index("group")["n"].to_dict()
        assert sizes == {"F": 10, "M": 20, "unknown": 50}
        assert set(report.gaps["reference"]) == {"M"}

"""The parts of the report: tables and pictures; the sentences around them are in the template."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from medimg import metrics, plots
from medimg.metrics import Estimate, Evaluation, Predictions, SubgroupReport
from medimg.plots.canvas import metric_name
from medimg.reports.page import picture

TILES: Final = ("sensitivity", "specificity", "auc", "kappa_quadratic", "balanced_accuracy",
                "auc_macro")  # fmt: skip
"""Metrics that come first, where they are there."""
MOST_CURVES: Final = 7
"""More curves than this in one figure cannot be told apart."""


def metric_table(result: Evaluation) -> pd.DataFrame:
    """Tabulate each metric with its interval."""
    values = [f"{estimate:.2f}" for estimate in result.estimates.values()]
    value = f"Value ({100 * result.level:g} % interval)"
    return pd.DataFrame({"Metric": [metric_name(name) for name in result], value: values})


def wide(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Turn a table of one metric per row into one group per row, one column per metric.

    A group that lacks a metric which others have shares the healthy images with them (see
    `medimg.metrics.subgroups`), and its cell says so.
    """
    rows: Any = table.itertuples(index=False)
    cells = [f"{Estimate(r.value, r.low, r.high, reason=r.reason):.2f}" for r in rows]
    result = table.assign(shown=cells).pivot_table(
        index=keys, columns="metric", values="shown", aggfunc="first", sort=False, observed=True
    )
    result = result.fillna("the same healthy images in every group").reset_index()
    return result.rename(columns=metric_name).rename_axis(columns=None)


def numbers(
    result: Evaluation, predictions: Predictions, others: dict[str, Estimate]
) -> dict[str, Any]:
    """All metrics, what each means and how its interval, and those of others, were made."""
    words = pd.read_csv(Path(__file__).with_name("words.csv"), index_col="metric")["words"]
    positive = predictions.positive if predictions.is_binary else "the class"
    meant = [words.get(name, "").replace("image", predictions.unit).replace("{positive}", positive)
             for name in result]  # fmt: skip
    every = pd.Series({name: e.method for name, e in (result.estimates | others).items()})
    made = every[every != ""].groupby(every, sort=False).groups
    methods = [(how, ", ".join(map(metric_name, names))) for how, names in made.items()]
    return {
        "metrics": metric_table(result).assign(**{"In words": meant}),
        "methods": pd.DataFrame(methods, columns=["Method", "Metrics"]),
        "per_class": None if result.per_class is None else wide(result.per_class, ["class", "n"]),
        "per_cut": None if result.per_cut is None else wide(result.per_cut, ["cut", "n"]),
    }


def each_class(predictions: Predictions) -> dict[str, Predictions]:
    """Return each class against the rest (two classes: the positive one), where there are both.

    Of many classes the commonest.
    """
    sizes = np.bincount(predictions.y_true, minlength=len(predictions.classes))
    both = [int(k) for k in np.argsort(-sizes, kind="stable") if 0 < sizes[k] < len(predictions)]
    if predictions.is_binary:
        return {predictions.positive: predictions} if both else {}
    return {predictions.classes[k]: predictions.one_vs_rest(k) for k in sorted(both[:MOST_CURVES])}


def curves(result: Evaluation, each: dict[str, Predictions]) -> dict[str, Any]:
    """Draw calls, curves, calibration and, for two classes, net benefit.

    What the images do not define is left out.
    """
    calibration: dict[str, Any] = {"brier": {name: metrics.brier(p) for name, p in each.items()}}
    others = dict(zip(["brier_score"], calibration["brier"].values(), strict=False))
    drawn, better = {"confusion": plots.plot_confusion(result)}, ""
    if len(each) == 1:
        (one,) = each.values()
        benefit = metrics.decision_curve(one)
        better = where_better(benefit)
        line = calibration["line"] = metrics.calibration_line(one)
        others |= {"calibration_intercept": line.intercept, "calibration_slope": line.slope}
        drawn |= {
            "roc": plots.plot_roc(one, threshold=result.threshold),
            "pr": plots.plot_pr(one, threshold=result.threshold),
            "reliability": plots.plot_reliability(one),
            "decision": plots.plot_decision_curve(benefit),
        }
    elif each:
        drawn |= {"roc": plots.plot_roc(each), "reliability": plots.plot_reliability(each, bins=5)}
    pictures = {name: picture(ax) for name, ax in drawn.items()}
    return {"figures": pictures, "calibration": calibration, "better": better, "others": others}


def where_better(curve: pd.DataFrame) -> str:
    """Say at which thresholds the model has more net benefit than both rivals."""
    better = curve["threshold"][curve["model"] > np.maximum(curve["all"], 0) + 1e-12]
    ends = f", the lowest {better.min():.2f}, the highest {better.max():.2f}" if len(better) else ""
    return (
        "Acting on the model gives more net benefit than acting on everyone or on no one at "
        f"{len(better)} of {len(curve)} risk thresholds{ends}."
    )


def prevalence(result: Evaluation, target: float) -> dict[str, Any]:
    """PPV and NPV at several prevalences, and the picture of 1,000 people, 10,000 if it is rare."""
    if result.threshold is None or not result.confusion.sum(axis=1).all():
        return {"prevalence": None}  # there must be images of both classes
    se, sp = result["sensitivity"], result["specificity"]
    at = [(share, metrics.ppv_npv_at(share, se, sp)) for share in sorted({0.01, 0.05, 0.2, target})]
    lines = [(f"{100 * share:.3g} %", f"{v.ppv:.3f}", f"{v.npv:.3f}") for share, v in at]
    people = 1000 if round(1000 * target) or not target else 10_000
    counts = metrics.natural_frequencies(target, se.value, sp.value, people=people)
    return {
        "prevalence": pd.DataFrame(lines, columns=["Prevalence", "PPV", "NPV"]),
        "frequencies": picture(plots.plot_natural_frequencies(counts)),
        "people": str(counts),
    }


def group_section(groups: SubgroupReport | None) -> dict[str, Any]:
    """Subgroups: table, forest plots, gaps, and which groups are too small."""
    if groups is None:
        return {"groups": None, "forests": {}}
    forests = {}
    for metric in ("sensitivity", "specificity", "accuracy"):
        some = groups.table[groups.table["metric"] == metric].dropna(subset="value")
        if len(some):
            ends = some.sort_values("value").iloc[[0, -1]].itertuples(index=False)
            least, most = (f"{e.value:.2f} ({e.attribute} {e.group})" for e in ends)
            alt = f"{metric_name(metric)} by group: from {least} to {most}."
            forests[alt] = picture(plots.plot_subgroups(groups, metric=metric))
    keys = [*groups.table.loc[:, :"metric"]][:-1]  # with the positives, where there are some
    return {
        "groups": wide(groups.table, keys),
        "gaps": wide(groups.gaps, ["attribute", "group", "reference"]),
        "group_warnings": groups.warnings,
        "forests": forests,
    }

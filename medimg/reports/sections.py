"""The parts of the report: tables and pictures; the sentences around them are in the template."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any, Final

import numpy as np
import pandas as pd

from medimg import metrics, plots
from medimg.metrics import Evaluation, Predictions, SubgroupReport
from medimg.plots.canvas import metric_name
from medimg.reports.page import picture, shown, wide

MOST_CURVES: Final = 7
"""More curves than this in one figure cannot be told apart."""


def people(predictions: Predictions, unit: str) -> str:
    """Say how many images of how many patients; an image's own name is not a patient."""
    n, patients = len(predictions), predictions.patient_ids
    if unit == "patient":
        return f"{n} patients"
    if patients is None or np.array_equal(patients, predictions.ids):
        return f"{n} images (patients not known; each image counted as one)"
    return f"{n} images of {predictions.n_patients} patients"


def each_class(predictions: Predictions) -> dict[str, Predictions]:
    """Return each class against the rest (two classes: the positive one), where there are both.

    Of many classes the commonest.
    """
    sizes = np.bincount(predictions.y_true, minlength=len(predictions.classes))
    both = [int(k) for k in np.argsort(-sizes, kind="stable") if 0 < sizes[k] < len(predictions)]
    if predictions.is_binary:
        return {predictions.positive: predictions} if both else {}
    return {predictions.classes[k]: predictions.one_vs_rest(k) for k in sorted(both[:MOST_CURVES])}


def numbers(result: Evaluation, predictions: Predictions, unit: str) -> dict[str, Any]:
    """All metrics, what each means and how its interval was made."""
    with resources.files("medimg.reports").joinpath("words.csv").open(encoding="utf-8") as file:
        words = pd.read_csv(file).set_index("metric")["words"].to_dict()
    positive = predictions.positive if predictions.is_binary else "the class"
    made: dict[str, list[str]] = {}
    for name, estimate in result.estimates.items():
        if estimate.method:
            made.setdefault(estimate.method, []).append(metric_name(name))
    meant = [words.get(name, "").replace("image", unit).replace("{positive}", positive)
             for name in result]  # fmt: skip
    return {
        "metrics": metric_table(result).assign(**{"In words": meant}),
        "methods": pd.DataFrame(
            {"Method": list(made), "Metrics": [", ".join(names) for names in made.values()]}
        ),
        "per_class": None if result.per_class is None else wide(result.per_class, ["class", "n"]),
    }


def metric_table(result: Evaluation) -> pd.DataFrame:
    """Tabulate each metric with its interval."""
    values = [shown(estimate) for estimate in result.estimates.values()]
    value = f"Value ({100 * result.level:g} % interval)"
    return pd.DataFrame({"Metric": [metric_name(name) for name in result], value: values})


def figures(result: Evaluation, each: dict[str, Predictions]) -> dict[str, str]:
    """Draw calls, curves and calibration; what the images do not define is left out."""
    drawn = {"confusion": picture(plots.plot_confusion(result))}
    if len(each) == 1 and result.threshold is not None:
        (one,) = each.values()
        drawn["roc"] = picture(plots.plot_roc(one, threshold=result.threshold))
        drawn["pr"] = picture(plots.plot_pr(one, threshold=result.threshold))
        drawn["reliability"] = picture(plots.plot_reliability(one))
    elif each:
        drawn["roc"] = picture(plots.plot_roc(each))
        drawn["reliability"] = picture(plots.plot_reliability(each, bins=5))
    return drawn


def prevalence(result: Evaluation, target: float) -> dict[str, Any]:
    """PPV and NPV at several prevalences, and the picture of 1,000 people."""
    if not {"sensitivity", "specificity"} <= set(result):
        return {"prevalence": None}
    se, sp = result["sensitivity"], result["specificity"]
    if math.isnan(se.value) or math.isnan(sp.value):
        return {"prevalence": None}
    own = result["prevalence"].value
    lines = []
    for share in sorted({0.01, 0.05, 0.2, target, own}):
        values = metrics.ppv_npv_at(share, se, sp)
        name = f"{100 * share:.3g} %" + (" (this test set)" if share == own else "")
        lines.append((name, shown(values.ppv, 3), shown(values.npv, 3)))
    counts = metrics.natural_frequencies(target, se.value, sp.value)
    return {
        "prevalence": pd.DataFrame(lines, columns=["Prevalence", "PPV", "NPV"]),
        "frequencies": picture(plots.plot_natural_frequencies(counts)),
        "people": str(counts),
    }


def calibration(each: dict[str, Predictions]) -> dict[str, Any]:
    """Whether the scores can be read as probabilities, of each class; for two classes in full."""
    errors = {name: metrics.expected_calibration_error(p) for name, p in each.items()}
    found: dict[str, Any] = {"expected_calibration_error": errors}
    if len(each) == 1:
        (one,) = each.values()
        found |= {"brier": metrics.brier(one), "line": metrics.calibration_line(one)}
    return found


def decision(each: dict[str, Predictions]) -> dict[str, str]:
    """Net benefit over thresholds, in a picture and a sentence, for two classes."""
    if len(each) != 1:
        return {}
    curve = metrics.decision_curve(next(iter(each.values())))
    return {"picture": picture(plots.plot_decision_curve(curve)), "words": where_better(curve)}


def where_better(curve: pd.DataFrame) -> str:
    """Say from which to which threshold the model has more net benefit than both rivals."""
    better = curve["model"] > np.maximum(curve["all"], 0) + 1e-12
    ends = np.flatnonzero(np.diff(np.r_[0, better, 0])).reshape(-1, 2) - (0, 1)
    if len(ends) == 0:
        return "Acting on the model is nowhere better than acting on everyone or on no one."
    runs = curve["threshold"].to_numpy()[ends]
    low, high = runs[np.argmax(np.ptp(runs, axis=1))]
    others = "" if len(runs) == 1 else f", the longest of {len(runs)} such stretches"
    return (
        "Acting on the model gives more net benefit than acting on everyone or on no one "
        f"between risk thresholds of {low:.2f} and {high:.2f}{others}."
    )


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
    return {
        "groups": wide(groups.table, ["attribute", "group", "n", "positives"]),
        "gaps": wide(groups.gaps, ["attribute", "group", "reference"]),
        "group_warnings": groups.warnings,
        "forests": forests,
    }

"""The parts of the report: each turns results into tables, sentences and pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from medimg.metrics import (
    Evaluation,
    Predictions,
    SubgroupReport,
    brier,
    calibration_line,
    decision_curve,
    expected_calibration_error,
    natural_frequencies,
    ppv_npv_at,
)
from medimg.plots.evaluation import (
    plot_confusion,
    plot_decision_curve,
    plot_natural_frequencies,
    plot_pr,
    plot_reliability,
    plot_roc,
    plot_subgroups,
)
from medimg.plots.groups import metric_name
from medimg.reports.page import Picture, picture, shown, wide
from medimg.reports.words import WORDS


def summary(result: Evaluation, predictions: Predictions) -> str:
    """Say the result in one sentence."""
    known = predictions.patient_ids is not None
    people = f"of {result.n_patients} patients" if known else "of patients who are not known"
    if not predictions.is_binary:
        names = {"share called rightly": "accuracy", "mean AUC": "auc_macro"}
        task = f"telling {len(predictions.classes)} classes apart"
    else:
        names = {"sensitivity": "sensitivity", "specificity": "specificity", "AUC": "auc"}
        task = f"finding {predictions.positive}"
    found = "; ".join(f"{word} {shown(result[name])}" for word, name in names.items())
    return f"On {result.n_images} images {people}, {task}: {found}."


def facts(result: Evaluation, predictions: Predictions) -> pd.DataFrame:
    """Tabulate what was tested: numbers of images, classes, threshold."""
    counts = ", ".join(
        f"{name}: {int(np.sum(predictions.y_true == k))}"
        for k, name in enumerate(predictions.classes)
    )
    lines = [
        ("Images", result.n_images),
        ("Patients", result.n_patients if predictions.patient_ids is not None else "not known"),
        ("By class", counts),
    ]
    if result.threshold is not None:
        lines.append(("Threshold", str(result.threshold)))
    return pd.DataFrame(lines, columns=["", "Test set"])


def metric_table(result: Evaluation, predictions: Predictions) -> pd.DataFrame:
    """Tabulate each metric with its interval and its meaning in words."""
    positive = predictions.positive if predictions.is_binary else "the class"
    return pd.DataFrame(
        {
            "Metric": [metric_name(name) for name in result],
            "Value": [shown(e) for e in result.estimates.values()],
            "In words": [WORDS.get(name, "").format(positive=positive) for name in result],
        }
    )


def methods(result: Evaluation) -> pd.DataFrame:
    """Tabulate how each interval was made."""
    made: dict[str, list[str]] = {}
    for name, estimate in result.estimates.items():
        if estimate.method:
            made.setdefault(estimate.method, []).append(metric_name(name))
    return pd.DataFrame({"Method": list(made), "Metrics": [", ".join(v) for v in made.values()]})


def per_class_table(result: Evaluation) -> pd.DataFrame | None:
    """One class a row, for more than two classes."""
    if result.per_class is None:
        return None
    table = wide(result.per_class, ["class", "n"])
    return table.rename(columns={name: metric_name(str(name)) for name in table.columns})


def main_figures(result: Evaluation, predictions: Predictions) -> list[Picture]:
    """ROC, precision-recall and confusion matrix."""
    right = int(np.trace(result.confusion.to_numpy()))
    confusion = picture(
        plot_confusion(result),
        f"Confusion matrix: {right} of {result.n_images} images are called rightly.",
    )
    if not predictions.is_binary or math.isnan(result["auc"].value):
        return [confusion]
    precision = result["average_precision"]
    return [
        confusion,
        picture(
            plot_roc(predictions, threshold=result.threshold),
            f"ROC curve: the area under it is {shown(result['auc'])}, 0.50 by chance.",
        ),
        picture(
            plot_pr(predictions, threshold=result.threshold),
            f"Precision-recall curve: average precision {shown(precision)}, "
            f"{result['prevalence'].value:.2f} by chance.",
        ),
    ]


def prevalence_section(
    result: Evaluation, predictions: Predictions, prevalence: float
) -> dict[str, Any]:
    """PPV and NPV at several prevalences, and the picture of 1,000 people."""
    nothing = {"prevalence": None, "frequencies": None}
    if not predictions.is_binary:
        return nothing
    se, sp = result["sensitivity"], result["specificity"]
    if math.isnan(se.value) or math.isnan(sp.value):
        return nothing
    own = result["prevalence"].value
    lines = []
    for share in sorted({0.01, 0.05, 0.2, prevalence, own}):
        values = ppv_npv_at(share, se, sp)
        name = f"{100 * share:.3g} %" + (" (this test set)" if share == own else "")
        lines.append((name, shown(values.ppv, digits=3), shown(values.npv, digits=3)))
    counts = natural_frequencies(prevalence, se.value, sp.value)
    return {
        "prevalence": pd.DataFrame(lines, columns=["Prevalence", "PPV", "NPV"]),
        "frequencies": picture(plot_natural_frequencies(counts), str(counts)),
    }


def calibration_section(predictions: Predictions) -> dict[str, Any]:
    """Calibration in sentences and two pictures, for two classes, both present."""
    nothing: dict[str, Any] = {"calibration": [], "calibration_figures": []}
    if not predictions.is_binary:
        return nothing
    if len(np.unique(predictions.y_true)) < 2:
        return nothing
    score, error = brier(predictions), expected_calibration_error(predictions)
    line, curve = calibration_line(predictions), decision_curve(predictions)
    return {
        "calibration": [
            f"Brier score {shown(score.score, digits=3)} (0 is best; always saying the prevalence "
            f"would give {score.uncertainty:.3f}): reliability {score.reliability:.3f}, resolution "
            f"{score.resolution:.3f}.",
            f"Expected calibration error {shown(error, digits=3)}. Calibration intercept "
            f"{shown(line.intercept)} (0 is best), slope {shown(line.slope)} (1 is best; below 1 "
            "the scores are too extreme).",
        ],
        "calibration_figures": [
            picture(
                plot_reliability(predictions),
                f"Reliability diagram: scores miss the observed shares by {error.value:.3f} on "
                "average.",
            ),
            picture(plot_decision_curve(curve), f"Decision curve. {where_better(curve)}"),
        ],
    }


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
        return {"groups": None, "gaps": None, "group_warnings": (), "group_figures": []}
    pictures = []
    for metric in ("sensitivity", "specificity"):
        some = groups.table[groups.table["metric"] == metric].dropna(subset="value")
        if len(some):
            ends = some.sort_values("value").iloc[[0, -1]].itertuples(index=False)
            least, most = (f"{e.value:.2f} ({e.attribute} {e.group})" for e in ends)
            alt = f"{metric_name(metric)} by group: from {least} to {most}."
            pictures.append(picture(plot_subgroups(groups, metric=metric), alt))
    table = wide(groups.table, ["attribute", "group", "n", "positives"])
    gaps = wide(groups.gaps, ["attribute", "group", "reference"])
    names = {name: metric_name(str(name)) for name in [*table.columns, *gaps.columns]}
    return {
        "groups": table.rename(columns=names),
        "gaps": gaps.rename(columns=names),
        "group_warnings": groups.warnings,
        "group_figures": pictures,
    }

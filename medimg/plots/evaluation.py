"""Figures of an evaluation: ROC and precision-recall curves, confusion matrix, calibration.

Figures of decisions are in `medimg.plots.decisions`, those of people and groups in
`medimg.plots.groups`; both can be had from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medimg.metrics import (
    Estimate,
    Evaluation,
    Predictions,
    Threshold,
    auc,
    average_precision,
    pr_curve,
    rates,
    reliability,
    roc_curve,
)
from medimg.metrics.thresholds import as_threshold
from medimg.plots.decisions import plot_decision_curve, plot_prevalence
from medimg.plots.groups import plot_natural_frequencies, plot_subgroups
from medimg.plots.palette import GREY, STYLES

__all__ = [
    "plot_confusion",
    "plot_decision_curve",
    "plot_natural_frequencies",
    "plot_pr",
    "plot_prevalence",
    "plot_reliability",
    "plot_roc",
    "plot_subgroups",
]

Models = Predictions | Mapping[str, Predictions]


def _axes(ax: Axes | None, *, width: float = 5.2, height: float = 4.6) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained")
    return ax


def _named(predictions: Models) -> dict[str, Predictions]:
    return {"": predictions} if isinstance(predictions, Predictions) else dict(predictions)


def _label(name: str, what: str, estimate: Estimate) -> str:
    shown = "not defined" if math.isnan(estimate.value) else f"{estimate:.2f}"
    return f"{name}: {what} {shown}" if name else f"{what} {shown}"


def _square(ax: Axes, x: str, y: str) -> None:
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    ax.grid(alpha=0.3)


def plot_roc(
    predictions: Models, *, threshold: float | Threshold | None = None, ax: Axes | None = None
) -> Axes:
    """Draw ROC curves; at a threshold, its point with the intervals of both rates.

    Parameters
    ----------
    predictions : Predictions or mapping of str to Predictions
        Two-class predictions of one model, or of several by name.
    threshold : float or Threshold, optional
        In [0, 1], for all models.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.

    Raises
    ------
    MetricsError
        With more than two classes, or a threshold out of range.
    """
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="by chance: AUC 0.50")
    for (name, p), (colour, dash) in zip(_named(predictions).items(), cycle(STYLES), strict=False):
        curve = roc_curve(p)
        ax.plot(1 - curve["specificity"], curve["sensitivity"], color=colour, ls=dash, lw=2,
                label=_label(name, "AUC", auc(p)))  # fmt: skip
        if threshold is not None:
            cut = as_threshold(threshold).value
            part = rates(p, threshold=cut)
            se, sp = part["sensitivity"], part["specificity"]
            ax.errorbar(
                1 - sp.value, se.value, yerr=[[se.value - se.low], [se.high - se.value]],
                xerr=[[sp.high - sp.value], [sp.value - sp.low]], fmt="o", color=colour, capsize=4,
                label=f"threshold {cut:.2f} (95 % intervals)",
            )  # fmt: skip
    _square(ax, "1 - specificity (false alarms among the healthy)", "Sensitivity")
    ax.legend(loc="lower right", fontsize="small")
    return ax


def plot_pr(
    predictions: Models, *, threshold: float | Threshold | None = None, ax: Axes | None = None
) -> Axes:
    """Draw precision-recall curves as steps, with the prevalence, which a useless model has.

    Parameters
    ----------
    predictions : Predictions or mapping of str to Predictions
        Two-class predictions of one model, or of several by name.
    threshold : float or Threshold, optional
        In [0, 1], for all models; drawn as a point.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.

    Raises
    ------
    MetricsError
        With more than two classes, or a threshold out of range.
    """
    ax = _axes(ax)
    drawn: set[float] = set()
    for (name, p), (colour, dash) in zip(_named(predictions).items(), cycle(STYLES), strict=False):
        curve = pr_curve(p)
        first = curve[:1].assign(recall=0.0)
        line = pd.concat([first, curve])
        ax.step(line["recall"], line["precision"],
                where="pre", color=colour, ls=dash, lw=2,
                label=_label(name, "average precision", average_precision(p)))  # fmt: skip
        if threshold is not None:
            cut = as_threshold(threshold).value
            part = rates(p, threshold=cut)
            ax.plot(part["sensitivity"].value, part["ppv"].value, "o", color=colour,
                    label=f"threshold {cut:.2f}")  # fmt: skip
        share = float(np.mean(p.y_true == 1))
        if share not in drawn:  # models of the same images share one line
            ax.axhline(share, color=GREY, lw=1, ls=":", label=f"by chance: prevalence {share:.2f}")
        drawn.add(share)
    _square(ax, "Recall (sensitivity)", "Precision (PPV)")
    ax.legend(loc="lower left", fontsize="small")
    return ax


def plot_confusion(result: Evaluation | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: counts of each true class's total, and the shares.

    Parameters
    ----------
    result : Evaluation or DataFrame (K, K)
        From `evaluate` or `confusion_matrix`: true classes in rows, predicted ones in columns.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    matrix = result.confusion if isinstance(result, Evaluation) else result
    ax = _axes(ax, width=1.4 * len(matrix) + 2.2, height=1.2 * len(matrix) + 1.6)
    counts = matrix.to_numpy(dtype=float)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        of = f"{count:g} of {total[i, 0]:g}\n{100 * share[i, j]:.0f} %"
        text = of if total[i, 0] else "0"
        ax.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 0.5 else "k")
    names = [str(name) for name in matrix.index]
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="Predicted class", ylabel="True class (reference standard)")
    return ax


def plot_reliability(
    predictions: Models, *, bins: int = 10, strategy: Any = "quantile", ax: Axes | None = None
) -> Axes:
    """Draw a reliability diagram with the interval of each bin, and where the scores lie.

    Parameters
    ----------
    predictions : Predictions or mapping of str to Predictions
        Two-class predictions of one model, or of several by name.
    bins : int
        Number of bins at most.
    strategy : {"quantile", "uniform"}
        Bins of equally many images, or of equal width.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.

    Raises
    ------
    MetricsError
        With more than two classes, or bins or strategy out of range.
    """
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfectly calibrated")
    markers = cycle("osD^")
    for (name, p), (colour, dash) in zip(_named(predictions).items(), cycle(STYLES), strict=False):
        table = reliability(p, bins=bins, strategy=strategy)
        error = np.clip([table["observed"] - table["low"], table["high"] - table["observed"]], 0, 1)
        ax.errorbar(table["score"], table["observed"], yerr=error, fmt=next(markers), ls=dash,
                    color=colour, capsize=3, lw=1.5,
                    label=f"{name or 'observed'} (95 % intervals)")  # fmt: skip
        ax.plot(p.y_score, np.where(p.y_true == 1, 1.01, -0.01), "|", color=colour, alpha=0.4)
    _square(ax, "Mean score of the bin", "Observed share with the disease")
    # Above the axes: inside it would cover an interval wherever it stands.
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize="small", frameon=False)
    return ax

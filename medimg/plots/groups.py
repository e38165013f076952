"""Figures of people and groups: natural frequencies and subgroups."""

from __future__ import annotations

import math
from typing import Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from medimg.metrics import NaturalFrequencies, SubgroupReport
from medimg.plots.palette import BLUE, GREY, ORANGE

COLUMNS = 40
SHORT: Final = {
    "auc": "AUC", "auc_macro": "AUC, macro mean", "auc_weighted": "AUC, weighted mean",
    "ppv": "PPV", "npv": "NPV", "mcc": "MCC", "lr_positive": "LR+", "lr_negative": "LR-",
    "n": "Images", "positives": "With disease",
}  # fmt: skip


def plot_natural_frequencies(counts: NaturalFrequencies, *, ax: Axes | None = None) -> Axes:
    """Draw each person as a dot, by what the test says and what is true.

    Full dots have the disease, hollow ones have not; colour tells whether the test found them.

    Parameters
    ----------
    counts : NaturalFrequencies
        From `medimg.metrics.natural_frequencies`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 5), layout="constrained")
    kinds = (
        (counts.true_positive, "ill, found", ORANGE, "o", ORANGE),
        (counts.false_negative, "ill, missed", "black", "X", "black"),
        (counts.false_positive, "healthy, alarmed for nothing", BLUE, "s", "none"),
        (counts.true_negative, "healthy, cleared", "#C4C4C4", "o", "none"),
    )
    start = 0
    for number, label, colour, marker, face in kinds:
        place = np.arange(start, start + number)
        ax.scatter(place % COLUMNS, place // COLUMNS, s=15, marker=marker, edgecolors=colour,
                   facecolors=face, linewidths=1.1, label=f"{number} {label}")  # fmt: skip
        start += number
    ax.invert_yaxis()
    ax.set(xticks=[], yticks=[], aspect="equal")
    ax.set_xlabel(f"{counts.people:,} people, one dot each")
    ax.set_title(
        f"Of {counts.called} alarms, {counts.true_positive} are true; "
        f"{counts.false_negative} of {counts.diseased} ill people are missed",
        fontsize="medium",
    )
    ax.spines[:].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, fontsize="small",
              frameon=False)  # fmt: skip
    return ax


def plot_subgroups(
    report: SubgroupReport, *, metric: str = "sensitivity", ax: Axes | None = None
) -> Axes:
    """Draw a forest plot: each group's value with its interval; hollow where too small to say.

    Parameters
    ----------
    report : SubgroupReport
        From `medimg.metrics.subgroups`.
    metric : {"sensitivity", "specificity", "auc"}
        Which of its metrics.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    table = report.table[report.table["metric"] == metric].reset_index(drop=True)
    if ax is None:
        size = (6.4, 0.38 * len(table) + 1.6)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    labels = []
    for i, row in table.iterrows():
        labels.append(f"{row['attribute']}: {row['group']} (n = {row['n']})")
        y = int(str(i))
        if not math.isfinite(row["value"]):
            ax.text(0.5, y, f"not defined: {row['reason']}", va="center", ha="center",
                    color=GREY, fontsize="small")  # fmt: skip
            continue
        small = bool(row["warning"])
        ax.errorbar(
            row["value"], y,
            xerr=[[max(0.0, row["value"] - row["low"])], [max(0.0, row["high"] - row["value"])]],
            fmt="o", capsize=3, color=GREY if small else BLUE, mfc="white" if small else BLUE,
        )  # fmt: skip
    attributes = table["attribute"].to_numpy()
    for last in np.flatnonzero(attributes[1:] != attributes[:-1]):
        ax.axhline(last + 0.5, color=GREY, lw=0.5)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5),
           xlabel=f"{metric_name(metric)} ({100 * report.level:g} % interval)\n"
           "hollow: too few images to say",
           ylabel="Group")  # fmt: skip
    ax.grid(alpha=0.3, axis="x")
    return ax


def metric_name(metric: str) -> str:
    """Write a metric's name as in print."""
    return SHORT.get(metric, metric.replace("_", " ").capitalize())

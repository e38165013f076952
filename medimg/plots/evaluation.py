"""Figures of numbers: training, curves, counts, calibration, decisions, people and groups."""

import math
from collections.abc import Iterator, Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medimg import metrics
from medimg.metrics import Evaluation, Predictions, Threshold
from medimg.metrics.roc import as_threshold
from medimg.plots import canvas

Models = Predictions | Mapping[str, Predictions]
PEOPLE_PER_ROW = 40
MOST_CELLS = 12
"""A confusion matrix of more classes than this shows colours only."""


def _models(predictions: Models) -> Iterator[tuple[str, Predictions, dict[str, Any]]]:
    """Yield the words before each model's label, its predictions and its line style."""
    named = {"": predictions} if isinstance(predictions, Predictions) else predictions
    for (name, p), (colour, dash) in zip(named.items(), cycle(canvas.STYLES), strict=False):
        yield canvas.literal(f"{name}: " if name else ""), p, {"color": colour, "ls": dash}


def _unit_square(ax: Axes | None, x: str, y: str, *, diagonal: str = "") -> Axes:
    """Return axes from 0 to 1 with these labels, and with a dotted diagonal if it has a name."""
    ax = canvas.axes_or_new(ax, 5.2, 4.6)
    if diagonal:
        ax.plot([0, 1], [0, 1], color=canvas.GREY, lw=1, ls=":", label=diagonal)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
    ax.grid(alpha=0.3)
    return ax


def plot_history(history: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Show the losses and the validation AUC over the epochs, all on one axis.

    Parameters
    ----------
    history : DataFrame
        From `medimg.training.fit`.
    ax : matplotlib.axes.Axes, optional
        Where to draw, by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    ax = canvas.axes_or_new(ax, 6, 3.4)
    curves = (("train_loss", canvas.GREY, "o--", "training loss"),
              ("val_loss", canvas.BLUE, "o-", "validation loss"),
              ("val_auc", canvas.ORANGE, "s-.", "validation AUC"))  # fmt: skip
    for column, colour, style, label in curves:
        ax.plot(history[column], style, color=colour, ms=4, label=label)
    ax.set(xlabel="epoch", ylabel="loss (cross-entropy); AUC", xticks=history.index, ylim=(0, None))
    canvas.legend_above(ax, ncols=3, fontsize=9)
    return ax


def plot_roc(
    predictions: Models, *, threshold: float | Threshold | None = None, ax: Axes | None = None
) -> Axes:
    """Draw ROC curves; at a threshold, its point with the intervals of both rates.

    Parameters
    ----------
    predictions : Predictions or mapping of str to Predictions
        Two-class predictions of one model, or of several by name (or of each class against the
        rest).
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
    ax = _unit_square(ax, "1 - specificity (false positive rate)", "Sensitivity",
                      diagonal="by chance: AUC 0.50")  # fmt: skip
    for number, (name, p, style) in enumerate(_models(predictions)):
        curve = metrics.roc_curve(p)
        ax.plot(1 - curve["specificity"], curve["sensitivity"], **style, lw=2,
                label=f"{name}AUC {metrics.auc(p):.2f}")  # fmt: skip
        if threshold is not None:
            found, cut = metrics.rates(p, threshold=threshold), as_threshold(threshold).value
            se, sp = found["sensitivity"], found["specificity"]
            ax.errorbar(
                1 - sp.value, se.value, yerr=canvas.spread([se.value], se.low, se.high),
                xerr=canvas.spread([-sp.value], -sp.high, -sp.low), fmt="o", color=style["color"],
                # Once for all models.
                capsize=4, label="" if number else f"threshold {cut} (95 % intervals)",
            )  # fmt: skip
    ax.legend(loc="lower right", fontsize="small")
    return ax


def plot_pr(
    predictions: Predictions, *, threshold: float | Threshold | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a precision-recall curve as steps, with the prevalence, which a useless model has.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    threshold : float or Threshold, optional
        In [0, 1]; drawn as a point.
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
    ax = _unit_square(ax, "Recall (sensitivity)", "Precision (PPV)")
    curve = metrics.pr_curve(predictions)
    line = pd.concat([curve[:1].assign(recall=0.0), curve])
    ax.step(line["recall"], line["precision"], where="pre", color=canvas.BLUE, lw=2,
            label=f"average precision {metrics.average_precision(predictions):.2f}")  # fmt: skip
    if threshold is not None:
        found, cut = metrics.rates(predictions, threshold=threshold), as_threshold(threshold).value
        ax.plot(found["sensitivity"].value, found["ppv"].value, "o", color=canvas.BLUE,
                label=f"threshold {cut}")  # fmt: skip
    share = np.mean(predictions.y_true == 1)
    ax.axhline(share, color=canvas.GREY, lw=1, ls=":", label=f"by chance: prevalence {share:.2f}")
    ax.legend(loc="lower left", fontsize="small")
    return ax


def plot_confusion(result: Evaluation | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: counts of each true class's total, and the shares.

    Parameters
    ----------
    result : Evaluation or DataFrame (K, K)
        From `evaluate` or `confusion_matrix`: true classes in rows, predicted ones in columns. With
        more than 12 classes the shares are shown by colour only.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    matrix = result.confusion if isinstance(result, Evaluation) else result
    size = len(matrix)
    side = min(1.2 * size, 6.5)
    ax = canvas.axes_or_new(ax, side + 2.4, side + 1.6)
    counts = matrix.to_numpy(dtype=float)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    picture = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if size > MOST_CELLS:
        ax.figure.colorbar(picture, ax=ax, label="Share of the true class")
    else:
        for (i, j), count in np.ndenumerate(counts):
            of = f"{count:g} of {total[i, 0]:g}\n{100 * share[i, j]:.0f} %"
            ax.text(j, i, of if total[i, 0] else "0", ha="center", va="center",
                    fontsize=10 if size <= 5 else 6,
                    color="white" if share[i, j] > 0.71 else "black")  # fmt: skip
    names = [canvas.literal(name) for name in matrix.index]
    slanted: Any = {"rotation": 45, "ha": "right"} if sum(map(len, names)) > 12 * side else {}
    ax.set_xticks(range(size), names, **slanted)
    ax.set_yticks(range(size), names)
    ax.tick_params(labelsize="small" if size > 5 else "medium")
    ax.set(xlabel="Predicted class", ylabel="True class (reference standard)")
    return ax


def plot_reliability(
    predictions: Models, *, bins: int = 10, strategy: Any = "quantile", ax: Axes | None = None
) -> Axes:
    """Draw a reliability diagram with the interval of each bin, and where the scores lie.

    Parameters
    ----------
    predictions : Predictions or mapping of str to Predictions
        Two-class predictions of one model, or of several by name (or of each class against the
        rest).
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
    ax = _unit_square(ax, "Mean score of the bin", "Share with the disease (95 % interval)",
                      diagonal="perfectly calibrated")  # fmt: skip
    for (name, p, style), marker in zip(_models(predictions), cycle("osD^v"), strict=False):
        table = metrics.reliability(p, bins=bins, strategy=strategy)
        ax.errorbar(table["score"], table["observed"],
                    yerr=canvas.spread(table["observed"], table["low"], table["high"]),
                    fmt=marker, **style, capsize=3, lw=1.5, label=f"{name}observed")  # fmt: skip
        ax.plot(p.y_score, np.where(p.y_true == 1, 1.01, -0.01), "|", color=style["color"],
                alpha=0.4)  # fmt: skip
    canvas.legend_above(ax, ncols=2, fontsize="small")
    return ax


def plot_decision_curve(curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw net benefit over threshold probabilities, beside acting on everyone and on no one.

    Parameters
    ----------
    curve : DataFrame
        From `medimg.metrics.decision_curve`, with 95 % intervals.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.
    """
    ax = canvas.axes_or_new(ax, 6, 4.6)
    x = curve["threshold"]
    ax.fill_between(x, curve["low"], curve["high"], color=canvas.BLUE, alpha=0.15, lw=0)
    ax.plot(x, curve["model"], color=canvas.BLUE, lw=2, label="act on the model (95 % interval)")
    ax.plot(x, curve["all"], color=canvas.ORANGE, ls="--", label="act on everyone")
    ax.plot(x, curve["none"], color=canvas.GREY, ls=":", label="act on no one")
    top = max(float(curve["high"].fillna(curve["model"]).max()), float(curve["all"].max()), 0.01)
    ax.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top),
           xlabel="Threshold probability: the risk from which one would act",
           ylabel="Net benefit (true positives per patient)")  # fmt: skip
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return ax


def plot_natural_frequencies(counts: metrics.NaturalFrequencies, *, ax: Axes | None = None) -> Axes:
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
    ax = canvas.axes_or_new(ax, 6, 5)
    kinds = (
        (counts.true_positive, "with disease, found", canvas.ORANGE, "o", canvas.ORANGE),
        (counts.false_negative, "with disease, missed", "black", "X", "black"),
        (counts.false_positive, "without, false alarm", canvas.BLUE, "s", "none"),
        (counts.true_negative, "without, called negative", "#C4C4C4", "o", "none"),
    )
    start = 0
    for number, label, colour, marker, face in kinds:
        place = np.arange(start, start + number)
        ax.scatter(place % PEOPLE_PER_ROW, place // PEOPLE_PER_ROW, s=15, marker=marker,
                   edgecolors=colour, facecolors=face, linewidths=1.1,
                   label=f"{number} {label}")  # fmt: skip
        start += number
    ax.invert_yaxis()
    ax.set(xticks=[], yticks=[], aspect="equal", xlabel=f"{counts.people:,} people, one dot each")
    ax.set_title(f"Of {counts.called} called positive, {counts.true_positive} have the disease; "
                 f"{counts.false_negative} of {counts.diseased} with it are missed",
                 fontsize="medium")  # fmt: skip
    ax.spines[:].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2, fontsize="small",
              frameon=False)  # fmt: skip
    return ax


def plot_subgroups(
    report: metrics.SubgroupReport, *, metric: str = "sensitivity", ax: Axes | None = None
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
    ax = canvas.axes_or_new(ax, 6.4, 0.3 * len(table) + 1.5)
    rows: Any = [*table.itertuples(index=False)]
    labels = [canvas.literal(f"{row.attribute}: {row.group} (n = {row.n})") for row in rows]
    for y, row in enumerate(rows):
        if not math.isfinite(row.value):
            ax.text(0.5, y, canvas.literal(f"not defined: {row.reason}"), va="center", ha="center",
                    color=canvas.GREY, fontsize="small")  # fmt: skip
            continue
        colour = canvas.GREY if row.warning else canvas.BLUE
        ax.errorbar(row.value, y, xerr=canvas.spread([row.value], row.low, row.high), fmt="o",
                    capsize=3, color=colour, mfc="white" if row.warning else colour)  # fmt: skip
    attributes = table["attribute"].to_numpy()
    for last in np.flatnonzero(attributes[1:] != attributes[:-1]):
        ax.axhline(last + 0.5, color=canvas.GREY, lw=0.5)
    ax.set_yticks(range(len(labels)), labels)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5),
           xlabel=f"{canvas.metric_name(metric)} ({100 * report.level:g} % interval)\n"
           f"hollow: fewer than {metrics.groups.SMALLEST} to measure it on",
           ylabel="Group")  # fmt: skip
    ax.grid(alpha=0.3, axis="x")
    return ax

"""Figures of training: what trains when, and how it went."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from medimg.errors import TrainingError
from medimg.plots.canvas import BLUE, GREY, ORANGE, axes_or_new, literal


def plot_strategy(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Show which part of a network trains in which epoch, and how fast.

    Parameters
    ----------
    table : DataFrame
        From `medimg.training.plan`: one row per epoch, one column per stage.
    ax : Axes, optional
        Where to draw.

    Returns
    -------
    Axes
        Epochs across, the head on top; grey cells are frozen, the number is the multiple of the
        learning rate.

    Examples
    --------
    >>> from medimg.training import plan
    >>> plot_strategy(plan("gradual", ["stem", "stage1"], epochs=4)).get_xlabel()
    'epoch'
    """
    ax = axes_or_new(ax, 1.6 + 0.6 * len(table), 0.8 + 0.32 * table.shape[1])
    rates = table.to_numpy(float).T  # (stages, epochs)
    shown = np.ma.masked_equal(rates, 0.0)
    ax.set_facecolor("0.85")
    # One scale for all tables, so that the same rate has the same colour beside another strategy.
    ax.pcolormesh(shown, norm=LogNorm(0.01, 2), cmap="cividis", edgecolors="w", lw=1)
    for (row, column), rate in np.ndenumerate(rates):
        dark = "black" if rate > 0.1 else "white"
        ax.text(column + 0.5, row + 0.5, f"{rate:.2g}" if rate else "frozen", ha="center",
                va="center", fontsize=7, color=dark if rate else "0.35")  # fmt: skip
    ax.set_xticks(np.arange(len(table)) + 0.5, [str(epoch) for epoch in table.index])
    ax.set_yticks(np.arange(table.shape[1]) + 0.5, [literal(c) for c in table.columns])
    ax.set_xlabel("epoch")
    ax.set_ylabel("part of the network, input at the bottom")
    ax.set_title("multiple of the learning rate")
    return ax


def plot_history(history: pd.DataFrame, *, metric: str = "auc", ax: Axes | None = None) -> Axes:
    """Show the loss and a validation metric over the epochs.

    Parameters
    ----------
    history : DataFrame
        From `medimg.training.fit`.
    metric : {"auc", "accuracy"}
        What to show beside the loss.
    ax : Axes, optional
        Where to draw; the metric gets an axis of its own on the right.

    Returns
    -------
    Axes
        With training and validation loss on the left.

    Raises
    ------
    TrainingError
        When the history has neither a loss nor that metric.
    """
    losses = [name for name in ("train_loss", "val_loss") if name in history]
    if not losses and f"val_{metric}" not in history:
        raise TrainingError(
            f"the history has no loss and no val_{metric}; its columns: {list(history.columns)}"
        )
    ax = axes_or_new(ax, 6, 3.4)
    styles = {"train_loss": (GREY, "--", "training loss"),
              "val_loss": (BLUE, "-", "validation loss")}  # fmt: skip
    for name in losses:
        colour, line, label = styles[name]
        ax.plot(history.index, history[name], color=colour, ls=line, marker="o", ms=4, label=label)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (cross-entropy)")
    ax.set_xticks(list(history.index))
    ax.set_ylim(bottom=0)
    handles, labels = ax.get_legend_handles_labels()
    if f"val_{metric}" in history:
        right = ax.twinx()
        name = f"validation {'AUC' if metric == 'auc' else literal(metric)}"
        curve = history[f"val_{metric}"]
        drawn = right.plot(curve.index, curve, color=ORANGE, ls="-.", marker="s", ms=4, label=name)
        right.set_ylabel(name)
        handles, labels = [*handles, *drawn], [*labels, name]
    ax.legend(handles, labels, frameon=False, ncols=3, fontsize=9,
              loc="lower center", bbox_to_anchor=(0.5, 1))  # fmt: skip
    return ax

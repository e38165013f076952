"""Figures of training: what trains when, and how it went."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from medimg.errors import TrainingError
from medimg.plots import canvas


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
    ax = canvas.axes_or_new(ax, 1.6 + 0.6 * len(table), 0.8 + 0.32 * table.shape[1])
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
    ax.set_yticks(np.arange(table.shape[1]) + 0.5, [canvas.literal(c) for c in table.columns])
    ax.set(xlabel="epoch", ylabel="part of the network, input at the bottom",
           title="multiple of the learning rate")  # fmt: skip
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
    name = f"validation {'AUC' if metric == 'auc' else canvas.literal(metric)}"
    curves = (("train_loss", canvas.GREY, "--", "o", "training loss"),
              ("val_loss", canvas.BLUE, "-", "o", "validation loss"),
              (f"val_{metric}", canvas.ORANGE, "-.", "s", name))  # fmt: skip
    if not (found := [curve for curve in curves if curve[0] in history]):
        raise TrainingError(
            f"the history has no loss and no val_{metric}; its columns: {list(history.columns)}"
        )
    ax = canvas.axes_or_new(ax, 6, 3.4)
    ax.set(xlabel="epoch", ylabel="loss (cross-entropy)", xticks=list(history.index))
    lines = []
    for column, colour, dash, marker, label in found:
        on = ax if column.endswith("loss") else ax.twinx()
        lines += on.plot(history.index, history[column], color=colour, ls=dash, marker=marker, ms=4,
                         label=label)  # fmt: skip
        if on is not ax:
            on.set_ylabel(label)
    ax.set_ylim(bottom=0)
    canvas.legend_above(ax, *lines, ncols=3, fontsize=9)
    return ax

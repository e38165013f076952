"""Figures of training: what trains when, and how it went."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from medimg.errors import TrainingError


def plot_strategy(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Show which part of a network trains in which epoch, and how fast.

    Parameters
    ----------
    table : DataFrame
        From `medimg.training.plan`: one row an epoch, one column a stage.
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
    if ax is None:
        _, ax = plt.subplots(figsize=(1.6 + 0.6 * len(table), 0.8 + 0.32 * table.shape[1]))
    rates = table.to_numpy(float).T  # (stages, epochs)
    shown = np.ma.masked_equal(rates, 0.0)
    ax.set_facecolor("0.85")
    # One scale for all tables, so that the same rate has the same colour beside another strategy.
    ax.pcolormesh(shown, norm=LogNorm(0.01, 2), cmap="cividis", edgecolors="w", lw=1)
    for (row, column), rate in np.ndenumerate(rates):
        text = f"{rate:.2g}" if rate else "frozen"
        bright = rate > 0.1
        ax.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=7,
            color="0.35" if not rate else "black" if bright else "white",
        )
    ax.set_xticks(np.arange(len(table)) + 0.5, [str(epoch) for epoch in table.index])
    ax.set_yticks(np.arange(table.shape[1]) + 0.5, list(table.columns))
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
    ax = plt.subplots(figsize=(6, 3.4))[1] if ax is None else ax
    styles = {
        "train_loss": ("0.45", "--", "training loss"),
        "val_loss": ("C0", "-", "validation loss"),
    }
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
        name = {"auc": "AUC"}.get(metric, metric)
        curve = history[f"val_{metric}"]
        drawn = right.plot(
            curve.index, curve, color="C1", marker="s", ms=4, label=f"validation {name}"
        )
        right.set_ylabel(f"validation {name}")
        handles, labels = [*handles, *drawn], [*labels, f"validation {name}"]
    ax.legend(handles, labels, frameon=False, ncols=3, fontsize=9,
              loc="lower center", bbox_to_anchor=(0.5, 1))  # fmt: skip
    return ax


def live_curve(*, metric: str = "auc") -> Callable[[pd.DataFrame], None]:
    """Return an ``on_epoch`` for `medimg.training.fit` that redraws one figure in a notebook.

    Parameters
    ----------
    metric : {"auc", "accuracy"}
        As for `plot_history`.

    Returns
    -------
    callable
        Takes the history so far; outside a notebook it draws nothing visible.
    """
    from IPython.display import display

    handles: list[Any] = []

    def redraw(history: pd.DataFrame) -> None:
        figure, ax = plt.subplots(figsize=(6, 3.4))
        plot_history(history, metric=metric, ax=ax)
        plt.close(figure)
        if handles and handles[0] is not None:
            handles[0].update(figure)
        else:
            handles[:] = [display(figure, display_id=True)]  # type: ignore[no-untyped-call]

    return redraw

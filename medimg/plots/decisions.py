"""Figures of decisions: net benefit, and what a result means at each prevalence."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medimg.metrics import Estimate, ppv_npv_at
from medimg.plots.palette import BLUE, GREY, ORANGE


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
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
    x = curve["threshold"]
    ax.fill_between(x, curve["low"], curve["high"], color=BLUE, alpha=0.15, lw=0)
    ax.plot(x, curve["model"], color=BLUE, lw=2, label="act on the model (95 % interval)")
    ax.plot(x, curve["all"], color=ORANGE, ls="--", label="act on everyone")
    ax.plot(x, curve["none"], color=GREY, ls=":", label="act on no one")
    top = max(float(curve["high"].fillna(curve["model"]).max()), float(curve["all"].max()), 0.01)
    ax.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top))
    ax.set_xlabel("Threshold probability: the risk from which one would act")
    ax.set_ylabel("Net benefit (true positives a patient)")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return ax


def plot_prevalence(
    sensitivity: Estimate | float,
    specificity: Estimate | float,
    *,
    mark: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw PPV and NPV over prevalence (log scale), with a mark at one's own prevalence.

    Parameters
    ----------
    sensitivity, specificity : Estimate or float
        Estimates give bands, by their intervals; plain numbers in [0, 1] give lines only.
    mark : float, optional
        Prevalence at which to draw a line, in (0, 1).
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default on a figure of its own.

    Returns
    -------
    matplotlib.axes.Axes
        The axes that were drawn on.

    Raises
    ------
    MetricsError
        When a number is outside [0, 1].
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
    prevalences = np.geomspace(0.001, 0.9, 120)
    found = [ppv_npv_at(share, sensitivity, specificity) for share in prevalences.tolist()]
    lines = (("ppv", BLUE, "-", "PPV: ill if called positive"),
             ("npv", ORANGE, "--", "NPV: healthy if called negative"))  # fmt: skip
    for name, colour, dash, label in lines:
        values = [getattr(at, name) for at in found]
        ax.plot(prevalences, [e.value for e in values], color=colour, ls=dash, lw=2, label=label)
        ax.fill_between(prevalences, [e.low for e in values], [e.high for e in values],
                        color=colour, alpha=0.15, lw=0)  # fmt: skip
    if mark is not None:
        ax.axvline(mark, color=GREY, ls=":", label=f"prevalence here: {100 * mark:.3g} %")
    ax.set_xscale("log")
    ticks = [0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9]
    ax.set_xticks(ticks, [f"{100 * t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set(ylim=(-0.02, 1.02), xlabel="Prevalence of the disease (%)", ylabel="Predictive value")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", loc="center left")
    return ax

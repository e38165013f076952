"""Figures. Each ``plot_*`` takes arrays and draws on given axes; nothing is computed here."""

from medimg.plots.canvas import show
from medimg.plots.evaluation import (
    plot_confusion,
    plot_decision_curve,
    plot_natural_frequencies,
    plot_pr,
    plot_prevalence,
    plot_reliability,
    plot_roc,
    plot_subgroups,
)  # fmt: skip
from medimg.plots.images import (
    plot_cascade,
    plot_grid,
    plot_histogram,
    plot_image,
    plot_map,
    plot_map_grid,
    plot_split,
)  # fmt: skip
from medimg.plots.training import plot_history, plot_strategy

__all__ = [
    "plot_cascade", "plot_confusion", "plot_decision_curve", "plot_grid", "plot_histogram",
    "plot_history", "plot_image", "plot_map", "plot_map_grid", "plot_natural_frequencies",
    "plot_pr", "plot_prevalence", "plot_reliability", "plot_roc", "plot_split", "plot_strategy",
    "plot_subgroups", "show",
]  # fmt: skip

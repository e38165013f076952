"""Figures. Each ``plot_*`` takes arrays and draws on given axes; nothing is computed here."""

from medimg.plots.canvas import show
from medimg.plots.evaluation import (
    plot_confusion,
    plot_decision_curve,
    plot_history,
    plot_natural_frequencies,
    plot_pr,
    plot_reliability,
    plot_roc,
    plot_subgroups,
)
from medimg.plots.images import plot_grid, plot_image, plot_map, plot_map_grid

__all__ = [
    "plot_confusion", "plot_decision_curve", "plot_grid", "plot_history", "plot_image", "plot_map",
    "plot_map_grid", "plot_natural_frequencies", "plot_pr", "plot_reliability", "plot_roc",
    "plot_subgroups", "show",
]  # fmt: skip

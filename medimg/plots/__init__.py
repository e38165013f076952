"""Figures. Each ``plot_*`` takes arrays and draws on given axes; nothing is computed here."""

from medimg.plots.decisions import plot_decision_curve, plot_prevalence
from medimg.plots.evaluation import (
    plot_confusion,
    plot_pr,
    plot_reliability,
    plot_roc,
)
from medimg.plots.explanations import plot_cascade, plot_map, plot_map_grid, plot_methods
from medimg.plots.groups import plot_natural_frequencies, plot_subgroups
from medimg.plots.images import plot_grid, plot_histogram, plot_image, plot_split
from medimg.plots.show import show
from medimg.plots.training import live_curve, plot_history, plot_strategy

__all__ = [
    "live_curve",
    "plot_cascade",
    "plot_confusion",
    "plot_decision_curve",
    "plot_grid",
    "plot_histogram",
    "plot_history",
    "plot_image",
    "plot_map",
    "plot_map_grid",
    "plot_methods",
    "plot_natural_frequencies",
    "plot_pr",
    "plot_prevalence",
    "plot_reliability",
    "plot_roc",
    "plot_split",
    "plot_strategy",
    "plot_subgroups",
    "show",
]

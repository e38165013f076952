"""Figures. Each ``plot_*`` takes arrays and draws on given axes; nothing is computed here."""

from medimg.plots.images import plot_grid, plot_histogram, plot_image, plot_split
from medimg.plots.show import show

__all__ = [
    "plot_grid",
    "plot_histogram",
    "plot_image",
    "plot_split",
    "show",
]

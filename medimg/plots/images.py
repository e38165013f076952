"""Figures of images: one, a grid, a histogram of pixel values, images per split and class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medimg.plots import canvas

Array = npt.NDArray[np.generic]


def plot_image(image: Array, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Show one image, 0 black and 1 (or 255) white, without interpolated grey levels.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, 3)
        float in [0, 1] or uint8; grey or colour.
    title : str
        A title above the image.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = canvas.axes_or_new(ax, 4, 4)
    ax.imshow(image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
    ax.set_title(canvas.literal(title), fontsize=10)
    ax.set_axis_off()
    return ax


def plot_grid(
    images: Array | Sequence[Array], *, titles: Sequence[str] = (), columns: int = 6
) -> Figure:
    """Show images side by side.

    Parameters
    ----------
    images : ndarray, shape (N, H, W) or (N, H, W, 3), or sequence of ndarray
        float in [0, 1] or uint8.
    titles : sequence of str
        One for each image, or none.
    columns : int
        How many images per row.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = -(-len(images) // columns)
    side = min(2.6, 8 / columns)  # inches: few are shown larger, and titles stay legible on a phone
    figure, axes = canvas.panels(rows, columns, side * columns, 1.1 * side * rows)
    for ax in axes.flat:
        ax.set_axis_off()
    for number, (ax, image) in enumerate(zip(axes.flat, images, strict=False)):
        plot_image(image, title=titles[number] if titles else "", ax=ax)
    return figure


def plot_histogram(
    values: Array, *, unit: str, bins: int = 100, ax: Axes | None = None, label: str | None = None
) -> Axes:
    """Show how often each pixel value occurs.

    Parameters
    ----------
    values : ndarray
        Pixel values of any shape; NaN is left out.
    unit : str
        What the values are, for the axis: "stored value", "HU", ...
    bins : int
        Number of bars.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    label : str, optional
        A name for the legend.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = canvas.axes_or_new(ax, 5, 2.6)
    finite = np.asarray(values, dtype=np.float64)
    name = canvas.literal(label or "")
    ax.hist(finite[np.isfinite(finite)], bins=bins, histtype="stepfilled", alpha=0.6, label=name)
    ax.set(xlabel=f"pixel value ({canvas.literal(unit)})", ylabel="pixels")
    ax.spines[["top", "right"]].set_visible(False)
    if label:
        ax.legend(frameon=False)
    return ax


def plot_split(
    counts: npt.NDArray[np.int64], *, splits: Sequence[str], classes: Sequence[str],
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Show how many images of each class each split has.

    Parameters
    ----------
    counts : ndarray of int, shape (S, K)
        Images of each split and class.
    splits, classes : sequence of str
        The S and K names.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = canvas.axes_or_new(ax, 5, 0.5 * len(splits) + 0.9)
    left = np.zeros(len(splits))
    rows = [canvas.literal(name) for name in splits]
    for column, name in enumerate(classes):
        colour = colormaps["cividis"](0.25 + 0.6 * column / max(len(classes) - 1, 1))
        bars = ax.barh(rows, counts[:, column], left=left, label=canvas.literal(name), color=colour)
        labels = [str(count or "") for count in counts[:, column]]
        dark = column < len(classes) / 2
        ax.bar_label(bars, labels, label_type="center", color="white" if dark else "black")
        left += counts[:, column]
    ax.invert_yaxis()
    ax.set_xlabel("images")
    ax.spines[["top", "right"]].set_visible(False)
    canvas.legend_above(ax, ncols=min(len(classes), 4), fontsize="small")
    return ax

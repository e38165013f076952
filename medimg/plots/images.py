"""Figures of images: one, a grid, and maps that explain a network's call.

Maps use magma, whose lightness rises evenly, so that a strong place is a light one for every eye;
where a map is weak the film shows through. Lines differ in their dashes as well as in colour.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from medimg.plots import canvas

Array = npt.NDArray[Any]
LEVEL = 0.5
"""Where the outline of a map lies: at half its height."""


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


def plot_map(
    image: Array, heat: Array | None = None, *, mask: Array | None = None, title: str = "",
    target: str = "", ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Lay a map over its image, with its half-height outline and the true lesion.

    Parameters
    ----------
    image : array (H, W) or (H, W, 3)
        uint8, or float in [0, 1].
    heat : float array (H, W), optional
        Map in [0, 1]; its strength is both colour and opacity. Without it the image alone.
    mask : bool array (H, W), optional
        True lesion, drawn as a dashed outline.
    title : str
        A title above the image.
    target : str
        The class that the map explains, named in the title's last line.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        When map or mask have another shape than the image.

    Examples
    --------
    >>> ax = plot_map(np.zeros((4, 6)), np.eye(4, 6))
    >>> len(ax.images)
    2
    """
    ax = canvas.axes_or_new(ax, 4.4, 4.4)
    for name, other in (("map", heat), ("mask", mask)):
        if other is not None and other.shape != image.shape[:2]:
            raise ValueError(f"the {name} is {other.shape} and the image {image.shape[:2]}")
    named = f"map for the class {target}" if target else ""
    plot_image(image, title="\n".join(filter(None, (title, named))), ax=ax)
    if heat is not None:
        colours = colormaps["magma"](np.clip(heat, 0, 1))
        colours[..., 3] = 0.75 * np.clip(heat, 0, 1) ** 0.7
        ax.imshow(colours)
        if heat.max() > LEVEL > heat.min():
            ax.contour(heat, [LEVEL], colors="white", linewidths=1)
    if mask is not None and mask.any():
        ax.contour(mask, [0.5], colors=canvas.LIGHT_BLUE, linewidths=1.6, linestyles="--")
    return ax


def plot_map_grid(
    images: Array, maps: Mapping[str, Array], *, masks: Array | None = None,
    titles: Sequence[str] = (), target: str = "",
) -> Figure:  # fmt: skip
    """Show one row per image and one column per method, the plain image first.

    Parameters
    ----------
    images : array (N, H, W) or (N, H, W, 3)
        uint8, or float in [0, 1].
    maps : mapping of str to float array (N, H, W)
        Maps in [0, 1] by name of the method.
    masks : bool array (N, H, W), optional
        True lesions.
    titles : sequence of str
        One for each image, beside its row, or none.
    target : str
        The class that all maps explain, named above the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows, columns = len(images), len(maps) + 1
    figure, axes = canvas.panels(rows, columns, 1.9 * columns, 1.95 * rows + 0.3)
    lesions = masks is not None and masks.any()
    first = "image, true lesion" if lesions else "image"
    for i, row in enumerate(axes):
        mask = None if masks is None else masks[i]
        plot_map(images[i], mask=mask, title="" if i else first, ax=row[0])
        if titles:
            row[0].text(-0.06, 0.5, canvas.literal(titles[i]), transform=row[0].transAxes,
                        rotation=90, va="center", ha="right", fontsize=9)  # fmt: skip
        for ax, (name, heats) in zip(row[1:], maps.items(), strict=True):
            plot_map(images[i], heats[i], mask=mask, title="" if i else name, ax=ax)
    if target:
        figure.suptitle(canvas.literal(f"maps for the class {target}"), fontsize="medium")
    lines = (  # the map's is white on the film, but grey here, where the ground is white
        (maps, Line2D([], [], color=canvas.GREY, lw=1, label="map at half its height (white)")),
        (lesions, Line2D([], [], color=canvas.LIGHT_BLUE, lw=1.6, ls="--", label="true lesion")),
    )
    if drawn := [line for there, line in lines if there]:
        figure.legend(handles=drawn, ncols=2, fontsize="small", frameon=False,
                      loc="outside lower center")  # fmt: skip
    return figure

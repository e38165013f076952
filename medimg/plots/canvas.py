"""What all figures share: colours, axes, safe text, and the way into a notebook.

Colours are those of Okabe and Ito, which colour-blind people can tell apart; each has its own
dashes, so that lines also differ in black and white.
"""

import base64
import html
import io
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from medimg.tables import visible

BLUE: Final = "#0072B2"
ORANGE: Final = "#D55E00"
GREY: Final = "#767676"
LIGHT_BLUE: Final = "#56B4E9"
STYLES: Final = (
    (BLUE, "-"), (ORANGE, "--"), ("#009E73", "-."), ("#CC79A7", ":"),
    (LIGHT_BLUE, (0, (8, 2))), ("#E69F00", (0, (3, 1, 1, 1, 1, 1))), ("black", (0, (1, 1))),
)  # fmt: skip
"""Line colours with their dashes."""
SHORT: Final = {
    "auc": "AUC", "auc_macro": "AUC, macro mean", "ppv": "PPV", "npv": "NPV",
    "n": "Number", "positives": "With disease",
}  # fmt: skip


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given axes, or those of a new figure of this size in inches."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    """Return a new figure of this size in inches, and its axes as an array (rows, columns)."""
    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")


def spread(value: Any, low: Any, high: Any) -> Any:
    """Return the lengths of error bars, (2, N); none where an interval is not defined."""
    ends = np.array([np.subtract(value, low), np.subtract(high, value)], dtype=float)
    return np.nan_to_num(np.clip(ends, 0, None))


def legend_above(ax: Axes, **how: Any) -> None:
    """Put the legend above the axes: inside, it would hide a point or an interval."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False, **how)


def literal(text: object) -> str:
    r"""Make any text safe to draw: no mathematics, and a visible code for what has no glyph.

    Parameters
    ----------
    text : object
        A class name, a group, a file name: anything that comes from data.

    Returns
    -------
    str
        Dollar signs are escaped, control characters and broken bytes are written out.

    Examples
    --------
    >>> print(literal("$5 to $10"))
    \$5 to \$10
    >>> literal("a\x07\udcff")
    'a\\x07\\udcff'
    """
    return visible(text, lines=True).replace("$", r"\$")


def metric_name(metric: str) -> str:
    """Write a metric's name as in print.

    Examples
    --------
    >>> metric_name("auc"), metric_name("balanced_accuracy")
    ('AUC', 'Balanced accuracy')
    """
    return SHORT.get(metric, metric.replace("_", " ").capitalize())


def show(figure: Figure, *, alt: str, colours: int = 64) -> None:
    """Show a figure below the cell, with alternative text, and close it.

    The picture is an HTML image, because that is the only form whose alternative text reaches a
    screen reader in JupyterLab and in exported pages. Its text form, which a terminal shows, is the
    alternative text too.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    alt : str
        The finding in one sentence ("The left lower zone is white"), not "a plot of ...".
    colours : int
        Size of the palette, 2 to 256. Raise it for figures with a colour gradient.

    Examples
    --------
    >>> figure, axes = plt.subplots(figsize=(2, 2))
    >>> show(figure, alt="An empty pair of axes.")
    An empty pair of axes.
    """
    from IPython.display import publish_display_data

    picture = image_html(figure, alt, colours=colours)
    publish_display_data({"text/html": picture, "text/plain": alt})  # type: ignore[no-untyped-call]


def image_html(figure: Figure, alt: str, *, colours: int = 64) -> str:
    """Return a figure as an HTML image that holds its own data, and close the figure.

    The picture has a palette, which makes it three to five times smaller than matplotlib's own PNG,
    and neither date nor version, so that the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure; 100 pixels per inch, and never wider than the page.
    alt : str
        The finding in one sentence; any characters.
    colours : int
        Size of the palette, 2 to 256.

    Returns
    -------
    str
        One ``<img>`` element.
    """
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    image = Image.open(drawn).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    data = base64.b64encode(small.getvalue()).decode("ascii")
    words = html.escape(alt.encode("utf-8", "backslashreplace").decode("utf-8"))
    return (
        f'<img alt="{words}" src="data:image/png;base64,{data}" width="{image.width}" '
        'style="max-width: 100%; height: auto">'
    )

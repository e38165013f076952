"""Show a figure in a notebook as a small picture with a text for those who cannot see it."""

from __future__ import annotations

import base64
import io

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

DPI = 100


def show(figure: Figure, *, alt: str, colours: int = 64) -> None:
    """Show a figure below the cell, with alternative text, and close it.

    The picture is stored with a palette, which makes it three to five times smaller than
    matplotlib's own PNG, so that an executed notebook stays light. Its text form is the
    alternative text: that is what a screen reader says and what nbval compares.

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

    picture = base64.b64encode(_palette_png(figure, colours)).decode()
    plt.close(figure)
    publish_display_data(  # type: ignore[no-untyped-call]
        {"image/png": picture, "text/plain": alt}, metadata={"image/png": {"alt": alt}}
    )


def _palette_png(figure: Figure, colours: int) -> bytes:
    """Return the figure as a PNG with at most ``colours`` colours."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    image = Image.open(drawn).convert("RGB")
    small = io.BytesIO()
    image.quantize(colours, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()

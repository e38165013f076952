"""Sliders for notebooks: the window of an image, and a threshold at a prevalence.

Each slider has a number field beside it, which has a name for screen readers and takes exact
values. Without a running kernel (an exported lesson, a print) an explorer is the picture it began
with.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import traitlets
from matplotlib.figure import Figure

from medimg.errors import ImageReadError, MetricsError
from medimg.images import apply_window
from medimg.metrics import Predictions, natural_frequencies, rates
from medimg.plots import plot_image, plot_natural_frequencies
from medimg.plots.canvas import BLUE, GREY, ORANGE, image_html, legend_above, literal

Drawn = tuple[Figure, str]
"""A figure and what it shows, in a sentence."""


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """Number fields and sliders over a picture that follows them.

    Parameters
    ----------
    controls : dict of str to (slider, field)
        As `_control` makes them, by the name of the drawing function's argument.
    draw : callable
        Takes the controls' values by name; returns a figure and a sentence on it.
    """

    def __init__(self, controls: dict[str, tuple[Any, Any]], draw: Callable[..., Drawn]) -> None:
        self.draw = draw
        self.controls = {name: slider for name, (slider, _) in controls.items()}
        self.fields = {name: field for name, (_, field) in controls.items()}
        self.picture, self.words = ipywidgets.HTML(), ipywidgets.HTML()
        rows = [ipywidgets.HBox([field, slider]) for slider, field in controls.values()]
        super().__init__([*rows, self.picture, self.words])
        self.follow()
        for slider in self.controls.values():
            slider.observe(self.follow, names="value")

    def follow(self, _: object = None) -> None:
        """Draw for the values that the sliders have now."""
        figure, sentence = self.draw(**{name: s.value for name, s in self.controls.items()})
        self.picture.value, self.words.value = image_html(figure, sentence), html.escape(sentence)
        self.sentence = sentence

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Bring the picture too: a page without a kernel shows it in place of the widget."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self.picture.value, "text/plain": self.sentence}


def _control(
    name: str, value: float, low: float, high: float, step: float, *, log: bool = False
) -> tuple[Any, Any]:
    """Return a slider over a range (wider, if it starts outside), and the number field beside it.

    The field moves with the slider and has its name.
    """
    low, high = min(low, value), max(high, value)
    kind = ipywidgets.FloatLogSlider if log else ipywidgets.FloatSlider
    start, end = np.log10([low, high]) if log else (low, high)
    # a figure takes a fraction of a second: draw when the slider rests, not on the way
    slider = kind(value, min=start, max=end, step=0.05 if log else step, readout=False,
                  continuous_update=False)  # fmt: skip
    field = ipywidgets.BoundedFloatText(
        min=low, max=high, step=step, description=name, style={"description_width": "8em"},
        layout={"width": "16em"},
    )  # fmt: skip
    rounded = (lambda value: float(f"{value:.3g}") if log else value, float)
    traitlets.link((slider, "value"), (field, "value"), transform=rounded)
    return slider, field


def window_explorer(
    values: npt.NDArray[Any], *, centre: float | None = None, width: float | None = None,
    unit: str = "HU",
) -> Explorer:  # fmt: skip
    """Move the window of an image with two sliders; the histogram shows what is cut off.

    Parameters
    ----------
    values : float array (H, W)
        Modality values, as `medimg.images.read_values` gives them. NaN (padding) is black.
    centre, width : float, optional
        The first window; by default it spans all values.
    unit : str
        What the values are, for the axis.

    Returns
    -------
    Explorer
        Sliders with number fields, and the picture.

    Raises
    ------
    ImageReadError
        When the values are not an (H, W) image, or all the same.
    """
    values = np.asarray(values, dtype=np.float32)
    known = values[np.isfinite(values)]
    if values.ndim != 2 or known.size == 0 or known.min() == known.max():
        raise ImageReadError(
            f"values of shape {values.shape} have no window to move; expected an image (H, W) with "
            "at least two different values (of a volume, give one slice)."
        )
    low, high = float(known.min()), float(known.max())
    step = 10.0 ** (np.floor(np.log10(high - low)) - 2)
    middle = (low + high) / 2 if centre is None else centre
    span = high - low if width is None else width
    controls = {
        "centre": _control(f"centre ({unit})", middle, low, high, step),
        "width": _control(f"width ({unit})", span, step, 2 * (high - low), step),
    }

    def draw(centre: float, width: float) -> Drawn:
        start, end = centre - width / 2, centre + width / 2
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
        plot_image(apply_window(values, centre, width, function="LINEAR_EXACT"), ax=left)
        right.hist(known, bins=120, color=GREY, log=True)
        right.axvspan(start, end, color=BLUE, alpha=0.15, label="window: black to white")
        right.axvline(start, color=BLUE, ls="--")
        right.axvline(end, color=BLUE)
        right.set(xlim=(low, high), xlabel=f"Value ({literal(unit)})",
                  ylabel="Pixels (log scale)")  # fmt: skip
        right.legend(fontsize="small")
        black, white = 100 * np.mean(known <= start), 100 * np.mean(known >= end)
        return figure, (f"A window from {start:.4g} to {end:.4g} {unit} leaves {black:.0f} % of "
                        f"the pixels black and {white:.0f} % white.")  # fmt: skip

    return Explorer(controls, draw)


def threshold_explorer(
    predictions: Predictions, *, threshold: float = 0.5, prevalence: float | None = None
) -> Explorer:
    """Move a threshold and the prevalence; see who is found, missed and alarmed for nothing.

    Parameters
    ----------
    predictions : Predictions
        Two-class predictions.
    threshold : float
        The first threshold.
    prevalence : float, optional
        The first prevalence, in (0, 1); by default that of these images.

    Returns
    -------
    Explorer
        Sliders with number fields, and the picture.

    Raises
    ------
    MetricsError
        When there are more than two classes, or only one among these images.
    """
    share = float(np.mean(predictions.y_true == 1))
    if not predictions.is_binary or not 0 < share < 1:
        raise MetricsError(
            "the explorer needs two-class predictions with images of both classes; "
            "predictions.one_vs_rest(k) makes them of more classes."
        )
    start = share if prevalence is None else prevalence
    controls = {
        "threshold": _control("threshold (%)", 100 * threshold, 0, 100, 1),
        "prevalence": _control("prevalence (%)", 100 * start, 0.1, 90, 0.1, log=True),
    }

    def draw(threshold: float, prevalence: float) -> Drawn:
        found = rates(predictions, threshold=threshold / 100)
        se, sp = found["sensitivity"], found["specificity"]
        counts = natural_frequencies(prevalence / 100, se.value, sp.value)
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.4, 3.8), layout="constrained", width_ratios=(1, 1.4)
        )
        bins = np.linspace(0, 1, 26).tolist()
        for k, colour, hatch in ((0, BLUE, ""), (1, ORANGE, "//")):
            scores = predictions.y_score[predictions.y_true == k]
            left.hist(scores, bins=bins, color=colour, alpha=0.55, hatch=hatch,
                      label=literal(predictions.classes[k]))  # fmt: skip
        left.axvline(threshold / 100, color="black", ls="--", label=f"threshold {threshold:.3g} %")
        left.set(xlim=(0, 1), xlabel=literal(f"Score: P({predictions.positive})"), ylabel="Images")
        # padded: the legend lies below the title, clear of the bars
        left.set_title(f"Sensitivity {se:.2f}\nspecificity {sp:.2f}", fontsize="medium", pad=22)
        legend_above(left, fontsize="small", ncols=3, columnspacing=1, handlelength=1.5,
                     handletextpad=0.5)  # fmt: skip
        plot_natural_frequencies(counts, ax=right)
        return figure, f"Threshold {threshold:.3g} %, prevalence {prevalence:.3g} %: {counts}"

    return Explorer(controls, draw)

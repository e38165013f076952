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
from medimg.metrics import Predictions, evaluate, natural_frequencies
from medimg.plots import plot_natural_frequencies
from medimg.plots.canvas import BLUE, GREY, ORANGE, image_html, literal

Drawn = tuple[Figure, str]
"""A figure and what it shows, in a sentence."""


class Explorer(ipywidgets.VBox):  # type: ignore[misc]
    """Number fields and sliders over a picture that follows them.

    Parameters
    ----------
    controls : dict of str to FloatSlider or FloatLogSlider
        By the name of the drawing function's argument.
    draw : callable
        Takes the controls' values by name; returns a figure and a sentence on it.
    """

    def __init__(self, controls: dict[str, Any], draw: Callable[..., Drawn]) -> None:
        self.controls, self.draw = controls, draw
        self.picture, self.words = ipywidgets.HTML(), ipywidgets.HTML()
        self.fields = {name: _field(slider) for name, slider in controls.items()}
        rows = [ipywidgets.HBox([self.fields[name], slider]) for name, slider in controls.items()]
        super().__init__([*rows, self.picture, self.words])
        self.follow()
        for slider in controls.values():
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


def _field(slider: Any) -> ipywidgets.BoundedFloatText:
    """Return a number field that moves with a slider and has its name."""
    log = isinstance(slider, ipywidgets.FloatLogSlider)
    low, high = (10.0**slider.min, 10.0**slider.max) if log else (slider.min, slider.max)
    field = ipywidgets.BoundedFloatText(
        min=low, max=high, step=0.1 if log else slider.step, description=slider.description,
        style={"description_width": "8em"}, layout={"width": "16em"},
    )  # fmt: skip
    slider.readout, slider.description = False, ""
    # a figure takes a fraction of a second: draw when the slider rests, not on the way
    slider.continuous_update = False
    rounded = (lambda value: float(f"{value:.3g}") if log else value, float)
    traitlets.link((slider, "value"), (field, "value"), transform=rounded)
    return field


def window_explorer(
    values: npt.NDArray[Any],
    *,
    centre: float | None = None,
    width: float | None = None,
    unit: str = "HU",
) -> Explorer:
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
    sliders = {
        "centre": ipywidgets.FloatSlider(
            middle, min=min(low, middle), max=max(high, middle), step=step,
            description=f"centre ({unit})",
        ),
        "width": ipywidgets.FloatSlider(
            span, min=min(span, step), max=max(2 * (high - low), span), step=step,
            description=f"width ({unit})",
        ),
    }  # fmt: skip
    return Explorer(sliders, lambda centre, width: _window(values, known, centre, width, unit))


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
    sliders = {
        "threshold": ipywidgets.FloatSlider(
            100 * threshold, min=0, max=100, step=1, description="threshold (%)"
        ),
        "prevalence": ipywidgets.FloatLogSlider(
            100 * start, base=10, min=-1, max=np.log10(90), step=0.05,
            description="prevalence (%)",
        ),
    }  # fmt: skip
    return Explorer(
        sliders,
        lambda threshold, prevalence: _threshold(predictions, threshold / 100, prevalence / 100),
    )


def _window(
    values: npt.NDArray[np.float32],
    known: npt.NDArray[np.float32],
    centre: float,
    width: float,
    unit: str,
) -> Drawn:
    low, high = centre - width / 2, centre + width / 2
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    shown = apply_window(values, centre, width, function="LINEAR_EXACT")
    left.imshow(shown, cmap="gray", vmin=0, vmax=1)
    left.set_axis_off()
    right.hist(known, bins=120, color=GREY, log=True)
    right.axvspan(low, high, color=BLUE, alpha=0.15, label="window: black to white")
    right.axvline(low, color=BLUE, ls="--")
    right.axvline(high, color=BLUE)
    right.set(xlim=(float(known.min()), float(known.max())), xlabel=f"Value ({literal(unit)})",
              ylabel="Pixels (log scale)")  # fmt: skip
    right.legend(fontsize="small")
    black, white = float(np.mean(known <= low)), float(np.mean(known >= high))
    return figure, (
        f"A window from {low:.4g} to {high:.4g} {unit} leaves {100 * black:.0f} % of the pixels "
        f"black and {100 * white:.0f} % white."
    )


def _threshold(predictions: Predictions, threshold: float, prevalence: float) -> Drawn:
    found = evaluate(predictions, threshold=threshold)
    sensitivity, specificity = found["sensitivity"], found["specificity"]
    counts = natural_frequencies(prevalence, sensitivity.value, specificity.value)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.4, 3.8), layout="constrained", width_ratios=(1, 1.4)
    )
    bins = np.linspace(0, 1, 26).tolist()
    for k, colour, hatch in ((0, BLUE, ""), (1, ORANGE, "//")):
        left.hist(predictions.y_score[predictions.y_true == k], bins=bins, color=colour, alpha=0.55,
                  hatch=hatch, label=literal(predictions.classes[k]))  # fmt: skip
    left.axvline(threshold, color="black", ls="--", label=f"threshold {100 * threshold:.3g} %")
    left.set(xlim=(0, 1), xlabel=literal(f"Score: P({predictions.positive})"), ylabel="Images")
    rates = f"Sensitivity {sensitivity:.2f}\nspecificity {specificity:.2f}"
    left.set_title(rates, fontsize="medium", pad=22)  # the legend lies below it, clear of the bars
    left.legend(fontsize="small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1),
                ncols=3, columnspacing=1, handlelength=1.5, handletextpad=0.5)  # fmt: skip
    plot_natural_frequencies(counts, ax=right)
    return (
        figure,
        f"Threshold {100 * threshold:.3g} %, prevalence {100 * prevalence:.3g} %: {counts}",
    )

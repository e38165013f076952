"""Sliders for notebooks: the window of an image, and a threshold at a prevalence.

Each explorer shows its first figure as an ordinary picture too, so that a page without a running
kernel (an exported lesson, a print) still says what it has to say.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from medimg.errors import ImageReadError, MetricsError
from medimg.images import apply_window
from medimg.metrics import Predictions, evaluate, natural_frequencies
from medimg.plots.groups import plot_natural_frequencies
from medimg.plots.show import show

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#767676"
Drawn = tuple[Figure, str]
"""A figure and what it shows, in a sentence."""


def window_explorer(
    values: npt.NDArray[Any],
    *,
    centre: float | None = None,
    width: float | None = None,
    unit: str = "HU",
) -> ipywidgets.VBox:
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
    ipywidgets.VBox
        Two sliders and the picture. The first picture is also shown by itself.

    Raises
    ------
    ImageReadError
        When the values are no (H, W) image or all the same.
    """
    values = np.asarray(values, dtype=np.float32)
    known = values[np.isfinite(values)]
    if values.ndim != 2 or known.size == 0 or known.min() == known.max():
        raise ImageReadError(
            f"values of shape {values.shape} have no window to move; expected an image (H, W) with "
            "at least two different values."
        )
    low, high = float(known.min()), float(known.max())
    step = 10.0 ** (np.floor(np.log10(high - low)) - 2)
    middle = (low + high) / 2 if centre is None else centre
    span = high - low if width is None else width
    sliders = {
        "centre": ipywidgets.FloatSlider(
            middle, min=min(low, middle), max=max(high, middle), step=step, description="centre"
        ),
        "width": ipywidgets.FloatSlider(
            span, min=max(step, 1.0), max=max(2 * (high - low), span), step=step,
            description="width",
        ),
    }  # fmt: skip
    return _explorer(sliders, lambda centre, width: _window(values, known, centre, width, unit))


def threshold_explorer(
    predictions: Predictions, *, threshold: float = 0.5, prevalence: float | None = None
) -> ipywidgets.VBox:
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
    ipywidgets.VBox
        Two sliders and the picture. The first picture is also shown by itself.

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
            threshold, min=0, max=1, step=0.01, description="threshold"
        ),
        "percent": ipywidgets.FloatLogSlider(
            100 * start, base=10, min=-1, max=np.log10(90), step=0.05,
            description="prevalence", readout_format=".3g",
        ),
    }  # fmt: skip
    return _explorer(
        sliders, lambda threshold, percent: _threshold(predictions, threshold, percent / 100)
    )


def _explorer(
    sliders: dict[str, ipywidgets.FloatSlider], draw: Callable[..., Drawn]
) -> ipywidgets.VBox:
    """Show the first figure, and return sliders over a picture that follows them."""
    picture, words = ipywidgets.Image(format="png"), ipywidgets.HTML()

    def follow(_: object = None) -> None:
        figure, sentence = draw(**{name: slider.value for name, slider in sliders.items()})
        picture.value, words.value = _png(figure), sentence
        plt.close(figure)

    figure, sentence = draw(**{name: slider.value for name, slider in sliders.items()})
    picture.value, words.value = _png(figure), sentence
    show(figure, alt=sentence)
    for slider in sliders.values():
        # a figure takes a fraction of a second: draw when the slider rests, not on the way
        slider.continuous_update = False
        slider.layout = ipywidgets.Layout(width="32em")
        slider.observe(follow, names="value")
    return ipywidgets.VBox([*sliders.values(), picture, words])


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


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
    right.set(xlim=(float(known.min()), float(known.max())), xlabel=f"Value ({unit})",
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
                  hatch=hatch, label=predictions.classes[k])  # fmt: skip
    left.axvline(threshold, color="black", ls="--", label=f"threshold {threshold:.2f}")
    left.set(xlim=(0, 1), xlabel=f"Score: P({predictions.positive})", ylabel="Images")
    rates = f"Sensitivity {sensitivity:.2f}\nspecificity {specificity:.2f}"
    left.set_title(rates, fontsize="medium", pad=22)  # the legend lies below it, clear of the bars
    left.legend(fontsize="small", frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1),
                ncols=3, columnspacing=1, handlelength=1.5, handletextpad=0.5)  # fmt: skip
    plot_natural_frequencies(counts, ax=right)
    return figure, f"Threshold {threshold:.2f}, prevalence {100 * prevalence:.3g} %: {counts}"

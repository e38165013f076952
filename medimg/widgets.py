"""Widgets for notebooks: a window, a threshold at a prevalence, and a reading study.

Each slider has a number field beside it, which has a name for screen readers and takes exact
values. Without a running kernel (an exported lesson, a print) an explorer is the picture it began
with, and a reading study a sheet of its images.
"""

import html
from collections.abc import Callable
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from medimg.errors import ImageReadError, MetricsError
from medimg.images import apply_window
from medimg.metrics import Predictions, evaluate, natural_frequencies, rates
from medimg.plots import plot_grid, plot_image, plot_natural_frequencies, plot_roc
from medimg.plots.canvas import BLUE, GREY, ORANGE, image_html, legend_above, literal

Drawn = tuple[Any, str]
"""A figure and what it shows, in a sentence."""

SURE = ("1 surely not", "2 probably not", "3 undecided", "4 probably", "5 surely")


class Pictured(ipywidgets.VBox):  # type: ignore[misc]
    """Controls, a sentence, and the picture that it describes.

    Parameters
    ----------
    controls : list of Widget
        What stands above the sentence.
    """

    def __init__(self, controls: list[Any]) -> None:
        self.words, self.picture = ipywidgets.HTML(), ipywidgets.HTML()
        super().__init__([*controls, self.words, self.picture])

    def show(self, figure: Any, sentence: str) -> None:
        """Show a figure, and the sentence on it, which a screen reader speaks."""
        self.sentence = sentence
        self.words.value = f'<p role="alert">{html.escape(sentence)}</p>'
        self.picture.value = image_html(figure, sentence, colours=128)

    def still(self) -> str:
        """Return what a page without a kernel shows in place of the widget."""
        return str(self.picture.value)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self.still(), "text/plain": self.sentence}


class Explorer(Pictured):
    """Number fields and sliders over a picture that follows them.

    Parameters
    ----------
    draw : callable
        Takes a value of each range by its name; returns a figure and a sentence on it.
    ranges : (str, float, float, float, float)
        Name on the screen, first value, least and largest value, and step.
    """

    def __init__(
        self, draw: Callable[..., Drawn], **ranges: tuple[str, float, float, float, float]
    ) -> None:
        self.draw, self.fields, rows = draw, dict[str, Any](), []
        for name, (label, value, low, high, step) in ranges.items():
            # a figure takes a fraction of a second: draw when the slider rests, not on the way
            slider = ipywidgets.FloatSlider(
                value, min=low, max=high, step=step, readout=False, continuous_update=False
            )
            field = ipywidgets.BoundedFloatText(
                value, min=low, max=high, step=step, description=label,
                style={"description_width": "8em"}, layout={"width": "16em"},
            )  # fmt: skip
            ipywidgets.link((slider, "value"), (field, "value"))
            field.observe(self.follow, names="value")
            self.fields[name] = field
            rows.append(ipywidgets.HBox([field, slider]))
        super().__init__(rows)
        self.follow()

    def follow(self, _: object = None) -> None:
        """Draw for the values that the fields have now."""
        self.show(*self.draw(**{name: field.value for name, field in self.fields.items()}))


def window_explorer(
    values: npt.NDArray[Any], *, centre: float, width: float, unit: str = "HU"
) -> Explorer:
    """Move the window of an image with two sliders; the histogram shows what is cut off.

    Parameters
    ----------
    values : float array (H, W)
        Modality values, as `medimg.images.read_values` gives them. NaN (padding) is black.
    centre, width : float
        The first window.
    unit : str
        What the values are, for the axis.

    Returns
    -------
    Explorer
        Sliders with number fields, and the picture.

    Raises
    ------
    ImageReadError
        When the values are not an (H, W) image, or are all equal.
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

    def draw(centre: float, width: float) -> Drawn:
        start, end = centre - width / 2, centre + width / 2
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
        plot_image(apply_window(values, centre, width, function="LINEAR_EXACT"), ax=left)
        right.hist(known, bins=120, color=GREY, log=True)
        right.axvspan(start, end, color=BLUE, alpha=0.2, lw=2, label="window: black to white")
        right.set(xlim=(low, high), xlabel=f"Value ({literal(unit)})",
                  ylabel="Pixels (log scale)")  # fmt: skip
        right.legend(fontsize="small")
        black, white = 100 * np.mean(known <= start), 100 * np.mean(known >= end)
        return figure, (f"A window from {start:.4g} to {end:.4g} {unit} leaves {black:.0f} % of "
                        f"the pixels black and {white:.0f} % white.")  # fmt: skip

    return Explorer(
        draw, centre=(f"centre ({unit})", centre, low, high, step),
        width=(f"width ({unit})", width, step, 2 * (high - low), step),
    )  # fmt: skip


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
    share = share if prevalence is None else prevalence

    def draw(threshold: float, prevalence: float) -> Drawn:
        found = rates(predictions, threshold=threshold / 100)
        se, sp = found["sensitivity"], found["specificity"]
        counts = natural_frequencies(prevalence / 100, se.value, sp.value)
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(8.4, 3.8), layout="constrained", width_ratios=(1, 1.4)
        )
        for k, colour, hatch in ((0, BLUE, ""), (1, ORANGE, "//")):
            scores = predictions.y_score[predictions.y_true == k]
            left.hist(scores, bins=25, range=(0, 1), color=colour, alpha=0.55, hatch=hatch,
                      label=literal(predictions.classes[k]))  # fmt: skip
        left.axvline(threshold / 100, color="black", ls="--", label=f"threshold {threshold:.3g} %")
        left.set(xlim=(0, 1), xlabel=literal(f"Score: P({predictions.positive})"), ylabel="Images")
        # padded: the legend lies below the title, clear of the bars
        left.set_title(f"Sensitivity {se:.2f}\nspecificity {sp:.2f}", fontsize="medium", pad=22)
        legend_above(left, fontsize="small", ncols=3, columnspacing=1, handlelength=1.5,
                     handletextpad=0.5)  # fmt: skip
        plot_natural_frequencies(counts, ax=right)
        return figure, f"Threshold {threshold:.3g} %, prevalence {prevalence:.3g} %: {counts}"

    return Explorer(
        draw, threshold=("threshold (%)", 100 * threshold, 0, 100, 1),
        prevalence=("prevalence (%)", 100 * share, 0.1, 99.9, 0.1),
    )  # fmt: skip


class ReadingStudy(Pictured):
    """Images to read twice: alone, then in reverse order with the network's score.

    Attributes
    ----------
    answers : list of int
        The confidences given so far, 0 to 4, of both rounds.
    buttons : list of ipywidgets.Button
        One per confidence.
    sentence : str
        What is asked or, at the end, what was found.
    """

    def __init__(self, images: npt.NDArray[np.uint8], network: Predictions) -> None:
        self.images, self.network, self.answers = images, network, list[int]()
        self.buttons = [ipywidgets.Button(description=text) for text in SURE]
        for sure, button in enumerate(self.buttons):
            button.on_click(lambda _, sure=sure: self.answer(sure))
        super().__init__([ipywidgets.HBox(self.buttons)])
        self.follow()

    def answer(self, sure: int) -> None:
        """Take a confidence for the image shown, and show the next one or the result."""
        self.answers.append(sure)
        self.follow()

    def follow(self) -> None:
        """Show the image to read now; after both rounds, the result."""
        done, n = len(self.answers), len(self.network)
        if done == 2 * n:
            for button in self.buttons:
                button.disabled = True
            self.show(*self.result())
            return
        row = done if done < n else 2 * n - 1 - done
        sentence = f"Image {done % n + 1} of {n}: do you see {self.network.positive}?"
        if done >= n:
            sentence += f" The network's score is {self.network.y_score[row]:.2f}."
        self.show(plot_image(self.images[row]).figure, sentence)

    def result(self) -> Drawn:
        """Compare both rounds with the network and with the truth; positive is from 3 on."""
        rounds = np.split(np.array(self.answers) / 4, 2)
        alone, helped = (self.network.with_scores(one) for one in (rounds[0], rounds[1][::-1]))
        readers = {"network": self.network, "you, alone": alone, "you, with it": helped}
        truth = self.network.y_true
        says, first, then = (reader.predicted(0.5) for reader in readers.values())
        ids, patients = self.network.ids, self.network.patient_ids
        alike = [evaluate(Predictions(ids, says, own, patients), threshold=0.5)["kappa"]
                 for own in (first, then)]  # fmt: skip
        lured, saved = (says != truth) & (first == truth), (says == truth) & (first != truth)
        followed = [int((group & (then == says)).sum()) for group in (lured, saved)]
        return plot_roc(readers, threshold=0.5).figure, (
            f"Agreement with the network (kappa): alone {alike[0]:.2f}, with its score "
            f"{alike[1]:.2f}. Images on which it was wrong and you, alone, were right: "
            f"{lured.sum()}; you followed it on {followed[0]}. Images on which it was right and "
            f"you were wrong: {saved.sum()}; you followed it on {followed[1]}."
        )

    def still(self) -> str:
        """Return a sheet of the images, with the truth folded below it."""
        numbers = [str(k + 1) for k in range(len(self.images))]
        sheet = plot_grid(self.images, titles=numbers, columns=5)
        truth = "".join(
            f"<li>{html.escape(self.network.classes[label])}; the network's score {score:.2f}</li>"
            for label, score in zip(self.network.y_true, self.network.y_score, strict=True)
        )
        return (
            image_html(sheet, f"{len(self.images)} images to read, numbered.", colours=32)
            + f"<details><summary>The truth</summary><ol>{truth}</ol></details>"
        )


def reading_study(
    images: npt.NDArray[np.uint8], predictions: Predictions, *, count: int = 20,
    rng: np.random.Generator,
) -> ReadingStudy:  # fmt: skip
    """Read images yourself, alone and with the network's help, and compare.

    Parameters
    ----------
    images : uint8 array (N, H, W)
        In the order of the predictions.
    predictions : Predictions
        The network's, for two classes.
    count : int
        How many images to read, half of them (or all there are) of each class.
    rng : numpy.random.Generator
        Chooses the images and their order.

    Returns
    -------
    ReadingStudy
        Five buttons and the image; at the end ROC curves, agreement, and who led whom astray.

    Raises
    ------
    MetricsError
        When there are more than two classes, or only one among these images, or another number
        of images than of predictions.
    """
    groups = [rng.permutation(np.flatnonzero(predictions.y_true == k)) for k in (0, 1)]
    if not predictions.is_binary or not all(map(len, groups)) or len(images) != len(predictions):
        raise MetricsError(
            f"a reading study needs two-class predictions of images of both classes, and one image "
            f"per prediction; got {len(images)} images and {predictions}."
        )
    rows = rng.permutation(np.concatenate([group[: count // 2] for group in groups]))
    return ReadingStudy(images[rows], predictions.subset(rows))

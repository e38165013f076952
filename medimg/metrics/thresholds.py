"""Choose the score from which an image is called positive, on validation data, and say so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from medimg.errors import MetricsError
from medimg.metrics.predictions import Predictions
from medimg.metrics.roc import roc_curve

Rule = Literal["youden", "sensitivity", "specificity", "cost"]


@dataclass(frozen=True)
class Threshold:
    """A score from which on an image is called positive, and where it comes from.

    Attributes
    ----------
    value : float
        Positive when score >= value; infinity calls no image positive.
    rule : str
        How it was chosen, in words.
    chosen_on : str
        The data that it was chosen on, in words; empty when it was given by hand.
    sensitivity, specificity : float
        On these data, not on the test data; NaN when given by hand.
    """

    value: float
    rule: str = "given by hand"
    chosen_on: str = ""
    sensitivity: float = math.nan
    specificity: float = math.nan
    ids: frozenset[str] = field(default=frozenset(), repr=False, compare=False)
    """The images it was chosen on, so that `evaluate` can tell when they are tested again."""

    def __str__(self) -> str:
        where = f", chosen on {self.chosen_on}" if self.chosen_on else ""
        return f"{self.value:.4g} ({self.rule}{where})"


def as_threshold(threshold: float | Threshold) -> Threshold:
    """Take a number as a threshold that was given by hand."""
    if isinstance(threshold, Threshold):
        return threshold
    if not 0 <= threshold <= 1:
        raise MetricsError(f"threshold is {threshold}; expected a probability from 0 to 1")
    return Threshold(float(threshold))


def choose_threshold(
    predictions: Predictions, *, rule: Rule = "youden", floor: float = 0.9,
    cost_ratio: float = 1.0, prevalence: float | None = None, chosen_on: str = "validation",
) -> Threshold:  # fmt: skip
    """Choose a threshold on validation predictions.

    Parameters
    ----------
    predictions : Predictions
        Of the validation set. Choosing on the test set makes the test look better than it is.
    rule : {"youden", "sensitivity", "specificity", "cost"}
        Youden: the greatest sensitivity + specificity - 1. Sensitivity: the greatest specificity
        with a sensitivity of at least `floor`; specificity: the reverse. Cost: the least expected
        cost when a missed disease costs `cost_ratio` times as much as a false alarm.
    floor : float
        Least sensitivity or specificity, in (0, 1].
    cost_ratio : float
        Cost of a false negative over that of a false positive, above 0.
    prevalence : float, optional
        Share of patients with the disease where the model will be used (rule "cost"); by default
        that of the validation set.
    chosen_on : str
        Name of the data, for reports.

    Returns
    -------
    Threshold
        Among equals, the one with the greater sensitivity.

    Raises
    ------
    MetricsError
        When a class is missing, a setting is out of range, or only calling every image negative
        would keep the floor on specificity.

    References
    ----------
    Youden WJ (1950) Cancer 3:32-35. Metz CE (1978) Semin Nucl Med 8:283-298.

    Examples
    --------
    >>> val = Predictions("abcdef", [0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.3, 0.9])
    >>> print(choose_threshold(val, rule="sensitivity", floor=0.95))
    0.3 (sensitivity at least 0.95, chosen on validation (6 images, 3 positive))
    """
    curve = roc_curve(predictions)
    for name, value, fine, expected in (
        ("rule", rule, rule in get_args(Rule), f"one of {', '.join(get_args(Rule))}"),
        ("floor", floor, 0 < floor <= 1, "a share above 0 and at most 1"),
        ("cost_ratio", cost_ratio, 0 < cost_ratio < math.inf, "a number above 0"),
        ("prevalence", prevalence, prevalence is None or 0 < prevalence < 1, "a share"),
    ):
        if not fine:
            raise MetricsError(f"{name} is {value!r}; expected {expected}")
    positives = int(np.sum(predictions.y_true == 1))
    if curve.attrs["reason"]:
        lacking = predictions.classes[0] if positives else predictions.positive
        raise MetricsError(
            f"no image of class {lacking!r} among the {len(predictions)} {chosen_on} images, so "
            "no threshold can be chosen; take a set that holds both classes"
        )
    scores, sensitivity, specificity = curve.to_numpy().T
    share = positives / len(predictions) if prevalence is None else prevalence
    allowed = np.isfinite(scores)
    if rule == "cost":
        gain = cost_ratio * share * sensitivity + (1 - share) * specificity
        words = f"a miss costs {cost_ratio:g} false alarms, prevalence {share:.3g}"
        allowed |= True  # it may cost least to call no one
    elif rule == "youden":
        gain, words = sensitivity + specificity, "greatest Youden index"
    else:
        kept, gain = sensitivity, specificity
        if rule == "specificity":
            kept, gain = gain, kept
        words = f"{rule} at least {floor:g}"
        allowed &= kept >= floor - 1e-12
    if not allowed.any():
        raise MetricsError(
            f"the highest scores belong to class {predictions.classes[0]!r}: a specificity of "
            f"{floor:g} would call every image negative; lower the floor"
        )
    # The last of the best: scores fall along the curve, so that sensitivity is greatest there.
    gain = np.where(allowed, gain, -np.inf)
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[-1])
    told = f"{chosen_on} ({len(predictions)} images, {positives} positive)"
    ids = frozenset(predictions.ids.tolist())
    return Threshold(float(scores[best]), words, told, sensitivity[best], specificity[best], ids)

"""Choose the score from which an image is called positive, on validation data, and say so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medimg.errors import MetricsError
from medimg.metrics.predictions import Bools, Floats, Predictions
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
    predictions: Predictions,
    *,
    rule: Rule = "youden",
    floor: float = 0.9,
    cost_ratio: float = 1.0,
    prevalence: float | None = None,
    chosen_on: str = "validation",
) -> Threshold:
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
    _check_settings(rule, floor, cost_ratio, prevalence)
    positives = int(np.sum(predictions.y_true == 1))
    if curve.attrs["reason"]:
        lacking = predictions.classes[0] if positives else predictions.positive
        raise MetricsError(
            f"no image of class {lacking!r} among the {len(predictions)} {chosen_on} images, so "
            "no threshold can be chosen; take a set that holds both classes"
        )
    scores, sensitivity, specificity = curve.to_numpy().T
    if prevalence is None:
        prevalence = positives / len(predictions)
    if rule == "cost":
        loss = cost_ratio * prevalence * (1 - sensitivity) + (1 - prevalence) * (1 - specificity)
        best = _best(-loss, np.ones(len(loss), bool))
        words = f"a miss costs {cost_ratio:g} false alarms, prevalence {prevalence:.3g}"
    elif rule == "youden":
        best = _best(sensitivity + specificity, np.isfinite(scores))
        words = "greatest Youden index"
    elif rule == "sensitivity":
        best = _best(specificity, sensitivity >= floor - 1e-12)
        words = f"sensitivity at least {floor:g}"
    else:
        allowed = (specificity >= floor - 1e-12) & np.isfinite(scores)
        if not allowed.any():
            raise MetricsError(
                f"the highest scores belong to class {predictions.classes[0]!r}: a specificity of "
                f"{floor:g} would call every image negative; lower the floor"
            )
        best = _best(sensitivity, allowed)
        words = f"specificity at least {floor:g}"
    return Threshold(
        float(scores[best]),
        words,
        f"{chosen_on} ({len(predictions)} images, {positives} positive)",
        float(sensitivity[best]),
        float(specificity[best]),
        frozenset(predictions.ids.tolist()),
    )


def _best(gain: Floats, allowed: Bools) -> int:
    """Last of the best: scores fall along the curve, so that sensitivity is greatest there.

    Under a floor on sensitivity, the same gain further on would only be a lower threshold for
    nothing, but sensitivity grows at each such step: equal specificity, fewer missed.
    """
    gain = np.where(allowed, gain, -np.inf)
    return int(np.flatnonzero(gain >= gain.max() - 1e-12)[-1])


def _check_settings(rule: str, floor: float, cost_ratio: float, prevalence: float | None) -> None:
    if rule not in ("youden", "sensitivity", "specificity", "cost"):
        raise MetricsError(
            f"rule {rule!r} is not known; expected youden, sensitivity, specificity or cost"
        )
    if not 0 < floor <= 1:
        raise MetricsError(f"floor is {floor}; expected a share above 0 and at most 1")
    if not (cost_ratio > 0 and math.isfinite(cost_ratio)):
        raise MetricsError(f"cost_ratio is {cost_ratio}; expected a number above 0")
    if prevalence is not None and not 0 < prevalence < 1:
        raise MetricsError(f"prevalence is {prevalence}; expected a share between 0 and 1")

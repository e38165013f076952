"""Choose the score from which an image is called positive, on validation data, and say so."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medimg.errors import MetricsError
from medimg.metrics.predictions import Predictions, check_between, check_share
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
    check_share(threshold=threshold)
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
    curve, n, positives = roc_curve(predictions), len(predictions), int(predictions.y_true.sum())
    scores, sensitivity, specificity = curve.to_numpy().T
    share = positives / n if prevalence is None else prevalence
    cost = f"a miss costs {cost_ratio:g} false alarms, prevalence {share:.3g}"
    rules = {  # what is to be greatest, and the rule in words
        "youden": (sensitivity + specificity, "greatest Youden index"),
        "sensitivity": (specificity, f"sensitivity at least {floor:g}"),
        "specificity": (sensitivity, f"specificity at least {floor:g}"),
        "cost": (cost_ratio * share * sensitivity + (1 - share) * specificity, cost),
    }
    if rule not in rules:
        raise MetricsError(f"rule is {rule!r}; expected one of {', '.join(rules)}")
    if floor != 1:
        check_between(0, 1, floor=floor)
    check_between(0, math.inf, cost_ratio=cost_ratio)
    check_between(0, 1, prevalence=prevalence)
    if curve.attrs["reason"]:
        lacking = predictions.classes[0] if positives else predictions.positive
        raise MetricsError(
            f"no image of class {lacking!r} among the {n} {chosen_on} images, so no threshold can "
            "be chosen; take a set that holds both classes"
        )
    allowed = np.isfinite(scores) | (rule == "cost")  # it may cost least to call no one
    if rule in curve:
        allowed &= curve[rule].to_numpy() >= floor - 1e-12
    if not allowed.any():
        raise MetricsError(
            f"the highest scores belong to class {predictions.classes[0]!r}: a specificity of "
            f"{floor:g} would call every image negative; lower the floor"
        )
    # The last of the best: scores fall along the curve, so that sensitivity is greatest there.
    gain = np.where(allowed, rules[rule][0], -np.inf)
    best = int(np.flatnonzero(gain >= gain.max() - 1e-12)[-1])
    return Threshold(
        float(scores[best]), rules[rule][1], f"{chosen_on} ({n} images, {positives} positive)",
        sensitivity[best], specificity[best], frozenset(predictions.ids.tolist()),
    )  # fmt: skip

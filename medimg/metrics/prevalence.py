"""What a positive or negative result means where the disease is rarer or commoner."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.checks import check_level
from medimg.metrics.estimates import Estimate, undefined


@dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at a stated prevalence."""

    prevalence: float
    ppv: Estimate
    npv: Estimate


@dataclass(frozen=True)
class NaturalFrequencies:
    """What becomes of a round number of people, in whole people."""

    people: int
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def diseased(self) -> int:
        """People who have the disease."""
        return self.true_positive + self.false_negative

    @property
    def called(self) -> int:
        """People whom the test calls positive."""
        return self.true_positive + self.false_positive

    def __str__(self) -> str:
        return (
            f"Of {self.people:,} people, {self.diseased} have the disease: the test finds "
            f"{self.true_positive} and misses {self.false_negative}. It also alarms "
            f"{self.false_positive} of the {self.people - self.diseased} healthy. So "
            f"{self.true_positive} of {self.called} alarms are true."
        )


def ppv_npv_at(
    prevalence: float,
    sensitivity: Estimate | float,
    specificity: Estimate | float,
    *,
    level: float = 0.95,
) -> PredictiveValues:
    """PPV and NPV at a prevalence, by Bayes' rule.

    Parameters
    ----------
    prevalence : float
        Share of the diseased among those who are tested, in [0, 1].
    sensitivity, specificity : Estimate or float
        With estimates the results have intervals, by way of the likelihood ratio's (MOVER-R on
        the two intervals); with plain numbers they have none.
    level : float
        Written into results from plain numbers; estimates bring their own.

    Returns
    -------
    PredictiveValues
        PPV and NPV in [0, 1]; not defined, with the reason, where no one would be called so.

    Raises
    ------
    MetricsError
        When a number is outside [0, 1].

    References
    ----------
    Donner A, Zou GY (2012) Stat Methods Med Res 21:347-359.

    Examples
    --------
    >>> values = ppv_npv_at(0.01, 0.9, 0.9)
    >>> round(values.ppv.value, 4), round(values.npv.value, 4)
    (0.0833, 0.9989)
    """
    check_level(level)
    se, sp = (
        e if isinstance(e, Estimate) else _exact(e, name, level)
        for e, name in ((sensitivity, "sensitivity"), (specificity, "specificity"))
    )
    _share(prevalence, "prevalence")
    for estimate in (se, sp):
        if math.isnan(estimate.value):
            return PredictiveValues(prevalence, estimate, estimate)
    ill, well = prevalence, 1 - prevalence
    # PPV = ill a / (ill a + well b) with a = sensitivity and b = 1 - specificity; NPV is its twin.
    ppv = _posterior(ill, se, well, _complement(sp), "called positive")
    npv = _posterior(well, sp, ill, _complement(se), "called negative")
    return PredictiveValues(prevalence, ppv, npv)


def predictive_values(
    prevalences: list[float],
    sensitivity: Estimate | float,
    specificity: Estimate | float,
) -> pd.DataFrame:
    """Tabulate `ppv_npv_at` for several prevalences.

    Parameters
    ----------
    prevalences : list of float
        Each in [0, 1].
    sensitivity, specificity : Estimate or float
        As in `ppv_npv_at`.

    Returns
    -------
    DataFrame
        One row a prevalence: ``prevalence, ppv, ppv_low, ppv_high, npv, npv_low, npv_high``.

    Raises
    ------
    MetricsError
        When a number is outside [0, 1].

    Examples
    --------
    >>> predictive_values([0.01, 0.1], 0.9, 0.9)["ppv"].round(3).tolist()
    [0.083, 0.5]
    """
    found = [ppv_npv_at(p, sensitivity, specificity) for p in prevalences]
    return pd.DataFrame(
        {
            "prevalence": [f.prevalence for f in found],
            **{
                f"{name}{end}": [getattr(getattr(f, name), part) for f in found]
                for name in ("ppv", "npv")
                for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
            },
        }
    )


def natural_frequencies(
    prevalence: float, sensitivity: float, specificity: float, *, people: int = 1000
) -> NaturalFrequencies:
    """Count what becomes of `people` tested people, rounded to whole people that add up.

    Parameters
    ----------
    prevalence, sensitivity, specificity : float
        Shares in [0, 1].
    people : int
        How many are tested.

    Returns
    -------
    NaturalFrequencies
        Printed, it says the four numbers in a sentence.

    Raises
    ------
    MetricsError
        When a share is outside [0, 1].

    References
    ----------
    Gigerenzer G, Hoffrage U (1995) Psychol Rev 102:684-704.

    Examples
    --------
    >>> print(natural_frequencies(0.01, 0.9, 0.91))
    Of 1,000 people, 10 have the disease: the test finds 9 and misses 1. It also alarms 89 of the
    990 healthy. So 9 of 98 alarms are true.
    """
    for value, name in (
        (prevalence, "prevalence"), (sensitivity, "sensitivity"), (specificity, "specificity")
    ):  # fmt: skip
        _share(value, name)
    ill = round(people * prevalence)
    found, cleared = round(ill * sensitivity), round((people - ill) * specificity)
    return NaturalFrequencies(people, found, ill - found, people - ill - cleared, cleared)


def _posterior(prior: float, hit: Estimate, other: float, alarm: Estimate, what: str) -> Estimate:
    """Prior * hit / (prior * hit + other * alarm), with the ratio's interval turned over."""
    below = prior * hit.value + other * alarm.value
    if below == 0:
        return undefined(f"no one would be {what}", level=hit.level)
    value = prior * hit.value / below
    if math.isnan(hit.low) or math.isnan(alarm.low):
        reason = "sensitivity and specificity were given without intervals"
        return Estimate(value, math.nan, math.nan, hit.level, "Bayes' rule", reason)
    low, high = _ratio_bounds(hit, alarm)

    def of_ratio(ratio: float) -> float:
        if math.isinf(ratio):
            return 1.0 if prior > 0 else 0.0
        return prior * ratio / (prior * ratio + other) if prior * ratio + other > 0 else value

    return Estimate(value, of_ratio(low), of_ratio(high), hit.level, "Bayes' rule, MOVER-R")


def _ratio_bounds(a: Estimate, b: Estimate) -> tuple[float, float]:
    """Bounds of a / b out of the bounds of each (MOVER-R), also where b is 0."""
    product = a.value * b.value

    def bound(of_a: float, of_b: float, sign: float) -> float:
        root = product**2 - of_a * of_b * (2 * a.value - of_a) * (2 * b.value - of_b)
        below = of_b * (2 * b.value - of_b)
        if below == 0:
            return math.inf
        return (product + sign * math.sqrt(max(root, 0.0))) / below

    low = bound(a.low, b.high, -1.0)
    # With b near 0 its lower bound is 0, and the ratio has no upper bound.
    return max(low, 0.0), bound(a.high, b.low, 1.0)


def _complement(e: Estimate) -> Estimate:
    return Estimate(1 - e.value, 1 - e.high, 1 - e.low, e.level, e.method, e.reason)


def _exact(value: float, name: str, level: float) -> Estimate:
    _share(value, name)
    return Estimate(float(value), math.nan, math.nan, level, "", "given without an interval")


def _share(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise MetricsError(f"{name} is {value}; expected a share from 0 to 1")

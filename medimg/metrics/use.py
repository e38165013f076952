"""What the model means where it is used: predictive values, people, net benefit, study size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import MetricsError
from medimg.metrics.intervals import (
    DRAWS,
    TINY,
    Estimate,
    codes_of,
    patient_draws,
    undefined,
    wilson,
    z_of,
)
from medimg.metrics.predictions import (
    Floats,
    Predictions,
    check_level,
    check_share,
    require_binary,
)


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
        Share of the people tested who have the disease, in [0, 1].
    sensitivity, specificity : Estimate or float
        With estimates the results have intervals, which always hold the value: the two intervals
        are joined on the log scale (square-and-add). Plain numbers give none.
    level : float
        Written into results from plain numbers; estimates bring their own.

    Returns
    -------
    PredictiveValues
        PPV and NPV in [0, 1]; not defined, with the reason, where no one would be called so.

    Raises
    ------
    MetricsError
        When a number is outside [0, 1], an interval's ends are the wrong way round, or the two
        intervals have different levels.

    References
    ----------
    Zou GY, Donner A (2008) Stat Med 27:1693-1702.

    Examples
    --------
    >>> values = ppv_npv_at(0.01, 0.9, 0.9)
    >>> round(values.ppv.value, 4), round(values.npv.value, 4)
    (0.0833, 0.9989)
    >>> ppv_npv_at(0.1, Estimate(0.9, 0.8, 0.95), Estimate(0.75, 0.5, 0.9)).ppv
    0.286 (0.165 to 0.500)
    """
    check_level(level)
    check_share(prevalence, "prevalence")
    se = _with_bounds(sensitivity, "sensitivity", level)
    sp = _with_bounds(specificity, "specificity", level)
    for estimate in (se, sp):
        if math.isnan(estimate.value):
            return PredictiveValues(prevalence, estimate, estimate)
    if se.level != sp.level:
        raise MetricsError(
            f"sensitivity has a {100 * se.level:g} % interval and specificity a "
            f"{100 * sp.level:g} % one; give both at the same level"
        )
    # PPV = ill a / (ill a + well b) with a = sensitivity and b = 1 - specificity; NPV is its twin.
    ppv = _posterior(prevalence, se, _complement(sp), "called positive")
    npv = _posterior(1 - prevalence, sp, _complement(se), "called negative")
    return PredictiveValues(prevalence, ppv, npv)


def _with_bounds(given: Estimate | float, name: str, level: float) -> Estimate:
    """Check a share, and widen bounds that rounding for print put on the wrong side of it."""
    if not isinstance(given, Estimate):
        check_share(given, name)
        return Estimate(float(given), math.nan, math.nan, level, "", "given without an interval")
    if math.isnan(given.value) or math.isnan(given.low) or math.isnan(given.high):
        return given
    for value in (given.value, given.low, given.high):
        check_share(value, name)
    if given.low > given.high:
        raise MetricsError(
            f"the interval of the {name} goes from {given.low} to {given.high}; expected the lower "
            "bound first"
        )
    low, high = min(given.low, given.value), max(given.high, given.value)
    return Estimate(given.value, low, high, given.level, given.method)


def _complement(e: Estimate) -> Estimate:
    return Estimate(1 - e.value, 1 - e.high, 1 - e.low, e.level, e.method, e.reason)


def _posterior(prior: float, hit: Estimate, alarm: Estimate, what: str) -> Estimate:
    """Prior * hit / (prior * hit + (1 - prior) * alarm), with bounds from those of hit / alarm."""

    def of_ratio(ratio: float) -> float:
        below = prior * ratio + 1 - prior
        return 1.0 if math.isinf(ratio) and prior > 0 else prior * ratio / below

    below = prior * hit.value + (1 - prior) * alarm.value
    if below == 0:
        return undefined(f"no one would be {what}", level=hit.level)
    value = prior * hit.value / below
    if math.isnan(hit.low) or math.isnan(alarm.low):
        reason = "sensitivity and specificity were given without intervals"
        return Estimate(value, math.nan, math.nan, hit.level, "", reason)
    if prior in (0.0, 1.0):
        return Estimate(value, value, value, hit.level, hit.method)
    low, high = (of_ratio(ratio) for ratio in _ratio_bounds(hit, alarm))
    return Estimate(value, min(low, value), max(high, value), hit.level, hit.method)


def _ratio_bounds(a: Estimate, b: Estimate) -> tuple[float, float]:
    """Bounds of a / b out of those of each, by square-and-add of the logarithms.

    Where a or b is 0 its logarithm has no distance to the bounds: the far bounds are then divided,
    which is on the safe side.
    """
    if a.value == 0 or b.value == 0:
        low, high = (a.low, b.high), (a.high, b.low)
        return tuple(x / y if y > 0 else math.inf for x, y in (low, high))  # type: ignore[return-value]
    ratio = a.value / b.value
    below = math.hypot(_log_ratio(a.value, a.low), _log_ratio(b.high, b.value))
    above = math.hypot(_log_ratio(a.high, a.value), _log_ratio(b.value, b.low))
    return ratio * math.exp(-below), ratio * math.exp(above) if above < 700 else math.inf


def _log_ratio(more: float, less: float) -> float:
    return math.log(more / less) if less > 0 else math.inf


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
        check_share(value, name)
    ill = round(people * prevalence)
    found, cleared = round(ill * sensitivity), round((people - ill) * specificity)
    return NaturalFrequencies(people, found, ill - found, people - ill - cleared, cleared)


def decision_curve(
    predictions: Predictions,
    *,
    thresholds: ArrayLike | None = None,
    prevalence: float | None = None,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Net benefit over threshold probabilities.

    Net benefit is TP/N - FP/N x t/(1-t): patients found, less false alarms at the rate at which a
    clinician who acts from risk t on would trade them. Scores must be calibrated for it to mean
    anything.

    Parameters
    ----------
    predictions : Predictions
        Of two classes; calibrated.
    thresholds : array-like, optional
        Threshold probabilities in (0, 1), in any order; by default 0.01 to 0.99.
    prevalence : float, optional
        In (0, 1): where the model will be used, if the test set was enriched; by default the test
        set's.
    level : float
        Confidence level, in (0, 1).
    rng : numpy.random.Generator, optional
        For the bootstrap by patient; by default seeded with 0, so that results repeat.

    Returns
    -------
    DataFrame
        One row per threshold, rising: ``threshold, model, low, high, all, none``. No interval (NaN)
        where all bootstrap samples give the same, such as where no one is called positive.

    Raises
    ------
    MetricsError
        When a threshold, the prevalence or the level is not between 0 and 1, or when a class is
        missing.

    References
    ----------
    Vickers AJ, Elkin EB (2006) Med Decis Making 26:565-574.
    """
    require_binary(predictions)
    check_level(level)
    given = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, float)
    grid = np.unique(given.round(12))  # 0.29, not 0.29000000000000004
    if len(grid) == 0 or not np.all((grid > 0) & (grid < 1)):
        raise MetricsError("thresholds of a decision curve must lie between 0 and 1, exclusive")
    if prevalence is not None and not 0 < prevalence < 1:
        raise MetricsError(f"prevalence is {prevalence}; expected a share between 0 and 1")
    positive = predictions.y_true == 1
    if positive.all() or not positive.any():
        raise MetricsError("a decision curve needs images of both classes")
    called = predictions.y_score[:, None] >= grid
    sums = np.column_stack([called & positive[:, None], called & ~positive[:, None], positive,
                            ~positive]).astype(np.float64)  # fmt: skip
    codes, n = codes_of(predictions), len(grid)
    by_patient = np.zeros((int(codes.max()) + 1, sums.shape[1]))
    np.add.at(by_patient, codes, sums)

    def benefit(c: Floats) -> Floats:
        ill, well = c[:, -2:-1], c[:, -1:]
        p = ill / (ill + well) if prevalence is None else prevalence
        found, alarmed = c[:, :n] / np.maximum(ill, 1), c[:, n : 2 * n] / np.maximum(well, 1)
        return np.asarray(p * found - (1 - p) * alarmed * grid / (1 - grid))

    draws = [benefit(d @ by_patient) for d in patient_draws(len(by_patient), DRAWS // 2, rng=rng)]
    drawn = np.concatenate(draws)
    drawn[:, np.ptp(drawn, axis=0) < TINY] = np.nan
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    p = float(positive.mean()) if prevalence is None else prevalence
    return pd.DataFrame(
        {
            "threshold": grid,
            "model": benefit(by_patient.sum(axis=0)[None])[0],
            "low": low,
            "high": high,
            "all": p - (1 - p) * grid / (1 - grid),
            "none": np.zeros(n),
        }
    )


@dataclass(frozen=True)
class SampleSize:
    """How many patients a study needs."""

    positive: int
    negative: int

    @property
    def total(self) -> int:
        """All patients."""
        return self.positive + self.negative


def sample_size(
    *,
    half_width: float,
    sensitivity: float | None = None,
    auc: float | None = None,
    prevalence: float = 0.5,
    level: float = 0.95,
) -> SampleSize:
    """Least number of patients for an interval that is narrow enough.

    Parameters
    ----------
    half_width : float
        How far the interval may reach on average to either side, for instance 0.05.
    sensitivity : float, optional
        The value that is expected, in (0, 1); the interval is Wilson's.
    auc : float, optional
        Instead, the AUC that is expected, in (0.5, 1); the interval is the normal one with the
        standard error of Hanley and McNeil.
    prevalence : float
        Share of the patients who have the disease, in (0, 1).
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    SampleSize
        Patients with the disease and without.

    Raises
    ------
    MetricsError
        When not exactly one of sensitivity and AUC is given, or a number is out of range.

    References
    ----------
    Hanley JA, McNeil BJ (1982) Radiology 143:29-36.

    Examples
    --------
    >>> sample_size(sensitivity=0.9, half_width=0.05, prevalence=0.1)
    SampleSize(positive=141, negative=1269)
    >>> sample_size(auc=0.9, half_width=0.05).total
    152
    """
    check_level(level)
    if (sensitivity is None) == (auc is None):
        raise MetricsError("give either the expected sensitivity or the expected AUC")
    for name, value, least, most in (
        ("half_width", half_width, 0, 0.5), ("prevalence", prevalence, 0, 1),
        ("sensitivity", sensitivity, 0, 1), ("auc", auc, 0.5, 1),
    ):  # fmt: skip
        if value is not None and not least < value < most:
            raise MetricsError(f"{name} is {value}; expected a number between {least} and {most}")

    def negatives(n: int) -> int:
        return max(1, round(n * (1 - prevalence) / prevalence))

    def half(n: int) -> float:
        if sensitivity is not None:
            found = wilson(sensitivity * n, n, level=level)
            return (found.high - found.low) / 2
        a, m = float(auc or 0), negatives(n)
        q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
        variance = a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)
        return z_of(level) * math.sqrt(variance / (n * m))

    low, high = 0, 1
    while half(high) > half_width:
        low, high = high, 2 * high
    while high - low > 1:  # the width falls as the number grows
        middle = (low + high) // 2
        low, high = (middle, high) if half(middle) > half_width else (low, middle)
    return SampleSize(high, negatives(high))

"""What the model means where it is used: predictive values, people, net benefit, study size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import MetricsError
from medimg.metrics.intervals import TINY, Estimate, patient_draws, undefined, wilson, z_of
from medimg.metrics.predictions import Floats, Predictions, check_level, check_share, require_binary


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
    prevalence: float, sensitivity: Estimate | float, specificity: Estimate | float, *,
    level: float = 0.95,
) -> PredictiveValues:  # fmt: skip
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
    if se.level != sp.level:
        raise MetricsError(
            f"sensitivity has a {100 * se.level:g} % interval and specificity a "
            f"{100 * sp.level:g} % one; give both at the same level"
        )
    # PPV = ill a / (ill a + well b) with a = sensitivity and b = 1 - specificity; NPV is its twin.
    ppv = _posterior(prevalence, se, sp, "called positive")
    return PredictiveValues(prevalence, ppv, _posterior(1 - prevalence, sp, se, "called negative"))


def _with_bounds(given: Estimate | float, name: str, level: float) -> Estimate:
    """Check a share, and widen bounds that rounding for print put on the wrong side of it."""
    if not isinstance(given, Estimate):
        given = Estimate(float(given), math.nan, math.nan, level)
    for value in (given.value, given.low, given.high):
        if not math.isnan(value):
            check_share(value, name)
    if given.low > given.high:
        raise MetricsError(
            f"the interval of the {name} goes from {given.low} to {given.high}; expected the lower "
            "bound first"
        )
    low, high = np.minimum(given.low, given.value), np.maximum(given.high, given.value)
    return Estimate(given.value, low, high, given.level, given.method, given.reason)


def _posterior(prior: float, hit: Estimate, clear: Estimate, what: str) -> Estimate:
    """Prior * hit / (prior * hit + (1 - prior) * (1 - clear)), with its bounds.

    The bounds are those of hit / (1 - clear), by square-and-add of the logarithms.
    """
    if math.isnan(hit.value) or math.isnan(clear.value):
        return hit if math.isnan(hit.value) else clear
    a, b = (
        np.array([hit.value, hit.low, hit.high]),
        1 - np.array([clear.value, clear.high, clear.low]),
    )

    def of(hit: float, alarm: float) -> float:
        return float(prior * hit / (prior * hit + (1 - prior) * alarm))

    if prior * a[0] + (1 - prior) * b[0] == 0:
        return undefined(f"no one would be {what}", level=hit.level)
    value = of(a[0], b[0])
    if math.isnan(hit.low) or math.isnan(clear.low):
        reason = "sensitivity and specificity were given without intervals"
        return Estimate(value, math.nan, math.nan, hit.level, "", reason)
    # Where a or b is 0 the tiny number in its place leaves the bound of the other in force.
    (a0, a1, a2), (b0, b1, b2) = np.log(np.maximum(a, TINY)), np.log(np.maximum(b, TINY))
    ratio = a0 - b0
    low = of(math.exp(ratio - math.hypot(a0 - a1, b2 - b0)), 1)
    high = of(math.exp(ratio + math.hypot(a2 - a0, b0 - b1)), 1)
    return Estimate(value, min(low, value), max(high, value), hit.level, hit.method)


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
    check_share(prevalence, "prevalence")
    check_share(sensitivity, "sensitivity")
    check_share(specificity, "specificity")
    ill = round(people * prevalence)
    found, cleared = round(ill * sensitivity), round((people - ill) * specificity)
    return NaturalFrequencies(people, found, ill - found, people - ill - cleared, cleared)


def decision_curve(
    predictions: Predictions, *, thresholds: ArrayLike | None = None,
    prevalence: float | None = None, level: float = 0.95, rng: np.random.Generator | None = None,
) -> pd.DataFrame:  # fmt: skip
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
    data = predictions.rows
    if data.positive.all() or not data.positive.any():
        raise MetricsError("a decision curve needs images of both classes")
    called, sums = data.score[:, None] >= grid, []
    for side in (data.positive, ~data.positive):
        by_patient = np.zeros((data.size, len(grid) + 1))  # called at each threshold, and all
        np.add.at(by_patient, data.patient, np.column_stack([called, called[:, 0] | True])
                  * side[:, None])  # fmt: skip
        sums.append(by_patient)
    odds = grid / (1 - grid)

    def benefit(drawn: Floats) -> Floats:
        ill, well = (drawn @ side for side in sums)
        n, m = ill[:, -1:], well[:, -1:]
        p = n / (n + m) if prevalence is None else prevalence
        found, alarmed = ill[:, :-1] / np.maximum(n, 1), well[:, :-1] / np.maximum(m, 1)
        return np.asarray(p * found - (1 - p) * odds * alarmed)

    drawn = np.concatenate([benefit(draws) for draws in patient_draws(data.size, rng)])
    drawn[:, np.ptp(drawn, axis=0) < TINY] = np.nan
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    p = float(data.positive.mean()) if prevalence is None else prevalence
    model, everyone = benefit(np.ones((1, data.size)))[0], p - (1 - p) * odds
    columns = {"threshold": grid, "model": model, "low": low, "high": high, "all": everyone}
    return pd.DataFrame(columns).assign(none=0.0)


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
    *, half_width: float, sensitivity: float | None = None, auc: float | None = None,
    prevalence: float = 0.5, level: float = 0.95,
) -> SampleSize:  # fmt: skip
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
    158
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
    n = 1
    while True:
        m = max(1, round(n * (1 - prevalence) / prevalence))
        if auc is None:
            found = wilson(float(sensitivity or 0) * n, n, level=level)
            half = (found.high - found.low) / 2
        else:
            q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
            spread = auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)
            half = z_of(level) * math.sqrt(spread / (n * m))
        if half <= half_width:
            return SampleSize(n, m)
        # A width falls at most in proportion to n, so that this step never goes too far.
        n = max(n + 1, math.floor(n * half / half_width))

"""What the model means where it is used: predictive values, people, net benefit, study size."""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from medimg.errors import MetricsError
from medimg.metrics import intervals
from medimg.metrics.intervals import TINY, Estimate, square_and_add, undefined, wilson
from medimg.metrics.predictions import Floats, Predictions, check_between


class PredictiveValues(NamedTuple):
    """PPV and NPV at a stated prevalence."""

    ppv: Estimate
    npv: Estimate


class NaturalFrequencies(NamedTuple):
    """What becomes of a round number of people, in whole people."""

    people: int
    diseased: int
    called: int
    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    def __str__(self) -> str:
        return (
            f"Of {self.people:,} people, {self.diseased} have the disease: the test finds "
            f"{self.true_positive} and misses {self.false_negative}. It also flags "
            f"{self.false_positive} of the {self.people - self.diseased} others. So "
            f"{self.true_positive} of {self.called} flagged have it."
        )


def ppv_npv_at(
    prevalence: float, sensitivity: Estimate | float, specificity: Estimate | float
) -> PredictiveValues:
    """PPV and NPV at a prevalence, by Bayes' rule.

    Parameters
    ----------
    prevalence : float
        Share of the people tested who have the disease, in [0, 1].
    sensitivity, specificity : Estimate or float
        With estimates the results have intervals, which always hold the value: the two intervals
        are joined on the log scale (square-and-add). Plain numbers give none.

    Returns
    -------
    PredictiveValues
        PPV and NPV in [0, 1]; not defined, with the reason, where no one would be called so.

    Raises
    ------
    MetricsError
        When a number is outside [0, 1], or the two intervals have different levels.

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
    check_between(0, 1, prevalence=prevalence, ends=True)
    se, sp = _with_bounds(sensitivity, "sensitivity"), _with_bounds(specificity, "specificity")
    if se.level != sp.level and not math.isnan(se.low + sp.low):
        raise MetricsError(f"intervals of level {se.level} and {sp.level}; give one level for both")
    ppv = _posterior(prevalence, se, sp, "called positive")
    return PredictiveValues(ppv, _posterior(1 - prevalence, sp, se, "called negative"))


def _with_bounds(given: Estimate | float, name: str) -> Estimate:
    """Check a share, and widen bounds that rounding for print put on the wrong side of it."""
    found = given if isinstance(given, Estimate) else Estimate(float(given), math.nan, math.nan)
    three = (found.value, found.low, found.high)
    for number in three:
        if not math.isnan(number):
            check_between(0, 1, ends=True, **{name: number})
    return replace(found, low=float(np.min(three)), high=float(np.max(three)))


def _posterior(prior: float, hit: Estimate, clear: Estimate, what: str) -> Estimate:
    """Return the PPV of a test with sensitivity `hit` and specificity `clear`.

    It is r / (1 + r), where r = prior / (1 - prior) x hit / (1 - clear). Its bounds are those of
    hit / (1 - clear), by square-and-add of the logarithms.
    """
    for given in (hit, clear):
        if math.isnan(given.value):
            return given
    ill, well = prior * hit.value, (1 - prior) * (1 - clear.value)
    if ill + well == 0:
        return undefined(f"no one would be {what}", level=hit.level)
    value = ill / (ill + well)
    if math.isnan(hit.low) or math.isnan(clear.low):
        reason = "sensitivity and specificity were given without intervals"
        return Estimate(value, math.nan, math.nan, hit.level, "", reason)
    # Where a share is 0 the tiny number in its place leaves the bound of the other in force.
    shares = [(hit.value, hit.low, hit.high), (1 - clear.value, 1 - clear.high, 1 - clear.low)]
    hits, alarms = (Estimate(*np.log(np.maximum(three, TINY)).tolist()) for three in shares)
    low, high = expit(logit(prior) + np.array(square_and_add(hits, alarms))).tolist()
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
        When a share is outside [0, 1], or so few people have the disease that it is none of these.

    References
    ----------
    Gigerenzer G, Hoffrage U (1995) Psychol Rev 102:684-704.

    Examples
    --------
    >>> print(natural_frequencies(0.01, 0.9, 0.91))
    Of 1,000 people, 10 have the disease: the test finds 9 and misses 1. It also flags 89 of the
    990 others. So 9 of 98 flagged have it.
    """
    shares = {"prevalence": prevalence, "sensitivity": sensitivity, "specificity": specificity}
    check_between(0, 1, ends=True, **shares)
    ill = round(people * prevalence)
    if prevalence > 0 and ill == 0:
        raise MetricsError(f"{people:,} people are too few for this prevalence; raise one of them")
    found, cleared = round(ill * sensitivity), round((people - ill) * specificity)
    alarmed = people - ill - cleared
    return NaturalFrequencies(people, ill, found + alarmed, found, ill - found, alarmed, cleared)


def decision_curve(predictions: Predictions, *, level: float = 0.95) -> pd.DataFrame:
    """Net benefit over the threshold probabilities 0.01 to 0.99.

    Net benefit is TP/N - FP/N x t/(1-t): patients found, less false alarms at the rate at which a
    clinician who acts from risk t on would trade them. Scores must be calibrated for it to mean
    anything.

    Parameters
    ----------
    predictions : Predictions
        Of two classes; calibrated.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    DataFrame
        One row per threshold, rising: ``threshold, model, low, high, all, none``. No interval (NaN)
        where all bootstrap samples give the same, such as where no one is called positive.

    Raises
    ------
    MetricsError
        With more than two classes or a missing class, or when the level is out of range.

    References
    ----------
    Vickers AJ, Elkin EB (2006) Med Decis Making 26:565-574.
    """
    data, grid = predictions.rows, np.linspace(0.01, 0.99, 99).round(12)  # 0.29, as decimals are
    if data.lacking:
        raise MetricsError(f"{data.lacking}: a decision curve needs images of both classes")
    pos, called, odds = data.positive, data.score[:, None] >= grid, grid / (1 - grid)

    def benefit(times: Floats) -> Floats:
        ill, well = times[:, pos], times[:, ~pos]
        total = times.sum(axis=1, keepdims=True)
        return np.asarray((ill @ called[pos] - odds * (well @ called[~pos])) / total)

    p = pos.mean()
    table = pd.DataFrame(intervals.bootstrap_images(benefit, data.patient, level))
    table = table[["value", "low", "high"]].rename(columns={"value": "model"})
    table.insert(0, "threshold", grid)
    return table.assign(all=p - (1 - p) * odds, none=0.0)


class SampleSize(NamedTuple):
    """How many patients a study needs, with the disease and without."""

    positive: int
    negative: int


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
    >>> sample_size(auc=0.9, half_width=0.05)
    SampleSize(positive=79, negative=79)
    """
    if (sensitivity is None) == (auc is None):
        raise MetricsError("give either the expected sensitivity or the expected AUC")
    check_between(0, 1, prevalence=prevalence, sensitivity=sensitivity)
    check_between(0, 0.5, half_width=half_width)
    check_between(0.5, 1, auc=auc)
    n = 1
    while True:
        m = max(1, round(n * (1 - prevalence) / prevalence))
        if auc is None:
            found = wilson(float(sensitivity or 0) * n, n, level=level)
            half = (found.high - found.low) / 2
        else:
            q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
            spread = auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (m - 1) * (q2 - auc**2)
            half = intervals.z_of(level) * math.sqrt(spread / (n * m))
        if half <= half_width:
            return SampleSize(n, m)
        # A width falls at most in proportion to n, but m, in whole patients, rises in steps: from 1
        # to 2 it takes a factor of 0.71 at once.
        n = max(n + 1, math.floor(0.7 * n * half / half_width))

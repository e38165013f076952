"""A number with its interval, and how proportions get theirs.

Three ways of making intervals are used in this package. Proportions get Wilson's, with an effective
number of images when patients have several (Rao and Scott). Areas under the curve get DeLong's (see
`medimg.metrics.ranking`). Other metrics get a bootstrap that draws whole patients (see
`medimg.metrics.bootstrap`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from medimg.metrics.checks import Bools, Floats, Ints, check_level
from medimg.metrics.predictions import Predictions


@dataclass(frozen=True, repr=False)
class Estimate:
    """A metric's value with its confidence interval.

    Attributes
    ----------
    value, low, high : float
        NaN where not defined; then `reason` says why. 0 is never used for "not defined".
    level : float
        Confidence level of the interval.
    method : str
        How the interval was made.
    reason : str
        Why the value or the interval is NaN, else empty.

    Examples
    --------
    >>> Estimate(0.9123, 0.8801, 0.9412, method="Wilson")
    0.912 (0.880 to 0.941)
    >>> undefined("no positive image")
    not defined: no positive image
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""
    reason: str = ""

    def __repr__(self) -> str:
        if math.isnan(self.value):
            return f"not defined: {self.reason}"
        if math.isnan(self.low):
            return f"{self.value:.3f} (no interval: {self.reason})"
        return f"{self.value:z.3f} ({self.low:z.3f} to {self.high:z.3f})"

    def __format__(self, spec: str) -> str:
        """Format the three numbers alike: ``f"{estimate:.2f}"`` -> ``0.91 (0.88 to 0.94)``.

        A number that rounds to zero is shown without a minus.
        """
        if not spec or math.isnan(self.low):
            return repr(self)
        spec = f"z{spec}" if spec.startswith(".") else spec
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def undefined(reason: str, *, level: float = 0.95) -> Estimate:
    """Return the estimate of a metric that these data do not define."""
    return Estimate(math.nan, math.nan, math.nan, level, "", reason)


@dataclass(frozen=True)
class Rows:
    """The rows that count (weight above 0) of two-class predictions, as arrays."""

    positive: Bools
    score: Floats
    weight: Floats
    cluster: Ints
    """Number of the patient, 0 .. n_clusters - 1."""

    @property
    def n_clusters(self) -> int:
        """Number of patients."""
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0

    @property
    def simple(self) -> bool:
        """One image a patient, all weights 1: the textbook formulas hold as they stand."""
        return self.n_clusters == len(self.cluster) and bool(np.all(self.weight == 1))


def clusters(predictions: Predictions) -> tuple[Floats, Ints, Bools]:
    """Weight and patient number of each row that counts, and which rows these are."""
    weight = np.ones(len(predictions)) if predictions.weights is None else predictions.weights
    kept = weight > 0
    if predictions.patient_ids is None:
        return weight[kept], np.arange(int(kept.sum())), kept
    _, codes = np.unique(predictions.patient_ids[kept], return_inverse=True)
    return weight[kept], codes.astype(np.int64), kept


def rows(predictions: Predictions) -> Rows:
    """Two-class predictions as arrays, without the rows of weight 0."""
    weight, codes, kept = clusters(predictions)
    return Rows(predictions.y_true[kept] == 1, predictions.y_score[kept], weight, codes)


def wilson(successes: float, total: float, *, level: float = 0.95) -> Estimate:
    """Return a proportion with Wilson's score interval.

    `total` may be fractional (an effective sample size), which scipy's `binomtest` refuses; for
    whole numbers the result is that of scipy and statsmodels.

    Parameters
    ----------
    successes, total : float
        How many of how many, 0 <= successes <= total.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        The share in [0, 1]; not defined where total is 0.

    Raises
    ------
    MetricsError
        When the level is out of range.

    References
    ----------
    Wilson EB (1927) J Am Stat Assoc 22:209-212.

    Examples
    --------
    >>> wilson(9, 10)
    0.900 (0.596 to 0.982)
    >>> wilson(0, 0)
    not defined: nothing to count
    """
    check_level(level)
    if total <= 0:
        return undefined("nothing to count", level=level)
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    p = successes / total
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (p * (1 - p) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    # At 0 and 1 the bound is exact; rounding must not leave a last-digit remainder.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Estimate(p, low, high, level, "Wilson")


def proportion(
    hit: Bools, counted: Bools, data_weight: Floats, cluster: Ints, *, level: float = 0.95
) -> Estimate:
    """Return the share of counted rows that hit, with an interval by patient.

    One image a patient, weights 1: Wilson. Otherwise the ratio estimator's variance over patients
    gives an effective sample size (never above the number of images), corrected for the number of
    patients as by Korn and Graubard, and Wilson's interval is taken for that size. When all rows
    hit or none does, the data cannot show how alike a patient's images are; then each patient
    counts once.

    References
    ----------
    Rao JNK, Scott AJ (1992) Biometrics 48:577-585. Korn EL, Graubard BI (1998) Survey
    Methodology 24:193-201. Dean N, Pagano M (2015) J Surv Stat Methodol 3:484-503.
    """
    weight = data_weight[counted]
    if len(weight) == 0:
        return undefined("nothing to count", level=level)
    x = weight * hit[counted]
    total = float(weight.sum())
    p = float(x.sum()) / total
    _, codes = np.unique(cluster[counted], return_inverse=True)
    patients = int(codes.max()) + 1
    if patients == len(codes) and np.all(weight == 1):
        return wilson(float(x.sum()), total, level=level)
    method = f"Wilson, effective size of {patients} patients"
    size = np.bincount(codes, weights=weight)
    if p in (0.0, 1.0) or patients == 1:
        n = float(size.sum() ** 2 / np.sum(size**2))
    else:
        residual = np.bincount(codes, weights=x) - p * size
        variance = patients / (patients - 1) * float(np.sum(residual**2)) / total**2
        most = float(weight.sum() ** 2 / np.sum(weight**2))
        n = min(p * (1 - p) / variance if variance > 0 else most, most)
        n *= (float(ndtri(0.5 + level / 2)) / float(stdtrit(patients - 1, 0.5 + level / 2))) ** 2
    interval = wilson(p * n, n, level=level)
    low = 0.0 if p == 0 else interval.low
    high = 1.0 if p == 1 else interval.high
    return Estimate(p, low, high, level, method)


def mover_difference(a: Estimate, b: Estimate) -> Estimate:
    """Return a - b for independent groups, from the two intervals (square-and-add).

    With Wilson's intervals this is Newcombe's hybrid score interval.

    References
    ----------
    Newcombe RG (1998) Stat Med 17:873-890. Zou GY, Donner A (2008) Stat Med 27:1693-1702.
    """
    for estimate in (a, b):
        if math.isnan(estimate.low):
            return undefined(estimate.reason, level=estimate.level)
    gap = a.value - b.value
    low = gap - math.hypot(a.value - a.low, b.high - b.value)
    high = gap + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(gap, low, high, a.level, f"square-and-add of {a.method or 'intervals'}")

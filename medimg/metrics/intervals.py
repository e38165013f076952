"""A number with its interval, and the three ways in which intervals are made, all by patient.

- **Wilson**: shares (sensitivity, specificity, PPV, NPV, accuracy). Where patients have several
  images, Wilson's formula gets the number of independent images that they stand for.
- **DeLong**: areas under the ROC curve and their differences (`medimg.metrics.roc`).
- **bootstrap**: everything else, by drawing whole patients again and again.

Only the calibration line, a regression, has a fourth: its **sandwich** variance by patient.

A difference of two shares or areas joins their two intervals, by square-and-add (`difference`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtrit

from medimg.errors import MetricsError
from medimg.metrics.predictions import Bools, Floats, Ints, Names, check_between, patient_codes

DRAWS = 2000
"""Samples of patients that a bootstrap draws; of metrics that sort the images, half of them."""
TINY = 1e-12
"""Standard errors below this are 0 but for rounding."""


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
        How the interval was made: "Wilson", "DeLong" or "bootstrap"; of a calibration line,
        "sandwich".
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

    def __post_init__(self) -> None:
        upper(self.level)

    def __repr__(self) -> str:
        return format(self, ".3f")

    def __format__(self, spec: str) -> str:
        """Format the three numbers alike: ``f"{estimate:.2f}"`` -> ``0.91 (0.88 to 0.94)``.

        A number that rounds to zero is shown without a minus.
        """
        if math.isnan(self.value):
            return f"not defined: {self.reason}"
        spec = spec or ".3f"
        spec = f"z{spec}" if spec.startswith(".") else spec
        if math.isnan(self.low):
            return f"{self.value:{spec}} (no interval: {self.reason})"
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def undefined(reason: str, *, level: float = 0.95) -> Estimate:
    """Return the estimate of a metric that these data do not define."""
    return Estimate(math.nan, math.nan, math.nan, level, "", reason)


class Measure(NamedTuple):
    """A share or an area, with what each patient adds to its error."""

    value: float
    parts: Floats
    """One number per patient code; the sum of their squares is the variance."""
    interval: Callable[[float], Estimate]
    """From the confidence level to the estimate."""


def nothing(reason: str, size: int) -> Measure:
    """Return the measure of a metric that these data do not define."""
    return Measure(math.nan, np.zeros(size), lambda level: undefined(reason, level=level))


def upper(level: float) -> float:
    """Return the share below the upper end of an interval: 0.975 for a level of 0.95.

    Every interval asks here, so that a level in per cent is refused everywhere.
    """
    check_between(0, 1, level=level)
    return 0.5 + level / 2


def z_of(level: float) -> float:
    """Return how many standard errors a normal interval reaches to each side."""
    return float(ndtri(upper(level)))


def t_of(level: float, patients: int) -> float:
    """Return how many standard errors Student's interval reaches with so many patients."""
    return float(stdtrit(max(patients - 1, 1), upper(level)))


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
        When the counts or the level are out of range.

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
    if not 0 <= successes <= total < math.inf:
        raise MetricsError(f"{successes} of {total}: expected counts with 0 <= successes <= total")
    if total == 0:
        return undefined("nothing to count", level=level)
    z2 = z_of(level) ** 2
    p = successes / total
    centre = (p + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (p * (1 - p) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    # At 0 and 1 the bound is exact; rounding must not leave a last-digit remainder.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return Estimate(p, low, high, level, "Wilson")


def share(
    hit: Bools | Floats, counted: Bools, patient: Ints, *, size: int, reason: str = ""
) -> Measure:
    """Return the share of counted rows that hit, with Wilson's interval by patient.

    One image per patient: Wilson. Otherwise the ratio estimator's variance over patients gives an
    effective number of images (never above the number of images), corrected for the number of
    patients as by Korn and Graubard, and Wilson's interval is taken for that number. When all rows
    hit or none does, the data cannot show how alike a patient's images are; then each patient
    counts once.

    References
    ----------
    Rao JNK, Scott AJ (1992) Biometrics 48:577-585. Korn EL, Graubard BI (1998) Survey
    Methodology 24:193-201. Dean N, Pagano M (2015) J Surv Stat Methodol 3:484-503.
    """
    x, who, total = hit[counted].astype(float), patient[counted], int(counted.sum())
    if total == 0:
        return nothing(reason or "nothing to count", size)
    p = float(x.mean())
    images = np.bincount(who, minlength=size).astype(float)
    patients = int(np.count_nonzero(images))
    correction = math.sqrt(patients / max(patients - 1, 1))
    parts = correction * np.bincount(who, weights=x - p, minlength=size) / total
    variance = float(np.sum(parts**2))

    def interval(level: float) -> Estimate:
        n = float(total)
        if patients < total and (p in (0.0, 1.0) or patients == 1):
            n = total**2 / float(np.sum(images**2))
        elif patients < total:
            n = min(p * (1 - p) / variance if variance > TINY**2 else n, n)
            reach = t_of(level, patients)  # at a level near 0 it may be rounded to 0
            n *= (z_of(level) / reach) ** 2 if reach else 1.0
        found = wilson(n if p == 1 else p * n, n, level=level)
        return Estimate(p, found.low, found.high, level, "Wilson")

    return Measure(p, parts, interval)


def share_by_patient(
    hits: ArrayLike, patients: Names | None = None, *, level: float = 0.95
) -> Estimate:
    """Share of images that hit, with Wilson's interval by patient.

    Parameters
    ----------
    hits : array-like of bool or float in [0, 1], (N,)
        Whether each image hits, or how much of it.
    patients : sequence, length N, optional
        Patient of each image; without it each image counts as one.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        The share in [0, 1]; not defined without images.

    Raises
    ------
    MetricsError
        When the patients do not match the hits, or the level is out of range.

    Examples
    --------
    >>> share_by_patient([True, True, False, True], ["p", "p", "q", "r"])
    0.750 (0.062 to 0.993)
    """
    hits = np.asarray(hits, dtype=np.float64)
    codes = patient_codes(patients, len(hits))
    return share(hits, np.ones(len(hits), dtype=bool), codes, size=len(hits)).interval(level)


def difference(first: Measure, second: Measure, *, level: float) -> Estimate:
    """Return first - second with its interval.

    The two intervals are joined by square-and-add (Newcombe's method 10 for shares), with the
    correlation that comes from the patients that both are measured on: 0 for two separate groups,
    near 1 for the same images twice.

    References
    ----------
    Newcombe RG (1998) Stat Med 17:873-890 and 17:2635-2650. Zou GY, Donner A (2008) Stat Med
    27:1693-1702.
    """
    product = np.sum(first.parts**2) * np.sum(second.parts**2)
    alike = float(first.parts @ second.parts / math.sqrt(product)) if product > TINY**4 else 0.0
    a, b = first.interval(level), second.interval(level)
    for estimate in (a, b):
        if math.isnan(estimate.low):
            return undefined(estimate.reason, level=level)
    low, high = square_and_add(a, b, alike)
    return Estimate(a.value - b.value, max(-1.0, low), min(1.0, high), level, a.method)


def square_and_add(a: Estimate, b: Estimate, alike: float = 0.0) -> tuple[float, float]:
    """Return the bounds of a - b, whose errors have the correlation `alike`."""
    below, above = (
        math.sqrt(max(0.0, x**2 + y**2 - 2 * alike * x * y))
        for x, y in ((a.value - a.low, b.high - b.value), (a.high - a.value, b.value - b.low))
    )
    return a.value - b.value - below, a.value - b.value + above


Statistic = Callable[[Floats], Floats]
"""Takes sums over drawn images, shape (B, C), and returns the metric of each, shape (B,)."""


def bootstrap(
    statistic: Statistic, counts: ArrayLike, patients: Names | None = None, *, level: float = 0.95
) -> Estimate:
    """Interval of any metric of sums over images, by drawing whole patients again.

    Parameters
    ----------
    statistic : callable
        Takes sums of shape (B, C) and returns the metric of each row, shape (B,); NaN or infinite
        where it is not defined.
    counts : array-like of float, (N, C)
        What each image adds to the C sums (for instance 0 or 1 to TP, FP, FN and TN).
    patients : sequence, length N, optional
        Patient of each image; without it each image is drawn by itself.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        With the expanded percentile interval, which allows for few patients. Without an interval,
        and with the reason, where fewer than nine samples in ten define the metric, or all give
        the same value.

    Raises
    ------
    MetricsError
        When the patients do not match the counts, there is no image, or the level is out of range.

    References
    ----------
    Efron B (1979) Ann Stat 7:1-26. Field CA, Welsh AH (2007) J R Stat Soc B 69:369-390.
    Hesterberg TC (2015) Am Stat 69:371-386.

    Examples
    --------
    >>> hits = [[1, 1], [0, 1], [1, 1], [1, 1]]  # hit, counted
    >>> bootstrap(lambda sums: sums[:, 0] / sums[:, 1], hits)
    0.750 (0.000 to 1.000)
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 2 or len(counts) == 0:
        raise MetricsError(f"counts have the shape {counts.shape}; expected (N, C) with N > 0")
    return bootstrap_sums(statistic, counts, patient_codes(patients, len(counts)), level)[0]


def bootstrap_sums(
    statistic: Statistic, counts: Floats, codes: Ints, level: float, patients: int | None = None
) -> list[Estimate]:
    """Bootstrap metrics of sums; `statistic` may return several, (B, M), of the same samples."""
    per_patient = np.stack([np.bincount(codes, weights=c) for c in counts.T], axis=1)
    # Patients with the same counts are one kind; drawing kinds is the same bootstrap, and fast.
    kinds, number = np.unique(per_patient, axis=0, return_counts=True)
    return _bootstrap(lambda times: statistic(times @ kinds), number, level, DRAWS, patients)


def bootstrap_images(statistic: Statistic, codes: Ints, level: float) -> list[Estimate]:
    """Bootstrap metrics that are no functions of sums.

    `statistic` takes how often each image is in each sample, (B, N), and returns (B,) or (B, M).
    """
    each = np.ones(int(codes.max()) + 1, dtype=np.int64)
    return _bootstrap(lambda times: statistic(times[:, codes]), each, level, DRAWS // 2)


def _bootstrap(
    statistic: Statistic, number: Ints, level: float, draws: int, patients: int | None = None
) -> list[Estimate]:
    """Draw as many patients as there are again and again, out of `number` of each kind.

    The interval is the expanded percentile interval: as percentiles alone are too narrow for few
    patients, those are taken that Student's t reaches, and sqrt(n / (n - 1)) wider. `patients` is
    the number n that counts, by default all. The seed is fixed, so that results repeat.

    References
    ----------
    Hesterberg TC (2015) Am Stat 69:371-386.
    """
    rng, size = np.random.default_rng(0), int(number.sum())
    step = max(1, 200_000 // len(number))  # pieces that fit the cache
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.atleast_1d(statistic(number[None].astype(np.float64))[0]).tolist()
        pieces = (rng.multinomial(size, number / size, size=min(step, draws - done))
                  for done in range(0, draws, step))  # fmt: skip
        drawn = np.concatenate([statistic(piece.astype(np.float64)) for piece in pieces])
    n = max(2, patients or size)
    tail = float(ndtr(-t_of(level, n) * math.sqrt(n / (n - 1))))
    samples = drawn.reshape(draws, -1).T
    return [_percentiles(*pair, tail, level) for pair in zip(values, samples, strict=True)]


def _percentiles(value: float, drawn: Floats, tail: float, level: float) -> Estimate:
    """Make an estimate out of bootstrap samples, honest about samples that do not define it."""
    if not math.isfinite(value):
        return undefined("not defined on these data", level=level)
    good, reason = drawn[np.isfinite(drawn)], ""
    if len(good) < 0.9 * len(drawn):
        reason = f"only {len(good)} of {len(drawn)} bootstrap samples define it"
    elif np.ptp(good) < TINY:
        reason = "every bootstrap sample gives the same value"
    low, high = (math.nan, math.nan) if reason else np.quantile(good, [tail, 1 - tail]).tolist()
    return Estimate(value, low, high, level, "bootstrap", reason)


def mean_by_patient(
    values: ArrayLike, patients: Names | None = None, *, level: float = 0.95
) -> Estimate:
    """Mean over images with a bootstrap interval that draws whole patients.

    Parameters
    ----------
    values : array-like of float, (N,)
        One number per image.
    patients : sequence, length N, optional
        Patient of each image; without it each image is drawn by itself.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        The mean of the images.

    Raises
    ------
    MetricsError
        When the patients do not match the values, there is no value, or the level is out of range.

    Examples
    --------
    >>> mean_by_patient([1.0, 3.0, 2.0, 6.0], ["p", "p", "q", "r"]).value
    3.0
    """
    counts = np.stack([values, np.ones_like(values, dtype=float)], axis=-1)
    return bootstrap(lambda s: s[:, 0] / s[:, 1], counts, patients, level=level)

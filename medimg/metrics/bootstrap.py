"""Intervals by drawing patients again, for the metrics that have no formula of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from medimg.metrics.checks import Floats, Ints
from medimg.metrics.estimates import Estimate, undefined


def drawn_from(n_patients: int, n_images: int, draws: int) -> str:
    """Words for the method of a bootstrap."""
    return f"bootstrap by {'patient' if n_patients < n_images else 'image'}, {draws} draws"


def bootstrap_weights(
    statistic: Callable[[Floats], float],
    cluster: Ints,
    *,
    level: float = 0.95,
    draws: int = 1000,
    rng: np.random.Generator,
) -> Estimate:
    """Bootstrap by patient any metric that takes weights.

    Parameters
    ----------
    statistic : callable
        Takes how often each image is in the sample, shape (N,), and returns the metric.
    cluster : int array, (N,)
        Patient number of each image.
    """
    n = int(cluster.max()) + 1
    equal = np.full(n, 1 / n)
    resampled = np.array(
        [statistic(rng.multinomial(n, equal)[cluster].astype(np.float64)) for _ in range(draws)]
    )
    method = drawn_from(n, len(cluster), draws)
    return percentile_interval(
        statistic(np.ones(len(cluster))), resampled, level=level, method=method
    )


def percentile_interval(value: float, draws: Floats, *, level: float, method: str) -> Estimate:
    """Make an estimate out of bootstrap draws, honest about draws that are not defined."""
    good = draws[np.isfinite(draws)]
    if not math.isfinite(value):
        return undefined("not defined on these data", level=level)
    if len(good) < 0.9 * len(draws):
        reason = f"only {len(good)} of {len(draws)} resamples define it"
        return Estimate(value, math.nan, math.nan, level, method, reason)
    if np.ptp(good) < 1e-12:
        reason = "every resample gives the same value, so the bootstrap cannot tell"
        return Estimate(value, math.nan, math.nan, level, method, reason)
    low, high = np.quantile(good, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, float(low), float(high), level, method)


def bootstrap_counts(
    statistic: Callable[[Floats], Floats],
    counts: Floats,
    cluster: Ints,
    *,
    level: float = 0.95,
    draws: int = 2000,
    rng: np.random.Generator,
) -> Estimate:
    """Bootstrap by patient a metric that depends on summed counts only.

    Parameters
    ----------
    statistic : callable
        Takes sums of shape (B, C) and returns (B,).
    counts : float array, (N, C)
        What each image adds to the sums (for instance to TP, FP, FN and TN).
    cluster : int array, (N,)
        Patient number of each image.
    """
    size = int(cluster.max()) + 1
    per_patient = np.stack([np.bincount(cluster, weights=c, minlength=size) for c in counts.T], 1)
    # Patients with the same counts are one kind; drawing kinds is the same bootstrap, and fast.
    kinds, number = np.unique(per_patient, axis=0, return_counts=True)
    drawn = rng.multinomial(size, number / size, size=draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(per_patient.sum(axis=0)[None])[0])
        resampled = statistic(drawn.astype(np.float64) @ kinds)
    method = drawn_from(size, len(cluster), draws)
    return percentile_interval(value, resampled, level=level, method=method)

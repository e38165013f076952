"""Whether a score of 0.8 means 8 in 10: reliability diagram, Brier score, calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.bootstrap import bootstrap_counts, bootstrap_weights
from medimg.metrics.checks import Floats, Ints, check_level
from medimg.metrics.estimates import Estimate, clusters, proportion, rows, undefined
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import require_binary

Bins = Literal["quantile", "uniform"]


@dataclass(frozen=True, repr=False)
class Brier:
    """Brier score with its parts.

    ``score = reliability - resolution + uncertainty + within``: how far bins are from the
    diagonal (0 is best), how much they differ from each other (more is better), how mixed the
    classes are, and what is left because scores differ inside a bin.
    """

    score: Estimate
    skill: float
    """1 - score / uncertainty: 0 for always saying the prevalence, 1 at best."""
    reliability: float
    resolution: float
    uncertainty: float
    within: float

    def __repr__(self) -> str:
        return (
            f"Brier({self.score!r} = reliability {self.reliability:.3f} - "
            f"resolution {self.resolution:.3f} + uncertainty {self.uncertainty:.3f} + within "
            f"{self.within:.3f}; skill {self.skill:.3f})"
        )


def _bins(score: Floats, bins: int, strategy: Bins) -> tuple[Floats, Ints]:
    """Edges of the bins, and the bin of each score; equal edges are merged."""
    if bins < 1 or strategy not in ("quantile", "uniform"):
        raise MetricsError(
            f"bins is {bins} and strategy {strategy!r}; expected at least 1 bin, and quantile or "
            "uniform"
        )
    grid = np.linspace(0, 1, bins + 1)
    edges = np.unique(np.quantile(score, grid)) if strategy == "quantile" else grid
    if len(edges) == 1:
        edges = np.array([edges[0], edges[0]])
    place = np.searchsorted(edges[1:-1], score, side="right")
    return edges, place.astype(np.int64)


def reliability(
    predictions: Predictions, *, bins: int = 10, strategy: Bins = "quantile", level: float = 0.95
) -> pd.DataFrame:
    """Tabulate a reliability diagram.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    bins : int
        Number of bins at most; empty ones are left out.
    strategy : {"quantile", "uniform"}
        Bins of equally many images, or of equal width.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    DataFrame
        One row a bin: ``from, to, n, score`` (mean), ``observed, low, high`` (share of positives
        with its interval by patient).

    Raises
    ------
    MetricsError
        With more than two classes, or bins, strategy or level out of range.
    """
    require_binary(predictions)
    check_level(level)
    data = rows(predictions)
    names = ["from", "to", "n", "score", "observed", "low", "high"]
    if len(data.score) == 0:
        return pd.DataFrame(columns=names, dtype=float)
    edges, place = _bins(data.score, bins, strategy)
    table = []
    for b in range(len(edges) - 1):
        here = place == b
        if here.any():
            share = proportion(data.positive, here, data.weight, data.cluster, level=level)
            score = float(np.average(data.score[here], weights=data.weight[here]))
            table.append([edges[b], edges[b + 1], int(here.sum()), score,
                          share.value, share.low, share.high])  # fmt: skip
    return pd.DataFrame(table, columns=names)


def brier(
    predictions: Predictions,
    *,
    bins: int = 10,
    strategy: Bins = "quantile",
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Brier:
    """Brier score of two-class predictions (mean squared error of the score) and its parts.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    bins : int
        Bins at most, into which scores are sorted for the parts; the score itself needs none.
    strategy : {"quantile", "uniform"}
        Bins of equally many images, or of equal width.
    level : float
        Confidence level, in (0, 1).
    rng : numpy.random.Generator, optional
        For the bootstrap; by default seeded with 0, so that results repeat.

    Returns
    -------
    Brier
        The score in [0, 1], 0 at best, with a bootstrap interval by patient, and its parts.

    Raises
    ------
    MetricsError
        With more than two classes, or bins, strategy or level out of range.

    References
    ----------
    Murphy AH (1973) J Appl Meteorol 12:595-600. Stephenson DB, Coelho CAS, Jolliffe IT (2008)
    Weather Forecast 23:752-757 (the part within bins).

    Examples
    --------
    >>> round(brier(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.2, 0.7, 0.6])).score.value, 4)
    0.075
    """
    require_binary(predictions)
    check_level(level)
    data = rows(predictions)
    if len(data.score) == 0:
        return Brier(undefined("every image has weight 0", level=level), *(math.nan,) * 5)
    rng = np.random.default_rng(0) if rng is None else rng
    w, y = data.weight / data.weight.sum(), data.positive.astype(float)
    error = (data.score - y) ** 2
    score = bootstrap_counts(
        lambda c: c[:, 0] / c[:, 1], np.stack([error * data.weight, data.weight], 1),
        data.cluster, level=level, rng=rng,
    )  # fmt: skip
    _, place = _bins(data.score, bins, strategy)
    size = np.bincount(place, weights=w)
    used = size > 0
    size = size[used]
    said = np.bincount(place, weights=w * data.score)[used] / size
    seen = np.bincount(place, weights=w * y)[used] / size
    base = float(np.dot(w, y))
    parts = (
        float(np.dot(size, (said - seen) ** 2)),
        float(np.dot(size, (seen - base) ** 2)),
        base * (1 - base),
    )
    within = float(np.dot(w, error)) - parts[0] + parts[1] - parts[2]
    skill = 1 - float(np.dot(w, error)) / parts[2] if parts[2] > 0 else math.nan
    return Brier(score, skill, *parts, within)


def expected_calibration_error(
    predictions: Predictions,
    *,
    bins: int = 10,
    strategy: Bins = "quantile",
    level: float = 0.95,
    draws: int = 1000,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Mean gap between score and observed share over bins, weighted by the bins' sizes.

    For two classes the score is that of class 1; for more it is the greatest score, against how
    often the likeliest class is right. In few images even a perfect model shows a gap above 0, so
    the interval, a bootstrap, must not be read as evidence of miscalibration by itself.

    Parameters
    ----------
    predictions : Predictions
        Of two classes or more.
    bins : int
        Number of bins at most.
    strategy : {"quantile", "uniform"}
        Bins of equally many images, or of equal width.
    level : float
        Confidence level, in (0, 1).
    draws : int
        Resamples of the bootstrap by patient.
    rng : numpy.random.Generator, optional
        For the bootstrap; by default seeded with 0, so that results repeat.

    Returns
    -------
    Estimate
        In [0, 1], 0 at best.

    Raises
    ------
    MetricsError
        When bins, strategy or level are out of range.

    References
    ----------
    Guo C et al. (2017) On calibration of modern neural networks. ICML.
    """
    check_level(level)
    weight, cluster, kept = clusters(predictions)
    if len(weight) == 0:
        return undefined("every image has weight 0", level=level)
    if predictions.is_binary:
        said, right = predictions.y_score[kept], predictions.y_true[kept] == 1
    else:
        said = predictions.y_score[kept].max(axis=1)
        right = predictions.predicted()[kept] == predictions.y_true[kept]
    _, place = _bins(said, bins, strategy)
    gap = said - right

    def value(times: Floats) -> float:
        w = weight * times
        return float(np.abs(np.bincount(place, weights=w * gap)).sum() / w.sum())

    rng = np.random.default_rng(0) if rng is None else rng
    return bootstrap_weights(value, cluster, level=level, draws=draws, rng=rng)

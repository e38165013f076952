"""Whether a score of 0.8 means 8 in 10, and how to mend it: reliability, line, temperature."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax

from medimg.errors import MetricsError
from medimg.metrics import intervals
from medimg.metrics.intervals import Estimate, mean_by_patient, undefined
from medimg.metrics.predictions import Bools, Floats, Ints, Predictions, check_level, require_binary

log = logging.getLogger(__name__)

Bins = Literal["quantile", "uniform"]
TINY = 1e-7
"""Scores are held this far from 0 and 1 where their logarithm is taken."""
BOUNDS = (0.05, 20.0)
"""Temperatures that are tried."""


@dataclass(frozen=True)
class Brier:
    """Brier score with its parts.

    ``score = reliability - resolution + uncertainty``, and what is left because scores differ
    inside a bin: how far bins are from the diagonal (0 is best), how much they differ from each
    other (more is better), and how mixed the classes are.
    """

    score: Estimate
    skill: Estimate
    """1 - score / uncertainty: 0 for always saying the prevalence, 1 at best; no interval."""
    reliability: float
    resolution: float
    uncertainty: float


def _bins(score: Floats, bins: int, strategy: Bins) -> tuple[Floats, Ints]:
    """Edges of the bins, and the bin of each score; equal edges are merged.

    Edges and scores are compared as decimals: a score of 0.3 lies on the edge 0.3, which in binary
    may be 0.30000000000000004. A score on an edge belongs to the bin that begins there.
    """
    if bins < 1 or strategy not in ("quantile", "uniform"):
        raise MetricsError(
            f"bins is {bins} and strategy {strategy!r}; expected at least 1 bin, and quantile or "
            "uniform"
        )
    k = np.arange(bins + 1)
    edges = k / bins
    if strategy == "quantile":
        # np.quantile with the place in whole numbers, so that an edge on a score is that score
        ordered, place, part = np.sort(score), *np.divmod((len(score) - 1) * k, bins)
        above = ordered[np.minimum(place + 1, len(score) - 1)]
        edges = ordered[place] + part / bins * (above - ordered[place])
    edges = np.unique(edges.round(12))
    if len(edges) == 1:
        edges = np.array([edges[0], edges[0]])
    return edges, np.searchsorted(edges[1:-1], score.round(12), side="right").astype(np.int64)


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
        One row per bin: ``from, to, n, score`` (mean), ``observed, low, high`` (share of positives
        with its interval by patient).

    Raises
    ------
    MetricsError
        With more than two classes, or bins, strategy or level out of range.
    """
    require_binary(predictions)
    check_level(level)
    data = predictions.rows
    names = ["from", "to", "n", "score", "observed", "low", "high"]
    edges, place = _bins(data.score, bins, strategy)
    table = []
    for b in range(len(edges) - 1):
        here = place == b
        if here.any():
            found = intervals.share(data.positive, here, data.patient, size=data.size)
            seen = found.interval(level)
            score = float(data.score[here].mean())
            table.append(
                [edges[b], edges[b + 1], int(here.sum()), score, seen.value, seen.low, seen.high]
            )
    return pd.DataFrame(table, columns=names)


def brier(
    predictions: Predictions, *, bins: int = 10, strategy: Bins = "quantile", level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Brier:  # fmt: skip
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
    data = predictions.rows
    y = data.positive.astype(float)
    error = (data.score - y) ** 2
    score = mean_by_patient(error, predictions.patient_ids, level=level, rng=rng)
    _, place = _bins(data.score, bins, strategy)
    size = np.maximum(np.bincount(place), 1)
    said, seen = (np.bincount(place, weights=v) / size for v in (data.score, y))
    base, weight = float(y.mean()), np.bincount(place) / len(y)
    apart, apart_from_base = (float(weight @ (seen - v) ** 2) for v in (said, base))
    skill = undefined("all images are of one class", level=level)
    if 0 < base < 1:
        gain = 1 - score.value / (base * (1 - base))
        skill = Estimate(gain, math.nan, math.nan, level, "", "none is made for the skill")
    return Brier(score, skill, apart, apart_from_base, base * (1 - base))


def expected_calibration_error(
    predictions: Predictions, *, bins: int = 10, strategy: Bins = "quantile", level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Estimate:  # fmt: skip
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
    said, right = predictions.y_score, predictions.y_true == 1
    if not predictions.is_binary:
        said, right = said.max(axis=1), predictions.predicted() == predictions.y_true
    edges, place = _bins(said, bins, strategy)
    # How much each image adds to the gap of its bin; the last column counts images.
    adds = np.eye(len(edges))[place] * (said - right)[:, None]
    adds[:, -1] = 1
    return intervals.bootstrap(
        lambda sums: np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1],
        adds, predictions.patient_ids, level=level, rng=rng,
    )  # fmt: skip


@dataclass(frozen=True)
class CalibrationLine:
    """Intercept (0 is best; above 0 the scores are too low) and slope (1; below: too extreme)."""

    intercept: Estimate
    slope: Estimate


def calibration_line(
    predictions: Predictions, *, level: float = 0.95, rng: np.random.Generator | None = None
) -> CalibrationLine:
    """Fit logistic recalibration: logit P(y = 1) = a + b logit(score).

    The slope comes from that fit, the intercept ("calibration in the large") from one with b held
    at 1, as TRIPOD+AI asks. Intervals are made by bootstrap of the patients.

    Parameters
    ----------
    predictions : Predictions
        Of two classes; scores are held 1e-7 away from 0 and 1.
    level : float
        Confidence level, in (0, 1).
    rng : numpy.random.Generator, optional
        For the bootstrap; by default seeded with 0, so that results repeat.

    Returns
    -------
    CalibrationLine
        Intercept in log odds and slope; not defined, with the reason, where all images are of one
        class, and no slope where scores are equal or separate the classes.

    Raises
    ------
    MetricsError
        With more than two classes, or a level out of range.

    References
    ----------
    Cox DR (1958) Biometrika 45:562-565. Van Calster B et al. (2019) BMC Med 17:230.

    Examples
    --------
    >>> p = Predictions("abcdef", [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    >>> line = calibration_line(p)
    >>> round(line.intercept.value, 3), round(line.slope.value, 3)
    (0.199, 1.123)
    """
    require_binary(predictions)
    check_level(level)
    y = (predictions.y_true == 1).astype(np.float64)
    x, codes = logit(np.clip(predictions.y_score, TINY, 1 - TINY)), predictions.codes
    once, ones = np.ones((1, len(x))), np.ones((len(x), 1))
    found = []
    for design, offset in ((ones, x), (np.column_stack([ones, x]), np.zeros(len(x)))):
        fit = partial(_fit_line, design, offset, y)
        start = np.nan_to_num(fit(np.zeros((1, design.shape[1])), once))
        found.append(intervals.bootstrap_images(partial(_last, fit, start), codes, level, rng))
    intercept, slope = found
    if y.min() == y.max():
        intercept = slope = undefined("all images are of one class", level=level)
    elif np.ptp(x) == 0:
        slope = undefined("all scores are equal", level=level)
    elif _separated(x, y, once)[0]:
        slope = undefined("the classes are separated by the score", level=level)
    return CalibrationLine(intercept, slope)


def _last(fit: Callable[[Floats, Floats], Floats], start: Floats, times: Floats) -> Floats:
    return fit(start, times)[:, -1]


def _fit_line(design: Floats, offset: Floats, y: Floats, start: Floats, times: Floats) -> Floats:
    """Coefficients of the logistic regression of each sample, (B, K); NaN without a solution.

    Newton's method on the score equation, the mean of (y - p) design = 0. A step that would bring
    a sample further from its solution is halved, so that no start can throw it off. A sample whose
    classes are separated by the last column (of one class, if that is constant) has no solution.
    """
    n = times.sum(axis=1, keepdims=True)
    lost = _separated(design[:, -1], y, times)
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(y), -1)

    def score(beta: Floats) -> tuple[Floats, Floats, Floats]:
        p = expit(offset + beta @ design.T)
        left = (times * (y - p)) @ design / n
        return p, left, np.linalg.norm(left, axis=1)

    beta = np.repeat(start, len(times) // len(start), axis=0)
    p, left, far = score(beta)
    for _ in range(60):
        going = ~lost & (far > 1e-10)
        if not going.any():
            break
        curve = ((times * p * (1 - p)) @ squares / n).reshape(len(times), -1, design.shape[1])
        curve += 1e-12 * np.eye(design.shape[1])
        step = np.linalg.solve(curve, left[:, :, None])[:, :, 0] * going[:, None]
        for _ in range(50):
            p, left, new = score(beta + step)
            worse = going & (new > far)
            if not worse.any():
                break
            step[worse] /= 2
        beta, far = beta + step, new
    beta[lost | (far > 1e-8)] = np.nan
    return beta


def _separated(x: Floats, y: Floats, times: Floats) -> Bools:
    """Whether a sample has one class, or a cut splits its two: the slope would be infinite."""
    ill, well = (times > 0) & (y == 1), (times > 0) & (y == 0)
    low_ill, low_well = (np.where(side, x, np.inf).min(axis=1) for side in (ill, well))
    high_ill, high_well = (np.where(side, x, -np.inf).max(axis=1) for side in (ill, well))
    alone = np.isinf(low_ill) | np.isinf(low_well)
    return np.asarray(alone | (np.ptp(x) > 0) & ((low_ill >= high_well) | (high_ill <= low_well)))


@dataclass(frozen=True)
class Temperature:
    """One number that logits are divided by: above 1 it makes an overconfident model humbler.

    Attributes
    ----------
    value : float
        Above 0; 1 leaves the scores as they are.
    chosen_on : str
        The data that it was fitted on, in words.
    note : str
        Why these data say nothing of the temperature, so that it is 1; else empty.
    """

    value: float
    chosen_on: str
    note: str = ""

    def apply(self, predictions: Predictions) -> Predictions:
        """Return the predictions with tempered scores; ranks and, for K > 2, calls stay."""
        return predictions.with_scores(_temper(predictions.y_score, self.value))


def _shares(scores: Floats) -> Floats:
    """One column per class, also of two classes."""
    return np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores


def _temper(scores: Floats, temperature: float) -> Floats:
    """Divide logits by a temperature: scores (N,) or (N, K) in, the same shape out."""
    kept = np.clip(_shares(scores), TINY, 1 - TINY)
    tempered = np.asarray(softmax(np.log(kept) / temperature, axis=1))
    return tempered[:, 1] if scores.ndim == 1 else tempered


def _log_loss(predictions: Predictions, temperature: float) -> float:
    """Mean negative log of the score of the true class, after a temperature."""
    shares = _shares(_temper(predictions.y_score, temperature))
    true_share = shares[np.arange(len(shares)), predictions.y_true]
    return float(-np.log(np.maximum(true_share, TINY**2)).mean())


def fit_temperature(predictions: Predictions, *, chosen_on: str = "validation") -> Temperature:
    """Fit a temperature on validation predictions by the least log loss, within [0.05, 20].

    Where the scores separate the classes, ever smaller temperatures lose ever less, until all
    scores are 0 or 1 and no longer rank; where they are worse than chance, ever greater ones do.
    Such data say nothing of a temperature: then it is 1, and its `note` and the log say why.

    Parameters
    ----------
    predictions : Predictions
        Of the validation set, of two classes or more. Fitted on the test set, a temperature makes
        the test look better than it is.
    chosen_on : str
        Name of the data, for reports.

    Returns
    -------
    Temperature
        Its `apply` tempers the scores of other predictions.

    Raises
    ------
    MetricsError
        When the validation set holds one class only, which no temperature can be fitted to.

    References
    ----------
    Guo C et al. (2017) On calibration of modern neural networks. ICML.

    Examples
    --------
    >>> val = Predictions("abcdef", [0, 0, 1, 1, 1, 0], [.01, .02, .99, .98, .01, .03])
    >>> fit_temperature(val).value > 1  # sure of "e", and wrong: overconfident
    True
    """
    present = np.unique(predictions.y_true)
    if len(present) < 2:
        raise MetricsError(
            f"the {chosen_on} set holds images of {len(present)} class only; temperature scaling "
            "needs at least two"
        )
    low, high = (math.log(bound) for bound in BOUNDS)
    found = minimize_scalar(
        lambda log_t: _log_loss(predictions, math.exp(log_t)),
        bounds=(low, high), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    note, value = "", math.exp(float(found.x))
    if _classes_separated(predictions):
        note = "the scores separate the classes"
    elif not low + 1e-3 < found.x < high - 1e-3:
        note = f"the log loss is smallest at {value:.3g}, the end of what was tried"
    if note:
        value = 1.0
        log.warning("no temperature can be fitted on the %s set, so it is 1: %s", chosen_on, note)
    return Temperature(value, f"{chosen_on} ({len(predictions)} images)", note)


def _classes_separated(predictions: Predictions) -> bool:
    """Whether every image scores higher for its own class than any image of another class does."""
    scores = _shares(predictions.y_score)
    own = predictions.y_true[:, None] == np.arange(scores.shape[1])
    lowest = np.min(scores, axis=0, where=own, initial=np.inf)
    return bool(np.all(lowest > np.max(scores, axis=0, where=~own, initial=-np.inf)))

"""Whether a score of 0.8 means 8 in 10, and how to mend it: reliability, line, temperature."""

import logging
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq, minimize_scalar, root
from scipy.special import expit, logit, softmax
from sklearn.metrics import log_loss

from medimg.errors import MetricsError
from medimg.metrics.intervals import Estimate, mean_by_patient, share, t_of, undefined
from medimg.metrics.predictions import Floats, Ints, Predictions, check_between
from medimg.metrics.roc import area

log = logging.getLogger(__name__)

Bins = Literal["quantile", "uniform"]
TINY = 1e-7
"""Scores are held this far from 0 and 1 where their logarithm is taken."""
BOUNDS = (0.05, 20.0)
"""Temperatures that are tried."""


def reliability(
    predictions: Predictions, *, bins: int = 10, strategy: Bins = "quantile", level: float = 0.95
) -> pd.DataFrame:
    """Tabulate a reliability diagram.

    Edges and scores are compared as decimals: a score of 0.3 lies on the edge 0.3, which in binary
    may be 0.30000000000000004. A score on an edge belongs to the bin that begins there.

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
    if bins < 1 or strategy not in ("quantile", "uniform"):
        raise MetricsError(f"{bins} bins, {strategy!r}; give 1 or more, quantile or uniform")
    data, k = predictions.rows, np.arange(bins + 1) / bins
    ends = (np.quantile(data.score, k) if strategy == "quantile" else k).round(12)
    # Where many images share the highest score, they are a bin of their own, which ends there, too.
    edges = np.r_[np.unique(ends), ends[-1:] if (ends == ends[-1]).sum() > 1 else []]
    place = np.searchsorted(edges[1:-1], data.score.round(12), side="right")
    table = []
    for b in np.unique(place):
        here = place == b
        seen = share(data.positive, here, data.patient, size=data.size).interval(level)
        row = {"from": edges[b], "to": edges[b + 1], "n": int(here.sum())}
        row |= {"score": data.score[here].mean(), "observed": seen.value}
        table.append(row | {"low": seen.low, "high": seen.high})
    return pd.DataFrame(table)


def brier(predictions: Predictions, *, level: float = 0.95) -> Estimate:
    """Brier score of two-class predictions: the mean squared error of the score.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        In [0, 1], 0 at best, with a bootstrap interval by patient. Who always says the prevalence p
        gets p (1 - p).

    Raises
    ------
    MetricsError
        With more than two classes, or a level out of range.

    Examples
    --------
    >>> round(brier(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.2, 0.7, 0.6])).value, 4)
    0.075
    """
    data = predictions.rows
    return mean_by_patient((data.score - data.positive) ** 2, predictions.patient_ids, level=level)


@dataclass(frozen=True)
class CalibrationLine:
    """Intercept (0 is best; above 0 the scores are too low) and slope (1; below: too extreme)."""

    intercept: Estimate
    slope: Estimate


def calibration_line(predictions: Predictions, *, level: float = 0.95) -> CalibrationLine:
    """Fit logistic recalibration: logit P(y = 1) = a + b logit(score).

    The slope comes from that fit, the intercept ("calibration in the large") from one with b held
    at 1, as TRIPOD+AI asks. Intervals come from the fits' sandwich variance, summed by patient,
    with Student's t for the number of patients.

    Parameters
    ----------
    predictions : Predictions
        Of two classes; scores are held 1e-7 away from 0 and 1.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    CalibrationLine
        Intercept in log odds and slope; not defined, with the reason, where all images are of one
        class, and no slope where scores are equal or separate the classes. Without an interval
        where all images of a class are of one patient.

    Raises
    ------
    MetricsError
        With more than two classes, or a level out of range.

    References
    ----------
    Cox DR (1958) Biometrika 45:562-565. Van Calster B et al. (2019) BMC Med 17:230. Liang KY,
    Zeger SL (1986) Biometrika 73:13-22. Albert A, Anderson JA (1984) Biometrika 71:1-10.

    Examples
    --------
    >>> p = Predictions("abcdef", [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    >>> line = calibration_line(p)
    >>> round(line.intercept.value, 3), round(line.slope.value, 3)
    (0.199, 1.123)
    """
    data = predictions.rows
    y, x = data.positive.astype(np.float64), logit(np.clip(data.score, TINY, 1 - TINY))
    if data.lacking:
        none = undefined("all images are of one class", level=level)
        return CalibrationLine(none, none)
    # The mean of expit(a + x) rises with a, and passes that of y between these ends.
    base, ones = float(logit(y.mean())), np.ones((len(y), 1))
    low, high = base - x.max() - 1, base - x.min() + 1
    a = float(brentq(lambda a: np.mean(y - expit(a + x)), low, high, xtol=1e-14))
    intercept = _sandwich(a, ones, y, expit(a + x), data.patient, level)
    if np.ptp(x) == 0:
        return CalibrationLine(intercept, undefined("all scores are equal", level=level))
    pos, neg = x[data.positive], x[~data.positive]
    if pos.min() >= neg.max() or pos.max() <= neg.min():  # the slope would be infinite
        words = "the classes are separated by the score"
        return CalibrationLine(intercept, undefined(words, level=level))
    design = np.column_stack([ones, x])

    def left(beta: Floats) -> Floats:
        """Return what the score equations leave: 0 at their solution."""
        return np.asarray(design.T @ (y - expit(design @ beta)) / len(y))

    beta = root(left, np.zeros(2), tol=1e-13).x
    slope = _sandwich(float(beta[1]), design, y, expit(design @ beta), data.patient, level)
    if np.abs(left(beta)).max() > 1e-8:
        slope = undefined("the regression does not converge", level=level)
    return CalibrationLine(intercept, slope)


def _sandwich(
    value: float, design: Floats, y: Floats, p: Floats, patient: Ints, level: float
) -> Estimate:
    """Return the last coefficient of a logistic regression with its interval by patient."""
    patients = int(patient.max()) + 1
    alone = min(len(np.unique(patient[y == side])) for side in (0, 1)) == 1
    bread = np.linalg.inv((design.T * (p * (1 - p))) @ design)
    part = np.bincount(patient, weights=(y - p) * (design @ bread[:, -1]))
    half = t_of(level, patients) * math.sqrt(patients / max(patients - 1, 1) * float(part @ part))
    if alone or half > 10:  # in log odds, from 1 in 20,000 to 20,000 to 1
        why = "too few patients, or scores that hardly differ or are nearly all 0 or 1"
        why = "a class of one patient alone shows no variance" if alone else why
        return Estimate(value, math.nan, math.nan, level, "sandwich", why)
    return Estimate(value, value - half, value + half, level, "sandwich")


def temper(predictions: Predictions, temperature: float) -> Predictions:
    """Divide the logits of predictions by a temperature.

    Parameters
    ----------
    predictions : Predictions
        Of two classes or more.
    temperature : float
        Above 0; 1 leaves the scores as they are, more makes an overconfident model humbler.

    Returns
    -------
    Predictions
        With tempered scores; ranks and, for more than two classes, calls stay.

    Raises
    ------
    MetricsError
        When the temperature is not above 0.

    Examples
    --------
    >>> temper(Predictions("ab", [0, 1], [0.1, 0.8]), 2.0).y_score.round(2).tolist()
    [0.25, 0.67]
    """
    check_between(0, math.inf, temperature=temperature)
    return predictions.with_scores(_tempered(predictions.y_score, temperature))


def _tempered(scores: Floats, temperature: float) -> Floats:
    kept = np.clip(scores, TINY, 1 - TINY)
    if kept.ndim == 1:
        return np.asarray(expit(logit(kept) / temperature))
    return np.asarray(softmax(np.log(kept) / temperature, axis=1))


def fit_temperature(predictions: Predictions) -> float:
    """Fit a temperature on validation predictions by the least log loss, within [0.05, 20].

    Where the scores separate the classes, ever smaller temperatures lose ever less, until all
    scores are 0 or 1 and no longer rank; where they are worse than chance, ever greater ones do.
    Such data say nothing of a temperature: then it is 1, and the log says why.

    Parameters
    ----------
    predictions : Predictions
        Of the validation set, of two classes or more. Fitted on the test set, a temperature makes
        the test look better than it is.

    Returns
    -------
    float
        For `temper`.

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
    >>> fit_temperature(val) > 1  # sure of "e", and wrong: overconfident
    True
    """
    present = np.unique(predictions.y_true).tolist()
    if len(present) < 2:
        raise MetricsError("a temperature needs validation images of at least two classes")
    classes, (low, high) = range(len(predictions.classes)), np.log(BOUNDS).tolist()

    def loss(log_t: float) -> float:
        tempered = _tempered(predictions.y_score, math.exp(log_t))
        return float(log_loss(predictions.y_true, tempered, labels=classes))

    found = float(minimize_scalar(loss, bounds=(low, high), options={"xatol": 1e-6}).x)
    separated = all(area(predictions.one_vs_rest(k).rows).value == 1 for k in present)
    if separated or not low + 1e-3 < found < high - 1e-3:
        log.warning("temperature 1: scores separate the classes, or are worse than chance")
        return 1.0
    return math.exp(found)

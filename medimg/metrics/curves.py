"""The ROC and the precision-recall curve, point by point, and the area under the second."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from medimg.metrics.bootstrap import bootstrap_weights
from medimg.metrics.checks import Floats, check_level
from medimg.metrics.estimates import Estimate, Rows, rows, undefined
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import require_binary


def curve_counts(data: Rows) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, falling, with the weight of positives and negatives scored at least so.

    Three empty arrays when no row counts.
    """
    if len(data.score) == 0:
        return data.score, data.weight, data.weight
    order = np.argsort(-data.score, kind="stable")
    score = data.score[order]
    last = np.r_[np.flatnonzero(np.diff(score)), len(score) - 1]
    tp = np.cumsum(data.weight[order] * data.positive[order])[last]
    fp = np.cumsum(data.weight[order] * ~data.positive[order])[last]
    return score[last], tp, fp


def roc_curve(predictions: Predictions) -> pd.DataFrame:
    """Every point of the ROC curve.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.

    Returns
    -------
    DataFrame
        One row a distinct score, falling: ``threshold, sensitivity, specificity``. An image is
        called positive when its score is at least the threshold; the first row, with threshold
        infinity, calls none positive. NaN where a class is absent.

    Raises
    ------
    MetricsError
        With more than two classes.

    Examples
    --------
    >>> curve = roc_curve(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    >>> curve["sensitivity"].tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    require_binary(predictions)
    thresholds, tp, fp = curve_counts(rows(predictions))
    tp, fp = np.r_[0, tp], np.r_[0, fp]
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "threshold": np.r_[np.inf, thresholds],
                "sensitivity": tp / tp[-1],
                "specificity": 1 - fp / fp[-1],
            }
        )


def average_precision(
    predictions: Predictions,
    *,
    level: float = 0.95,
    draws: int = 1000,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Average precision (the step-wise area under the precision-recall curve).

    Parameters
    ----------
    predictions : Predictions
        Of two classes; scores need only rank.
    level : float
        Confidence level, in (0, 1).
    draws : int
        Resamples of the bootstrap by patient that makes the interval.
    rng : numpy.random.Generator, optional
        For the bootstrap; by default seeded with 0, so that results repeat.

    Returns
    -------
    Estimate
        In [0, 1]; a useless model has the prevalence, not 0.5. Not defined, with the reason, where
        no image is positive.

    Raises
    ------
    MetricsError
        With more than two classes, or a level out of range.

    Examples
    --------
    >>> average_precision(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])).value
    0.8333333333333333
    """
    require_binary(predictions)
    check_level(level)
    data = rows(predictions)
    if not data.positive.any():
        return undefined("no positive image", level=level)
    rng = np.random.default_rng(0) if rng is None else rng
    order = np.argsort(-data.score, kind="stable")
    score, positive = data.score[order], data.positive[order]
    weight, cluster = data.weight[order], data.cluster[order]
    last = np.r_[np.flatnonzero(np.diff(score)), len(score) - 1]

    def value(times: Floats) -> float:
        """Average precision when row i is in the sample times[i] times."""
        w = weight * times
        tp, called = np.cumsum(w * positive)[last], np.cumsum(w)[last]
        if tp[-1] == 0:
            return math.nan
        precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
        return float(np.sum(np.diff(tp, prepend=0.0) * precision) / tp[-1])

    return bootstrap_weights(value, cluster, level=level, draws=draws, rng=rng)


def pr_curve(predictions: Predictions) -> pd.DataFrame:
    """Every point of the precision-recall curve.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.

    Returns
    -------
    DataFrame
        One row a distinct score, falling: ``threshold, recall, precision``, at which an image is
        called positive when its score is at least the threshold. Recall is NaN without a positive
        image; there is no row when every image has weight 0.

    Raises
    ------
    MetricsError
        With more than two classes.

    Examples
    --------
    >>> curve = pr_curve(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    >>> curve["precision"].round(2).tolist()
    [1.0, 0.5, 0.67, 0.5]
    """
    require_binary(predictions)
    thresholds, tp, fp = curve_counts(rows(predictions))
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {"threshold": thresholds, "recall": tp / tp[-1:], "precision": tp / (tp + fp)}
        )

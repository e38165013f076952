"""`evaluate`: all metrics of one set of predictions, with intervals, in one table."""

from __future__ import annotations

import numpy as np

from medimg.metrics.binary import table_metrics
from medimg.metrics.checks import check_level
from medimg.metrics.curves import average_precision
from medimg.metrics.multiclass import evaluate_multiclass
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import auc
from medimg.metrics.result import Evaluation, confusion_matrix
from medimg.metrics.thresholds import Threshold, as_threshold


def evaluate(
    predictions: Predictions,
    *,
    threshold: float | Threshold | None = None,
    ordinal: bool = False,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Evaluation:
    """Compute every metric with its interval.

    Parameters
    ----------
    predictions : Predictions
        Of the test set; two classes or more.
    threshold : float or Threshold
        For two classes; choose it on validation data with `choose_threshold`. A plain number is
        taken as given by hand; without one 0.5 is used, and the result warns of it.
    ordinal : bool
        With more than two classes: whether their order means something (grades of severity), so
        that quadratic kappa is added.
    level : float
        Confidence level of all intervals, in (0, 1).
    rng : numpy.random.Generator, optional
        For the bootstraps; by default seeded with 0, so that a report repeats to the digit.

    Returns
    -------
    Evaluation
        Every metric as an `Estimate`, the confusion matrix, and what a reader should know before
        trusting them.

    Raises
    ------
    MetricsError
        When the threshold or the level is out of range.

    Examples
    --------
    >>> test = Predictions("abcdefgh", [0, 0, 0, 0, 1, 1, 1, 1], [.1, .2, .3, .6, .4, .7, .8, .9])
    >>> result = evaluate(test, threshold=0.5)
    >>> result["sensitivity"], result["recall"].value
    (0.750 (0.301 to 0.954), 0.75)
    """
    check_level(level)
    rng = np.random.default_rng(0) if rng is None else rng
    if not predictions.is_binary:
        return evaluate_multiclass(predictions, ordinal=ordinal, level=level, rng=rng)
    cut = as_threshold(0.5 if threshold is None else threshold)
    estimates = table_metrics(predictions, cut.value, level=level, rng=rng)
    estimates["auc"] = auc(predictions, level=level)
    estimates["average_precision"] = average_precision(predictions, level=level, rng=rng)
    return Evaluation(
        estimates,
        confusion_matrix(predictions, threshold=cut),
        len(predictions),
        predictions.n_patients,
        cut,
        None,
        _warnings(predictions, cut, given=threshold is not None),
    )


def _warnings(predictions: Predictions, cut: Threshold, *, given: bool) -> tuple[str, ...]:
    found = []
    if not given:
        found.append("no threshold was given; 0.5 was used, which no validation data speak for")
    again = len(cut.ids.intersection(predictions.ids.tolist()))
    if again:
        found.append(
            f"{again} of these images were also used to choose the threshold, so sensitivity and "
            "specificity look better than they are"
        )
    smallest = min(int(np.sum(predictions.y_true == k)) for k in (0, 1))
    if smallest < 30:
        found.append(f"only {smallest} images in the smaller class; read the intervals first")
    if predictions.patient_ids is None:
        found.append("patients are not known, so each image was taken as a patient of its own")
    return tuple(found)

"""`evaluate`: all metrics of one set of predictions, with intervals, in one table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.binary import table_metrics
from medimg.metrics.checks import Floats
from medimg.metrics.estimates import Estimate, clusters
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import auc, average_precision
from medimg.metrics.thresholds import Threshold, as_threshold

ALIASES = {"recall": "sensitivity", "precision": "ppv", "ap": "average_precision"}


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """All metrics of one set of predictions.

    Attributes
    ----------
    estimates : dict of str to Estimate
        ``evaluation["sensitivity"]`` is short for one of them; "recall" and "precision" work too.
    confusion : DataFrame, (K, K)
        Rows are the true class, columns the predicted one.
    threshold : Threshold or None
        None with more than two classes: the likeliest class is the prediction.
    per_class : DataFrame or None
        With more than two classes, each class against the rest.
    warnings : tuple of str
        What a reader should know before trusting the numbers.
    """

    estimates: dict[str, Estimate]
    confusion: pd.DataFrame
    n_images: int
    n_patients: int
    threshold: Threshold | None = None
    per_class: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> Estimate:
        try:
            return self.estimates[ALIASES.get(metric, metric)]
        except KeyError:
            names = ", ".join(self.estimates)
            raise MetricsError(f"no metric {metric!r}; expected one of {names}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    @property
    def table(self) -> pd.DataFrame:
        """One row a metric: ``value, low, high, method, reason``."""
        columns = ("value", "low", "high", "method", "reason")
        return pd.DataFrame(
            [[getattr(e, c) for c in columns] for e in self.estimates.values()],
            columns=list(columns), index=pd.Index(list(self.estimates), name="metric"),
        )  # fmt: skip

    def __repr__(self) -> str:
        lines = [f"{self.n_images} images of {self.n_patients} patients"]
        if self.threshold is not None:
            lines.append(f"threshold {self.threshold}")
        width = max(len(name) for name in self.estimates)
        lines += [f"{name:<{width}}  {estimate!r}" for name, estimate in self.estimates.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def confusion_matrix(
    predictions: Predictions, *, threshold: float | Threshold = 0.5
) -> pd.DataFrame:
    """Count images by true class (rows) and predicted class (columns); weights are summed.

    Examples
    --------
    >>> confusion_matrix(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.6, 0.7, 0.2])).to_numpy()
    array([[1, 1],
           [1, 1]])
    """
    weight, _, kept = clusters(predictions)
    size = len(predictions.classes)
    predicted = predictions.predicted(as_threshold(threshold).value)[kept]
    matrix: Floats = np.zeros((size, size))
    np.add.at(matrix, (predictions.y_true[kept], predicted), weight)
    whole = predictions.weights is None
    names = list(predictions.classes)
    return pd.DataFrame(
        matrix.astype(np.int64) if whole else matrix,
        index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"),
    )  # fmt: skip


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
        Of the test set.
    threshold : float or Threshold
        For two classes; choose it on validation data with `choose_threshold`. A plain number is
        taken as given by hand; without one 0.5 is used, and the result warns of it.
    ordinal : bool
        With more than two classes: whether their order means something (grades of severity), so
        that quadratic kappa is added.
    level : float
        Confidence level of all intervals.
    rng : numpy.random.Generator, optional
        For the bootstraps; by default seeded with 0, so that a report repeats to the digit.

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
    if not 0 < level < 1:
        raise MetricsError(f"level is {level}; expected a share between 0 and 1, such as 0.95")
    rng = np.random.default_rng(0) if rng is None else rng
    if not predictions.is_binary:
        from medimg.metrics.multiclass import evaluate_multiclass

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


def is_defined(estimate: Estimate) -> bool:
    """Whether the metric has a value on these data."""
    return not math.isnan(estimate.value)

"""The result of `evaluate`: all metrics of one set of predictions, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.checks import Floats
from medimg.metrics.estimates import Estimate, clusters
from medimg.metrics.predictions import Predictions
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
    def level(self) -> float:
        """Confidence level of the intervals, a share."""
        return next(iter(self.estimates.values())).level

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

    Parameters
    ----------
    predictions : Predictions
        Of two classes or more.
    threshold : float or Threshold
        For two classes; with more the likeliest class is the call.

    Returns
    -------
    DataFrame, (K, K)
        Whole numbers, or sums of weights where the predictions have weights.

    Raises
    ------
    MetricsError
        When the threshold is out of range.

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

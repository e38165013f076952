"""Clinical metrics with intervals: everything that a paper on a classifier has to say in numbers.

Predictions are checked once (`Predictions`); every metric comes back as an `Estimate`: the value,
its interval, how the interval was made, and, where a metric is not defined, why.
"""

from medimg.metrics.curves import average_precision, pr_curve, roc_curve
from medimg.metrics.estimates import Estimate, wilson
from medimg.metrics.evaluation import evaluate
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import AucDifference, auc, auc_difference
from medimg.metrics.result import Evaluation, confusion_matrix
from medimg.metrics.thresholds import Threshold, choose_threshold

__all__ = [
    "AucDifference",
    "Estimate",
    "Evaluation",
    "Predictions",
    "Threshold",
    "auc",
    "auc_difference",
    "average_precision",
    "choose_threshold",
    "confusion_matrix",
    "evaluate",
    "pr_curve",
    "roc_curve",
    "wilson",
]

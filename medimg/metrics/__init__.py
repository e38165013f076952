"""Clinical metrics with intervals: everything that a paper on a classifier has to say in numbers.

Predictions are checked once (`Predictions`); every metric comes back as an `Estimate`: the value,
its interval, how the interval was made, and, where a metric is not defined, why.
"""

from medimg.metrics.ages import age_bands
from medimg.metrics.calibration import (
    Brier,
    brier,
    expected_calibration_error,
    reliability,
)
from medimg.metrics.comparison import AucDifference, auc_difference
from medimg.metrics.curves import average_precision, pr_curve, roc_curve
from medimg.metrics.decision import decision_curve
from medimg.metrics.estimates import Estimate, wilson
from medimg.metrics.evaluation import evaluate
from medimg.metrics.multiclass import mean_auc, one_against_rest
from medimg.metrics.predictions import Predictions
from medimg.metrics.prevalence import (
    NaturalFrequencies,
    PredictiveValues,
    natural_frequencies,
    ppv_npv_at,
    predictive_values,
)
from medimg.metrics.ranking import auc
from medimg.metrics.recalibration import CalibrationLine, calibration_line
from medimg.metrics.result import Evaluation, confusion_matrix
from medimg.metrics.robustness import corrupt, robustness
from medimg.metrics.subgroups import SubgroupReport, subgroups
from medimg.metrics.temperature import Temperature, fit_temperature, log_loss
from medimg.metrics.thresholds import Threshold, choose_threshold

__all__ = [
    "AucDifference",
    "Brier",
    "CalibrationLine",
    "Estimate",
    "Evaluation",
    "NaturalFrequencies",
    "Predictions",
    "PredictiveValues",
    "SubgroupReport",
    "Temperature",
    "Threshold",
    "age_bands",
    "auc",
    "auc_difference",
    "average_precision",
    "brier",
    "calibration_line",
    "choose_threshold",
    "confusion_matrix",
    "corrupt",
    "decision_curve",
    "evaluate",
    "expected_calibration_error",
    "fit_temperature",
    "log_loss",
    "mean_auc",
    "natural_frequencies",
    "one_against_rest",
    "ppv_npv_at",
    "pr_curve",
    "predictive_values",
    "reliability",
    "robustness",
    "roc_curve",
    "subgroups",
    "wilson",
]

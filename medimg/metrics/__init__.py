"""Clinical metrics with intervals: everything that a paper on a classifier has to say in numbers.

Predictions are checked once (`Predictions`); every metric comes back as an `Estimate`: the value,
its interval, how the interval was made, and, where a metric is not defined, why. Intervals are by
patient and of three kinds: Wilson, DeLong and bootstrap.
"""

from medimg.metrics.calibration import brier, calibration_line, fit_temperature, reliability, temper
from medimg.metrics.evaluation import Evaluation, confusion_matrix, evaluate, rates
from medimg.metrics.groups import SubgroupReport, age_bands, subgroups
from medimg.metrics.intervals import Estimate, bootstrap, mean_by_patient, share_by_patient, wilson
from medimg.metrics.predictions import Predictions, patient_codes
from medimg.metrics.roc import (
    Threshold,
    auc,
    auc_difference,
    average_precision,
    choose_threshold,
    pr_curve,
    roc_curve,
)
from medimg.metrics.use import (
    NaturalFrequencies,
    decision_curve,
    natural_frequencies,
    ppv_npv_at,
    sample_size,
)

__all__ = [
    "Estimate", "Evaluation", "NaturalFrequencies", "Predictions", "SubgroupReport", "Threshold",
    "age_bands", "auc", "auc_difference", "average_precision", "bootstrap", "brier",
    "calibration_line", "choose_threshold", "confusion_matrix", "decision_curve", "evaluate",
    "fit_temperature", "mean_by_patient", "natural_frequencies",
    "patient_codes", "ppv_npv_at", "pr_curve", "rates", "reliability", "roc_curve", "sample_size",
    "share_by_patient", "subgroups", "temper", "wilson",
]  # fmt: skip

"""Train, validate, keep and apply networks."""

from medimg.training.data import check_trainable, cross_validate, epoch_order, patient_folds
from medimg.training.fit import FitResult, fit, fit_head
from medimg.training.optim import FEW, STRATEGIES, FitSettings, make_loss, plan, recipe
from medimg.training.predict import (
    Probe,
    extract_features,
    linear_probe,
    predict,
    predict_logits,
    probabilities,
    run_model,
    validation_metrics,
)
from medimg.training.speed import autocast

__all__ = [
    "FEW", "STRATEGIES", "FitResult", "FitSettings", "Probe", "autocast", "check_trainable",
    "cross_validate", "epoch_order", "extract_features", "fit", "fit_head", "linear_probe",
    "make_loss", "patient_folds", "plan", "predict", "predict_logits", "probabilities", "recipe",
    "run_model", "validation_metrics",
]  # fmt: skip

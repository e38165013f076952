"""Train, validate, keep and apply networks."""

from medimg.training.data import check_trainable, cross_validate, epoch_order, patient_folds
from medimg.training.distributed import check_processes, is_main, process_group
from medimg.training.fit import fit, fit_head
from medimg.training.head import Probe, extract_features, linear_probe
from medimg.training.optim import STRATEGIES, make_loss, plan
from medimg.training.predict import (
    predict,
    predict_logits,
    probabilities,
    run_model,
    validation_metrics,
)
from medimg.training.settings import FEW, FitResult, FitSettings, recipe
from medimg.training.speed import autocast

__all__ = [
    "FEW", "STRATEGIES", "FitResult", "FitSettings", "Probe", "autocast", "check_processes",
    "check_trainable",
    "cross_validate", "epoch_order", "extract_features", "fit", "fit_head", "is_main",
    "linear_probe", "make_loss", "patient_folds", "plan", "predict", "predict_logits",
    "probabilities", "process_group", "recipe", "run_model", "validation_metrics",
]  # fmt: skip

"""Train, validate, keep and apply networks; networks and images come as arguments."""

from medimg.training.crossval import CrossValidation, cross_validate
from medimg.training.distributed import is_main, process_group, world
from medimg.training.fit import FitResult, fit
from medimg.training.inference import predict, predict_ensemble, predict_logits, to_scores
from medimg.training.loop import make_loss
from medimg.training.mixed_precision import autocast
from medimg.training.probe import Probe, extract_features, linear_probe
from medimg.training.scores import scores
from medimg.training.settings import FitSettings, recipe
from medimg.training.strategies import STRATEGIES, plan

__all__ = [
    "STRATEGIES",
    "CrossValidation",
    "FitResult",
    "FitSettings",
    "Probe",
    "autocast",
    "cross_validate",
    "extract_features",
    "fit",
    "is_main",
    "linear_probe",
    "make_loss",
    "plan",
    "predict",
    "predict_ensemble",
    "predict_logits",
    "process_group",
    "recipe",
    "scores",
    "to_scores",
    "world",
]

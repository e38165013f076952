"""Pretrained networks for grey images, their heads, and their files."""

from medimg.models.backbones import NAMES, build_model
from medimg.models.files import ModelInfo, load_model, save_model
from medimg.models.network import AttentionHead, LinearHead, MedicalNet, target_layer

__all__ = [
    "NAMES",
    "AttentionHead",
    "LinearHead",
    "MedicalNet",
    "ModelInfo",
    "build_model",
    "load_model",
    "save_model",
    "target_layer",
]

"""Pretrained networks for grey and colour images, their heads, and their files."""

from medimg.models.build import NAMES, build_model
from medimg.models.files import ModelInfo, load_model, save_model
from medimg.models.network import AttentionHead, LinearHead, MedicalNet, target_layer

__all__ = [
    "NAMES", "AttentionHead", "LinearHead", "MedicalNet", "ModelInfo", "build_model",
    "load_model", "save_model", "target_layer",
]  # fmt: skip

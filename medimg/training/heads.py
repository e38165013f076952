"""Training a head alone: on frozen features, or solved exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from medimg.training.probe import extract_features, linear_probe
from medimg.training.settings import FitSettings
from medimg.training.types import ImageSet, Network


class HeadOnly(nn.Module):
    """A head as a network without a backbone: its images are cached features.

    Parameters
    ----------
    model : Network
        Whose head to train, in place.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.head = model.head
        self.num_classes = model.num_classes
        self.name = f"head of {getattr(model, 'name', type(model).__name__)}"

    def stages(self) -> dict[str, nn.Module]:
        """Return nothing: there is no backbone."""
        return {}

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) or (B, C, h, w) features -> (B, K) logits."""
        logits: Tensor = self.head(features)
        return logits

    embed = feature_map = forward


def frozen_features(model: Network, images: ImageSet, out_dir: Path | None) -> NDArray[np.float32]:
    """Return what the head wants of every image: pooled features or maps."""
    kind = "map" if model.head.wants_map else "pooled"
    return extract_features(model, images.images, kind=kind, cache=out_dir)


def solvable(model: Network, settings: FitSettings) -> bool:
    """Whether the head is linear and shall start as a linear probe."""
    return settings.probe_strength > 0 and not model.head.wants_map


def solve_head(
    model: Network, features: Any, labels: NDArray[np.int64], settings: FitSettings
) -> None:
    """Give a linear head the weights of a regularised logistic regression on features.

    Of the settings only ``probe_strength``, ``class_weights`` and ``sampler`` count: a balanced
    sampler weighs every class the same in sum.
    """
    given = settings.class_weights
    probe = linear_probe(
        features,
        labels,
        num_classes=model.num_classes,
        strength=settings.probe_strength,
        balanced=given == "balanced" or settings.sampler == "balanced",
        weights=None if isinstance(given, str) else given,
    )
    probe.load_into(model.head)

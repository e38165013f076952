"""What training asks of a network and of a set of images: their shape, not their class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class ImageSet(Protocol):
    """Images decoded once: uint8 (N, H, W), in memory or memory-mapped, and their labels."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """(N, H, W)."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,), 0 the healthy class."""

    @property
    def ids(self) -> NDArray[Any]:
        """(N,) names of the images."""

    @property
    def patients(self) -> NDArray[Any]:
        """(N,) names of the patients."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, healthy first."""

    def subset(self, which: Any) -> Any:
        """Return the images of a split, a mask or a list of rows."""

    def __len__(self) -> int: ...


class Network(Protocol):
    """A network of named stages and a head (`medimg.models.MedicalNet` is one)."""

    head: Any
    num_classes: int
    training: bool

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1] -> (B, K) logits."""

    def stages(self) -> dict[str, nn.Module]:
        """Return the backbone's parts, from input to output."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, C) pooled features."""

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, C, h, w) features."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As in nn.Module."""

    def buffers(self) -> Iterator[Tensor]:
        """As in nn.Module."""

    def modules(self) -> Iterator[nn.Module]:
        """As in nn.Module."""

    def state_dict(self) -> dict[str, Any]:
        """As in nn.Module."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """As in nn.Module."""

    def train(self, mode: bool = True) -> Any:
        """As in nn.Module."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As in nn.Module."""


Weights = dict[str, torch.Tensor]

"""One shape for every network: normalise, backbone, head."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from medimg.errors import ModelError


class LinearHead(nn.Module):
    """Dropout and one linear layer on the pooled features.

    Parameters
    ----------
    channels : int
        Features of the backbone, C.
    classes : int
        Outputs, K.
    dropout : float
        Share of features set to zero in training.
    """

    wants_map = False

    def __init__(self, channels: int, classes: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) features -> (B, K) logits."""
        return cast(Tensor, self.linear(self.dropout(features)))


class AttentionHead(nn.Module):
    """Gated attention over the places of the feature map, then dropout and one linear layer.

    Every place is scored by ``w . (tanh(V f) * sigmoid(U f))``; the scores' softmax weighs the
    places' features, and the weights themselves can be shown.

    Parameters
    ----------
    channels : int
        Features of the backbone, C.
    classes : int
        Outputs, K.
    dropout : float
        Share of pooled features set to zero in training.
    hidden : int
        Width of the two gates.

    References
    ----------
    Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018.
    """

    wants_map = True

    def __init__(
        self, channels: int, classes: int, *, dropout: float = 0.2, hidden: int = 128
    ) -> None:
        super().__init__()
        self.value = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def weights(self, feature_map: Tensor) -> Tensor:
        """(B, C, h, w) feature map -> (B, h, w) weights that sum to one."""
        places = feature_map.flatten(2).transpose(1, 2)  # (B, h*w, C)
        gated = torch.tanh(self.value(places)) * torch.sigmoid(self.gate(places))
        weights = torch.softmax(self.score(gated)[..., 0], dim=1)  # (B, h*w)
        return weights.view(len(feature_map), *feature_map.shape[2:])

    def forward(self, feature_map: Tensor) -> Tensor:
        """(B, C, h, w) feature map -> (B, K) logits."""
        pooled = (feature_map * self.weights(feature_map)[:, None]).sum(dim=(2, 3))  # (B, C)
        return cast(Tensor, self.linear(self.dropout(pooled)))


class MedicalNet(nn.Module):
    """A pretrained backbone with a new head, for images in [0, 1] of one or three channels.

    Parameters
    ----------
    backbone : nn.Sequential
        Its children are the stages, first to last; the last one yields a feature map (B, C, h, w)
        or, for transformers, tokens (B, 1 + h*w, C), the class token first.
    head : LinearHead or AttentionHead
        From features to logits.
    name : str
        The backbone's name in `build_model`.
    mean, std : tuple of float
        The three-channel normalisation that the backbone was pretrained with.

    Attributes
    ----------
    classes : tuple of str
        Names of the outputs, healthy first.
    num_classes : int
        Outputs, K.
    """

    def __init__(
        self,
        backbone: nn.Sequential,
        head: LinearHead | AttentionHead,
        *,
        name: str,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.name = name
        self.num_classes = head.linear.out_features
        self.classes = tuple(f"class {k}" for k in range(self.num_classes))
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def fixed_size(self) -> int | None:
        """Side of the only images that it takes, in pixels (a transformer); None for any size."""
        return getattr(self.backbone[0], "image_size", None)

    def stages(self) -> dict[str, nn.Module]:
        """Return the backbone's parts by name, from input to output."""
        return dict(self.backbone.named_children())

    def normalize(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, 3, H, W) as in pretraining.

        A single channel is repeated by broadcasting against the three means.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ModelError(
                f"{self.name} takes images (B, 1, H, W) or (B, 3, H, W) in [0, 1], "
                f"got {tuple(images.shape)}; add the missing axis"
            )
        return (images - self.mean) / self.std

    def _trunk(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.backbone(self.normalize(images)))

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, C, h, w), before pooling."""
        return _as_map(self._trunk(images))

    def embed(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, C) pooled features (a transformer's class token)."""
        return _pooled(self._trunk(images))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, K) logits."""
        trunk = self._trunk(images)
        return cast(Tensor, self.head(_as_map(trunk) if self.head.wants_map else _pooled(trunk)))

    def attention(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, h, w) weights of the attention head, summing to one.

        Raises
        ------
        ModelError
            When the head is not an attention head.
        """
        if not isinstance(self.head, AttentionHead):
            raise ModelError(
                f"this {self.name} has a linear head without attention; "
                "build it with build_model(..., head='attention')"
            )
        return self.head.weights(self.feature_map(images))


def _as_map(trunk: Tensor) -> Tensor:
    if trunk.ndim == 4:
        return trunk
    tokens = trunk[:, 1:].transpose(1, 2)  # (B, C, h*w), without the class token
    side = round(tokens.shape[2] ** 0.5)
    return tokens.reshape(len(tokens), tokens.shape[1], side, side)


def _pooled(trunk: Tensor) -> Tensor:
    return trunk.mean(dim=(2, 3)) if trunk.ndim == 4 else trunk[:, 0]


def target_layer(model: MedicalNet) -> nn.Module:
    """Return the layer that class activation maps should look at.

    Parameters
    ----------
    model : MedicalNet

    Returns
    -------
    nn.Module
        The last stage of a convolutional network, (B, C, h, w); in a transformer the first
        normalisation of the last block, (B, 1 + h*w, C).
    """
    last = list(model.backbone.children())[-1]
    if isinstance(last, nn.LayerNorm):
        blocks = [m for m in model.backbone.modules() if hasattr(m, "self_attention")]
        return cast(nn.Module, blocks[-1].ln_1)
    return last

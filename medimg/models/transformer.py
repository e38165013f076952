"""torchvision's vision transformer cut into stages, and its attention weights."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from medimg.errors import ModelError


class Patches(nn.Module):
    """Cut the image into patches, one token each, with a class token and positions.

    Parameters
    ----------
    vit : torchvision.models.VisionTransformer
        Whose layers to take.
    """

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding
        self.image_size = int(vit.image_size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised images -> (B, 1 + (S/16)^2, C) tokens."""
        if tuple(images.shape[2:]) != (self.image_size, self.image_size):
            raise ModelError(
                f"the transformer takes images of {self.image_size} x {self.image_size}, got "
                f"{images.shape[2]} x {images.shape[3]}; decode with size={self.image_size}"
            )
        tokens = self.conv_proj(images).flatten(2).transpose(1, 2)  # (B, h*w, C)
        first = self.class_token.expand(len(tokens), -1, -1)
        return cast(Tensor, torch.cat([first, tokens], dim=1) + self.pos_embedding)


def split_vit(vit: Any) -> list[nn.Module]:
    """Return the stages: patches, four groups of blocks, the last normalisation."""
    blocks = list(vit.encoder.layers)
    size = max(1, len(blocks) // 4)
    groups = [nn.Sequential(*blocks[i : i + size]) for i in range(0, len(blocks), size)]
    return [Patches(vit), *groups, vit.encoder.ln]


def attention_matrices(backbone: nn.Sequential, images: Tensor) -> Tensor:
    """Return how much every token of a transformer attends to every other, block by block.

    Parameters
    ----------
    backbone : nn.Sequential
        Of a ``vit_b_16``.
    images : Tensor
        (B, 3, S, S), normalised.

    Returns
    -------
    Tensor
        (blocks, B, heads, T, T), each row summing to one; the class token is first.

    Raises
    ------
    ModelError
        When the network has no self-attention.
    """
    tokens, found = images, []
    for stage in backbone.children():
        if not isinstance(stage, nn.Sequential) or not hasattr(stage[0], "self_attention"):
            tokens = stage(tokens)
            continue
        blocks: list[Any] = list(stage)
        for block in blocks:
            normed = block.ln_1(tokens)
            _, weights = block.self_attention(
                normed, normed, normed, need_weights=True, average_attn_weights=False
            )
            found.append(weights)
            tokens = block(tokens)
    if not found:
        raise ModelError("this network has no self-attention; build 'vit_b_16'")
    return torch.stack(found)

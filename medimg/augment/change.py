"""Apply drawn numbers to a batch: pure functions on the batch's device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from medimg.augment.draw import Draw, sample
from medimg.augment.settings import Augment
from medimg.errors import TrainingError


def apply(batch: Tensor, draw: Draw) -> Tensor:
    """Change a batch by numbers already drawn. Same batch, same draw: same result.

    Parameters
    ----------
    batch : Tensor
        float32 (B, 1, H, W) in [0, 1].
    draw : Draw
        From `sample`, for as many images.

    Returns
    -------
    Tensor
        float32 (B, 1, H, W) in [0, 1], on the batch's device.
    """
    device = batch.device
    identity = torch.eye(2, 3).expand_as(draw.matrix)
    if not torch.equal(draw.matrix, identity):
        # square pixels: the grid is in shares of the half side, so the aspect enters off-diagonal
        aspect = batch.shape[-2] / batch.shape[-1]
        matrix = draw.matrix * torch.tensor([[1.0, aspect, 1.0], [1 / aspect, 1.0, 1.0]])
        grid = functional.affine_grid(matrix.to(device), list(batch.shape), align_corners=False)
        batch = functional.grid_sample(batch, grid, padding_mode="zeros", align_corners=False)
    if draw.blend.any():
        chosen = draw.blend.nonzero()[:, 0].to(device)
        weight = draw.blend.to(device)[chosen].view(-1, 1, 1, 1)
        batch = batch.index_copy(
            0, chosen, torch.lerp(batch[chosen], equalized(batch[chosen]), weight)
        )
    if draw.blur.any():
        chosen = draw.blur.nonzero()[:, 0].to(device)
        batch = batch.index_copy(0, chosen, _blurred(batch[chosen], draw.blur.to(device)[chosen]))
    if draw.sharpen.any():
        chosen = draw.sharpen.nonzero()[:, 0].to(device)
        amount = draw.sharpen.to(device)[chosen]
        soft = _blurred(batch[chosen], torch.ones_like(amount))
        detail = amount.view(-1, 1, 1, 1) * (batch[chosen] - soft)
        batch = batch.index_add(0, chosen, detail)
    return _photometric(batch, draw)


def _photometric(batch: Tensor, draw: Draw) -> Tensor:
    """Gamma, contrast, brightness, noise and blank borders."""

    def column(values: Tensor) -> Tensor:
        return values.to(batch.device).view(-1, 1, 1, 1)

    if not bool((draw.exponent == 1).all()):
        batch = batch.clamp(min=1e-6) ** column(draw.exponent)
    if not bool((draw.slope == 1).all() & (draw.offset == 0).all()):
        batch = (batch - 0.5) * column(draw.slope) + 0.5 + column(draw.offset)
    if draw.noise.any():
        source = torch.Generator(batch.device).manual_seed(draw.seed)
        field = torch.randn(batch.shape, generator=source, device=batch.device)
        batch = batch + field * column(draw.noise)
    if draw.border.any():
        batch = batch * _inside(batch, draw.border.to(batch.device))
    return batch.clamp(0, 1)


def _inside(batch: Tensor, border: Tensor) -> Tensor:
    """1 inside, 0 in the strips: (B, 1, H, W)."""
    rows = torch.linspace(0, 1, batch.shape[-2], device=batch.device)
    columns = torch.linspace(0, 1, batch.shape[-1], device=batch.device)
    tall = (rows >= border[:, 0:1]) & (rows <= 1 - border[:, 1:2])  # (B, H)
    wide = (columns >= border[:, 2:3]) & (columns <= 1 - border[:, 3:4])  # (B, W)
    return (tall[:, None, :, None] & wide[:, None, None, :]).float()


def _blurred(batch: Tensor, deviation: Tensor) -> Tensor:
    """Blur each image by its own Gaussian, one axis after the other."""
    reach = max(1, math.ceil(3 * float(deviation.max())))
    count, _, height, width = batch.shape
    if reach >= min(height, width):
        return batch
    steps = torch.arange(-reach, reach + 1, device=batch.device)
    kernel = torch.exp(-0.5 * (steps / deviation.clamp(min=1e-3)[:, None]) ** 2)  # (B, 2r+1)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, None]  # (B, 1, 2r+1)
    stacked = batch.view(1, count, height, width)  # one group an image
    padded = functional.pad(stacked, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel[:, :, None, :], groups=count)
    down = functional.conv2d(across, kernel[:, :, :, None], groups=count)
    return down.view(count, 1, height, width)


def equalized(batch: Tensor) -> Tensor:
    """Equalise each image's histogram: its grey levels become their own ranks.

    Parameters
    ----------
    batch : Tensor
        float32 (B, 1, H, W) in [0, 1].

    Returns
    -------
    Tensor
        float32 (B, 1, H, W) in (0, 1].

    Examples
    --------
    >>> equalized(torch.tensor([[[[0.0, 0.1], [0.1, 1.0]]]]))
    tensor([[[[0.2500, 0.7500],
              [0.7500, 1.0000]]]])
    """
    levels = (batch * 255).round().long().clamp(0, 255).flatten(1)  # (B, H*W)
    counts = torch.zeros(len(batch), 256, device=batch.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=counts.dtype))
    ranks = counts.cumsum(dim=1) / levels.shape[1]
    return ranks.gather(1, levels).view_as(batch)


def augment(batch: Tensor, settings: Augment, *, generator: torch.Generator) -> Tensor:
    """Draw and apply in one step.

    Parameters
    ----------
    batch : Tensor
        float32 (B, 1, H, W) in [0, 1].
    settings : Augment
        How far to go.
    generator : torch.Generator
        A CPU generator: the same state gives the same result.

    Returns
    -------
    Tensor
        float32 (B, 1, H, W) in [0, 1].

    Raises
    ------
    TrainingError
        When the batch is not float of shape (B, 1, H, W).

    Examples
    --------
    >>> batch = torch.rand(2, 1, 8, 6)
    >>> torch.equal(augment(batch, Augment.none(), generator=torch.Generator()), batch)
    True
    """
    if batch.ndim != 4 or batch.shape[1] != 1 or not batch.is_floating_point():
        raise TrainingError(
            f"augment takes a float batch (B, 1, H, W) in [0, 1], got {batch.dtype} "
            f"{tuple(batch.shape)}; divide uint8 by 255 and add the channel axis"
        )
    return apply(batch, sample(len(batch), settings, generator=generator))

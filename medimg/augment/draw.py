"""Draw the numbers that change a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from medimg.augment.settings import Augment


@dataclass(frozen=True)
class Draw:
    """The numbers drawn for one batch of B images; each tensor is float32 (B,) unless said.

    Attributes
    ----------
    matrix : Tensor
        (B, 2, 3) affine matrices in the coordinates of ``affine_grid``.
    slope, offset, exponent, blend : Tensor
        Contrast, brightness, gamma, and the share of the equalised image.
    blur, noise : Tensor
        Standard deviations, in pixels and in grey levels.
    sharpen : Tensor
        Share of the detail to add.
    border : Tensor
        (B, 4) strips to blank at top, bottom, left, right, as shares of the side.
    seed : int
        Where the noise field starts.
    """

    matrix: Tensor
    slope: Tensor
    offset: Tensor
    exponent: Tensor
    blend: Tensor
    blur: Tensor
    sharpen: Tensor
    noise: Tensor
    border: Tensor
    seed: int

    def part(self, start: int, stop: int) -> Draw:
        """Return the draw of the images from ``start`` up to ``stop``."""
        tensors = {
            field.name: getattr(self, field.name)[start:stop]
            for field in fields(self)
            if field.name != "seed"
        }
        return replace(self, **tensors, seed=self.seed + start)


def sample(count: int, settings: Augment, *, generator: torch.Generator) -> Draw:
    """Draw the numbers that change ``count`` images.

    Parameters
    ----------
    count : int
        Images in the batch.
    settings : Augment
        How far to go.
    generator : torch.Generator
        On the CPU, so that a seed gives the same batch on every device.

    Returns
    -------
    Draw

    Examples
    --------
    >>> draw = sample(3, Augment.none(), generator=torch.Generator().manual_seed(0))
    >>> draw.matrix[0]
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    def either_way(most: float) -> Tensor:
        return uniform(-most, most)

    def chance(probability: float, *shape: int) -> Tensor:
        return (torch.rand(count, *shape, generator=generator) < probability).float()

    angle = either_way(math.radians(settings.rotate))
    zoom = torch.exp(uniform(math.log(settings.zoom[0]), math.log(settings.zoom[1])))
    draw = Draw(
        matrix=_matrices(
            angle,
            zoom,
            shear=torch.tan(either_way(math.radians(settings.shear))),
            flip=1 - 2 * chance(settings.flip),
            shift=uniform(-2 * settings.shift, 2 * settings.shift, 2),
        ),
        slope=1 + either_way(settings.contrast),
        offset=either_way(settings.brightness),
        exponent=torch.exp(either_way(settings.gamma)),
        blend=uniform(0, 1) * chance(settings.equalize),
        blur=uniform(0, settings.blur) * chance(0.5),
        sharpen=torch.zeros(count),
        noise=uniform(0, settings.noise),
        border=uniform(0, settings.border, 4) * chance(0.25, 4),
        seed=int(torch.randint(2**31, (1,), generator=generator)),
    )
    # Drawn last and only when asked for: settings without them draw what they always drew.
    if settings.stretch:
        taller = torch.exp(either_way(settings.stretch / 2))
        factors = torch.stack([taller, 1 / taller], dim=1)[:, :, None]  # (B, 2, 1), x and y
        reshaped = torch.cat([draw.matrix[:, :, :2] * factors, draw.matrix[:, :, 2:]], dim=2)
        draw = replace(draw, matrix=reshaped)
    if settings.sharpen:
        draw = replace(draw, sharpen=uniform(0, settings.sharpen) * chance(0.5))
    return draw


def _matrices(angle: Tensor, zoom: Tensor, *, shear: Tensor, flip: Tensor, shift: Tensor) -> Tensor:
    """Rotation x shear x flip / zoom, with the shift: output coordinates -> input coordinates."""
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [
        torch.stack([cos * flip, cos * shear - sin, shift[:, 0]], dim=1),
        torch.stack([sin * flip, sin * shear + cos, shift[:, 1]], dim=1),
    ]
    return torch.stack(rows, dim=1) + 0.0  # (B, 2, 3); adding zero turns -0 into 0


def still(count: int, *, degrees: float = 0.0, zoom: float = 1.0) -> Draw:
    """Return a draw that is no draw: every image turned and magnified alike.

    Parameters
    ----------
    count : int
        Images in the batch.
    degrees, zoom : float
        The view, for test-time augmentation.

    Returns
    -------
    Draw

    Examples
    --------
    >>> still(1, zoom=2.0).matrix
    tensor([[[0.5000, 0.0000, 0.0000],
             [0.0000, 0.5000, 0.0000]]])
    """
    ones, zeros = torch.ones(count), torch.zeros(count)
    return Draw(
        matrix=_matrices(
            torch.full((count,), math.radians(degrees)),
            torch.full((count,), zoom),
            shear=zeros,
            flip=ones,
            shift=torch.zeros(count, 2),
        ),
        slope=ones,
        offset=zeros,
        exponent=ones,
        blend=zeros,
        blur=zeros,
        sharpen=zeros,
        noise=zeros,
        border=torch.zeros(count, 4),
        seed=0,
    )

"""Change whole batches at random, on the device, as another scanner or position would have.

Drawing is separate from applying: `draw_parameters` draws the numbers for a batch, `apply` uses
them and is a pure function, `augment` does both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medimg.errors import TrainingError

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Augment:
    """How far a batch may be changed. Zero (or ``(1, 1)``) turns a change off.

    Attributes
    ----------
    rotate : float
        Largest rotation either way, in degrees.
    zoom : tuple of float
        Smallest and largest magnification; above 1 the borders fall away.
    shift : float
        Largest shift along each axis, as a share of the side.
    shear : float
        Largest shear either way, in degrees.
    stretch : float
        Largest change of the logarithm of height over width: films of another shape, squeezed
        into the same square.
    flip : float
        Probability of a left-right flip. Zero by default: a mirrored chest has its heart on the
        wrong side.
    brightness, contrast : float
        Largest change of the offset (grey levels in [0, 1]) and of the slope around mid-grey.
    gamma : float
        Largest change of the logarithm of the exponent.
    blur : float
        Largest standard deviation of a Gaussian blur, in pixels (of half of the images).
    sharpen : float
        Largest amount of detail added, as a share of what a Gaussian blur of one pixel would take
        away (of half of the images).
    noise : float
        Largest standard deviation of added noise.
    equalize : float
        Probability of blending the image with its histogram-equalised version.
    border : float
        Largest share of each side's strip that may be blanked (each side with probability 1/4):
        takes away markers and collimator edges that tell the label without the lung.

    Examples
    --------
    >>> Augment(rotate=5).rotate
    5
    >>> Augment.none().zoom
    (1.0, 1.0)
    """

    rotate: float = 10.0
    zoom: tuple[float, float] = (0.9, 1.1)
    shift: float = 0.05
    shear: float = 0.0
    stretch: float = 0.0
    flip: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.1
    gamma: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    noise: float = 0.0
    equalize: float = 0.0
    border: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.zoom[0] <= self.zoom[1] < math.inf:
            raise TrainingError(f"zoom is {self.zoom}; give (smallest, largest), both above 0")
        for name, value in vars(self).items():
            if name != "zoom" and not 0 <= value < math.inf:  # refuses NaN too
                raise TrainingError(f"{name} is {value}; give a number of zero or more")
            if name in ("flip", "equalize") and value > 1:
                raise TrainingError(f"{name} is a probability, so at most 1, not {value}")

    @classmethod
    def none(cls) -> Augment:
        """Return settings that change nothing."""
        return cls(rotate=0.0, zoom=(1.0, 1.0), shift=0.0, brightness=0.0, contrast=0.0)

    @classmethod
    def strong(cls) -> Augment:
        """Return settings for films from elsewhere: other exposure, processing, framing, marks."""
        return cls(
            rotate=12.0, zoom=(0.85, 1.3), shift=0.08, shear=5.0, brightness=0.2, contrast=0.35,
            gamma=0.5, blur=1.2, noise=0.04, equalize=0.25, border=0.08,
        )  # fmt: skip

    @classmethod
    def harsh(cls) -> Augment:
        """Return `strong`, with films stretched and sharpened too: for large data sets."""
        return replace(cls.strong(), stretch=0.25, sharpen=1.0)


@dataclass(frozen=True)
class Parameters:
    """The numbers drawn for one batch of B images; each tensor is float32 (B,) unless stated.

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
        Seed of the noise.
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

    def part(self, start: int, stop: int) -> Parameters:
        """Return the parameters of the images from ``start`` up to ``stop``."""
        tensors = {n: v[start:stop] for n, v in vars(self).items() if n != "seed"}
        return replace(self, **tensors, seed=self.seed + start)


def draw_parameters(count: int, settings: Augment, *, generator: torch.Generator) -> Parameters:
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
    augment.Parameters
        The numbers, for `apply`.

    Examples
    --------
    >>> settings = Augment.none()
    >>> draw_parameters(3, settings, generator=torch.Generator().manual_seed(0)).matrix[0]
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
    shear = torch.tan(either_way(math.radians(settings.shear)))
    flip = 1 - 2 * chance(settings.flip)
    shift = uniform(-2 * settings.shift, 2 * settings.shift, 2)
    drawn = Parameters(
        matrix=_matrices(angle, zoom, shear=shear, flip=flip, shift=shift),
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
    # Drawn last and only on request: settings without them draw what they always drew.
    if settings.stretch:
        taller = torch.exp(either_way(settings.stretch / 2))
        drawn.matrix[:, :, :2] *= torch.stack([taller, 1 / taller], dim=1)[:, :, None]  # x and y
    if settings.sharpen:
        drawn = replace(drawn, sharpen=uniform(0, settings.sharpen) * chance(0.5))
    return drawn


def _matrices(angle: Tensor, zoom: Tensor, *, shear: Tensor, flip: Tensor, shift: Tensor) -> Tensor:
    """Rotation x shear x flip / zoom, with the shift: output coordinates -> input coordinates."""
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    across = torch.stack([cos * flip, cos * shear - sin, shift[:, 0]], dim=1)
    down = torch.stack([sin * flip, sin * shear + cos, shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1) + 0.0  # (B, 2, 3); adding zero turns -0 into 0


def fixed_view(count: int, *, degrees: float = 0.0, zoom: float = 1.0) -> Parameters:
    """Return parameters without chance: every image is turned and magnified alike.

    Parameters
    ----------
    count : int
        Images in the batch.
    degrees, zoom : float
        The view, for test-time augmentation.

    Returns
    -------
    augment.Parameters
        The numbers, for `apply`.

    Examples
    --------
    >>> fixed_view(1, zoom=2.0).matrix
    tensor([[[0.5000, 0.0000, 0.0000],
             [0.0000, 0.5000, 0.0000]]])
    """
    ones, shift = torch.ones(count), torch.zeros(count, 2)
    angle, zooms = ones * math.radians(degrees), ones * zoom
    matrix = _matrices(angle, zooms, shear=shift[:, 0], flip=ones, shift=shift)
    unchanged = draw_parameters(count, Augment.none(), generator=torch.Generator())
    return replace(unchanged, matrix=matrix, seed=0)


def apply(batch: Tensor, drawn: Parameters) -> Tensor:
    """Change a batch by numbers already drawn. The same batch and numbers give the same result.

    Parameters
    ----------
    batch : Tensor
        float32 (B, C, H, W) in [0, 1], with one channel or three. All channels change alike; only
        the noise differs.
    drawn : Parameters
        From `draw_parameters` or `fixed_view`, for as many images.

    Returns
    -------
    Tensor
        float32 (B, C, H, W) in [0, 1], on the batch's device.
    """
    if not torch.equal(drawn.matrix, torch.eye(2, 3).expand_as(drawn.matrix)):
        # square pixels: the grid is in shares of the half side, so the aspect enters off-diagonal
        aspect = batch.shape[-2] / batch.shape[-1]
        matrix = drawn.matrix * torch.tensor([[1.0, aspect, 1.0], [1 / aspect, 1.0, 1.0]])
        grid = functional.affine_grid(matrix.to(batch.device), [*batch.shape], align_corners=False)
        batch = functional.grid_sample(batch, grid, padding_mode="zeros", align_corners=False)
    batch = _where(batch, drawn.blend, lambda x, part: torch.lerp(x, equalized(x), _column(part)))
    batch = _where(batch, drawn.blur, _blurred)
    batch = _where(batch, drawn.sharpen, _sharpened)
    return _photometric(batch, drawn)


def _column(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1), to go with a batch."""
    return values.view(-1, 1, 1, 1)


def _where(batch: Tensor, amount: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Change the images whose amount is not zero, and only those."""
    if not amount.any():
        return batch
    chosen, amount = amount.nonzero()[:, 0].to(batch.device), amount.to(batch.device)
    return batch.index_copy(0, chosen, change(batch[chosen], amount[chosen]))


def _photometric(batch: Tensor, drawn: Parameters) -> Tensor:
    """Gamma, contrast, brightness, noise and blank borders."""
    device = batch.device
    if not (drawn.exponent == 1).all():
        batch = batch.clamp(min=1e-6) ** _column(drawn.exponent.to(device))
    if not ((drawn.slope == 1) & (drawn.offset == 0)).all():
        slope, offset = _column(drawn.slope.to(device)), _column(drawn.offset.to(device))
        batch = (batch - 0.5) * slope + 0.5 + offset
    if drawn.noise.any():
        source = torch.Generator(device).manual_seed(drawn.seed)
        field = torch.randn(batch.shape, generator=source, device=device)
        batch = batch + field * _column(drawn.noise.to(device))
    if drawn.border.any():
        batch = batch * _inside(batch, drawn.border.to(device))
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
    if reach >= min(batch.shape[2:]):
        return batch
    steps = torch.arange(-reach, reach + 1, device=batch.device)
    deviation = deviation.repeat_interleave(batch.shape[1])  # (B * C,)
    kernel = torch.exp(-0.5 * (steps / deviation.clamp(min=1e-3)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True))[:, None]  # (B * C, 1, 2 * reach + 1)
    stacked = batch.reshape(1, -1, *batch.shape[2:])  # (1, B * C, H, W), each plane a group
    padded = functional.pad(stacked, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel[:, :, None, :], groups=len(kernel))
    return functional.conv2d(across, kernel[:, :, :, None], groups=len(kernel)).view(batch.shape)


def _sharpened(batch: Tensor, amount: Tensor) -> Tensor:
    """Add a share of what a Gaussian blur of one pixel takes away."""
    return torch.addcmul(batch, batch - _blurred(batch, torch.ones_like(amount)), _column(amount))


def equalized(batch: Tensor) -> Tensor:
    """Equalise each image's histogram: its grey levels become their own ranks.

    Parameters
    ----------
    batch : Tensor
        float32 (B, C, H, W) in [0, 1]. Three channels share one histogram, so that grey stays grey.

    Returns
    -------
    Tensor
        float32 (B, C, H, W) in (0, 1].

    Examples
    --------
    >>> equalized(torch.tensor([[[[0.0, 0.1], [0.1, 1.0]]]]))
    tensor([[[[0.2500, 0.7500],
              [0.7500, 1.0000]]]])
    """
    levels = (batch * 255).round().long().clamp(0, 255).flatten(1)  # (B, C * H * W)
    counts = torch.zeros(len(batch), 256, device=batch.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=counts.dtype))
    return (counts.cumsum(dim=1) / levels.shape[1]).gather(1, levels).view(batch.shape)


def augment(batch: Tensor, settings: Augment, *, generator: torch.Generator) -> Tensor:
    """Draw and apply in one step.

    Parameters
    ----------
    batch : Tensor
        float32 (B, 1, H, W) or (B, 3, H, W) in [0, 1].
    settings : Augment
        How far to go.
    generator : torch.Generator
        A CPU generator: the same state gives the same result.

    Returns
    -------
    Tensor
        float32 of the batch's shape, in [0, 1].

    Raises
    ------
    TrainingError
        When the batch has another shape or is not of floating point.

    Examples
    --------
    >>> batch = torch.rand(2, 1, 8, 6)
    >>> torch.equal(augment(batch, Augment.none(), generator=torch.Generator()), batch)
    True
    """
    if batch.ndim != 4 or batch.shape[1] not in (1, 3) or not batch.is_floating_point():
        raise TrainingError(
            f"the batch is {batch.dtype} {tuple(batch.shape)}; expected a float batch (B, 1 or 3, "
            "H, W) in [0, 1]: divide uint8 by 255 and put the channels second"
        )
    return apply(batch, draw_parameters(len(batch), settings, generator=generator))


def check_images(images: NDArray[Any]) -> Images:
    """Return images once they are known to be uint8 (N, H, W) or (N, H, W, 3).

    Parameters
    ----------
    images : array
        Grey or colour images.

    Returns
    -------
    uint8 array (N, H, W) or (N, H, W, 3)
        The same images, not copied.

    Raises
    ------
    TrainingError
        When they have another shape or type.

    Examples
    --------
    >>> check_images(np.zeros((2, 8, 6), np.uint8)).shape
    (2, 8, 6)
    """
    images = np.asarray(images)
    shape_is_known = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not shape_is_known or 0 in images.shape[1:]:
        raise TrainingError(
            f"images are {images.dtype} of shape {images.shape}; expected uint8 (N, H, W) or "
            "(N, H, W, 3). Give one image as image[None], and values in [0, 1] times 255."
        )
    return images

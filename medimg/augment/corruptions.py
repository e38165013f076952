"""Make images worse in one way: noise, blur, contrast, rotation, exposure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.errors import TrainingError

Images = NDArray[np.uint8]

STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = {
    "noise": (5.0, 10.0, 20.0, 40.0),
    "blur": (0.5, 1.0, 2.0, 4.0),
    "contrast": (0.8, 0.6, 0.4, 0.2),
    "rotation": (3.0, 7.0, 15.0, 30.0),
    "exposure": (0.9, 0.75, 0.5, 0.35),
}
"""Rising strengths; see `corrupt` for what the numbers mean."""


def corrupt(
    images: Images, kind: str, strength: float, *, rng: np.random.Generator | None = None
) -> Images:
    """Make images worse in one way.

    Parameters
    ----------
    images : uint8 array, (N, H, W)
        Left as they are.
    kind : {"noise", "blur", "contrast", "rotation", "exposure"}
        Noise: Gaussian, its standard deviation in grey levels. Blur: Gaussian, its standard
        deviation in per cent of the image's width, so that it means the same at any size.
        Contrast: factor about the image's own mean. Rotation: degrees, corners filled with the
        nearest edge. Exposure: gamma of the grey levels, below 1 brighter, above 1 darker.
    strength : float
        How much, in the unit of the kind.
    rng : numpy.random.Generator, optional
        For the noise; by default seeded with 0.

    Returns
    -------
    uint8 array, (N, H, W)
        The worse images.

    Raises
    ------
    TrainingError
        When images are not uint8 (N, H, W), or the kind is not known.

    Examples
    --------
    >>> corrupt(np.array([[[0, 100, 200]]], np.uint8), "contrast", 0.5)
    array([[[ 50, 100, 150]]], dtype=uint8)
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise TrainingError(
            f"images are {images.dtype} of shape {images.shape}; expected uint8 (N, H, W)"
        )
    if kind not in STRENGTHS:
        raise TrainingError(f"corruption {kind!r} is not known; expected {', '.join(STRENGTHS)}")
    values: NDArray[np.floating[Any]] = images.astype(np.float32)
    if kind == "noise":
        rng = np.random.default_rng(0) if rng is None else rng
        values = values + strength * rng.standard_normal(values.shape, dtype=np.float32)
    elif kind == "blur":
        sigma = strength / 100 * images.shape[2]
        values = ndimage.gaussian_filter(values, sigma=(0, sigma, sigma))
    elif kind == "contrast":
        mean = values.mean(axis=(1, 2), keepdims=True)
        values = mean + strength * (values - mean)
    elif kind == "rotation":
        values = ndimage.rotate(values, strength, axes=(2, 1), reshape=False, order=1,
                                mode="nearest")  # fmt: skip
    else:
        values = 255 * (values / 255) ** strength
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)

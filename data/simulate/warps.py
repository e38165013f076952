"""Smooth randomness in space, of which every slice shows a cut.

A slice is made by asking a real volume for its values at warped points, so every disturbance is
a function of points in millimetres, (3, H, W) in the order z, y, x: nothing is ever computed for
a whole volume, and a lesion seen in one slice goes on in the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]


def smooth_noise(points: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """Return Gaussian noise of unit deviation that changes over about `scale` mm, (H, W).

    Lattice values that repeat every 16 cells are interpolated by cubic splines; neighbouring
    slices of the same generator state see the same noise.
    """
    lattice = rng.standard_normal((16, 16, 16)).astype(np.float32)
    # Between the nodes the spline has less variance than on them: 1.3 makes it about 1 overall.
    values = ndimage.map_coordinates(lattice, points / scale, order=3, mode="grid-wrap")
    return np.asarray(values * 1.3, dtype=np.float32)


def smooth_shift(points: Floats, size: float, scale: float, rng: np.random.Generator) -> Floats:
    """Return points moved by a smooth random field of deviation `size` mm, (3, H, W)."""
    shift = np.stack([smooth_noise(points, scale, rng) for _ in range(3)])
    return np.asarray(points + size * shift, dtype=np.float32)


def plane(shape: tuple[int, int], pixel: float, angle: float, stretch: Sequence[float]) -> Floats:
    """Return the (y, x) millimetres of an output grid about its centre, rotated, (2, H, W)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y = (rows - (shape[0] - 1) / 2) * pixel
    x = (columns - (shape[1] - 1) / 2) * pixel
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    turned = np.stack([cosine * y + sine * x, cosine * x - sine * y])
    return np.asarray(turned / np.reshape(stretch, (2, 1, 1)), dtype=np.float32)


def grain(shape: tuple[int, int], width: float, rng: np.random.Generator) -> Floats:
    """Return detector noise of unit deviation, correlated over `width` pixels, (H, W)."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), width)
    return np.asarray(noise / noise.std(), dtype=np.float32)

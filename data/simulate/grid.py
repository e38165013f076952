"""From the grid of a CT to that of the coronal planes, and where things lie on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float = npt.NDArray[np.float32]


def coronal_planes(
    values: npt.NDArray[Any], spacing: tuple[float, float, float], plane_mm: float, pixel_mm: float
) -> Float:
    """Resample (z, y, x) to coronal planes (y, z downward, x), averaging along y."""
    width = max(round(plane_mm / spacing[1]), 1)
    thick = ndimage.uniform_filter1d(values.astype(np.float32), width, axis=1)
    zoom = (1, spacing[1] / plane_mm, spacing[2] / pixel_mm)
    fine = ndimage.zoom(thick, zoom, order=1, grid_mode=True, mode="nearest")
    tall = (spacing[0] / pixel_mm, 1, 1)
    fine = ndimage.zoom(fine, tall, order=3, grid_mode=True, mode="nearest")
    upright = np.clip(fine, 0, None)[::-1].transpose(1, 0, 2)
    return np.ascontiguousarray(upright, dtype=np.float32)


def nearest(labels: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
    """Resample labels to `shape` by the nearest voxel."""
    index = [
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(shape, labels.shape, strict=True)
    ]
    return np.ascontiguousarray(labels[np.ix_(*index)].astype(np.int16))


def centre_of(mask: npt.NDArray[Any], extent: tuple[float, float, float]) -> Float:
    """Return the centre of mass in mm from the middle of the stack."""
    where = np.argwhere(mask) if mask.any() else np.array(mask.shape)[None] / 2
    middle = (where.mean(axis=0) + 0.5) / mask.shape - 0.5
    return np.asarray(middle * extent, dtype=np.float32)


def edges_of(mask: npt.NDArray[Any], extent: tuple[float, float, float]) -> Float:
    """Return top, bottom, left and right of a mask in mm from the middle of the stack."""
    rows = np.flatnonzero(mask.any(axis=(0, 2))) / mask.shape[1] - 0.5
    columns = np.flatnonzero(mask.any(axis=(0, 1))) / mask.shape[2] - 0.5
    edges = [rows[0] * extent[1], rows[-1] * extent[1]]
    edges += [columns[0] * extent[2], columns[-1] * extent[2]]
    return np.asarray(edges, dtype=np.float32)


def fit_spine(
    bones: npt.NDArray[Any],
    spacing: tuple[float, float, float],
    shape: tuple[int, ...],
    pixel_mm: float,
    below: float,
) -> Float:
    """Fit a parabola to the lateral place of the vertebrae, z downward from the middle.

    `below` is how many mm were added under the scan.
    """
    z, _, x = np.nonzero(bones[:, ::4, ::2])
    if len(z) < 10:
        return np.zeros(3, np.float32)
    from_bottom = below + (z + 0.5) * spacing[0]
    down = shape[1] * pixel_mm / 2 - from_bottom
    across = (2 * x + 1) * spacing[2] - bones.shape[2] * spacing[2] / 2
    return np.polyfit(down / 100, across, 2).astype(np.float32)

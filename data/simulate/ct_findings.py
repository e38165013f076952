"""What is put into a simulated chest CT: consolidation, and the harmless findings beside it.

Every function takes points in the volume's millimetres, (3, H, W) as z, y, x, so that a finding
is a body in space of which the slice shows a cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from simulate.warps import Floats, smooth_noise

LOBES = {
    1: "left upper lobe",
    2: "left lower lobe",
    3: "right upper lobe",
    4: "right middle lobe",
    5: "right lower lobe",
}


@dataclass(frozen=True)
class Opacity:
    """Air-space filling in one slice: 0 is aerated lung and 1 is lung without any air."""

    fill: Floats = field(repr=False)
    airways: Floats = field(repr=False)
    pattern: str
    lobe: str


def consolidation(
    points: Floats, lobes: NDArray[np.uint8], hila: Floats, rng: np.random.Generator
) -> Opacity:
    """Return a consolidation of a lobe that the slice shows.

    Parameters
    ----------
    points : float32 array, (3, H, W)
        Where the slice's pixels lie, in mm.
    lobes : uint8 array, (H, W)
        Labels as in `LOBES`, 0 elsewhere.
    hila : float32 array, (6, 3)
        For each label the point where the lobe's bronchus comes from, in mm.
    rng : numpy.random.Generator
        Draws the pattern ("lobar" or "patchy"), the lobe, the place and the size.
    """
    areas = np.bincount(lobes.ravel(), minlength=6)[:6].astype(float)
    areas[0] = 0
    weights = np.sqrt(areas) * (areas > 0.08 * areas.sum())
    lobe = int(rng.choice(6, p=weights / weights.sum()))
    inside = lobes == lobe
    pattern = str(rng.choice(["lobar", "patchy"]))
    draw = _lobar if pattern == "lobar" else _patchy
    fill = draw(points, inside, rng)
    # Partly aerated lung is uneven at the size of a secondary lobule.
    fill = fill * (1 + 0.3 * (1 - fill) * smooth_noise(points, 5.0, rng))
    fill = np.clip(fill, 0, 1) * ndimage.gaussian_filter(inside.astype(np.float32), 0.6)
    air = _bronchogram(points, inside & (fill > 0.5), hila[lobe], rng)
    return Opacity(fill.astype(np.float32), air, pattern, LOBES[lobe])


def _centre(points: Floats, inside: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Draw a point of the slice's lobe, more often near the pleura, moved a little along z."""
    depth = ndimage.distance_transform_edt(inside)[inside]
    chance = 1 / (4.0 + depth)
    index = rng.choice(depth.size, p=chance / chance.sum())
    centre = points[:, inside][:, index].copy()
    centre[0] += rng.uniform(-5, 5)
    return centre


def _ball(points: Floats, centre: Floats, radius: float) -> Floats:
    """Return the distance to `centre` in radii, (H, W)."""
    offset = points - centre[:, None, None]
    return np.asarray(np.sqrt((offset**2).sum(axis=0)) / radius, dtype=np.float32)


def _soft(distance: Floats, softness: float) -> Floats:
    """Return 1 well inside distance 1 and 0 well outside, with an edge of width `softness`."""
    return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) / softness, -30, 30))), np.float32)


def _lobar(points: Floats, inside: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    radius = rng.uniform(24, 50)
    distance = _ball(points, _centre(points, inside, rng), radius)
    distance = distance + 0.25 * smooth_noise(points, radius / 1.8, rng)
    return rng.uniform(0.92, 1.0) * _soft(distance, rng.uniform(0.015, 0.04))


def _patchy(points: Floats, inside: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    fill = np.zeros(inside.shape, np.float32)
    for _ in range(int(rng.integers(5, 11))):
        radius = rng.uniform(8, 18)
        distance = _ball(points, _centre(points, inside, rng), radius)
        distance = distance + 0.3 * smooth_noise(points, radius, rng)
        fill = np.maximum(fill, rng.uniform(0.85, 1.0) * _soft(distance, rng.uniform(0.03, 0.07)))
    return fill


def _bronchogram(
    points: Floats, filled: NDArray[np.bool_], hilum: Floats, rng: np.random.Generator
) -> Floats:
    """Return how much of each pixel is an air-filled bronchus that runs through filled lung."""
    air = np.zeros(filled.shape, np.float32)
    places = points[:, filled]
    if places.shape[1] < 30:
        return air
    within = np.zeros(places.shape[1], np.float32)
    for end in places[:, rng.integers(0, places.shape[1], size=4)].T:
        way = np.linspace(0, 1, 24, dtype=np.float32)[:, None]
        bend = rng.normal(0, 7, 3) * np.sin(np.pi * way) + rng.normal(0, 2, 3) * np.sin(7 * way)
        nodes = hilum + way * (end - hilum) + bend
        radius = np.linspace(2.2, 0.8, 24)[:, None] * rng.uniform(0.7, 1.2)
        gap = np.linalg.norm(nodes[:, None] - places.T[None], axis=2) - radius
        within = np.maximum(within, np.clip(0.5 - gap.min(axis=0) / 1.4, 0, 0.9))
    air[filled] = within
    return air


def distractors(points: Floats, lungs: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Return the filling by findings that healthy people have too, (H, W); negative is lucent.

    Dependent density along the posterior pleura, scars, small nodules and emphysema are drawn
    with the same chances whatever the label.
    """
    fill = np.zeros(lungs.shape, np.float32)
    if rng.random() < 0.8:
        fill = np.maximum(fill, _dependent(points, lungs, rng))
    for _ in range(int(rng.integers(0, 3))):  # scars: thin bands
        centre, normal = _centre(points, lungs, rng), rng.standard_normal(3)
        offset = np.tensordot(normal / np.linalg.norm(normal), points - centre[:, None, None], 1)
        offset = offset + 2 * smooth_noise(points, 15.0, rng)
        band = np.exp(-((offset / rng.uniform(1.0, 2.0)) ** 2))
        near = _soft(_ball(points, centre, rng.uniform(8, 22)), 0.1)
        fill = np.maximum(fill, rng.uniform(0.5, 0.95) * band * near)
    for _ in range(int(rng.integers(0, 4))):  # nodules
        distance = _ball(points, _centre(points, lungs, rng), rng.uniform(1.8, 4.0))
        fill = np.maximum(fill, rng.uniform(0.6, 1.0) * _soft(distance, 0.15))
    if rng.random() < 0.6:  # mosaic of poor inspiration: large faint areas of ground glass
        mosaic = np.clip(
            smooth_noise(points, rng.uniform(22, 50), rng) + rng.uniform(-1, 0.5), 0, 1
        )
        fill = fill + rng.uniform(0.05, 0.4) * np.clip(mosaic, 0, 1)
    if rng.random() < 0.4:  # emphysema
        fill = fill - rng.uniform(0.02, 0.06) * (smooth_noise(points, 9.0, rng) > 0.8)
    return np.asarray(fill * lungs, dtype=np.float32)


def _dependent(points: Floats, lungs: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
    """Return the density of lung that lies lowest in a person on the back."""
    depth = ndimage.distance_transform_edt(lungs) * np.abs(points[2, 0, 1] - points[2, 0, 0])
    back = points[1]
    limit = np.quantile(back[lungs], rng.uniform(0.7, 0.9))
    lowest = 1 / (1 + np.exp(np.clip(-(back - limit) / 6, -30, 30)))
    thickness = rng.uniform(2, 16) * np.clip(1 + 0.5 * smooth_noise(points, 25.0, rng), 0.2, 2)
    density = rng.uniform(0.2, 0.85) * np.exp(-((depth / thickness) ** 2)) * lowest
    return np.asarray(density, dtype=np.float32)

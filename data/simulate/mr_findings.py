"""What is put into a simulated head MR: a mass, and the harmless findings beside it.

Points are in the template's millimetres, (3, H, W) as z, y, x, so that a finding is a body in
space of which the slice shows a cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from simulate.warps import Floats, smooth_noise


@dataclass(frozen=True)
class Mass:
    """A simulated lesion: where it is, how large, and what it looks like on T1."""

    centre: tuple[float, float, float]
    radius: float
    pattern: str
    push: float
    core: float
    rim: float
    oedema: float
    noise_seed: int

    def distance(self, points: Floats) -> Floats:
        """Return how far each point is from the centre, in radii of an uneven outline, (H, W)."""
        offset = points - np.reshape(self.centre, (3, 1, 1)).astype(np.float32)
        distance = np.sqrt((offset**2).sum(axis=0)) / self.radius
        rng = np.random.default_rng(self.noise_seed)
        uneven = distance + 0.16 * smooth_noise(points, max(self.radius / 1.3, 5.0), rng)
        return np.asarray(uneven, dtype=np.float32)

    def displaced(self, points: Floats) -> Floats:
        """Return points drawn toward the centre, so that the tissue looks pushed away."""
        offset = points - np.reshape(self.centre, (3, 1, 1)).astype(np.float32)
        distance = np.sqrt((offset**2).sum(axis=0)) / self.radius
        pull = self.push * np.exp(-((distance.astype(np.float64) / 1.9) ** 2))
        return np.asarray(points - pull * offset, dtype=np.float32)

    def inside(self, points: Floats) -> NDArray[np.bool_]:
        """Return where the mass itself is, without its oedema, (H, W)."""
        return np.asarray(self.distance(points) < 1.0)

    def paint(self, image: Floats, white: Floats, points: Floats) -> Floats:
        """Return the slice with oedema in white matter, core and rim."""
        distance = self.distance(points)
        reach = _edge(distance / self.oedema, 0.12) * np.clip(white * 1.2, 0, 1)
        image = image * (1 - 0.4 * reach)
        core = _edge(distance, 0.05)
        texture = 1 + 0.05 * smooth_noise(points, 4.0, np.random.default_rng(self.noise_seed + 1))
        image = image * (1 - core) + core * self.core * texture
        width = 2.6 / self.radius
        uneven = np.clip(
            1 + 0.5 * smooth_noise(points, 7.0, np.random.default_rng(self.noise_seed + 2)), 0, 1.5
        )
        ring = np.exp(-(((distance.astype(np.float64) - 1 + width) / width) ** 2)) * uneven
        return np.asarray(image + ring * (self.rim - image) * (self.rim > 0), dtype=np.float32)


def draw_mass(points: Floats, depth: Floats, rng: np.random.Generator) -> Mass:
    """Return a mass whose cut the slice shows, inside the brain."""
    radius = rng.uniform(12, 25)
    deep = depth < -min(0.7 * radius, 10)
    places = points[:, deep]
    centre = places[:, rng.integers(places.shape[1])].copy()
    centre[0] += rng.uniform(-0.4, 0.4) * radius
    pattern = str(rng.choice(["ring-enhancing", "hypointense"]))
    ring = pattern == "ring-enhancing"
    return Mass(
        centre=(float(centre[0]), float(centre[1]), float(centre[2])),
        radius=float(radius),
        pattern=pattern,
        push=float(rng.uniform(0.1, 0.45)),
        core=float(rng.uniform(0.15, 0.45)),
        rim=float(rng.uniform(1.1, 1.5)) if ring else 0.0,
        oedema=float(rng.uniform(1.3, 2.1)),
        noise_seed=int(rng.integers(2**31)),
    )


def distractors(image: Floats, points: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Return the slice with what healthy people have too, drawn alike whatever the label.

    Lacunes and wide perivascular spaces (dark spots), vessels that enhance (bright spots), a cyst
    of the arachnoid at the brain's edge, and a little movement.
    """
    brain = depth < -1
    image = image.copy()
    inner = points[:, depth < -8]
    for _ in range(int(rng.integers(0, 5))):
        spot = _spot(points, inner, rng.uniform(1.0, 3.0), rng)
        image += spot * (rng.uniform(0.25, 0.5) - image)
    outer = points[:, brain & (depth > -12)]
    for _ in range(int(rng.integers(0, 7))):
        spot = _spot(points, outer, rng.uniform(0.7, 1.7), rng)
        image += spot * np.maximum(rng.uniform(0.8, 1.2) - image, 0)
    if rng.random() < 0.3:
        cyst = _spot(points, outer, rng.uniform(4, 10), rng) * brain
        image += cyst * (rng.uniform(0.2, 0.35) - image)
    if rng.random() < 0.5:
        ghost = np.roll(image, int(rng.integers(12, 60)), axis=0)
        image += rng.uniform(0.01, 0.05) * ghost
    return np.asarray(image, dtype=np.float32)


def _spot(points: Floats, places: Floats, radius: float, rng: np.random.Generator) -> Floats:
    centre = places[:, rng.integers(places.shape[1])][:, None, None]
    stretch = rng.uniform(0.7, 1.5, (3, 1, 1))
    distance = np.sqrt((((points - centre) * stretch) ** 2).sum(axis=0)) / radius
    return _edge(np.asarray(distance, np.float32), 0.15)


def _edge(distance: Floats, softness: float) -> Floats:
    """Return 1 well inside distance 1 and 0 well outside."""
    steep = np.clip((distance.astype(np.float64) - 1) / softness, -30, 30)
    return np.asarray(1 / (1 + np.exp(steep)), np.float32)

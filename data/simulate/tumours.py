"""Three kinds of simulated brain tumour and the harmless findings that resemble them.

Points are in the template's millimetres, (3, H, W) as z, y, x. Signals are relative: white matter
is about 0.9, grey matter 0.65, fluid 0.2, and what takes up the contrast agent is above 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from simulate.warps import Floats, smooth_noise

KINDS = ("glioma", "meningioma", "pituitary")
SELLA = (50.0, 124.0, 122.0)  # mm in the padded template, just above the sella turcica


@dataclass(frozen=True)
class Tumour:
    """A simulated tumour.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    centre : tuple of float
        z, y, x in mm.
    radius : float
        In mm.
    stretch : tuple of float
        The radii along z, y and x, relative to `radius`.
    push : float
        How far the brain around it is pushed aside, as a share of the distance.
    uneven : float
        How far its outline strays from an ellipsoid, in radii.
    core, rim : float
        Signal inside and of an enhancing ring; a rim of 0 is none.
    oedema : float
        Reach of the oedema in white matter, in radii.
    soft : float
        Width of its edge, in radii.
    noise_seed : int
        Of outline and texture.
    """

    kind: str
    centre: tuple[float, float, float]
    radius: float
    stretch: tuple[float, float, float]
    push: float
    uneven: float
    core: float
    rim: float
    oedema: float
    soft: float
    noise_seed: int

    def distance(self, points: Floats) -> Floats:
        """Return how far each point is from the centre, in radii of the uneven outline, (H, W)."""
        offset = (points - _column(self.centre)) / _column(self.stretch)
        distance = np.sqrt((offset**2).sum(axis=0)) / self.radius
        rng = np.random.default_rng(self.noise_seed)
        wave = smooth_noise(points, max(self.radius / 1.5, 5.0), rng)
        return np.asarray(distance + self.uneven * wave, dtype=np.float32)

    def displaced(self, points: Floats) -> Floats:
        """Return points drawn toward the centre, so that the tissue looks pushed away."""
        offset = points - _column(self.centre)
        distance = np.sqrt((offset**2).sum(axis=0)) / self.radius
        pull = self.push * np.exp(-((distance.astype(np.float64) / 1.8) ** 2))
        return np.asarray(points - pull * offset, dtype=np.float32)

    def inside(self, points: Floats, depth: Floats) -> NDArray[np.bool_]:
        """Return where the tumour is, without its oedema, (H, W)."""
        return np.asarray((self.distance(points) < 1) & (depth < self._reach))

    @property
    def _reach(self) -> float:
        """How far outside the brain it may lie, in mm: the sella is open to what is below."""
        return 15.0 if self.kind == "pituitary" else 0.5

    def paint(self, image: Floats, white: Floats, points: Floats, depth: Floats) -> Floats:
        """Return the slice with oedema, tumour, ring and dural tail."""
        distance = self.distance(points)
        reach = edge(distance / self.oedema, 0.15) * np.clip(white * 1.2, 0, 1) * (depth < -1)
        image = image * (1 - 0.45 * reach)
        rng = np.random.default_rng(self.noise_seed + 1)
        coarse, fine = smooth_noise(points, 6.0, rng), smooth_noise(points, 2.5, rng)
        rough = 0.16 if self.kind == "glioma" else 0.045
        body = edge(distance, self.soft) * edge(1 + (depth - self._reach) / 8, 0.05)
        if self.kind == "meningioma":  # a thin layer of fluid between it and the brain
            cleft = np.exp(-(((distance.astype(np.float64) - 1.1) / 0.07) ** 2)) * (depth < -2)
            image = image * (1 - 0.45 * cleft)
            tail = np.exp(-((depth.astype(np.float64) / 1.4) ** 2)) * edge(distance / 1.45, 0.06)
            image = image + 0.8 * tail * np.maximum(self.core - image, 0)
        image = image * (1 - body) + body * self.core * (1 + rough * coarse + 0.4 * rough * fine)
        if self.rim > 0:
            width = 2.4 / self.radius
            patchy = np.clip(0.8 + 0.6 * smooth_noise(points, 9.0, rng), 0, 1.3)
            ring = np.exp(-(((distance.astype(np.float64) - 1 + width) / width) ** 2)) * patchy
            image = image + ring * (depth < 0) * np.maximum(self.rim - image, 0)
        return np.asarray(image, dtype=np.float32)


def draw_tumour(kind: str, points: Floats, depth: Floats, rng: np.random.Generator) -> Tumour:
    """Return a tumour of this kind whose centre lies in the given slice.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    points : float32 array, (3, H, W)
        Where the slice lies in the template, in mm.
    depth : float32 array, (H, W)
        Distance to the brain's surface in mm, negative inside.
    rng : Generator
        Draws place, size and look.
    """
    seed = int(rng.integers(2**31))
    spread = tuple(float(each) for each in rng.uniform(0.82, 1.2, 3))
    aside = np.sqrt((((points - _column(SELLA)) / _column((2, 1, 1))) ** 2).sum(axis=0))
    if kind == "glioma":
        ring = rng.random() < 0.85
        return Tumour(
            kind, _place(points, (depth < -9) & (aside > 16), rng), rng.uniform(17, 27), spread,
            push=rng.uniform(0.05, 0.3), uneven=rng.uniform(0.2, 0.36),
            core=rng.uniform(0.22, 0.5), rim=rng.uniform(1.05, 1.5) if ring else 0.0,
            oedema=rng.uniform(1.4, 2.2), soft=rng.uniform(0.06, 0.18), noise_seed=seed,
        )  # fmt: skip
    solid = {
        "uneven": rng.uniform(0.05, 0.13), "rim": 0.0,
        "soft": rng.uniform(0.03, 0.07), "noise_seed": seed,
    }  # fmt: skip
    if kind == "meningioma":
        radius = rng.uniform(18, 27)
        band = (depth < -0.15 * radius) & (depth > -0.65 * radius)
        return Tumour(
            kind, _place(points, band & (aside > 24), rng), radius, spread,
            push=rng.uniform(0.25, 0.5), core=rng.uniform(1.2, 1.6),
            oedema=rng.uniform(1.0, 1.7), **solid,
        )  # fmt: skip
    radius = rng.uniform(11, 17)
    near = int(np.argmin(((points[1:] - _column(SELLA)[1:]) ** 2).sum(axis=0)))
    middle = points.reshape(3, -1)[:, near] + rng.normal(0, 1.5, 3) * (0, 1, 1)
    tall = (float(rng.uniform(1.0, 1.4)), spread[1], spread[2])
    return Tumour(
        kind, _triple(middle), radius, tall,
        push=rng.uniform(0.3, 0.55), core=rng.uniform(0.85, 1.3), oedema=1.0, **solid,
    )  # fmt: skip


@dataclass(frozen=True)
class Decoy:
    """A finding that is no tumour: a cyst, an old infarct or a wide vessel."""

    centre: tuple[float, float, float]
    radius: float
    signal: float
    uneven: float
    noise_seed: int

    def paint(self, image: Floats, points: Floats, depth: Floats) -> Floats:
        """Return the slice with the finding."""
        distance = np.sqrt(((points - _column(self.centre)) ** 2).sum(axis=0)) / self.radius
        wave = smooth_noise(points, 7.0, np.random.default_rng(self.noise_seed))
        body = edge(np.asarray(distance + self.uneven * wave, np.float32), 0.12) * (depth < 1)
        return np.asarray(image + body * (self.signal - image), dtype=np.float32)


def draw_decoys(points: Floats, depth: Floats, rng: np.random.Generator) -> list[Decoy]:
    """Return none to three findings that people with and without a tumour have alike."""
    found = []
    if rng.random() < 0.2:  # arachnoid cyst
        place = _place(points, (depth < -1) & (depth > -7), rng)
        found.append(Decoy(place, rng.uniform(6, 13), rng.uniform(0.18, 0.28), 0.08, 1))
    if rng.random() < 0.2:  # old infarct
        place = _place(points, (depth < -5) & (depth > -25), rng)
        found.append(Decoy(place, rng.uniform(5, 11), rng.uniform(0.3, 0.5), 0.3, 2))
    if rng.random() < 0.25:  # wide vessel
        place = _place(points, depth < -1, rng)
        found.append(Decoy(place, rng.uniform(2, 4.5), rng.uniform(0.95, 1.3), 0.1, 3))
    if rng.random() < 0.5:  # the normal pituitary gland and its stalk take up the agent too
        place = (SELLA[0] - 3, SELLA[1] + float(rng.normal(0, 2)), SELLA[2])
        found.append(Decoy(place, rng.uniform(4, 7), rng.uniform(0.9, 1.2), 0.15, 4))
    return found


def vessels(image: Floats, points: Floats, depth: Floats, rng: np.random.Generator) -> Floats:
    """Return the slice with the enhancing vessels that every head has.

    The carotid and basilar arteries and their branches around the sella, and the sagittal sinus at
    the back.
    """
    z, y, x = points - _column(SELLA)
    image, low = image.copy(), edge(np.abs(z) / 18, 0.1)
    for dy, dx, radius in ((2, 11, 2.6), (2, -11, 2.6), (17, 0, 1.9), (-8, 5, 1.5), (-8, -5, 1.5)):
        dy, dx = dy + rng.normal(0, 1.2), dx + rng.normal(0, 1.2)
        spot = edge(np.hypot(y - dy, x - dx) / (radius * rng.uniform(0.7, 1.3)), 0.2)
        image += low * spot * np.maximum(rng.uniform(0.8, 1.25) - image, 0)
    back = edge(np.hypot(x / rng.uniform(3, 5), depth / 2.5), 0.2) * (y > 30)
    image += back * np.maximum(rng.uniform(0.9, 1.3) - image, 0)
    return np.asarray(image, dtype=np.float32)


def edge(distance: Floats, softness: float) -> Floats:
    """Return 1 well inside distance 1 and 0 well outside."""
    steep = np.clip((distance.astype(np.float64) - 1) / softness, -30, 30)
    return np.asarray(1 / (1 + np.exp(steep)), np.float32)


def _place(
    points: Floats, where: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float, float]:
    """Return one of the points where `where` holds."""
    places = points[:, where]
    return _triple(places[:, rng.integers(places.shape[1])])


def _triple(point: Floats) -> tuple[float, float, float]:
    return float(point[0]), float(point[1]), float(point[2])


def _column(values: tuple[float, ...]) -> Floats:
    return np.reshape(values, (3, 1, 1)).astype(np.float32)

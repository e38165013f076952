"""Pneumonia as it lies in the lung: three-dimensional opacities within true lobes.

A lesion is the fraction of air replaced by fluid, 0 to 1, at each voxel of the lungs. Airways stay
open (air bronchograms), fissures stop it, and vessels vanish in it because only air is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from simulate.body import MU_WATER, Body
from simulate.errors import SimulationError
from simulate.volume import LOBES

Float = npt.NDArray[np.float32]
PATTERNS = ("lobar", "bronchopneumonia", "interstitial")
GROUND_GLASS = "ground-glass"  # of the COVID-19 sample only
PLACES = ("open", "retrocardiac", "subdiaphragmatic")


@dataclass(frozen=True)
class Disease:
    """One patient's pneumonia.

    Attributes
    ----------
    pattern : {"lobar", "bronchopneumonia", "interstitial", "ground-glass"}
        How it spreads.
    lobe : str
        The lobe where it begins (a name of `LOBES`); the interstitial pattern and ground glass,
        in both lungs, ask for none.
    severity : float
        0 (very weak) to 1 (strong).
    place : {"open", "retrocardiac", "subdiaphragmatic"}
        Whether the focus lies in the open, behind the heart or under the dome of the diaphragm;
        what lies in both lungs asks for none.
    seed : int
        Of its random shape.
    steady : float
        Share of the lesion's mean attenuation that the rest of the lungs gives back in air.
    """

    pattern: str
    lobe: str
    severity: float
    place: str = "open"
    seed: int = 0
    steady: float = 0.0


_NEXT = {
    "left upper": "left lower",
    "left lower": "left upper",
    "right upper": "right middle",
    "right middle": "right lower",
    "right lower": "right middle",
}


class LungSpace:
    """The voxels of the lungs, cropped, with a bank of noise to shape lesions from.

    Parameters
    ----------
    body : Body
        Where the lungs are.
    """

    def __init__(self, body: Body) -> None:
        self.box = ndimage.find_objects((body.lobes > 0).astype(np.uint8))[0]
        self.whole = body.lobes.shape
        self.lobes = body.lobes[self.box]
        self.lung = self.lobes > 0
        self.air = np.clip(1.02 * MU_WATER - body.lung_mu[self.box], 0, None) * self.lung
        self.mm = tuple(float(e / n) for e, n in zip(body.extent, body.lobes.shape, strict=True))
        # Far from the outer surface of the lung means near the hilum.
        inside = ndimage.distance_transform_edt(self.lung, sampling=self.mm)
        self.depth = (inside / inside.max()).astype(np.float32)
        random = np.random.default_rng(20)
        white = random.standard_normal(self.lung.shape, dtype=np.float32)
        self.bank = {width: self._smooth(white, width) for width in (2.5, 6.0, 14.0, 30.0)}

    def _smooth(self, white: Float, width: float) -> Float:
        """Return periodic noise of unit deviation, `width` mm coarse."""
        sigma = [width / m for m in self.mm]
        noise = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=3)
        return np.asarray(noise / noise.std(), dtype=np.float32)

    def noise(self, width: float, rng: np.random.Generator) -> Float:
        """Return a random shift of the noise of that width."""
        shifts = [int(rng.integers(n)) for n in self.lung.shape]
        return np.asarray(np.roll(self.bank[width], shifts, axis=(0, 1, 2)))

    def near(self, centre: npt.NDArray[np.float64], reach: float) -> tuple[slice, ...]:
        """Return the box of voxels within `reach` mm of a voxel along each axis."""
        return tuple(
            slice(max(int(c - reach / m), 0), int(c + reach / m) + 2)
            for c, m in zip(centre, self.mm, strict=True)
        )

    def distance(
        self, centre: npt.NDArray[np.float64], box: tuple[slice, ...] = (slice(None),) * 3
    ) -> Float:
        """Return the distance in mm from a voxel, for the voxels of a box."""
        y, z, x = (
            (np.arange(n, dtype=np.float32)[cut] - np.float32(c)) * np.float32(m)
            for n, cut, c, m in zip(self.lung.shape, box, centre, self.mm, strict=True)
        )
        return np.asarray(np.sqrt(y[:, None, None] ** 2 + z[:, None] ** 2 + x**2))

    def seed(self, lobe: str, place: str, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Return a voxel of a lobe, in the open or hidden."""
        where = np.argwhere(self.lobes == LOBES[lobe]).astype(float)
        plane, row, column = (where[:, i] / n for i, n in enumerate(self.lung.shape))
        medial = np.abs(column - 0.5)
        if place == "retrocardiac":
            keep = (medial < np.quantile(medial, 0.25)) & (plane < 0.5)
        elif place == "subdiaphragmatic":
            keep = (row > np.quantile(row, 0.85)) & (plane < np.quantile(plane, 0.5))
        else:
            keep = self.depth[tuple(where.astype(int).T)] > 0.12
        chosen = where[keep] if keep.any() else where
        return np.asarray(chosen[rng.integers(len(chosen))])


def _edge(distance: Float, softness: float) -> Float:
    """Return 1 inside (distance < 0) and 0 outside, over a margin."""
    return np.asarray(np.clip(0.5 - distance / (2 * softness), 0, 1), dtype=np.float32)


def _airways(space: LungSpace, centre: npt.NDArray[np.float64], rng: np.random.Generator) -> Float:
    """Return 1 except in some branching tubes from the hilum outward through `centre`."""
    open_ = np.zeros(space.lung.shape, bool)
    columns = np.arange(space.lung.shape[2])
    side = space.lung & (np.abs(columns - centre[2]) < space.lung.shape[2] * 0.3)
    hilum = np.array(np.unravel_index(np.argmax(space.depth * side), space.depth.shape), float)
    start = hilum + 1.5 * (np.array(space.lung.shape) / 2 - hilum) * (0, 0, 0.3)
    for _ in range(11):
        end = centre + rng.normal(0, 18, 3) / space.mm * np.array([1, 1, 1])
        sag = rng.normal(0, 6, 3) / space.mm
        t = np.linspace(0, 1.25, 160)[:, None]
        line = start + (end - start) * t + sag * np.sin(np.pi * t)
        index = np.round(line).astype(int)
        good = ((index >= 0) & (index < space.lung.shape)).all(axis=1)
        open_[tuple(index[good].T)] = True
    wide = ndimage.binary_dilation(open_)
    return np.where(open_, 0.05, np.where(wide, 0.75, 1)).astype(np.float32)


def _lobar(space: LungSpace, disease: Disease, rng: np.random.Generator) -> Float:
    """Return a consolidation that fills part of one lobe up to its fissure."""
    lobe = space.lobes == LOBES[disease.lobe]
    if disease.severity > 0.6:  # a second lobe of the same lung
        second = _NEXT[disease.lobe]
        lobe |= space.lobes == LOBES[second]
    centre = space.seed(disease.lobe, disease.place, rng)
    far = space.distance(centre)
    share = 0.65 + 0.35 * disease.severity
    radius = float(np.quantile(far[lobe], share))
    ragged = far + 9 * space.noise(14.0, rng) + 4 * space.noise(6.0, rng)
    solid = _edge(ragged - radius, 4 + 5 * rng.random()) * lobe
    texture = 1 + 0.12 * space.noise(6.0, rng)
    strength = 0.95 + 0.05 * disease.severity
    return np.asarray(solid * texture * strength * _airways(space, centre, rng))


def _patchy(space: LungSpace, disease: Disease, rng: np.random.Generator) -> Float:
    """Return many fluffy foci in two to four lobes."""
    others = [lobe for lobe in LOBES if lobe != disease.lobe]
    count = 2 + int(disease.severity * 2 + rng.random())
    chosen = [disease.lobe, *rng.permutation(others)[: count - 1]]
    weight = [0.5] + [0.5 / (len(chosen) - 1)] * (len(chosen) - 1)
    total = np.zeros(space.lung.shape, np.float32)
    for number in range(int(18 + 40 * disease.severity)):
        lobe = str(rng.choice(chosen, p=weight))
        place = disease.place if number < 3 else "open"
        centre = space.seed(lobe, place, rng)
        radius = rng.uniform(12, 24 + 14 * disease.severity)
        near = space.near(centre, 2.5 * radius)
        far = space.distance(centre, near)
        total[near] += rng.uniform(0.5, 1) * np.exp(-((far / radius) ** 2))
    fluffy = total * (1 + 0.35 * space.noise(6.0, rng) + 0.25 * space.noise(2.5, rng))
    return np.asarray(np.clip(fluffy, 0, 1) * (0.65 + 0.35 * disease.severity))


def _interstitial(space: LungSpace, disease: Disease, rng: np.random.Generator) -> Float:
    """Return a fine network with haze in both lungs, strongest around the hila and below."""
    net = np.exp(-((space.noise(2.5, rng) / 0.35) ** 2))
    haze = np.clip(0.75 + 0.35 * space.noise(30.0, rng), 0.1, 1.5)
    rows = np.linspace(0, 1, space.lung.shape[1], dtype=np.float32)[:, None]
    lower = 0.45 + 0.8 * rows * rng.random() + 0.5 * space.depth
    fine = (0.9 * net + 0.45) * haze * lower
    knots = np.clip(space.noise(2.5, rng) - 2.0, 0, 1) * 0.5
    return np.asarray((fine + knots * haze) * (0.95 + 0.75 * disease.severity) * space.lung)


def _ground_glass(space: LungSpace, disease: Disease, rng: np.random.Generator) -> Float:
    """Return hazy patches in both lungs, under the pleura of the flanks and mostly below."""
    planes, rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in space.lung.shape)
    outer = np.exp(-((space.depth / 0.35) ** 2)) * space.lung
    likely = outer * np.abs(columns) ** 2 * np.exp(1.6 * rows)[:, None]
    likely = likely * np.exp(-0.6 * planes)[:, None, None]  # more behind than in front
    total = np.zeros(space.lung.shape, np.float32)
    for number in range(int(8 + 12 * disease.severity)):
        one_lung = np.cumsum(likely * (columns * (-1) ** number > 0))
        drawn = np.searchsorted(one_lung, rng.random() * one_lung[-1])
        centre = np.array(np.unravel_index(drawn, space.lung.shape), float)
        radius = rng.uniform(14, 26 + 10 * disease.severity)
        near = space.near(centre, 1.8 * radius)
        far = space.distance(centre, near) + 4 * space.noise(14.0, rng)[near]
        total[near] += rng.uniform(0.6, 1) * np.exp(-((np.maximum(far, 0) / radius) ** 4))
    mottled = 1 + 0.4 * space.noise(6.0, rng) + 0.25 * space.noise(2.5, rng)
    haze = np.clip(total, 0, 1.2) * mottled * (0.35 + 0.65 * outer)
    return np.asarray(haze * (0.9 + 0.6 * disease.severity))


def lesion(space: LungSpace, disease: Disease) -> Float:
    """Return the added attenuation per mm of a pneumonia.

    Parameters
    ----------
    space : LungSpace
        The lungs.
    disease : Disease
        What grows in them.

    Returns
    -------
    ndarray of float32, shape (P, h, w)
        On the grid of `Body.lobes`; zero outside the lungs.

    Raises
    ------
    SimulationError
        When pattern, lobe, place or severity are none that exist.
    """
    makers = {
        "lobar": _lobar,
        "bronchopneumonia": _patchy,
        "interstitial": _interstitial,
        GROUND_GLASS: _ground_glass,
    }
    focal = disease.pattern in ("lobar", "bronchopneumonia")
    if disease.pattern not in makers or (focal and disease.place not in PLACES):
        raise SimulationError(
            f"no disease {disease.pattern!r} at {disease.place!r}: patterns are "
            f"{', '.join(makers)}, places {', '.join(PLACES)}"
        )
    if (focal and disease.lobe not in LOBES) or not 0 <= disease.severity <= 1:
        raise SimulationError(
            f"lobe {disease.lobe!r}, severity {disease.severity}: a lobe of {', '.join(LOBES)} "
            "and a severity from 0 to 1 were expected"
        )
    rng = np.random.default_rng(disease.seed)
    filled = np.clip(makers[disease.pattern](space, disease, rng), 0, 1)
    out = np.zeros(space.whole, np.float32)
    out[space.box] = filled * space.air
    return out

"""One simulated person's head, cut and scanned: from points in the template to stored values.

Powers and exponentials are taken in float64: in float32 their last bit depends on the processor,
and so would a grey level here and there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate.crosssection import split_of
from simulate.mr_findings import Mass
from simulate.mr_volume import HeadVolume
from simulate.warps import Floats, plane, smooth_noise, smooth_shift

SHAPE = (240, 208)


@dataclass(frozen=True)
class Person:
    """One simulated person: what stays the same between the two visits."""

    seed: list[int]
    stretch: tuple[float, float]
    pixel: float
    ill_first: bool
    gain: float
    contrast: tuple[float, float]
    skull: tuple[float, float]
    header: dict[str, Any]
    row: dict[str, Any]


def draw_person(number: int, patients: int, seed: int) -> Person:
    """Return person `number` (from 0) of the set with this seed."""
    key = [seed, 2, number]
    rng = np.random.default_rng(key)
    age, sex = int(rng.integers(20, 86)), str(rng.choice(["F", "M"]))
    site, tesla = str(rng.choice(["north", "south"])), str(rng.choice(["1.5", "3"]))
    patient_id = f"SIM-MR-{number + 1:03d}"
    pixel = float(np.round(rng.uniform(0.95, 1.05), 3))
    row = {
        "patient_id": patient_id,
        "split": split_of(number, patients),
        "age": age,
        "sex": sex,
        "site": site,
        "field_tesla": float(tesla),
    }
    header = {
        "PatientName": f"SIMULATED^MR {number + 1:03d}",
        "PatientID": patient_id,
        "PatientBirthDate": f"{2030 - age}0101",
        "PatientSex": sex,
        "PatientAge": f"{age:03d}Y",
        "InstitutionName": f"Simulated hospital {site}",
        "MagneticFieldStrength": tesla,
        "RepetitionTime": str(int(rng.integers(450, 650))),
        "EchoTime": str(int(rng.integers(8, 15))),
        "PixelSpacing": [pixel, pixel],
    }
    return Person(
        seed=key,
        stretch=(float(rng.uniform(0.93, 1.05)), float(rng.uniform(0.93, 1.06))),
        pixel=pixel,
        ill_first=(number + seed) % 2 == 0,
        gain=float(rng.uniform(1400, 2600)),
        contrast=(float(rng.uniform(0.0, 0.2)), float(rng.uniform(0.9, 1.5))),
        skull=(float(rng.uniform(5, 8)), float(rng.uniform(3.5, 8))),
        header=header,
        row=row,
    )


def locate(person: Person, head: HeadVolume, height: float, angle: float, shift: Floats) -> Floats:
    """Return where a slice's pixels lie in the template, in mm, (3, H, W)."""
    grid = plane(SHAPE, person.pixel, angle, person.stretch)
    centre = np.array(head.t1.shape[1:], np.float32) / 2 + shift
    z = np.full((1, *SHAPE), height, np.float32) + 0.05 * grid[:1]
    points = np.concatenate([z, grid + centre[:, None, None]]).astype(np.float32)
    return smooth_shift(points, 3.5, 110.0, np.random.default_rng(person.seed))


def folded(person: Person, points: Floats, depth: Floats) -> Floats:
    """Return points under this person's finer deformation of the brain, the skull left smooth."""
    free = np.clip(-depth / 15, 0.1, 1)
    moved = smooth_shift(points, 3.5, 40.0, np.random.default_rng([*person.seed, 3]))
    moved = smooth_shift(moved, 1.2, 16.0, np.random.default_rng([*person.seed, 1]))
    return np.asarray(points + free * (moved - points), dtype=np.float32)


def tissue(
    person: Person, head: HeadVolume, points: Floats, mass: Mass | None
) -> tuple[Floats, Floats, Floats]:
    """Return the slice's noiseless signal, white matter and depth, each (H, W)."""
    depth = head.depth_at(points)
    moved = folded(person, points if mass is None else mass.displaced(points), depth)
    t1, grey, white = head.at(moved)
    apart, power = person.contrast
    brain = np.clip(t1.astype(np.float64), 0, None) ** power + apart * (white - 0.6 * grey)
    fluid = 0.22 * (depth < 1.5)
    signal = np.where(t1 > 0.05, np.maximum(brain, 0.15), fluid)
    rng = np.random.default_rng([*person.seed, 2])
    bone, fat = person.skull
    bone = bone * np.clip(1 + 0.15 * smooth_noise(points, 60.0, rng), 0.6, 1.5)
    fat = fat * np.clip(1 + 0.2 * smooth_noise(points, 60.0, rng), 0.5, 1.6)
    marrow = 0.3 * np.exp(-(((depth.astype(np.float64) - 1.5 - bone / 2) / (bone / 5)) ** 2))
    scalp = (depth > 1.5 + bone) & (depth < 1.5 + bone + fat)
    texture = 0.85 + 0.05 * smooth_noise(points, 8.0, rng)
    shell = np.where(scalp, texture, 0.06 + marrow) * (depth < 1.5 + bone + fat)
    return np.where(depth < 1.5, signal, shell).astype(np.float32), white, depth


def acquire(
    image: Floats,
    points: Floats,
    gain: float,
    sigma: float,
    rng: np.random.Generator,
    shading: np.random.Generator,
) -> NDArray[np.uint16]:
    """Return stored values of 12 bits: coil shading, Rician noise, arbitrary gain."""
    bias = np.exp(0.18 * smooth_noise(points, 90.0, shading).astype(np.float64))
    real = image * bias + sigma * rng.standard_normal(image.shape)
    imaginary = sigma * rng.standard_normal(image.shape)
    stored = np.clip(np.rint(gain * np.hypot(real, imaginary)), 0, 4095)
    return np.asarray(stored, dtype=np.uint16)

"""Simulated people's head MR: two slices with a mass and two without from each of them.

Every person is the MNI template under another smooth deformation, with another skull, scanned
twice, once with the mass and once without, in either order: so neither anatomy nor any setting of
the scanner can tell the label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.simulate.crosssection import (
    NOTICE,
    Floats,
    SliceRecord,
    check_count,
    common_header,
    corner,
    plane,
    smooth_noise,
    smooth_shift,
    split_of,
)
from medimg.simulate.mr_findings import Mass, distractors, draw_mass
from medimg.simulate.mr_volume import HeadVolume

SHAPE = (240, 208)
SOURCE = "Derived from the MNI ICBM152 2009a nonlinear symmetric T1 template (as in nilearn)"
MR_HEADER = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
    "ImageType": ["DERIVED", "SECONDARY", "OTHER"],
    "BodyPartExamined": "BRAIN",
    "ScanningSequence": "SE",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "2D",
    "EchoTrainLength": "1",
    "SliceThickness": "1",
}
HEIGHTS = (58.0, 134.0)  # mm above the template's lowest plane: above the orbits, to the vertex


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


def simulate_mr(head: HeadVolume, *, patients: int = 25, seed: int = 4) -> Iterator[SliceRecord]:
    """Yield four slices of each simulated person: two with a lesion and two without.

    Parameters
    ----------
    head : HeadVolume
        The anatomy.
    patients : int
        How many; splits are made by patient.
    seed : int
        The same seed gives the same bytes.

    Raises
    ------
    SimulationError
        When `patients` is not a positive whole number, or the seed is negative.
    """
    check_count("patients", patients)
    check_count("seed", seed, least=0)
    for number in range(patients):
        person = draw_person(number, patients, seed)
        order = (1, 0) if person.ill_first else (0, 1)
        for visit, label in enumerate(order):
            yield from _scan(head, person, visit, label)


def draw_person(number: int, patients: int, seed: int) -> Person:
    """Return person `number` (from 0) of the set with this seed."""
    rng = np.random.default_rng([seed, number])
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
        seed=[seed, number],
        stretch=(float(rng.uniform(0.93, 1.05)), float(rng.uniform(0.93, 1.06))),
        pixel=pixel,
        ill_first=bool(rng.random() < 0.5),
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
    brain = np.clip(t1, 0, None) ** power + apart * (white - 0.6 * grey)
    fluid = 0.22 * (depth < 1.5)
    signal = np.where(t1 > 0.05, np.maximum(brain, 0.15), fluid)
    rng = np.random.default_rng([*person.seed, 2])
    bone, fat = person.skull
    bone = bone * np.clip(1 + 0.15 * smooth_noise(points, 60.0, rng), 0.6, 1.5)
    fat = fat * np.clip(1 + 0.2 * smooth_noise(points, 60.0, rng), 0.5, 1.6)
    marrow = 0.3 * np.exp(-(((depth - 1.5 - bone / 2) / (bone / 5)) ** 2))
    scalp = (depth > 1.5 + bone) & (depth < 1.5 + bone + fat)
    texture = 0.85 + 0.05 * smooth_noise(points, 8.0, rng)
    shell = np.where(scalp, texture, 0.06 + marrow) * (depth < 1.5 + bone + fat)
    return np.where(depth < 1.5, signal, shell).astype(np.float32), white, depth


def _scan(head: HeadVolume, person: Person, visit: int, label: int) -> Iterator[SliceRecord]:
    """Yield two slices of one visit."""
    rng = np.random.default_rng([*person.seed, 100 + visit])
    angle, shift = float(rng.normal(0, 4)), rng.normal(0, 4, 2).astype(np.float32)
    sigma = rng.uniform(0.015, 0.05)
    half = (HEIGHTS[1] - HEIGHTS[0]) / 2
    for part in range(2):
        height = HEIGHTS[0] + half * (part + rng.uniform(0, 0.85))
        points = locate(person, head, height, angle, shift)
        depth = head.depth_at(points)
        mass, mask = None, np.zeros(SHAPE, dtype=bool)
        if label:
            mass = draw_mass(points, depth, rng)
            mask = mass.inside(points) & (depth < 0)
        image, white, depth = tissue(person, head, points, mass)
        image = distractors(image, points, depth, rng)
        if mass is not None:
            image = np.where(depth < 0, mass.paint(image, white, points), image)
        pixels = acquire(image, points, person.gain, sigma, rng, rng)
        yield _record(person, visit, part, label, pixels, mask, mass, height)


def acquire(
    image: Floats,
    points: Floats,
    gain: float,
    sigma: float,
    rng: np.random.Generator,
    shading: np.random.Generator,
) -> NDArray[np.uint16]:
    """Return stored values of 12 bits: coil shading, Rician noise, arbitrary gain."""
    bias = np.exp(0.13 * smooth_noise(points, 90.0, shading))
    real = image * bias + sigma * rng.standard_normal(image.shape)
    imaginary = sigma * rng.standard_normal(image.shape)
    return np.clip(np.rint(gain * np.hypot(real, imaginary)), 0, 4095).astype(np.uint16)


def _record(
    person: Person,
    visit: int,
    part: int,
    label: int,
    pixels: NDArray[np.uint16],
    mask: NDArray[np.bool_],
    mass: Mass | None,
    height: float,
) -> SliceRecord:
    number = 4 * person.seed[1] + 2 * visit + part + 1
    row = {
        "image_id": f"m{number:03d}",
        "label": ("no_lesion", "lesion")[label],
        **person.row,
        "visit": visit + 1,
        "pattern": mass.pattern if mass else "",
        "area_cm2": round(float(mask.sum()) * person.pixel**2 / 100, 1),
    }
    uid = ("mr", *person.seed)
    header = {
        **common_header("MR", uid, visit, part),
        **MR_HEADER,
        **person.header,
        "ImagePositionPatient": corner(pixels.shape, person.pixel, height),
        "WindowCenter": str(round(0.55 * person.gain)),
        "WindowWidth": str(round(1.1 * person.gain)),
        "DerivationDescription": f"{SOURCE}; deformed. {NOTICE}",
    }
    return SliceRecord(pixels, mask, row, header)

"""Make the CT sample from one real chest CT: a series, and consolidation against clear slices.

The anatomy comes from LIDC-IDRI-0001 (a public, de-identified CT). Every simulated patient is that
anatomy under another smooth deformation and is scanned twice, once with consolidation and once
without, in either order: so neither anatomy nor any setting of the scanner can tell the label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from simulate.crosssection import (
    NOTICE,
    SliceRecord,
    check_count,
    common_header,
    corner,
    split_of,
)
from simulate.ct_findings import Opacity, consolidation, distractors
from simulate.ct_volume import ChestVolume
from simulate.warps import Floats, grain, plane, smooth_noise, smooth_shift

SHAPE = (256, 256)
SOFT, AIR = (35.0, 110.0), -880.0  # HU of airless lung, plain to enhanced, of air in a bronchus
CT_HEADER = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
    "BodyPartExamined": "CHEST",
    "ContrastBolusAgent": "IODINE",
    "RescaleIntercept": "-1024",
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": ["-600", "40"],
    "WindowWidth": ["1500", "400"],
    "WindowCenterWidthExplanation": ["LUNG", "MEDIASTINUM"],
}
SOURCE = (
    "Derived from the public de-identified CT LIDC-IDRI-0001 (TCIA, CC BY 3.0, "
    "doi:10.7937/K9/TCIA.2015.LO9QL9SX)"
)


@dataclass(frozen=True)
class _Person:
    """One simulated patient: what stays the same between the two visits."""

    number: int
    seed: list[int]
    stretch: tuple[float, float]
    pixel: float
    ill_first: bool
    header: dict[str, Any]
    row: dict[str, Any]


def simulate_ct(
    volume: ChestVolume, *, patients: int = 25, seed: int = 2026
) -> Iterator[SliceRecord]:
    """Yield four slices of each simulated patient: two with consolidation and two clear.

    Parameters
    ----------
    volume : ChestVolume
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
        person = _draw_person(number, patients, seed)
        order = (1, 0) if person.ill_first else (0, 1)
        for visit, label in enumerate(order):
            yield from _scan(volume, person, visit, label)


def _draw_person(number: int, patients: int, seed: int) -> _Person:
    key = [seed, 1, number]
    rng = np.random.default_rng(key)
    age, sex = int(rng.integers(25, 86)), str(rng.choice(["F", "M"]))
    site = str(rng.choice(["north", "south"]))
    patient_id = f"SIM-CT-{number + 1:03d}"
    thickness, pixel = (
        float(rng.choice([2.5, 3.0, 5.0])),
        float(np.round(rng.uniform(1.25, 1.4), 3)),
    )
    row = {
        "patient_id": patient_id,
        "split": split_of(number, patients),
        "age": age,
        "sex": sex,
        "site": site,
        "thickness_mm": thickness,
    }
    header = {
        "PatientName": f"SIMULATED^CT {number + 1:03d}",
        "PatientID": patient_id,
        "PatientBirthDate": f"{2030 - age}0101",
        "PatientSex": sex,
        "PatientAge": f"{age:03d}Y",
        "InstitutionName": f"Simulated hospital {site}",
        "KVP": str(rng.choice(["100", "120"])),
        "SliceThickness": str(thickness),
        "PixelSpacing": [pixel, pixel],
    }
    stretch = (float(rng.uniform(0.9, 1.08)), float(rng.uniform(0.9, 1.05)))
    return _Person(number, key, stretch, pixel, (number + seed) % 2 == 0, header, row)


def _scan(volume: ChestVolume, person: _Person, visit: int, label: int) -> Iterator[SliceRecord]:
    """Yield two slices of one visit."""
    rng = np.random.default_rng([*person.seed, 100 + visit])
    angle, shift = rng.normal(0, 2.5), rng.normal(0, 4, 2)
    breath, sigma = rng.uniform(-0.06, 0.06), rng.uniform(9, 26)
    kernel = rng.uniform(0.0, 0.9)  # from sharp to smooth reconstruction, in pixels
    dense = rng.uniform(0.97, 1.03)  # tube voltage and contrast medium: soft tissue +/- 30 HU
    low, high = 0.36, 0.84  # of the volume's height: from the domes to the apices
    third = (high - low) / 2
    for part in range(2):
        height = (low + third * (part + rng.uniform(0, 0.85))) * volume.hu.shape[0]
        grid = plane(SHAPE, person.pixel, angle, person.stretch)
        centre = np.array(volume.hu.shape[1:]) / 2 * volume.spacing[1:] + shift
        z = np.full(SHAPE, height * volume.spacing[0], np.float32)
        points = np.concatenate([z[None], grid + centre[:, None, None].astype(np.float32)])
        points = smooth_shift(points, 6.0, 110.0, np.random.default_rng(person.seed))
        points = smooth_shift(points, 1.2, 50.0, rng)
        values, mask, opacity = _slice(volume, points, breath, label, rng)
        values = ndimage.gaussian_filter((values + 1000) * dense - 1000, kernel)
        width = rng.uniform(0.5, 0.9)
        values = values + sigma * grain(SHAPE, width, rng) * (1 + 0.4 * (values > -950))
        pixels = (np.clip(np.rint(values), -1024, 3071) + 1024).astype(np.uint16)
        yield _record(person, visit, part, label, pixels, mask, opacity, float(z[0, 0]))


def _slice(
    volume: ChestVolume, points: Floats, breath: float, label: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_], Opacity | None]:
    """Return HU without noise, the lesion mask, and what the lesion is (None without one)."""
    values, lobes = volume.at(points)
    lungs = lobes > 0
    fill = distractors(points, lungs, rng) + breath * lungs
    opacity, air = None, np.zeros_like(fill)
    mask = np.zeros(lungs.shape, dtype=bool)
    if label:
        for _ in range(50):
            opacity = consolidation(points, lobes, volume.hila(), rng)
            mask = (opacity.fill > 0.3) & lungs
            if mask.sum() > 90:
                break
        assert opacity is not None
        fill, air = np.maximum(fill, opacity.fill), opacity.airways
    # Filling replaces air by tissue, so vessels stay as they are.
    soft = rng.uniform(*SOFT) + 12 * smooth_noise(points, 8.0, rng)
    room = np.clip(soft - values, 0, None)
    values = values + fill * room * lungs
    values = values + air * np.minimum(AIR - values, 0)
    return values.astype(np.float32), mask, opacity


def _record(
    person: _Person,
    visit: int,
    part: int,
    label: int,
    pixels: NDArray[np.uint16],
    mask: NDArray[np.bool_],
    opacity: Opacity | None,
    height: float,
) -> SliceRecord:
    number = 4 * person.number + 2 * visit + part + 1
    area = float(mask.sum()) * person.pixel**2 / 100
    row = {
        "image_id": f"c{number:03d}",
        "label": ("clear", "consolidation")[label],
        **person.row,
        "visit": visit + 1,
        "pattern": opacity.pattern if opacity else "",
        "lobe": opacity.lobe if opacity else "",
        "area_cm2": round(area, 1),
    }
    header = {
        **common_header("CT", ("ct", *person.seed), visit, part),
        **CT_HEADER,
        **person.header,
        "ImagePositionPatient": corner(pixels.shape, person.pixel, height),
        "DerivationDescription": f"{SOURCE}; deformed. {NOTICE}",
    }
    return SliceRecord(pixels, mask, row, header)

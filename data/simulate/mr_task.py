"""Simulated people's head MR: two slices with a mass and two without from each of them.

Every person is the MNI template under another smooth deformation, with another skull, scanned
twice, once with the mass and once without, in either order: so neither anatomy nor any setting of
the scanner can tell the label.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from simulate.crosssection import (
    NOTICE,
    SliceRecord,
    check_count,
    common_header,
    corner,
)
from simulate.mr_findings import Mass, distractors, draw_mass
from simulate.mr_image import SHAPE, Person, acquire, draw_person, locate, tissue
from simulate.mr_volume import HeadVolume

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


def simulate_mr(head: HeadVolume, *, patients: int = 25, seed: int = 2026) -> Iterator[SliceRecord]:
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


def _scan(head: HeadVolume, person: Person, visit: int, label: int) -> Iterator[SliceRecord]:
    """Yield two slices of one visit."""
    rng = np.random.default_rng([*person.seed, 100 + visit])
    angle, shift = float(rng.normal(0, 4)), rng.normal(0, 4, 2).astype(np.float32)
    sigma, gain = rng.uniform(0.015, 0.05), person.gain * rng.uniform(0.8, 1.2)
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
        pixels = acquire(image, points, gain, sigma, rng, rng)
        yield _record(person, visit, part, label, pixels, mask, mass, height)


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
    number = 4 * person.seed[-1] + 2 * visit + part + 1
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

"""Write ``data/brain``: axial slices of simulated heads with one of three tumours, or none.

Each simulated person has three to five neighbouring slices, as 8-bit PNG in arbitrary units: the
brightness of a person's slices means nothing beside that of another's, as in real MR. One person
is there as a whole volume too, once as NIfTI and once as a DICOM series.

The slices of every class come from the same heights, near the base of the brain where a pituitary
tumour lies, so that the level of a slice does not tell the class.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom.uid import JPEGLSLossless
from simulate.crosssection import NOTICE, check_count, common_header, corner, make_dicom
from simulate.files import Drawn, png, write_file, write_set
from simulate.mr_image import Person, acquire, draw_person, tissue
from simulate.mr_task import MR_HEADER, SOURCE
from simulate.mr_volume import HeadVolume, load_head
from simulate.plan import deal
from simulate.tumours import KINDS, Decoy, Tumour, draw_decoys, draw_tumour, vessels
from simulate.warps import Floats, plane, smooth_shift

LABELS = ("notumor", *KINDS)
PATIENTS = 20  # of each label
SIDE = 160  # pixels
HEIGHTS = (49.0, 59.0)  # mm in the template, of a person's middle slice
DEAL = ("train", "test", "train", "val", "train")
COLUMNS = ("slice", "height_mm", "age", "sex", "field_tesla", "area_cm2")


@dataclass(frozen=True)
class Scan:
    """One simulated person in the scanner: what all of the person's slices share."""

    person: Person
    height: float
    step: float
    pixel: float
    angle: float
    pitch: float
    shift: tuple[float, float]
    noise: float
    fat: float
    tumour: Tumour | None
    decoys: tuple[Decoy, ...]

    def points(self, head: HeadVolume, height: float) -> Floats:
        """Return where a slice's pixels lie in the template, in mm, (3, H, W)."""
        grid = plane((SIDE, SIDE), self.pixel, self.angle, self.person.stretch)
        centre = np.array(head.t1.shape[1:], np.float32) / 2 + np.array(self.shift, np.float32)
        z = height - np.float32(np.tan(np.deg2rad(self.pitch))) * grid[:1]  # the front lies higher
        points = np.concatenate([z, grid + centre[:, None, None]]).astype(np.float32)
        return smooth_shift(points, 2.5, 110.0, np.random.default_rng(self.person.seed))


def make_sample(
    out: str | os.PathLike[str],
    *,
    patients: int = PATIENTS,
    seed: int = 2026,
    head: HeadVolume | None = None,
) -> pd.DataFrame:
    """Write ``out/brain``: slices, masks, ``studies.csv``, and one person's whole volume.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    patients : int
        How many of each label.
    seed : int
        The same seed gives the same bytes.
    head : HeadVolume, optional
        By default the MNI template that nilearn ships.

    Returns
    -------
    DataFrame
        The study table; paths are relative to ``out/brain``.

    Raises
    ------
    SimulationError
        When a number is impossible, the template is missing or the folder cannot be written.
    """
    table = plan(patients, seed=seed)
    head = head or load_head()
    root = Path(out) / "brain"
    drawn = _slices(table, head, seed)
    studies = write_set(root, drawn, total=len(table), suffix=".png", columns=COLUMNS)
    chosen = table[table["label"].eq("glioma")].iloc[0].to_dict()
    write_volume(root / "volume", head, draw_scan(head, chosen, seed), chosen["patient_id"], seed)
    return studies


def plan(patients: int, *, seed: int) -> pd.DataFrame:
    """Say who is scanned: one row per slice, split by patient.

    Everything but the tumour is dealt like cards within each label: the number of slices and their
    height, age, sex, the size of the head, and all that the scanner does.

    Parameters
    ----------
    patients, seed : int
        As in `make_sample`.
    """
    check_count("patients", patients)
    check_count("seed", seed, least=0)
    rng = np.random.default_rng([seed, 12])
    groups = [_group(label, patients, rng) for label in LABELS]
    people = pd.concat(groups, ignore_index=True)
    people = people.iloc[rng.permutation(len(people))].reset_index(drop=True)
    people["number"] = np.arange(1, len(people) + 1)
    people["patient_id"] = [f"g{number:03d}" for number in people["number"]]
    table = people.loc[people.index.repeat(people["slices"])].reset_index(drop=True)
    table["slice"] = table.groupby("patient_id").cumcount() + 1
    table["image_id"] = [f"b{number:03d}" for number in range(1, len(table) + 1)]
    return table


def _group(label: str, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the people with one label."""

    def spread(low: float, high: float) -> NDArray[np.float64]:
        """Return numbers that fill a range evenly, in any order."""
        return low + (high - low) * (rng.permutation(patients) + rng.random(patients)) / patients

    return pd.DataFrame({
        "label": label,
        "split": [DEAL[number % len(DEAL)] for number in range(patients)],
        "slices": deal((3, 4, 3, 4), patients, rng),
        "middle_mm": np.round(spread(*HEIGHTS), 1),
        "age": spread(25, 81).astype(int),
        "sex": deal("FM", patients, rng),
        "field_tesla": deal((1.5, 3.0), patients, rng),
        "gain": np.exp(spread(np.log(900), np.log(2800))),
        "pixel": np.round(spread(1.2, 1.36), 3),
        "noise": spread(0.015, 0.04),
        "contrast": spread(0.75, 1.05),
        "fat": spread(0.95, 1.35),
        "bone_mm": spread(5, 8),
        "scalp_mm": spread(3.5, 8),
        "long": spread(0.93, 1.05),
        "wide": spread(0.93, 1.06),
        "pitch": spread(1, 9),
    })  # fmt: skip


def draw_scan(head: HeadVolume, row: dict[Any, Any], seed: int) -> Scan:
    """Draw one person of the plan: head, position, scanner, tumour and other findings."""
    rng = np.random.default_rng([seed, 13, row["number"]])
    person = draw_person(5000 + row["number"], 10_000, seed)
    scan = Scan(
        person=replace(
            person, gain=row["gain"], stretch=(row["long"], row["wide"]),
            contrast=(person.contrast[0], row["contrast"]), skull=(row["bone_mm"], row["scalp_mm"]),
        ),
        height=row["middle_mm"], step=float(rng.uniform(2.6, 3.8)), pixel=row["pixel"],
        angle=float(rng.normal(0, 4)), pitch=row["pitch"],
        shift=(float(rng.normal(0, 3)), float(rng.normal(0, 3))), noise=row["noise"],
        fat=row["fat"], tumour=None, decoys=(),
    )  # fmt: skip
    points = scan.points(head, scan.height)
    depth = head.depth_at(points)
    decoys = tuple(draw_decoys(points, depth, rng))
    if row["label"] == LABELS[0]:
        return replace(scan, decoys=decoys)
    return replace(scan, decoys=decoys, tumour=draw_tumour(row["label"], points, depth, rng))


def scan_slice(
    head: HeadVolume, scan: Scan, height: float
) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Return stored values of 12 bits and where the tumour is, both (H, W)."""
    points = scan.points(head, height)
    image, white, depth = tissue(scan.person, head, points, scan.tumour)
    image = np.where(depth > 1.5, scan.fat * image, image)
    here = round(10 * height)  # the findings of a slice, and its noise, are its own
    own = np.random.default_rng([*scan.person.seed, 20, here])
    image = vessels(image, points, depth, np.random.default_rng([*scan.person.seed, 21]))
    for decoy in scan.decoys:
        image = decoy.paint(image, points, depth)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    if scan.tumour is not None:
        image = scan.tumour.paint(image, white, points, depth)
        mask = scan.tumour.inside(points, depth)
    shading = np.random.default_rng([*scan.person.seed, 22])
    return acquire(image, points, scan.person.gain, scan.noise, own, shading), mask


def _slices(table: pd.DataFrame, head: HeadVolume, seed: int) -> Iterator[Drawn]:
    """Yield each slice of the plan with its tumour, person by person."""
    for _, person in table.groupby("patient_id"):
        rows = person.to_dict("records")
        scan = draw_scan(head, rows[0], seed)
        for row in rows:
            height = scan.height + scan.step * (row["slice"] - (row["slices"] + 1) / 2)
            stored, mask = scan_slice(head, scan, height)
            area = round(float(mask.sum()) * scan.pixel**2 / 100, 1)
            told = {"height_mm": round(height, 1), "area_cm2": area}
            yield {**row, **told}, png(stored / np.float32(4095)), mask


def write_volume(
    folder: Path, head: HeadVolume, scan: Scan, patient: str, seed: int, *, slices: int = 19
) -> None:
    """Write one person's head twice: ``folder/dicom/*.dcm`` and ``folder/head.nii.gz``."""
    import nibabel

    low, step = 44.0, 5.0
    heights = [low + step * number for number in range(slices)]
    values = np.stack([scan_slice(head, scan, height)[0] for height in heights])
    for number, height in enumerate(heights):
        header = {
            **common_header("MR", ("brain", seed, patient), 0, number),
            **MR_HEADER,
            **scan.person.header,
            "PatientName": "SIMULATED^BRAIN",
            "PatientID": patient,
            "PixelSpacing": [scan.pixel, scan.pixel],
            "SliceThickness": f"{step:.1f}",
            "SpacingBetweenSlices": f"{step:.1f}",
            "ImagePositionPatient": corner((SIDE, SIDE), scan.pixel, height),
            "WindowCenter": str(round(0.55 * scan.person.gain)),
            "WindowWidth": str(round(1.1 * scan.person.gain)),
            "DerivationDescription": f"{SOURCE}; deformed. {NOTICE}",
        }
        # Named by number of the slice from the top: the order of names is not that of space.
        path = folder / "dicom" / f"{slices - number:03d}.dcm"
        write_file(path, make_dicom(values[number], header, JPEGLSLossless))
    # NIfTI counts to the right, to the front and up; DICOM's rows and columns run to the left and
    # to the back.
    left, back, _ = corner((SIDE, SIDE), scan.pixel, low)
    affine = np.diag([scan.pixel, scan.pixel, step, 1.0])
    affine[:3, 3] = left, back, low  # the grid is centred on the axis
    turned = np.ascontiguousarray(values.transpose(2, 1, 0)[::-1, ::-1]).astype(np.int16)
    image = nibabel.Nifti1Image(turned, affine)
    image.header["descrip"] = NOTICE.encode()
    write_file(folder / "head.nii.gz", gzip.compress(image.to_bytes(), mtime=0))

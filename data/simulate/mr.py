"""Write ``data/mr``: a short T1 series of a simulated head, and lesion against no lesion.

The anatomy comes from the MNI ICBM152 template that nilearn ships (see `mr_volume`).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom.uid import JPEGLSLossless
from simulate.crosssection import (
    NOTICE,
    check_count,
    common_header,
    corner,
    make_dicom,
)
from simulate.files import write_file, write_set
from simulate.mr_findings import distractors
from simulate.mr_image import SHAPE, acquire, draw_person, locate, tissue
from simulate.mr_task import HEIGHTS, MR_HEADER, SOURCE, simulate_mr
from simulate.mr_volume import HeadVolume, load_head

from medimg.progress import tqdm


def make_sample(out: str | os.PathLike[str], *, seed: int = 2026) -> pd.DataFrame:
    """Write ``out/mr`` whole, series and slice task, and return the task's study table.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    seed : int
        The same seed gives the same bytes.

    Returns
    -------
    DataFrame
        ``out/mr/studies.csv``; its paths are relative to that file.

    Raises
    ------
    SimulationError
        When the source volume is not installed, the seed is negative, or `out` cannot be written.
    """
    check_count("seed", seed, least=0)
    root = Path(out) / "mr"
    volume = load_head()
    write_mr_series(root, volume)
    return write_mr(root, volume, seed=seed)


def write_mr(root: Path, head: HeadVolume, *, patients: int = 25, seed: int = 2026) -> pd.DataFrame:
    """Write the slice task under `root` and return its study table.

    Parameters
    ----------
    root : path
        The folder ``data/mr``; slices, masks and ``studies.csv`` go there.
    head : HeadVolume
        The anatomy.
    patients, seed : int
        As in `simulate_mr`.

    Raises
    ------
    SimulationError
        When a number is impossible or the folder cannot be written.
    """
    check_count("patients", patients)
    records = simulate_mr(head, patients=patients, seed=seed)
    drawn = ((each.row, make_dicom(each.pixels, each.header, JPEGLSLossless), each.mask)
             for each in records)  # fmt: skip
    return write_set(Path(root), drawn, total=4 * patients, suffix=".dcm")


def write_mr_series(
    root: Path, head: HeadVolume, *, slices: int = 24, seed: int = 2026
) -> list[Path]:
    """Write ``root/series/*.dcm``, axial T1 slices of one more simulated person without a lesion.

    Raises
    ------
    SimulationError
        When a number is impossible or the folder cannot be written.
    """
    check_count("slices", slices)
    check_count("seed", seed, least=0)
    person = draw_person(999, 1000, seed)
    step = (HEIGHTS[1] - HEIGHTS[0] + 20) / slices
    paths = []
    for number in tqdm(range(slices), desc="MR series", unit="slice"):
        height = HEIGHTS[0] - 10 + step * number
        points = locate(person, head, height, 1.5, np.zeros(2, np.float32))
        image, _, depth = tissue(person, head, points, None)
        # The same stream for every slice: findings and coil shading go on from one to the next.
        image = distractors(image, points, depth, np.random.default_rng([*person.seed, 9]))
        noise = np.random.default_rng([*person.seed, 10 + number])
        shading = np.random.default_rng([*person.seed, 8])
        pixels = acquire(image, points, person.gain, 0.02, noise, shading)
        header = {
            **common_header("MR", ("mr", "series", seed), 0, number),
            **MR_HEADER,
            **person.header,
            "PatientName": "SIMULATED^MR SERIES",
            "PatientID": "SIM-MR-SERIES",
            "SliceThickness": f"{step:.3f}",
            "SpacingBetweenSlices": f"{step:.3f}",
            "ImagePositionPatient": corner(SHAPE, person.pixel, height),
            "WindowCenter": str(round(0.55 * person.gain)),
            "WindowWidth": str(round(1.1 * person.gain)),
            "DerivationDescription": f"{SOURCE}; deformed. {NOTICE}",
        }
        path = Path(root) / "series" / f"{number + 1:03d}.dcm"
        write_file(path, make_dicom(pixels, header, JPEGLSLossless))
        paths.append(path)
    return paths

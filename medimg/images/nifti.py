"""NIfTI volumes, turned so that their slices look as axial DICOM slices do."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from medimg.errors import ImageReadError
from medimg.images.files import Floats, PathLike, Pixels

# What a small file may unpack to: voxels, and bytes.
_MAX_VOXELS, _MAX_INFLATED = 2**27, 2**28


@dataclass(frozen=True)
class Nifti:
    """The voxels of a NIfTI file as stored, (slice, row, column), and where they lie.

    Slices run from the feet to the head, rows from front to back, columns from the patient's
    right to the left. `affine` (4, 4) leads from (column, row, slice) to mm in DICOM's patient
    coordinates, which grow to the left, to the back and to the head.
    """

    voxels: Pixels
    affine: NDArray[np.float64]
    slope: float
    intercept: float

    def values(self, index: int) -> Floats:
        """Return one slice, scaled by the header's slope and intercept (scl_slope, scl_inter)."""
        scaled = self.voxels[index].astype(np.float64) * self.slope + self.intercept
        values: Floats = scaled.astype(np.float32)
        return values


def open_nifti(path: PathLike) -> Nifti:
    """Open a NIfTI-1 or NIfTI-2 file, compressed or not, or raise saying what is in the way."""
    data = Path(path).read_bytes()
    limit = _MAX_INFLATED + 16 * len(data)
    raw = data
    if data.startswith(b"\x1f\x8b"):
        raw = gzip.GzipFile(fileobj=BytesIO(data)).read(limit + 1)
    cls: Any = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
    # The header first: what it declares is compared with what is there before memory is taken.
    header: Any = cls.header_class(raw[: cls.header_class.sizeof_hdr], check=False)
    shape = [int(side) for side in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    sides, dtype = " x ".join(map(str, shape)), header.get_data_dtype()
    voxels = float(np.prod(shape, dtype=float))
    wrong = ""
    if len(shape) not in (2, 3):
        wrong = (
            f"it has {len(shape)} axes ({sides}), and a volume has three; save one time point or "
            "channel as a file of its own, for example with nibabel.funcs.four_to_three"
        )
    elif dtype.kind not in "iuf":
        wrong = "its voxels are colours or complex numbers; save one channel as numbers"
    elif voxels > _MAX_VOXELS + 16 * len(data) or len(raw) > limit:
        wrong = f"{len(data)} bytes cannot hold its {sides} voxels; it is made to fill memory"
    elif voxels < 1 or header["vox_offset"] + voxels * dtype.itemsize > len(raw):
        wrong = (
            f"{sides} voxels of {dtype.itemsize} bytes are declared, and the file holds fewer; "
            "it is cut short, so copy it again"
        )
    if wrong:
        raise ImageReadError(f"{path}: this NIfTI file is not read here, since {wrong}.")
    return _turned(cls.from_bytes(raw), ([*shape, 1] if len(shape) == 2 else shape))


def _turned(image: Any, shape: list[int]) -> Nifti:
    """Return the volume with its axes the way that axial DICOM slices have them."""
    stored = np.asanyarray(image.dataobj.get_unscaled()).reshape(shape)
    as_lies: Any = orientations  # nibabel states no types for these
    turn = as_lies.ornt_transform(as_lies.io_orientation(image.affine), as_lies.axcodes2ornt("LPS"))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ as_lies.inv_ornt_aff(turn, shape)
    voxels = as_lies.apply_orientation(stored, turn).transpose(2, 1, 0)
    return Nifti(voxels, affine, float(image.dataobj.slope), float(image.dataobj.inter))

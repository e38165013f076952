"""NIfTI volumes, turned so that their slices look as axial DICOM slices do."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import nibabel
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from medimg.errors import ImageReadError
from medimg.images.files import Limited, PathLike, Pixels
from medimg.images.lut import Frame, Transform, linear

# What a small file may unpack to: voxels, and bytes.
_MAX_VOXELS, _MAX_INFLATED = 2**27, 2**28


@dataclass(frozen=True)
class Nifti:
    """The voxels of a NIfTI file as stored, (slice, row, column), and where they lie.

    Slices run from the feet to the head, rows from front to back, columns from the patient's
    right to the left. `affine` (4, 4) leads from (column, row, slice) to mm in DICOM's patient
    coordinates, which grow to the left, to the back and to the head. `scale` leads from voxels to
    values (scl_slope, scl_inter).
    """

    path: PathLike
    voxels: Pixels
    affine: NDArray[np.float64]
    scale: Transform

    def frames(self, wanted: Iterable[int]) -> Iterator[Frame]:
        """Yield slices; their values have no unit, so the brightest and darkest are cut off."""
        for index in wanted:
            yield Frame(self.path, self.voxels[index], None, self.scale, is_ct=True, ends=(1, 99))


def open_nifti(stream: Limited) -> Nifti:
    """Open a NIfTI-1 or NIfTI-2 file, compressed or not, or raise saying what is in the way."""
    limit, raw = _MAX_INFLATED + 16 * stream.size, stream.read()
    if raw.startswith(b"\x1f\x8b"):
        stream.seek(0)
        raw = gzip.GzipFile(fileobj=stream).read(limit + 1)
    cls: Any = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
    # The header first: what it declares is compared with what is there before memory is taken.
    header: Any = cls.header_class(raw[: cls.header_class.sizeof_hdr], check=False)
    shape = [int(side) for side in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    sides, dtype = " x ".join(map(str, shape)), header.get_data_dtype()
    voxels = float(np.prod(shape, dtype=float))
    for wrong, words in (
        (len(shape) not in (2, 3), f"it has {len(shape)} axes ({sides}), and a volume has three; "
         "save one time point or channel as a file of its own, for example with "
         "nibabel.funcs.four_to_three"),
        (dtype.kind not in "iuf", "its voxels are colours or complex numbers; save one channel as "
         "numbers"),
        (voxels > _MAX_VOXELS + 16 * stream.size or len(raw) > limit, f"{stream.size} bytes "
         f"cannot hold its {sides} voxels; it is made to fill memory"),
        (voxels < 1 or header["vox_offset"] + voxels * dtype.itemsize > len(raw), f"{sides} "
         f"voxels of {dtype.itemsize} bytes are declared, and the file holds fewer; it is cut "
         "short, so copy it again"),
    ):  # fmt: skip
        if wrong:
            raise ImageReadError(f"{stream.path}: this NIfTI file is not read here, since {words}.")
    shape += [1] * (3 - len(shape))
    image, lies = cls.from_bytes(raw), cast(Any, orientations)  # nibabel states no types
    data = image.dataobj
    turn = lies.ornt_transform(lies.io_orientation(image.affine), lies.axcodes2ornt("LPS"))
    turned = lies.apply_orientation(np.asanyarray(data.get_unscaled()).reshape(shape), turn)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ lies.inv_ornt_aff(turn, shape)
    scale = linear(float(data.slope), float(data.inter))
    return Nifti(stream.path, turned.transpose(2, 1, 0), affine, scale)

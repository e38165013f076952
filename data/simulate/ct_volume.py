"""The chest CT as the CT sample needs it: 256 x 256, face up, without the table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from simulate.crosssection import check_count
from simulate.errors import SimulationError
from simulate.volume import LOBES, CtScan
from simulate.warps import Floats


@dataclass(frozen=True)
class ChestVolume:
    """A chest CT with lobes; axis 0 goes up, axis 1 to the back, axis 2 to the patient's left.

    Attributes
    ----------
    hu : float32 array, (D, H, W)
        Hounsfield units, the table removed.
    lobes : uint8 array, (D, H, W)
        Labels as in `ct_findings.LOBES`.
    spacing : tuple of float
        Millimetres along the three axes.
    """

    hu: Floats = field(repr=False)
    lobes: NDArray[np.uint8] = field(repr=False)
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.hu.shape != self.lobes.shape or self.hu.ndim != 3:
            raise SimulationError(
                f"The CT is {self.hu.shape} and its lobe labels are {self.lobes.shape}, but "
                "both must be (D, H, W) alike: give the labels of this very volume."
            )
        if set(np.unique(self.lobes)) != set(range(6)):
            raise SimulationError(
                f"The lobe labels are {np.unique(self.lobes).tolist()}, but 0 to 5 must all occur: "
                "give the five lobes 1 to 5 on a background of 0."
            )

    def at(self, points: Floats) -> tuple[Floats, NDArray[np.uint8]]:
        """Return HU (H, W) and lobe labels (H, W) at points in mm, (3, H, W)."""
        index = points / np.array(self.spacing, np.float32)[:, None, None]
        values = ndimage.map_coordinates(self.hu, index, order=1, cval=-1000.0)
        lobes = ndimage.map_coordinates(self.lobes, index, order=0)
        return values.astype(np.float32), lobes

    def hila(self) -> Floats:
        """Return for each label 0 to 5 a point near its bronchus, in mm, (6, 3)."""
        places = np.argwhere(self.lobes[::2, ::4, ::4] > 0)
        middle = places.mean(axis=0) * [2, 4, 4] * self.spacing
        points = np.repeat(middle[None], 6, axis=0)
        points[:, 2] += [0, 28, 28, -28, -28, -28]
        return points.astype(np.float32)


def chest_volume(scan: CtScan, *, bin_by: int = 2) -> ChestVolume:
    """Return the scan with its table removed and `bin_by` x `bin_by` pixels averaged into one.

    Parameters
    ----------
    scan : CtScan
        Axis 1 goes to the front; the result's goes to the back, as radiologists look at it.
    bin_by : int
        At least 1; averaging quarters the noise and the size.

    Returns
    -------
    ChestVolume
        At most as large as the scan: rows and columns that fill no pixel are left out.

    Raises
    ------
    SimulationError
        When `bin_by` is below 1 or a lobe is absent.
    """
    check_count("bin_by", bin_by)
    hu = scan.hu[:, ::-1].astype(np.float32)
    labels = scan.labels[:, ::-1]
    hu = np.clip(np.where(_body(hu), hu, -1000), -1024, 3071)
    depth, rows, columns = (n - n % k for n, k in zip(hu.shape, (1, bin_by, bin_by), strict=True))
    blocks = hu[:, :rows, :columns].reshape(
        depth, rows // bin_by, bin_by, columns // bin_by, bin_by
    )
    lobes = np.zeros(labels.shape, np.uint8)
    for code, value in enumerate(LOBES.values(), start=1):
        lobes[labels == value] = code
    spacing = (scan.spacing[0], scan.spacing[1] * bin_by, scan.spacing[2] * bin_by)
    half = bin_by // 2
    return ChestVolume(
        blocks.mean(axis=(2, 4), dtype=np.float32),
        np.ascontiguousarray(lobes[:, half:rows:bin_by, half:columns:bin_by]),
        spacing,
    )


def _body(hu: Floats) -> NDArray[np.bool_]:
    """Return where the patient is: in each slice the largest thing after an opening, filled."""
    body = np.zeros(hu.shape, dtype=bool)
    for index, section in enumerate(hu):
        dense = ndimage.binary_opening(section > -400, iterations=3)
        parts, count = ndimage.label(dense)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            filled = ndimage.binary_fill_holes(parts == sizes.argmax() + 1)
            body[index] = ndimage.binary_dilation(filled, iterations=2)
    return body

"""Stack the slices of a CT or MR series into a volume, in their order in space."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medimg.errors import ImageReadError
from medimg.images.files import Floats, PathLike, as_image_error
from medimg.images.reader import MAX_PIXELS, read_values
from medimg.images.slices import (
    Slice,
    check_alike,
    check_places,
    choose_series,
    find_slices,
    gaps_between,
)
from medimg.progress import tqdm

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Volume:
    """A series in space.

    Attributes
    ----------
    values : numpy.ndarray
        float32 (D, H, W), what the pixels measure (HU in CT), NaN where padded.
    spacing : tuple of float
        Distance of neighbouring voxels in mm along each axis of `values`; the first is the usual
        distance of slices.
    places : numpy.ndarray
        float64 (D,), each slice's place along the normal in mm, growing.
    orientation : tuple of float
        Directions of a row and of a column (ImageOrientationPatient).
    gaps : tuple of int
        Slices after which at least one is missing.
    files : tuple of Path
        The file of each slice.
    modality : str
        For example "CT".
    """

    values: Floats = field(repr=False)
    spacing: tuple[float, float, float]
    places: NDArray[np.float64] = field(repr=False)
    orientation: tuple[float, ...] = field(repr=False)
    gaps: tuple[int, ...] = ()
    files: tuple[Path, ...] = field(default=(), repr=False)
    modality: str = ""

    def resampled(self, mm: float) -> Volume:
        """Return the volume on an isotropic grid, linearly interpolated.

        Slices are taken from where they really lie, so that uneven distances do not bend the
        anatomy; what falls into a gap is interpolated across it. NaN spreads to its neighbours.

        Parameters
        ----------
        mm : float
            Distance of voxels in mm along all three axes.

        Returns
        -------
        Volume
            Values of shape (D', H', W'), first voxel where the first one was.

        Raises
        ------
        ImageReadError
            When `mm` is not positive or would make more than 2**31 voxels.
        """
        extents = [float(self.places[-1] - self.places[0])]
        extents += [
            (n - 1) * step for n, step in zip(self.values.shape[1:], self.spacing[1:], strict=True)
        ]
        if not mm > 0 or np.prod([extent / mm + 1 for extent in extents]) > 2**31:
            raise ImageReadError(
                f"mm={mm}: a volume of {' x '.join(f'{extent:.0f}' for extent in extents)} mm "
                "cannot be resampled to that; give a distance such as 1.0."
            )
        counts = [int(np.floor(extent / mm + 1e-6)) + 1 for extent in extents]
        new_places = self.places[0] + mm * np.arange(counts[0])
        axes = [np.interp(new_places, self.places, np.arange(len(self.places)))]
        axes += [
            mm / step * np.arange(n) for n, step in zip(counts[1:], self.spacing[1:], strict=True)
        ]
        values = np.empty(counts, np.float32)
        plane = np.meshgrid(axes[1], axes[2], indexing="ij")
        for at, depth in enumerate(axes[0]):  # slice by slice, to need little memory
            grid = [np.full_like(plane[0], depth), *plane]
            values[at] = map_coordinates(self.values, grid, order=1, mode="nearest")
        return Volume(values, (mm, mm, mm), new_places, self.orientation, (), (), self.modality)


def read_series(
    folder: PathLike,
    *,
    series: str | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> Volume:
    """Read the slices of one CT or MR series, in their order in space.

    Slices are sorted by their position along the normal of the slices, not by file name or
    instance number, which need not follow the anatomy. Enhanced files count frame by frame.

    Parameters
    ----------
    folder : str or path-like
        A folder with DICOM slices; subfolders are searched, other files are passed over.
    series : str, optional
        The Series Instance UID to read when the folder holds several.
    strict : bool
        Raise when slices are missing, instead of logging a warning and filling `Volume.gaps`.
    max_pixels : int
        The largest slice to accept.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Volume
        Values, spacing in mm, gaps and files.

    Raises
    ------
    ImageReadError
        When series, sizes, spacings or orientations are mixed, two slices lie at one place, or
        any slice cannot be read; the message names the files.

    References
    ----------
    DICOM PS3.3, C.7.6.2.1.1 (image position and orientation).
    """
    with as_image_error(folder):
        slices = choose_series(folder, find_slices(folder), series)
        check_alike(folder, slices)
        slices = sorted(slices, key=lambda item: item.along)
        check_places(folder, slices)
        places = np.array([item.along for item in slices])
        gaps = gaps_between(places)
        if gaps:
            _report_gaps(folder, slices, gaps, strict)
        _warn_tilt(folder, slices)
        bar = tqdm(slices, desc="slices", unit="slice", disable=not progress)
        values = [read_values(item.path, frame=item.frame, max_pixels=max_pixels) for item in bar]
        step = float(np.median(np.diff(places))) if len(places) > 1 else 1.0
        return Volume(
            values=np.stack(values),
            spacing=(step, *slices[0].pixel_spacing),
            places=places,
            orientation=slices[0].orientation,
            gaps=gaps,
            files=tuple(item.path for item in slices),
            modality=slices[0].modality,
        )


def _report_gaps(
    folder: PathLike, slices: list[Slice], gaps: tuple[int, ...], strict: bool
) -> None:
    first = gaps[0]
    words = (
        f"{folder}: slices are missing at {len(gaps)} place(s), the first between "
        f"{slices[first].path.name} at {slices[first].along:.1f} mm and "
        f"{slices[first + 1].path.name} at {slices[first + 1].along:.1f} mm"
    )
    if strict:
        raise ImageReadError(f"{words}; copy the whole series, or read it with strict=False.")
    _log.warning("%s; resampling would interpolate across", words)


def _warn_tilt(folder: PathLike, slices: list[Slice]) -> None:
    """Say when slices are shifted sideways against each other, as by a tilted gantry."""
    if len(slices) < 2:
        return
    shift = np.subtract(slices[-1].position, slices[0].position)
    normal = slices[0].normal
    sideways = float(np.linalg.norm(shift - (shift @ normal) * normal))
    if sideways > 0.01 * abs(float(shift @ normal)) + 0.1:
        _log.warning(
            "%s: the slices are shifted sideways by %.1f mm (a tilted gantry); "
            "the volume is sheared by as much",
            folder,
            sideways,
        )

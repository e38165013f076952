"""Stack the slices of a CT or MR series into a volume, in their order in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medimg.errors import ImageReadError
from medimg.images.files import Floats, PathLike, as_image_error
from medimg.images.placement import check_placement
from medimg.images.slices import Slice, check_alike, choose_series, find_slices
from medimg.images.values import MAX_PIXELS, frame_values
from medimg.progress import tqdm


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
        Raise when slices are missing or lie beside the others, instead of logging a warning and
        filling `Volume.gaps`.
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
        slices = sorted(check_alike(folder, slices), key=lambda item: item.along)
        gaps = check_placement(folder, slices, strict)
        places = np.array([item.along for item in slices])
        step = float(np.median(np.diff(places))) if len(places) > 1 else 1.0
        return Volume(
            values=_values(slices, max_pixels, progress),
            spacing=(step, *slices[0].pixel_spacing),
            places=places,
            orientation=slices[0].orientation,
            gaps=gaps,
            files=tuple(item.path for item in slices),
            modality=slices[0].modality,
        )


def _values(slices: list[Slice], max_pixels: int, progress: bool) -> Floats:
    """Read the slices, each file once, and stack them in the order given."""
    frames: dict[Path, list[int]] = {}
    for place, item in enumerate(slices):
        frames.setdefault(item.path, []).append(place)
    values = np.empty((len(slices), *slices[0].shape), np.float32)
    with tqdm(total=len(slices), desc="slices", unit="slice", disable=not progress) as bar:
        for path, places in frames.items():
            wanted = [slices[place].frame for place in places]
            values[places] = frame_values(path, wanted, max_pixels=max_pixels)
            bar.update(len(places))
    return values

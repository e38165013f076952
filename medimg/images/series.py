"""Stack the slices of a CT or MR series, or of a NIfTI file, into a volume, in order in space."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.decode import read_layout
from medimg.images.dicom import frame_group, integer, number, numbers, parse, text, texts
from medimg.images.files import (
    MAX_PIXELS,
    Floats,
    Limited,
    PathLike,
    as_image_error,
    identify,
    kind_of,
)
from medimg.images.lut import dicom_frames
from medimg.images.nifti import open_nifti
from medimg.progress import tqdm
from medimg.storage import walk_files

_log = logging.getLogger(__name__)
_Vector = NDArray[np.float64]
_MOST_FRAMES = 20_000  # of a file that is part of a series


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
        Directions of a row and of a column (ImageOrientationPatient), in DICOM's coordinates,
        which grow to the patient's left, to the back and to the head. (1, 0, 0, 0, 1, 0) is
        axial, the patient's right side on the left, the front at the top.
    origin : tuple of float
        Where the first voxel lies in mm, in the same coordinates.
    gaps : tuple of int
        Slices after which at least one is missing.
    files : tuple of Path
        The file of each slice.
    modality : str
        For example "CT"; "" for NIfTI, which does not say.
    """

    values: Floats = field(repr=False)
    spacing: tuple[float, float, float]
    places: NDArray[np.float64] = field(repr=False)
    orientation: tuple[float, ...] = field(repr=False)
    origin: tuple[float, ...] = field(default=(), repr=False)
    gaps: tuple[int, ...] = ()
    files: tuple[Path, ...] = field(default=(), repr=False)
    modality: str = ""


class _Slice(NamedTuple):
    """One frame of one file, and where its first pixel's centre lies, in mm (C.7.6.2)."""

    path: Path
    frame: int
    series: str
    modality: str
    shape: tuple[int, int]
    position: _Vector
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    thickness: float


def read_series(
    folder: PathLike,
    *,
    series: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> Volume:
    """Read the slices of one CT or MR series, or a NIfTI volume, in their order in space.

    DICOM slices are sorted by their position along the normal of the slices, not by file name or
    instance number, which need not follow the anatomy. Enhanced files count frame by frame. A
    NIfTI volume is turned the way that axial DICOM slices lie, whatever the order of its axes.

    Parameters
    ----------
    folder : str or path-like
        A folder with DICOM slices (subfolders are searched, other files are passed over), one
        DICOM file of several frames, or a NIfTI file (.nii, .nii.gz).
    series : str, optional
        The Series Instance UID to read when the folder holds several.
    max_pixels : int
        The largest slice to accept.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Volume
        Values, spacing in mm, orientation, gaps and files.

    Raises
    ------
    ImageReadError
        When series, sizes, spacings or orientations are mixed, two slices lie at one place, or
        any slice cannot be read; the message names the files. When a NIfTI file has more than
        three axes.

    References
    ----------
    DICOM PS3.3, C.7.6.2.1.1 (image position and orientation).
    """
    with as_image_error(folder):
        root = Path(folder)
        if not root.is_dir() and identify(root) == "NIfTI":
            return _nifti_volume(root)
        slices = _choose_series(folder, _find_slices(root), series)
        _check_alike(folder, slices)
        # One orientation for all: a difference in the fourth digit would misplace a slice that
        # lies half a metre from the origin.
        orientation = slices[0].orientation
        normal = _normal(orientation)
        slices.sort(key=lambda item: float(normal @ item.position))
        places = np.array([normal @ item.position for item in slices])
        step = float(np.median(np.diff(places))) if len(places) > 1 else slices[0].thickness or 1.0
        return Volume(
            gaps=_check_placement(folder, slices, places, normal),
            values=_values(slices, max_pixels, progress),
            spacing=(step, slices[0].pixel_spacing[0], slices[0].pixel_spacing[1]),
            places=places,
            orientation=orientation,
            origin=tuple(slices[0].position.tolist()),
            files=tuple(item.path for item in slices),
            modality=slices[0].modality,
        )


def _normal(orientation: Any) -> _Vector:
    """Return the unit vector across slices of this orientation."""
    across: _Vector = np.cross(orientation[:3], orientation[3:])
    return across / np.linalg.norm(across)


def _nifti_volume(path: Path) -> Volume:
    with Limited(path) as stream:
        volume = open_nifti(stream)
    steps, origin = volume.affine[:3, :3], volume.affine[:3, 3]
    lengths = np.linalg.norm(steps, axis=0)
    orientation = (steps[:, :2] / lengths[:2]).T.ravel()
    values = np.empty(volume.voxels.shape, np.float32)
    for index, frame in enumerate(volume.frames(range(len(values)))):
        values[index] = frame.values()
    way = np.cross(orientation[:3], orientation[3:])
    return Volume(
        values=values,
        spacing=(float(lengths[2]), float(lengths[1]), float(lengths[0])),
        places=origin @ way + np.arange(len(values)) * (steps[:, 2] @ way),
        orientation=tuple(orientation.tolist()),
        origin=tuple(origin.tolist()),
        files=(path,) * len(values),
    )


def _values(slices: list[_Slice], max_pixels: int, progress: bool) -> Floats:
    """Read the slices, each file once, and stack them in the order given."""
    places: defaultdict[Path, dict[int, int]] = defaultdict(dict)
    for place, item in enumerate(slices):
        places[item.path][item.frame] = place
    values = np.empty((len(slices), *slices[0].shape), np.float32)
    with tqdm(total=len(slices), desc="slices", unit="slice", disable=not progress) as bar:
        for path, mine in places.items():
            with as_image_error(path), Limited(path) as stream:
                source, wanted = parse(path, stream), sorted(mine)
                found = dicom_frames(source, read_layout(source, max_pixels), wanted)
                for index, frame in zip(wanted, found, strict=True):
                    values[mine[index]] = frame.values()
            bar.update(len(mine))
    return values


def _find_slices(root: Path) -> list[_Slice]:
    """Return the placed slices of all DICOM images in a folder, or raise naming what is amiss."""
    listed = walk_files(root, hidden=True) if root.is_dir() else None
    found: list[_Slice] = []
    unplaced = [path.name for path, _ in listed.unreadable] if listed else []
    volumes: list[str] = []
    for path in sorted(listed.files, key=Path.as_posix) if listed else [root]:
        header, slices = Dataset(), []
        try:
            with as_image_error(path):
                kind = kind_of(path) if path.is_file() else ""
                volumes += [path.name] if kind == "NIfTI" else []
                if kind != "DICOM":  # PNG and the like have no place in space
                    continue
                with Limited(path) as stream:
                    source = parse(path, stream)
                header = source.dataset
                slices = _slices(path, header) if source.keyword else []
        except ImageReadError:
            _log.info("%s: not a slice that can be read", path)
        if "MOSAIC" in texts(header, "ImageType"):
            raise ImageReadError(
                f"{path}: this is a Siemens mosaic: all slices of a volume are tiles of one "
                "picture; convert it to NIfTI, for example with dcm2niix, and read that."
            )
        found += slices
        # A report, a DICOMDIR or another thing without pixels is not missed.
        what = getattr(header.get("SOPClassUID"), "name", "Image Storage")
        other = "DirectoryRecordSequence" in header or "Image Storage" not in what
        unplaced += [] if slices or other else [path.name]
    if not found:
        what = "there is no DICOM image in it"
        if unplaced:
            what = "none says where its slice lies (Image Position and Orientation, Pixel Spacing)"
        elif volumes:
            what = f"it holds NIfTI volumes; give the path of one of them ({_shorten(volumes)})"
        raise ImageReadError(
            f"{root}: no series can be read, since {what}; choose a folder of CT or MR slices."
        )
    if unplaced:
        _log.warning(
            "%s: %d file(s) are damaged or do not say where they lie, and are passed over; if "
            "they are slices, the volume lacks them: %s", root, len(unplaced), _shorten(unplaced),
        )  # fmt: skip
    return found


def _slices(path: Path, header: Dataset) -> list[_Slice]:
    """Return a file's frames, [] if it does not say where they lie."""
    slices: list[_Slice] = []
    # The frames of an RT Dose lie at offsets from the first (C.8.8.3.2).
    offsets = np.array(numbers(header, "GridFrameOffsetVector"))
    series, modality = text(header, "SeriesInstanceUID"), text(header, "Modality")
    shape = (integer(header, "Rows"), integer(header, "Columns"))
    frames = max(1, integer(header, "NumberOfFrames"))
    for frame in range(frames if frames <= _MOST_FRAMES else 0):
        placed, turned, sized = (
            frame_group(header, frame, f"{name}Sequence")
            for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures")
        )
        position = np.array(numbers(placed, "ImagePositionPatient"))
        orientation = tuple(numbers(turned, "ImageOrientationPatient"))
        spacing = tuple(numbers(sized, "PixelSpacing"))
        sizes = (len(position), len(orientation), len(spacing))
        if sizes != (3, 6, 2) or min(spacing) <= 0 or not np.isfinite(_normal(orientation)).all():
            return []
        if frame < len(offsets):
            position += (offsets[frame] - offsets[0]) * _normal(orientation)
        thickness = number(sized, "SliceThickness") or 0.0
        slices.append(
            _Slice(path, frame, series, modality, shape, position, orientation, spacing, thickness)
        )
    return slices


def _choose_series(folder: PathLike, slices: list[_Slice], series: str | None) -> list[_Slice]:
    """Return the slices of one series, or raise listing the series that there are."""
    groups: defaultdict[str, list[_Slice]] = defaultdict(list)
    for item in slices:
        groups[item.series].append(item)
    if series is None and len(groups) == 1:
        return slices
    if series is not None and series in groups:
        return groups[series]
    known = "; ".join(
        f"{name or '(no UID)'}: {group[0].modality or '?'}, {len(group)} slices"
        for name, group in sorted(groups.items())
    )
    what = f"there is no series {series!r}" if series else "several series are mixed"
    raise ImageReadError(
        f"{folder}: {what}; choose one of them with series=, or put each into its own folder "
        f"({known})."
    )


def _check_alike(folder: PathLike, slices: list[_Slice]) -> None:
    """Refuse slices of another kind, size, spacing or direction, naming the odd ones out."""
    for name, key, tolerance in (
        ("modalities", "modality", None), ("orientations", "orientation", 1e-3),
        ("pixel spacings", "pixel_spacing", 1e-4), ("sizes", "shape", None),
    ):  # fmt: skip
        facts = [getattr(item, key) for item in slices]
        # What most slices have; of numbers the median, since they may hardly differ.
        usual = max(facts, key=facts.count) if tolerance is None else np.median(facts, axis=0)
        odd = {
            item.path.name
            for item, fact in zip(slices, facts, strict=True)
            if (fact != usual if tolerance is None else np.abs(fact - usual).max() > tolerance)
        }
        if odd:
            raise ImageReadError(
                f"{folder}: slices of different {name} make no volume; take away the odd ones, "
                f"which may be a localiser: {_shorten(sorted(odd))}."
            )


def _check_placement(
    folder: PathLike, slices: list[_Slice], places: _Vector, normal: _Vector
) -> tuple[int, ...]:
    """Return the slices, in their order, after which others are missing.

    Two slices at one place are refused; missing, uneven, shifted and sheared ones are logged.
    """
    steps, names = np.diff(places), [item.path.name for item in slices]
    for at in np.flatnonzero(steps < 1e-3)[:1].tolist():
        first, second = slices[at : at + 2]
        raise ImageReadError(
            f"{folder}: two slices lie at the same place ({names[at]} frame {first.frame} and "
            f"{names[at + 1]} frame {second.frame}); the folder holds a copy or several time "
            "points, so keep one of each."
        )
    if len(slices) < 2:
        return ()
    gaps = _gaps(steps, np.array([item.thickness for item in slices]))
    if gaps:
        at = gaps[0]
        _log.warning(
            "%s: slices are missing at %d place(s), the first between %s at %.1f mm and %s at "
            "%.1f mm; resampling would interpolate across", folder, len(gaps),
            names[at], places[at], names[at + 1], places[at + 1],
        )  # fmt: skip
    elif np.ptp(steps) > 0.1 * np.median(steps):
        _log.warning(
            "%s: neighbouring slices lie %.2f to %.2f mm apart, as in a series of several zones; "
            "resample by Volume.places before measuring", folder, steps.min(), steps.max(),
        )  # fmt: skip
    # Sideways: a tilted gantry moves every slice by the same amount per millimetre, and the median
    # is that of most; a slice off that line may be of another scan.
    way, aside = places - places[0], np.array([item.position for item in slices])
    aside = aside - aside[0] - np.outer(way, normal)
    share = np.median(np.diff(aside, axis=0) / steps[:, None], axis=0)
    off = aside - np.outer(way, share)
    off = np.linalg.norm(off - np.median(off, axis=0), axis=1)
    shear = float(np.linalg.norm(share) * way[-1])
    if shear > 0.01 * way[-1] + 0.1:
        _log.warning(
            "%s: the slices are shifted sideways by %.1f mm (a tilted gantry); "
            "the volume is sheared by as much", folder, shear,
        )  # fmt: skip
    odd = sorted({names[at] for at in np.flatnonzero(off > 0.5).tolist()})
    if odd:
        _log.warning(
            "%s: %d slice(s) lie up to %.1f mm beside the line of the others, so they may be of "
            "another scan: %s", folder, len(odd), off.max(), _shorten(odd),
        )  # fmt: skip
    return gaps


def _gaps(steps: _Vector, thickness: _Vector) -> tuple[int, ...]:
    """Return the slices after which one or more are missing.

    A step is a gap when it is far longer than usual, unless the slices are as thick as it is
    long, or three such steps follow each other: then the scanner was set to another distance
    there, as for a head, where slices are thin at the base and thick above it.
    """
    usual = float(np.median(steps))
    covered = 1.1 * np.maximum(thickness[:-1], thickness[1:])
    alike = np.abs(np.diff(steps)) < 0.1 * usual
    zones = steps[2:][alike[:-1] & alike[1:]]
    in_zone = (np.abs(steps[:, None] - zones) < 0.1 * usual).any(axis=1)
    return tuple(
        np.flatnonzero((steps > 1.5 * usual) & (steps > covered) & ~in_zone).tolist()
    )  # fmt: skip


def _shorten(names: list[str]) -> str:
    """Return at most five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

"""Where the slices of a series lie in space, and what can be wrong with them."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, as_image_error, kind_of
from medimg.images.header import is_image_file, read_header
from medimg.images.modality import frame_groups
from medimg.images.tags import integer, numbers, text

_log = logging.getLogger(__name__)
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """One frame of one file, and where its first pixel's centre lies, in mm (C.7.6.2)."""

    path: Path
    frame: int
    series: str
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    shape: tuple[int, int]
    modality: str

    @property
    def normal(self) -> Vector:
        """The unit vector across the slice."""
        across = np.array(self.orientation)
        normal: Vector = np.cross(across[:3], across[3:])
        normal /= np.linalg.norm(normal)
        return normal

    @property
    def along(self) -> float:
        """How far the slice lies along its own normal, in mm."""
        return float(self.normal @ np.array(self.position))


def find_slices(folder: PathLike) -> list[Slice]:
    """Return the placed slices of all DICOM images in a folder, or raise naming what is amiss."""
    root = Path(folder)
    if not root.is_dir():
        raise ImageReadError(
            f"{folder}: a series is read from a folder, and this is none; "
            "read single files with read_image()."
        )
    found: list[Slice] = []
    unplaced: list[str] = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or _kind(path) != "DICOM":
            continue  # PNG and the like have no place in space
        try:
            header = read_header(path)
            slices = _slices(path, header) if is_image_file(path) else []
        except ImageReadError:
            slices, header = [], Dataset()
        found += slices
        unplaced += [] if slices or _holds_no_image(header) else [path.name]
    if not found:
        what = "none says where its slice lies" if unplaced else "there is no DICOM image in it"
        raise ImageReadError(
            f"{folder}: no series can be read, since {what} (Image Position and Orientation "
            "Patient, Pixel Spacing); choose a folder of CT or MR slices."
        )
    if unplaced:
        _log.warning(
            "%s: %d file(s) are damaged or do not say where they lie, and are passed over; "
            "if they are slices, the volume lacks them: %s",
            folder,
            len(unplaced),
            shorten(unplaced),
        )
    return found


def _kind(path: Path) -> str:
    try:
        with as_image_error(path):
            return kind_of(path)
    except ImageReadError:
        return ""


def _holds_no_image(header: Dataset) -> bool:
    """Tell whether a header is that of a report, a DICOMDIR or another thing without pixels."""
    what = getattr(header.get("SOPClassUID"), "name", "")
    return "DirectoryRecordSequence" in header or (bool(what) and "Image Storage" not in what)


def _slices(path: Path, header: Dataset) -> list[Slice]:
    """Return a file's frames, [] if it does not say where they lie."""
    slices = []
    for frame in range(max(1, integer(header, "NumberOfFrames") or 1)):
        where = frame_groups(header, frame, "PlanePositionSequence") or header
        turned = frame_groups(header, frame, "PlaneOrientationSequence") or header
        sized = frame_groups(header, frame, "PixelMeasuresSequence") or header
        position = numbers(where, "ImagePositionPatient")
        orientation = numbers(turned, "ImageOrientationPatient")
        spacing = numbers(sized, "PixelSpacing")
        if (len(position), len(orientation), len(spacing)) != (3, 6, 2) or min(spacing) <= 0:
            return []
        if not np.linalg.norm(np.cross(orientation[:3], orientation[3:])) > 0:
            return []
        slices.append(
            Slice(
                path=path,
                frame=frame,
                series=text(header, "SeriesInstanceUID"),
                position=(position[0], position[1], position[2]),
                orientation=tuple(orientation),
                pixel_spacing=(spacing[0], spacing[1]),
                shape=(integer(header, "Rows") or 0, integer(header, "Columns") or 0),
                modality=text(header, "Modality"),
            )
        )
    return slices


def choose_series(folder: PathLike, slices: list[Slice], series: str | None) -> list[Slice]:
    """Return the slices of one series, or raise listing the series that there are."""
    groups: defaultdict[str, list[Slice]] = defaultdict(list)
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


def check_alike(folder: PathLike, slices: Sequence[Slice]) -> list[Slice]:
    """Refuse slices of another kind, size, spacing or direction, naming the odd ones out.

    Returns the slices with the orientation of the first: a difference in the fourth digit would
    misplace a slice that lies half a metre from the origin.
    """
    # The median is what most slices have, and rounding would part values that hardly differ.
    turned = np.array([item.orientation for item in slices])
    spaced = np.array([item.pixel_spacing for item in slices])
    kinds = Counter(item.modality for item in slices).most_common(1)[0][0]
    sizes = Counter(item.shape for item in slices).most_common(1)[0][0]
    for name, differs in (
        ("modalities", [item.modality != kinds for item in slices]),
        ("orientations", (np.abs(turned - np.median(turned, axis=0)) > 1e-3).any(axis=1)),
        ("pixel spacings", (np.abs(spaced - np.median(spaced, axis=0)) > 1e-4).any(axis=1)),
        ("sizes", [item.shape != sizes for item in slices]),
    ):
        if any(differs):
            odd = sorted({item.path.name for item, is_odd in zip(slices, differs, strict=True)
                          if is_odd})  # fmt: skip
            raise ImageReadError(
                f"{folder}: slices of different {name} make no volume; take away the odd ones, "
                f"which may be a localiser: {shorten(odd)}."
            )
    return [replace(item, orientation=slices[0].orientation) for item in slices]


def shorten(names: list[str]) -> str:
    """Return at most five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

"""Where the slices of a series lie in space, and what can be wrong with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.files import PathLike
from medimg.images.header import is_image_file, read_header
from medimg.images.modality import frame_groups
from medimg.images.tags import integer, numbers, text

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
        return np.cross(across[:3], across[3:])

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
    unplaced: list[Path] = []
    for path in sorted(root.rglob("*")):
        if not path.is_file() or not is_image_file(path):
            continue
        try:
            slices = _slices(path, read_header(path))
        except ImageReadError:  # PNG and the like have no place in space
            continue
        found += slices
        unplaced += [] if slices else [path]
    if not found:
        what = "none says where its slice lies" if unplaced else "there is no DICOM image in it"
        raise ImageReadError(
            f"{folder}: no series can be read, since {what} (Image Position and Orientation "
            "Patient, Pixel Spacing); choose a folder of CT or MR slices."
        )
    return found


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


def check_alike(folder: PathLike, slices: Sequence[Slice]) -> None:
    """Refuse slices of different size, spacing or direction, naming the odd ones out."""
    for name, key in (
        ("orientations", lambda item: tuple(np.round(item.orientation, 3))),
        ("pixel spacings", lambda item: tuple(np.round(item.pixel_spacing, 4))),
        ("sizes", lambda item: item.shape),
    ):
        counts = Counter(key(item) for item in slices)
        if len(counts) > 1:
            usual = counts.most_common(1)[0][0]
            odd = sorted({item.path.name for item in slices if key(item) != usual})
            raise ImageReadError(
                f"{folder}: slices of different {name} make no volume; take away the odd ones, "
                f"which may be a localiser: {shorten(odd)}."
            )


def check_places(folder: PathLike, slices: Sequence[Slice]) -> None:
    """Refuse two slices at one place."""
    for first, second in pairwise(slices):
        if second.along - first.along < 1e-3:
            raise ImageReadError(
                f"{folder}: two slices lie at the same place ({first.path.name} frame "
                f"{first.frame} and {second.path.name} frame {second.frame}); the folder holds a "
                "copy or several time points, so keep one of each."
            )


def gaps_between(places: Vector) -> tuple[int, ...]:
    """Return the slices after which one or more are missing, by the usual distance."""
    steps = np.diff(places)
    if len(steps) < 2:
        return ()
    usual = float(np.median(steps))
    return tuple(int(at) for at in np.flatnonzero(steps > 1.5 * usual))


def shorten(names: list[str]) -> str:
    """Return at most five names, and how many more there are."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more

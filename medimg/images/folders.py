"""Folders: `scan` makes a table of anything, `read_series` stacks slices in space to a volume."""

from __future__ import annotations

import hashlib
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images import dicom, files
from medimg.images.dicom import frame_group, number, numbers, text
from medimg.images.files import MAX_PIXELS, Floats, PathLike, Pixels, Refused, refuse, shorten
from medimg.images.reader import open_image
from medimg.progress import tqdm
from medimg.storage import sha256, walk_files

_log = logging.getLogger(__name__)
_COLUMNS = (
    "path", "readable", "reason", "kind", "modality", "rows", "columns", "frames", "syntax",
    "photometric", "patient_id", "burned_in", "pixel_hash", "duplicate_of",
)  # fmt: skip
_NUMBERS = {"rows": "Rows", "columns": "Columns", "frames": "NumberOfFrames"}
_TEXTS = {"modality": "Modality", "photometric": "PhotometricInterpretation",
          "burned_in": "BurnedInAnnotation"}  # fmt: skip
# Of a file with more than that, one frame is decoded, and its bytes as they are give the hash.
_MOST_FRAMES, _MOST_SAMPLES = 10_000, 2**25
_MOST_SLICES = 20_000  # of a file that is part of a series
_Vector = NDArray[np.float64]


def scan(folder: PathLike, *, progress: bool = True, max_pixels: int = MAX_PIXELS) -> pd.DataFrame:
    """Look at every file in a folder and its subfolders.

    Parameters
    ----------
    folder : str or path-like
        Where to look. No file in it can stop the scan.
    progress : bool
        Show a progress bar.
    max_pixels : int
        The largest frame to accept.

    Returns
    -------
    pandas.DataFrame
        One row per file, sorted by path: `path` (str), `readable` (bool), `reason` (why not),
        `kind` ("DICOM", "NIfTI", "PNG", ...), `modality`, `rows`, `columns`, `frames` (slices, in
        NIfTI), `syntax` (the transfer syntax's name), `photometric`, `patient_id` (as the header
        has it: take care), `burned_in` ("YES", "NO" or "" for unstated), `pixel_hash` (SHA-256 of
        shape and stored values of all frames, the same whatever the compression; of a file with
        more than 10,000 frames or 32 million samples, of its bytes) and `duplicate_of` (the path
        of the first file with the same hash).

    Raises
    ------
    ImageReadError
        When `folder` is not a folder.

    Examples
    --------
    >>> import tempfile
    >>> len(scan(tempfile.mkdtemp(), progress=False))
    0
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageReadError(
            f"{folder}: this is not a folder; give one to scan(), or read the file."
        )
    found = walk_files(root, hidden=True)
    shut = {path: f"this folder cannot be listed ({why}); change its permissions (chmod +rx)"
            for path, why in found.unreadable}  # fmt: skip
    paths = sorted([*found.files, *shut], key=Path.as_posix)
    bar = tqdm(paths, desc="scan", unit="file", disable=not progress)
    logger = logging.getLogger("medimg.images")
    with ExitStack() as stack:  # the table tells of every file, so the warnings need not
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        rows = [_row(path, shut.get(path, ""), max_pixels) for path in bar]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    known = table["pixel_hash"] != ""
    first = table[known].groupby("pixel_hash")["path"].transform("first")
    copies = first[first != table.loc[known, "path"]]
    table.loc[copies.index, "duplicate_of"] = copies
    return table


def _row(path: Path, reason: str, max_pixels: int) -> dict[str, Any]:
    """Describe one file as far as it can be read, or a folder that cannot."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row |= {"path": str(path), "rows": 0, "columns": 0, "frames": 0, "reason": reason}
    if not reason:
        try:
            with files.as_image_error(path):
                _describe(path, row, max_pixels)
        except ImageReadError as error:
            row["reason"] = str(error).removeprefix(f"{path}: ")
    row["readable"] = not row["reason"]
    return row


def _describe(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    """Fill in what the header says, then what the frames hold."""
    row["kind"] = files.identify(path)
    if row["kind"] == "DICOM":
        header = dicom.read_header(path)
        syntax = str(getattr(header.file_meta, "TransferSyntaxUID", "")).strip(" \x00")
        row |= {name: int(number(header, tag)) for name, tag in _NUMBERS.items()}
        row |= {name: text(header, tag) for name, tag in _TEXTS.items()}
        row |= {"frames": row["frames"] or 1, "syntax": UID(syntax).name}
        row["patient_id"] = str(header.get("PatientID") or "")
    digest = hashlib.sha256()
    with open_image(path, max_pixels) as opened:
        row |= {"rows": opened.rows, "columns": opened.columns, "frames": opened.frames}
        for frame in opened.read(range(opened.frames)):
            row["photometric"] = row["photometric"] or ("grey" if frame.stored.ndim == 2 else "RGB")
            digest.update(_canonical(frame.stored))
            if opened.frames > max(1, min(_MOST_FRAMES, _MOST_SAMPLES // frame.stored.size)):
                digest.update(sha256(path).encode())
                break
    row["pixel_hash"] = digest.hexdigest()


def _canonical(samples: Pixels) -> bytes:
    """Return bytes that depend on shape and values only, not on how they were stored."""
    code = "<f8" if samples.dtype.kind == "f" else "<i8" if samples.dtype.itemsize > 4 else "<i4"
    if samples.dtype == np.uint32 and samples.max(initial=0) >= 2**31:
        code = "<i8"
    return repr(samples.shape).encode() + np.ascontiguousarray(samples, code).tobytes()


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
    with files.as_image_error(folder):
        root = Path(folder)
        if not root.is_dir() and files.identify(root) == "NIfTI":
            return _nifti_volume(root, max_pixels)
        slices = _choose_series(_find_slices(root), series)
        _check_alike(slices)
        # One orientation for all: a difference in the fourth digit would misplace a slice that
        # lies half a metre from the origin.
        orientation = slices["orientation"].tolist()[0]
        normal = _normal(orientation)
        slices["place"] = [float(normal @ position) for position in slices["position"]]
        slices = slices.sort_values("place", kind="stable", ignore_index=True)
        first, places = slices.iloc[0], slices["place"].to_numpy()
        step = np.median(np.diff(places)) if len(places) > 1 else first.thickness or 1.0
        gaps = _check_placement(folder, slices, normal)
        return Volume(
            _values(slices, max_pixels, progress), (float(step), *first.spacing), places,
            orientation, tuple(first.position.tolist()), gaps, tuple(slices["path"]),
            first.modality,
        )  # fmt: skip


def _normal(orientation: Any) -> _Vector:
    """Return the unit vector across slices of this orientation."""
    across: _Vector = np.cross(orientation[:3], orientation[3:])
    return across / np.linalg.norm(across)


def _nifti_volume(path: Path, max_pixels: int) -> Volume:
    with open_image(path, max_pixels) as opened:
        values = np.empty((opened.frames, opened.rows, opened.columns), np.float32)
        for index, frame in enumerate(opened.read(range(opened.frames))):
            values[index] = frame.values()
    affine: Any = opened.affine
    steps, origin = affine[:3, :3], affine[:3, 3]
    lengths = np.linalg.norm(steps, axis=0)
    orientation = (steps[:, :2] / lengths[:2]).T.ravel()
    way = np.cross(orientation[:3], orientation[3:])
    places = origin @ way + np.arange(len(values)) * (steps[:, 2] @ way)
    return Volume(
        values, (*lengths[::-1].tolist(),), places, tuple(orientation.tolist()),
        tuple(origin.tolist()), files=(path,) * len(values),
    )  # fmt: skip


def _values(slices: pd.DataFrame, max_pixels: int, progress: bool) -> Floats:
    """Read the slices, each file once, and stack them in the order given."""
    values = np.empty((len(slices), *map(int, slices["shape"].tolist()[0])), np.float32)
    with tqdm(total=len(slices), desc="slices", unit="slice", disable=not progress) as bar:
        for path, mine in slices.sort_values("frame").groupby("path", sort=False):
            with open_image(str(path), max_pixels) as opened:
                for place, frame in zip(mine.index, opened.read(mine["frame"]), strict=True):
                    values[place] = frame.values()
            bar.update(len(mine))
    return values


def _find_slices(root: Path) -> pd.DataFrame:
    """Return the placed slices of all DICOM images in a folder, or raise naming what is amiss."""
    listed = walk_files(root, hidden=True) if root.is_dir() else None
    found: list[dict[str, Any]] = []
    unplaced = [path.name for path, _ in listed.unreadable] if listed else []
    volumes: list[str] = []
    for path in sorted(listed.files, key=Path.as_posix) if listed else [root]:
        header, slices = Dataset(), []
        try:
            with files.as_image_error(path):
                kind = files.kind_of(path) if path.is_file() else ""
                volumes += [path.name] if kind == "NIfTI" else []
                if kind != "DICOM":  # PNG and the like have no place in space
                    continue
                with files.Limited(path) as stream:
                    source = dicom.parse(path, stream)
                header = source.dataset
                slices = _slices(path, header) if source.keyword else []
        except ImageReadError:
            _log.info("%s: not a slice that can be read", path)
        if "MOSAIC" in dicom.texts(header, "ImageType"):
            raise ImageReadError(
                f"{path}: this is a Siemens mosaic: all slices of a volume are tiles of one "
                "picture; convert it to NIfTI, for example with dcm2niix, and read that."
            )
        found += slices
        # A report, a DICOMDIR or another thing without pixels is not missed.
        what = getattr(header.get("SOPClassUID"), "name", "Image Storage")
        other = "DirectoryRecordSequence" in header or "Image Storage" not in what
        unplaced += [] if slices or other else [path.name]
    what = "there is no DICOM image in it"
    if unplaced:
        what = "none says where its slice lies (Image Position and Orientation, Pixel Spacing)"
    elif volumes:
        what = f"it holds NIfTI volumes; give the path of one of them ({shorten(volumes)})"
    refuse((not found, f"no series can be read, since {what}; choose a folder of CT or MR slices"))
    if unplaced:
        _log.warning(
            "%s: %d file(s) are damaged or do not say where they lie, and are passed over; if "
            "they are slices, the volume lacks them: %s", root, len(unplaced), shorten(unplaced),
        )  # fmt: skip
    return pd.DataFrame(found)


def _slices(path: Path, header: Dataset) -> list[dict[str, Any]]:
    """Return a file's frames and where the centre of their first pixel lies, in mm (C.7.6.2).

    A file that does not say has none.
    """
    slices: list[dict[str, Any]] = []
    # The frames of an RT Dose lie at offsets from the first (C.8.8.3.2).
    offsets = np.array(numbers(header, "GridFrameOffsetVector"))
    common = {"path": path, "series": text(header, "SeriesInstanceUID"),
              "modality": text(header, "Modality"),
              "shape": (number(header, "Rows"), number(header, "Columns"))}  # fmt: skip
    frames = max(1, int(number(header, "NumberOfFrames")))
    for frame in range(frames if frames <= _MOST_SLICES else 0):
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
        slices.append(common | {
            "frame": frame, "position": position, "orientation": orientation, "spacing": spacing,
            "thickness": number(sized, "SliceThickness"),
        })  # fmt: skip
    return slices


def _choose_series(slices: pd.DataFrame, series: str | None) -> pd.DataFrame:
    """Return the slices of one series, or raise listing the series that there are."""
    groups = {str(name): group for name, group in slices.groupby("series")}
    known = "; ".join(
        f"{name or '(no UID)'}: {group['modality'].tolist()[0] or '?'}, {len(group)} slices"
        for name, group in groups.items()
    )
    wanted = series if series is not None or len(groups) > 1 else next(iter(groups))
    what = f"there is no series {series!r}" if series else "several series are mixed"
    refuse((wanted not in groups, f"{what}; choose one of them with series=, or put each into its "
            f"own folder ({known})"))  # fmt: skip
    return groups[str(wanted)]


def _check_alike(slices: pd.DataFrame) -> None:
    """Refuse slices of another kind, size, spacing or direction, naming the odd ones out."""
    for name, facts, tolerance in (
        ("modalities", pd.factorize(slices["modality"])[0], 0),
        ("orientations", slices["orientation"], 1e-3),
        ("pixel spacings", slices["spacing"], 1e-4),
        ("sizes", slices["shape"], 0),
    ):
        # The median is what most slices have, or nearly so: numbers may hardly differ.
        table = np.array([*facts]).reshape(len(slices), -1)
        usual = np.percentile(table, 50, axis=0, method="linear" if tolerance else "lower")
        odd = (np.abs(table - usual) > tolerance).any(axis=1)
        names = sorted({path.name for path in slices["path"][odd]})
        refuse((names, f"slices of different {name} make no volume; take away the odd ones, which "
                f"may be a localiser: {shorten(names)}"))  # fmt: skip


def _check_placement(folder: PathLike, slices: pd.DataFrame, normal: _Vector) -> tuple[int, ...]:
    """Return the slices, in their order, after which others are missing.

    Two slices at one place are refused; missing, uneven, shifted and sheared ones are logged.
    """
    names, places = [path.name for path in slices["path"]], slices["place"].to_numpy()
    steps = np.diff(places)
    for at in np.flatnonzero(steps < 1e-3)[:1].tolist():
        first, second = (f"{names[n]} frame {slices['frame'][n]}" for n in (at, at + 1))
        raise Refused(
            f"two slices lie at the same place ({first} and {second}); the folder holds a copy or "
            "several time points, so keep one of each"
        )
    if len(slices) < 2:
        return ()
    # Sideways: a tilted gantry moves every slice by the same amount per millimetre, and the median
    # is that of most; a slice off that line may be of another scan.
    way, aside = places - places[0], np.stack(slices["position"].tolist())
    aside = aside - aside[0] - np.outer(way, normal)
    share = np.median(np.diff(aside, axis=0) / steps[:, None], axis=0)
    off = aside - np.outer(way, share)
    off = np.linalg.norm(off - np.median(off, axis=0), axis=1)
    shear = float(np.linalg.norm(share) * way[-1])
    odd = sorted({names[at] for at in np.flatnonzero(off > 0.5)})
    gaps = _gaps(steps, slices["thickness"].to_numpy())
    at = gaps[0] if gaps else 0
    for seen, words in (
        (gaps, f"slices are missing at {len(gaps)} place(s), the first between {names[at]} at "
         f"{places[at]:.1f} mm and {names[at + 1]} at {places[at + 1]:.1f} mm; resampling would "
         "interpolate across"),
        (not gaps and np.ptp(steps) > 0.1 * np.median(steps), f"neighbouring slices lie "
         f"{steps.min():.2f} to {steps.max():.2f} mm apart, as in a series of several zones; "
         "resample by Volume.places before measuring"),
        (shear > 0.01 * way[-1] + 0.1, f"the slices are shifted sideways by {shear:.1f} mm (a "
         "tilted gantry); the volume is sheared by as much"),
        (odd, f"{len(odd)} slice(s) lie up to {off.max():.1f} mm beside the line of the others, "
         f"so they may be of another scan: {shorten(odd)}"),
    ):  # fmt: skip
        if seen:
            _log.warning("%s: %s", folder, words)
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
    missing = (steps > 1.5 * usual) & (steps > covered) & ~in_zone
    return tuple(np.flatnonzero(missing).tolist())

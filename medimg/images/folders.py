"""Folders: `scan` makes a table of anything, `read_series` stacks slices in space to a volume."""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.errors import ImageReadError
from medimg.images import dicom, files
from medimg.images.dicom import frame_group, number, numbers, text
from medimg.images.files import MAX_PIXELS, Floats, PathLike, log, refuse
from medimg.images.reader import open_image
from medimg.progress import tqdm
from medimg.storage import sha256, walk_files

_COLUMNS = (
    "path", "readable", "reason", "kind", "modality", "rows", "columns", "frames", "patient_id",
    "burned_in", "pixel_hash", "duplicate_of",
)  # fmt: skip
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
        NIfTI), `patient_id` (as the header has it: take care), `burned_in` ("YES", "NO" or "" for
        unstated), `pixel_hash` (SHA-256 of shape and stored values of all frames, the same
        whatever the compression; of a file with more than 10,000 frames or 32 million samples, of
        its bytes) and `duplicate_of` (the path of the first file with the same hash).

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
        raise ImageReadError(f"{folder}: this is not a folder; give scan() one, or read the file.")
    found = walk_files(root, hidden=True)
    for path, why in found.unreadable:
        log.warning("%s: this folder cannot be listed (%s); change its permissions", path, why)
    paths = sorted(found.files, key=Path.as_posix)
    bar = tqdm(paths, desc="scan", unit="file", disable=not progress)
    with ExitStack() as stack:  # the table tells of every file, so the warnings need not
        stack.callback(log.setLevel, log.level)
        log.setLevel("ERROR")
        table = pd.DataFrame([_row(path, max_pixels) for path in bar], columns=list(_COLUMNS))
    first = table.groupby("pixel_hash")["path"].transform("first")
    copies = (first != table["path"]) & table["readable"]
    table.loc[copies, "duplicate_of"] = first[copies]
    return table


def _row(path: Path, max_pixels: int) -> dict[str, Any]:
    """Describe one file as far as it can be read."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row |= {"path": str(path), "rows": 0, "columns": 0, "frames": 0}
    try:
        with files.as_image_error(path):
            row["kind"] = files.identify(path)
            if row["kind"] == "DICOM":  # what is known even where the pixels cannot be read
                header = dicom.read_header(path)
                row |= {"modality": text(header, "Modality"),
                        "patient_id": str(header.get("PatientID") or ""),
                        "burned_in": text(header, "BurnedInAnnotation")}  # fmt: skip
            with open_image(path, max_pixels) as opened:
                row |= {"rows": opened.rows, "columns": opened.columns, "frames": opened.frames}
                digest = hashlib.sha256(f"{opened.frames} {opened.rows} {opened.columns}".encode())
                for frame in opened.read(range(opened.frames)):
                    values = frame.stored.astype("<f8", order="C")  # however they are stored
                    digest.update(values.data)
                    if opened.frames > max(1, min(_MOST_FRAMES, _MOST_SAMPLES // values.size)):
                        digest.update(sha256(path).encode())
                        break
            row["pixel_hash"] = digest.hexdigest()
    except ImageReadError as error:
        row["reason"] = str(error).removeprefix(f"{path}: ")
    row["readable"] = not row["reason"]
    return row


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
    files : tuple of Path
        The file of each slice.
    """

    values: Floats = field(repr=False)
    spacing: tuple[float, float, float]
    places: NDArray[np.float64] = field(repr=False)
    orientation: tuple[float, ...] = field(repr=False)
    origin: tuple[float, ...] = field(default=(), repr=False)
    files: tuple[Path, ...] = field(default=(), repr=False)


def read_series(folder: PathLike, *, max_pixels: int = MAX_PIXELS) -> Volume:
    """Read the slices of one CT or MR series, or a NIfTI volume, in their order in space.

    DICOM slices are sorted by their position along the normal of the slices, not by file name or
    instance number, which need not follow the anatomy. Enhanced files count frame by frame. A
    NIfTI volume is turned the way that axial DICOM slices lie, whatever the order of its axes.

    Parameters
    ----------
    folder : str or path-like
        A folder with DICOM slices (subfolders are searched, other files are passed over), one
        DICOM file of several frames, or a NIfTI file (.nii, .nii.gz).
    max_pixels : int
        The largest slice to accept.

    Returns
    -------
    Volume
        Values, spacing in mm, orientation, places and files.

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
        slices = _find_slices(Path(folder), max_pixels)
        _check_alike(slices)
        # One orientation for all: a difference in the fourth digit would misplace a slice that
        # lies half a metre from the origin.
        orientation = slices["orientation"].tolist()[0]
        normal = _normal(orientation)
        slices["place"] = [float(normal @ position) for position in slices["position"]]
        slices = slices.sort_values("place", kind="stable", ignore_index=True)
        first, places = slices.iloc[0], slices["place"].to_numpy()
        step = np.median(np.diff(places)) if len(places) > 1 else first.thickness or 1.0
        _check_placement(folder, slices, normal)
        return Volume(
            _values(slices, max_pixels), (float(step), *first.spacing), places,
            orientation, tuple(first.position.tolist()), tuple(slices["path"]),
        )  # fmt: skip


def _normal(orientation: Any) -> _Vector:
    """Return the unit vector across slices of this orientation."""
    across: _Vector = np.cross(orientation[:3], orientation[3:])
    return across / np.linalg.norm(across)


def _values(slices: pd.DataFrame, max_pixels: int) -> Floats:
    """Read the slices, each file once, and stack them in the order given."""
    values = np.empty((len(slices), *map(int, slices["shape"].tolist()[0])), np.float32)
    for path, mine in slices.sort_values("frame").groupby("path", sort=False):
        with open_image(str(path), max_pixels) as opened:
            for place, frame in zip(mine.index, opened.read(mine["frame"]), strict=True):
                values[place] = frame.values()
    return values


def _find_slices(root: Path, max_pixels: int) -> pd.DataFrame:
    """Return the slices of all that has a place in space, or raise naming what is amiss."""
    listed = walk_files(root, hidden=True) if root.is_dir() else None
    found: list[dict[str, Any]] = []
    passed = [(path.name, why) for path, why in listed.unreadable] if listed else []
    for path in sorted(listed.files, key=Path.as_posix) if listed else [root]:
        try:
            with files.as_image_error(path):
                inside = path != root and path.is_file()
                kind = files.kind_of(path) if inside else files.identify(path)
                if kind == "DICOM":
                    with files.Limited(path) as stream:
                        found += _slices(path, dicom.parse(path, stream))
                elif kind == "NIfTI":
                    found += _nifti_slices(path, max_pixels)
        except ImageReadError as error:
            passed.append((path.name, str(error).removeprefix(f"{path}: ").rstrip(".")))
    why = [why for _, why in passed] or ["there is no DICOM or NIfTI image in it"]
    refuse((not found, f"no series can be read, since {why[0]}; give a folder of slices"))
    if passed:
        log.warning("%s: %d file(s) are passed over; if they are slices, the volume lacks them: %s",
                    root, len(passed), ", ".join(name for name, _ in passed[:5]))  # fmt: skip
    return pd.DataFrame(found)


def _nifti_slices(path: Path, max_pixels: int) -> list[dict[str, Any]]:
    """Return the slices of a NIfTI volume as `_slices` does."""
    with open_image(path, max_pixels) as opened:
        affine: Any = opened.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    columns, rows, thickness = lengths.tolist()
    common = {"path": path, "series": path.name, "modality": "NIfTI",
              "orientation": tuple((affine[:3, :2] / lengths[:2]).T.ravel().tolist()),
              "shape": (opened.rows, opened.columns), "spacing": (rows, columns),
              "thickness": thickness}  # fmt: skip
    return [common | {"frame": frame, "position": affine[:3, 3] + frame * affine[:3, 2]}
            for frame in range(opened.frames)]  # fmt: skip


def _slices(path: Path, source: dicom.OpenDicom) -> list[dict[str, Any]]:
    """Return a file's frames and where the centre of their first pixel lies, in mm (C.7.6.2)."""
    slices: list[dict[str, Any]] = []
    header = source.dataset
    if source.vr is None and "Image Storage" not in dicom.what_it_is(header):
        return []  # such as a report, which is not missed
    refuse(("MOSAIC" in dicom.texts(header, "ImageType"), "this is a Siemens mosaic, whose slices "
            "are tiles of one picture; convert it to NIfTI with dcm2niix"))  # fmt: skip
    # The frames of an RT Dose lie at offsets from the first (C.8.8.3.2).
    offsets = np.array(numbers(header, "GridFrameOffsetVector"))
    common = {"path": path, "series": text(header, "SeriesInstanceUID"),
              "modality": text(header, "Modality"),
              "shape": (number(header, "Rows"), number(header, "Columns"))}  # fmt: skip
    frames = max(1, int(number(header, "NumberOfFrames")))
    refuse((source.vr is None or frames > _MOST_SLICES, "its pixels are missing or damaged"))
    for frame in range(frames):
        placed, turned, sized = (
            frame_group(header, frame, f"{name}Sequence")
            for name in ("PlanePosition", "PlaneOrientation", "PixelMeasures")
        )
        position = np.array(numbers(placed, "ImagePositionPatient"))
        orientation = tuple(numbers(turned, "ImageOrientationPatient"))
        spacing = tuple(numbers(sized, "PixelSpacing"))
        known = (len(position), len(orientation), len(spacing)) == (3, 6, 2) and min(spacing) > 0
        refuse((not known or not np.isfinite(_normal(orientation)).all(), "it does not say where "
                "its slices lie (Image Position and Orientation, Pixel Spacing)"))  # fmt: skip
        if frame < len(offsets):
            position += (offsets[frame] - offsets[0]) * _normal(orientation)
        slices.append(common | {"frame": frame, "position": position, "orientation": orientation,
                                "spacing": spacing,
                                "thickness": number(sized, "SliceThickness")})  # fmt: skip
    return slices


def _check_alike(slices: pd.DataFrame) -> None:
    """Refuse slices of several series, and those of another size, spacing or direction."""
    counts: dict[Any, int] = slices.groupby(["series", "modality"]).size().to_dict()
    known = "; ".join(f"{' '.join(name)}: {count} slices" for name, count in counts.items())
    refuse((len(counts) > 1, f"several series are mixed; put each into its own folder ({known})"))
    for name, tolerance in (("orientation", 1e-3), ("spacing", 1e-4), ("shape", 0)):
        # The median is what most slices have, or nearly so: numbers may hardly differ.
        table = np.array([*slices[name]])
        odd = (np.abs(table - np.median(table, axis=0)) > tolerance).any(axis=1)
        names = sorted({path.name for path in slices["path"][odd]})
        refuse((names, f"slices of another {name} make no volume; take away the {len(names)} odd "
                f"ones, which may be a localiser: {', '.join(names[:5])}"))  # fmt: skip


def _check_placement(folder: PathLike, slices: pd.DataFrame, normal: _Vector) -> None:
    """Refuse two slices, in their order, at one place; warn of uneven and of shifted ones."""
    if len(slices) < 2:
        return
    names = [f"{path.name} frame {at}" for path, at in slices[["path", "frame"]].to_numpy()]
    positions, places = np.stack(slices["position"].tolist()), slices["place"].to_numpy()
    steps = np.diff(places)
    near, far = int(steps.argmin()), int(steps.argmax())
    refuse((steps[near] < 1e-3, f"two slices lie at the same place ({names[near]} and "
            f"{names[near + 1]}): a copy, or several time points; keep one of each"))  # fmt: skip
    if np.ptp(steps) > 0.1 * np.median(steps):
        log.warning("%s: slices lie %.2f to %.2f mm apart, the most after %s: some are missing, or "
                    "the scanner was set to several distances; resample by Volume.places",
                    folder, steps[near], steps[far], names[far])  # fmt: skip
    beside = np.linalg.norm(positions - positions[0] - np.outer(places - places[0], normal), axis=1)
    if beside.max() > 0.01 * np.ptp(places) + 0.1:
        log.warning("%s: %s lies %.1f mm beside the line of the first: a tilted gantry, or another "
                    "scan", folder, names[beside.argmax()], beside.max())  # fmt: skip

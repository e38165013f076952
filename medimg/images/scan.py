"""A table of a folder: what each file is, whether it can be read, and which are copies."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images import dicom, files
from medimg.images.decode import read_layout, stored_frames
from medimg.images.files import MAX_PIXELS, PathLike, Pixels
from medimg.images.nifti import open_nifti
from medimg.images.pictures import picture_frames
from medimg.progress import tqdm

_COLUMNS = (
    "path", "readable", "reason", "kind", "modality", "rows", "columns", "frames", "syntax",
    "photometric", "patient_id", "burned_in", "pixel_hash", "duplicate_of",
)  # fmt: skip
# Of a file with more than that, one frame is decoded, and its bytes as they are give the hash.
_MOST_FRAMES, _MOST_SAMPLES = 10_000, 2**25


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
    paths = sorted(path for path in root.rglob("*") if not path.is_dir())
    bar = tqdm(paths, desc="scan", unit="file", disable=not progress)
    with _quiet():
        table = pd.DataFrame([_row(path, max_pixels) for path in bar], columns=list(_COLUMNS))
    known = table["pixel_hash"] != ""
    first = table[known].groupby("pixel_hash")["path"].transform("first")
    copies = first[first != table.loc[known, "path"]]
    table.loc[copies.index, "duplicate_of"] = copies
    return table


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back this package's warnings, since the table tells of every file by itself."""
    logger = logging.getLogger("medimg.images")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _row(path: Path, max_pixels: int) -> dict[str, Any]:
    """Describe one file as far as it can be read."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS, "")
    row |= {"path": str(path), "readable": False, "rows": 0, "columns": 0, "frames": 0}
    try:
        with files.as_image_error(path):
            files.check_file(path)
            row["kind"] = files.require_kind(path)
            describe = {"DICOM": _describe_dicom, "NIfTI": _describe_nifti}
            describe.get(row["kind"], _describe_picture)(path, row, max_pixels)
            row["readable"] = True
    except ImageReadError as error:
        row["reason"] = str(error).removeprefix(f"{path}: ")
    return row


def _describe_dicom(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    with open(path, "rb") as stream:
        source = dicom.parse(path, stream)
        header = source.dataset
        row |= {
            "modality": dicom.text(header, "Modality"),
            "rows": dicom.integer(header, "Rows") or 0,
            "columns": dicom.integer(header, "Columns") or 0,
            "frames": dicom.integer(header, "NumberOfFrames") or 1,
            "syntax": UID(source.syntax).name,
            "photometric": dicom.text(header, "PhotometricInterpretation"),
            "patient_id": str(header.get("PatientID") or ""),
            "burned_in": dicom.text(header, "BurnedInAnnotation"),
        }
        layout = read_layout(source, max_pixels)
        large = _is_large(layout.frames, layout.rows * layout.columns * layout.samples)
        digest = hashlib.sha256()
        for stored, _ in stored_frames(source, layout, range(1 if large else layout.frames)):
            digest.update(_canonical(stored))
        if large:
            source.stream.seek(source.start)
            _add_bytes(digest, source.stream)
        row["pixel_hash"] = digest.hexdigest()


def _describe_nifti(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    volume = open_nifti(path)
    frames, rows, columns = volume.voxels.shape
    row |= {"rows": rows, "columns": columns, "frames": frames, "photometric": "grey"}
    files.check_size(path, rows, columns, max_pixels)
    digest = hashlib.sha256(repr((volume.slope, volume.intercept)).encode())
    if _is_large(frames, rows * columns):
        with open(path, "rb") as stream:
            _add_bytes(digest, stream)
    else:
        for plane in volume.voxels:
            digest.update(_canonical(plane))
    row["pixel_hash"] = digest.hexdigest()


def _describe_picture(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    digest = hashlib.sha256()
    with closing(picture_frames(path, row["kind"], max_pixels=max_pixels)) as pages:
        for page, (frames, samples) in enumerate(pages):
            if not page:
                row |= {"rows": samples.shape[0], "columns": samples.shape[1], "frames": frames}
                row["photometric"] = "RGB" if samples.ndim == 3 else "grey"
            digest.update(_canonical(samples))
            if _is_large(frames, samples.size):
                with open(path, "rb") as stream:
                    _add_bytes(digest, stream)
                break
    row["pixel_hash"] = digest.hexdigest()


def _is_large(frames: int, samples: int) -> bool:
    return frames > 1 and (frames > _MOST_FRAMES or frames * samples > _MOST_SAMPLES)


def _canonical(samples: Pixels) -> bytes:
    """Return bytes that depend on shape and values only, not on how they were stored."""
    kind = "<f8" if samples.dtype.kind == "f" else "<i8" if samples.dtype.itemsize > 4 else "<i4"
    if samples.dtype == np.uint32:
        kind = "<i8" if samples.max(initial=0) >= 2**31 else "<i4"
    return repr(samples.shape).encode() + np.ascontiguousarray(samples, kind).tobytes()


def _add_bytes(digest: Any, stream: BinaryIO) -> None:
    while block := stream.read(2**20):
        digest.update(block)

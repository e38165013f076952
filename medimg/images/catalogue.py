"""A table of a folder: what each file is, whether it can be read, and which are copies."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg.errors import ImageReadError
from medimg.images.checks import quiet
from medimg.images.files import PathLike, Pixels, as_image_error, check_file, require_kind
from medimg.images.header import open_dicom
from medimg.images.raster import picture_frames
from medimg.images.stored import stored_pixels
from medimg.images.tags import integer, text
from medimg.images.values import MAX_PIXELS
from medimg.progress import tqdm

COLUMNS = (
    "path", "readable", "reason", "kind", "modality", "rows", "columns", "frames", "syntax",
    "photometric", "patient_id", "burned_in", "pixel_hash", "duplicate_of",
)  # fmt: skip


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
        One row a file, sorted by path: `path` (str), `readable` (bool), `reason` (why not),
        `kind` ("DICOM", "PNG", ...), `modality`, `rows`, `columns`, `frames`, `syntax` (the
        transfer syntax's name), `photometric`, `patient_id` (as the header has it: take care),
        `burned_in` ("YES", "NO" or "" for unstated), `pixel_hash` (SHA-256 of shape and stored
        values of all frames, the same whatever the compression) and `duplicate_of` (the path of
        the first file with the same pixels).

    Raises
    ------
    ImageReadError
        When `folder` is no folder.

    Examples
    --------
    >>> import tempfile
    >>> len(scan(tempfile.mkdtemp(), progress=False))
    0
    """
    root = Path(folder)
    if not root.is_dir():
        raise ImageReadError(f"{folder}: this is no folder; give one to scan(), or read the file.")
    paths = sorted(path for path in root.rglob("*") if not path.is_dir())
    bar = tqdm(paths, desc="scan", unit="file", disable=not progress)
    with quiet():
        table = pd.DataFrame([_row(path, max_pixels) for path in bar], columns=list(COLUMNS))
    return _with_duplicates(table)


def _row(path: Path, max_pixels: int) -> dict[str, Any]:
    """Describe one file as far as it can be read."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"path": str(path), "readable": False, "rows": 0, "columns": 0, "frames": 0}
    try:
        with as_image_error(path):
            check_file(path)
            row["kind"] = require_kind(path)
            describe = _describe_dicom if row["kind"] == "DICOM" else _describe_picture
            describe(path, row, max_pixels)
            row["readable"] = True
    except ImageReadError as error:
        row["reason"] = str(error).removeprefix(f"{path}: ")
    return row


def _describe_dicom(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    with open(path, "rb") as stream:
        source = open_dicom(path, stream)
        header = source.dataset
        row |= {
            "modality": text(header, "Modality"),
            "rows": integer(header, "Rows") or 0,
            "columns": integer(header, "Columns") or 0,
            "frames": integer(header, "NumberOfFrames") or 1,
            "syntax": source.syntax.name,
            "photometric": text(header, "PhotometricInterpretation"),
            "patient_id": str(header.get("PatientID") or ""),
            "burned_in": text(header, "BurnedInAnnotation"),
        }
        digest = hashlib.sha256()
        frame, frames = 0, 1
        while frame < frames:
            stored, layout, _ = stored_pixels(source, frame=frame, max_pixels=max_pixels)
            digest.update(_canonical(stored))
            frame, frames = frame + 1, layout.frames
        row["pixel_hash"] = digest.hexdigest()


def _describe_picture(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    digest = hashlib.sha256()
    with closing(picture_frames(path, row["kind"], max_pixels=max_pixels)) as frames:
        for frame, samples in enumerate(frames):
            if not frame:
                row |= {"rows": samples.shape[0], "columns": samples.shape[1]}
                row["photometric"] = "RGB" if samples.ndim == 3 else "grey"
            row["frames"] = frame + 1
            digest.update(_canonical(samples))
    row["pixel_hash"] = digest.hexdigest()


def _canonical(samples: Pixels) -> bytes:
    """Return bytes that depend on shape and values only, not on how they were stored."""
    kind = "<f8" if samples.dtype.kind == "f" else "<i8" if samples.dtype.itemsize > 4 else "<i4"
    if samples.dtype == np.uint32:
        kind = "<i8" if samples.max(initial=0) >= 2**31 else "<i4"
    return repr(samples.shape).encode() + np.ascontiguousarray(samples, kind).tobytes()


def _with_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Fill `duplicate_of` with the first path of the same pixel hash."""
    known = table["pixel_hash"] != ""
    first = table[known].groupby("pixel_hash")["path"].transform("first")
    copies = first[first != table.loc[known, "path"]]
    table.loc[copies.index, "duplicate_of"] = copies
    return table

"""A table of a folder: what each file is, whether it can be read, and which are copies."""

from __future__ import annotations

import hashlib
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images import dicom, files
from medimg.images.files import MAX_PIXELS, PathLike, Pixels
from medimg.images.reader import open_image
from medimg.progress import tqdm
from medimg.storage import sha256, walk_files

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
    row |= {"path": str(path), "readable": False, "rows": 0, "columns": 0, "frames": 0}
    row["reason"] = reason
    if not reason:
        try:
            with files.as_image_error(path):
                _describe(path, row, max_pixels)
            row["readable"] = True
        except ImageReadError as error:
            row["reason"] = str(error).removeprefix(f"{path}: ")
    return row


def _describe(path: Path, row: dict[str, Any], max_pixels: int) -> None:
    """Fill in what the header says, then what the frames hold."""
    row["kind"] = files.identify(path)
    if row["kind"] == "DICOM":
        header = dicom.read_header(path)
        syntax = str(getattr(header.file_meta, "TransferSyntaxUID", "")).strip(" \x00")
        row |= {
            "modality": dicom.text(header, "Modality"),
            "rows": dicom.integer(header, "Rows"),
            "columns": dicom.integer(header, "Columns"),
            "frames": dicom.integer(header, "NumberOfFrames", 1) or 1,
            "syntax": UID(syntax).name,
            "photometric": dicom.text(header, "PhotometricInterpretation"),
            "patient_id": str(header.get("PatientID") or ""),
            "burned_in": dicom.text(header, "BurnedInAnnotation"),
        }
    digest, most = hashlib.sha256(), _MOST_FRAMES
    with open_image(path, max_pixels) as opened:
        row |= {"rows": opened.rows, "columns": opened.columns, "frames": opened.frames}
        for frame in opened.read(range(opened.frames)):
            row["photometric"] = row["photometric"] or ("grey" if frame.stored.ndim == 2 else "RGB")
            digest.update(_canonical(frame.stored))
            most = min(_MOST_FRAMES, _MOST_SAMPLES // frame.stored.size)
            if opened.frames > max(most, 1):
                digest.update(sha256(path).encode())
                break
    row["pixel_hash"] = digest.hexdigest()


def _canonical(samples: Pixels) -> bytes:
    """Return bytes that depend on shape and values only, not on how they were stored."""
    code = "<f8" if samples.dtype.kind == "f" else "<i8" if samples.dtype.itemsize > 4 else "<i4"
    if samples.dtype == np.uint32 and samples.max(initial=0) >= 2**31:
        code = "<i8"
    return repr(samples.shape).encode() + np.ascontiguousarray(samples, code).tobytes()

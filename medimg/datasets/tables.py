"""Study tables: read from CSV, and checked once."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medimg.errors import StudyTableError

logger = logging.getLogger(__name__)

COLUMNS = ("image_id", "path", "label", "split", "patient_id")
_TEXT = ("image_id", "patient_id", "label")
SPLITS = ("train", "val", "test")
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"}
SUFFIXES = {*PICTURES, ".dcm", ".dicom", ".ima"}


def image_ids(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return a name for each file: its path without the suffix.

    Only the suffix of a known format is one: a DICOM file named by its UID ends in a number. Where
    two files would get the same name, both keep their suffix.

    Parameters
    ----------
    paths : iterable of path-like
        Of the files, all relative to one folder.

    Returns
    -------
    list of str
        One name a file.

    Examples
    --------
    >>> image_ids(["ill/a.png", "1.2.840.7", "b.png", "b.dcm"])
    ['ill/a', '1.2.840.7', 'b.png', 'b.dcm']
    """
    files = [Path(path) for path in paths]
    whole = [file.as_posix() for file in files]
    short = [
        file.with_suffix("").as_posix() if file.suffix.lower() in SUFFIXES else name
        for file, name in zip(files, whole, strict=True)
    ]
    pairs = list(zip(short, whole, strict=True))
    taken = Counter(short) + Counter({name for brief, name in pairs if brief != name})
    return [brief if taken[brief] == 1 else name for brief, name in pairs]


def from_csv(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a study table from a CSV file.

    Parameters
    ----------
    path : path-like
        A file with at least the columns ``path`` and ``label``. ``image_id`` defaults to the
        path without its suffix, ``split`` to "", ``patient_id`` to the image. Relative paths
        are taken from the folder of the CSV file. All other columns are kept; those whose name
        ends in ``_path`` are made absolute too.

    Returns
    -------
    DataFrame
        A study table in the order of the file.

    Raises
    ------
    StudyTableError
        If the file is missing or malformed, a column is missing, or :func:`check_studies` objects.
    """
    path = Path(path).expanduser()
    try:
        studies = pd.read_csv(path, low_memory=False)
        # Read again as they stand: 007 is no number, "None" and "NA" are labels, not missing.
        named = pd.read_csv(path, usecols=_TEXT.__contains__, dtype=str, keep_default_na=False)
        studies[named.columns] = named
    except FileNotFoundError as error:
        raise StudyTableError(f"{path}: no such file; give a CSV study table.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise StudyTableError(
            f"{path}: this is no CSV table ({error}); expected a header line with at least "
            "'path' and 'label'."
        ) from error
    for column in ("path", "label"):
        if column not in studies:
            raise StudyTableError(
                f"{path}: the column '{column}' is missing; found {', '.join(studies.columns)}; "
                "a study table needs at least 'path' and 'label'."
            )
    if "image_id" not in studies:
        studies["image_id"] = image_ids(studies["path"].astype(str))
    base = path.resolve().parent
    for column in ["path", *[c for c in studies.columns if c.endswith("_path")]]:
        studies[column] = [str(base / str(p)) if pd.notna(p) else "" for p in studies[column]]
    if "split" not in studies:
        studies["split"] = ""
    if "patient_id" not in studies:
        logger.warning("%s: no column 'patient_id', so each image counts as a patient.", path)
        studies["patient_id"] = studies["image_id"]
    studies["split"] = studies["split"].fillna("")
    return check_studies(studies, name=str(path))


def require_columns(
    studies: pd.DataFrame, columns: Iterable[str], *, name: str = "study table"
) -> None:
    """Raise a StudyTableError that names the columns which a table lacks."""
    missing = [c for c in columns if c not in studies]
    if missing:
        raise StudyTableError(
            f"{name}: missing column(s) {', '.join(missing)}; expected {', '.join(columns)}, as "
            "load(), from_folder() and from_csv() make them."
        )


def check_studies(studies: pd.DataFrame, *, name: str = "study table") -> pd.DataFrame:
    """Check a study table and return it with its five columns first.

    Parameters
    ----------
    studies : DataFrame
        The table to check.
    name : str
        What to call it in an error.

    Returns
    -------
    DataFrame
        The same rows, ``image_id, path, label, split, patient_id`` first, a fresh index.

    Raises
    ------
    StudyTableError
        For a missing column, no rows, an empty label, path or patient, an image listed twice, an
        unknown split, or a patient who is in more than one split.
    """
    require_columns(studies, COLUMNS, name=name)
    if studies.empty:
        raise StudyTableError(f"{name}: it has no rows; expected one row for each image.")
    for column in ("path", "label", "patient_id"):
        empty = studies[column].isna() | (studies[column].astype(str) == "")
        if empty.any():
            raise StudyTableError(
                f"{name}: '{column}' is empty in row {int(empty.to_numpy().argmax()) + 1}; "
                "fill it in or leave the row out."
            )
    twice = studies["image_id"].duplicated()
    if twice.any():
        raise StudyTableError(
            f"{name}: image_id '{studies['image_id'][twice].iloc[0]}' stands in two rows; "
            "each image needs an id of its own."
        )
    unknown = sorted(set(studies["split"]) - {*SPLITS, ""})
    if unknown:
        raise StudyTableError(
            f"{name}: unknown split '{unknown[0]}'; expected train, val, test or nothing."
        )
    homes = studies[studies["split"] != ""].groupby("patient_id")["split"].nunique()
    if (homes > 1).any():
        raise StudyTableError(
            f"{name}: patient '{homes[homes > 1].index[0]}' is in more than one split, so the test "
            "would not be of unseen patients; put each patient in one, or use split_by_patient."
        )
    rest = [c for c in studies.columns if c not in COLUMNS]
    return studies[[*COLUMNS, *rest]].reset_index(drop=True)

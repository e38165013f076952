"""Make study tables from folders and CSV files, and check them once."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pandas as pd

from medimg.errors import ImageReadError, StudyTableError
from medimg.images import is_image_file, read_header

logger = logging.getLogger(__name__)

COLUMNS = ("image_id", "path", "label", "split", "patient_id")
SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_HEALTHY = ("normal", "healthy", "clear", "no_lesion", "none", "negative", "control", "notumor",
            "no_tumor", "no finding", "no_finding", "0")  # fmt: skip
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".bmp"}


def class_names(studies: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels of a study table, the healthy class first.

    The order decides what "positive" means, so it must not hang on the alphabet: a name that
    the field uses for "nothing found" comes first, the others follow in alphabetical order.

    Parameters
    ----------
    studies : DataFrame
        A study table.

    Returns
    -------
    tuple of str
        K class names; index 0 is the healthy class where there is one.

    Examples
    --------
    >>> class_names(pd.DataFrame({"label": ["glioma", "notumor", "meningioma"]}))
    ('notumor', 'glioma', 'meningioma')
    """
    names = sorted({str(label) for label in studies["label"]})
    return tuple(sorted(names, key=lambda name: (name.lower() not in _HEALTHY, name)))


def from_folder(
    root: str | os.PathLike[str], *, patient_pattern: str | None = None
) -> pd.DataFrame:
    """Make a study table from ``ROOT/{split}/{class}/*`` or ``ROOT/{class}/*``.

    Parameters
    ----------
    root : path-like
        A folder of class folders, or of split folders (train, val, test) of class folders.
    patient_pattern : str, optional
        A regular expression searched in each file name; its first group, or else the whole
        match, is the patient. Without it, a DICOM file's Patient ID is used, and any other
        image counts as a patient of its own (a warning says so, because images of one patient
        may then be torn apart by a split).

    Returns
    -------
    DataFrame
        A study table, sorted by path; ``split`` is "" when the folder has no splits.

    Raises
    ------
    StudyTableError
        If the folder is missing, has no class folders, or a class folder has no images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise StudyTableError(
            f"{root}: no such folder; give a folder laid out as ROOT/{{split}}/{{class}}/* or "
            "ROOT/{class}/*, or a CSV study table."
        )
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    split_folders = [p for p in folders if p.name.lower() in _SPLIT_NAMES]
    rows: list[dict[str, str]] = []
    for parent in split_folders or [root]:
        split = _SPLIT_NAMES.get(parent.name.lower(), "") if split_folders else ""
        class_folders = sorted(
            p for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")
        )
        if not class_folders:
            raise StudyTableError(
                f"{parent}: no class folders; expected one folder for each class, such as "
                f"{parent.name}/normal and {parent.name}/pneumonia."
            )
        for folder in class_folders:
            rows += _rows_of_class(folder, root=root, split=split)
    return _finish(rows, patient_pattern)


def _rows_of_class(folder: Path, *, root: Path, split: str) -> list[dict[str, str]]:
    """Return one row for each image below a class folder."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    images = [p for p in files if p.suffix.lower() in _SUFFIXES or is_image_file(p)]
    if not images:
        raise StudyTableError(
            f"{folder}: the class '{folder.name}' has no images; put PNG, JPEG, TIFF or DICOM "
            "files there, or remove the folder."
        )
    if len(images) < len(files):
        logger.info("%s: left out %d files that are no images", folder, len(files) - len(images))
    return [
        {
            "image_id": path.relative_to(root).with_suffix("").as_posix(),
            "path": str(path.resolve()),
            "label": folder.name,
            "split": split,
        }
        for path in images
    ]


def _finish(rows: list[dict[str, str]], pattern: str | None) -> pd.DataFrame:
    """Add the patients and check the table."""
    studies = pd.DataFrame(rows)
    if pattern is not None:
        expression = re.compile(pattern)
        studies["patient_id"] = [_patient_by_name(Path(p), expression) for p in studies["path"]]
    else:
        studies["patient_id"] = [
            _patient_in_header(Path(p)) or i
            for p, i in zip(studies["path"], studies["image_id"], strict=True)
        ]
        if (studies["patient_id"] == studies["image_id"]).all() and len(studies) > 1:
            logger.warning(
                "No patient is known for these images, so each counts as a patient of its own; "
                "give patient_pattern if the file names tell the patient."
            )
    return check_studies(studies)


def _patient_by_name(path: Path, expression: re.Pattern[str]) -> str:
    match = expression.search(path.name)
    if match is None:
        raise StudyTableError(
            f"{path}: the patient pattern '{expression.pattern}' does not match this file name; "
            "correct the pattern or the name."
        )
    return match.group(1) if match.groups() else match.group(0)


def _patient_in_header(path: Path) -> str | None:
    """Return the Patient ID of a DICOM file; None for other or unreadable files."""
    if path.suffix.lower() not in {".dcm", ".dicom", ""}:
        return None
    try:
        return str(read_header(path).get("PatientID", "")) or None
    except ImageReadError:
        return None  # decode() will name the file and its fault


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
        studies = pd.read_csv(path, dtype={"image_id": str, "patient_id": str, "label": str},
                              keep_default_na=True)  # fmt: skip
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
        studies["image_id"] = [Path(str(p)).with_suffix("").as_posix() for p in studies["path"]]
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
    missing = [c for c in COLUMNS if c not in studies]
    if missing:
        raise StudyTableError(f"{name}: missing column(s) {', '.join(missing)}; expected {COLUMNS}")
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

"""Study tables of folders: which images there are, of which class, split and patient."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from medimg.datasets.tables import PICTURES, SUFFIXES, check_studies, image_ids
from medimg.errors import ImageReadError, StudyTableError
from medimg.images import is_image_file, read_header

logger = logging.getLogger(__name__)

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


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
    studies = list_images(root)
    if patient_pattern is not None:
        studies["patient_id"] = patients_by_name(studies["path"], patient_pattern)
        return check_studies(studies)
    studies["patient_id"] = [
        _patient_in_header(Path(path)) or image_id
        for path, image_id in zip(studies["path"], studies["image_id"], strict=True)
    ]
    if (studies["patient_id"] == studies["image_id"]).all() and len(studies) > 1:
        logger.warning(
            "No patient is known for these images, so each counts as a patient of its own; "
            "give patient_pattern if the file names tell the patient."
        )
    return check_studies(studies)


def list_images(root: str | os.PathLike[str]) -> pd.DataFrame:
    """List the images of a folder of classes: ``image_id, path, label, split``, no patients yet.

    See :func:`from_folder` for the layout and the errors.
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
    return pd.DataFrame(rows)


def _rows_of_class(folder: Path, *, root: Path, split: str) -> list[dict[str, str]]:
    """Return one row for each image below a class folder."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    images = [p for p in files if p.suffix.lower() in SUFFIXES or is_image_file(p)]
    if not images:
        raise StudyTableError(
            f"{folder}: the class '{folder.name}' has no images; put PNG, JPEG, TIFF or DICOM "
            "files there, or remove the folder."
        )
    if len(images) < len(files):
        logger.info("%s: left out %d files that are no images", folder, len(files) - len(images))
    return [
        {
            "image_id": image_id,
            "path": str(path.resolve()),
            "label": folder.name,
            "split": split,
        }
        for path, image_id in zip(
            images, image_ids(p.relative_to(root) for p in images), strict=True
        )
    ]


def patients_by_name(paths: Iterable[str], pattern: str) -> list[str]:
    """Return the patient of each file: the pattern's first group, or else its whole match."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise StudyTableError(
            f"the patient pattern '{pattern}' is no regular expression ({error}); one such as "
            "'(person\\d+)_' finds the patient in a file name."
        ) from error
    patients = []
    for path in paths:
        match = expression.search(Path(path).name)
        if match is None:
            raise StudyTableError(
                f"{path}: the patient pattern '{pattern}' does not match this file name; "
                "correct the pattern or the name."
            )
        patients.append(match.group(1) if match.groups() else match.group(0))
    return patients


def _patient_in_header(path: Path) -> str | None:
    """Return the Patient ID of a DICOM file, whatever its name; None for other files."""
    if path.suffix.lower() in PICTURES:
        return None
    try:
        return str(read_header(path).get("PatientID", "")) or None
    except ImageReadError:
        return None  # decode() will name the file and its fault

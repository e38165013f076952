"""Study tables read from CSV, with whatever columns they have."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.datasets.checks import COLUMNS, check_studies, note, plain_labels
from medimg.datasets.names import WORDS, natural, plain, split_word
from medimg.errors import StudyTableError
from medimg.storage import walk_files
from medimg.tables import unguarded

SUFFIX = re.compile(r"\.(png|jpe?g|tiff?|bmp|gif|webp|jp2|nii(\.gz)?|dcm|dicom|ima)$", re.I)
Text = dict[str, "pd.Series[str]"]
_ROLES = {"path": "path", "label": "label", "split": "split", "patient": "patient_id"}
_NAME_THEM = "name yours (--path-column, --label-column), or a finding (--positive)"
_FLAGS = {"", "0", "1", "-1", "0.0", "1.0", "-1.0"}
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>")
_MASK = re.compile("|".join(WORDS["mask"].values()), re.IGNORECASE)


def is_mask(relative: Path) -> bool:
    """Return whether a file is a mask by its name or by a folder above it.

    Examples
    --------
    >>> is_mask(Path("COVID/masks/1.png")), is_mask(Path("b/BraTS_1_seg.nii.gz"))
    (True, True)
    """
    return bool(_MASK.search(relative.as_posix()))


def image_ids(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return a name for each file: its path without the suffix.

    Only the suffix of a known format is one: a DICOM file named by its UID ends in a number. Where
    two files would get the same name, both keep their suffix.

    Parameters
    ----------
    paths : iterable of path-like
        Files, all relative to one folder.

    Returns
    -------
    list of str
        One name per file.

    Examples
    --------
    >>> image_ids(["ill/a.png", "1.2.840.7", "b.png", "b.dcm", "c.nii.gz"])
    ['ill/a', '1.2.840.7', 'b.png', 'b.dcm', 'c']
    """
    whole = [Path(path).as_posix() for path in paths]
    short = [SUFFIX.sub("", name) for name in whole]
    taken = Counter(short + whole)
    return [brief if taken[brief] == 1 else name for brief, name in zip(short, whole, strict=True)]


def from_csv(
    path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None,
    image_dir: str | os.PathLike[str] | None = None, positive: str | None = None,
    uncertain: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Read a study table from a CSV file.

    Parameters
    ----------
    path : path-like
        A UTF-8 file with a header line, its fields separated by comma, semicolon or tab. It must
        have a column of paths and one of labels. ``split`` defaults to "", and without patients
        each image counts as one (its ``patient_id`` is its ``image_id``). All other columns that
        have a name are kept; those whose name ends in ``_path`` are made absolute too.
    columns : mapping, optional
        The columns for "path", "label", "patient" and "split", such as ``{"label": "dx"}``. Where
        it says nothing, the names that public tables use are looked for, and the choice is noted.
    image_dir : path-like, optional
        Where the images lie; by default beside the table. A path that does not lead to a file is
        looked for by its name, with or without a suffix, in this folder and its sub-folders.
    positive : str, optional
        One finding: of several in a cell (``Effusion|Infiltration``), or the column that holds it
        as 1 or 0, or one class of several. The labels become the finding and "no" finding.
    uncertain : {"ignore", "positive", "negative"}, optional
        What becomes of the label -1 ("uncertain" in CheXpert).

    Returns
    -------
    DataFrame
        A study table in the order of the file.

    Raises
    ------
    StudyTableError
        If the file is missing or malformed, two columns have one name, a column is missing or could
        be one of several, a path is a folder or leads to two files, or :func:`check_studies`
        objects.
    """
    path = Path(path).expanduser()
    text, notes = _read(path), list[str]()
    roles = _roles(text, columns or {}, path, notes)
    label = _label(text, roles, positive, path, notes)
    text |= {role: text[column] for role, column in roles.items()} | {"label": label}
    folder = Path(image_dir or path.parent).expanduser().resolve()
    studies = pd.DataFrame({"split": "", "image_id": image_ids(text["path"]), **text})
    studies["path"] = _locate(text["path"], folder, path, notes)
    if "patient_id" not in studies:
        studies["patient_id"] = patients_by_publisher(studies["path"], notes) or studies["image_id"]
    for column in set(text) - set(COLUMNS):
        studies[column] = _typed(text[column])
        if column.endswith("_path"):
            studies[column] = [str(path.resolve().parent / v) if v else "" for v in text[column]]
    # One row per box, as in RSNA's tables.
    if {"x", "y", "width", "height"} <= set(map(plain, text)):
        rows, studies = len(studies), studies.drop_duplicates(["path", "label"])
        notes += [f"{rows} rows with one box each joined to {len(studies)} images"]
    studies = choose_finding(note(studies, *notes), positive, uncertain, name=str(path))
    return check_studies(studies, name=str(path))


def _read(path: Path) -> Text:
    """Return a CSV file as text, as it stands: 007 is not a number, "None" and "NA" are labels."""
    read: Any = partial(
        pd.read_csv, path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig",
        skipinitialspace=True,
    )  # fmt: skip
    try:
        sep = max(",;\t", key=lambda sep: read(sep=sep, nrows=1).size)
        rows = unguarded(read(sep=sep)).fillna("").map(str.strip)
    except Exception as error:  # of pandas, or of any library that unpacks
        why = " ".join(str(error).split())
        raise StudyTableError(f"{path}: cannot be read as a CSV table in UTF-8 ({why}).") from error
    header, rows = rows.iloc[0], rows.iloc[1:].reset_index(drop=True)
    bare = header.str.replace(r"\s", "", regex=True).str.casefold()
    if alike := ", ".join(map(repr, header[bare.duplicated(keep=False) & (bare != "")])):
        what = f"the columns {alike} have one name (blanks and capitals do not count)"
        raise StudyTableError(f"{path}: {what}; rename or remove all but one of them.")
    return {name: rows[column] for column, name in header.items() if name}


def _typed(values: "pd.Series[str]") -> "pd.Series[Any]":
    """Return numbers where all values are and none would lose a leading zero, else text."""
    if set(values) <= {"True", "False"}:
        return values == "True"
    known = values.mask(values.isin(_MISSING))
    numbers = pd.to_numeric(known.mask(known.str.match(r"[+-]?0\d", na=False)), errors="coerce")
    return numbers if numbers.notna().equals(known.notna()) else known


def _roles(text: Text, given: Mapping[str, str], path: Path, notes: list[str]) -> dict[str, str]:
    """Return which column is the path, label, split and patient: as given, or by its name."""
    found = ", ".join(text)
    for wrong in [*(set(given) - set(_ROLES)), *(c for c in given.values() if c not in text)]:
        raise StudyTableError(f"{path}: no column '{wrong}'; the table has {found}.")
    roles: dict[str, str] = {}
    for role, name in _ROLES.items():
        here = [c for word in WORDS[f"{role} column"] for c in text if plain(c) == word]
        if role == "split":
            here = [c for c in here if any(map(split_word, text[c]))]
        if given.get(role, name) in text:
            roles[name] = given.get(role, name)
        elif role == "label" and len(here) > 1:
            what = f"the columns {', '.join(here)} may all be the label"
            raise StudyTableError(f"{path}: {what}; {_NAME_THEM}.")
        elif here:
            roles[name] = here[0]
            notes.append(f"column '{here[0]}' read as {role}")
    if "path" not in roles:
        raise StudyTableError(f"{path}: the column 'path' is missing; found {found}; {_NAME_THEM}.")
    return roles


def _label(
    text: Text, roles: dict[str, str], positive: str | None, path: Path, notes: list[str]
) -> "pd.Series[str]":
    """Return the column of one finding, the one of labels, or the names of columns with a 1."""
    if positive in text and set(text[positive]) <= _FLAGS:
        blank = int((text[positive] == "").sum())
        notes += [f"{blank} blank cells of '{positive}' read as not present"] if blank else []
        return text[positive].replace("", "0")
    if "label" in roles:
        return text[roles["label"]]
    flags = [c for c in text if c not in roles.values() and set(text[c]) <= _FLAGS]
    ones = pd.DataFrame({c: text[c].isin(("1", "1.0")) for c in flags})
    if len(flags) > 1 and (ones.sum(axis=1) == 1).all():
        notes.append(f"label read from the columns {', '.join(flags)}")
        return ones.idxmax(axis=1).astype(str)
    found = ", ".join(text)
    raise StudyTableError(f"{path}: the column 'label' is missing; found {found}; {_NAME_THEM}.")


def _locate(values: "pd.Series[str]", folder: Path, table: Path, notes: list[str]) -> list[str]:
    """Return the file that each path leads to; one that leads nowhere stays as it stands."""
    places = {value: _existing(value, folder) for value in values}
    lost = {v for v, place in places.items() if v and not place and not re.search(r"[/\\]", v)}
    for file in walk_files(folder).files if lost else ():
        if SUFFIX.search(file.name) and not is_mask(file.relative_to(folder)):
            for name in lost & {file.name, SUFFIX.sub("", file.name)}:
                places[name].append(file)
    by_name = sum(bool(places[name]) for name in lost)
    notes += [f"{by_name} images found by their name below {folder}"] if by_name else []
    for value, found in places.items():
        if len(found) > 1 or any(map(Path.is_dir, found)):
            what = f"'{value}' leads to {' and to '.join(map(str, found[:2]))}"
            raise StudyTableError(f"{table}: {what}; write the path of one file.")
    return [str([*places[value], folder / value][0]) if value else "" for value in values]


def _existing(value: str, folder: Path) -> list[Path]:
    """Return the file or folder of this path: as it stands, by Windows' rule, or below `folder`."""
    name = os.path.expanduser(value)
    parts = name.replace("\\", "/").split("/")
    below = [folder.joinpath(*parts[k:]) for k in range(len(parts) - 1)]
    return list(filter(os.path.exists, [folder / name, *below]))[: bool(value)]


def patients_by_publisher(paths: Iterable[str], notes: list[str], *more: str) -> list[str]:
    """Return the patient of each file where all paths follow one publisher's rule, else [].

    One child of the pneumonia set may be filed as IM-0927 and NORMAL2-IM-0927: the number alone is
    the patient, which can only join images that belong apart, never part what belongs together.
    """
    names = [Path(path).as_posix() for path in paths]
    for pattern in (*WORDS["patient"].values(), *more):
        found = [match for match in map(re.compile(pattern).search, names) if match]
        if found and len(found) == len(names):
            patients = [match[match.lastindex or 0] for match in found]
            notes.append(f"patients read from the paths, such as '{patients[0]}'")
            return patients
    return []


def choose_finding(
    studies: pd.DataFrame, positive: str | None, uncertain: str | None, *, name: str
) -> pd.DataFrame:
    """Make one label per image of uncertain ones and of several findings; see :func:`from_csv`."""
    labels = plain_labels(studies["label"])
    unsure = labels.eq("-1") & (set(labels) <= {"-1", "0", "1"})
    if unsure.any():
        meant = {"ignore": None, "positive": "1", "negative": "0"}
        if uncertain not in meant:
            what = f"{unsure.sum()} of {len(labels)} labels are -1, which means uncertain"
            raise StudyTableError(f"{name}: {what}; give --uncertain ignore, positive or negative.")
        note(studies, f"{unsure.sum()} uncertain labels (-1): {uncertain}")
        labels = labels.mask(unsure, meant[uncertain]).dropna()
    # A comma parts findings only where the parts are labels too.
    commas = labels.str.split(r"\s*,\s*", regex=True)
    listed = commas.map(set(labels).issuperset).astype(bool)
    cells = labels.mask(listed, commas.str.join("|")).str.split(r"\s*[|;]\s*", regex=True)
    known, several = sorted(set(cells.explode()), key=natural), labels[cells.map(len) > 1]
    choices = ", ".join(known)
    wanted = "1" if positive in studies and set(known) <= {"0", "1"} else positive
    if positive is not None and wanted not in known:
        raise StudyTableError(f"{name}: no label is '{positive}'; give positive= one of {choices}.")
    if positive is not None:
        labels = cells.map(lambda cell: positive if wanted in cell else f"no {positive}")
    elif len(several):
        what = f"'{several.iloc[0]}' names several findings, as do {len(several)} labels"
        raise StudyTableError(f"{name}: {what}; choose with positive= (--positive): {choices}.")
    return studies.loc[labels.index].assign(label=labels)

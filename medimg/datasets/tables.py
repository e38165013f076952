"""Study tables: read from CSV with whatever columns they have, and checked once."""

from __future__ import annotations

import lzma
import os
import re
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.datasets.names import check_spelling, natural, split_word
from medimg.errors import StudyTableError
from medimg.storage import walk_files

COLUMNS = ("image_id", "path", "label", "split", "patient_id")
SPLITS = ("train", "val", "test")
PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2"}
SUFFIXES = {*PICTURES, ".dcm", ".dicom", ".ima", ".nii", ".gz"}
# Names that public tables use, in small letters without blanks and underscores.
_KNOWN = {
    "path": ("path", "filepath", "imagepath", "imgpath", "file", "filename", "imagefile",
             "imageindex", "imagename", "image", "img", "imageid", "idcode", "isicid",
             "patientid"),
    "label": ("label", "labels", "class", "classname", "findinglabels", "diagnosis", "target",
              "dx", "category"),
    "split": ("split", "subset", "partition", "phase", "set", "datasettype"),
    "patient_id": ("patientid", "patient", "subjectid", "subject", "participantid", "personid",
                   "lesionid"),
}  # fmt: skip
_FLAGS = {"0", "1", "-1", "0.0", "1.0", "-1.0"}
_MISSING = {"", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>"}
_BOX = {"x", "y", "width", "height"}
# In names of files and folders whose publisher says so: Mendeley v3, NIH, CheXpert and MURA.
_PATIENTS = (
    r"(?:^|/)((?:BACTERIA|VIRUS|NORMAL)-\d+)-\d+\.\w+$",
    r"(?:^|/)(\d{8})_\d{3}\.png$",
    r"(?:^|/)(patient\d{4,})/",
)
_MASK_FOLDER = re.compile(
    r"((lungs?|tumou?rs?|lesions?|infection|binary|gt|ground[\W_]?truth)[\W_]+)?"
    r"(masks?|segmentations?|segs?|annotations?)",
    re.IGNORECASE,
)
_MASK_FILE = re.compile(r".*[_-](masks?|segmentations?|segs?)([\W_]*\d+)?(\.\w{2,5}){1,2}", re.I)


def note(studies: pd.DataFrame, *texts: str) -> pd.DataFrame:
    """Keep with a table what was left out of it or guessed, for :func:`summary` to say."""
    studies.attrs["notes"] = [*studies.attrs.get("notes", []), *texts]
    return studies


def is_mask(relative: Path) -> bool:
    """Return whether a file is a mask by its name or by a folder above it.

    Examples
    --------
    >>> is_mask(Path("COVID/masks/1.png")), is_mask(Path("b/BraTS_1_seg.nii.gz"))
    (True, True)
    """
    folders = any(_MASK_FOLDER.fullmatch(part) for part in relative.parts[:-1])
    return folders or bool(_MASK_FILE.fullmatch(relative.name))


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
    short = [_stem(name) for name in whole]
    pairs = list(zip(short, whole, strict=True))
    taken = Counter(short) + Counter({name for brief, name in pairs if brief != name})
    return [brief if taken[brief] == 1 else name for brief, name in pairs]


def _stem(name: str) -> str:
    """Return a path without the suffix of an image."""
    path = Path(name)
    if path.suffix.lower() not in SUFFIXES:
        return name
    shorter = path.with_suffix("")
    return (shorter.with_suffix("") if shorter.suffix == ".nii" else shorter).as_posix()


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
        each image counts as one (its ``patient_id`` is its ``image_id``). All other columns are
        kept; those whose name ends in ``_path`` are made absolute too.
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
        If the file is missing or malformed, a column is missing or could be one of several, a path
        is a folder or leads to two files, or :func:`check_studies` objects.
    """
    path = Path(path).expanduser()
    text, notes = _read(path), list[str]()
    roles = _roles(text, columns or {}, path, notes)
    if "path" not in roles or ("label" not in roles and positive not in text):
        roles |= _one_hot(text, roles, path, notes)
    studies = pd.DataFrame({c: _typed(text[c]) for c in text})
    for role, column in roles.items():
        studies[role] = text[column]
    if positive and positive in text and set(text[positive]) <= {"", *_FLAGS}:
        studies["label"] = text[positive].replace("", "0")
        blank = int((text[positive] == "").sum())
        notes += [f"{blank} blank cells of '{positive}' read as not present"] if blank else []
    folder = Path(image_dir).expanduser() if image_dir is not None else path.parent
    if not folder.is_dir():
        raise StudyTableError(f"{folder}: no such folder; image_dir is where the images lie.")
    studies["image_id"] = text["image_id"] if "image_id" in text else image_ids(studies["path"])
    studies["path"] = _locate(studies["path"], folder.resolve(), path, notes)
    for column in [c for c in map(str, text) if c.endswith("_path")]:
        studies[column] = [str(path.resolve().parent / v) if v else "" for v in text[column]]
    if "split" not in studies:
        studies["split"] = ""
    if "patient_id" not in studies:
        told = patients_by_publisher(studies["path"])
        studies["patient_id"] = told or studies["image_id"]
        notes += [f"patients read from the paths, such as '{told[0]}'"] if told else []
    studies = note(_one_row_per_file(studies, notes), *notes)
    return check_studies(
        choose_finding(studies, positive, uncertain, name=str(path)), name=str(path)
    )


def _read(path: Path) -> pd.DataFrame:
    """Return a CSV file as text, as it stands: 007 is not a number, "None" and "NA" are labels."""
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 16).decode("utf-8", "replace")
        packed = path.suffix.lower() in (".zip", ".gz", ".bz2", ".xz", ".zst")
        text = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True,
            sep="," if packed else max(",;\t", key=head.count),
        )  # fmt: skip
    except FileNotFoundError as error:
        raise StudyTableError(f"{path}: no such file; give a CSV study table.") from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise StudyTableError(
            f"{path}: this is not a CSV table in UTF-8 ({' '.join(str(error).split())}); expected "
            "a header line with at least 'path' and 'label'."
        ) from error
    if not isinstance(text.index, pd.RangeIndex):
        raise StudyTableError(
            f"{path}: its rows have more fields than its header line; quote fields that contain a "
            "separator."
        )
    text.columns = pd.Index([str(c).strip() for c in text.columns])
    return pd.DataFrame({c: text[c].fillna("").str.strip() for c in text})


def _typed(values: pd.Series[str]) -> pd.Series[Any]:
    """Return numbers where all values are and none would lose a leading zero, else text."""
    missing = values.isin(_MISSING)
    known = values[~missing]
    if len(known) and known.isin(("True", "False")).all() and not missing.any():
        return values == "True"
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.notna().all() and not known.str.match(r"[+-]?0\d").any():
        return numbers.reindex(values.index)
    return values.mask(missing)


def _roles(
    text: pd.DataFrame, columns: Mapping[str, str], path: Path, notes: list[str]
) -> dict[str, str]:
    """Return which column is the path, label, split and patient: as given, or by its name."""
    names = [str(c) for c in text]
    wrong = [*(set(columns) - {"path", "label", "patient", "split"}),
             *(c for c in columns.values() if c not in text)]  # fmt: skip
    if wrong:
        raise StudyTableError(
            f"{path}: no column '{wrong[0]}'; columns are given for path, label, patient and "
            f"split, and the table has {', '.join(names)}."
        )
    roles: dict[str, str] = {}
    for role, known in _KNOWN.items():
        here = sorted(
            (c for c in names if _plain(c) in known), key=lambda c: known.index(_plain(c))
        )
        if role == "split":
            here = [c for c in here if c == role or all(map(split_word, text[c]))]
        given = columns.get(role.removesuffix("_id"))
        chosen = given or (role if role in text else here[0] if here else None)
        if role == "label" and chosen in here[:1] and chosen != role and len(here) > 1:
            raise StudyTableError(
                f"{path}: the columns {', '.join(here)} may all be the label; choose one with "
                f"columns={{'label': '{here[0]}'}} or --label-column."
            )
        if chosen:
            roles[role] = chosen
            if chosen not in (role, given):
                notes.append(f"column '{chosen}' read as {role.removesuffix('_id')}")
    return roles


def _one_hot(
    text: pd.DataFrame, roles: dict[str, str], path: Path, notes: list[str]
) -> dict[str, str]:
    """Return the role of a label made from one column of 0 and 1 per class, or say what lacks."""
    names = [str(c) for c in text]
    flags = [c for c in names if c not in roles.values() and set(text[c]) <= {"", *_FLAGS}]
    ones = text[flags].isin(("1", "1.0"))
    if "path" in roles and len(flags) > 1 and (ones.sum(axis=1) == 1).all():
        text["label"] = ones.idxmax(axis=1)
        notes.append(f"label read from the columns {', '.join(flags)}")
        return {"label": "label"}
    lacking = "path" if "path" not in roles else "label"
    hint = "a study table needs at least 'path' and 'label'; name yours with columns=, such as " \
        "--path-column and --label-column"  # fmt: skip
    if lacking == "label" and flags:
        hint = f"choose one of {', '.join(flags)} as the finding, with positive= or --positive"
    elif any("/" in c for c in names):
        hint = "it seems to have no header line; write one, or give the folder of the images"
    raise StudyTableError(
        f"{path}: the column '{lacking}' is missing; found {', '.join(names)}; {hint}."
    )


def _locate(values: pd.Series[str], folder: Path, table: Path, notes: list[str]) -> list[str]:
    """Return the file that each path leads to; one that leads nowhere stays as it stands."""
    index: dict[str, list[Path]] | None = None
    found, by_name = [], 0
    for row, value in enumerate(values, 1):
        where = _existing(value, folder)
        if value and where is None and not re.search(r"[/\\]", value):
            index = _index(folder) if index is None else index
            hits = index.get(value, [])
            if len(hits) > 1:
                raise StudyTableError(
                    f"{table}: '{value}' in row {row} leads to {hits[0]} and to {hits[1]}; write "
                    "the path with its folder, or give image_dir (--image-dir)."
                )
            where = str(hits[0]) if hits else None
            by_name += bool(hits)
        if where is not None and os.path.isdir(where):
            raise StudyTableError(
                f"{table}: '{value}' in row {row} is a folder; a row names one file, so write its "
                "name, one row per image."
            )
        found.append(where or (str(folder / value) if value else ""))
    notes += [f"{by_name} images found by their name below {folder}"] if by_name else []
    return found


def _existing(value: str, folder: Path) -> str | None:
    """Return the file or folder of this path: as it stands, by Windows' rule, or below `folder`."""
    if not value or "\0" in value:
        return None
    name = os.path.expanduser(value)
    parts = name.replace("\\", "/").split("/")
    inner = ["/".join(parts[k:]) for k in range(len(parts) - 1)]
    tries = [folder / name, *(folder / part for part in inner), folder.parent / inner[0]] if inner \
        else [folder / name]  # fmt: skip
    return next((str(place) for place in tries if os.path.exists(place)), None)


def _index(folder: Path) -> dict[str, list[Path]]:
    """Return the images below a folder by name and by name without suffix."""
    index: dict[str, list[Path]] = defaultdict(list)
    for file in walk_files(folder).files:
        if file.suffix.lower() in SUFFIXES and not is_mask(file.relative_to(folder)):
            index[file.name].append(file)
            index[_stem(file.name)].append(file)
    return index


def patients_by_publisher(paths: Iterable[str]) -> list[str]:
    """Return the patient of each file where all paths follow one publisher's rule, else []."""
    names = [Path(path).as_posix() for path in paths]
    for pattern in _PATIENTS:
        found = [re.search(pattern, name) for name in names]
        if found and all(found):
            return [match.group(1) for match in found if match]
    return []


def _one_row_per_file(studies: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Join the rows of a table that has one per box (RSNA) where they agree in the label."""
    if not {_plain(str(c)) for c in studies} >= _BOX:
        return studies
    once = studies.drop_duplicates(["path", "label"])
    if len(once) < len(studies):
        notes.append(f"{len(studies)} rows with one box each joined to {len(once)} images")
    return once


def choose_finding(
    studies: pd.DataFrame, positive: str | None, uncertain: str | None, *, name: str
) -> pd.DataFrame:
    """Make one label per image of uncertain ones and of several findings; see :func:`from_csv`."""
    labels = plain_labels(studies["label"])
    if uncertain not in (None, "ignore", "positive", "negative"):
        raise StudyTableError(f"uncertain='{uncertain}'; give ignore, positive or negative.")
    unsure = labels.eq("-1") & (set(labels) <= {"-1", "0", "1"})
    if unsure.any():
        if uncertain is None:
            raise StudyTableError(
                f"{name}: {int(unsure.sum())} of {len(labels)} labels are -1, which means "
                "uncertain; choose what becomes of them with uncertain= (--uncertain): ignore, "
                "positive or negative."
            )
        note(studies, f"{int(unsure.sum())} uncertain labels (-1): {uncertain}")
        labels = labels.mask(unsure, "1" if uncertain == "positive" else "0")
        if uncertain == "ignore":
            studies, labels = studies[~unsure], labels[~unsure]
    findings = _findings(labels)
    several = findings.str.len() > 1
    known = sorted({finding for cell in findings for finding in cell}, key=natural)
    if several.any() and positive is None:
        raise StudyTableError(
            f"{name}: '{labels[several].iloc[0]}' names several findings, as do "
            f"{int(several.sum())} labels; choose one with positive= (--positive): "
            f"{', '.join(known)}."
        )
    if positive is not None:
        flags = {"0", "1"} >= set(known) and positive not in known
        wanted = "1" if flags and positive in studies else positive
        if wanted not in known:
            raise StudyTableError(
                f"{name}: no label is '{positive}'; give positive= one of {', '.join(known)}."
            )
        labels = findings.map(lambda cell: positive if wanted in cell else f"no {positive}")
    return studies.assign(label=labels)


def _findings(labels: pd.Series[str]) -> pd.Series[Any]:
    """Return the findings of each label; a comma parts them only if the parts are labels too."""
    alone = set(labels)
    cells = labels.str.split(r"\s*[|;]\s*", regex=True)
    commas = labels.str.split(r"\s*,\s*", regex=True)
    listed = commas.map(lambda cell: len(cell) > 1 and set(cell) <= alone)
    return cells.where(~listed, commas)


def plain_labels(labels: pd.Series[Any]) -> pd.Series[str]:
    """Return labels as stripped text; whole numbers without decimals, "1.0" as "1"."""
    text = _text(labels)
    whole = text.str.fullmatch(r"[+-]?\d+(\.0*)?")
    if text.empty or not whole.all():
        return text
    return text.map(lambda value: str(int(value.partition(".")[0])))


def _text(values: pd.Series[Any]) -> pd.Series[str]:
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


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

    Blanks around ids, labels and splits are removed, and usual words for a split (training,
    valid, testing, ...) become train, val and test.

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
        For a missing column, no rows, an empty label, path or patient, an image or a file listed
        twice, a class spelled in two ways, an unknown split, rows with and rows without a split,
        or a patient who is in more than one split.
    """
    require_columns(studies, COLUMNS, name=name)
    if studies.empty:
        raise StudyTableError(f"{name}: it has no rows; expected one row for each image.")
    studies = studies.assign(**{c: _text(studies[c]) for c in COLUMNS})
    studies["label"] = plain_labels(studies["label"])
    for column in ("path", "label", "patient_id"):
        empty = studies[column] == ""
        if empty.any():
            raise StudyTableError(
                f"{name}: '{column}' is empty in row {int(empty.to_numpy().argmax()) + 1}; "
                "fill it in or leave the row out."
            )
    check_spelling(studies["label"], name=name)
    studies["split"] = _check_splits(studies["split"], name)
    _check_twice(studies, name)
    homes = studies[studies["split"] != ""].groupby("patient_id")["split"].nunique()
    if (homes > 1).any():
        raise StudyTableError(
            f"{name}: patient '{homes[homes > 1].index[0]}' is in more than one split, so the test "
            "would not be of unseen patients; put each patient in one, or use split_by_patient."
        )
    rest = [c for c in studies.columns if c not in COLUMNS]
    return studies[[*COLUMNS, *rest]].reset_index(drop=True)


def _check_splits(splits: pd.Series[str], name: str) -> pd.Series[str]:
    """Return train, val, test or "" for the words of a split."""
    words = splits.map(lambda value: split_word(value) if value else "")
    unknown = sorted(set(splits[(words == "") & (splits != "")]))
    if unknown:
        raise StudyTableError(
            f"{name}: unknown split '{unknown[0]}'; expected train, val, test (or a usual word for "
            "one, such as training or valid) or nothing."
        )
    blank = words == ""
    if blank.any() and not blank.all():
        raise StudyTableError(
            f"{name}: {int(blank.sum())} of {len(words)} rows have no split, the first in row "
            f"{int(blank.to_numpy().argmax()) + 1}; fill it in, or leave the split of all rows "
            "blank to have them split by patient."
        )
    return words


def _check_twice(studies: pd.DataFrame, name: str) -> None:
    """Refuse an id or a file (or one frame of it) that stands in two rows."""
    files = studies["path"].map(lambda path: os.path.normcase(os.path.abspath(path)))
    frames = studies["frame"].astype(str) if "frame" in studies else ""
    for what, values in (("path", files + frames), ("image_id", studies["image_id"])):
        twice = values.duplicated(keep=False).to_numpy()
        if twice.any():
            first = studies[twice].iloc[0]
            rows = [i + 1 for i in range(len(values)) if values.iloc[i] == values[twice].iloc[0]]
            raise StudyTableError(
                f"{name}: {what} '{first[what]}' stands in {len(rows)} rows ({rows[0]} and "
                f"{rows[1]}); each image needs one row and an id of its own."
            )

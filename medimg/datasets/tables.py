"""Study tables: read from CSV with whatever columns they have, and checked once."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.datasets.names import natural, plain, spelled_twice, split_word
from medimg.errors import StudyTableError
from medimg.storage import walk_files
from medimg.tables import unguarded

COLUMNS = ("image_id", "path", "label", "split", "patient_id")
SPLITS = ("train", "val", "test")
_PICTURE = r"png|jpe?g|tiff?|bmp|gif|webp|jp2|nii(\.gz)?"
PICTURE = re.compile(rf"\.({_PICTURE})$", re.IGNORECASE)
SUFFIX = re.compile(rf"\.({_PICTURE}|dcm|dicom|ima)$", re.IGNORECASE)
# Names that public tables use, in small letters without blanks and underscores; the best first.
_KNOWN = {
    "path": "path filepath imagepath imgpath file filename imagefile imageindex imagename image "
            "img imageid idcode isicid patientid",
    "label": "label labels class classname findinglabels diagnosis target dx category",
    "split": "split subset partition phase set datasettype",
    "patient": "patientid patient subjectid subject participantid personid lesionid",
}  # fmt: skip
_NAME_THEM = "name yours with columns= (--path-column, --label-column)"
_FLAGS = {"", "0", "1", "-1", "0.0", "1.0", "-1.0"}
_MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "<NA>")
_BOX = {"x", "y", "width", "height"}
# In names of files and folders whose publisher says so: the children's pneumonia set, NIH, CheXpert
# and MURA. One child may be filed as IM-0927 and NORMAL2-IM-0927: the number alone is the patient,
# which can only join images that belong apart, never part images that belong together.
KERMANY = r"(?:^|/)(?:[^/]*?(person\d+|IM-\d+)[^/]*|((?:BACTERIA|VIRUS|NORMAL)-\d+)-\d+\.\w+)$"
_PATIENTS = (KERMANY, r"(?:^|/)(\d{8})_\d{3}\.png$", r"(?:^|/)(patient\d{4,})/")
_MASK = re.compile(
    r"(^|/)((lungs?|tumou?rs?|lesions?|infection|binary|gt|ground[\W_]?truth)[^/a-z0-9]+)?"
    r"(masks?|segmentations?|segs?|annotations?)/"
    r"|[_-](masks?|segmentations?|segs?)([^/a-z0-9]*\d+)?(\.\w{2,5}){1,2}$",
    re.IGNORECASE,
)


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
    label = _label(text, roles, positive, path, notes)
    text |= {role: text[column] for role, column in roles.items()} | {"label": label}
    folder = Path(image_dir or path.parent).expanduser().resolve()
    if not folder.is_dir():
        raise StudyTableError(f"{folder}: no such folder; image_dir is where the images lie.")
    if "image_id" not in text:
        text["image_id"] = pd.Series(image_ids(text["path"]))
    text["path"] = _locate(text["path"], folder, path, notes)
    if "patient_id" not in text:
        told = patients_by_publisher(text["path"], notes)
        text["patient_id"] = pd.Series(told) if told else text["image_id"]
    typed = {c: values if c in COLUMNS else _typed(values) for c, values in text.items()}
    studies = pd.DataFrame({"split": "", **typed})
    for column in [c for c in text if c.endswith("_path")]:
        studies[column] = [str(path.resolve().parent / v) if v else "" for v in text[column]]
    if {plain(c) for c in text} >= _BOX:  # one row per box, as in RSNA's tables
        rows, studies = len(studies), studies.drop_duplicates(["path", "label"])
        notes += [f"{rows} rows with one box each joined to {len(studies)} images"]
    studies = choose_finding(note(studies, *notes), positive, uncertain, name=str(path))
    return check_studies(studies, name=str(path))


def _read(path: Path) -> dict[str, pd.Series[str]]:
    """Return a CSV file as text, as it stands: 007 is not a number, "None" and "NA" are labels."""
    if not path.exists():
        raise StudyTableError(f"{path}: no such file; give a CSV study table.")
    how: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        widths = {sep: pd.read_csv(path, sep=sep, nrows=0, **how).shape[1] for sep in ",;\t"}
        sep = max(widths, key=widths.__getitem__)
        text = unguarded(pd.read_csv(path, sep=sep, skipinitialspace=True, **how))
        if not isinstance(text.index, pd.RangeIndex):
            raise ValueError("its rows have more fields than its header line; quote separators")
        return {str(c).strip(): text[c].fillna("").str.strip() for c in text}
    except Exception as error:  # of pandas, or of any library that unpacks
        why = " ".join(str(error).split())
        raise StudyTableError(f"{path}: this is not a CSV table in UTF-8 ({why}).") from error


def _typed(values: pd.Series[str]) -> pd.Series[Any]:
    """Return numbers where all values are and none would lose a leading zero, else text."""
    if set(values) <= {"True", "False"}:
        return values == "True"
    known = values.mask(values.isin(_MISSING))
    numbers = pd.to_numeric(known, errors="coerce")
    is_text = (numbers.isna() & known.notna()) | known.str.match(r"[+-]?0\d", na=False)
    return known if is_text.any() else numbers


def _roles(
    text: dict[str, pd.Series[str]], given: Mapping[str, str], path: Path, notes: list[str]
) -> dict[str, str]:
    """Return which column is the path, label, split and patient: as given, or by its name."""
    for wrong in [*(set(given) - set(_KNOWN)), *(c for c in given.values() if c not in text)]:
        raise StudyTableError(f"{path}: no column '{wrong}'; the table has {', '.join(text)}.")
    roles: dict[str, str] = {}
    for role, words in _KNOWN.items():
        name = "patient_id" if role == "patient" else role
        chosen = given.get(role, name)
        here = [c for word in words.split() for c in text if plain(c) == word]
        if role == "split":
            here = [c for c in here if all(map(split_word, text[c]))]
        if chosen in text:
            roles[name] = chosen
        elif role == "label" and len(here) > 1:
            what = f"the columns {', '.join(here)} may all be the label"
            raise StudyTableError(f"{path}: {what}; {_NAME_THEM}.")
        elif here:
            roles[name] = here[0]
            notes.append(f"column '{here[0]}' read as {role}")
    return roles


def _label(
    text: dict[str, pd.Series[str]], roles: dict[str, str], positive: str | None, path: Path,
    notes: list[str],
) -> pd.Series[str]:  # fmt: skip
    """Return the column of one finding, the one of labels, or the names of columns with a 1."""
    flags = [c for c in text if c not in roles.values() and set(text[c]) <= _FLAGS]
    ones = pd.DataFrame({c: text[c].isin(("1", "1.0")) for c in flags})
    hint = _NAME_THEM
    if "path" not in roles:
        hint = "write its header line" if any("/" in c for c in text) else _NAME_THEM
    elif positive and positive in text and set(text[positive]) <= _FLAGS:
        blank = int((text[positive] == "").sum())
        notes += [f"{blank} blank cells of '{positive}' read as not present"] if blank else []
        return text[positive].replace("", "0")
    elif "label" in roles:
        return text[roles["label"]]
    elif len(flags) > 1 and (ones.sum(axis=1) == 1).all():
        notes.append(f"label read from the columns {', '.join(flags)}")
        return ones.idxmax(axis=1).astype(str)
    elif flags:
        hint = f"choose one of {', '.join(flags)} as the finding with positive= (--positive)"
    what = f"the column '{'label' if 'path' in roles else 'path'}' is missing"
    raise StudyTableError(f"{path}: {what}; found {', '.join(text)}; {hint}.")


def _locate(values: pd.Series[str], folder: Path, table: Path, notes: list[str]) -> pd.Series[str]:
    """Return the file that each path leads to; one that leads nowhere stays as it stands."""
    index: dict[str, list[Path]] | None = None
    found, by_name = [], 0
    for row, value in enumerate(values, 1):
        places = _existing(value, folder)
        if value and not places and not re.search(r"[/\\]", value):
            index = _index(folder) if index is None else index
            places = index.get(value, [])
            by_name += bool(places)
        if len(places) > 1 or any(place.is_dir() for place in places):
            fault = (
                "leads to " + " and to ".join(map(str, places[:2])) if places[1:] else "is a folder"
            )
            raise StudyTableError(f"{table}: '{value}' in row {row} {fault}; write a file's path.")
        found.append(str(places[0] if places else folder / value) if value else "")
    notes += [f"{by_name} images found by their name below {folder}"] if by_name else []
    return pd.Series(found)


def _existing(value: str, folder: Path) -> list[Path]:
    """Return the file or folder of this path: as it stands, by Windows' rule, or below `folder`."""
    name = os.path.expanduser(value)
    parts = name.replace("\\", "/").split("/")
    tries = [folder / name, *(folder.joinpath(*parts[k:]) for k in range(len(parts) - 1))]
    if len(parts) > 1:
        tries.append(folder.parent.joinpath(*parts))
    place = next(filter(os.path.exists, tries), None) if value else None
    return [place] if place else []


def _index(folder: Path) -> dict[str, list[Path]]:
    """Return the images below a folder by name and by name without suffix."""
    index: dict[str, list[Path]] = defaultdict(list)
    for file in walk_files(folder).files:
        if SUFFIX.search(file.name) and not is_mask(file.relative_to(folder)):
            index[file.name].append(file)
            index[SUFFIX.sub("", file.name)].append(file)
    return index


def patients_by_publisher(paths: Iterable[str], notes: list[str]) -> list[str]:
    """Return the patient of each file where all paths follow one publisher's rule, else []."""
    names = [Path(path).as_posix() for path in paths]
    for pattern in _PATIENTS:
        found = [re.search(pattern, name) for name in names]
        if names and all(found):
            patients = [match[match.lastindex or 0] for match in found if match]
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
        if uncertain not in ("ignore", "positive", "negative"):
            what = f"{unsure.sum()} of {len(labels)} labels are -1, which means uncertain"
            fix = f"uncertain='{uncertain}'; give ignore, positive or negative (--uncertain)"
            raise StudyTableError(f"{name}: {what}; {fix}.")
        note(studies, f"{unsure.sum()} uncertain labels (-1): {uncertain}")
        labels = labels.mask(unsure, "1" if uncertain == "positive" else "0")
        if uncertain == "ignore":
            studies, labels = studies[~unsure], labels[~unsure]
    cells = _findings(labels)
    known = sorted(set(cells.explode()), key=natural)
    several = labels[cells.str.len() > 1]
    listed = ", ".join(known)
    if positive is not None:
        wanted = "1" if positive in studies and set(known) <= {"0", "1"} else positive
        if wanted not in known:
            what = f"no label is '{positive}'; give positive= one of {listed}"
            raise StudyTableError(f"{name}: {what}.")
        labels = cells.map(lambda cell: positive if wanted in cell else f"no {positive}")
    elif len(several):
        what = f"'{several.iloc[0]}' names several findings, as do {len(several)} labels"
        raise StudyTableError(f"{name}: {what}; choose with positive= (--positive): {listed}.")
    return studies.assign(label=labels)


def _findings(labels: pd.Series[str]) -> pd.Series[Any]:
    """Return the findings of each label; a comma parts them only if the parts are labels too."""
    alone = set(labels)
    cells = labels.str.split(r"\s*[|;]\s*", regex=True)
    commas = labels.str.split(r"\s*,\s*", regex=True)
    listed = commas.map(lambda parts: len(parts) > 1 and alone.issuperset(parts))
    return commas.where(listed.astype(bool), cells)


def plain_labels(labels: pd.Series[Any]) -> pd.Series[str]:
    """Return labels as stripped text; whole numbers without decimals, "1.0" as "1"."""
    text = text_of(labels)
    whole = text.str.fullmatch(r"[+-]?\d+(\.0*)?").all()
    return text.map(lambda value: str(int(value.partition(".")[0]))) if whole else text


def text_of(values: pd.Series[Any]) -> pd.Series[str]:
    """Return values as stripped strings, "" for missing ones."""
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def require_columns(
    studies: pd.DataFrame, columns: Iterable[str], *, name: str = "study table"
) -> None:
    """Raise a StudyTableError that names the columns which a table lacks."""
    missing = ", ".join(c for c in columns if c not in studies)
    if missing:
        needed = ", ".join(columns)
        raise StudyTableError(f"{name}: missing column(s) {missing}; expected {needed}.")


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
    studies = studies.assign(**{c: text_of(studies[c]) for c in COLUMNS}).reset_index(drop=True)
    studies["label"] = plain_labels(studies["label"])
    for fault in _faults(studies):
        raise StudyTableError(f"{name}: {fault}.")
    studies["split"] = studies["split"].map(split_word)
    rest = [c for c in studies if c not in COLUMNS]
    return studies[[*COLUMNS, *rest]]


def _faults(studies: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with the rows of a table."""
    if studies.empty:
        yield "it has no rows; expected one row for each image"
    for column in ("path", "label", "patient_id"):
        for row in studies.index[studies[column] == ""] + 1:
            yield f"'{column}' is empty in row {row}; fill it in or leave the row out"
    yield from spelled_twice(studies["label"])
    words = studies["split"].map(split_word)
    for word in studies.loc[(words == "") & (studies["split"] != ""), "split"]:
        yield f"unknown split '{word}'; expected train, val, test (training, valid, ...) or nothing"
    blank = words.index[words == ""] + 1
    if 0 < len(blank) < len(words):
        some = f"{len(blank)} of {len(words)} rows have no split, the first in row {blank[0]}"
        yield f"{some}; fill it in, or leave it blank in all rows to have them split by patient"
    files = studies["path"].map(lambda path: os.path.normcase(os.path.abspath(path)))
    frames = studies["frame"].astype(str) if "frame" in studies else ""
    for what, values in (("path", files + frames), ("image_id", studies["image_id"])):
        for value in values[values.duplicated()]:
            rows = values.index[values == value] + 1
            yield (f"{what} '{studies[what].iloc[rows[0] - 1]}' stands in {len(rows)} rows "
                   f"({rows[0]} and {rows[1]}); each image needs its own row and id")  # fmt: skip
    homes = words.groupby(studies["patient_id"]).nunique()
    for patient in homes.index[homes > 1]:
        yield f"patient '{patient}' is in more than one split; put each in one, or split_by_patient"

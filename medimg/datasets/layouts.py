"""The layouts in which data sets come: by name, as a folder of classes, or as a table."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import pandas as pd

from medimg.datasets import tables
from medimg.datasets.names import class_names, healthy_class, split_word
from medimg.datasets.splits import with_splits
from medimg.errors import ImageReadError, StudyTableError
from medimg.images import is_image_file, read_header
from medimg.sources import default_folder, unpack_npz
from medimg.storage import sha256, walk_files

PathLike = str | os.PathLike[str]
KERMANY_URL = "https://data.mendeley.com/datasets/rscbjbr9sj/3"
BRAIN_MRI_URL = "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset"
_ANY_LEVEL = ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/")
_CLONE = 'clone the repository and install it from there with `pip install -e ".[test]"`'
# Sets with a name: where their table or their training folder may lie, the classes in that folder,
# and where to get it.
_SETS: dict[str, tuple[list[str], Sequence[str], str]] = {
    "sample": (["studies.csv"], (), _CLONE),
    "sample_ct": (["ct/studies.csv"], (), _CLONE),
    "sample_mr": (["mr/studies.csv"], (), _CLONE),
    "sample_retina": (["retina/studies.csv"], (), _CLONE),
    "sample_covid": (["covid/studies.csv"], (), _CLONE),
    "sample_brain": (["brain/studies.csv"], (), _CLONE),
    "pneumoniamnist": (
        [f"pneumoniamnist_{size}/train" for size in (224, 128, 64, 28)], ("normal", "pneumonia"),
        "run `python -m medimg fetch pneumoniamnist --size 224` first"),
    "kermany": ([f"{level}train" for level in _ANY_LEVEL], ("NORMAL", "PNEUMONIA"),
                f"get it from {KERMANY_URL}, unpack it, and set MEDIMG_DATA to its folder"),
    "brain-mri": ([f"{level}Training" for level in _ANY_LEVEL],
                  ("glioma", "meningioma", "notumor", "pituitary"),
                  f"get it from {BRAIN_MRI_URL}, unpack it, and set MEDIMG_DATA to its folder"),
}  # fmt: skip
# What the folders above an image tell, the layout of most folders first; {split} stands for the
# names of those folders here that mean a split. MURA labels its studies.
_LAYOUTS = {
    "{patient}/study1_positive": r"^(?:(?P<split>{split})/)?(?:.*/)?(?P<patient_id>[^/]+)"
                                 r"/study\d+_(?P<label>positive|negative)/[^/]+$",
    "{split}/{class}": r"^(?P<split>{split})/(?:(?P<label>[^/]+)/)?",
    "{class}/{split}": r"^(?P<label>[^/]+)/(?P<split>{split})/(?:(?P<below>[^/]+)/)?",
    "{class}": r"^(?P<label>[^/]+)/(?:(?P<below>[^/]+)/)?",
}  # fmt: skip
_PATIENT_FOLDER = re.compile(
    r"(patient|pat|subject|sub|case|person|pt|brats|tcga).*\d|\d{3,}", re.IGNORECASE
)
_EXPECTED = "expected ROOT/{split}/{class}/* or ROOT/{class}/*"


def data_root(root: PathLike | None = None) -> Path:
    """Return where real data lie: ``root``, else ``MEDIMG_DATA``, else the user's cache folder.

    Parameters
    ----------
    root : path-like, optional
        A folder that goes before what the environment says.

    Returns
    -------
    Path
        The folder; it need not exist.
    """
    return Path(root or os.environ.get("MEDIMG_DATA") or default_folder()).expanduser()


def load(
    name: PathLike | None = None, *, root: PathLike | None = None,
    patient_pattern: str | None = None, columns: Mapping[str, str] | None = None,
    image_dir: PathLike | None = None, positive: str | None = None, uncertain: str | None = None,
    classes: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the study table of a data set.

    Parameters
    ----------
    name : str or path-like, optional
        ``"sample"`` (100 simulated chest radiographs), ``"sample_ct"``, ``"sample_mr"``,
        ``"sample_retina"`` (180 photographs of eyes), ``"sample_covid"`` (243 radiographs before
        any hospital's display), ``"sample_brain"`` (280 MR slices of 80 heads),
        ``"pneumoniamnist"`` (after ``python -m medimg fetch
        pneumoniamnist``), ``"kermany"`` or ``"brain-mri"`` (folders that you bring), or the path
        of a folder, a CSV study table or a MedMNIST ``.npz``. Defaults to the environment
        variable ``MEDIMG_DATASET``, else ``"sample"``.
    root : path-like, optional
        Where real data lie; see :func:`data_root`.
    patient_pattern : str, optional
        Finds the patient in the file names of a folder; see :func:`from_folder`. Tables and the
        sets with a name tell their patients themselves.
    columns, image_dir : optional
        Of a table; see :func:`from_csv`.
    positive, uncertain : str, optional
        One finding against the rest, and what becomes of uncertain labels; see :func:`from_csv`.
    classes : sequence of str, optional
        All classes in order: the healthy one first, grades rising.

    Returns
    -------
    DataFrame
        A study table with splits. Sets without published splits are split by patient, always in
        the same way; where there is no val, 15 % of the patients of train become it. What was
        left out or guessed is in its :func:`summary`.

    Raises
    ------
    StudyTableError
        If the set is not there (the message says where to get it) or not laid out as expected, or
        an option does not fit the kind of data set.

    References
    ----------
    .. [1] Kermany, Zhang, Goldbaum, "Labeled Optical Coherence Tomography (OCT) and Chest X-Ray
       Images for Classification", Mendeley Data, 2018, doi:10.17632/rscbjbr9sj. CC BY 4.0.
    .. [2] Yang et al., "MedMNIST v2", Scientific Data 10:41, 2023.

    Examples
    --------
    >>> load("sample")["label"].value_counts().to_dict()
    {'normal': 60, 'pneumonia': 40}
    """
    name = os.fspath(name or os.environ.get("MEDIMG_DATASET") or "sample")
    path = Path(name).expanduser()
    if patient_pattern and (name in _SETS or path.is_file()):
        what = "a patient pattern is for the file names of a folder"
        raise StudyTableError(f"{name}: {what}; leave it out (a table has a column of patients).")
    if (columns or image_dir) and (name in _SETS or path.is_dir()):
        what = "columns and an image folder are for a CSV table"
        raise StudyTableError(f"{name}: {what}; leave them out.")
    notes = []
    if name in _SETS:
        path = _find(name, data_root(root))
    elif path.is_file() and path.suffix.lower() == ".npz":
        path = unpack_npz(path, data_root(root) / f"{path.stem}-{sha256(path)[:12]}")
        notes = [f"unpacked to {path}"]
    if path.is_dir():
        studies = tables.note(from_folder(path, patient_pattern=patient_pattern), *notes)
        studies = tables.choose_finding(studies, positive, uncertain, name=name)
    elif path.is_file():
        studies = tables.from_csv(
            path, columns=columns, image_dir=image_dir, positive=positive, uncertain=uncertain
        )
    else:
        known = ", ".join(_SETS)
        raise StudyTableError(f"{name}: neither a known data set nor a folder or file ({known}).")
    studies = tables.check_studies(studies, name=name)
    if name in _SETS and (studies["split"] == "train").all():
        studies["split"] = ""  # without the published test, all is split anew
    if classes:
        studies.attrs["classes"] = [str(each).strip() for each in classes]
        class_names(studies)  # every label must be among them
    return with_splits(studies)


def _find(name: str, root: Path) -> Path:
    """Return the table or folder of a set with a name; copies that macOS makes are none."""
    places, classes, where = _SETS[name]
    root = root if classes else Path(__file__).resolve().parents[2] / "data"
    for found in (path for place in places for path in sorted(root.glob(place))):
        if all((found / c).is_dir() for c in classes) and "__MACOSX" not in found.parts:
            return found.parent if classes else found
    raise StudyTableError(f"{root}: the data set '{name}' is not here; {where}.")


def from_folder(root: PathLike, *, patient_pattern: str | None = None) -> pd.DataFrame:
    """Make a study table from ``ROOT/{split}/{class}/*`` or ``ROOT/{class}/*``.

    ``ROOT/{class}/{split}/*`` and MURA's ``{region}/{patient}/study1_positive/*`` are known too,
    as are a folder or two above. Hidden folders, masks and files that are not images are left out,
    and noted for :func:`summary`.

    Parameters
    ----------
    root : path-like
        A folder of class folders, or of split folders (train, val, test and usual words for them)
        of class folders.
    patient_pattern : str, optional
        A regular expression searched in each file name; its first group, or else the whole
        match, is the patient. Without it, patients are read from names that a known publisher
        gives, from one folder per patient below the classes, or from a DICOM file's Patient ID;
        any other image counts as a patient of its own.

    Returns
    -------
    DataFrame
        A study table, sorted by path; ``split`` is "" when the folder has no splits.

    Raises
    ------
    StudyTableError
        If the folder is missing, has no class folders, a class folder has no images, or folders
        stand beside the splits or hold data sets of their own.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise StudyTableError(f"{root}: no such folder; {_EXPECTED}, or a CSV study table.")
    images, notes = _images(root)
    studies = _places(images, root, notes)
    studies["image_id"] = tables.image_ids(studies["path"])
    studies["path"] = [os.path.abspath(root / path) for path in studies["path"]]
    if patient_pattern is not None:
        studies["patient_id"] = _patients_by_name(studies["path"], patient_pattern)
    elif "patient_id" not in studies:
        studies["patient_id"] = _patients(studies, notes)
        _arrange_kermany(studies, notes)
    return tables.check_studies(tables.note(studies, *notes), name=str(root))


def _images(root: Path) -> tuple[list[Path], list[str]]:
    """Return the images below a folder, relative to it, and notes on what else there is."""
    found = walk_files(root)
    for folder, why in found.unreadable:
        if root in (folder, folder.parent):
            raise StudyTableError(f"{folder}: the folder could not be read ({why}); permit it.")
    files = [path.relative_to(root) for path in found.files]
    masks = set(filter(tables.is_mask, files))
    images = [path for path in files if path not in masks
              and (tables.SUFFIX.search(path.name) or is_image_file(root / path))]  # fmt: skip
    _check_classes(root, images, [path.relative_to(root) for path in found.folders])
    left_out = {
        "masks left out": [path.parent.as_posix() for path in masks],
        "hidden files and folders left out": [path.name for path in found.hidden],
        "files that are not images": [path.name for path in {*files} - {*images} - masks],
        "folders could not be read": [f"{path}: {why}" for path, why in found.unreadable],
    }
    return images, [f"{len(n)} {what} ({_few(n)})" for what, n in left_out.items() if n]


def _check_classes(root: Path, images: list[Path], folders: list[Path]) -> None:
    """Refuse a folder without class folders, and class folders without images."""
    full = {parent for image in images for parent in image.parents}
    for folder in folders:
        at_class_level = len(folder.parts) == 1 or split_word(folder.parent.name)
        if at_class_level and folder not in full and not tables.is_mask(folder / "x"):
            what = f"the class '{folder.name}' has no images; put some there or remove the folder"
            raise StudyTableError(f"{root / folder}: {what}.")
    if full <= {Path()}:
        hint = f"if this is a class folder, give the folder above{_table_beside(root)}"
        raise StudyTableError(f"{root}: no class folders; {_EXPECTED}; {hint}.")


def _table_beside(root: Path) -> str:
    """Return the advice to use the table of a folder, if there is one."""
    return "".join(f"; or give the table {path}" for path in sorted(root.glob("*.csv"))[:1])


def _few(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    different = sorted(set(names))
    more = f" and {len(different) - 4} more" if len(different) > 4 else ""
    return ", ".join(different[:4]) + more


def _places(images: list[Path], root: Path, notes: list[str]) -> pd.DataFrame:
    """Return path, label, split (and MURA's patient) of each image, by the folders above it."""
    levels = zip(*(path.parts[:-2] for path in images), strict=False)
    shared = takewhile(lambda names: len({*names}) == 1 and not split_word(names[0]), levels)
    top = [names[0] for names in shared]
    if top:
        notes.append(f"read from the folder {Path(*top)}, which holds all the rest")
    paths = pd.Series(["/".join(path.parts[len(top) :]) for path in images])
    loose = ~paths.str.contains("/")
    if loose.any():
        notes.append(f"{loose.sum()} images lie directly in {root} and have no class: left out")
        paths = paths[~loose]
    words = {part for path in images for part in path.parts[:-1] if split_word(part)}
    splits = "|".join(map(re.escape, sorted(words))) or "(?!)"
    for layout, pattern in _LAYOUTS.items():  # noqa: B007
        told = paths.str.extract(pattern.replace("{split}", splits))
        if told.notna().any(axis=None):
            break
    parts = paths.str.split("/")
    for folder in sorted(set(parts.str[0][told["label"].isna()])):
        inside = parts.str[0] == folder
        if set(parts.str[1][inside]) <= set(parts.str[0]):
            left_out = f"{inside.sum()} images in {folder} left out"
            notes.append(f"{left_out}: it repeats the split folders")
            told = told[~inside]
    odd = told.index[told["label"].isna()]
    if len(odd):
        what = f"{len(odd)} of {len(told)} images, such as this, do not lie in {layout} folders"
        fix = f"move them, or rename their folders to train, val or test{_table_beside(root)}"
        raise StudyTableError(f"{root / images[odd[0]]}: {what}; {fix}.")
    if "below" in told:
        _check_level(told, root)
    told["path"] = [images[row].as_posix() for row in told.index]
    told["split"] = told["split"].fillna("").map(split_word) if "split" in told else ""
    return told.drop(columns="below", errors="ignore").reset_index(drop=True)


def _check_level(told: pd.DataFrame, root: Path) -> None:
    """Refuse a folder of folders that hold the same class folders, or splits: a level too high."""
    below = told["below"].fillna("").groupby(told["label"]).agg(set)
    held = set.union(*below) if "split" in told else set.intersection(*below)
    held = {name for name in held if name and not _PATIENT_FOLDER.fullmatch(name)}
    classes_here = healthy_class(list(below.index)) and not healthy_class(sorted(held))
    if len(below) > 1 and len(held) > 1 and not classes_here:
        what = f"each of the folders {_few(below.index)} holds the folders {_few(held)}"
        fix = "so this seems to be a folder too high; give one of them, or a CSV study table"
        raise StudyTableError(f"{root}: {what}, {fix}.")


def _patients_by_name(paths: pd.Series[str], pattern: str) -> list[str]:
    """Return the patient of each file: the pattern's first group, or else its whole match."""
    what = f"the patient pattern '{pattern}'"
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise StudyTableError(f"{what} is not a regular expression ({error}).") from error
    patients = []
    for path in paths:
        match = expression.search(os.path.basename(path))
        patients.append(match[min(1, expression.groups)] if match else "")
        if not patients[-1]:
            raise StudyTableError(f"{path}: {what} does not match this file name; correct one.")
    return patients


def _patients(studies: pd.DataFrame, notes: list[str]) -> list[str]:
    """Return the patient of each image by its path, else by its DICOM header, else its own id."""
    told = tables.patients_by_publisher(studies["path"], notes)
    above = studies["path"].map(lambda path: Path(path).parent.name)
    of_patients = all(map(_PATIENT_FOLDER.fullmatch, above)) and (above != studies["label"]).all()
    if of_patients and not told:
        notes.append(f"patients read from the paths, such as '{above[0]}'")
        told = list(above)
    pairs = zip(studies["path"], studies["image_id"], strict=True)
    return told or [_patient_in_header(path) or image_id for path, image_id in pairs]


def _patient_in_header(path: str) -> str:
    """Return the Patient ID of a DICOM file, whatever its name; "" for other files."""
    if tables.PICTURE.search(path):
        return ""
    try:
        return str(read_header(path).get("PatientID", "")).strip()
    except ImageReadError:
        return ""  # decode() will name the file and its fault


def _arrange_kermany(studies: pd.DataFrame, notes: list[str]) -> None:
    """Chest radiographs of children: published test split kept, the rest split by patient.

    The published validation folder has 16 images, too few to choose anything by, so it joins the
    training images before these are split. Person numbers start anew in the test folder, so its
    patients get a name of their own.
    """
    known = all(re.search(tables.KERMANY, path) for path in studies["path"])
    if not known or {"normal", "pneumonia"} != set(studies["label"].str.lower()):
        return
    test = studies["split"] == "test"
    if test.any() and (studies["split"] == "val").any():
        notes.append("the published val (too small to choose by) joined train")
    studies.loc[test, "patient_id"] = "test-" + studies["patient_id"]
    studies["split"] = studies["split"].where(test, "train" if test.any() else "")

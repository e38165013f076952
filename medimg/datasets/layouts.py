"""The layouts in which data sets come: by name, as a folder of classes, or as a table."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
SAMPLES = {
    "sample": "studies.csv",
    "sample_ct": "ct/studies.csv",
    "sample_mr": "mr/studies.csv",
    "sample_retina": "retina/studies.csv",
    "sample_covid": "covid/studies.csv",
}
KERMANY_URL = "https://data.mendeley.com/datasets/rscbjbr9sj/3"
BRAIN_MRI_URL = "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset"
# One child may be filed as IM-0927 and NORMAL2-IM-0927: the number alone is the patient, which
# can only join images that belong apart, never part images that belong together.
_KERMANY = r"(person\d+|IM-\d+|^(?:BACTERIA|VIRUS|NORMAL)-\d+)"
_MURA = re.compile(r"study\d+_(positive|negative)$")
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
        any hospital's display), ``"pneumoniamnist"`` (after ``python -m medimg fetch
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
    named = name in NAMES
    table = not named and path.is_file() and path.suffix.lower() != ".npz"
    _check_options(name, patient_pattern, columns, image_dir, folder=path.is_dir() and not named,
                   table=table)  # fmt: skip
    if named:
        studies = _sample(SAMPLES[name]) if name in SAMPLES else _BROUGHT[name](data_root(root))
    elif table:
        studies = tables.from_csv(
            path, columns=columns, image_dir=image_dir, positive=positive, uncertain=uncertain
        )
    elif path.is_file():
        unpacked = data_root(root) / f"{path.stem}-{sha256(path)[:12]}"
        studies = tables.note(list_images(unpack_npz(path, unpacked)), f"unpacked to {unpacked}")
        studies["patient_id"] = studies["image_id"]
    elif path.is_dir():
        studies = from_folder(path, patient_pattern=patient_pattern)
    else:
        raise StudyTableError(
            f"{name}: neither a known data set nor a folder or CSV file; known are "
            f"{', '.join(NAMES)}."
        )
    if not table:
        studies = tables.choose_finding(studies, positive, uncertain, name=name)
    studies = tables.check_studies(studies, name=name)
    if classes:
        studies.attrs["classes"] = [str(each).strip() for each in classes]
        class_names(studies)  # every label must be among them
    return with_splits(studies)


def _check_options(
    name: str, patient_pattern: str | None, columns: Mapping[str, str] | None,
    image_dir: PathLike | None, *, folder: bool, table: bool,
) -> None:  # fmt: skip
    """Refuse options that the kind of data set has no use for."""
    if patient_pattern is not None and (table or name in NAMES):
        own = "of a set by name are known as far as its source tells them"
        if table:
            own = "of a table stand in its column of patients (columns=, --patient-column)"
        raise StudyTableError(
            f"{name}: a patient pattern is for the file names of a folder; the patients {own}, "
            "so leave the pattern out."
        )
    if (columns or image_dir) and (folder or name in NAMES):
        raise StudyTableError(
            f"{name}: columns and an image folder are for a CSV table, and this is a "
            f"{'folder' if folder else 'set by name'}; leave them out."
        )


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
    studies = list_images(root)
    if patient_pattern is not None:
        studies["patient_id"] = patients_by_name(studies["path"], patient_pattern)
        return tables.check_studies(studies, name=str(root))
    if "patient_id" in studies:
        return tables.check_studies(studies, name=str(root))
    if _is_kermany(studies):
        return _kermany_splits(studies, str(root))
    told = tables.patients_by_publisher(studies["path"]) or _patient_folders(studies, Path(root))
    if told:
        tables.note(studies, f"patients read from the paths, such as '{told[0]}'")
    studies["patient_id"] = told or [
        _patient_in_header(Path(path)) or image_id
        for path, image_id in zip(studies["path"], studies["image_id"], strict=True)
    ]
    return tables.check_studies(studies, name=str(root))


def list_images(root: PathLike) -> pd.DataFrame:
    """List the images of a folder of classes: ``image_id, path, label, split``, no patients yet.

    See :func:`from_folder` for the layout and the errors.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise StudyTableError(
            f"{root}: no such folder; give a folder laid out as ROOT/{{split}}/{{class}}/* or "
            "ROOT/{class}/*, or a CSV study table."
        )
    images, notes = _images(root)
    below = _descend([p.relative_to(root) for p in images], notes)
    rows = _places(below, root, notes)
    studies = pd.DataFrame(rows)
    studies.insert(0, "image_id", tables.image_ids(studies["path"]))
    studies["path"] = [str(Path(os.path.abspath(root / path))) for path in studies["path"]]
    return tables.note(studies, *notes)


def _images(root: Path) -> tuple[list[Path], list[str]]:
    """Return the images below a folder, and what else there is."""
    found = walk_files(root)
    masks = {p for p in found.files if tables.is_mask(p.relative_to(root))}
    files = [p for p in found.files if p not in masks]
    images = [p for p in files if _has_suffix(p) or is_image_file(p)]
    notes = []
    if masks:
        places = Counter(p.parent.relative_to(root).as_posix() for p in masks)
        notes.append(f"{len(masks)} masks left out ({', '.join(sorted(places)[:6])})")
    if found.hidden:
        names = sorted({p.name for p in found.hidden})
        notes.append(f"{len(found.hidden)} hidden files and folders left out ({_few(names)})")
    if len(images) < len(files):
        others = sorted({p.name for p in set(files) - set(images)})
        notes.append(f"{len(files) - len(images)} files that are not images ({_few(others)})")
    if found.unreadable:
        listed = _few([f"{p}: {why}" for p, why in found.unreadable])
        notes.append(f"{len(found.unreadable)} folders could not be read ({listed})")
    for folder, why in found.unreadable:
        if root in (folder, folder.parent):
            raise StudyTableError(
                f"{folder}: the folder could not be read ({why}); change its permissions."
            )
    _check_empty(root, images, found.folders)
    return images, notes


def _check_empty(root: Path, images: list[Path], folders: Sequence[Path]) -> None:
    """Refuse a folder without images, and one whose class folders are empty."""
    if not any(folder.parent == root for folder in folders):
        csv = sorted(p.name for p in root.glob("*.csv"))
        hint = f"; give the table {root / csv[0]}" if csv else ""
        raise StudyTableError(
            f"{root}: no class folders; {_EXPECTED}, such as {root.name}/normal and "
            f"{root.name}/pneumonia (if this is a class folder, give the folder above){hint}."
        )
    full = {parent for image in images for parent in image.parents}
    for folder in folders:
        empty = folder not in full and not tables.is_mask(folder.relative_to(root) / "x")
        if empty and folder.parent in (root, *(p for p in folders if split_word(p.name))):
            raise StudyTableError(
                f"{folder}: the class '{folder.name}' has no images; put PNG, JPEG, TIFF, DICOM or "
                "NIfTI files there, or remove the folder."
            )
    if not images:
        raise StudyTableError(f"{root}: it has no images; {_EXPECTED}.")


def _descend(paths: list[Path], notes: list[str]) -> list[tuple[Path, tuple[str, ...]]]:
    """Return each path and its parts, without folders that hold all the rest."""
    parts = [path.parts for path in paths]
    depth = 0
    while min(map(len, parts)) > depth + 2 and len({p[depth] for p in parts}) == 1:
        if split_word(parts[0][depth]) or _MURA.search(parts[0][depth + 1]):
            break
        depth += 1
    if depth:
        notes.append(f"read from the folder {Path(*parts[0][:depth])}, which holds all the rest")
    return [(path, p[depth:]) for path, p in zip(paths, parts, strict=True)]


def _places(
    images: list[tuple[Path, tuple[str, ...]]], root: Path, notes: list[str]
) -> list[dict[str, str]]:
    """Return path, label, split (and MURA's patient) of each image, by the folders above it."""
    if all(_MURA.search(p.parent.name) for p, _ in images):
        return [
            {"path": str(p), "label": p.parent.name.rsplit("_", 1)[1],
             "split": split_word(parts[0]), "patient_id": p.parent.parent.name}
            for p, parts in images
        ]  # fmt: skip
    loose = sum(len(parts) == 1 for _, parts in images)
    if loose:
        notes.append(f"{loose} images lie directly in {root} and have no class: left out")
    inside = [(p, parts) for p, parts in images if len(parts) > 1]
    if any(split_word(parts[0]) for _, parts in inside):
        return _below_splits(inside, root, notes)
    second = {parts[1] for _, parts in inside if len(parts) > 2}
    if any(split_word(name) for name in second):
        return _splits_below(inside, root)
    _check_level(inside, root)
    return [{"path": str(p), "label": parts[0], "split": ""} for p, parts in inside]


def _below_splits(
    images: list[tuple[Path, tuple[str, ...]]], root: Path, notes: list[str]
) -> list[dict[str, str]]:
    """Read ROOT/{split}/{class}/*."""
    rows, others = [], Counter[str]()
    names = {parts[0] for _, parts in images}
    for path, parts in images:
        split = split_word(parts[0])
        if not split:
            others[parts[0]] += 1
        elif len(parts) < 3:
            csv = sorted(p.name for p in root.glob("*.csv"))
            hint = f"; or give the table {root / csv[0]}" if csv else ""
            raise StudyTableError(
                f"{root / path}: it lies directly in the split folder '{parts[0]}', so its class "
                f"is not known; {_EXPECTED}{hint}."
            )
        else:
            rows.append({"path": str(path), "label": parts[1], "split": split})
    for other, count in others.items():
        below = {parts[1] for _, parts in images if parts[0] == other}
        if not below <= names:
            raise StudyTableError(
                f"{root / other}: this folder with {count} images stands beside the split folders "
                f"{', '.join(sorted(n for n in names if split_word(n)))}, and its name is not a "
                "word for a split; call it train, val or test, or move it out."
            )
        notes.append(f"{count} images in {other} left out: it repeats the split folders")
    return rows


def _splits_below(images: list[tuple[Path, tuple[str, ...]]], root: Path) -> list[dict[str, str]]:
    """Read ROOT/{class}/{split}/*."""
    for path, parts in images:
        if len(parts) < 3 or not split_word(parts[1]):
            raise StudyTableError(
                f"{root / path}: other images of {root} lie in {{class}}/{{split}} folders and "
                f"this one does not; {_EXPECTED}."
            )
    deeper = {parts[2] for _, parts in images if len(parts) > 3}
    if len(deeper) > 1 and all(len(parts) > 3 for _, parts in images):
        sets = sorted({parts[0] for _, parts in images})
        raise StudyTableError(
            f"{root}: it holds {len(sets)} data sets with splits of their own "
            f"({', '.join(sets)}); give the folder of one, such as {root / sets[0]}."
        )
    return [{"path": str(p), "label": parts[0], "split": split_word(parts[1])}
            for p, parts in images]  # fmt: skip


def _check_level(images: list[tuple[Path, tuple[str, ...]]], root: Path) -> None:
    """Refuse a folder of folders that all hold the same class folders: one level too high."""
    below: dict[str, set[str]] = {}
    for _, parts in images:
        below.setdefault(parts[0], set()).add(parts[1] if len(parts) > 2 else "")
    common = set.intersection(*below.values()) if below else set()
    shared = {name for name in common if name and not _PATIENT_FOLDER.fullmatch(name)}
    classes_here = healthy_class(sorted(below)) and not healthy_class(sorted(shared))
    if len(below) > 1 and len(shared) > 1 and not classes_here:
        raise StudyTableError(
            f"{root}: each of the folders {', '.join(sorted(below)[:6])} holds the folders "
            f"{', '.join(sorted(shared)[:6])}, so this seems to be a folder too high; give one of "
            f"them, such as {root / min(below)}, or a CSV study table."
        )


def _has_suffix(path: Path) -> bool:
    """Return whether a name ends as a picture's, a DICOM file's or a NIfTI volume's does."""
    return path.suffix.lower() in tables.SUFFIXES - {".gz"} or is_nifti(path)


def is_nifti(path: Path) -> bool:
    """Return whether a name ends as a NIfTI volume's does."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def patients_by_name(paths: pd.Series[str], pattern: str) -> list[str]:
    """Return the patient of each file: the pattern's first group, or else its whole match."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise StudyTableError(
            f"the patient pattern '{pattern}' is not a regular expression ({error}); one such as "
            "'(person\\d+)_' finds the patient in a file name."
        ) from error
    patients = []
    for path in paths:
        match = expression.search(Path(path).name)
        if match is None or not (match.group(1) if match.groups() else match.group(0)):
            raise StudyTableError(
                f"{path}: the patient pattern '{pattern}' does not match this file name; "
                "correct the pattern or the name."
            )
        patients.append(match.group(1) if match.groups() else match.group(0))
    return patients


def _patient_folders(studies: pd.DataFrame, root: Path) -> list[str]:
    """Return the folder just above each image if all of these are called like patients."""
    above = [Path(path).parent for path in studies["path"]]
    named = all(p.name != label and _PATIENT_FOLDER.fullmatch(p.name)
                for p, label in zip(above, studies["label"], strict=True))  # fmt: skip
    return [p.name for p in above] if named else []


def _patient_in_header(path: Path) -> str | None:
    """Return the Patient ID of a DICOM file, whatever its name; None for other files."""
    if path.suffix.lower() in tables.PICTURES or is_nifti(path):
        return None
    try:
        return str(read_header(path).get("PatientID", "")).strip() or None
    except ImageReadError:
        return None  # decode() will name the file and its fault


def _sample(table: str) -> pd.DataFrame:
    folder = Path(__file__).resolve().parents[2] / "data"
    if not (folder / table).is_file():
        raise StudyTableError(
            f"{folder / table}: the sample is not beside the package; clone the repository and "
            'install it from there with `pip install -e ".[test]"`.'
        )
    return tables.from_csv(folder / table)


def _find(root: Path, marker: tuple[str, ...], where: str, name: str) -> Path:
    """Return the first folder in or up to four levels below `root` that has all of `marker`."""
    for levels in range(5):
        for first in sorted(root.glob("/".join(["*"] * levels + [marker[0]]))):
            folder = first.parents[marker[0].count("/")]
            if all((folder / m).is_dir() for m in marker) and "__MACOSX" not in folder.parts:
                return folder
    raise StudyTableError(
        f"{root}: the data set '{name}' is not here (expected {' and '.join(marker)} below it); "
        f"get it from {where}, unpack it, and set MEDIMG_DATA to its folder."
    )


def _kermany(root: Path) -> pd.DataFrame:
    folder = _find(root, ("train/NORMAL", "train/PNEUMONIA"), KERMANY_URL, "kermany")
    return _kermany_splits(list_images(folder), str(folder))


def _is_kermany(studies: pd.DataFrame) -> bool:
    """Return whether this is the children's pneumonia set, by its classes and file names."""
    names = studies["path"].map(lambda path: Path(path).name)
    return {"normal", "pneumonia"} == set(studies["label"].str.lower()) and bool(
        names.str.contains(_KERMANY.replace("(", "(?:", 1), regex=True).all()
    )


def _kermany_splits(studies: pd.DataFrame, name: str) -> pd.DataFrame:
    """Chest radiographs of children: published test split kept, the rest split by patient.

    The published validation folder has 16 images, too few to choose anything by, so it joins the
    training images before these are split. Person numbers start anew in the test folder, so its
    patients get a name of their own.
    """
    studies["patient_id"] = patients_by_name(studies["path"], _KERMANY)
    test = studies["split"] == "test"
    studies.loc[test, "patient_id"] = "test-" + studies["patient_id"]
    notes = ["patients read from the names of the files"]
    if test.any() and (studies["split"] == "val").any():
        notes.append("the published val (too small to choose by) joined train")
    studies["split"] = studies["split"].where(test, "train" if test.any() else "")
    return with_splits(tables.check_studies(tables.note(studies, *notes), name=name))


def _brain_mri(root: Path) -> pd.DataFrame:
    """Brain MR slices in four classes; the source names no patients, so images stand for them."""
    marker = tuple(f"Training/{c}" for c in ("glioma", "meningioma", "notumor", "pituitary"))
    folder = _find(root, marker, BRAIN_MRI_URL, "brain-mri")
    studies = list_images(folder)
    if set(studies["split"]) == {"train"}:
        studies["split"] = ""
    return studies.assign(patient_id=studies["image_id"])


def _pneumoniamnist(root: Path) -> pd.DataFrame:
    """PneumoniaMNIST, unpacked by `fetch`; its images carry no patient, so each is its own."""
    sizes = [p for p in root.glob("pneumoniamnist_*") if p.is_dir() and p.name[15:].isdecimal()]
    if not sizes:
        raise StudyTableError(
            f"{root}: pneumoniamnist is not here; run `python -m medimg fetch pneumoniamnist "
            "--size 224` first."
        )
    studies = list_images(max(sizes, key=lambda p: int(p.name[15:])))
    return studies.assign(patient_id=studies["image_id"])


_BROUGHT = {"pneumoniamnist": _pneumoniamnist, "kermany": _kermany, "brain-mri": _brain_mri}
NAMES = (*SAMPLES, *_BROUGHT)

"""The layouts in which data sets come: by name, as a folder of classes, or as a table."""

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import numpy as np
import pandas as pd

from medimg.datasets import tables
from medimg.datasets.checks import SPLITS, check_studies, note
from medimg.datasets.names import WORDS, class_names, healthy_class, ranked, require, split_word
from medimg.errors import ImageReadError, StudyTableError
from medimg.images import is_image_file, read_header
from medimg.sources import data_root, unpack
from medimg.storage import equal_files, sha256, walk_files

PathLike = str | os.PathLike[str]
# Sets with a name: where their table or their training folder may lie, the classes in that folder,
# and where to get it.
SETS = pd.read_csv(Path(__file__).with_name("sets.csv"), index_col="name", keep_default_na=False)
_SEED = 2018  # every reader of a set without published splits gets the same ones
_PATIENT_FOLDER = r"(?i:(?:patient|pat|subject|sub|case|person|pt|brats|tcga)[^/]*\d|\d{3,})"
_EXPECTED = "expected ROOT/{split}/{class}/* or ROOT/{class}/*"


def choose(sample: str, *fitting: str) -> str:
    """Return which data set a notebook works on: the one that the environment names, if it fits.

    Parameters
    ----------
    sample : str
        The set to fall back on.
    *fitting : str
        Names of other sets that the notebook can work on.

    Returns
    -------
    str
        What ``MEDIMG_DATASET`` names, or `sample`. A set that does not fit is named in the log.

    Examples
    --------
    >>> choose("sample_retina", "idrid")
    'sample_retina'
    """
    wanted = os.environ.get("MEDIMG_DATASET") or sample
    fits = wanted in (sample, *fitting)
    if not fits and not wanted.startswith("sample"):
        told = "MEDIMG_DATASET=%s does not fit this notebook, which can work on %s; it uses %s."
        logging.getLogger(__name__).warning(told, wanted, " or ".join(fitting), sample)
    return wanted if fits else sample


def load(
    name: PathLike | None = None, *, root: PathLike | None = None,
    patient_pattern: str | None = None, columns: Mapping[str, str] | None = None,
    image_dir: PathLike | None = None, positive: str | None = None, uncertain: str | None = None,
    classes: Sequence[str] | int | None = None, unsplit: str | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Return the study table of a data set.

    Parameters
    ----------
    name : str or path-like, optional
        ``"sample"`` (100 simulated chest radiographs), ``"sample_ct"``, ``"sample_mr"``,
        ``"sample_retina"`` (180 photographs of eyes), ``"sample_covid"`` (243 radiographs before
        any hospital's display), ``"sample_brain"`` (slices of 80 heads), ``"sample_fracture"``
        (bones in several views), ``"pneumoniamnist"`` (after ``python -m medimg fetch
        pneumoniamnist``, and so ``"retinamnist"``, ``"idrid"``, ``"brain-cheng"``,
        ``"fracatlas"``, ``"covid-hannover"``, ``"covidgr"``), ``"kermany"`` or ``"brain-mri"``
        (folders that you bring), or the path of a folder, a CSV study table or a MedMNIST
        ``.npz``. Defaults to the environment variable ``MEDIMG_DATASET``, else ``"sample"``.
    root : path-like, optional
        Where real data lie; see :func:`data_root`.
    patient_pattern : str, optional
        Finds the patient in the file names of a folder; see :func:`from_folder`. Tables and the
        sets with a name tell their patients themselves.
    columns, image_dir : optional
        Of a table; see :func:`from_csv`.
    positive, uncertain : str, optional
        One finding against the rest, and what becomes of uncertain labels; see :func:`from_csv`.
    classes : sequence of str or int, optional
        All classes in order: the healthy one first, grades rising. Or how many there must be, for
        what can work on no other number.
    unsplit : str, optional
        The split of all images of a set without splits, such as "test" for one that is only tested.

    Returns
    -------
    DataFrame
        A study table with splits. Sets without published splits are split by patient, always in
        the same way; where there is no val, 15 % of the patients of train become it. What was
        left out or guessed is in its :func:`summary`.

    Raises
    ------
    StudyTableError
        If the set is not there (the message says where to get it) or not laid out as expected, has
        another number of classes, or an option does not fit the kind of data set.

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
    of_folder = patient_pattern and (name in SETS.index or path.is_file())
    if of_folder or ((columns or image_dir) and (name in SETS.index or path.is_dir())):
        what = "a patient pattern is for a folder, columns and an image folder are for a CSV table"
        raise StudyTableError(f"{name}: {what}; leave out what does not fit.")
    finding = {"positive": positive, "uncertain": uncertain}
    if name in SETS.index:
        path = _find(name, data_root(root))
    elif path.is_file() and path.suffix.lower() == ".npz":
        folder = data_root(root) / f"{path.stem}-{sha256(path)[:12]}"
        path = unpack([path], folder, path.stem.partition("_")[0]) / "studies.csv"
    if path.is_dir():
        studies = from_folder(path, patient_pattern=patient_pattern)
        studies = check_studies(tables.choose_finding(studies, **finding, name=name), name=name)
    elif path.is_file():
        studies = tables.from_csv(path, columns=columns, image_dir=image_dir, **finding)
    else:
        known = ", ".join(SETS.index)
        raise StudyTableError(f"{name}: neither a known data set nor a folder or file ({known}).")
    if name in SETS.index and (studies["split"] == "train").all():
        studies["split"] = ""  # without the published test, all is split anew
    if isinstance(classes, int):
        if len(found := class_names(studies)) != classes:
            what = f"its classes are {', '.join(found)}, and this works on {classes} classes only"
            raise StudyTableError(f"{name}: {what}; choose another set, or merge classes.")
    elif classes:
        studies.attrs["classes"] = class_names(studies, classes=[*map(str.strip, classes)])
    return with_splits(studies, unsplit)


def _find(name: str, root: Path) -> Path:
    """Return the table or folder of a set with a name; copies that macOS makes are none."""
    row = SETS.loc[name]
    classes = row["classes"].split()
    root = Path(__file__).resolve().parents[2] / "data" if name.startswith("sample") else root
    for found in (path for place in row["places"].split() for path in sorted(root.glob(place))):
        if all((found / c).is_dir() for c in classes) and "__MACOSX" not in found.parts:
            return found.parent if classes else found
    raise StudyTableError(f"{root}: the data set '{name}' is not here; {row['advice']}.")


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
    return check_studies(note(studies, *notes), name=str(root))


def _images(root: Path) -> tuple[list[Path], list[str]]:
    """Return the images below a folder, relative to it, and notes on what else there is."""
    found = walk_files(root)
    for folder, why in found.unreadable:
        raise StudyTableError(f"{folder}: the folder could not be read ({why}); permit or move it.")
    files = [path.relative_to(root) for path in found.files]
    masks = set(filter(tables.is_mask, files))
    images = [path for path in files if path not in masks
              and (tables.SUFFIX.search(path.name) or is_image_file(root / path))]  # fmt: skip
    if all(path.parent == Path() for path in images):
        hint = "if this is a class folder, give the folder above"
        raise StudyTableError(f"{root}: no class folders; {_EXPECTED}; {hint}, or a CSV table.")
    full = {parent for path in found.files for parent in path.parents}
    left_out = {
        "masks left out": [path.parent.as_posix() for path in masks],
        "hidden files and folders left out": [path.name for path in found.hidden],
        "files that are not images": [path.name for path in {*files} - {*images} - masks],
        "folders without a file": [path.name for path in found.folders if path not in full],
    }
    return images, [f"{len(n)} {what} ({_few(n)})" for what, n in left_out.items() if n]


def _few(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    first, more = sorted(set(names))[:4], len(set(names)) - 4
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def _places(images: list[Path], root: Path, notes: list[str]) -> pd.DataFrame:
    """Return path, label, split (and MURA's patient) of each image, by the folders above it.

    The first layout that fits any image counts. In its pattern, {split} stands for the names of
    those folders here that mean a split.
    """
    shared = Path(os.path.commonpath([path.parent.parent for path in images])).parts
    top = Path(*takewhile(lambda name: not split_word(name), shared))
    if top.parts:
        notes.append(f"read from the folder {top}, which holds all the rest")
    paths = pd.Series({path.as_posix(): path.relative_to(top).as_posix() for path in images})
    words = {part for path in images for part in path.parts[:-1] if split_word(part)}
    splits = "|".join(map(re.escape, sorted(words))) or "(?!)"
    for layout, pattern in WORDS["layout"].items():  # noqa: B007
        told = paths.str.extract(pattern.replace("{split}", splits))
        if told.notna().any(axis=None):
            break
    first, second = (paths.str.split("/").str[level] for level in (0, 1))
    again = second.isin(set(first)).groupby(first).transform("all") & told["label"].isna()
    for folder, count in first[again].value_counts().sort_index().items():
        notes.append(f"{count} images in {folder} left out: it repeats the split folders")
    told = told[~again]
    if len(odd := told.index[told["label"].isna()]):
        what = f"{len(odd)} of {len(told)} images, such as this, do not lie in {layout} folders"
        fix = "move them, rename their folders to train, val or test, or give a CSV study table"
        raise StudyTableError(f"{root / odd[0]}: {what}; {fix}.")
    _check_level(told, root)
    told = told.assign(split=told["split"].fillna("").map(split_word))
    return told.drop(columns="below").rename_axis("path").reset_index()


def _check_level(told: pd.DataFrame, root: Path) -> None:
    """Refuse a folder of folders that hold the same class folders, or splits: a level too high."""
    below = told["below"].fillna("").groupby(told["label"]).agg(set)
    held = set.union(*below) if told["split"].any() else set.intersection(*below)
    held = {name for name in held if name and not re.fullmatch(_PATIENT_FOLDER, name)}
    classes_here = healthy_class(list(below.index)) and not healthy_class(sorted(held))
    if len(below) > 1 and len(held) > 1 and not classes_here:
        what = f"each of the folders {_few(below.index)} holds the folders {_few(held)}"
        fix = "so this seems to be a folder too high; give one of them, or a CSV study table"
        raise StudyTableError(f"{root}: {what}, {fix}.")


def _patients_by_name(paths: "pd.Series[str]", pattern: str) -> list[str]:
    """Return the patient of each file: the pattern's first group, or else its whole match."""
    what = f"the patient pattern '{pattern}'"
    try:
        matches = paths.map(os.path.basename).map(re.compile(pattern).search)
    except re.error as error:
        raise StudyTableError(f"{what} is not a regular expression ({error}).") from error
    patients = [(match and match[min(1, match.re.groups)]) or "" for match in matches]
    for path in paths[[not patient for patient in patients]]:
        raise StudyTableError(f"{path}: {what} does not match this file name; correct one.")
    return patients


def _patients(studies: pd.DataFrame, notes: list[str]) -> list[str]:
    """Return the patient of each image by its path, else by its DICOM header, else its own id."""
    above = studies["path"].map(lambda path: Path(path).parent.name)
    folder = [rf"/({_PATIENT_FOLDER})/[^/]*$"] if (above != studies["label"]).all() else []
    pairs = zip(studies["path"], studies["image_id"], strict=True)
    told = tables.patients_by_publisher(studies["path"], notes, *folder)
    return told or [_patient_in_header(path) or image_id for path, image_id in pairs]


def _patient_in_header(path: str) -> str:
    """Return the Patient ID of a DICOM file, whatever its name; "" for other files."""
    with suppress(ImageReadError):  # decode() will name the file and its fault
        return str(read_header(path).get("PatientID", "")).strip()
    return ""


def _arrange_kermany(studies: pd.DataFrame, notes: list[str]) -> None:
    """Chest radiographs of children: published test split kept, the rest split by patient.

    The published validation folder has 16 images, too few to choose anything by, so it joins the
    training images before these are split. Person numbers start anew in the test folder, so its
    patients get a name of their own.
    """
    known = all(re.search(WORDS["patient"]["kermany"], path) for path in studies["path"])
    if not known or {"normal", "pneumonia"} != set(studies["label"].str.lower()):
        return
    test = studies["split"] == "test"
    if test.any() and (studies["split"] == "val").any():
        notes.append("the published val (too small to choose by) joined train")
    studies.loc[test, "patient_id"] = "test-" + studies["patient_id"]
    studies["split"] = studies["split"].where(test, "train" if test.any() else "")


def split_by_patient(
    studies: pd.DataFrame, *, rng: np.random.Generator,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> pd.DataFrame:  # fmt: skip
    """Divide a study table into train, val and test so that no patient is in two of them.

    Patients are shuffled within each class (a patient with images of several classes counts as
    the last of them in the order of `class_names`, never as healthy), then dealt out, so that the
    splits have about the same mix of classes.

    Parameters
    ----------
    studies : DataFrame
        A study table; its ``split`` column is replaced.
    rng : numpy.random.Generator
        The source of randomness.
    fractions : tuple of three float
        Shares of train, val and test, of the *patients*; they sum to 1.

    Returns
    -------
    DataFrame
        A copy with ``split`` filled in, in the order of the input.

    Raises
    ------
    StudyTableError
        If the fractions do not sum to 1, a class has too few patients for each split, or the
        table lacks ``patient_id`` or ``label``.

    Examples
    --------
    >>> studies = pd.DataFrame({"patient_id": list("aabbccdd"), "label": ["n", "n", "p", "p"] * 2})
    >>> done = split_by_patient(studies, rng=np.random.default_rng(0), fractions=(0.5, 0, 0.5))
    >>> int(done.groupby("patient_id")["split"].nunique().max())
    1
    """
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise StudyTableError(f"fractions {fractions} must be three shares that sum to 1.")
    require(studies, ("patient_id", "label"))
    order = ranked(studies["label"])
    ids = studies["patient_id"]
    ids = ids.groupby(ids.astype(str).str.casefold()).transform("first")  # P7 and p7 are one
    ranks = studies["label"].astype(str).map(order.index).groupby(ids).max()
    label_of = ranks.map(lambda rank: order[rank])
    wanted = sum(f > 0 for f in fractions)
    home: dict[str, str] = {}
    for label, people in label_of.groupby(label_of):
        if len(people) < wanted:
            what = f"class '{label}' has {len(people)} patient(s), too few for {wanted} splits"
            raise StudyTableError(f"{what}; bring more patients or set a fraction to 0.")
        counts = np.array([max(round(f * len(people)), int(f > 0)) for f in fractions])
        counts[np.argmax(counts)] += len(people) - counts.sum()
        patients = rng.permutation(people.index.to_numpy(dtype=object))
        home.update(zip(patients, np.repeat(SPLITS, counts).tolist(), strict=True))
    return studies.assign(split=[home[p] for p in ids])


def with_splits(studies: pd.DataFrame, unsplit: str | None = None) -> pd.DataFrame:
    """Split a table by patient, always in the same way, as far as it has no splits of its own.

    Where only val is missing, as in many public sets, it is taken from train, because the epoch
    and the threshold must be chosen on it; unless train has too few patients. Equal files stay in
    one split, as if they were of one patient.

    Parameters
    ----------
    studies : DataFrame
        A study table.
    unsplit : str, optional
        The split of all images where none has one; by default these are split.

    Returns
    -------
    DataFrame
        The table with ``split`` filled in; what was done is noted for :func:`summary`.

    Raises
    ------
    StudyTableError
        As :func:`split_by_patient`.
    """
    none, part = (studies["split"] == "").all(), studies["split"].isin(("", "train"))
    if none and unsplit:
        return note(studies.assign(split=unsplit), f"no splits given: all are {unsplit}")
    if (studies["split"] == "val").any() or not part.any():
        return studies
    learn, rng = studies[part], np.random.default_rng(_SEED)
    fractions = (0.7, 0.15, 0.15) if none else (0.85, 0.15, 0.0)
    codes, names = pd.factorize(learn["patient_id"])
    for group in equal_files(learn["path"]):  # patients who share a file count as one
        codes[np.isin(codes, codes[group])] = codes[group].min()
    joined = learn.assign(patient_id=names[codes])
    try:
        dealt = split_by_patient(joined, rng=rng, fractions=fractions)["split"]
    except StudyTableError:
        if none:
            raise
        return studies
    how = "no splits given: split by patient, 70 : 15 : 15" if none else \
        "no val given: 15 % of the patients of train became val"  # fmt: skip
    return note(studies.assign(split=studies["split"].where(~part, dealt)), how)


def subsample(
    studies: pd.DataFrame, sizes: Mapping[str, int], *, rng: np.random.Generator,
    balanced: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Take a smaller set: so many images of each split, of as many patients as possible.

    Parameters
    ----------
    studies : DataFrame
        A study table with splits.
    sizes : mapping of split to int
        How many images to keep of each split; a split that is not named is left out, one with
        fewer images is kept whole.
    rng : numpy.random.Generator
        The source of randomness.
    balanced : bool
        Take the same number from each class instead of keeping the class frequencies.

    Returns
    -------
    DataFrame
        The chosen rows, in the order of the input.

    Raises
    ------
    StudyTableError
        If a size is negative, the named split does not exist in the table, or a column is missing.
    """
    require(studies, ("split", "label", "patient_id"))
    keep: list[int] = []
    for split, size in sizes.items():
        rows = studies[studies["split"] == split]
        if size < 0 or rows.empty:
            raise StudyTableError(f"cannot take {size} of {len(rows)} images of split '{split}'.")
        classes = list(rows.groupby("label"))
        images = np.cumsum([1 if balanced else len(of_class) for _, of_class in classes])
        # Rounding cumulative shares makes the class counts sum to the size exactly.
        ends = [round(size * float(share)) for share in images / images[-1]]
        for (_, of_class), count in zip(classes, np.diff(ends, prepend=0), strict=True):
            shuffled = of_class.iloc[rng.permutation(len(of_class))]
            turn = shuffled.groupby("patient_id").cumcount()  # one image of each before a second
            keep += list(turn.sort_values(kind="stable").index[:count])
    return studies.loc[sorted(keep)].reset_index(drop=True)

"""The data sets that a notebook can run on, each by its name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from medimg.datasets.folders import from_folder, list_images, patients_by_name
from medimg.datasets.splits import split_by_patient
from medimg.datasets.tables import check_studies, from_csv
from medimg.errors import StudyTableError
from medimg.sources import default_folder

SAMPLES = {"sample": "studies.csv", "sample_ct": "ct/studies.csv", "sample_mr": "mr/studies.csv"}
KERMANY_URL = "https://data.mendeley.com/datasets/rscbjbr9sj/3"
BRAIN_MRI_URL = "https://www.kaggle.com/datasets/masoudnickparvar/brain-tumor-mri-dataset"
# One child may be filed as IM-0927 and NORMAL2-IM-0927: the number alone is the patient, which
# can only join images that belong apart, never part images that belong together.
_KERMANY_PATIENT = r"(person\d+|IM-\d+)"
_TRAIN_AND_VAL = (0.85, 0.15, 0.0)
_SPLIT_SEED = 2018  # every reader of a set without published splits gets the same ones


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
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
    name: str | os.PathLike[str] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    patient_pattern: str | None = None,
) -> pd.DataFrame:
    """Return the study table of a data set.

    Parameters
    ----------
    name : str or path-like, optional
        ``"sample"`` (100 simulated chest radiographs), ``"sample_ct"``, ``"sample_mr"``,
        ``"pneumoniamnist"`` (after ``python -m medimg fetch pneumoniamnist``), ``"kermany"`` or
        ``"brain-mri"`` (folders that you bring), or the path of a folder or CSV study table.
        Defaults to the environment variable ``MEDIMG_DATASET``, else ``"sample"``.
    root : path-like, optional
        Where real data lie; see :func:`data_root`.
    patient_pattern : str, optional
        Finds the patient in the file names of a folder; see :func:`from_folder`. Tables and the
        sets with a name tell their patients themselves.

    Returns
    -------
    DataFrame
        A study table with splits. Sets without published splits are split by patient, always in
        the same way; where there is no val, 15 % of the patients of train become it.

    Raises
    ------
    StudyTableError
        If the set is not there (the message says where to get it) or not laid out as expected,
        or a patient pattern is given for what is no folder.

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
    if patient_pattern is not None and (name in NAMES or path.is_file()):
        own = "of a set by name are known as far as its source tells them"
        if path.is_file():
            own = "of a table stand in its column 'patient_id'"
        raise StudyTableError(
            f"{name}: a patient pattern is for the file names of a folder; the patients {own}, "
            "so leave the pattern out."
        )
    if name in SAMPLES:
        return _sample(SAMPLES[name])
    if name in _BROUGHT:
        return _BROUGHT[name](data_root(root))
    if not path.exists():
        raise StudyTableError(
            f"{name}: neither a known data set nor a folder or CSV file; known are "
            f"{', '.join(NAMES)}."
        )
    if path.is_file():
        return with_splits(from_csv(path))
    return with_splits(from_folder(path, patient_pattern=patient_pattern))


def with_splits(studies: pd.DataFrame) -> pd.DataFrame:
    """Split a table by patient, always in the same way, as far as it has no splits of its own.

    Where only val is missing, as many public sets are published, it is taken from train, which
    nothing could choose the epoch and the threshold by otherwise; unless train has too few
    patients to give any away.
    """
    rng = np.random.default_rng(_SPLIT_SEED)
    if (studies["split"] == "").all():
        return split_by_patient(studies, rng=rng)
    train = studies["split"] == "train"
    if (studies["split"] == "val").any() or not train.any():
        return studies
    try:
        dealt = split_by_patient(studies[train], rng=rng, fractions=_TRAIN_AND_VAL)
    except StudyTableError:
        return studies
    return studies.assign(split=studies["split"].where(~train, dealt["split"]))


def _sample(table: str) -> pd.DataFrame:
    folder = Path(__file__).resolve().parents[2] / "data"
    if not (folder / table).is_file():
        raise StudyTableError(
            f"{folder / table}: the sample is not beside the package; clone the repository and "
            'install it from there with `pip install -e ".[test]"`.'
        )
    return from_csv(folder / table)


def _find(root: Path, marker: tuple[str, ...], where: str, name: str) -> Path:
    """Return the first folder in or just below ``root`` that has all of ``marker`` in it."""
    candidates = [root, *(sorted(p for p in root.glob("*") if p.is_dir()) if root.is_dir() else [])]
    candidates += [p / "chest_xray" for p in candidates]
    for folder in candidates:
        if all((folder / m).is_dir() for m in marker):
            return folder
    raise StudyTableError(
        f"{root}: the data set '{name}' is not here (expected {' and '.join(marker)} below it or "
        f"one folder down); get it from {where}, unpack it, and set MEDIMG_DATA to its folder."
    )


def _kermany(root: Path) -> pd.DataFrame:
    """Chest radiographs of children: published test split kept, the rest split by patient.

    The published validation folder has 16 images, too few to choose anything by, so it joins the
    training images before these are split. Person numbers start anew in the test folder, so its
    patients get a name of their own.
    """
    folder = _find(root, ("train/NORMAL", "train/PNEUMONIA"), KERMANY_URL, "kermany")
    studies = list_images(folder)
    studies["patient_id"] = patients_by_name(studies["path"], _KERMANY_PATIENT)
    published_test = studies["split"] == "test"
    studies.loc[published_test, "patient_id"] = "test-" + studies["patient_id"]
    fractions = _TRAIN_AND_VAL if published_test.any() else (0.7, 0.15, 0.15)
    rest = split_by_patient(
        studies[~published_test], rng=np.random.default_rng(_SPLIT_SEED), fractions=fractions
    )
    return check_studies(pd.concat([rest, studies[published_test]]), name=str(folder))


def _brain_mri(root: Path) -> pd.DataFrame:
    """Brain MR slices in four classes; the source names no patients, so images stand for them."""
    marker = tuple(f"Training/{c}" for c in ("glioma", "meningioma", "notumor", "pituitary"))
    folder = _find(root, marker, BRAIN_MRI_URL, "brain-mri")
    studies = list_images(folder)
    studies = check_studies(studies.assign(patient_id=studies["image_id"]), name=str(folder))
    if set(studies["split"]) == {"train"}:
        studies["split"] = ""
    return with_splits(studies)


def _pneumoniamnist(root: Path) -> pd.DataFrame:
    """PneumoniaMNIST, unpacked by `fetch`; its images carry no patient, so each is its own."""
    sizes = [p for p in root.glob("pneumoniamnist_*") if p.is_dir()]
    folders = sorted(sizes, key=lambda p: int(p.name.split("_")[1]))
    if not folders:
        raise StudyTableError(
            f"{root}: pneumoniamnist is not here; run `python -m medimg fetch pneumoniamnist "
            "--size 224` first."
        )
    studies = list_images(folders[-1])
    return check_studies(studies.assign(patient_id=studies["image_id"]))


_BROUGHT = {"pneumoniamnist": _pneumoniamnist, "kermany": _kermany, "brain-mri": _brain_mri}
NAMES = (*SAMPLES, *_BROUGHT)

"""Can the label be told without looking at the disease? An audit before any network is trained.

A file's size, the mean brightness, a strip of border or a header field must not tell the healthy
from the ill. Where they do, a network will learn them, and fail in the next hospital.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from medimg.datasets.classes import class_names, ranked
from medimg.datasets.tables import require_columns
from medimg.errors import StudyTableError
from medimg.images import read_header, read_image, resize
from medimg.images.files import check_file
from medimg.progress import tqdm

Array = npt.NDArray[Any]
_SIDE, _STRIP, _RESAMPLES = 224, 8, 400
# scikit-learn has no types
_Folds: Any = StratifiedGroupKFold
_Forest: Any = RandomForestClassifier
_Tree: Any = DecisionTreeClassifier
_NEVER = {"image_id", "path", "label", "split", "patient_id"}


def audit_shortcuts(studies: pd.DataFrame, *, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """Measure how well the label can be told by what is not disease.

    Every shortcut gets a classifier of its own (a random forest on numbers of the image, a small
    tree on one number, the share of the ill for one category), scored out of fold with patients
    kept together.

    Parameters
    ----------
    studies : DataFrame
        A study table. With `dicom_path`, every header field is audited too. A column that is
        empty (or "none", or 0) for all the healthy describes the disease and is left out.
    folds : int
        Of the cross-validation.
    seed : int
        Of folds, forests and intervals.

    Returns
    -------
    DataFrame
        `shortcut`, `auc`, `low` and `high` (95 % interval, bootstrap by patient), `n`; the most
        telling first. 0.5 is chance.

    Raises
    ------
    StudyTableError
        When a column is missing, there is one class only, or a class has fewer patients than
        `folds`.
    ImageReadError
        When an image is missing or cannot be read.

    References
    ----------
    .. [1] J. Zech et al., "Variable generalization performance of a deep learning model to
       detect pneumonia in chest radiographs", PLoS Medicine 15(11), 2018.

    Examples
    --------
    >>> table = audit_shortcuts(studies)  # doctest: +SKIP
    >>> list(table.columns)  # doctest: +SKIP
    ['shortcut', 'auc', 'low', 'high', 'n']
    """
    ill, patients = _answers(studies, folds)
    cut = _Folds(folds, shuffle=True, random_state=seed)
    parts = list(cut.split(ill, ill, patients))
    rows: list[tuple[str, float, float, float, int]] = []
    for name, values in _shortcuts(studies):
        score = _out_of_fold(values, ill, parts, seed)
        low, high = _interval(score, ill, patients, seed)
        rows.append((name, _auc(score, ill), low, high, len(ill)))
    table = pd.DataFrame(rows, columns=["shortcut", "auc", "low", "high", "n"])
    return table.sort_values("auc", ascending=False, kind="stable", ignore_index=True)


def _answers(studies: pd.DataFrame, folds: int) -> tuple[Array, Array]:
    """Return who is ill and the patients' numbers, or say why there can be no audit."""
    require_columns(studies, ("path", "label", "patient_id"))
    names = class_names(studies)
    if len(names) < 2:
        raise StudyTableError(
            f"the study table has one class only ({', '.join(names)}); an audit needs two"
        )
    ill = (studies["label"].astype(str) != names[0]).to_numpy().astype(int)
    patients = pd.factorize(studies["patient_id"].astype(str))[0]
    fewest = min(len(np.unique(patients[ill == k])) for k in (0, 1))
    if not 2 <= folds <= fewest:
        raise StudyTableError(
            f"folds={folds} cannot be: the smaller class has {fewest} patients; choose 2 to "
            f"{fewest} folds or add patients"
        )
    return ill, patients


def _shortcuts(studies: pd.DataFrame) -> Iterator[tuple[str, Array]]:
    """Yield each shortcut's name and its values: (N, k) numbers or (N,) strings."""
    paths = [Path(p) for p in studies["path"]]
    yield "file size", np.array([[_size(p)] for p in paths], float)
    numbers = [_numbers(p) for p in tqdm(paths, desc="audit", unit="image")]
    yield "image size", np.array([n[0] for n in numbers], float)
    yield "global statistics", np.stack([n[1] for n in numbers])
    yield "border strips", np.stack([n[2] for n in numbers])
    if "dicom_path" in studies and studies["dicom_path"].astype(str).str.len().gt(0).all():
        sizes = [[_size(p)] for p in studies["dicom_path"]]
        yield "DICOM file size", np.array(sizes, float)
        headers = pd.DataFrame([_fields(p) for p in studies["dicom_path"]])
        for name in sorted(map(str, headers)):
            if len(headers[name].drop_duplicates()) > 1:
                yield f"header: {name}", _column(headers[name])
    healthy = (studies["label"].astype(str) == ranked(studies["label"])[0]).to_numpy()
    for name in studies.columns:
        told = name in _NEVER or name.endswith("_path") or _empty(studies.loc[healthy, name])
        if not told and len(studies[name].drop_duplicates()) > 1:
            yield f"column: {name}", _column(studies[name])


def _size(path: str | Path) -> int:
    """Return the bytes of a file, or raise an ImageReadError that says what is wrong with it."""
    return check_file(path).stat().st_size


def _empty(values: pd.Series[Any]) -> bool:
    """Return whether nothing is said of anyone: missing, "", "none" or 0 throughout."""
    return bool(_text(values).str.lower().isin(("", "none", "0", "0.0")).all())


def _numbers(path: Path) -> tuple[tuple[int, ...], Array, Array]:
    """Return shape, 18 global numbers and the means along the four borders of an image."""
    image = read_image(path)
    counts = np.histogram(image, bins=16, range=(0, 1))[0] / image.size
    square = resize(image, _SIDE)
    strips = [square[:_STRIP], square[-_STRIP:], square[:, :_STRIP].T, square[:, -_STRIP:].T]
    border = [strip.reshape(_STRIP, -1, _STRIP).mean(axis=(0, 2)) for strip in strips]
    return image.shape, np.array([image.mean(), image.std(), *counts]), np.concatenate(border)


def _fields(path: str) -> dict[str, str]:
    """Return the values of a DICOM header, sequences as text."""
    header = read_header(path)
    elements = [*header, *getattr(header, "file_meta", [])]
    return {e.keyword or str(e.tag): str(e.value) for e in elements if e.keyword != "PixelData"}


def _column(values: pd.Series[Any]) -> Array:
    """Return (N, 1) numbers where all values are, else (N,) strings."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and not pd.api.types.is_bool_dtype(values):
        return numbers.to_numpy(float)[:, None]
    return _text(values).to_numpy()


def _text(values: pd.Series[Any]) -> pd.Series[str]:
    """Return values as strings, "" for missing ones; a categorical column takes no new value."""
    return values.astype(object).where(values.notna(), "").astype(str)


def _out_of_fold(values: Array, ill: Array, parts: list[Any], seed: int) -> Array:
    """Return scores from models that never saw the patient, as ranks within their fold."""
    score = np.zeros(len(ill))
    for train, test in parts:
        if values.ndim == 1:
            known = pd.Series(ill[train]).groupby(values[train]).agg(["sum", "count"])
            prior = ill[train].mean()
            share = (known["sum"] + 2 * prior) / (known["count"] + 2)
            raw = pd.Series(values[test]).map(share).fillna(prior).to_numpy()
        else:
            model: Any = (
                _Forest(150, min_samples_leaf=3, random_state=seed)
                if values.shape[1] > 2
                else _Tree(
                    max_depth=4, min_samples_leaf=max(len(train) // 20, 2), random_state=seed
                )
            )
            raw = model.fit(values[train], ill[train]).predict_proba(values[test])[:, 1]
        score[test] = (stats.rankdata(raw) - 0.5) / len(test)
    return score


def _auc(score: Array, ill: Array) -> float:
    """Return the area under the ROC curve by ranks."""
    ranks, sick = stats.rankdata(score), int(ill.sum())
    above = ranks[ill == 1].sum() - sick * (sick + 1) / 2
    return float(above / (sick * (len(ill) - sick)))


def _interval(score: Array, ill: Array, patients: Array, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the AUC, patients drawn with replacement."""
    rng = np.random.default_rng(seed)
    of = [np.flatnonzero(patients == p) for p in range(patients.max() + 1)]
    values = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([of[i] for i in rng.integers(len(of), size=len(of))])
        if 0 < ill[drawn].sum() < len(drawn):
            values.append(_auc(score[drawn], ill[drawn]))
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)

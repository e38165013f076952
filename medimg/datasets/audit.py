"""Can the label be told without looking at the disease? An audit before any network is trained.

A file's size, the mean brightness, a strip of border or a header field must not tell one class
from the others. Where they do, a network will learn them, and fail in the next hospital.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from medimg.datasets.names import healthy_class, ranked
from medimg.datasets.tables import require_columns
from medimg.errors import ImageReadError, StudyTableError
from medimg.images import read_header, read_image, resize
from medimg.metrics import Predictions, auc
from medimg.progress import tqdm

log = logging.getLogger(__name__)
Array = npt.NDArray[Any]
_SIDE, _STRIP = 224, 8
# scikit-learn has no types
_Folds: Any = StratifiedGroupKFold
_Forest: Any = RandomForestClassifier
_Tree: Any = DecisionTreeClassifier
_NEVER = {"image_id", "path", "label", "split", "patient_id", "frame"}
# Words by which a column says that it holds the diagnosis.
_LABEL_WORDS = re.compile(
    r"label|class|target|diagnos|finding|grade|severity|stage|disease|outcome|patholog|\bdx", re.I
)


def audit_shortcuts(
    studies: pd.DataFrame, *, exclude: Collection[str] = (), folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Measure how well each class can be told from the rest by what is not disease.

    Every shortcut gets a classifier of its own (a random forest on numbers of the image, a small
    tree on one number, the frequency of the classes for one category), scored out of fold with
    patients kept together.

    Parameters
    ----------
    studies : DataFrame
        A study table. With `dicom_path`, every header field is audited too. Left out by itself,
        with a line in the log, is a column that describes the disease: one that is empty (or
        "none", or 0) for all images of the healthy class, or that by its name or its values holds
        the label and settles it.
    exclude : collection of str
        Further columns to leave out.
    folds : int
        How many folds the cross-validation has.
    seed : int
        Seed for the folds and the forests.

    Returns
    -------
    DataFrame
        `shortcut`, `class` (told from the rest; of two classes only the second), `auc`, `low` and
        `high` (95 % interval, DeLong by patient), `n`; the most telling first. 0.5 is chance.
        ``attrs["left_out"]`` maps each column that was left out to the reason.

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
    ['shortcut', 'class', 'auc', 'low', 'high', 'n']
    """
    names, labels, patients = _answers(studies, exclude, folds)
    left_out = _left_out(studies, names, exclude)
    for column, why in left_out.items():
        log.info("column '%s' is not audited: %s", column, why)
    cut = _Folds(folds, shuffle=True, random_state=seed)
    parts = list(cut.split(labels, labels, patients))
    judged = range(1 if len(names) == 2 else 0, len(names))
    rows: list[dict[str, object]] = []
    for name, values in _shortcuts(studies.drop(columns=list(left_out))):
        scores = _out_of_fold(values, labels, parts, seed, len(names))
        for k in judged:
            truth = (labels == k).astype(int)
            found = auc(Predictions(range(len(truth)), truth, scores[:, k], patients))  # type: ignore[arg-type]
            rows.append({"shortcut": name, "class": names[k], "auc": found.value,
                         "low": found.low, "high": found.high, "n": len(truth)})  # fmt: skip
    table = pd.DataFrame(rows).sort_values("auc", ascending=False, kind="stable", ignore_index=True)
    table.attrs["left_out"] = left_out
    return table


def _answers(
    studies: pd.DataFrame, exclude: Collection[str], folds: int
) -> tuple[tuple[str, ...], Array, Array]:
    """Return classes, labels and patients as numbers, or say why there can be no audit."""
    require_columns(studies, ("path", "label", "patient_id", *exclude))
    names = tuple(studies.attrs.get("classes", ())) or ranked(studies["label"])
    labels = studies["label"].astype(str).map({n: k for k, n in enumerate(names)}).to_numpy()
    present = np.unique(labels)
    if len(present) < 2:
        raise StudyTableError(
            f"the study table has one class only ({studies['label'].iloc[0]}); an audit needs two"
        )
    patients = pd.factorize(studies["patient_id"].astype(str))[0]
    fewest = min(len(np.unique(patients[labels == k])) for k in present)
    if not 2 <= folds <= fewest:
        raise StudyTableError(
            f"folds={folds} cannot be: the smallest class has {fewest} patients; choose 2 to "
            f"{fewest} folds or add patients"
        )
    return names, labels, patients


def _left_out(
    studies: pd.DataFrame, names: tuple[str, ...], exclude: Collection[str]
) -> dict[str, str]:
    """Return which columns describe the disease, and how that was told."""
    healthy = names[0] if len(names) == 2 else healthy_class(names)
    is_healthy = studies["label"].astype(str) == healthy
    found = dict.fromkeys(exclude, "excluded by you")
    for name in studies.columns.difference([*_NEVER, *found], sort=False):
        if name.endswith("_path"):
            continue
        if is_healthy.any() and _empty(studies.loc[is_healthy, name]):
            found[name] = f"empty for every image of class {healthy}, so it describes the disease"
        elif _holds_label(studies[name], studies["label"], names):
            found[name] = "it holds the label"
    return found


def _holds_label(values: pd.Series[Any], labels: pd.Series[str], names: tuple[str, ...]) -> bool:
    """Return whether a column settles the label, and is one by its name or by its values."""
    text = _text(values)
    kinds = text.nunique()
    settles = kinds > 1 and bool((labels.groupby(text).agg(lambda of: len(set(of))) < 2).all())
    plain = {re.sub(r"[\W_]+", "", name).lower() for name in names}
    said = {re.sub(r"[\W_]+", "", value).lower() for value in text.unique()}
    named = bool(_LABEL_WORDS.search(str(values.name))) and kinds <= max(20, 2 * len(names))
    return settles and (named or bool(plain & said))


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
    for name in studies.columns.difference([*_NEVER], sort=False):
        if not name.endswith("_path") and len(studies[name].drop_duplicates()) > 1:
            yield f"column: {name}", _column(studies[name])


def _size(path: str | Path) -> int:
    """Return the bytes of a file, or raise an ImageReadError that says what is wrong with it."""
    try:
        return Path(path).stat().st_size
    except OSError as error:
        raise ImageReadError(f"{path}: there is no such file; correct the study table.") from error


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


def _out_of_fold(values: Array, labels: Array, parts: list[Any], seed: int, count: int) -> Array:
    """Return (N, K) scores of models that never saw the patient, as ranks within their fold."""
    scores = np.zeros((len(labels), count))
    for train, test in parts:
        if values.ndim == 1:
            truth = np.eye(count)[labels[train]]
            prior = truth.mean(axis=0)
            known = pd.DataFrame(truth).groupby(values[train]).agg(["sum", "count"])
            raw = np.tile(prior, (len(test), 1))
            for k in range(count):
                share = (known[k, "sum"] + 2 * prior[k]) / (known[k, "count"] + 2)
                raw[:, k] = pd.Series(values[test]).map(share).fillna(prior[k])
        else:
            model: Any = (
                _Forest(150, min_samples_leaf=3, random_state=seed)
                if values.shape[1] > 2
                else _Tree(
                    max_depth=4, min_samples_leaf=max(len(train) // 20, 2), random_state=seed
                )
            )
            raw = np.zeros((len(test), count))
            model.fit(values[train], labels[train])
            raw[:, model.classes_] = model.predict_proba(values[test])
        scores[test] = (stats.rankdata(raw, axis=0) - 0.5) / len(test)
    return scores

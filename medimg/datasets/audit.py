"""Can the label be told without looking at the disease? An audit before any network is trained.

A file's size, the mean brightness, a strip of border or a header field must not tell one class
from the others. Where they do, a network will learn them, and fail in the next hospital.
"""

# scikit-learn has no types
# mypy: disable-error-code="no-untyped-call"

import os
import re
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from sklearn import ensemble, model_selection, preprocessing
from sklearn.tree import DecisionTreeClassifier

from medimg.datasets.checks import COLUMNS, text_of
from medimg.datasets.names import WORDS, healthy_class, plain, ranked, require
from medimg.errors import StudyTableError
from medimg.images import read_header, read_image, resize
from medimg.metrics import Predictions, auc
from medimg.progress import tqdm

Array = npt.NDArray[Any]
_SIDE, _STRIP = 224, 8
_LABEL_WORD = re.compile("|".join(WORDS["label word"]), re.IGNORECASE)


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
        A study table. With `dicom_path`, every header field is audited too. Left out by itself is
        a column that describes the disease: one that is empty (or "none", or 0) for all images of
        the healthy class, or that by its name or its values holds the label and settles it.
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
    require(studies, ("path", "label", "patient_id", *exclude))
    names = tuple(studies.attrs.get("classes", ())) or ranked(studies["label"])
    labels = studies["label"].astype(str).map(names.index).to_numpy()
    patients = pd.factorize(studies["patient_id"].astype(str))[0]
    fewest = pd.Series(patients).groupby(labels).nunique().min()
    if len(set(labels)) < 2:
        raise StudyTableError(f"the table has one class only ({names[labels[0]]}); bring another.")
    if not 2 <= folds <= fewest:
        what = f"folds={folds} cannot be: the smallest class has {fewest} patients"
        raise StudyTableError(f"{what}; choose 2 to {fewest} folds or add patients.")
    left_out = _left_out(studies, names, exclude)
    cut = model_selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(cut.split(labels, labels, patients))
    rows = []
    for name, values in _shortcuts(studies.drop(columns=list(left_out))).items():
        scores = _out_of_fold(values, labels, parts, seed, len(names))
        for k in range(1 if len(names) == 2 else 0, len(names)):
            found = auc(Predictions(np.arange(len(labels)), labels == k, scores[:, k], patients))
            rows.append((name, names[k], found.value, found.low, found.high, len(labels)))
    table = pd.DataFrame(rows, columns=["shortcut", "class", "auc", "low", "high", "n"])
    table = table.sort_values("auc", ascending=False, kind="stable", ignore_index=True)
    table.attrs["left_out"] = left_out
    return table


def _left_out(
    studies: pd.DataFrame, names: tuple[str, ...], exclude: Collection[str]
) -> dict[str, str]:
    """Return which columns describe the disease, and how that was told."""
    labels = studies["label"].astype(str)
    healthy = names[0] if len(names) == 2 else healthy_class(names)
    found = dict.fromkeys(exclude, "excluded by you")
    for name in [c for c in _columns(studies) if c not in found]:
        values = text_of(studies[name])
        said = values[labels == healthy]
        kinds = set(values)
        settles = len(kinds) > 1 and bool((labels.groupby(values).nunique() < 2).all())
        named = bool(_LABEL_WORD.search(name)) and len(kinds) <= max(20, 2 * len(names))
        if len(said) and said.str.lower().isin(("", "none", "0", "0.0")).all():
            found[name] = f"empty for every image of class {healthy}, so it describes the disease"
        elif settles and (named or {*map(plain, names)} & {*map(plain, kinds)}):
            found[name] = "it holds the label"
    return found


def _columns(studies: pd.DataFrame) -> list[str]:
    """Return the columns that may be shortcuts, in the order of the table."""
    other = (*COLUMNS, "frame")
    return [c for c in map(str, studies) if c not in other and not c.endswith("_path")]


def _shortcuts(studies: pd.DataFrame) -> dict[str, Array]:
    """Return each shortcut's values by its name: (N, k) numbers or (N, 1) strings."""
    images = [_numbers(path) for path in tqdm(studies["path"], desc="audit", unit="image")]
    shapes, numbers, borders = (np.array(values, float) for values in zip(*images, strict=True))
    sizes = np.array([[os.path.getsize(path)] for path in studies["path"]], float)
    found = {"file size": sizes, "image size": shapes, "global statistics": numbers,
             "border strips": borders}  # fmt: skip
    columns = studies[_columns(studies)].add_prefix("column: ").reset_index(drop=True)
    if "dicom_path" in studies and studies["dicom_path"].astype(str).str.len().gt(0).all():
        paths = studies["dicom_path"]
        headers = pd.DataFrame([_fields(path) for path in paths])
        found["DICOM file size"] = np.array([[os.path.getsize(path)] for path in paths], float)
        columns = headers.sort_index(axis=1).add_prefix("header: ").join(columns)
    telling = [name for name in columns if len(columns[name].drop_duplicates()) > 1]
    return found | {str(name): _column(columns[name]) for name in telling}


def _numbers(path: str) -> tuple[tuple[int, ...], Array, Array]:
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


def _column(values: "pd.Series[Any]") -> Array:
    """Return (N, 1) numbers where all values are, else (N, 1) strings."""
    numbers = pd.to_numeric(values, errors="coerce")
    is_text = numbers.isna().any() or pd.api.types.is_bool_dtype(values)
    return (text_of(values) if is_text else numbers.astype(float)).to_numpy()[:, None]


def _out_of_fold(values: Array, labels: Array, parts: list[Any], seed: int, count: int) -> Array:
    """Return (N, K) scores of models that never saw the patient, as ranks within their fold."""
    scores = np.zeros((len(labels), count))
    for train, test in parts:
        leaf = max(len(train) // 20, 2)
        model: Any = DecisionTreeClassifier(max_depth=4, min_samples_leaf=leaf, random_state=seed)
        if values.dtype == object:  # how often each category goes with each class
            model = preprocessing.TargetEncoder(smooth=2.0)
        elif values.shape[1] > 2:
            model = ensemble.RandomForestClassifier(150, min_samples_leaf=3, random_state=seed)
        model.fit(values[train], labels[train])
        raw = (model.transform if values.dtype == object else model.predict_proba)(values[test])
        known = model.classes_[-raw.shape[1] :]  # of two classes, a category tells the second
        scores[np.ix_(test, known)] = (stats.rankdata(raw, axis=0) - 0.5) / len(test)
    return scores

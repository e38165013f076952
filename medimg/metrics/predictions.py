"""What a network said about each image, beside the truth: the input of every metric."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medimg.errors import MetricsError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Names = Sequence[str] | NDArray[Any]


class Rows(NamedTuple):
    """Two-class truth, score and patient of some images, as arrays of one length."""

    positive: Bools
    score: Floats
    patient: Ints
    """Code of the patient, below `size`, so that groups of images can be compared by patient."""
    size: int

    @property
    def lacking(self) -> str:
        """Which class has no image, in words; empty when both have some."""
        if self.positive.all():
            return "no negative image"
        return "" if self.positive.any() else "no positive image"


class Predictions:
    """Truth and predicted probability of each image, checked once when they are put together.

    Parameters
    ----------
    ids : sequence of str, length N
        Name of each image: its id or its path.
    y_true : array-like of int, (N,)
        The reference standard: 0 is the negative class, 1 .. K-1 the others.
    y_score : array-like of float, (N,) or (N, K)
        Probabilities in [0, 1]: for two classes that of class 1, else one column per class, and
        each row sums to 1.
    patient_ids : sequence of str, length N, optional
        Patient of each image. Intervals are made by patient. Without it the patients are not
        known, and each image counts as one patient. Blanks are refused.
    classes : sequence of str, length K, optional
        Names of the classes, the negative one first; grades in rising order.
    unit : str
        What a row is, for the words of tables and warnings; `aggregate` makes it "patient".

    Attributes
    ----------
    codes : int64 array, (N,)
        Number of each image's patient, from 0; of each image when the patients are not known.
    n_patients : int
        Number of patients (of images, when the patients are not known).
    patients_known : bool
        Whether it is known which images are of the same patient.
    is_binary : bool
        Whether there are two classes.
    positive : str
        Name of class 1: the disease of a two-class task.

    Raises
    ------
    MetricsError
        When lengths differ, a label is not one of 0 .. K-1, a score is missing or outside [0, 1],
        an id is given twice, or a patient is blank. The message names the first offending row,
        counted from 0.

    Examples
    --------
    >>> Predictions("abc", [0, 1, 1], [0.2, 0.9, 0.4], "ppq", ("normal", "pneumonia"))
    Predictions(3 images of 2 patients; normal 1, pneumonia 2)
    >>> Predictions("abc", [0, 1, 1], [0.2, 0.9, 0.4]).count_text
    '3 images (patients not known: each image counts as one patient)'
    """

    def __init__(
        self, ids: Names, y_true: ArrayLike, y_score: ArrayLike, patient_ids: Names | None = None,
        classes: Sequence[str] = (), unit: str = "image",
    ) -> None:  # fmt: skip
        self.ids = np.asarray([str(name) for name in ids], dtype=np.str_)
        self.y_true, self.y_score = _checked(self.ids, y_true, y_score)
        self.patient_ids = None if patient_ids is None else check_patients(patient_ids, self.ids)
        self.codes: Ints = patient_codes(self.patient_ids, len(self.ids))
        self.is_binary = self.y_score.ndim == 1
        count = 2 if self.is_binary else self.y_score.shape[1]
        default = ("negative", "positive") if count == 2 else [f"class {k}" for k in range(count)]
        self.classes: tuple[str, ...] = tuple(map(str, classes or default))
        if len(self.classes) != count:
            raise MetricsError(
                f"{len(classes)} class names for scores of {count} classes; give one name per "
                "class, and for two classes one score per row: the probability of class 1"
            )
        self.positive, self.unit = self.classes[1], unit
        self.patients_known, self.n_patients = patient_ids is not None, int(self.codes.max()) + 1

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        sizes = np.bincount(self.y_true, minlength=len(self.classes))
        counts = ", ".join(f"{name} {n}" for name, n in zip(self.classes, sizes, strict=True))
        return f"Predictions({self.count_text}; {counts})"

    @property
    def count_text(self) -> str:
        """Numbers of images and patients in words, also where the patients are not known."""
        count = f"{len(self)} {self.unit}s"
        if self.patients_known:
            return count + f" of {self.n_patients} patients" * (self.unit != "patient")
        return f"{count} (patients not known: each {self.unit} counts as one patient)"

    @property
    def rows(self) -> Rows:
        """Truth, score and patient of two-class predictions, for computing.

        Raises
        ------
        MetricsError
            With more than two classes: every metric for two classes asks here.
        """
        if not self.is_binary:
            raise MetricsError(
                f"this metric is for two classes and the predictions have {len(self.classes)}; "
                "use predictions.one_vs_rest(k) or, for grades, predictions.at_least(grade)"
            )
        return Rows(self.y_true == 1, self.y_score, self.codes, self.n_patients)

    def predicted(self, threshold: float = 0.5) -> Ints:
        """Predicted class of each image: score >= threshold, or the likeliest of K classes."""
        if self.is_binary:
            return np.asarray(self.y_score >= threshold, dtype=np.int64)
        return np.asarray(np.argmax(self.y_score, axis=1), dtype=np.int64)

    def one_vs_rest(self, k: int) -> Predictions:
        """Two-class predictions of class k against all others."""
        if self.is_binary:
            return self
        names = (f"not {self.classes[k]}", self.classes[k])
        return self._with(self.y_true == k, self.y_score[:, k], names)

    def at_least(self, grade: int | str) -> Predictions:
        """Two-class predictions of "this grade or worse", from the summed probabilities.

        Parameters
        ----------
        grade : int or str
            Number or name of the lowest grade that counts as positive (for instance the grade
            from which on a patient is referred).

        Returns
        -------
        Predictions
            Class 1 is every class from `grade` on; its score is their summed probability.

        Raises
        ------
        MetricsError
            When the grade is not one of the classes, or is the lowest one.

        Examples
        --------
        >>> graded = Predictions("ab", [0, 2], [[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]])
        >>> graded.at_least(1)
        Predictions(2 images (patients not known: each image counts as one patient); below class 1
        1, class 1 or worse 1)
        """
        names = list(self.classes)
        k = names.index(grade) if grade in names else grade
        if not (isinstance(k, int | np.integer) and 1 <= k < len(names)):
            raise MetricsError(
                f"grade {grade!r} cannot divide the classes {', '.join(names)}; expected a number "
                f"from 1 to {len(names) - 1}, or the name of a class after the first"
            )
        if self.is_binary:
            return self
        score = np.minimum(self.y_score[:, k:].sum(axis=1), 1.0)  # rounding may pass 1
        words = (f"below {names[k]}", f"{names[k]} or worse" if k < len(names) - 1 else names[k])
        return self._with(self.y_true >= k, score, words)

    def aggregate(
        self, by: Names = "patient", *, how: Literal["mean", "max"] = "mean", ordinal: bool = False
    ) -> Predictions:
        """Return one prediction per patient or study, from those of its images.

        Parameters
        ----------
        by : "patient" or sequence of str, length N
            Unit of each image: its patient, or names of your own such as ``studies["study_id"]``.
        how : {"mean", "max"}
            Mean or greatest score of the unit's images. The greatest scores of more than two
            classes are divided by their sum.
        ordinal : bool
            Whether the classes are grades: a unit then has the worst of its images.

        Returns
        -------
        Predictions
            One row per unit, in the order in which the units first appear; the unit's name is its
            id. With two classes a unit is positive if any of its images is.

        Raises
        ------
        MetricsError
            When the patients are not known, a unit has images of two patients or, with more than
            two classes that are no grades, of two classes.

        Examples
        --------
        >>> films = Predictions("abc", [0, 1, 0], [0.2, 0.9, 0.4], ["p", "p", "q"])
        >>> films.aggregate(how="max").y_score.tolist()
        [0.9, 0.4]
        """
        units = self.patient_ids if isinstance(by, str) and by == "patient" else by
        if how not in ("mean", "max") or units is None or isinstance(units, str):
            raise MetricsError(
                f"by is {by!r} and how {how!r}; expected 'patient', if the patients are known, or "
                "the unit of each image, and mean or max"
            )
        code, names = pd.factorize(check_patients(units, self.ids, column="unit"))
        first = np.unique(code, return_index=True)[1]
        scores = pd.DataFrame(self.y_score.reshape(len(self), -1)).groupby(code).agg(how).to_numpy()
        truth = pd.Series(self.y_true).groupby(code).max().to_numpy()
        words = " belongs to a unit with more than one {}; expected one for all its images"
        if self.patients_known:
            _refuse(self.codes[first][code] != self.codes, self.ids, words.format("patient"))
        if self.is_binary:
            scores = np.clip(scores[:, 0], 0, 1)
        else:
            if not ordinal:
                _refuse(truth[code] != self.y_true, self.ids, words.format("class"))
            scores = scores / scores.sum(axis=1, keepdims=True)
        patients = None if self.patient_ids is None else self.patient_ids[first]
        unit = "patient" if units is self.patient_ids else "unit"
        return Predictions(names, truth, scores, patients, self.classes, unit)

    def subset(self, rows: Bools | Ints | Sequence[int]) -> Predictions:
        """Only the given rows (a mask of length N, or indices)."""
        at = np.asarray(rows)
        return self._with(self.y_true[at], self.y_score[at], self.classes, at)

    def with_scores(self, y_score: ArrayLike) -> Predictions:
        """Return the same images with other scores, for instance calibrated ones."""
        return self._with(self.y_true, y_score, self.classes)

    def _with(
        self, y_true: ArrayLike, y_score: ArrayLike, classes: Sequence[str], at: Any = slice(None)
    ) -> Predictions:
        patients = None if self.patient_ids is None else self.patient_ids[at]
        return Predictions(self.ids[at], y_true, y_score, patients, classes, self.unit)


def check_between(low: float, high: float, *, ends: bool = False, **settings: float | None) -> None:
    """Raise MetricsError unless each setting lies between two numbers (or on them), or is None."""
    for name, value in settings.items():
        if value is not None and not (low < value < high or (ends and value in (low, high))):
            what = "a share" if high <= 1 else "a number"
            raise MetricsError(f"{name} is {value}; expected {what} between {low:g} and {high:g}")


def patient_codes(patients: Names | None, n: int) -> Ints:
    """Return each image's patient as a number from 0; without ids each image is its own patient.

    Parameters
    ----------
    patients : sequence of str or int, length n, optional
        Patient of each image.
    n : int
        Number of images.

    Returns
    -------
    int64 array, (n,)
        Codes 0 .. number of patients - 1, in the order of the sorted names.

    Raises
    ------
    MetricsError
        When the length is not n, or a patient is blank.

    Examples
    --------
    >>> patient_codes(["p7", "p2", "p7"], 3).tolist()
    [1, 0, 1]
    """
    if patients is None:
        return np.arange(n)
    names = check_patients(patients, np.arange(n).astype(np.str_))
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def check_patients(
    patient_ids: Iterable[Any], names: NDArray[np.str_], *, column: str = "patient_id"
) -> NDArray[np.str_]:
    """Return patients as str, once none is blank or stands for a missing value.

    Blanks would become one patient with all these images, and every interval would follow.
    """
    patients = np.asarray([str(patient) for patient in patient_ids], dtype=np.str_)
    check_same_length(names, **{column: patients})
    blank = np.isin(np.char.strip(patients), ("", "nan", "None", "<NA>", "NaT"))
    fix = f"name one for each image, or leave {column}s out, so that each image counts as one"
    _refuse(blank, names, f": its {column} is missing; {fix}")
    return patients


def check_same_length(names: NDArray[np.str_], **columns: Any) -> None:
    """Raise MetricsError unless every column has a row for each image."""
    for column, values in columns.items():
        if len(values) != len(names):
            raise MetricsError(f"{column} has {len(values)} rows for {len(names)} images")


def _refuse(bad: Bools, names: NDArray[np.str_], words: str) -> None:
    """Raise MetricsError with the first offending row, if there is one."""
    if bad.any():
        row = int(np.argmax(bad))
        raise MetricsError(f"row {row} (image {str(names[row])!r}){words}")


def _checked(names: NDArray[np.str_], y_true: ArrayLike, y_score: ArrayLike) -> tuple[Ints, Floats]:
    """Return labels and scores, once each row has an id, a label and probabilities of its own."""
    try:
        truth, scores = np.asarray(y_true), np.asarray(y_score, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricsError(f"y_score is not a table of numbers: {error}") from error
    count = scores.shape[1] if scores.ndim == 2 else 2
    shaped = scores.ndim == 1 or (scores.ndim == 2 and count > 2)
    if len(names) == 0 or truth.ndim != 1 or not shaped:
        raise MetricsError(
            f"y_true has the shape {truth.shape} and y_score {scores.shape}; expected (N,) with at "
            "least one image, and of K > 2 classes scores (N, K); of two the probability of class 1"
        )
    check_same_length(names, y_true=truth, y_score=scores)
    labels = pd.to_numeric(pd.Series(truth), errors="coerce").to_numpy(np.float64)
    rows = scores.reshape(len(scores), -1)
    outside = ~((rows >= 0) & (rows <= 1)).all(axis=1)  # or missing
    odd = (np.abs(rows.sum(axis=1) - 1) > 1e-3) & (scores.ndim == 2)
    logits = "apply softmax or sigmoid to logits first"
    for bad, words in (
        (pd.Series(names).duplicated(), " was already given: each image may stand in one row only"),
        (outside, f": y_score is {{score}}; expected probabilities in [0, 1] ({logits})"),
        (odd, f": y_score is {{score}}, a row that does not sum to 1 ({logits})"),
        (~np.isin(labels, np.arange(count)),
         f": y_true is {{label}}; expected a whole number from 0 to {count - 1}"),
    ):  # fmt: skip
        at = np.argmax(bad)
        _refuse(np.asarray(bad), names, words.format(score=scores[at], label=truth[at]))
    return labels.astype(np.int64), scores

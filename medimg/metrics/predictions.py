"""What a network said about each image, beside the truth: the input of every metric."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medimg.errors import MetricsError
from medimg.metrics import checks
from medimg.metrics.checks import Bools, Floats, Ints
from medimg.storage import atomic_write


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Predictions:
    """Truth and predicted probability of each image, checked once, on making.

    Parameters
    ----------
    ids : sequence of str, length N
        Name of each image: its id or its path.
    y_true : array-like of int, (N,)
        The reference standard: 0 is the healthy class, 1 .. K-1 the others.
    y_score : array-like of float, (N,) or (N, K)
        Probabilities in [0, 1]: for two classes that of class 1, else one column a class, and
        each row sums to 1.
    patient_ids : sequence of str, length N, optional
        Whose image it is. When a patient has several images, intervals are made by patient;
        without it each image counts as a patient of its own. A blank stands for nobody and is
        refused.
    classes : sequence of str, length K, optional
        Names of the classes, the healthy one first.
    weights : array-like of float, (N,), optional
        How much each image counts (for instance the inverse of its chance to be sampled). An
        image of weight 0 counts for nothing.

    Raises
    ------
    MetricsError
        When lengths differ, a label is not one of 0 .. K-1, a score is missing or outside [0, 1],
        an id is given twice, or a patient is blank. The message names the first offending row,
        counted from 0.

    Examples
    --------
    >>> Predictions(["a", "b", "c"], [0, 1, 1], [0.2, 0.9, 0.4], classes=("normal", "pneumonia"))
    Predictions(3 images of 3 patients; normal 1, pneumonia 2)
    """

    ids: NDArray[np.str_]
    y_true: Ints
    y_score: Floats
    patient_ids: NDArray[np.str_] | None = None
    classes: tuple[str, ...] = ()
    weights: Floats | None = None

    def __init__(
        self,
        ids: Sequence[str] | NDArray[Any],
        y_true: ArrayLike,
        y_score: ArrayLike,
        patient_ids: Sequence[str] | NDArray[Any] | None = None,
        classes: Sequence[str] = (),
        weights: ArrayLike | None = None,
    ) -> None:
        names = np.asarray([str(name) for name in ids], dtype=np.str_)
        scores = checks.check_scores(y_score, names)
        count = scores.shape[1] if scores.ndim == 2 else 2
        checks.check_same_length(
            names, y_true=y_true, y_score=scores, patient_ids=patient_ids, weights=weights
        )
        checks.check_no_duplicates(names)
        kinds = tuple(str(name) for name in classes) or checks.default_classes(count)
        if len(kinds) != count:
            raise MetricsError(
                f"{len(kinds)} class names for scores of {count} classes; give one name a class, "
                "and for two classes one score a row: the probability of class 1"
            )
        patients = None if patient_ids is None else checks.check_patients(patient_ids, names)
        put = object.__setattr__
        put(self, "ids", names)
        put(self, "y_true", checks.check_labels(y_true, names, count))
        put(self, "y_score", scores)
        put(self, "patient_ids", patients)
        put(self, "classes", kinds)
        put(self, "weights", None if weights is None else checks.check_weights(weights, names))

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{name} {int(np.sum(self.y_true == k))}" for k, name in enumerate(self.classes)
        )
        return f"Predictions({len(self)} images of {self.n_patients} patients; {counts})"

    @property
    def positive(self) -> str:
        """Name of the disease class of a two-class task."""
        return self.classes[1]

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes."""
        return self.y_score.ndim == 1

    @property
    def n_patients(self) -> int:
        """Number of patients (of images, when the patients are not known)."""
        return len(self) if self.patient_ids is None else len(np.unique(self.patient_ids))

    def predicted(self, threshold: float = 0.5) -> Ints:
        """Predicted class of each image: score >= threshold, or the likeliest of K classes."""
        if self.is_binary:
            return np.asarray(self.y_score >= threshold, dtype=np.int64)
        return np.asarray(np.argmax(self.y_score, axis=1), dtype=np.int64)

    def one_vs_rest(self, k: int) -> Predictions:
        """Two-class predictions of class k against all others."""
        if self.is_binary:
            return self
        rest = f"not {self.classes[k]}"
        truth = (self.y_true == k).astype(np.int64)
        return Predictions(
            self.ids, truth, self.y_score[:, k], self.patient_ids, (rest, self.classes[k]),
            self.weights,
        )  # fmt: skip

    def subset(self, rows: Bools | Ints | Sequence[int]) -> Predictions:
        """Only the given rows (a mask of length N, or indices)."""
        chosen = np.asarray(rows)
        patients = None if self.patient_ids is None else self.patient_ids[chosen]
        weights = None if self.weights is None else self.weights[chosen]
        return Predictions(
            self.ids[chosen], self.y_true[chosen], self.y_score[chosen], patients, self.classes,
            weights,
        )  # fmt: skip

    def with_scores(self, y_score: ArrayLike) -> Predictions:
        """Return the same images with other scores, for instance calibrated ones."""
        return Predictions(
            self.ids, self.y_true, y_score, self.patient_ids, self.classes, self.weights
        )

    @classmethod
    def from_csv(cls, path: str | os.PathLike[str], *, classes: Sequence[str] = ()) -> Predictions:
        """Read a table with the columns ``image_id`` (or ``path``), ``y_true`` and ``y_score``.

        With K classes the scores are ``y_score_<class name>``, one column a class. The columns
        ``patient_id`` and ``weight`` are used when they are there.

        Raises
        ------
        MetricsError
            When a column is missing or a value is malformed.
        """
        try:
            table = pd.read_csv(path, dtype={"image_id": str, "path": str, "patient_id": str})
        except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as e:
            raise MetricsError(f"{path} cannot be read as a CSV table of predictions: {e}") from e
        key = next((name for name in ("image_id", "path") if name in table), None)
        columns = [name for name in table if str(name).startswith("y_score_")]
        if key is None or "y_true" not in table or not (columns or "y_score" in table):
            raise MetricsError(
                f"{path} has the columns {', '.join(map(str, table))}; expected image_id (or "
                "path), y_true and y_score (or one y_score_<class> a class)"
            )
        scores = table["y_score"] if "y_score" in table else table[columns]
        named = () if "y_score" in table else [str(c).removeprefix("y_score_") for c in columns]
        return cls(
            table[key].astype(str).to_numpy(),
            table["y_true"].to_numpy(),
            scores.to_numpy(),
            table["patient_id"].to_numpy() if "patient_id" in table else None,
            tuple(classes) or named,
            table["weight"].to_numpy() if "weight" in table else None,
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table that `from_csv` reads; scores keep every digit."""
        table = pd.DataFrame({"image_id": self.ids, "y_true": self.y_true})
        if self.patient_ids is not None:
            table.insert(1, "patient_id", self.patient_ids)
        if self.is_binary:
            table["y_score"] = self.y_score
        else:
            for k, name in enumerate(self.classes):
                table[f"y_score_{name}"] = self.y_score[:, k]
        if self.weights is not None:
            table["weight"] = self.weights
        with atomic_write(path, "w") as file:
            table.to_csv(file, index=False)

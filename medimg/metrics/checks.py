"""The checks that every table of predictions passes once, with errors that name the row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medimg.errors import MetricsError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def default_classes(count: int) -> tuple[str, ...]:
    """Names for classes that were given none."""
    if count == 2:
        return ("negative", "positive")
    return tuple(f"class {k}" for k in range(count))


def first_bad(bad: Bools, names: NDArray[np.str_]) -> str | None:
    """Describe the first offending row, or None when there's none."""
    if not bad.any():
        return None
    row = int(np.argmax(bad))
    return f"row {row} (image {str(names[row])!r})"


def check_same_length(names: NDArray[np.str_], **columns: Any) -> None:
    """Raise MetricsError unless every column has a row for each id."""
    if len(names) == 0:
        raise MetricsError("no predictions at all (row 0 is missing); give at least one image")
    for column, values in columns.items():
        if values is not None and len(values) != len(names):
            raise MetricsError(
                f"{column} has {len(values)} rows and ids has {len(names)}, so row "
                f"{min(len(values), len(names))} is the first without a partner; give one a row"
            )


def check_no_duplicates(names: NDArray[np.str_]) -> None:
    """Raise MetricsError when an id stands in two rows."""
    where = first_bad(np.asarray(pd.Series(names).duplicated()), names)
    if where:
        raise MetricsError(f"{where} was already given: each image may stand in one row only")


def check_patients(patient_ids: Iterable[Any], names: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return patients as str, once none is blank or stands for a missing value.

    Blanks would become one patient with all these images, and every interval would follow.
    """
    patients = np.asarray([str(patient) for patient in patient_ids], dtype=np.str_)
    blank = np.isin(np.char.strip(patients), ("", "nan", "None", "<NA>", "NaT"))
    where = first_bad(blank, names)
    if where:
        raise MetricsError(
            f"{where}: its patient_id is missing; name a patient for each image, or leave "
            "patient_ids out, so that each image counts as a patient of its own"
        )
    return patients


def check_scores(y_score: ArrayLike, names: NDArray[np.str_]) -> Floats:
    """Return scores as float64, once they are known to be probabilities."""
    try:
        scores = np.asarray(y_score, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise MetricsError(f"y_score is not a table of numbers: {error}") from error
    if scores.ndim not in (1, 2) or (scores.ndim == 2 and scores.shape[1] < 3):
        raise MetricsError(
            f"y_score has the shape {scores.shape}; expected (N,), the probability of class 1, "
            "for two classes, or (N, K) for K > 2"
        )
    if len(scores) != len(names) or len(scores) == 0:
        return scores  # the caller's length check words this better
    rows = scores.reshape(len(scores), -1)
    uneven = np.abs(rows.sum(axis=1) - 1) > (1e-3 if scores.ndim == 2 else math.inf)
    for bad, problem in (
        (~np.isfinite(rows).all(axis=1), "missing or infinite"),
        (((rows < 0) | (rows > 1)).any(axis=1), "outside [0, 1]"),
        (uneven, "a row that does not sum to 1"),
    ):
        where = first_bad(np.asarray(bad), names)
        if where:
            value = rows[int(np.argmax(bad))]
            shown = value[0] if len(value) == 1 else value
            raise MetricsError(
                f"{where}: y_score is {shown}, {problem}; expected probabilities (apply softmax "
                "or sigmoid to logits first)"
            )
    return scores


def check_labels(y_true: ArrayLike, names: NDArray[np.str_], count: int) -> Ints:
    """Return labels as int64, once each is known to be one of 0 .. count - 1."""
    labels = np.asarray(y_true)
    if labels.ndim != 1:
        raise MetricsError(f"y_true has the shape {labels.shape}; expected (N,), one label a row")
    numbers = pd.to_numeric(pd.Series(labels), errors="coerce").to_numpy(np.float64)
    bad = ~np.isin(numbers, np.arange(count))
    where = first_bad(bad, names)
    if where:
        raise MetricsError(
            f"{where}: y_true is {labels[int(np.argmax(bad))]}; expected a whole number from 0 "
            f"to {count - 1}"
        )
    return numbers.astype(np.int64)


def check_level(level: float) -> None:
    """Raise MetricsError unless a confidence level is a share, not per cent."""
    if not 0 < level < 1:
        raise MetricsError(f"level is {level}; expected a share between 0 and 1, such as 0.95")


def check_weights(weights: ArrayLike, names: NDArray[np.str_]) -> Floats:
    """Return weights as float64, once each is known to be finite and not negative."""
    given = np.asarray(weights)
    if given.ndim != 1:
        raise MetricsError(f"weights have the shape {given.shape}; expected (N,), one a row")
    values = pd.to_numeric(pd.Series(given), errors="coerce").to_numpy(np.float64)
    where = first_bad(~(np.isfinite(values) & (values >= 0)), names)
    if where:
        raise MetricsError(f"{where}: its weight is no number, infinite or negative; expected >= 0")
    return values

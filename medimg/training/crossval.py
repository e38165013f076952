"""Cross-validation by patient: every image is scored by a model that never saw its patient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from medimg.errors import TrainingError

Rows = NDArray[np.int64]


def patient_folds(
    labels: NDArray[Any], patients: NDArray[Any], *, folds: int = 5, seed: int = 0
) -> list[tuple[Rows, Rows]]:
    """Deal the patients out into parts, each with about the same share of each class.

    Parameters
    ----------
    labels : ndarray
        int64 (N,).
    patients : ndarray
        (N,) names: images of one patient never part.
    folds : int
        Number of parts; 2 or more.
    seed : int
        Seed for the shuffling.

    Returns
    -------
    list of (ndarray, ndarray)
        For each part the rows to learn from and the rows to judge.

    Raises
    ------
    TrainingError
        When a class has fewer patients than there are parts.

    Examples
    --------
    >>> labels, patients = np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"])
    >>> [judge.tolist() for _, judge in patient_folds(labels, patients, folds=2)]
    [[1, 2], [0, 3]]
    """
    if folds < 2:
        raise TrainingError(f"folds is {folds}; give 2 or more")
    pairs = pd.DataFrame({"label": labels, "patient": patients})
    fewest = int(pairs.groupby("label")["patient"].nunique().min())
    if fewest < folds:
        raise TrainingError(
            f"a class has {fewest} patients, too few for {folds} folds; give folds={fewest} or "
            "fewer, or more patients"
        )
    make: Any = StratifiedGroupKFold
    return list(make(folds, shuffle=True, random_state=seed).split(pairs, labels, patients))


def cross_validate(
    score: Callable[[Rows, Rows], NDArray[Any]],
    labels: NDArray[Any],
    patients: NDArray[Any],
    *,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return a score for each image, by a model that never saw its patient (out of fold).

    Parameters
    ----------
    score : callable
        Given the rows to learn from and the rows to judge, returns the scores of the latter:
        (n,) or (n, K).
    labels, patients, folds, seed
        As for `patient_folds`.

    Returns
    -------
    ndarray
        float64 (N,) or (N, K).

    Raises
    ------
    TrainingError
        When a class has fewer patients than there are parts.

    Examples
    --------
    >>> x, y = np.array([1.0, 2.0, 5.0, 6.0]), np.array([0, 0, 1, 1])
    >>> cross_validate(lambda learn, judge: x[judge] - x[learn].mean(), y, np.arange(4), folds=2)
    array([-2.5, -1.5,  1.5,  2.5])
    """
    parts = patient_folds(labels, patients, folds=folds, seed=seed)
    found = np.concatenate([score(learn, judge) for learn, judge in parts], dtype=np.float64)
    judged = np.concatenate([judge for _, judge in parts])
    return found[np.argsort(judged)]

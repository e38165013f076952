"""Cross-validation by patient: how much a result owes to the split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from medimg.errors import TrainingError
from medimg.training.fit import fit
from medimg.training.inference import predict_logits
from medimg.training.scores import scores
from medimg.training.settings import FitSettings
from medimg.training.types import ImageSet, Network


@dataclass(frozen=True)
class CrossValidation:
    """What each fold gave, and what the folds give together.

    Attributes
    ----------
    folds : DataFrame
        One row a fold (index ``fold``, from 1): images, patients, loss, auc, accuracy, best_epoch.
    logits : ndarray
        float32 (N, K): each image judged by the network that never saw its patient.
    mean_auc, spread_auc : float
        Mean and standard deviation over the folds.
    """

    folds: pd.DataFrame = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)
    mean_auc: float
    spread_auc: float


def cross_validate(
    make_model: Callable[[], Network],
    images: ImageSet,
    *,
    settings: FitSettings | None = None,
    folds: int = 5,
    tta: bool = False,
) -> CrossValidation:
    """Train one network a fold, patients kept apart, and judge each on the patients it never saw.

    Early stopping looks at one fold's worth of the training patients, never at the judged fold.

    Parameters
    ----------
    make_model : callable
        Returns a fresh network each time.
    images : ImageSet
        All images, with their patients.
    settings : FitSettings, optional
        As for `fit`; its seed also deals the patients out.
    folds : int
        3 or more.
    tta : bool
        As for `predict_logits`.

    Returns
    -------
    CrossValidation

    Raises
    ------
    TrainingError
        When a class has fewer patients than there are folds.
    """
    seed = 0 if settings is None else settings.seed
    if folds < 3:
        raise TrainingError(f"folds is {folds}; give 3 or more (train, stop, judge)")
    pairs = pd.DataFrame({"label": images.labels, "patient": images.patients})
    fewest = int(pairs.groupby("label")["patient"].nunique().min())
    if fewest < folds:
        raise TrainingError(
            f"a class has {fewest} patients, too few for {folds} folds; give folds={fewest} or "
            "fewer, or more patients"
        )
    part = np.empty(len(images), int)
    make: Any = StratifiedGroupKFold
    dealer = make(folds, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(dealer.split(pairs, images.labels, images.patients)):
        part[rows] = number
    rows_of, logits = [], np.empty((len(images), make_model().num_classes), np.float32)
    for number in range(folds):
        judged, stops = part == number, part == (number + 1) % folds
        result = fit(
            make_model(),
            images.subset(np.flatnonzero(~judged & ~stops)),
            images.subset(np.flatnonzero(stops)),
            settings=settings,
        )
        logits[judged] = predict_logits(result.model, images.images[judged], tta=tta)
        rows_of.append(
            {
                "fold": number + 1,
                "images": int(judged.sum()),
                "patients": len(np.unique(images.patients[judged])),
                **scores(logits[judged], images.labels[judged]),
                "best_epoch": result.best_epoch,
            }
        )
    table = pd.DataFrame(rows_of).set_index("fold")
    return CrossValidation(
        table, logits, float(table["auc"].mean()), float(table["auc"].std(ddof=1))
    )

"""Train a network: strategy, validation, early stopping, checkpoints, best weights."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg.errors import TrainingError
from medimg.runtime import pick_device, pick_precision
from medimg.training.checkpoint import Progress
from medimg.training.checks import check_sets, check_size
from medimg.training.data import fingerprint
from medimg.training.distributed import is_main
from medimg.training.heads import HeadOnly, frozen_features, solvable, solve_head
from medimg.training.loop import memory_advice
from medimg.training.scores import scores
from medimg.training.session import Session
from medimg.training.settings import FitSettings, recipe
from medimg.training.types import ImageSet, Network

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitResult:
    """A trained network and how it came about.

    Attributes
    ----------
    model : Network
        With the best weights, in evaluation mode.
    history : DataFrame
        One row an epoch (index ``epoch``, from 1): losses, validation metrics, seconds.
    best_epoch : int
        Whose weights these are; from 1.
    fingerprint : str
        Of the training images and labels.
    settings : FitSettings
        As they were used.
    """

    model: Any = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    fingerprint: str
    settings: FitSettings = field(repr=False)


def fit(
    model: Network,
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    settings: FitSettings | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> FitResult:
    """Train a network, keep the weights that validated best, and lose nothing to a power cut.

    With the strategy "frozen" a linear head is solved in one step instead (unless
    ``probe_strength`` is 0), as is the first epoch of "head_then_all": of the settings only
    ``probe_strength``, ``class_weights`` and ``sampler`` count there. The history of a frozen run
    has one row then, and there is nothing to resume.

    Parameters
    ----------
    model : Network
        Trained in place.
    train : ImageSet
        Images uint8 (N, H, W), labels int64 (N,).
    val : ImageSet, optional
        Of other patients. Without it there is no early stopping and the last weights are kept.
    settings : FitSettings, optional
        By default `recipe` for as many images.
    out_dir : path, optional
        Where ``checkpoint.pt`` and cached features go; without it nothing is written.
    resume : bool
        Go on from ``out_dir/checkpoint.pt`` if it is there. On a CPU the end is bit for bit that
        of an uninterrupted run.
    on_epoch : callable, optional
        Called with the history so far after each epoch (once for a solved head), for a live curve.

    Returns
    -------
    FitResult

    Raises
    ------
    TrainingError
        For data that cannot be trained on, a loss that is not a number, too little memory, or a
        checkpoint of something else.
    """
    fixed: int | None = getattr(model, "fixed_size", None)
    if settings is None:
        settings = recipe(len(train), fixed_size=fixed is not None)
    check_sets(train, val, model.num_classes)
    check_size(fixed, train, settings)
    if settings.monitor == "auc" and val is not None and len(np.unique(val.labels)) < 2:
        raise TrainingError(
            f"all {len(val)} validation images are of one class, so there is no AUC to watch; "
            "add images of another class or give monitor='loss'"
        )
    data = fingerprint(train.images, train.labels)
    precision = pick_precision(pick_device())
    model.to(pick_device(), memory_format=precision.memory_format)
    folder = None if out_dir is None else Path(out_dir)
    trained, kept = model, settings
    with memory_advice(settings.batch_size):
        if settings.strategy == "frozen":
            train, val = _frozen(model, train, folder), _frozen(model, val, folder)
            if solvable(model, settings):
                result = _probed(model, train, val, settings, data)
                if on_epoch is not None and is_main():
                    on_epoch(result.history)
                return result
            trained = HeadOnly(model)
        session = Session(
            trained,
            train,
            val,
            settings=settings,
            precision=precision,
            data=data,
            out_dir=folder,
        )
        progress = session.go_on(session.restore() if resume else Progress(), on_epoch)
    model.train(False)
    history = pd.DataFrame(progress.history).set_index("epoch")
    return FitResult(model, history, progress.best_epoch, data, kept)


@dataclass(frozen=True)
class _Features:
    """An image set whose images are cached features."""

    images: Any
    labels: Any
    ids: Any
    patients: Any
    classes: tuple[str, ...]

    def subset(self, which: Any) -> _Features:
        return replace(
            self, images=self.images[which], labels=self.labels[which], ids=self.ids[which]
        )

    def __len__(self) -> int:
        return len(self.labels)


def _frozen(model: Network, images: Any, folder: Path | None) -> Any:
    if images is None:
        return None
    features = frozen_features(model, images, folder)
    return _Features(features, images.labels, images.ids, images.patients, images.classes)


def _probed(model: Network, train: Any, val: Any, settings: FitSettings, data: str) -> FitResult:
    """Solve the head in one step: there are no epochs, so the history has one row."""
    start = time.perf_counter()
    solve_head(model, train.images, train.labels, settings)
    row: dict[str, Any] = {"epoch": 1}
    for name, part in (("train", train), ("val", val)):
        if part is not None:
            logits = HeadOnly(model).train(False)
            row |= {f"{name}_{k}": v for k, v in _head_scores(logits, part).items()}
    row["seconds"] = time.perf_counter() - start
    model.train(False)
    history = pd.DataFrame([row]).set_index("epoch")
    return FitResult(model, history, 1, data, settings)


def _head_scores(head: Any, part: Any) -> dict[str, float]:
    import torch

    with torch.inference_mode():
        device = next(head.parameters()).device
        logits = head(torch.from_numpy(np.array(part.images)).to(device)).cpu().numpy()
    return scores(logits, part.labels)

"""From image sets to batches on the device: what is refused, order, folds by patient."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.nn import functional

from medimg.datasets import ImageSet
from medimg.errors import TrainingError
from medimg.models import MedicalNet
from medimg.models.network import unnamed
from medimg.runtime import mix

Rows = NDArray[np.int64]


def check_trainable(
    model: MedicalNet, train: ImageSet, val: ImageSet | None = None, *, monitor: str = "last"
) -> None:
    """Refuse what cannot be trained on, or not honestly, and name what is wrong.

    Parameters
    ----------
    model : MedicalNet
        The network to train.
    train, val : ImageSet
        What to learn from, and what to validate on (or None).
    monitor : {"auc", "loss", "last"}
        What early stopping looks at.

    Raises
    ------
    TrainingError
        For one class only, classes that the model was not built with, two sets of different sizes
        or classes, or a patient who is in both.
    """
    named, classes = model.classes != unnamed(model.num_classes), tuple(train.classes)
    faults = {
        f"the network tells {', '.join(model.classes)} apart, and the training images are of the "
        f"classes {', '.join(classes)}; build it with classes={list(classes)}":
            len(classes) != model.num_classes or (named and model.classes != classes),
        f"the {len(train)} training images are of fewer than two classes; add images of another":
            len(np.unique(train.labels)) < 2,
    }  # fmt: skip
    if val is not None:
        both = np.intersect1d(np.asarray(train.patients, str), np.asarray(val.patients, str))
        sizes = train.images.shape[1:], val.images.shape[1:]
        faults |= {
            f"the training images are {sizes[0]} and the validation images {sizes[1]} (height, "
            "width); decode both at one size": sizes[0] != sizes[1],
            f"the training classes are {', '.join(classes)} and the validation classes "
            f"{', '.join(val.classes)}; decode both from one table, or give decode() the classes":
                tuple(val.classes) != classes,
            f"the {len(val)} validation images are of too few classes for monitor={monitor!r}; "
            "add images of another class or give monitor='loss'":
                len(np.unique(val.labels)) < (2 if monitor == "auc" else 1),
            f"patient {', '.join(both[:1])!r} is in the training and in the validation set "
            f"({len(both)} in all), so validation would not be of unseen patients; split with "
            "split_by_patient": len(both) > 0,
        }  # fmt: skip
    for fault in (words for words, holds in faults.items() if holds):
        raise TrainingError(fault)


def fingerprint(images: NDArray[Any], labels: NDArray[Any] | None = None) -> str:
    """Return a short hash that changes with any byte of the images and any label.

    Examples
    --------
    >>> a = np.zeros((2, 3, 4), np.uint8)
    >>> fingerprint(a, np.array([0, 1])) == fingerprint(a, np.array([1, 0]))
    False
    """
    digest = hashlib.sha256(repr((images.shape, str(images.dtype))).encode())
    for start in range(0, len(images), 256):  # a memory-mapped array need not fit into memory
        digest.update(np.ascontiguousarray(images[start : start + 256]).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, dtype=np.int64).data)
    return digest.hexdigest()[:16]


def epoch_order(
    labels: NDArray[np.integer[Any]], epoch: int, *, seed: int, sampler: str | None = None
) -> Rows:
    """Return the rows of an epoch in their order: the same for the same seed and epoch.

    Parameters
    ----------
    labels : ndarray
        int64 (N,).
    epoch, seed : int
        What the order depends on.
    sampler : {"balanced", None}
        With "balanced" every class is drawn N / K times, small ones with repeats.

    Returns
    -------
    ndarray
        int64 (about N,).

    Examples
    --------
    >>> order = epoch_order(np.array([0, 0, 0, 1]), 0, seed=0, sampler="balanced")
    >>> np.bincount(np.array([0, 0, 0, 1])[order]).tolist()
    [2, 2]
    """
    rng = np.random.default_rng(mix(seed, epoch))
    if sampler is None:
        return rng.permutation(len(labels))
    classes = np.unique(labels)
    share = -(-len(labels) // len(classes))  # resize repeats from the start once all were drawn
    rows = [np.resize(rng.permutation(np.flatnonzero(labels == k)), share) for k in classes]
    return rng.permutation(np.concatenate(rows))


def split_batches(order: Rows, batch_size: int) -> list[Rows]:
    """Cut an order into batches of nearly one size, none larger than ``batch_size``.

    Examples
    --------
    >>> [len(b) for b in split_batches(np.arange(65), 32)]
    [22, 22, 21]
    """
    return np.array_split(order, -(-len(order) // batch_size))


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
    pairs = pd.DataFrame({"label": labels, "patient": patients})
    fewest = int(pairs.groupby("label")["patient"].nunique().min())
    if not 2 <= folds <= fewest:
        raise TrainingError(
            f"folds is {folds}; give from 2 to {fewest}, the patients of the smallest class"
        )
    make: Any = StratifiedGroupKFold
    return list(make(folds, shuffle=True, random_state=seed).split(pairs, labels, patients))


def cross_validate(
    score: Callable[[Rows, Rows], NDArray[Any]], labels: NDArray[Any], patients: NDArray[Any], *,
    folds: int = 5, seed: int = 0,
) -> NDArray[np.float64]:  # fmt: skip
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
        When a class has fewer patients than there are parts, or `score` does not give one score
        for each row to judge.

    Examples
    --------
    >>> x, y = np.array([1.0, 2.0, 5.0, 6.0]), np.array([0, 0, 1, 1])
    >>> cross_validate(lambda learn, judge: x[judge] - x[learn].mean(), y, np.arange(4), folds=2)
    array([-2.5, -1.5,  1.5,  2.5])
    """
    parts = patient_folds(labels, patients, folds=folds, seed=seed)
    found = [score(learn, judge) for learn, judge in parts]
    if [*map(len, found)] != [len(judge) for _, judge in parts]:
        raise TrainingError("score must return one score for each row to judge, in their order")
    judged = np.concatenate([judge for _, judge in parts])
    return np.concatenate(found, dtype=np.float64)[np.argsort(judged)]


def make_batch(
    array: NDArray[Any], rows: Rows, device: torch.device, *, size: int | None = None
) -> Tensor:
    """Put rows of an array on a device, so that a memory-mapped array never has to fit.

    Parameters
    ----------
    array : ndarray
        uint8 images (N, H, W) or (N, H, W, 3), or floating features (N, ...).
    rows : ndarray
        int64 (B,).
    device : torch.device
        Where the batch goes.
    size : int, optional
        Width to which images are resized.

    Returns
    -------
    Tensor
        float32 (B, 1 or 3, H, W) in [0, 1] of images, float32 (B, ...) of features.
    """
    batch = torch.from_numpy(array[rows]).to(device)
    if batch.dtype != torch.uint8:
        return batch.float()
    batch = batch[:, None] if batch.ndim == 3 else batch.permute(0, 3, 1, 2).contiguous()
    batch = batch.float() / 255
    if size is not None:
        height = round(size * batch.shape[-2] / batch.shape[-1])
        batch = functional.interpolate(batch, (height, size), mode="bilinear", antialias=True)
    return batch

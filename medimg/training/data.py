"""From uint8 arrays to batches on the device: order, balance, fingerprint."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medimg.errors import TrainingError
from medimg.runtime import mix

Indices = NDArray[np.int64]


class Batches:
    """Rows of an array as float batches on a device.

    On a GPU with room the whole uint8 array is put there once; otherwise each batch is copied, so
    that a memory-mapped array never has to fit.

    Parameters
    ----------
    array : ndarray
        uint8 (N, H, W) images, or floating features (N, ...).
    device : torch.device
        Where batches shall be.
    """

    def __init__(self, array: NDArray[Any], device: torch.device) -> None:
        self.array = array
        self.device = device
        self.resident: Tensor | None = None
        if device.type == "cuda" and array.nbytes < torch.cuda.mem_get_info(device)[0] // 4:
            self.resident = torch.from_numpy(np.ascontiguousarray(array)).to(device)

    def __len__(self) -> int:
        return len(self.array)

    def __call__(self, rows: Indices, *, size: int | None = None) -> Tensor:
        """Return float32 (B, 1, H, W) in [0, 1] for images, float32 (B, ...) for features."""
        if self.resident is not None:
            batch = self.resident[torch.from_numpy(rows).to(self.device)]
        else:
            batch = torch.from_numpy(self.array[rows]).to(self.device)
        if batch.dtype != torch.uint8:
            return batch.float()
        batch = batch[:, None].float() / 255  # (B, 1, H, W)
        if size is not None:
            height = round(size * batch.shape[-2] / batch.shape[-1])
            batch = functional.interpolate(batch, (height, size), mode="bilinear", antialias=True)
        return batch


def epoch_order(labels: Indices, epoch: int, *, seed: int, sampler: str | None) -> Indices:
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
    share = -(-len(labels) // len(classes))
    rows = []
    for value in classes:
        members = rng.permutation(np.flatnonzero(labels == value))
        rows.append(np.resize(members, share))  # repeats from the start once all were drawn
    return rng.permutation(np.concatenate(rows))


def split_batches(order: Indices, batch_size: int) -> list[Indices]:
    """Cut an order into batches of nearly one size, none larger than ``batch_size``.

    Examples
    --------
    >>> [len(b) for b in split_batches(np.arange(65), 32)]
    [22, 22, 21]
    """
    return np.array_split(order, -(-len(order) // batch_size))


def class_weights(
    labels: Indices, classes: int, how: str | tuple[float, ...] | None
) -> Tensor | None:
    """Return the weight of each class in the loss, float32 (K,), or None for equal weights.

    "balanced" is N / (K * count), so that every class weighs the same in sum.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced")
    tensor([0.6667, 2.0000])
    """
    if how is None:
        return None
    if isinstance(how, str):
        counts = np.bincount(labels, minlength=classes)
        return torch.tensor(len(labels) / (classes * np.maximum(counts, 1)), dtype=torch.float32)
    if len(how) != classes:
        raise TrainingError(f"class_weights has {len(how)} numbers for {classes} classes")
    return torch.tensor(how, dtype=torch.float32)


def fingerprint(images: NDArray[Any], labels: NDArray[Any] | None = None) -> str:
    """Return a short sum that changes when images or labels change (up to 4,096 images read).

    Examples
    --------
    >>> a = np.zeros((2, 3, 4), np.uint8)
    >>> fingerprint(a, np.array([0, 1])) == fingerprint(a, np.array([1, 0]))
    False
    """
    digest = hashlib.sha256(repr((images.shape, str(images.dtype))).encode())
    rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), 4096)).astype(int))
    for start in range(0, len(rows), 256):
        digest.update(np.ascontiguousarray(images[rows[start : start + 256]]).data)
    if labels is not None:
        digest.update(np.ascontiguousarray(labels, dtype=np.int64).data)
    return digest.hexdigest()[:16]

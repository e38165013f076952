"""Frozen features, computed once and kept, and the linear probe on them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from medimg.errors import TrainingError
from medimg.storage import atomic_write
from medimg.training.data import class_weights, fingerprint
from medimg.training.distributed import is_main
from medimg.training.inference import run_batches
from medimg.training.types import Network

log = logging.getLogger(__name__)


def extract_features(
    model: Network,
    images: NDArray[np.uint8],
    *,
    kind: str = "pooled",
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Run the backbone once over all images.

    Parameters
    ----------
    model : Network
        Its head is not used.
    images : ndarray
        uint8 (N, H, W).
    kind : {"pooled", "map"}
        Pooled features (N, C), or feature maps (N, C, h, w) for an attention head.
    cache : path, optional
        A folder; features of the same images and weights are read back from it.
    batch_size : int, optional
        Images at once; by default what suits the device.

    Returns
    -------
    ndarray
        float32, memory-mapped when read from the cache.
    """
    if kind not in ("pooled", "map"):
        raise TrainingError(f"kind is {kind!r}; choose 'pooled' or 'map'")
    if cache is None:
        return run_batches(model, images, output=kind, batch_size=batch_size, shared=True)
    key = hashlib.sha256(f"{fingerprint(images)} {_weights_sum(model)} {kind}".encode())
    path = Path(cache) / f"features-{key.hexdigest()[:16]}.npy"
    if not path.exists():
        features = run_batches(model, images, output=kind, batch_size=batch_size, shared=True)
        if not is_main():
            return features
        with atomic_write(path) as file:
            np.save(file, features)
        return features
    log.info("frozen features of %d images from %s", len(images), path)
    return cast("NDArray[np.float32]", np.load(path, mmap_mode="r", allow_pickle=False))


def _weights_sum(model: Network) -> str:
    digest = hashlib.sha256()
    for part in model.stages().values():
        for tensor in part.state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features as they are: ``features @ weight.T + bias`` are logits.

    Attributes
    ----------
    weight : ndarray
        float32 (K, C).
    bias : ndarray
        float32 (K,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C) features -> (N, K) logits."""
        return cast("NDArray[np.float32]", features @ self.weight.T + self.bias)

    def load_into(self, head: Any) -> None:
        """Give a linear head these weights."""
        with torch.no_grad():
            head.linear.weight.copy_(torch.from_numpy(self.weight))
            head.linear.bias.copy_(torch.from_numpy(self.bias))


def linear_probe(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    num_classes: int = 2,
    strength: float = 0.001,
    balanced: bool = False,
    weights: Sequence[float] | None = None,
) -> Probe:
    """Fit a regularised logistic regression to frozen features.

    Parameters
    ----------
    features : ndarray
        float32 (N, C).
    labels : ndarray
        int64 (N,).
    num_classes : int
        Outputs, K; classes without an example keep a logit of minus 10.
    strength : float
        scikit-learn's C on standardised features: smaller is more regularised. The default
        suits some tens to some thousands of images and a thousand features.
    balanced : bool
        Whether every class weighs the same in sum.
    weights : sequence of float, optional
        Weight of each class in the loss, K numbers; with `balanced` on top of it.

    Returns
    -------
    Probe

    Raises
    ------
    TrainingError
        When there is one class only, or not one weight a class.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 1.0], [6.0, 1.0]], np.float32)
    >>> linear_probe(x, np.array([0, 0, 1, 1])).logits(x).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    present = np.unique(labels)
    if len(present) < 2:
        raise TrainingError(f"all {len(labels)} images are of class {present}; a probe needs two")
    wide = np.asarray(features, dtype=np.float64)
    centre, spread = wide.mean(axis=0), wide.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    make: Any = LogisticRegression
    weighting: Any = "balanced" if balanced else None
    if weights is not None:
        each = cast("Tensor", class_weights(labels, num_classes, tuple(weights)))
        if balanced:
            each = each * cast("Tensor", class_weights(labels, num_classes, "balanced"))
        weighting = {k: float(each[k]) for k in present}
    regression = make(C=strength, max_iter=2000, tol=1e-6, class_weight=weighting)
    regression.fit((wide - centre) / spread, labels)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:  # one row for the second class: split it evenly over both logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((num_classes, features.shape[1]), np.float32)
    bias = np.full(num_classes, -10.0, np.float32)
    weight[present] = coefficients / spread
    bias[present] = intercepts - (coefficients / spread) @ centre
    return Probe(weight, bias)

"""Features that stay as they are, and the exact solution of a linear head on them."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from medimg.errors import TrainingError
from medimg.models import MedicalNet
from medimg.runtime import pick_device, pick_precision
from medimg.storage import atomic_write
from medimg.training.data import fingerprint
from medimg.training.distributed import is_main
from medimg.training.optim import ClassWeights
from medimg.training.optim import class_weights as weights_of
from medimg.training.predict import run_model

log = logging.getLogger(__name__)


def extract_features(
    model: MedicalNet, images: NDArray[np.uint8], *, kind: str = "pooled",
    cache: str | os.PathLike[str] | None = None, batch_size: int | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Run the backbone once over all images.

    Parameters
    ----------
    model : MedicalNet
        Its head is not used.
    images : ndarray
        uint8 (N, H, W) or (N, H, W, 3).
    kind : {"pooled", "map"}
        Pooled features (N, C), or feature maps (N, C, h, w) for an attention head.
    cache : path, optional
        A folder; features of the same images and weights are read back from it. A damaged file is
        computed again.
    batch_size : int, optional
        Images at once; by default what suits the device.

    Returns
    -------
    ndarray
        float32, memory-mapped when read from the cache.

    Raises
    ------
    TrainingError
        When the kind is unknown, or the network cannot take these images.
    """
    if kind not in ("pooled", "map"):
        raise TrainingError(f"kind is {kind!r}; choose 'pooled' or 'map'")
    path, precision = None, pick_precision(pick_device())
    if cache is not None:
        weights = [t.numpy(force=True) for t in model.backbone.state_dict().values()]
        sums = [fingerprint(array) for array in (images, *map(np.atleast_1d, weights))]
        made_of = hashlib.sha256(repr((sums, kind, precision.name)).encode())
        path = Path(cache) / f"features-{made_of.hexdigest()[:16]}.npy"
        if (kept := _kept_features(path, len(images))) is not None:
            return kept
    features = run_model(model, images, output=kind, batch_size=batch_size, shared=True)
    if path is not None and is_main():
        with atomic_write(path) as file:
            np.save(file, features)
    return features


def _kept_features(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return the features in a cache file; None when there is none, or it is damaged."""
    try:
        features: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if features.dtype != np.float32 or len(features) != count:
            raise ValueError(f"it holds {features.dtype} {features.shape}")
    except FileNotFoundError:
        return None
    except (ValueError, OSError, EOFError, TypeError, SyntaxError) as error:
        log.warning("%s is damaged (%s), so the features are computed again", path, error)
        return None
    return cast("NDArray[np.float32]", features)


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
        weight, bias = torch.from_numpy(self.weight), torch.from_numpy(self.bias)
        head.linear.load_state_dict({"weight": weight, "bias": bias})


def linear_probe(
    features: NDArray[np.floating[Any]], labels: NDArray[np.int64], *, num_classes: int = 2,
    C: float = 0.001, class_weights: ClassWeights = None,
) -> Probe:  # fmt: skip
    """Fit a regularised logistic regression to frozen features.

    Parameters
    ----------
    features : ndarray
        float32 (N, D).
    labels : ndarray
        int64 (N,), from 0 to K - 1.
    num_classes : int
        Number of outputs, K; classes without an example keep a logit of minus 10.
    C : float
        Inverse strength of regularisation on standardised features, as in scikit-learn: smaller is
        more regularised. The default suits some tens to some thousands of images and a thousand
        features.
    class_weights : "balanced", sequence of float or None
        Weight of each class in the loss: "balanced" gives each the same total weight.

    Returns
    -------
    Probe

    Raises
    ------
    TrainingError
        When labels are not numbers of the K classes or there is one class only, a feature is not
        finite, there is not one weight per class, or C is not above 0.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 1.0], [6.0, 1.0]], np.float32)
    >>> linear_probe(x, np.array([0, 0, 1, 1])).logits(x).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    labels, wide = np.asarray(labels), np.asarray(features, dtype=np.float64)
    if wide.ndim != 2 or labels.shape != wide.shape[:1] or not np.isfinite(wide).all():
        raise TrainingError(
            f"features {wide.shape} and labels {labels.shape} cannot be fitted; expected finite "
            "numbers (N, D) and whole numbers (N,)"
        )
    if not C > 0:
        raise TrainingError(f"C is {C}; give a number above 0")
    present = np.unique(labels)
    whole = labels.dtype.kind in "iu" and len(present) > 1
    if not whole or present[0] < 0 or present[-1] >= num_classes:
        raise TrainingError(
            f"the labels are {', '.join(map(str, present[:5]))}; expected two or more of the whole "
            f"numbers from 0 to {num_classes - 1} (num_classes={num_classes})"
        )
    centre, spread = wide.mean(axis=0), wide.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    weighting: Any = class_weights
    if not isinstance(class_weights, str | None):
        each = cast("Tensor", weights_of(labels, num_classes, class_weights))
        weighting = {k: float(each[k]) for k in present}
    make: Any = LogisticRegression
    regression = make(C=C, max_iter=2000, tol=1e-6, class_weight=weighting)
    regression.fit((wide - centre) / spread, labels)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:  # one row for the second class: split it evenly over both logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((num_classes, wide.shape[1]), np.float32)
    bias = np.full(num_classes, -10.0, np.float32)
    weight[present] = coefficients / spread
    bias[present] = intercepts - (coefficients / spread) @ centre
    return Probe(weight, bias)

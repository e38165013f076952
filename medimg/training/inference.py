"""Logits, probabilities and features of many images, as fast as the hardware allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medimg.augment import apply, fixed_view
from medimg.errors import TrainingError
from medimg.metrics import Predictions
from medimg.progress import tqdm
from medimg.runtime import Precision, pick_device, pick_precision
from medimg.training.data import Batches
from medimg.training.distributed import gather_rows, is_main, world
from medimg.training.folding import fold
from medimg.training.loop import memory_advice
from medimg.training.mixed_precision import autocast
from medimg.training.types import ImageSet, Network

PLAIN = ((0.0, 1.0),)  # (degrees, zoom) of each view
BATCH = {"cpu": 8, "cuda": 64}  # no more than what a CPU's caches hold; a GPU wants to be filled
VIEWS = (*PLAIN, (0.0, 1.1), (-6.0, 1.05), (6.0, 1.05))


@torch.inference_mode()
def run_batches(
    model: Network,
    array: NDArray[Any],
    *,
    output: str = "logits",
    batch_size: int | None = None,
    views: tuple[tuple[float, float], ...] = PLAIN,
    shared: bool = False,
    precision: Precision | None = None,
) -> NDArray[np.float32]:
    """Run a network over an array and average over views.

    Parameters
    ----------
    model : Network
        Not changed.
    array : ndarray
        uint8 (N, H, W), or features for a head.
    output : {"logits", "pooled", "map"}
        What to return of each image: (K,), (C,) or (C, h, w).
    batch_size : int, optional
        Images at once; by default `BATCH` of the device.
    views : tuple of (degrees, zoom)
        Each image is seen once a view, and the results are averaged.
    shared : bool
        Whether the processes of `process_group` deal the rows out and all get all results.
    precision : Precision, optional
        By default what the hardware does best.

    Returns
    -------
    ndarray
        float32 (N, ...).
    """
    device = pick_device()
    precision = pick_precision(device) if precision is None else precision
    batch_size = BATCH[device.type] if batch_size is None else batch_size
    quick = fold(model, device, precision)
    call = {"logits": quick, "pooled": quick.embed, "map": quick.feature_map}[output]
    batches = Batches(array, device)
    rank, processes = world() if shared else (0, 1)
    rows = np.arange(rank, len(array), processes)
    found: list[Tensor] = []
    starts = range(0, max(1, len(rows)), batch_size)  # of no images one empty batch: (0, K)
    with memory_advice(batch_size):
        # Only one process shows a bar; "disable" is left unsaid, so that TQDM_DISABLE counts.
        bar = tqdm(starts, desc=output, leave=False, delay=2) if is_main() else starts
        for start in bar:
            images = batches(rows[start : start + batch_size])  # (B, 1, H, W), or features
            total = torch.zeros(())
            for degrees, zoom in views:
                seen = images
                if array.dtype == np.uint8:  # features are no pictures: not in [0, 1], no view
                    seen = apply(images, fixed_view(len(images), degrees=degrees, zoom=zoom))
                with autocast(device, precision):
                    total = total + call(seen).float().cpu() / len(views)
            found.append(total)
    local = torch.cat(found)
    whole = gather_rows(local, len(array)) if shared else local
    return np.ascontiguousarray(whole.numpy())  # feature maps come channels last


def predict_logits(
    model: Network,
    images: NDArray[np.uint8],
    *,
    batch_size: int | None = None,
    tta: bool = False,
) -> NDArray[np.float32]:
    """Return the logits of images, before temperature and softmax.

    Parameters
    ----------
    model : Network
        Left as it is.
    images : ndarray
        uint8 (N, H, W).
    batch_size : int, optional
        Images at once; by default `BATCH` of the device.
    tta : bool
        Whether to average over four views (test-time augmentation): steadier, four times slower.

    Returns
    -------
    ndarray
        float32 (N, K).

    Raises
    ------
    TrainingError
        When memory runs out.
    """
    return run_batches(model, images, batch_size=batch_size, views=VIEWS if tta else PLAIN)


def predict(
    model: Network,
    images: ImageSet,
    *,
    batch_size: int | None = None,
    tta: bool = False,
    temperature: float = 1.0,
) -> Predictions:
    """Return the probabilities of a set of images, with their names and true labels.

    Parameters
    ----------
    model : Network
        Left as it is.
    images : ImageSet
        What to predict.
    batch_size, tta
        As for `predict_logits`.
    temperature : float
        Logits are divided by it before softmax; above 1 makes the network less sure.

    Returns
    -------
    Predictions
        ``y_score`` is P(disease) (N,) for two classes, else (N, K).
    """
    logits = predict_logits(model, images.images, batch_size=batch_size, tta=tta)
    scores = to_scores(logits, temperature=temperature)
    return Predictions(
        ids=np.asarray(images.ids),
        y_true=np.asarray(images.labels),
        y_score=scores,
        patient_ids=images.patients if getattr(images, "patients_known", True) else None,
        classes=tuple(images.classes),
    )


def predict_ensemble(
    models: Sequence[Network],
    images: NDArray[np.uint8],
    *,
    batch_size: int | None = None,
    tta: bool = False,
) -> NDArray[np.float32]:
    """Return the mean logits of several networks.

    Parameters
    ----------
    models : sequence of Network
        For instance those of several seeds.
    images : ndarray
        uint8 (N, H, W).
    batch_size, tta
        As for `predict_logits`.

    Returns
    -------
    ndarray
        float32 (N, K).
    """
    each = [predict_logits(m, images, batch_size=batch_size, tta=tta) for m in models]
    return cast("NDArray[np.float32]", np.mean(each, axis=0, dtype=np.float32))


def to_scores(
    logits: NDArray[np.floating[Any]], *, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Turn logits into probabilities: softmax with a temperature.

    Parameters
    ----------
    logits : ndarray of float, shape (N, K)
        From `predict_logits`.
    temperature : float
        Divides the logits; above 1 it makes the scores more cautious.

    Returns
    -------
    ndarray of float64, shape (N,) or (N, K)
        P(class 1) of two classes, else the probability of each.

    Raises
    ------
    TrainingError
        When the logits have another shape, or the temperature is not above 0.

    Examples
    --------
    >>> to_scores(np.array([[0.0, 0.0], [0.0, 2.0]]), temperature=2.0).round(3)
    array([0.5  , 0.731])
    """
    if np.ndim(logits) != 2:
        raise TrainingError(
            f"the logits have shape {np.shape(logits)}; expected (N, K), as predict_logits returns"
        )
    if not 0 < temperature < math.inf:  # a negative one would turn every answer round
        raise TrainingError(f"temperature is {temperature}; give a number above 0")
    scaled = torch.from_numpy(np.asarray(logits, dtype=np.float64)) / temperature
    scores = torch.softmax(scaled, dim=1).numpy()
    return cast("NDArray[np.float64]", scores[:, 1] if scores.shape[1] == 2 else scores)

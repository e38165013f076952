"""ROAD: remove what the map calls important, and see whether the network notices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor, nn

from medimg.errors import MetricsError
from medimg.explain.inspection import (
    ClassScore,
    as_batches,
    check_images,
    class_scores,
    inspecting,
)
from medimg.explain.patients import mean_by_patient, patient_codes
from medimg.metrics import Estimate


@dataclass(frozen=True, repr=False)
class RoadScore:
    """Deletion and insertion curves of a set of maps, and their summary.

    Attributes
    ----------
    estimate : Estimate
        Mean of ``(least_first - most_first) / 2`` over images and fractions. Above 0: removing
        what the map calls important hurts more than removing what it calls unimportant. 0 is the
        chance level.
    removed : tuple of float
        Fractions of the pixels removed.
    most_first, least_first : float64 array (N, F)
        Change of the class's probability when the most (least) important are removed first:
        deletion, and (read from right to left) insertion.
    """

    estimate: Estimate
    removed: tuple[float, ...]
    most_first: npt.NDArray[np.float64] = field(compare=False)
    least_first: npt.NDArray[np.float64] = field(compare=False)

    def __repr__(self) -> str:
        return f"ROAD {self.estimate!r}, chance 0, n = {len(self.most_first)}"


def road(
    model: nn.Module,
    images: npt.NDArray[Any],
    maps: npt.NDArray[np.float32],
    *,
    target: int | npt.ArrayLike | None = None,
    removed: Sequence[float] = (0.1, 0.3, 0.5),
    patient_ids: Sequence[str] | None = None,
    seed: int = 0,
) -> RoadScore:
    """Remove pixels in the map's order, fill in from the neighbours, and predict again.

    Parameters
    ----------
    model : torch.nn.Module
        Network from (B, 1, H, W) in [0, 1] to logits (B, K).
    images : uint8 or float32 array (N, H, W)
        What the maps explain.
    maps : float32 array (N, H, W)
        One map an image.
    target : int or array of N ints, optional
        Class whose probability is watched; each image's predicted class by default.
    removed : sequence of float
        Fractions of the pixels to remove, each in (0, 1).
    patient_ids : sequence of N str, optional
        Whose image it is; the interval is by patient.
    seed : int
        For the order of pixels that tie, the filling's noise and the bootstrap.

    Returns
    -------
    RoadScore
        Its ``estimate`` is the number to compare methods by.

    Raises
    ------
    MetricsError
        Maps of another shape than the images, or a fraction outside (0, 1).

    Notes
    -----
    A map cut off below zero ties over much of the image. Ties are broken at random: taken as a
    block they would remove far more than the fraction asked for.

    References
    ----------
    Rong et al., "A consistent and efficient evaluation strategy for attribution methods",
    ICML 2022. Petsiuk, Das and Saenko, "RISE", BMVC 2018 (insertion and deletion).
    """
    images = check_images(images)
    if maps.shape != images.shape:
        raise MetricsError(f"maps {maps.shape} do not belong to images {images.shape}.")
    if not removed or not all(0 < fraction < 1 for fraction in removed):
        raise MetricsError(f"removed is {tuple(removed)}; give fractions between 0 and 1.")
    patients = patient_codes(patient_ids, len(images))
    rng = np.random.default_rng(seed)
    changes = np.zeros((len(images), 2, len(removed)))
    with inspecting(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scores = class_scores(target, len(images), "probability")
        for where, batch in as_batches(model, images, 1):
            i = where.start
            fixed = scores[i].fixed(model(batch)[0])
            changes[i] = _changes(model, batch[0], _ranks(maps[i], rng), fixed, removed)
    score = (changes[:, 1] - changes[:, 0]).mean(axis=1) / 2
    estimate = mean_by_patient(score, patients, rng=rng)
    return RoadScore(estimate, tuple(removed), changes[:, 0], changes[:, 1])


def _ranks(heat: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Rank pixels from 0 (least important) to just under 1, ties in random order."""
    order = np.lexsort(np.stack([rng.random(heat.size), heat.ravel()]))
    ranks = np.empty(heat.size)
    ranks[order] = np.arange(heat.size) / heat.size
    return ranks.reshape(heat.shape)


def _changes(
    model: nn.Module,
    image: Tensor,
    ranks: npt.NDArray[np.float64],
    target: ClassScore,
    removed: Sequence[float],
) -> npt.NDArray[np.float64]:
    """Change of the score (2, F) after removing the most, and the least, important pixels."""
    fill, original = NoisyLinearImputer(), image.cpu()
    kept = [ranks < 1 - f for f in removed] + [ranks >= f for f in removed]
    filled = [fill(original, torch.from_numpy(keep.astype(np.float32))) for keep in kept]
    logits = model(torch.stack([original, *filled]).to(image.device))
    scores = np.array([float(target(row)) for row in logits])
    changes: npt.NDArray[np.float64] = scores[1:] - scores[0]
    return changes.reshape(2, len(removed))

"""One function for every kind of map."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.explain.attention import attention_maps, attention_rollout
from medimg.explain.cams import CAM_METHODS, class_activation_maps
from medimg.explain.gradients import integrated_gradients
from medimg.explain.inspection import (
    ClassScore,
    Score,
    as_batches,
    check_images,
    class_scores,
)
from medimg.explain.occlusion import occlusion_maps
from medimg.progress import tqdm

METHODS = (*CAM_METHODS, "attention", "rollout", "occlusion", "integrated_gradients")


def explain(
    model: nn.Module,
    images: npt.NDArray[Any],
    *,
    method: str = "gradcam",
    target: int | npt.ArrayLike | None = None,
    score: Score = "log_odds",
    layer: nn.Module | None = None,
    batch_size: int = 8,
) -> npt.NDArray[np.float32]:
    """Map what a network looked at, one map an image.

    Parameters
    ----------
    model : torch.nn.Module
        Network from (B, 1, H, W) in [0, 1] to logits (B, K). It comes back as it was given: the
        same modes, gradients and hooks, also after an error.
    images : uint8 or float32 array (N, H, W)
        0 to 255, or [0, 1].
    method : str
        One of :data:`METHODS`: the CAM family (``gradcam``, ``gradcam++``, ``hirescam``,
        ``layercam``, ``eigencam``, ``scorecam``), ``attention`` (the attention-pooling head's
        weights), ``rollout`` (vision transformers), ``occlusion``, ``integrated_gradients`` (needs
        captum).
    target : int or array of N ints, optional
        Class to explain; each image's predicted class by default. ``eigencam``, ``attention`` and
        ``rollout`` know no class and ignore it.
    score : {"log_odds", "logit", "probability"}
        The number explained, see :class:`ClassScore`.
    layer : torch.nn.Module, optional
        Layer of a class activation map; the last one that keeps places apart by default.
    batch_size : int
        Images at once. Small batches stay in the processor's cache and are the fastest there.

    Returns
    -------
    float32 array (N, H, W)
        In [0, 1]: 1 at the strongest place of each image. All 0 where the map has no strongest
        place (nothing speaks for the class).

    Raises
    ------
    ModelError
        Unknown method, images of another shape or range, a class that the model does not have, or
        a method that this architecture cannot have.

    Notes
    -----
    After a mean over places and one linear layer, as in our networks with the linear head,
    HiResCAM is Grad-CAM: every place has the same gradient.

    The last stage is the coarsest, a place being 32 pixels wide, and still points best for a
    fine-tuned EfficientNet-Lite0: 0.87 of 45 validation lesions, against 0.33 at the stage with
    16 pixels (``benchmarks/results/explain_methods.md``). Of a frozen network, whatever its AUC,
    the places are not local: maps need a network that was fine-tuned on some hundred films.

    References
    ----------
    Selvaraju et al., "Grad-CAM", ICCV 2017. Abnar and Zuidema, "Quantifying attention flow in
    transformers", ACL 2020. Gildenblat, https://github.com/jacobgil/pytorch-grad-cam

    Examples
    --------
    >>> conv = nn.Conv2d(1, 3, 3, padding=1)
    >>> net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> films = np.random.default_rng(0).integers(0, 256, (4, 12, 16), dtype=np.uint8)
    >>> explain(net, films, target=1, layer=conv).shape
    (4, 12, 16)
    """
    images = check_images(images)
    if method not in METHODS:
        raise ModelError(f"There is no method {method!r}; choose one of: {', '.join(METHODS)}.")
    targets = class_scores(target, len(images), score)
    maps = np.zeros(images.shape, np.float32)
    model.to(memory_format=torch.channels_last)  # half the time on a CPU; the weights are the same
    slow = method in {"scorecam", "occlusion", "integrated_gradients"}
    with tqdm(total=len(images), desc=method, unit="image", disable=not slow) as progress:
        for where, batch in as_batches(model, images, batch_size):
            maps[where] = _one_batch(model, batch, method, targets[where], layer)
            progress.update(len(batch))
    return maps


def _one_batch(
    model: nn.Module,
    batch: Tensor,
    method: str,
    targets: list[ClassScore],
    layer: nn.Module | None,
) -> npt.NDArray[np.float32]:
    if method == "attention":
        return attention_maps(model, batch)
    if method == "rollout":
        return attention_rollout(model, batch)
    if method == "occlusion":
        return occlusion_maps(model, batch, targets)
    if method == "integrated_gradients":
        return integrated_gradients(model, batch, targets)
    return class_activation_maps(model, batch, targets, method=method, layer=layer)

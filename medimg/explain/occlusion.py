"""Occlusion: cover one patch after another and see how far the score falls."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.explain.inspection import ClassScore, inspecting, unit_range


def occlusion_maps(
    model: nn.Module,
    batch: Tensor,
    targets: Sequence[ClassScore],
    *,
    patch: int | None = None,
    stride: int | None = None,
    passes_at_once: int = 16,
) -> npt.NDArray[np.float32]:
    """Return how far covering each place lowers the score.

    Parameters
    ----------
    model : torch.nn.Module
        Network from the batch to logits (B, K).
    batch : torch.Tensor
        (B, 1, H, W) float32 in [0, 1].
    targets : sequence of ClassScore
        What to explain, one an image.
    patch : int, optional
        Side of the covering square in pixels; a sixth of the shorter side by default.
    stride : int, optional
        Step in pixels; half the patch by default.
    passes_at_once : int
        Covered copies in one forward pass.

    Returns
    -------
    float32 array (B, H, W)
        In [0, 1]: the mean fall over the patches that cover a pixel. A rise counts as 0.

    Raises
    ------
    ModelError
        When the patch does not fit into the image or the stride leaves gaps.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    >>> with torch.no_grad():
    ...     _ = net[1].weight.zero_()
    ...     net[1].weight[1, 0] = 1.0  # only the top left pixel counts
    >>> film = torch.zeros(1, 1, 4, 4)
    >>> film[0, 0, 0, 0] = 1.0
    >>> occlusion_maps(net, film, [ClassScore(1)], patch=2)[0].round(2)
    array([[1.  , 0.5 , 0.  , 0.  ],
           [0.5 , 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.  ]], dtype=float32)
    """
    height, width = batch.shape[-2:]
    patch = max(min(height, width) // 6, 1) if patch is None else patch
    stride = max(patch // 2, 1) if stride is None else stride
    if not (1 <= patch <= min(height, width) and 1 <= stride <= patch):
        raise ModelError(
            f"patch {patch} and stride {stride}: the patch must fit into {height} x {width} pixels "
            "and the stride be from 1 to the patch."
        )
    corners = [
        (y, x) for y in _starts(height, patch, stride) for x in _starts(width, patch, stride)
    ]
    maps = np.zeros((len(batch), height, width), np.float32)
    with inspecting(model), torch.no_grad():
        for i, (image, target) in enumerate(zip(batch, targets, strict=True)):
            logits = model(image.unsqueeze(0))[0]
            fixed = target.fixed(logits)
            covered = _covered(model, image, fixed, corners, patch, passes_at_once)
            falls = float(fixed(logits)) - covered
            maps[i] = _spread(falls, corners, patch, (height, width))
    return unit_range(np.maximum(maps, 0))


def _starts(length: int, patch: int, stride: int) -> list[int]:
    """Return where patches start so that the last one ends at the edge."""
    return sorted({*range(0, length - patch + 1, stride), length - patch})


def _covered(
    model: nn.Module,
    image: Tensor,
    target: ClassScore,
    corners: Sequence[tuple[int, int]],
    patch: int,
    passes_at_once: int,
) -> npt.NDArray[np.float64]:
    """Score the image (1, H, W) with each patch filled by the image's mean."""
    fill, scores = image.mean(), []
    for start in range(0, len(corners), passes_at_once):
        part = corners[start : start + passes_at_once]
        copies = image.repeat(len(part), 1, 1, 1)
        for copy, (y, x) in zip(copies, part, strict=True):
            copy[:, y : y + patch, x : x + patch] = fill
        scores += [float(target(logits)) for logits in model(copies)]
    return np.array(scores)


def _spread(
    falls: npt.NDArray[np.float64],
    corners: Sequence[tuple[int, int]],
    patch: int,
    shape: tuple[int, int],
) -> npt.NDArray[np.float64]:
    total, count = np.zeros(shape), np.zeros(shape)
    for fall, (y, x) in zip(falls, corners, strict=True):
        total[y : y + patch, x : x + patch] += fall
        count[y : y + patch, x : x + patch] += 1
    return total / count

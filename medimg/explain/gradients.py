"""Integrated gradients by captum, an optional package."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.explain.inspection import ClassScore, inspecting, unit_range


def integrated_gradients(
    model: nn.Module,
    batch: Tensor,
    targets: Sequence[ClassScore],
    *,
    steps: int = 24,
    blur: float | None = None,
) -> npt.NDArray[np.float32]:
    """Return the size of each pixel's share of the score, against a black image.

    Parameters
    ----------
    model : torch.nn.Module
        Network from the batch to logits (B, K).
    batch : torch.Tensor
        (B, 1, H, W) float32 in [0, 1].
    targets : sequence of ClassScore
        What to explain, one an image.
    steps : int
        Images between black and the image along which gradients are averaged.
    blur : float, optional
        Standard deviation in pixels of the smoothing; a hundredth of the shorter side by default.
        Single pixels are too rough to read and to compare with a lesion.

    Returns
    -------
    float32 array (B, H, W)
        In [0, 1].

    Raises
    ------
    ModelError
        When captum is not installed.

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ModelError(
            "Integrated gradients need captum: pip install 'medimg[explain]' (or captum alone)."
        ) from error
    sigma = min(batch.shape[-2:]) / 100 if blur is None else blur
    maps = np.zeros((len(batch), *batch.shape[-2:]), np.float32)
    with inspecting(model):
        for i, (image, target) in enumerate(zip(batch, targets, strict=True)):
            with torch.no_grad():
                logits = model(image.unsqueeze(0))[0]
            fixed = target.fixed(logits)

            def score(x: Tensor, fixed: ClassScore = fixed) -> Tensor:
                return torch.stack([fixed(row) for row in model(x)])

            shares = IntegratedGradients(score).attribute(
                image.unsqueeze(0), n_steps=steps, internal_batch_size=8
            )
            maps[i] = gaussian_filter(shares[0].abs().sum(0).detach().cpu().numpy(), sigma)
    return unit_range(maps)

"""Maps that a network carries within itself: attention pooling and attention rollout."""

from copy import deepcopy

import numpy as np
import numpy.typing as npt
import torch
from timm.utils.attention_extract import AttentionExtract
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medimg.errors import ModelError
from medimg.explain.inspection import inspecting, unit_range
from medimg.models import MedicalNet


def attention_maps(model: nn.Module, batch: Tensor) -> npt.NDArray[np.float32]:
    """Return the weights with which an attention-pooling head averages the feature map.

    Parameters
    ----------
    model : medimg.models.MedicalNet
        Built with ``head="attention"``.
    batch : torch.Tensor
        (B, 1, H, W) float32 in [0, 1].

    Returns
    -------
    float32 array (B, H, W)
        In [0, 1].

    Raises
    ------
    ModelError
        When the model has no attention head.

    Examples
    --------
    >>> class Net(nn.Linear):
    ...     def attention(self, x):
    ...         return torch.tensor([[[0.1, 0.9]]])
    >>> attention_maps(Net(2, 2), torch.rand(1, 1, 2, 4)).round(2)
    array([[[0.  , 0.25, 0.75, 1.  ],
            [0.  , 0.25, 0.75, 1.  ]]], dtype=float32)
    """
    attention = getattr(model, "attention", None)
    if attention is None:
        raise ModelError(
            f"{type(model).__name__} has no attention head; build it with head='attention', or use "
            "method='gradcam'."
        )
    with inspecting(model), torch.no_grad():
        return _enlarge(attention(batch), batch)


def attention_rollout(model: nn.Module, batch: Tensor) -> npt.NDArray[np.float32]:
    """Follow attention through every block of a vision transformer to its class token.

    Each block mixes tokens by the mean A of its heads' attention and lets each token pass unmixed
    beside it, so (A + I) / 2; the product over the blocks says how much of each patch reaches the
    class token.

    Parameters
    ----------
    model : medimg.models.MedicalNet
        Whose backbone is a vision transformer with a class token (``vit_small_patch16_224``).
    batch : torch.Tensor
        (B, 1, H, W) float32 in [0, 1].

    Returns
    -------
    float32 array (B, H, W)
        In [0, 1]. It knows no class: the same map for "sick" and for "healthy".

    Raises
    ------
    ModelError
        When the model has no such attention.

    References
    ----------
    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3.

    Examples
    --------
    >>> attention_rollout(nn.Conv2d(1, 1, 1), torch.rand(1, 1, 4, 4))
    Traceback (most recent call last):
    ...
    medimg.errors.ModelError: Conv2d has no attention to follow; build a vision transformer.
    """
    if not isinstance(model, MedicalNet) or not hasattr(model.backbone, "patch_embed"):
        raise ModelError(
            f"{type(model).__name__} has no attention to follow; build a vision transformer."
        )
    copy = deepcopy(model.backbone).eval()  # timm leaves its hooks behind
    for module in copy.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # which shows no weights
    with torch.no_grad():
        found = AttentionExtract(copy, names=["*.attn_drop"], method="hook")(model.normalize(batch))
        total = rollout(torch.stack(list(found.values())).mean(dim=2))
    patches = total[:, 0, 1:]  # how much of each patch reaches the class token
    side = round(patches.shape[1] ** 0.5)
    return _enlarge(patches.reshape(len(patches), side, side), batch)


def rollout(attention: Tensor) -> Tensor:
    """Multiply (A + I) / 2 over the blocks, the first rightmost.

    Parameters
    ----------
    attention : torch.Tensor
        (blocks, B, T, T), the mean over the heads; each row sums to 1.

    Returns
    -------
    torch.Tensor
        (B, T, T); each row sums to 1.

    Examples
    --------
    >>> rollout(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
    tensor([[[0.5000, 0.5000],
             [0.0000, 1.0000]]])
    """
    identity = torch.eye(attention.shape[-1], device=attention.device)
    total = identity.expand_as(attention[0])
    for block in attention:
        # rows of A sum to 1 already, so (A + I) / 2 needs no further normalising
        total = (block + identity) / 2 @ total
    return total


def _enlarge(small: Tensor, batch: Tensor) -> npt.NDArray[np.float32]:
    maps = interpolate(small.float().unsqueeze(1), size=batch.shape[-2:], mode="bilinear")
    return unit_range(maps[:, 0].cpu().numpy())

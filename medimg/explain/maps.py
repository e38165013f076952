"""Every kind of map through one function: from activations, attention, or covered patches."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_grad_cam as cams
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from scipy.ndimage import gaussian_filter
from timm.utils.attention_extract import AttentionExtract
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medimg.augment import check_images
from medimg.errors import ModelError
from medimg.explain.inspection import Class, Target, as_batches, frozen_eval, targets_of, unit_range
from medimg.models import MedicalNet, target_layer

BatchMaps = npt.NDArray[np.float32]
PASSES = 16
"""Changed copies of an image in one forward pass."""


class _SignedEigenCAM(cams.EigenCAM):  # type: ignore[misc]
    """EigenCAM whose sign is fixed: a principal component and its negative are equally right."""

    def get_cam_image(self, *args: Any, **_: Any) -> BatchMaps:
        return np.asarray(get_2d_projection_with_sign_correction(args[3]), np.float32)


CAMS = {
    "gradcam": cams.GradCAM, "gradcam++": cams.GradCAMPlusPlus, "hirescam": cams.HiResCAM,
    "layercam": cams.LayerCAM, "eigencam": _SignedEigenCAM, "scorecam": cams.ScoreCAM,
}  # fmt: skip


def class_activation_maps(
    model: nn.Module, batch: Tensor, targets: Sequence[Target], method: str, layer: nn.Module | None
) -> BatchMaps:
    """Return class activation maps of one batch, by pytorch-grad-cam.

    Parameters
    ----------
    model : torch.nn.Module
        Network from the batch to logits (B, K).
    batch : torch.Tensor
        (B, 1 or 3, H, W) float32 in [0, 1].
    targets : sequence of Target
        What to explain, one per image.
    method : str
        One of ``CAMS``.
    layer : torch.nn.Module or None
        Layer whose activations are weighted; :func:`medimg.models.target_layer` for None.

    Returns
    -------
    float32 array (B, H, W)
        In [0, 1].

    Raises
    ------
    ModelError
        When the layer gives no map (B, C, h, w) or tokens (B, 1 + h * w, C).

    Notes
    -----
    The backward pass stops at the layer, so that a map costs little more than a prediction; called
    on the whole network, pytorch-grad-cam computes the gradient of every weight on the way.

    Examples
    --------
    >>> conv = nn.Conv2d(1, 3, 3, padding=1)
    >>> net = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> class_activation_maps(net, torch.rand(2, 1, 8, 6), [Target(1)] * 2, "gradcam", conv).shape
    (2, 8, 6)
    """
    layer = _layer_of(model) if layer is None else layer
    with frozen_eval(model, cut_at=layer):
        cam = CAMS[method](model, [layer], reshape_transform=_as_map)
        try:
            return np.asarray(cam(batch, list(targets)), dtype=np.float32)
        finally:
            # not "with cam": its __exit__ swallows an IndexError and prints it
            cam.activations_and_grads.release()


def _layer_of(model: nn.Module) -> nn.Module:
    if not isinstance(model, MedicalNet):
        raise ModelError(
            f"The layer to look at is known for networks of build_model only, and this is a "
            f"{type(model).__name__}; name it: layer=model.layer4, for example."
        )
    return target_layer(model)


def _as_map(activations: Tensor) -> Tensor:
    """Give a transformer's tokens (B, 1 + h * w, C) the shape of a map (B, C, h, w)."""
    if activations.ndim == 4:
        return activations
    side = round((activations.shape[1] - 1) ** 0.5) if activations.ndim == 3 else 0
    if side < 1 or side * side != activations.shape[1] - 1:
        raise ModelError(
            f"The layer gives {tuple(activations.shape)}, which is not a map; choose one with "
            "(B, C, h, w), or a transformer's tokens (B, 1 + h * w, C) of a square image."
        )
    return activations[:, 1:].transpose(1, 2).reshape(len(activations), -1, side, side)


def attention_maps(model: nn.Module, batch: Tensor, _: Sequence[Target] = ()) -> BatchMaps:
    """Return the weights with which an attention-pooling head averages the feature map.

    They belong to the head and not to a class: the same map for every class.

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
    with frozen_eval(model), torch.no_grad():
        return _enlarge(attention(batch), batch)


def attention_rollout(model: nn.Module, batch: Tensor, _: Sequence[Target] = ()) -> BatchMaps:
    """Follow attention through every block of a timm vision transformer to its class token.

    Each block mixes tokens by the mean A of its heads' attention and lets each token pass unmixed
    beside it, so (A + I) / 2; the product over the blocks says how much of each patch reaches the
    class token. It knows no class: the same map for every class.

    References
    ----------
    Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, section 3.

    Examples
    --------
    >>> attention_rollout(nn.Conv2d(1, 1, 1), torch.rand(1, 1, 4, 4))
    Traceback (most recent call last):
    ...
    medimg.errors.ModelError: Conv2d has no self-attention; use a vision transformer.
    """
    copy = deepcopy(model)  # timm leaves its hooks behind, and fused attention shows no weights
    if not (blocks := [module for module in copy.modules() if hasattr(module, "fused_attn")]):
        raise ModelError(f"{type(model).__name__} has no self-attention; use a vision transformer.")
    for block in blocks:
        block.fused_attn = False  # type: ignore[assignment]
    with torch.inference_mode():
        found = AttentionExtract(copy, method="hook")(batch)  # per block (B, heads, T, T)
        total = identity = torch.eye(next(iter(found.values())).shape[-1], device=batch.device)
        for attention in found.values():
            # rows of A sum to 1 already, so (A + I) / 2 needs no further normalising
            total = (attention.mean(dim=1) + identity) / 2 @ total
        # row 0: how much of each patch reaches the class token
        return _enlarge(_as_map(total[:, 0, :, None])[:, 0], batch)


def _enlarge(small: Tensor, batch: Tensor) -> BatchMaps:
    maps = interpolate(small.float().unsqueeze(1), size=batch.shape[-2:], mode="bilinear")
    return unit_range(maps[:, 0].cpu().numpy())


def occlusion_maps(model: nn.Module, batch: Tensor, targets: Sequence[Target]) -> BatchMaps:
    """Cover one patch after another and return how far that lowers the score.

    The patches are squares with a sixth of the shorter side, half a patch apart, filled with the
    image's mean (in colour, of each channel). Each pixel gets the mean fall over the patches that
    cover it, stretched to [0, 1]; a rise counts as 0.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    >>> _ = net[1].weight.data.zero_()
    >>> net[1].weight.data[1, 0] = 1.0  # only the top left pixel counts
    >>> film = torch.zeros(1, 1, 4, 4)
    >>> film[0, 0, 0, 0] = 1.0
    >>> occlusion_maps(net, film, [Target(1)])[0]
    array([[1., 0., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    size = np.array(batch.shape[-2:])
    patch = max(size.min() // 6, 1)
    rows, columns = ([*range(0, side - patch, max(patch // 2, 1)), side - patch] for side in size)
    covered = torch.zeros(len(rows) * len(columns), *size, dtype=torch.bool, device=batch.device)
    for place, (y, x) in zip(covered, product(rows, columns), strict=True):
        place[y : y + patch, x : x + patch] = True
    maps = []
    with frozen_eval(model), torch.no_grad():
        for image, target in zip(batch, targets, strict=True):
            fill = image.mean(dim=(1, 2), keepdim=True)
            scores = [target(model(torch.where(places[:, None], fill, image)))
                      for places in torch.split(covered, PASSES)]  # fmt: skip
            falls = target(model(image[None])) - torch.cat(scores)
            maps.append(torch.tensordot(falls.double(), covered.double(), 1) / covered.sum(dim=0))
    return unit_range(torch.stack(maps).clamp(min=0).cpu().numpy())


def integrated_gradients(model: nn.Module, batch: Tensor, targets: Sequence[Target]) -> BatchMaps:
    """Return the size of each pixel's share of the score, against a black image.

    Gradients are averaged along the straight line from black to the image, at 24 Gauss-Legendre
    points. The shares are smoothed with a standard deviation of a hundredth of the shorter side:
    single pixels are too rough to compare with a lesion.

    References
    ----------
    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    >>> _ = net[1].weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 3.0]]))
    >>> integrated_gradients(net, torch.tensor([[[[0.8, 0.4]]]]), [Target(1)])
    array([[[0., 1.]]], dtype=float32)
    """
    sigma = min(batch.shape[-2:]) / 100
    nodes, weights = np.polynomial.legendre.leggauss(24)
    steps, parts = batch.new_tensor((nodes + 1) / 2), batch.new_tensor(weights / 2)
    maps = np.zeros((len(batch), *batch.shape[-2:]))
    with frozen_eval(model):
        for i, (image, target) in enumerate(zip(batch, targets, strict=True)):
            slope = torch.zeros_like(image)
            for eight in (slice(0, 8), slice(8, 16), slice(16, 24)):
                path = (steps[eight].view(-1, 1, 1, 1) * image).requires_grad_()
                slope += torch.autograd.grad(target(model(path)) @ parts[eight], path)[0].sum(dim=0)
            maps[i] = gaussian_filter((image * slope).abs().sum(dim=0).cpu().numpy(), sigma)
    return unit_range(maps)


OTHERS: dict[str, Callable[[nn.Module, Tensor, Sequence[Target]], BatchMaps]] = {
    "attention": attention_maps, "rollout": attention_rollout, "occlusion": occlusion_maps,
    "integrated_gradients": integrated_gradients,
}  # fmt: skip
METHODS = (*CAMS, *OTHERS)
CLASSLESS = ("eigencam", "attention", "rollout")
"""Methods whose map is the same for every class."""


def explain(
    model: nn.Module, images: npt.NDArray[Any], *, method: str = "gradcam", target: Class = None,
    layer: nn.Module | None = None, batch_size: int = 8,
) -> BatchMaps:  # fmt: skip
    """Map what a network looked at, one map per image.

    Parameters
    ----------
    model : torch.nn.Module
        Network from (B, 1 or 3, H, W) in [0, 1] to logits (B, K). It comes back as it was given:
        the same modes, gradients and hooks, also after an error.
    images : uint8 array (N, H, W) or (N, H, W, 3)
        Grey or colour images.
    method : str
        One of :data:`METHODS`: the CAM family (``gradcam``, ``gradcam++``, ``hirescam``,
        ``layercam``, ``eigencam``, ``scorecam``), ``attention`` (the weights of the
        attention-pooling head), ``rollout`` (vision transformers), ``occlusion`` (slow: seconds
        per image), ``integrated_gradients``. ``scorecam`` covers the image once per channel, a
        thousand times or more.
    target : int, str, or N of them
        Class to explain, by index or by its name in ``model.classes``: one for all images, or one
        per image, such as the class that your threshold calls. ``eigencam``, ``attention`` and
        ``rollout`` know no class and need none.
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
        Unknown method, a class that the model does not have, or a method that this architecture
        cannot have.
    TrainingError
        Images of another shape or type.

    Notes
    -----
    After a mean over places and one linear layer, as in our networks with the linear head,
    HiResCAM is Grad-CAM: every place has the same gradient.

    The last stage is the coarsest, a place being 32 pixels wide, and still points best for a
    fine-tuned EfficientNet-Lite0: 0.87 of 45 validation lesions, against 0.33 at the stage with
    16 pixels (``benchmarks/results/explain_methods.md``). The places of a frozen network are not
    local, whatever its AUC: maps need a network that was fine-tuned on some hundred films.

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
    model.to(memory_format=torch.channels_last)  # half the time on a CPU; the weights are the same
    targets = targets_of(model, 0 if method in CLASSLESS else target, len(images))
    maps = np.zeros(images.shape[:3], np.float32)
    for where, batch in as_batches(model, images, batch_size):
        if method in CAMS:
            maps[where] = class_activation_maps(model, batch, targets[where], method, layer)
        else:
            maps[where] = OTHERS[method](model, batch, targets[where])
    return maps

"""Class activation maps by pytorch-grad-cam, in batches, with the layer found by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import Tensor, nn
from torch.nn.functional import interpolate

from medimg.errors import ModelError
from medimg.explain.inspection import ClassScore, inspecting
from medimg.models import MedicalNet, target_layer


class _SignedEigenCAM(EigenCAM):  # type: ignore[misc]
    """EigenCAM whose sign is fixed: a principal component and its negative are equally right."""

    def get_cam_image(self, *args: Any, **_: Any) -> npt.NDArray[np.float32]:
        activations = args[3]
        return np.asarray(get_2d_projection_with_sign_correction(activations), np.float32)


class _BriefScoreCAM(ScoreCAM):  # type: ignore[misc]
    """ScoreCAM over the most active channels only.

    The original masks the image once for each channel: 1,280 forward passes an image for
    EfficientNet, and as many images held at once.
    """

    channels = 64
    passes_at_once = 16

    def get_cam_weights(
        self,
        input_tensor: Tensor,
        target_layer: nn.Module,
        targets: Sequence[ClassScore],
        activations: npt.NDArray[np.float32],
        grads: None,
    ) -> npt.NDArray[np.float32]:
        weights = np.zeros(activations.shape[:2], np.float32)
        # the spread, not the mean: a channel that is equally high everywhere masks nothing
        spread = activations.std(axis=(2, 3))
        chosen = np.argsort(-spread, axis=1, kind="stable")[:, : self.channels]
        with torch.no_grad():
            for i, (image, target) in enumerate(zip(input_tensor, targets, strict=True)):
                maps = torch.from_numpy(activations[i, chosen[i]]).to(image.device)
                scores = self._masked_scores(image, maps, target)
                weights[i, chosen[i]] = scores.softmax(0).cpu().numpy()
        return weights

    def _masked_scores(self, image: Tensor, maps: Tensor, target: ClassScore) -> Tensor:
        masks = interpolate(
            maps.unsqueeze(1), size=image.shape[-2:], mode="bilinear", align_corners=True
        )
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / (high - low + 1e-8)
        scores = [
            target(logits)
            for part in torch.split(masks, self.passes_at_once)
            for logits in self.model(image.unsqueeze(0) * part)
        ]
        return torch.stack(scores)


_CAMS = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "eigencam": _SignedEigenCAM,
    "scorecam": _BriefScoreCAM,
}
CAM_METHODS = tuple(_CAMS)


def class_activation_maps(
    model: nn.Module,
    batch: Tensor,
    targets: Sequence[ClassScore],
    *,
    method: str = "gradcam",
    layer: nn.Module | None = None,
) -> npt.NDArray[np.float32]:
    """Return class activation maps of one batch.

    Parameters
    ----------
    model : torch.nn.Module
        Network from the batch to logits (B, K).
    batch : torch.Tensor
        (B, 1, H, W) float32 in [0, 1].
    targets : sequence of ClassScore
        What to explain, one an image.
    method : str
        One of :data:`CAM_METHODS`.
    layer : torch.nn.Module, optional
        Layer whose activations are weighted; :func:`medimg.models.target_layer` by default.

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
    >>> class_activation_maps(net, torch.rand(2, 1, 8, 6), [ClassScore(1)] * 2, layer=conv).shape
    (2, 8, 6)
    """
    layer = _layer_of(model) if layer is None else layer
    with inspecting(model, cut_at=layer):
        cam = _CAMS[method](model, [layer], reshape_transform=_as_map)
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
            f"The layer gives {tuple(activations.shape)}, which is no map; choose one that gives "
            "(B, C, h, w), or a transformer's tokens (B, 1 + h * w, C) of a square image."
        )
    patches = activations[:, 1:].transpose(1, 2)
    return patches.reshape(*patches.shape[:2], side, side)

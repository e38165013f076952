"""Look inside a network and leave it as it was: modes, gradients and hooks, also after an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medimg.errors import ModelError

Score = Literal["log_odds", "logit", "probability"]


@contextmanager
def inspecting(model: nn.Module, *, cut_at: nn.Module | None = None) -> Iterator[None]:
    """Put a model in evaluation mode, frozen, for the length of a ``with`` block.

    Parameters
    ----------
    model : torch.nn.Module
        The network to look into.
    cut_at : torch.nn.Module, optional
        The module whose output starts the graph of gradients. Nothing before it is recorded, which
        is what makes a class activation map cheap: the backward pass ends at the feature map.

    Notes
    -----
    Train and evaluation modes, ``requires_grad`` and ``grad`` of each parameter come back as they
    were, and the hook is removed, also when the block raises.

    Examples
    --------
    >>> net = nn.Linear(2, 2).train()
    >>> with inspecting(net):
    ...     (net.training, net.weight.requires_grad)
    (False, False)
    >>> (net.training, net.weight.requires_grad)
    (True, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    hook = None if cut_at is None else cut_at.register_forward_hook(_start_graph)
    try:
        model.eval()
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        if hook is not None:
            hook.remove()
        for parameter, required, grad in parameters:
            parameter.requires_grad_(required)
            parameter.grad = grad
        for module, training in modes:
            module.training = training


def _start_graph(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    # float32: under autocast a map from bfloat16 activations would differ from machine to machine
    return output.detach().float().requires_grad_(True)


@dataclass(frozen=True)
class ClassScore:
    """The number that a map explains, from one image's logits.

    Parameters
    ----------
    index : int, optional
        Class to explain; the predicted one by default.
    score : {"log_odds", "logit", "probability"}
        ``log_odds`` is log(p / (1 - p)) of the class: the logit less the log-sum-exp of the others.
        Adding the same vector to the weights of every class changes no prediction and no log-odds,
        but does change a single logit, and so the map of it.

    Examples
    --------
    >>> logits = torch.tensor([1.0, 3.0])
    >>> float(ClassScore(1)(logits)), float(ClassScore()(logits)), float(ClassScore(0)(logits))
    (2.0, 2.0, -2.0)
    """

    index: int | None = None
    score: Score = "log_odds"

    def fixed(self, logits: Tensor) -> "ClassScore":
        """Name the class that these logits (K,) predict, so that a changed image keeps it."""
        return replace(self, index=int(logits.argmax()) if self.index is None else self.index)

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the score (a scalar) of logits (K,)."""
        index = int(logits.argmax()) if self.index is None else self.index
        if not 0 <= index < len(logits):
            raise ModelError(
                f"target {index} is not a class of this model, which has {len(logits)} "
                f"(0 to {len(logits) - 1})."
            )
        if self.score == "logit":
            return logits[index]
        if self.score == "probability":
            return logits.softmax(0)[index]
        others = torch.cat([logits[:index], logits[index + 1 :]])
        return logits[index] - others.logsumexp(0)


def class_scores(target: int | npt.ArrayLike | None, n: int, score: Score) -> list[ClassScore]:
    """Return one :class:`ClassScore` for each of n images."""
    if target is None:
        return [ClassScore(None, score)] * n
    indices = np.asarray(target)
    if indices.shape not in {(), (n,)} or indices.dtype.kind not in "iu":
        raise ModelError(
            f"target must be one class index or {n} of them, not {indices.dtype} of shape "
            f"{indices.shape}; leave it out to explain the predicted class."
        )
    return [ClassScore(int(index), score) for index in np.broadcast_to(indices, (n,))]


def as_batches(
    model: nn.Module, images: npt.NDArray[Any], batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (where, batch (B, 1, H, W) float32 in [0, 1]) on the model's device."""
    if batch_size < 1:
        raise ModelError(f"batch_size is {batch_size}; it must be at least 1.")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, len(images), batch_size):
        where = slice(start, min(start + batch_size, len(images)))
        batch = torch.from_numpy(np.array(images[where]))
        scale = 255.0 if images.dtype == np.uint8 else 1.0
        yield where, (batch.to(device).float() / scale).unsqueeze(1)


def predicted_classes(
    model: nn.Module, images: npt.NDArray[Any], *, batch_size: int = 8
) -> npt.NDArray[np.int64]:
    """Return the class that a model predicts for each image, int64 (N,)."""
    images = check_images(images)
    predicted = np.zeros(len(images), np.int64)
    with inspecting(model), torch.no_grad():
        for where, batch in as_batches(model, images, batch_size):
            predicted[where] = model(batch).argmax(dim=1).cpu().numpy()
    return predicted


def check_images(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return images (N, H, W), uint8 or float32 in [0, 1], or raise ModelError."""
    images = np.asarray(images) if not isinstance(images, np.memmap) else images
    if images.ndim != 3 or 0 in images.shape[1:]:
        raise ModelError(
            f"images have shape {images.shape}; expected (N, H, W). One image is images[None]."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise ModelError(
            f"images are {images.dtype}; expected uint8, or floating point values in [0, 1]."
        )
    inside = ((images >= 0) & (images <= 1)).all(axis=(1, 2))  # False for NaN too
    if not inside.all():
        first = int(np.argmin(inside))
        raise ModelError(
            f"image {first} has values from {images[first].min():.3g} to {images[first].max():.3g};"
            " expected uint8, or floating point values in [0, 1] and none missing."
        )
    return images.astype(np.float32)


def unit_range(maps: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Stretch each map (N, H, W) to [0, 1]; a constant map becomes 0, for it points nowhere."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    safe = np.where(span > 0, span, 1)
    stretched: npt.NDArray[np.float32] = ((maps - low) / safe).astype(np.float32)
    return stretched

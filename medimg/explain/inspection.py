"""Look inside a network and leave it as it was: modes, gradients and hooks, also after an error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from medimg.errors import ModelError

Class = int | str | Sequence[int | str] | npt.NDArray[np.integer[Any]] | None
"""A class by index or name, or one per image; None where the method knows no class."""


@contextmanager
def frozen_eval(model: nn.Module, *, cut_at: nn.Module | None = None) -> Iterator[None]:
    """Put a model in evaluation mode, frozen, for the length of a ``with`` block.

    Parameters
    ----------
    model : torch.nn.Module
        The network to look into.
    cut_at : torch.nn.Module, optional
        The module whose output starts the graph of gradients. Nothing before it is recorded, which
        makes a class activation map cheap: the backward pass ends at the feature map.

    Notes
    -----
    Train and evaluation modes, ``requires_grad`` and ``grad`` of each parameter come back as they
    were, and the hook is removed, also when the block raises.

    Examples
    --------
    >>> net = nn.Linear(2, 2).train()
    >>> with frozen_eval(net):
    ...     (net.training, net.weight.requires_grad)
    (False, False)
    >>> (net.training, net.weight.requires_grad)
    (True, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    hook = None if cut_at is None else cut_at.register_forward_hook(_start_graph)
    try:
        model.eval().requires_grad_(False)
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
class Target:
    """The number that a map explains: the log-odds of one class.

    The log-odds, log(p / (1 - p)), are the logit less the log-sum-exp of the others. Adding the
    same vector to the weights of every class changes no prediction and no log-odds, but does change
    a single logit, and so the map of it.

    Parameters
    ----------
    index : int
        Class to explain.

    Examples
    --------
    >>> logits = torch.tensor([1.0, 3.0])
    >>> float(Target(1)(logits)), float(Target(0)(logits))
    (2.0, -2.0)
    """

    index: int

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the log-odds of logits (K,), a scalar, or of (B, K), each row's (B,)."""
        if not 0 <= self.index < logits.shape[-1]:
            raise ModelError(
                f"target {self.index} is not a class of this model, which has {logits.shape[-1]} "
                "(from 0)."
            )
        if not logits.isfinite().all():
            raise ModelError(
                "the model's output is not finite: its weights are damaged; load or train it again."
            )
        others = torch.cat([logits[..., : self.index], logits[..., self.index + 1 :]], dim=-1)
        return logits[..., self.index] - others.logsumexp(dim=-1)


def targets_of(model: nn.Module, target: Class, count: int) -> list[Target]:
    """Return what to explain for each of ``count`` images, from one class or one per image."""
    names, given = [str(name) for name in getattr(model, "classes", ())], np.asarray(target)
    if given.shape not in {(), (count,)}:
        raise ModelError(f"target has shape {given.shape}; give a class, or {count}, one per image")
    each = np.broadcast_to(given, count).tolist()
    for which in each:
        if type(which) is not int and which not in names:
            known = " or ".join(names) or "a number"
            raise ModelError(f"target {which!r} is not a class of this model; expected {known}.")
    return [Target(which if isinstance(which, int) else names.index(which)) for which in each]


def as_batches(
    model: nn.Module, images: npt.NDArray[np.uint8], batch_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (where, batch (B, 1 or 3, H, W) float32 in [0, 1]) on the model's device."""
    if batch_size < 1:
        raise ModelError(f"batch_size is {batch_size}; it must be at least 1.")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    for start in range(0, len(images), batch_size):
        where = slice(start, start + batch_size)
        batch = torch.from_numpy(np.array(images[where])).to(device).float() / 255
        yield where, batch.unsqueeze(1) if batch.ndim == 3 else batch.permute(0, 3, 1, 2)


def unit_range(maps: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Stretch each map (N, H, W) to [0, 1]; a constant map becomes 0, for it points nowhere."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    return np.asarray((maps - low) / np.where(span > 0, span, 1), np.float32)

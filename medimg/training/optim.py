"""Optimiser groups, the schedule, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from medimg.training.types import Network


def make_optimizer(model: Network, *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with two groups a stage: weights, which decay, and norms and biases, which do not.

    Parameters
    ----------
    model : Network
        Its stages and head name the groups.
    weight_decay : float
        For the weights.

    Returns
    -------
    torch.optim.AdamW
        Each group has ``stage`` beside the usual entries; the rates are set at every step.
    """
    groups: list[dict[str, Any]] = []
    for name, part in [*model.stages().items(), ("head", model.head)]:
        parameters = list(part.parameters())
        for decay, members in (
            (weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if members:
                groups.append({"params": members, "weight_decay": decay, "stage": name})
    return torch.optim.AdamW(groups, lr=0.0, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float], rate: float) -> None:
    """Give every group the step's learning rate times its stage's multiple."""
    for group in optimizer.param_groups:
        group["lr"] = rate * float(rates[group["stage"]])


def schedule(step: int, total: int, *, kind: str, warmup: float) -> float:
    """Return the share of the learning rate at a step: a pure function, nothing to restore.

    Parameters
    ----------
    step, total : int
        Steps done before this one, and in the whole run.
    kind : {"cosine", "one_cycle", "constant"}
        Cosine and constant rise linearly over the warm-up; one-cycle rises along a cosine over
        at least 30 % of the run and falls to a ten-thousandth.
    warmup : float
        Share of the run.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> [round(schedule(s, 10, kind="cosine", warmup=0.2), 2) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rise = max(0.3, warmup) if kind == "one_cycle" else warmup
    top = round(rise * total)
    if step < top:
        share = (step + 1) / top
        return (1 - math.cos(math.pi * share)) / 2 if kind == "one_cycle" else share
    if kind == "constant":
        return 1.0
    fall = (step - top) / max(1, total - top)
    floor = 1e-4 if kind == "one_cycle" else 0.0
    return floor + (1 - floor) * (1 + math.cos(math.pi * fall)) / 2


class MovingAverage:
    """An exponential moving average of a network's weights, used in its place to judge and keep.

    Parameters
    ----------
    model : Network
        Copied as it stands.
    decay : float
        Weight of the past; lower in the first steps, so that the start is soon forgotten.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.decay = decay
        copied = cast("nn.Module", copy.deepcopy(model))
        self.module: Any = copied.requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: Network, step: int) -> None:
        """Move towards the network after its ``step``-th step (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine: list[Tensor] = []
        theirs: list[Tensor] = []
        for own, new in zip(
            self.module.state_dict().values(), model.state_dict().values(), strict=True
        ):
            if own.is_floating_point():
                mine.append(own)
                theirs.append(new)
            else:
                own.copy_(new)
        torch._foreach_lerp_(mine, theirs, 1 - decay)

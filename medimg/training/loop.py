"""The training loop, on one screen, and what surrounds a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torchvision.ops import sigmoid_focal_loss

from medimg.augment import apply, draw_parameters
from medimg.errors import TrainingError
from medimg.runtime import Precision, mix, seeded
from medimg.training.data import Batches, Indices, split_batches
from medimg.training.distributed import total_of, world, wrap
from medimg.training.mixed_precision import autocast
from medimg.training.optim import MovingAverage, schedule, set_rates
from medimg.training.settings import FitSettings
from medimg.training.types import Network


@dataclass
class Run:
    """All that changes, or is needed, while a network trains."""

    model: Network
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    scaler: torch.amp.GradScaler
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: Batches
    labels: Indices
    ids: Any
    settings: FitSettings
    precision: Precision
    total_steps: int
    step: int = 0
    seen: int = 0  # images of the epoch, over all processes


def train_epoch(
    run: Run, order: Indices, *, epoch: int, rates: Mapping[str, float], size: int | None, bar: Any
) -> float:
    """Train over the rows of ``order`` once and return the mean loss.

    Several processes take equal shares of each batch; one process takes all of it.
    """
    settings, device, total, seen = run.settings, run.batches.device, 0.0, 0
    forward = wrap(run.model, device)
    generator = torch.Generator().manual_seed(mix(settings.seed, epoch))
    rank, processes = world()
    with seeded(settings.seed, epoch, rank):  # dropout
        for whole in split_batches(order, settings.batch_size):
            mine = np.array_split(np.arange(len(whole)), processes)[rank]
            rows = whole[mine]
            labels = torch.from_numpy(run.labels[rows]).to(device)  # (B,)
            images = run.batches(rows, size=size)  # (B, 1, H, W) in [0, 1]
            if images.ndim == 4 and images.shape[1] == 1:  # not cached features
                draw = draw_parameters(len(whole), settings.augment, generator=generator)
                images = apply(images, draw.part(int(mine[0]), int(mine[-1]) + 1))
            share = schedule(
                run.step, run.total_steps, kind=settings.schedule, warmup=settings.warmup
            )
            set_rates(run.optimizer, rates, settings.learning_rate * share)

            run.optimizer.zero_grad(set_to_none=True)
            with autocast(device, run.precision):
                logits = forward(images)  # (B, K)
            losses = run.loss(logits.float(), labels)  # (B,)
            loss = losses.sum() * processes / len(whole)
            run.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            run.scaler.unscale_(run.optimizer)
            clip_grad_norm_(run.model.parameters(), max_norm=1.0)
            run.scaler.step(run.optimizer)
            run.scaler.update()

            total += check_finite(losses, rows, run, epoch)
            if run.average is not None:
                run.average.update(run.model, run.step)
            run.step += 1
            seen += len(rows)
            bar.update()
    run.seen = round(total_of(seen))
    return total_of(total) / len(order)


def check_finite(losses: Tensor, rows: Indices, run: Run, epoch: int) -> float:
    """Return the sum of a batch's losses, or stop and name the batch when it is not a number."""
    total = float(losses.detach().sum())
    if not np.isfinite(total):
        bad = rows[~torch.isfinite(losses.detach()).cpu().numpy()]
        named = ", ".join(str(run.ids[row]) for row in bad[:5])
        raise TrainingError(
            f"the loss is not a number in epoch {epoch}, step {run.step}, at images {named}"
            f"{' and others' if len(bad) > 5 else ''}; look at these images, or give a "
            f"learning_rate below {run.settings.learning_rate:g}"
        )
    return total


def make_loss(
    kind: str, *, weights: Tensor | None, smoothing: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of each image: (B, K) logits, (B,) labels -> (B,).

    Parameters
    ----------
    kind : {"cross_entropy", "focal"}
        Focal is torchvision's, on the log-odds of the true class against all others, which makes
        it the softmax focal loss for any number of classes (gamma 2; no smoothing).
    weights : Tensor or None
        (K,), the weight of each class.
    smoothing : float
        Share of each label spread over all classes.

    Returns
    -------
    callable
        Of float logits (B, K) and int64 labels (B,), the losses (B,).

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> loss = make_loss("cross_entropy", weights=None, smoothing=0.0)
    >>> loss(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    """

    def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        mine = None if weights is None else weights.to(logits.device)
        return functional.cross_entropy(
            logits, labels, weight=mine, label_smoothing=smoothing, reduction="none"
        )

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        true = functional.one_hot(labels, logits.shape[1]).bool()
        others = logits.masked_fill(true, -torch.inf).logsumexp(dim=1)
        odds = logits[true] - others
        losses = sigmoid_focal_loss(odds, torch.ones_like(odds), alpha=-1, gamma=2)
        return losses if weights is None else losses * weights.to(logits.device)[labels]

    return focal if kind == "focal" else cross_entropy


@contextmanager
def memory_advice(batch_size: int) -> Iterator[None]:
    """Turn an out-of-memory error of the block into one that says the batch size to try.

    Raises
    ------
    TrainingError
        Instead of torch's error.
    """
    try:
        yield
    except (torch.cuda.OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error).lower()
        short = isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError))
        if not short and "can't allocate memory" not in text and "out of memory" not in text:
            raise
        way_out = f"try batch_size={batch_size // 2}" if batch_size > 1 else "decode smaller images"
        raise TrainingError(f"out of memory at batch_size={batch_size}; {way_out}") from error

"""Train a network: the loop, early stopping and the checkpoint, in the order in which they run.

Or solve its head alone, which needs none of them.
"""

import io
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from medimg.augment import apply, draw_parameters
from medimg.datasets import ImageSet
from medimg.errors import TrainingError
from medimg.models import MedicalNet
from medimg.progress import tqdm
from medimg.runtime import is_main, mix, pick_device, pick_precision, seeded, world
from medimg.storage import atomic_write
from medimg.training import data, optim
from medimg.training.optim import FitSettings, recipe
from medimg.training.predict import extract_features, linear_probe, run_model, validation_metrics
from medimg.training.speed import autocast, place, return_memory

log = logging.getLogger(__name__)
_PROGRESS = ("history", "best_epoch", "best_weights")  # of a run, beside what its parts hold


@dataclass(frozen=True)
class FitResult:
    """A trained network and how it came about.

    Attributes
    ----------
    model : MedicalNet
        With the best weights, in evaluation mode.
    history : DataFrame
        One row per epoch (index ``epoch``, from 1): losses, validation metrics, seconds. A solved
        head has one row.
    best_epoch : int
        Epoch whose weights these are; from 1.
    fingerprint : str
        Fingerprint of the training images and labels.
    settings : dict
        How it was trained, as plain values for a model card.
    """

    model: MedicalNet = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    fingerprint: str
    settings: dict[str, Any] = field(repr=False)


def fit(
    model: MedicalNet, train: ImageSet, val: ImageSet | None = None, *,
    settings: FitSettings | None = None, out_dir: str | os.PathLike[str] | None = None,
    resume: bool = False, on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> FitResult:  # fmt: skip
    """Train a network and keep the weights that validated best.

    The first epoch of "head_then_all" takes no steps: a linear head is solved exactly (unless
    ``settings.C`` is 0). To solve the head and leave it at that, see `fit_head`.

    Parameters
    ----------
    model : MedicalNet
        Trained in place. If its classes have no names yet, it takes those of the images.
    train : ImageSet
        Images uint8 (N, H, W) or (N, H, W, 3), labels int64 (N,).
    val : ImageSet, optional
        Images of other patients. Without it there is no early stopping and the last weights are
        kept.
    settings : FitSettings, optional
        By default `recipe` for as many images.
    out_dir : path, optional
        Where ``checkpoint.pt`` goes; without it nothing is written.
    resume : bool
        Continue from ``out_dir/checkpoint.pt`` if it exists. On a CPU the result is bit for bit
        that of an uninterrupted run.
    on_epoch : callable, optional
        Called with the history so far after each epoch, for a live curve.

    Returns
    -------
    FitResult

    Raises
    ------
    TrainingError
        For data that cannot be trained on, a loss that is not a number, or a checkpoint that is
        damaged or belongs to another run.
    """
    settings = recipe(len(train)) if settings is None else settings
    data.check_trainable(model, train, val, monitor=settings.monitor)
    if resume and out_dir is None:
        raise TrainingError("resume=True needs the out_dir of the run to continue")
    model.classes = tuple(train.classes)
    run = _Run(model, train, val, settings, None if out_dir is None else Path(out_dir))
    if resume:
        run.restore()
    done, hidden = run.steps_before(len(run.history) + 1), None if is_main() else True
    with tqdm(total=run.total_steps, initial=done, desc="fit", disable=hidden) as bar:
        while not run.finished():
            row = run.one_epoch(bar)
            run.remember(row)
            log.info("epoch %d: %s", row["epoch"], row)
            if is_main():
                run.save()
                if on_epoch is not None:
                    on_epoch(_table(run.history))
        bar.total = bar.n  # a bar that stopped early is not unfinished
    run.part.load_state_dict(run.best_weights)
    return_memory()
    return FitResult(
        model.eval(), _table(run.history), best_epoch=run.best_epoch,
        fingerprint=run.signature["data"], settings=settings.to_json(),
    )  # fmt: skip


def fit_head(
    model: MedicalNet, train: ImageSet, val: ImageSet | None = None, *, C: float = 0.01,
    class_weights: optim.ClassWeights = None,
) -> FitResult:  # fmt: skip
    """Solve a linear head: a regularised logistic regression on the features of the backbone.

    The backbone does not change, so there are no epochs, no learning rate and no augmentation. It
    is the first thing to try, and with less than about 150 images seldom beaten.

    Parameters
    ----------
    model : MedicalNet
        Built with a linear head, which is changed in place.
    train : ImageSet
        What to learn from.
    val : ImageSet, optional
        Images of other patients, for the validation metrics.
    C : float
        Inverse strength of regularisation, as in scikit-learn: smaller keeps the weights smaller.
    class_weights : "balanced", sequence of float or None
        Weight of each class in the loss.

    Returns
    -------
    FitResult
        Its history has one row: training and validation metrics.

    Raises
    ------
    TrainingError
        For data that cannot be trained on, or an attention head, which has no exact solution.
    """
    start = time.perf_counter()
    if model.head.wants_map:
        raise TrainingError("an attention head has no solution; train it with strategy='head'")
    data.check_trainable(model, train, val)
    model.classes = tuple(train.classes)
    place(model, pick_device())
    given: dict[str, Any] = {"C": C, "class_weights": class_weights}
    features = extract_features(model, train.images)
    probe = linear_probe(features, train.labels, num_classes=model.num_classes, **given)
    probe.load_into(model.head)
    row: dict[str, Any] = {"epoch": 1} | _judged("train", probe.logits(features), train)
    if val is not None:
        row |= _judged("val", probe.logits(extract_features(model, val.images)), val)
    row["seconds"] = time.perf_counter() - start
    return FitResult(
        model.eval(), _table([row]), best_epoch=1, settings={"strategy": "frozen"} | given,
        fingerprint=data.fingerprint(train.images, train.labels),
    )  # fmt: skip


def _judged(name: str, logits: NDArray[np.float32], part: ImageSet) -> dict[str, float]:
    return {f"{name}_{key}": v for key, v in validation_metrics(logits, part.labels).items()}


def _table(history: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(history).set_index("epoch")


class _Run:
    """One run, after its arguments were checked: all that it needs, and all that changes."""

    def __init__(
        self, model: MedicalNet, train: ImageSet, val: ImageSet | None, settings: FitSettings,
        folder: Path | None,
    ) -> None:  # fmt: skip
        self.model, self.train, self.val = model, train, val
        self.settings, self.folder = settings, folder
        self.device = pick_device()
        self.precision = pick_precision(self.device)
        place(model, self.device)
        self.alone = settings.strategy == "head"
        self.part: nn.Module = model.head if self.alone else model
        self.inputs = self._inputs(train)
        self.val_inputs: Any = None if val is None else self._inputs(val)

        self.plan = optim.plan(settings.strategy, list(model.stages()), epochs=settings.epochs)
        linear = settings.C > 0 and not model.head.wants_map
        self.solved = int(settings.strategy == "head_then_all" and linear)  # epochs without steps
        self.steps = len(self._rows(1))  # of an epoch
        self.total_steps = self.steps_before(settings.epochs + 1)
        self.optimizer = optim.make_optimizer(model, weight_decay=settings.weight_decay)
        self.average = optim.make_average(self.part, settings.ema) if settings.ema else None
        float16 = self.precision.dtype is torch.float16  # small gradients would vanish
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=float16)
        weights = optim.class_weights(train.labels, model.num_classes, settings.class_weights)
        weights = None if weights is None else weights.to(self.device)
        smoothing = settings.label_smoothing
        self.loss = optim.make_loss(settings.loss, weights=weights, smoothing=smoothing)

        self.history: list[dict[str, Any]] = []  # a row per epoch
        self.best_epoch, self.best_weights = 0, dict[str, Tensor]()
        self.signature = {  # what must agree between a checkpoint and the run that continues it
            "model": f"{model.name}, {type(model.head).__name__}",
            "data": data.fingerprint(train.images, train.labels),
            "validation data": "" if val is None else data.fingerprint(val.images, val.labels),
            **settings.to_json(),
        }

    def _inputs(self, part: ImageSet) -> Any:
        """Return images, or for a head alone their features, which never change."""
        if not self.alone:
            return part.images
        kind = "map" if self.model.head.wants_map else "pooled"
        return extract_features(self.model, part.images, kind=kind)

    def _rows(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the rows of each batch of an epoch."""
        seed, sampler = self.settings.seed, self.settings.sampler
        order = data.epoch_order(self.train.labels, epoch, seed=seed, sampler=sampler)
        return data.split_batches(order, self.settings.batch_size)

    def steps_before(self, epoch: int) -> int:
        """Return how many steps are done when an epoch begins."""
        return max(0, epoch - 1 - self.solved) * self.steps

    def finished(self) -> bool:
        """Whether all epochs are done, or validation has not improved for too long."""
        done = len(self.history)
        return done >= self.settings.epochs or done - self.best_epoch >= self.settings.patience

    def one_epoch(self, bar: Any) -> dict[str, Any]:
        """Train for an epoch, validate, and return its row of the history."""
        start, epoch = time.perf_counter(), len(self.history) + 1
        row: dict[str, Any] = {"epoch": epoch}
        if epoch <= self.solved:
            self.solve()
        else:
            row["train_loss"] = self.train_epoch(epoch, bar)
        return row | self.validate() | {"seconds": time.perf_counter() - start}

    def solve(self) -> None:
        """Give the head its first weights: a regularised logistic regression."""
        # Drawing every class equally often weighs the classes, too.
        weights = self.settings.sampler or self.settings.class_weights
        probe = linear_probe(
            extract_features(self.model, self.train.images), self.train.labels, C=self.settings.C,
            num_classes=self.model.num_classes, class_weights=weights,
        )  # fmt: skip
        probe.load_into(self.model.head)

    def train_epoch(self, epoch: int, bar: Any) -> float:
        """Train on every row once; return the mean loss.

        Several processes take equal shares of each batch; one process takes all of it.
        """
        settings, batches = self.settings, self._rows(epoch)
        rates: Any = self.plan.loc[epoch].to_dict()
        optim.set_trainable(self.model, rates, freeze_norms=settings.freeze_norms)
        generator = torch.Generator().manual_seed(mix(settings.seed, epoch))
        rank, processes = world()
        # The backward pass of several processes averages their gradients.
        forward = self.part if processes == 1 else DistributedDataParallel(self.part)
        size, total = self._size(epoch), 0.0
        with seeded(settings.seed, epoch, rank):  # dropout
            for step, whole in enumerate(batches, start=self.steps_before(epoch)):
                mine = np.array_split(np.arange(len(whole)), processes)[rank]
                rows = whole[mine]
                labels = torch.from_numpy(self.train.labels[rows]).to(self.device)  # (B,)
                images = data.make_batch(self.inputs, rows, self.device, size=size)
                if not self.alone:  # features are no pictures
                    drawn = draw_parameters(len(whole), settings.augment, generator=generator)
                    images = apply(images, drawn.part(int(mine[0]), int(mine[-1]) + 1))
                share = optim.schedule(step, self.total_steps, settings.schedule, settings.warmup)
                optim.set_rates(self.optimizer, rates, settings.learning_rate * share)

                self.optimizer.zero_grad(set_to_none=False)  # as `set_trainable` made them
                with autocast(self.device, self.precision):
                    logits = forward(images)  # (B, K)
                losses = self.loss(logits.float(), labels)  # (B,)
                loss = losses.sum() * processes / len(whole)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                self.scaler.unscale_(self.optimizer)
                clip_grad_norm_(self.part.parameters(), max_norm=1.0)
                self.scaler.step(self.optimizer)
                self.scaler.update()

                total += float(losses.detach().sum())
                if not np.isfinite(total):
                    bad = self.train.ids[rows[~torch.isfinite(losses).cpu().numpy()]]
                    raise TrainingError(
                        f"the loss is not a number in epoch {epoch}, step {step}, at images "
                        f"{', '.join(map(str, bad[:5]))}; look at these images, or give a "
                        f"learning_rate below {settings.learning_rate:g}"
                    )
                if self.average is not None:
                    self.average.update_parameters(self.part)
                bar.update()
        everywhere = torch.tensor(total, dtype=torch.float64, device=self.device)
        if processes > 1:
            distributed.all_reduce(everywhere)
        return float(everywhere) / sum(map(len, batches))

    def _size(self, epoch: int) -> int | None:
        """Return the side to train at, in steps of 8 pixels; None is the images' own."""
        sizes = self.settings.sizes or (1.0,)
        share = sizes[(epoch - 1) * len(sizes) // self.settings.epochs]
        side = round(share * self.train.images.shape[2] / 8) * 8
        return None if share == 1 or self.alone else max(8, side)

    def _best(self) -> nn.Module:
        """Return what is validated and kept: the average, as soon as there is one."""
        if self.average is None or not int(self.average.n_averaged):
            return self.part
        return self.average.module

    def validate(self) -> dict[str, float]:
        """Return the validation metrics."""
        judged = self._best()
        # All processes judge by the first one's running statistics.
        for buffer in (*judged.buffers(), *self.part.buffers()) if world()[1] > 1 else ():
            distributed.broadcast(buffer, 0)
        if self.val is None:
            return {}
        logits = run_model(judged, self.val_inputs, shared=True, precision=self.precision)
        return _judged("val", logits, self.val)

    def remember(self, row: dict[str, Any]) -> None:
        """Early stopping: keep the weights if they are the best so far.

        Where there is nothing to judge by, the last weights are the best.
        """
        self.history.append(row)
        watched, sign = f"val_{self.settings.monitor}", -1 if self.settings.monitor == "loss" else 1
        if self.best_epoch and watched in row:
            best = self.history[self.best_epoch - 1][watched]
            if not sign * row[watched] > sign * best + self.settings.min_delta:
                return
        self.best_epoch = row["epoch"]
        self.best_weights = {key: value.clone() for key, value in self._best().state_dict().items()}

    def _parts(self) -> dict[str, Any]:
        """Return what has a state of its own.

        The order of the images, the augmentation and the dropout of an epoch follow from the seed
        and the epoch alone, and the schedule from the step.
        """
        parts = {"model": self.part, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts | ({} if self.average is None else {"average": self.average})

    def save(self) -> None:
        """Write all that the run needs to continue as if it had never stopped, or nothing."""
        if self.folder is None:
            return
        progress = {name: getattr(self, name) for name in _PROGRESS}
        content = {name: part.state_dict() for name, part in self._parts().items()}
        buffer = io.BytesIO()  # written by torch itself, a full disk would be a RuntimeError
        torch.save(content | {"signature": self.signature, "progress": progress}, buffer)
        with atomic_write(self.folder / "checkpoint.pt") as file:
            file.write(buffer.getbuffer())

    def restore(self) -> None:
        """Put the run into the state of its checkpoint, if there is one.

        Raises
        ------
        TrainingError
            When the file is damaged, or belongs to another model, other data or other settings.
        """
        path = Path(self.folder or "") / "checkpoint.pt"
        if not path.exists():
            return
        changed = []
        try:
            if ZipFile(path).testzip():  # torch does not compare the sums that it writes
                raise ValueError("a part of it has another sum")
            content = torch.load(path, map_location=self.device, weights_only=True)
            old, new = content["signature"], self.signature
            changed = [f"{key} {old[key]} -> {new[key]}" for key in new if old[key] != new[key]]
            for name, part in self._parts().items() if not changed else ():
                part.load_state_dict(content[name])
            vars(self).update({name: content["progress"][name] for name in _PROGRESS})
        except Exception as error:  # a damaged file can raise almost anything
            raise TrainingError(
                f"{path} is not a checkpoint of this version of the library, or is damaged; "
                "delete it to start anew"
            ) from error
        if changed:
            raise TrainingError(
                f"{path} was written with other data or settings ({', '.join(changed)}); continue "
                "with the same, or give another out_dir"
            )

"""Train a network: the loop, early stopping and the checkpoint, in the order in which they run."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from medimg.augment import apply, draw_parameters
from medimg.datasets import ImageSet
from medimg.errors import TrainingError
from medimg.models import MedicalNet
from medimg.progress import tqdm
from medimg.runtime import mix, pick_device, pick_precision, seeded
from medimg.storage import atomic_write
from medimg.training import optim
from medimg.training.data import Batches, check_trainable, epoch_order, fingerprint, split_batches
from medimg.training.distributed import is_main, sync_buffers, total_of, world, wrap
from medimg.training.head import extract_features, linear_probe
from medimg.training.predict import memory_advice, run_model, validation_metrics
from medimg.training.settings import FitResult, FitSettings, recipe
from medimg.training.speed import autocast, place

log = logging.getLogger(__name__)


def fit(
    model: MedicalNet,
    train: ImageSet,
    val: ImageSet | None = None,
    *,
    settings: FitSettings | None = None,
    out_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> FitResult:
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
        Where ``checkpoint.pt`` and cached features go; without it nothing is written.
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
        For data that cannot be trained on, a loss that is not a number, too little memory, or a
        checkpoint that is damaged or belongs to another run.
    """
    settings = recipe(len(train)) if settings is None else settings
    check_trainable(model, train, val, monitor=settings.monitor)
    if resume and out_dir is None:
        raise TrainingError("resume=True needs the out_dir of the run to continue")
    model.classes = tuple(train.classes)
    with memory_advice(settings.batch_size):
        run = _Run(model, train, val, settings, None if out_dir is None else Path(out_dir))
        if resume:
            run.restore()
        hidden = {} if is_main() else {"disable": True}
        with tqdm(total=run.total_steps, initial=run.progress.step, desc="fit", **hidden) as bar:
            while not run.finished():
                row = run.one_epoch(bar)
                run.remember(row)
                bar.set_postfix({k: f"{row[k]:.4f}" for k in ("val_auc", "val_loss") if k in row})
                log.info("epoch %d: %s", row["epoch"], row)
                if is_main():
                    run.save()
                    if on_epoch is not None:
                        on_epoch(run.history())
            bar.total = bar.n  # a bar that stopped early is not unfinished
            bar.refresh()
    run.part.load_state_dict(run.progress.best_weights)
    plain = settings.to_json()
    return FitResult(model.eval(), run.history(), run.progress.best_epoch, run.data, plain)


@dataclass
class _Progress:
    """How far a run has come, and the best that it has seen."""

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    wait: int = 0  # epochs since the best
    history: list[dict[str, Any]] = field(default_factory=list)


class _Run:
    """One run, after its arguments were checked: all that it needs, and all that changes."""

    def __init__(
        self,
        model: MedicalNet,
        train: ImageSet,
        val: ImageSet | None,
        settings: FitSettings,
        folder: Path | None,
    ) -> None:
        self.model, self.train, self.val = model, train, val
        self.settings, self.folder, self.progress = settings, folder, _Progress()
        self.device = pick_device()
        self.precision = pick_precision(self.device)
        place(model, self.device, self.precision)
        # A head alone learns from features, which never change and are computed once.
        self.alone = settings.strategy == "head"
        self.part: nn.Module = model.head if self.alone else model
        self.inputs = Batches(self._features(train) if self.alone else train.images, self.device)
        self.val_inputs: Any = None
        if val is not None:
            self.val_inputs = self._features(val) if self.alone else val.images
        self.data = fingerprint(train.images, train.labels)
        self.val_data = "" if val is None else fingerprint(val.images, val.labels)
        table = optim.plan(settings.strategy, list(model.stages()), epochs=settings.epochs)
        self.rates: list[dict[str, float]] = table.to_dict("records")  # type: ignore[assignment]
        linear = settings.C > 0 and not model.head.wants_map
        self.solves = settings.strategy == "head_then_all" and linear
        steps = len(split_batches(self._order(1), settings.batch_size))
        self.total_steps = steps * (settings.epochs - int(self.solves))
        self.optimizer = optim.make_optimizer(model, weight_decay=settings.weight_decay)
        self.average = optim.make_average(self.part, settings.ema) if settings.ema else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision.needs_scaler)
        weights = optim.class_weights(train.labels, model.num_classes, settings.class_weights)
        self.loss = optim.make_loss(
            settings.loss, weights=weights, smoothing=settings.label_smoothing
        )

    def _features(self, images: ImageSet) -> Any:
        kind = "map" if self.model.head.wants_map else "pooled"
        return extract_features(
            self.model, images.images, kind=kind, cache=self.folder, precision=self.precision
        )

    def _order(self, epoch: int) -> NDArray[np.int64]:
        settings = self.settings
        return epoch_order(self.train.labels, epoch, seed=settings.seed, sampler=settings.sampler)

    def finished(self) -> bool:
        """Whether all epochs are done, or validation has not improved for too long."""
        done = self.progress.epoch >= self.settings.epochs
        return done or self.progress.wait >= self.settings.patience

    def history(self) -> pd.DataFrame:
        """Return what every epoch so far gave."""
        return pd.DataFrame(self.progress.history).set_index("epoch")

    def one_epoch(self, bar: Any) -> dict[str, Any]:
        """Train for an epoch, validate, and return its row of the history."""
        start, epoch = time.perf_counter(), self.progress.epoch + 1
        row: dict[str, Any] = {"epoch": epoch}
        if epoch == 1 and self.solves:
            self._solve()
        else:
            rates = self.rates[epoch - 1]
            optim.set_trainable(self.model, rates, freeze_norms=self.settings.freeze_norms)
            row["train_loss"], row["images"] = self.train_epoch(epoch, rates, bar)
            row["images_per_second"] = row["images"] / (time.perf_counter() - start)
        return row | self.validate() | {"seconds": time.perf_counter() - start}

    def _solve(self) -> None:
        """Give the head its first weights: a regularised logistic regression."""
        labels, count = self.train.labels, self.model.num_classes
        given = optim.class_weights(labels, count, self.settings.class_weights)
        if self.settings.sampler == "balanced":  # which weighs the classes, too
            even = optim.class_weights(labels, count, "balanced")
            given = even if given is None or even is None else given * even
        weights = None if given is None else given.tolist()
        features = self._features(self.train)
        linear_probe(
            features, labels, num_classes=count, C=self.settings.C, class_weights=weights
        ).load_into(self.model.head)

    def train_epoch(self, epoch: int, rates: dict[str, float], bar: Any) -> tuple[float, int]:
        """Train on every row once; return the mean loss and the number of images.

        Several processes take equal shares of each batch; one process takes all of it.
        """
        settings, order, total, seen = self.settings, self._order(epoch), 0.0, 0
        forward, size = wrap(self.part, self.device), self._size(epoch)
        generator = torch.Generator().manual_seed(mix(settings.seed, epoch))
        rank, processes = world()
        with seeded(settings.seed, epoch, rank):  # dropout
            for whole in split_batches(order, settings.batch_size):
                mine = np.array_split(np.arange(len(whole)), processes)[rank]
                rows = whole[mine]
                labels = torch.from_numpy(self.train.labels[rows]).to(self.device)  # (B,)
                images = self.inputs(rows, size=size)  # (B, 1 or 3, H, W) in [0, 1]
                if not self.alone:  # features are no pictures
                    drawn = draw_parameters(len(whole), settings.augment, generator=generator)
                    images = apply(images, drawn.part(int(mine[0]), int(mine[-1]) + 1))
                rate = settings.learning_rate * optim.schedule(
                    self.progress.step, self.total_steps, settings.schedule, settings.warmup
                )
                optim.set_rates(self.optimizer, rates, rate)

                self.optimizer.zero_grad(set_to_none=True)
                with autocast(self.device, self.precision):
                    logits = forward(images)  # (B, K)
                losses = self.loss(logits.float(), labels)  # (B,)
                loss = losses.sum() * processes / len(whole)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                self.scaler.unscale_(self.optimizer)
                clip_grad_norm_(self.part.parameters(), max_norm=1.0)
                self.scaler.step(self.optimizer)
                self.scaler.update()

                total += self._finite(losses.detach(), rows, epoch)
                if self.average is not None:
                    self.average.update_parameters(self.part)
                self.progress.step += 1
                seen += len(rows)
                bar.update()
        return total_of(total) / len(order), round(total_of(seen))

    def _size(self, epoch: int) -> int | None:
        """Return the side to train at, in steps of 8 pixels; None is the images' own."""
        sizes, epochs = self.settings.sizes, self.settings.epochs
        share = sizes[(epoch - 1) * len(sizes) // epochs] if sizes else 1.0
        side = self.train.images.shape[2]
        return None if share == 1 or self.alone else max(8, round(share * side / 8) * 8)

    def _finite(self, losses: Tensor, rows: NDArray[np.int64], epoch: int) -> float:
        """Return the sum of a batch's losses, or stop and name the images without one."""
        total = float(losses.sum())
        if not np.isfinite(total):
            bad = rows[~torch.isfinite(losses).cpu().numpy()]
            named = ", ".join(str(self.train.ids[row]) for row in bad[:5])
            raise TrainingError(
                f"the loss is not a number in epoch {epoch}, step {self.progress.step}, at images "
                f"{named}{' and others' if len(bad) > 5 else ''}; look at these images, or give a "
                f"learning_rate below {self.settings.learning_rate:g}"
            )
        return total

    def _judged(self) -> nn.Module:
        """Return what is validated and kept: the average, as soon as there is one."""
        if self.average is None or not int(self.average.n_averaged):
            return self.part
        return self.average.module

    def validate(self) -> dict[str, float]:
        """Return the validation metrics."""
        judged = self._judged()
        sync_buffers(judged)
        sync_buffers(self.part)
        if self.val is None:
            return {}
        logits = run_model(judged, self.val_inputs, shared=True, precision=self.precision)
        found = validation_metrics(logits, self.val.labels)
        return {f"val_{name}": value for name, value in found.items()}

    def remember(self, row: dict[str, Any]) -> None:
        """Early stopping: keep the weights if they are the best so far, else wait one more."""
        settings, progress = self.settings, self.progress
        progress.epoch = row["epoch"]
        progress.history.append(row)
        value = row.get(f"val_{settings.monitor}")
        if value is None:
            better = True  # nothing to judge by: the last weights are kept
        else:
            value = -value if settings.monitor == "loss" else value
            better = value > progress.best_score + settings.min_delta or not progress.best_weights
        if better:
            progress.best_score = progress.best_score if value is None else value
            progress.best_epoch, progress.wait = progress.epoch, 0
            state = self._judged().state_dict()
            progress.best_weights = {key: tensor.clone() for key, tensor in state.items()}
        else:
            progress.wait += 1

    def _signature(self) -> dict[str, Any]:
        """Return what must agree between a checkpoint and the run that continues it."""
        shapes = repr([(key, tuple(value.shape)) for key, value in self.model.state_dict().items()])
        made_of = f"{self.model.name} {hashlib.sha256(shapes.encode()).hexdigest()[:8]}"
        named = {"model": made_of, "data": self.data, "validation data": self.val_data}
        return named | self.settings.to_json()

    def save(self) -> None:
        """Write all that the run needs to continue as if it had never stopped, or nothing.

        The order of the images, the augmentation and the dropout of an epoch follow from the seed
        and the epoch alone, so these two are their whole state; so is the step for the schedule.
        """
        if self.folder is None:
            return
        content = {
            "signature": self._signature(),
            "progress": vars(self.progress),
            "model": self.part.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        buffer = io.BytesIO()  # written by torch itself, a full disk would be a RuntimeError
        torch.save(content, buffer)
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
            content = torch.load(path, map_location=self.device, weights_only=True)
            old, new = content["signature"], self._signature()
            changed = [f"{key} {old[key]} -> {new[key]}" for key in new if old[key] != new[key]]
            if not changed:
                self.part.load_state_dict(content["model"])
                self.optimizer.load_state_dict(content["optimizer"])
                self.scaler.load_state_dict(content["scaler"])
                if self.average is not None:
                    self.average.load_state_dict(content["average"])
                self.progress = _Progress(**content["progress"])
                if len(self.progress.history) != self.progress.epoch:
                    raise ValueError("its history has another length")
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

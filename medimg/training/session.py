"""A run from its first epoch to its last: train, judge, remember the best, checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from medimg.errors import TrainingError
from medimg.progress import tqdm
from medimg.runtime import Precision, pick_device
from medimg.training.checkpoint import Progress, read_checkpoint, signature, write_checkpoint
from medimg.training.data import Batches, class_weights, epoch_order, split_batches
from medimg.training.distributed import is_main, sync_buffers
from medimg.training.heads import solvable, solve_head
from medimg.training.inference import run_batches
from medimg.training.loop import Run, make_loss, train_epoch
from medimg.training.optim import MovingAverage, make_optimizer
from medimg.training.probe import extract_features
from medimg.training.scores import scores
from medimg.training.settings import FitSettings
from medimg.training.strategies import plan, set_trainable
from medimg.training.types import ImageSet, Network, Weights

log = logging.getLogger(__name__)


class Session:
    """One run of `fit`, after its arguments were checked.

    Parameters
    ----------
    model : Network
        Trained in place.
    train, val : ImageSet
        ``images`` may be cached features when the model is a head alone.
    settings : FitSettings
        As given.
    precision : Precision
        Of the forward pass.
    data : str
        Fingerprint of the training set.
    out_dir : Path or None
        Where the checkpoint goes.
    """

    def __init__(
        self,
        model: Network,
        train: ImageSet,
        val: ImageSet | None,
        *,
        settings: FitSettings,
        precision: Precision,
        data: str,
        out_dir: Path | None,
    ) -> None:
        self.model, self.train, self.val = model, train, val
        self.settings, self.out_dir = settings, out_dir
        table = plan(settings.strategy, list(model.stages()), epochs=settings.epochs)
        self.rates: list[dict[str, float]] = table.to_dict("records")  # type: ignore[assignment]
        self.probed = settings.strategy == "head_then_all" and solvable(model, settings)
        self.signature = signature(model, data, settings)
        order = epoch_order(train.labels, 1, seed=settings.seed, sampler=settings.sampler)
        steps = len(split_batches(order, settings.batch_size))
        device = pick_device()
        weights = class_weights(train.labels, model.num_classes, settings.class_weights)
        self.run = Run(
            model=model,
            optimizer=make_optimizer(model, weight_decay=settings.weight_decay),
            average=MovingAverage(model, settings.ema) if settings.ema else None,
            scaler=torch.amp.GradScaler(device.type, enabled=precision.needs_scaler),
            loss=make_loss(settings.loss, weights=weights, smoothing=settings.label_smoothing),
            batches=Batches(train.images, device),
            labels=train.labels,
            ids=train.ids,
            settings=settings,
            precision=precision,
            total_steps=steps * (settings.epochs - int(self.probed)),
        )

    @property
    def checkpoint(self) -> Path | None:
        """Where the state is kept."""
        return None if self.out_dir is None else self.out_dir / "checkpoint.pt"

    def restore(self) -> Progress:
        """Read the checkpoint if there is one, else start anew."""
        if self.checkpoint is None:
            raise TrainingError("resume=True needs the out_dir of the run to go on with")
        return read_checkpoint(self.checkpoint, self.run, self.signature) or Progress()

    def go_on(
        self, progress: Progress, on_epoch: Callable[[pd.DataFrame], None] | None
    ) -> Progress:
        """Train from where the progress stands to the end, then restore the best weights."""
        total = self.run.total_steps
        hidden = None if is_main() else True
        with tqdm(total=total, initial=self.run.step, desc="fit", disable=hidden) as bar:
            while not progress.finished:
                progress.epoch += 1
                row = self._one_epoch(progress.epoch, bar)
                self._remember(progress, row)
                bar.set_postfix({k: f"{row[k]:.4f}" for k in ("val_auc", "val_loss") if k in row})
                log.info("epoch %d: %s", progress.epoch, row)
                if self.checkpoint is not None and is_main():
                    write_checkpoint(self.checkpoint, self.run, progress, self.signature)
                if on_epoch is not None and is_main():
                    on_epoch(pd.DataFrame(progress.history).set_index("epoch"))
        self.model.load_state_dict(progress.best_weights)
        return progress

    def _one_epoch(self, epoch: int, bar: Any) -> dict[str, Any]:
        """Train and judge one epoch and return its row of the history."""
        start, settings, run = time.perf_counter(), self.settings, self.run
        row: dict[str, Any] = {"epoch": epoch}
        if epoch == 1 and self.probed:
            features = extract_features(self.model, self.train.images, cache=self.out_dir)
            solve_head(self.model, features, self.train.labels, settings)
            if run.average is not None:  # the average starts from the solved head
                run.average.module.load_state_dict(self.model.state_dict())
        else:
            order = epoch_order(
                self.train.labels, epoch, seed=settings.seed, sampler=settings.sampler
            )
            rates = self.rates[epoch - 1]
            set_trainable(self.model, rates, freeze_norms=settings.freeze_norms)
            row["train_loss"] = train_epoch(
                run, order, epoch=epoch, rates=rates, size=self._size(epoch), bar=bar
            )
            row["images"] = run.seen
            row["images_per_second"] = run.seen / (time.perf_counter() - start)
        row |= self._judge()
        return row | {"seconds": time.perf_counter() - start}

    def _size(self, epoch: int) -> int | None:
        """Return the side to train at, in steps of 8 pixels; None is the images' own."""
        sizes, epochs = self.settings.sizes, self.settings.epochs
        share = sizes[(epoch - 1) * len(sizes) // epochs] if sizes else 1.0
        side = self.train.images.shape[-1]
        return None if share == 1 else max(8, round(share * side / 8) * 8)

    def _judged(self) -> Any:
        return self.model if self.run.average is None else self.run.average.module

    def _judge(self) -> dict[str, float]:
        judged = self._judged()
        sync_buffers(judged)
        sync_buffers(self.model)
        if self.val is None:
            return {}
        logits = run_batches(judged, self.val.images, shared=True, precision=self.run.precision)
        return {f"val_{name}": value for name, value in scores(logits, self.val.labels).items()}

    def _remember(self, progress: Progress, row: dict[str, Any]) -> None:
        """Keep the weights if they gained; decide whether to stop."""
        settings = self.settings
        value = row.get(f"val_{settings.monitor}")
        if value is None:
            gained = True  # nothing to judge by: the last weights are kept
        else:
            value = -value if settings.monitor == "loss" else value
            gained = value > progress.best_score + settings.min_gain or not progress.best_weights
        if gained:
            progress.best_score = progress.best_score if value is None else value
            progress.best_epoch, progress.stale = progress.epoch, 0
            state: Weights = self._judged().state_dict()
            progress.best_weights = {key: tensor.clone() for key, tensor in state.items()}
        else:
            progress.stale += 1
        progress.history.append(row)
        progress.finished = progress.epoch >= settings.epochs or progress.stale >= settings.patience

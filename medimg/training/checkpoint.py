"""The state of a run on disk, written at once or not at all, and read back only where it fits."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medimg.errors import TrainingError
from medimg.runtime import mix
from medimg.storage import atomic_write
from medimg.training.loop import Run
from medimg.training.settings import FitSettings
from medimg.training.types import Network, Weights


@dataclass
class Progress:
    """How far a run has come and the best it has seen."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = float("-inf")
    best_weights: Weights = field(default_factory=dict)
    stale: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def signature(model: Network, data: str, settings: FitSettings) -> dict[str, Any]:
    """Return what must agree between a checkpoint and the run that continues it."""
    shapes = repr([(key, tuple(value.shape)) for key, value in model.state_dict().items()])
    name = getattr(model, "name", type(model).__name__)
    return {
        "model": f"{name} {hashlib.sha256(shapes.encode()).hexdigest()[:8]}",
        "data": data,
        "settings": settings.to_json(),
    }


def write_checkpoint(
    path: str | os.PathLike[str], run: Run, progress: Progress, made_for: dict[str, Any]
) -> None:
    """Write all that the run needs to go on as if it had never stopped.

    The order of the images, the augmentation and the dropout of an epoch follow from the seed
    and the epoch alone, so these two are their whole state; so is the step for the schedule.
    """
    content = {
        "signature": made_for,
        "progress": vars(progress),
        "step": run.step,
        "model": run.model.state_dict(),
        "average": run.average.module.state_dict() if run.average else None,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "random": {
            "seed": run.settings.seed,
            "next_epoch": progress.epoch + 1,
            "state": mix(run.settings.seed, progress.epoch + 1),
        },
    }
    buffer = io.BytesIO()  # written by torch itself, a full disk would be a RuntimeError
    torch.save(content, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def read_checkpoint(
    path: str | os.PathLike[str], run: Run, made_for: dict[str, Any]
) -> Progress | None:
    """Put a run into the state of its checkpoint; None when there is none yet.

    Raises
    ------
    TrainingError
        When the file is damaged, or belongs to another model, other data or other settings.
    """
    if not Path(path).exists():
        return None
    try:
        content = torch.load(path, map_location=run.batches.device, weights_only=True)
        written_for = content["signature"]
    except Exception as error:  # a damaged file can raise almost anything
        raise TrainingError(
            f"{path} is not a checkpoint of this library, or is damaged; delete it to start anew"
        ) from error
    _refuse_other(str(path), written_for, made_for)
    run.step = content["step"]
    run.model.load_state_dict(content["model"])
    if run.average is not None:
        run.average.module.load_state_dict(content["average"])
    run.optimizer.load_state_dict(content["optimizer"])
    run.scaler.load_state_dict(content["scaler"])
    return Progress(**content["progress"])


def _refuse_other(path: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key in ("model", "data"):
        if found.get(key) != wanted[key]:
            raise TrainingError(
                f"{path} was written with other {key} ({found.get(key)}, now {wanted[key]}); "
                "go on with the same, or give another out_dir"
            )
    old, new = found["settings"], wanted["settings"]
    changed = sorted(key for key in new if old.get(key) != new[key])
    if changed:
        listed = ", ".join(f"{key} {old.get(key)} -> {new[key]}" for key in changed)
        raise TrainingError(
            f"{path} was written with other settings ({listed}); "
            "go on with the same, or give another out_dir"
        )

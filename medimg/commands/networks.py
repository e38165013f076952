"""The command that makes a network: fit."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg import datasets
from medimg.commands.checks import (
    beside,
    check_fit,
    check_new_folder,
    check_outputs,
    check_processes,
)  # fmt: skip
from medimg.commands.data import named_studies
from medimg.errors import TrainingError
from medimg.tables import visible, write_table

if TYPE_CHECKING:
    from medimg.models import MedicalNet
    from medimg.training import FitResult


@dataclass(frozen=True)
class JobPaths:
    """Where a managed training job keeps its input and takes its output.

    Attributes
    ----------
    data : Path
        The training channel's folder.
    model : Path
        The folder that is kept after the job.
    checkpoints : Path
        A folder that survives when a spot machine is taken away.
    """

    data: Path
    model: Path
    checkpoints: Path


def job_paths(environment: Mapping[str, str] | None = None) -> JobPaths | None:
    """Read the variables that SageMaker and Unified Studio set inside a training job.

    Parameters
    ----------
    environment : mapping of str to str, optional
        By default the environment of this process.

    Returns
    -------
    JobPaths or None
        None outside such a job, that is, without ``SM_MODEL_DIR``.

    References
    ----------
    SageMaker training toolkit, "Environment variables": ``SM_CHANNEL_*``, ``SM_MODEL_DIR``.

    Examples
    --------
    >>> job_paths({"SM_MODEL_DIR": "/opt/ml/model", "SM_CHANNEL_TRAINING": "/in"}).data.as_posix()
    '/in'
    """
    env = os.environ if environment is None else environment
    if not env.get("SM_MODEL_DIR"):
        return None
    channels = sorted(key for key in env if key.startswith("SM_CHANNEL_"))
    preferred = [key for key in ("SM_CHANNEL_TRAINING", "SM_CHANNEL_TRAIN") if key in env]
    chosen = (preferred + channels)[:1]
    return JobPaths(
        data=Path(env[chosen[0]] if chosen else "/opt/ml/input/data/training"),
        model=Path(env["SM_MODEL_DIR"]),
        checkpoints=Path(env.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints")),
    )


def fit(args: argparse.Namespace) -> None:
    """Fine-tune a network on a data set, and keep it with a threshold chosen on validation."""
    from medimg import models, training

    check_processes()
    job = job_paths()
    out = Path(job.model if job else args.out)
    studies = named_studies(args, default=job.data if job else None)
    # Sorted by split, each split is one piece of the decoded file and need not be in memory.
    learn = studies[studies["split"] != "test"].sort_values("split", kind="stable")
    classes = datasets.class_names(learn, ordinal=args.ordinal or None)
    check_fit(learn, classes, args.sensitivity)
    written = [out / name for name in ("model.safetensors", "model.json", "history.csv")]
    check_outputs(
        [*written, beside(out / "model")],
        [args.data or os.environ.get("MEDIMG_DATASET"), args.weights, *studies["path"]],
    )
    check_new_folder(out)
    with training.process_group():
        model = models.build_model(
            args.model, classes=classes, channels=args.channels, head=args.head,
            pretrained=args.weights or True,
        )  # fmt: skip
        data = datasets.decode(
            learn, size=args.size, channels=args.channels, keep_aspect=args.keep_aspect,
            stretch=args.stretch, cache=args.cache, classes=classes,
            allow_duplicates=args.allow_duplicates,
        )  # fmt: skip
        train, val = data.subset("train"), data.subset("val")
        result = _trained(model, train, val, args, out=job.checkpoints if job else out)
        if training.is_main():
            card, words = _calibrated(result, val, args)
            models.save_model(result.model, out / "model", sidecar=card)
            write_table(result.history.reset_index(), out / "history.csv")
            write_table(studies, beside(out / "model"))  # with the model that it belongs to
            if args.json:
                print(json.dumps({"model": str(out / "model.safetensors"), **card}))
            else:
                print(words + "\nwrote " + visible(", ".join(map(str, written))))


def _trained(
    model: MedicalNet, train: datasets.ImageSet, val: datasets.ImageSet,
    args: argparse.Namespace, *, out: Path,
) -> FitResult:  # fmt: skip
    """Train by the recipe for so many images, with what the arguments change.

    "frozen" leaves the backbone as it is: a linear head is solved, another one trained by steps.
    """
    from medimg import training

    settings = training.recipe(len(train), seed=args.seed)
    few = len(train) < training.FEW and args.epochs is None
    strategy = args.strategy or ("frozen" if few else settings.strategy)
    if strategy == "frozen" and not model.head.wants_map:
        if args.epochs is not None:
            raise TrainingError(
                "--strategy frozen solves the head at once, without epochs; leave out --epochs"
            )
        given: dict[str, Any] = {"C": settings.C, "class_weights": settings.class_weights}
        solved = training.fit_head(model, train, val, cache=out, **given)
        return replace(solved, settings=solved.settings | {"tta": settings.tta})
    strategy = "head" if strategy == "frozen" else strategy
    epochs = settings.epochs if args.epochs is None else args.epochs
    settings = replace(settings, strategy=strategy, epochs=epochs)
    return training.fit(model, train, val, settings=settings, out_dir=out, resume=args.resume)


def _calibrated(
    result: FitResult, val: datasets.ImageSet, args: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """Return the card of a network, and what validation says of it in words.

    Temperature and threshold belong to scores as `predict` makes them, on images or on patients.
    """
    from medimg import metrics, training

    tta = result.settings["tta"]
    logits = training.predict_logits(result.model, val.images, tta=tta)

    def predictions(temperature: float) -> metrics.Predictions:
        scores = training.probabilities(logits, temperature=temperature)
        made = metrics.Predictions(val.ids, val.labels, scores, val.patient_ids, val.classes)
        return made.aggregate("patient") if args.by == "patient" else made

    temperature = metrics.fit_temperature(predictions(1.0)).value
    scored = predictions(temperature)
    found = training.validation_metrics(logits, val.labels)
    card: dict[str, Any] = {
        "image_size": args.size, "keep_aspect": args.keep_aspect, "ordinal": args.ordinal,
        "by": args.by, "tta": tta, "temperature": temperature,
        "data_fingerprint": result.fingerprint,
        "settings": result.settings | {"stretch": args.stretch},
        "metrics": {f"val_{name}": value for name, value in found.items() if math.isfinite(value)},
    }  # fmt: skip
    where = f"{len(scored)} {args.by}s"
    if not scored.is_binary:
        words = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        return card, f"validation on {where}: {words}; temperature {temperature:.2f}"
    rule = {} if args.sensitivity is None else {"rule": "sensitivity", "floor": args.sensitivity}
    cut, auc = metrics.choose_threshold(scored, **rule), metrics.auc(scored)
    card |= {"threshold": cut.value, "threshold_rule": cut.rule}
    card["metrics"]["val_auc"] = [auc.value, auc.low, auc.high]
    return card, f"validation AUC {auc!r} on {where}; threshold {cut}"

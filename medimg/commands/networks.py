"""Commands on networks: fit makes one; evaluate, predict and explain use one."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg import datasets, images, metrics, models, runtime, training
from medimg.commands import checks
from medimg.commands.data import named_studies
from medimg.errors import ImageReadError, ModelError, TrainingError
from medimg.models.files import model_paths
from medimg.storage import atomic_write
from medimg.tables import visible, write_table

log = logging.getLogger(__name__)


class JobPaths(NamedTuple):
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
    others = sorted(key for key in env if key.startswith("SM_CHANNEL_"))
    channels = [k for k in ("SM_CHANNEL_TRAINING", "SM_CHANNEL_TRAIN", *others) if k in env]
    return JobPaths(
        data=Path(env[channels[0]] if channels else "/opt/ml/input/data/training"),
        model=Path(env["SM_MODEL_DIR"]),
        checkpoints=Path(env.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints")),
    )


def fit(args: argparse.Namespace) -> None:
    """Fine-tune a network on a data set, and keep it with a threshold chosen on validation."""
    runtime.check_processes()
    job = job_paths()
    out = Path(job.model if job else args.out)
    studies = named_studies(args, default=job.data if job else None)
    # Sorted by split, each split is one piece of the decoded file and need not be in memory.
    learn = studies[studies["split"] != "test"].sort_values("split", kind="stable")
    classes = datasets.class_names(learn, ordinal=args.ordinal or None)
    checks.check_fit(learn, classes, args.sensitivity)
    written = [out / name for name in ("model.safetensors", "model.json", "history.csv")]
    read = [args.data or os.environ.get("MEDIMG_DATASET"), args.weights, *studies["path"]]
    checks.check_outputs([*written, checks.beside(out / "model")], read)
    checks.check_new_folder(out)
    with runtime.process_group():
        model = models.build_model(
            args.model, classes=classes, channels=args.channels, head=args.head,
            pretrained=args.weights or True,
        )  # fmt: skip
        data = datasets.decode(
            learn, cache=args.cache, classes=classes, allow_duplicates=args.allow_duplicates,
            **_preparation(args),
        )  # fmt: skip
        train, val = data.subset("train"), data.subset("val")
        result = _trained(model, train, val, args, out=job.checkpoints if job else out)
        if runtime.is_main():
            card, words = _calibrated(result, val, args)
            models.save_model(result.model, out / "model", sidecar=card)
            write_table(result.history.reset_index(), out / "history.csv")
            write_table(studies, checks.beside(out / "model"))  # with the model it belongs to
            if args.json:
                print(json.dumps({"model": str(out / "model.safetensors"), **card}))
            else:
                print(words + "\nwrote " + visible(", ".join(map(str, written))))


def _preparation(of: argparse.Namespace | models.ModelInfo) -> dict[str, Any]:
    """Return how files become a network's images, for `datasets.decode` and `decode_file`."""
    return {"size": of.image_size, "channels": of.channels, "keep_aspect": of.keep_aspect,
            "stretch": of.stretch}  # fmt: skip


def _trained(
    model: models.MedicalNet, train: datasets.ImageSet, val: datasets.ImageSet,
    args: argparse.Namespace, *, out: Path,
) -> training.FitResult:  # fmt: skip
    """Train by the recipe for so many images, with what the arguments change.

    "frozen" leaves the backbone as it is: a linear head is solved, another one trained by steps.
    """
    settings = training.recipe(len(train), seed=args.seed)
    few = len(train) < training.FEW and args.epochs is None
    strategy = args.strategy or ("frozen" if few else settings.strategy)
    if strategy == "frozen" and not model.head.wants_map:
        if args.epochs is not None:
            raise TrainingError(
                "--strategy frozen solves the head at once, without epochs; leave out --epochs"
            )
        given: dict[str, Any] = {"C": settings.C, "class_weights": settings.class_weights}
        solved = training.fit_head(model, train, val, **given)
        return replace(solved, settings=solved.settings | {"tta": settings.tta})
    strategy = "head" if strategy == "frozen" else strategy
    settings = replace(settings, strategy=strategy, epochs=args.epochs or settings.epochs)
    return training.fit(model, train, val, settings=settings, out_dir=out, resume=args.resume)


def _calibrated(
    result: training.FitResult, val: datasets.ImageSet, args: argparse.Namespace
) -> tuple[dict[str, Any], str]:
    """Return the card of a network, and what validation says of it in words.

    Temperature and threshold belong to scores as `predict` makes them, on images or on patients.
    """
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
        "image_size": args.image_size, "keep_aspect": args.keep_aspect, "stretch": args.stretch,
        "ordinal": args.ordinal, "by": args.by, "tta": tta, "temperature": temperature,
        "data_fingerprint": result.fingerprint, "settings": result.settings,
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


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on a split: predictions.csv, report.json and a report.html to print."""
    from medimg import reports

    model, info = models.load_model(args.model)
    table = checks.beside(args.model)  # of the very images that `fit` set aside
    studies = named_studies(args, default=table if table.is_file() else None)
    studies = checks.in_split(studies, args.split).reset_index(drop=True)
    checks.check_labels(studies, info)
    judged = checks.check_unseen(studies, args.model, args.split)
    out, by = Path(args.out), args.by or info.by
    written = [out / name for name in ("predictions.csv", "report.json", "report.html")]
    read = [args.data, table, *model_paths(args.model), *studies["path"]]
    checks.check_outputs(written, read)
    if args.tta and not info.tta:
        log.warning(
            "--tta averages over views, but threshold and temperature of this network were chosen "
            "on single ones; expect other sensitivity and specificity than on validation."
        )
    if by != info.by:
        log.warning("the threshold was chosen on scores by %s and is now used by %s.", info.by, by)
    data = datasets.decode(
        studies, classes=info.classes, allow_duplicates=args.allow_duplicates, **_preparation(info)
    )
    tta = args.tta or info.tta
    predictions = training.predict(model, data, tta=tta, temperature=info.temperature)
    if by == "patient":
        judged = frozenset(studies.loc[studies["image_id"].isin(judged), "patient_id"])
        predictions = predictions.aggregate("patient")
        studies = studies.drop(columns="path").drop_duplicates("patient_id")
        studies = studies.assign(image_id=studies["patient_id"])
    threshold = metrics.Threshold(
        info.threshold, rule=info.threshold_rule, chosen_on="validation", ids=judged
    )
    try:
        report = reports.write_report(
            predictions, out, threshold=threshold if predictions.is_binary else None,
            studies=studies, ordinal=args.ordinal or info.ordinal, unit=by,
        )  # fmt: skip
    except BaseException:  # hours of computing may lie behind: keep them beside the last report
        kept = out / "predictions_without_report.csv"
        write_table(reports.scores_table(predictions, studies), kept)
        log.warning("the report could not be written; the predictions are kept in %s", kept)
        raise
    if args.json:
        print(json.dumps(json.loads(report.json.read_text(encoding="utf-8"))))
        return
    print(report.evaluation)
    print("wrote " + ", ".join(map(str, written)))


def predict(args: argparse.Namespace) -> None:
    """Score images of your own, files or whole folders, with a kept network."""
    model, info = models.load_model(args.model)
    if args.out:
        checks.check_outputs([Path(args.out)], [*args.images, *model_paths(args.model)])
        checks.check_table(Path(args.out), "path,score_")
    if info.by == "patient":
        log.warning(
            "the threshold belongs to scores of patients, the mean of their images; here each "
            "image is called by its own score."
        )
    paths = _files(args.images)
    _, scores, called = _scored(model, info, paths)
    names = info.classes[-scores.shape[1] :]
    table = pd.DataFrame(scores.round(4), columns=[f"score_{name}" for name in names])
    table.insert(0, "path", paths)
    table["called"] = [info.classes[k] for k in called]
    if args.dicom_sr:
        from medimg.commands.results import write_report

        for n, (path, row) in enumerate(zip(paths, scores, strict=True)):
            out = Path(args.dicom_sr) / f"{n:03}_{Path(path).stem}_report.dcm"
            write_report(path, out, info=info, scores=row, called=info.classes[called[n]])
    if args.out:
        write_table(table, args.out)
    if args.json:
        print(json.dumps(table.to_dict(orient="records")))
    else:
        print(table.assign(path=table["path"].map(visible)).to_string(index=False))


def explain(args: argparse.Namespace) -> None:
    """Draw where a kept network looked in images of your own, for the class that it calls."""
    from matplotlib.figure import Figure

    from medimg import plots
    from medimg.explain import explain as explain_images

    model, info = models.load_model(args.model)
    if args.target and args.target not in info.classes:
        raise ModelError(
            f"--target is '{args.target}', and this network tells {' from '.join(info.classes)}; "
            "give one of these."
        )
    paths = _files(args.images)
    pixels, scores, called = _scored(model, info, paths)
    targets = np.full(len(called), info.classes.index(args.target)) if args.target else called
    maps = explain_images(model, pixels, method=args.method, target=targets)
    names = [info.classes[k] if name else "" for k, name in zip(targets, maps.names, strict=True)]
    files = []
    for n, (path, name) in enumerate(zip(paths, names, strict=True)):
        parts = (f"{n:03}", Path(path).stem, args.method, re.sub(r"[^\w.-]+", "-", name))
        files.append(Path(args.out) / ("_".join(filter(None, parts)) + ".png"))
    checks.check_outputs(files, [*paths, *model_paths(args.model)])
    for n, file in enumerate(files):
        title = f"{Path(paths[n]).name}\n{_verdict(scores[n], info.classes[called[n]], info)}"
        figure = Figure(figsize=(4.4, 4.4), layout="constrained")
        plots.plot_map(pixels[n], maps[n], title=title, target=names[n], ax=figure.subplots())
        with atomic_write(file) as handle:
            figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")
        if args.dicom:
            from medimg.commands.results import write_capture

            out = Path(args.dicom) / file.with_suffix(".dcm").name
            write_capture(paths[n], out, png=file.read_bytes(), title=" ".join(title.split()))
        print(visible(str(file)))


def _verdict(scores: npt.NDArray[np.float64], called: str, info: models.ModelInfo) -> str:
    """Say what the network calls an image, with its score."""
    if len(scores) > 1:
        return f"called {called} (score {scores.max():.2f})"
    ill, cut = info.classes[1], f"threshold {info.threshold:.2f}"
    return f"called {called} (score of {ill} {scores[0]:.2f}, {cut})"


def _scored(
    model: models.MedicalNet, info: models.ModelInfo, paths: Sequence[str]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read files as the network's images; score them, (N, 1) or (N, K), and call a class each."""
    how = _preparation(info)
    pixels = np.stack([datasets.decode_file(path, **how) for path in paths])
    logits = training.run_model(model, pixels, tta=info.tta)  # a bad score names its file here
    odd = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(odd):
        raise ModelError(
            f"{paths[odd[0]]}: the network gives no finite score; its weights or the image are "
            "damaged, so nothing can be said."
        )
    scores = training.probabilities(logits, temperature=info.temperature)
    called = scores >= info.threshold if scores.ndim == 1 else scores.argmax(axis=1)
    return pixels, scores.reshape(len(paths), -1), np.asarray(called, dtype=np.int64)


def _files(given: Sequence[str]) -> list[str]:
    """Replace each folder by the images in it; name what cannot be read there."""
    found: list[str] = []
    for name in given:
        if not Path(name).is_dir():
            found.append(name)
            continue
        table = images.scan(name)
        for path, reason in table.loc[~table["readable"], ["path", "reason"]].to_numpy():
            log.warning("left out: %s: %s", path, reason)
        found += table.loc[table["readable"], "path"].tolist()
    if not found:
        raise ImageReadError(f"{given[0]}: there is no readable image in this folder.")
    return found

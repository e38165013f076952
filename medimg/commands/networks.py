"""Commands on networks: fit, evaluate, predict, explain."""

from __future__ import annotations

import argparse
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg import datasets
from medimg.commands.checks import beside, check_classes, check_fit, check_size, check_unseen
from medimg.commands.data import named_studies, save_table
from medimg.errors import TrainingError
from medimg.storage import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medimg.metrics import Predictions
    from medimg.models import MedicalNet, ModelInfo
    from medimg.training import FitResult

log = logging.getLogger(__name__)


def fit(args: argparse.Namespace) -> None:
    """Fine-tune a network on a data set, and keep it with a threshold chosen on validation."""
    from medimg import models, runtime, training

    job = runtime.job_paths()
    out = Path(job.model if job else args.out)
    studies = named_studies(args, default=job.data if job else None)
    # Sorted by split, each split is one piece of the decoded file and need not be in memory.
    learn = studies[studies["split"] != "test"].sort_values("split", kind="stable")
    classes = datasets.class_names(learn)
    check_fit(learn, classes, args.sensitivity)
    check_size(args.size)
    with training.process_group():
        model = models.build_model(
            args.model, classes=classes, pretrained=args.weights or True, head=args.head
        )
        data = datasets.decode(
            learn, size=args.size, keep_aspect=args.keep_aspect, cache=args.cache, classes=classes,
            allow_duplicates=args.allow_duplicates,
        )  # fmt: skip
        train, val = data.subset("train"), data.subset("val")
        result = _trained(model, train, val, args, out=job.checkpoints if job else out)
        if training.is_main():
            _keep(result, val, out, args)
            save_table(studies, beside(out / "model"))  # with the model that it belongs to


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on a split: predictions.csv, report.json and a one-page report.html."""
    from medimg import metrics, models, reports, training

    model, info = models.load_model(args.model)
    table = beside(args.model)  # of the very images that `fit` set aside
    studies = named_studies(args, default=table if table.is_file() else None)
    studies = studies[studies["split"] == args.split].reset_index(drop=True)
    check_classes(studies, info, args.split)
    judged = check_unseen(studies, args.model, args.split)
    if args.tta and not info.tta:
        log.warning(
            "--tta averages over views, but threshold and temperature of this network were chosen "
            "on single ones; expect other sensitivity and specificity than on validation."
        )
    data = datasets.decode(
        studies, size=info.image_size, keep_aspect=info.keep_aspect, classes=info.classes,
        allow_duplicates=args.allow_duplicates,
    )  # fmt: skip
    predictions = training.predict(
        model, data, tta=args.tta or info.tta, temperature=info.temperature
    )
    threshold = metrics.Threshold(
        info.threshold, rule=info.threshold_rule, chosen_on="validation", ids=judged
    )
    out = Path(args.out)
    scored = _predictions_table(studies, predictions)
    save_table(scored, out / "predictions.csv")  # kept, should the report fail
    report = reports.write_report(predictions, out, threshold=threshold, studies=studies)
    save_table(scored, out / "predictions.csv")  # with the paths, which the report's table lacks
    print(report.evaluation)
    print(f"wrote {out / 'predictions.csv'}, {out / 'report.json'}, {out / 'report.html'}")


def predict(args: argparse.Namespace) -> None:
    """Score images of your own with a kept network."""
    from medimg import models

    model, info = models.load_model(args.model)
    scores, called = _called(model, _read(args.images, info), info)
    table = pd.DataFrame({"path": args.images})
    if scores.ndim == 1:
        table[f"score_{info.classes[1]}"] = scores.round(4)
    else:
        for column, name in enumerate(info.classes):
            table[f"score_{name}"] = scores[:, column].round(4)
    table["called"] = called
    print(table.to_string(index=False))
    if args.out:
        save_table(table, Path(args.out))


def explain(args: argparse.Namespace) -> None:
    """Draw where a kept network looked in images of your own."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from medimg import models, plots
    from medimg.explain import explain as explain_images

    mpl.use("Agg")
    model, info = models.load_model(args.model)
    pixels = _read(args.images, info)
    # the class that `predict` calls, unless one is named
    asked = args.target or _called(model, pixels, info)[1]
    maps = explain_images(model, pixels, method=args.method, target=asked)
    for number, (path, image, heat) in enumerate(zip(args.images, pixels, maps, strict=True)):
        name = maps.names[number]  # empty where the method knows no class
        title = f"{args.method}: {name}" if name else args.method
        title = title.replace("$", r"\$")  # no mathematics
        figure = cast("Figure", plots.plot_map(image, heat, title=title).get_figure(root=True))
        parts = [f"{number:03}", Path(path).stem, args.method, re.sub(r"[^\w.-]+", "-", name)]
        target = Path(args.out) / ("_".join(filter(None, parts)) + ".png")
        with atomic_write(target) as file:
            figure.savefig(file, format="png", dpi=150, bbox_inches="tight")
        plt.close(figure)
        print(target)


def _trained(
    model: MedicalNet,
    train: datasets.ImageSet,
    val: datasets.ImageSet,
    args: argparse.Namespace,
    *,
    out: Path,
) -> FitResult:
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


def _keep(result: FitResult, val: datasets.ImageSet, out: Path, args: argparse.Namespace) -> None:
    """Calibrate on validation, choose the threshold there, and write the network."""
    from medimg import models

    sidecar = {
        "image_size": args.size,
        "keep_aspect": args.keep_aspect,
        "data_fingerprint": result.fingerprint,
        "settings": result.settings,
        "tta": result.settings["tta"],
    }
    sidecar |= _calibrated(result, val, args)
    models.save_model(result.model, out / "model", sidecar=sidecar)
    save_table(result.history.reset_index(), out / "history.csv")
    print(f"wrote {out / 'model.safetensors'}, {out / 'model.json'}, {out / 'history.csv'}")


def _calibrated(
    result: FitResult, val: datasets.ImageSet, args: argparse.Namespace
) -> dict[str, object]:
    """Return temperature, threshold and validation metrics of scores as `predict` makes them."""
    from medimg import metrics, training

    logits = training.predict_logits(result.model, val.images, tta=result.settings["tta"])

    def predictions(temperature: float) -> metrics.Predictions:
        scores = training.probabilities(logits, temperature=temperature)
        return metrics.Predictions(val.ids, val.labels, scores, val.patient_ids, val.classes)

    temperature = metrics.fit_temperature(predictions(1.0)).value
    scored = predictions(temperature)
    metric = training.validation_metrics(logits, val.labels)
    if not scored.is_binary:
        words = ", ".join(f"{name} {value:.3f}" for name, value in metric.items())
        print(f"validation on {len(val)} images: {words}; temperature {temperature:.2f}")
        found = {f"val_{name}": value for name, value in metric.items() if math.isfinite(value)}
        return {"temperature": temperature, "metrics": found}
    if args.sensitivity is None:
        cut = metrics.choose_threshold(scored)
    else:
        cut = metrics.choose_threshold(scored, rule="sensitivity", floor=args.sensitivity)
    auc = metrics.auc(scored)
    print(f"validation AUC {auc!r} on {len(val)} images; threshold {cut}")
    return {
        "temperature": temperature, "threshold": cut.value, "threshold_rule": cut.rule,
        "metrics": {"val_auc": [auc.value, auc.low, auc.high]},
    }  # fmt: skip


def _predictions_table(studies: pd.DataFrame, predictions: Predictions) -> pd.DataFrame:
    """Return ``path, image_id, patient_id, y_true, y_score`` (or one score column a class)."""
    table = studies[["path", "image_id", "patient_id"]].assign(y_true=predictions.y_true)
    if predictions.is_binary:
        return table.assign(y_score=predictions.y_score)
    names = [f"y_score_{name}" for name in predictions.classes]
    return table.join(pd.DataFrame(predictions.y_score, columns=names, index=table.index))


def _called(
    model: MedicalNet, pixels: npt.NDArray[np.uint8], info: ModelInfo
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Return scores (N,) or (N, K), and the names of the classes that the model calls."""
    from medimg import training

    logits = training.predict_logits(model, pixels, tta=info.tta)
    scores = training.probabilities(logits, temperature=info.temperature)
    called = scores >= info.threshold if scores.ndim == 1 else scores.argmax(axis=1)
    return scores, [info.classes[int(k)] for k in called]


def _read(paths: Sequence[str], info: ModelInfo) -> npt.NDArray[np.uint8]:
    """Read files as the network's images: uint8 (N, H, W)."""
    return np.stack([
        datasets.decode_file(path, info.image_size, keep_aspect=info.keep_aspect) for path in paths
    ])  # fmt: skip

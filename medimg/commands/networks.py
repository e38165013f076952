"""Commands on networks: fit makes one; evaluate, predict and explain use one."""

import argparse
import json
import logging
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg import datasets, images, metrics, models, runtime, training
from medimg.commands import checks, results
from medimg.commands.data import named_studies
from medimg.errors import ImageReadError, StudyTableError, TrainingError
from medimg.models.files import model_paths
from medimg.storage import atomic_write, walk_files
from medimg.tables import table_bytes, visible, write_table

log = logging.getLogger(__name__)


def fit(args: argparse.Namespace) -> None:
    """Fine-tune a network on a data set, and keep it with a threshold chosen on validation."""
    out, (studies, learn, classes) = Path(args.out), learnable(args)
    names = ("model.safetensors", "model.json", "history.csv", "studies.csv")
    weights, card, history, table = written = [out / name for name in names]
    read = [args.data or os.environ.get("MEDIMG_DATASET"), args.weights, *studies["path"]]
    checks.check_outputs([*written, out / "checkpoint.pt"], read)
    checks.check_ours(written, card, b'"weights_sha256"')
    with runtime.process_group():
        model = models.build_model(
            args.model, classes=classes, channels=args.channels, pretrained=args.weights or True
        )
        data = datasets.decode(
            learn, cache=args.cache, classes=classes, allow_duplicates=args.allow_duplicates,
            **_preparation(args),
        )  # fmt: skip
        train, val = data.subset("train"), data.subset("val")
        result = _trained(model, train, val, args)
        if runtime.is_main():
            kept, words = _calibrated(result, val, args)
            run = table_bytes(result.history.reset_index())
            beside = {history: run, table: table_bytes(studies)}  # all of a run, or nothing
            models.save_model(result.model, weights, sidecar=kept, beside=beside)
            told, wrote = {"model": str(weights), **kept}, ", ".join(map(str, written))
            print(json.dumps(told) if args.json else f"{words}\nwrote {visible(wrote)}")


def learnable(args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Return a study table, the images to learn from and their classes, if `fit` can do it."""
    if args.strategy == "frozen" and args.epochs is not None:
        raise TrainingError("--strategy frozen works without epochs; leave out --epochs")
    studies = named_studies(args)
    # Sorted by split, each split is one piece of the decoded file and need not be in memory.
    learn = studies[studies["split"] != "test"].sort_values("split", kind="stable")
    classes = datasets.class_names(learn, ordinal=args.ordinal or None)
    checks.check_fit(learn, classes, sensitivity=args.sensitivity, by=args.by, ordinal=args.ordinal)
    return studies, learn, classes


def _preparation(of: argparse.Namespace | models.ModelInfo) -> dict[str, Any]:
    """Return how files become a network's images, for `datasets.decode` and `decode_file`."""
    # In a card 224.0 is a whole number, too.
    return {"size": int(of.image_size), "channels": of.channels, "keep_aspect": of.keep_aspect,
            "stretch": of.stretch}  # fmt: skip


def _trained(
    model: models.MedicalNet, train: datasets.ImageSet, val: datasets.ImageSet,
    args: argparse.Namespace,
) -> training.FitResult:  # fmt: skip
    """Train by the recipe for so many images, with what the arguments change."""
    settings = training.recipe(len(train), seed=args.seed)
    few = len(train) < training.FEW and args.epochs is None
    strategy = args.strategy or ("frozen" if few else settings.strategy)
    if strategy == "frozen":
        given: dict[str, Any] = {"C": settings.C, "class_weights": settings.class_weights}
        solved = training.fit_head(model, train, val, **given)
        return replace(solved, settings=solved.settings | {"tta": settings.tta})
    settings = replace(settings, strategy=strategy, epochs=args.epochs or settings.epochs)
    return training.fit(model, train, val, settings=settings, out_dir=args.out, resume=args.resume)


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
        return made.aggregate("patient", ordinal=args.ordinal) if args.by == "patient" else made

    temperature = metrics.fit_temperature(predictions(1.0))
    scored = predictions(temperature)
    shares = np.c_[1 - scored.y_score, scored.y_score] if scored.is_binary else scored.y_score
    found = training.validation_metrics(np.log(np.maximum(shares, 1e-12)), scored.y_true)
    card: dict[str, Any] = {
        "image_size": args.image_size, "keep_aspect": args.keep_aspect, "stretch": args.stretch,
        "ordinal": args.ordinal, "by": args.by, "tta": tta, "temperature": temperature,
        "data_fingerprint": result.fingerprint, "settings": result.settings,
        "metrics": {f"val_{name}": value for name, value in found.items() if math.isfinite(value)},
    }  # fmt: skip
    words = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    if scored.is_binary:
        rule = {"rule": "sensitivity", "floor": args.sensitivity} if args.sensitivity else {}
        cut, auc = metrics.choose_threshold(scored, **rule), metrics.auc(scored)
        card |= {"threshold": cut.value, "threshold_rule": cut.rule}
        card["metrics"]["val_auc"] = [auc.value, auc.low, auc.high]
        words = f"AUC {auc!r}; threshold {cut}"
    return card, f"validation on {len(scored)} {args.by}s: {words}"


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on a split: predictions.csv, report.json and a report.html to print."""
    from medimg import reports
    from medimg.reports.report import ATTRIBUTES

    model, info = models.load_model(args.model)
    table = checks.beside(args.model)  # of the very images that `fit` set aside
    if not (args.data or table.is_file() or os.environ.get("MEDIMG_DATASET")):
        raise StudyTableError(f"what to test on is not known, as there is no {table}; give --data")
    studies = named_studies(args, default=table if table.is_file() else None)
    studies = checks.in_split(studies, args.split).reset_index(drop=True)
    lenient = args.split == "train" or args.allow_duplicates
    judged = checks.check_unseen(studies, args.model, refuse=not lenient)
    out, by = Path(args.out), args.by or info.by
    written = [out / name for name in ("predictions.csv", "report.json", "report.html")]
    read = [args.data or os.environ.get("MEDIMG_DATASET"), table, *model_paths(args.model)]
    checks.check_outputs(written, [*read, *studies["path"]])
    checks.check_ours(written, written[1], b'"medimg"')
    ordered = tuple(studies.attrs.get("classes", info.classes))
    if ordered != info.classes and sorted(ordered) == sorted(info.classes):
        raise StudyTableError(f"the network's classes are {', '.join(info.classes)}, in this order")
    ordinal = args.ordinal or info.ordinal
    if ordinal and not (info.ordinal or datasets.is_ordinal(info.classes)):
        raise StudyTableError(f"--ordinal: the order of {', '.join(info.classes)} is not known")
    if by == "patient" and not datasets.patients_known(studies):
        raise StudyTableError("--by patient: the patients are not known; leave that out.")
    if by != info.by and len(info.classes) == 2:
        log.warning("the threshold was chosen on scores by %s and is now used by %s.", info.by, by)
    data = datasets.decode(
        studies, classes=info.classes, allow_duplicates=args.allow_duplicates, **_preparation(info)
    )
    predictions = training.predict(model, data, tta=info.tta, temperature=info.temperature)
    if by == "patient":
        judged = frozenset(studies.loc[studies["image_id"].isin(judged), "patient_id"])
        predictions = predictions.aggregate("patient", ordinal=ordinal)
        several = studies.groupby("patient_id").nunique(dropna=False).gt(1).any()
        for name in several.index[several & several.index.isin(ATTRIBUTES)]:
            log.warning("patients have images of more than one %s: no subgroups by it.", name)
        studies = studies.drop(columns={"path", *several.index[several]} - {"label"})
        studies = studies.drop_duplicates("patient_id").assign(image_id=lambda t: t["patient_id"])
    where = "validation" if by == info.by else f"validation, on scores by {info.by}"
    threshold = metrics.Threshold(info.threshold, info.threshold_rule, where, ids=judged)
    report = reports.write_report(
        predictions, out, threshold=threshold if predictions.is_binary else None,
        studies=studies, ordinal=ordinal,
    )  # fmt: skip
    as_json = json.dumps(json.loads(report.json.read_text(encoding="utf-8")))
    words = f"{report.evaluation}\nwrote {', '.join(map(str, written))}"
    print(as_json if args.json else visible(words, lines=True))


def predict(args: argparse.Namespace) -> None:
    """Score images of your own, files or whole folders, with a kept network."""
    model, info = models.load_model(args.model)
    checks.check_new(args.out)
    paths, _, scores, called = _scored(model, info, args.images)
    names = [f"score_{name}" for name in info.classes[-scores.shape[1] :]]
    table = pd.DataFrame(scores.round(4), columns=names).assign(called=called)
    table.insert(0, "path", paths)
    if args.dicom_sr:
        names = [f"{n:03}_{Path(path).stem}_report.dcm" for n, path in enumerate(paths)]
        files = [Path(args.dicom_sr, name) for name in names]
        checks.check_outputs(files, [*paths, *model_paths(args.model)])
        for n, file in enumerate(files):
            results.write_report(paths[n], file, info=info, scores=scores[n], called=called[n])
    print(visible(table.to_string(index=False), lines=True))
    if args.out:
        write_table(table, args.out)


def explain(args: argparse.Namespace) -> None:
    """Draw where a kept network looked in images of your own, for the class that it calls."""
    from matplotlib.figure import Figure

    from medimg import plots
    from medimg.explain import CLASSLESS
    from medimg.explain import explain as explain_images

    model, info = models.load_model(args.model)
    paths, pixels, scores, called = _scored(model, info, args.images)
    names = [args.target] * len(paths) if args.target else called
    maps = explain_images(model, pixels, method=args.method, target=names)
    if args.method in CLASSLESS:
        names = [""] * len(paths)
        if args.target:
            log.warning("%s draws one map for all classes; --target changes nothing.", args.method)
    files = []
    for n, (path, name) in enumerate(zip(paths, names, strict=True)):
        of = f"{n:03}_{Path(path).stem}_{args.method}_" + re.sub(r"[^\w.-]+", "-", name)
        files.append(Path(args.out) / f"{of.removesuffix('_')}.png")
    captures = [Path(args.dicom) / f"{file.stem}.dcm" for file in files if args.dicom]
    checks.check_outputs([*files, *captures], [*paths, *model_paths(args.model)])
    two = scores.shape[1] == 1
    of, cut = f" of {info.classes[1]}" * two, f", threshold {info.threshold}" * two
    for n, file in enumerate(files):
        title = f"{Path(paths[n]).name}\ncalled {called[n]} (score{of} {scores[n].max():.4f}{cut})"
        figure = Figure(figsize=(4.4, 4.4), layout="constrained")
        plots.plot_map(pixels[n], maps[n], title=title, target=names[n], ax=figure.subplots())
        with atomic_write(file) as handle:
            figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")
        if captures:
            results.write_capture(
                paths[n], captures[n], picture=file, title=" ".join(title.split())
            )
        print(visible(str(file)))


def _scored(
    model: models.MedicalNet, info: models.ModelInfo, given: Sequence[str]
) -> tuple[list[str], npt.NDArray[np.uint8], npt.NDArray[np.float64], list[str]]:
    """Read files and folders as the network's images; return paths, images, scores and classes.

    The scores are (N, 1) or (N, K), and the classes those that the network calls.
    """
    if info.by == "patient":
        log.warning("the threshold belongs to the mean score of a patient's images, not to one.")
    paths, how = _files(given), _preparation(info)
    pixels = np.stack([datasets.decode_file(path, **how) for path in paths])
    logits = training.predict_logits(model, pixels, tta=info.tta)
    scores = training.probabilities(logits, temperature=info.temperature)
    called = scores >= info.threshold if scores.ndim == 1 else scores.argmax(axis=1)
    return paths, pixels, scores.reshape(len(paths), -1), [info.classes[int(k)] for k in called]


def _files(given: Sequence[str]) -> list[str]:
    """Replace each folder by the images in it; name what cannot be read there."""
    found: list[str] = []
    for name in given:
        if not Path(name).is_dir():
            found.append(name)
            continue
        table = images.scan(name)
        hidden = ~table["path"].isin([*map(str, walk_files(name).files)])
        table.loc[hidden, ["readable", "reason"]] = False, "hidden, or made by a program"
        for path, reason in table.loc[~table["readable"], ["path", "reason"]].to_numpy():
            log.warning("left out: %s: %s", path, reason)
        found += table.loc[table["readable"], "path"].tolist()
    if not found:
        raise ImageReadError(f"{given[0]}: there is no readable image in this folder.")
    return found

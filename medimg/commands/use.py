"""Commands that use a kept network: evaluate, predict, explain."""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg import datasets, images
from medimg.commands.checks import (
    beside,
    check_classes,
    check_outputs,
    check_table,
    check_unseen,
    model_files,
)  # fmt: skip
from medimg.commands.data import named_studies
from medimg.errors import ImageReadError, ModelError
from medimg.storage import atomic_write
from medimg.tables import visible, write_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from medimg.metrics import Predictions
    from medimg.models import MedicalNet, ModelInfo

log = logging.getLogger(__name__)


def evaluate(args: argparse.Namespace) -> None:
    """Measure a network on a split: predictions.csv, report.json and a report.html to print."""
    from medimg import metrics, models, reports, training

    model, info = models.load_model(args.model)
    table = beside(args.model)  # of the very images that `fit` set aside
    studies = named_studies(args, default=table if table.is_file() else None)
    studies = studies[studies["split"] == args.split].reset_index(drop=True)
    check_classes(studies, info, args.split)
    judged = check_unseen(studies, args.model, args.split)
    out, by = Path(args.out), args.by or info.by
    written = [out / name for name in ("predictions.csv", "report.json", "report.html")]
    check_outputs(written, [args.data, table, *model_files(args.model), *studies["path"]])
    if args.tta and not info.tta:
        log.warning(
            "--tta averages over views, but threshold and temperature of this network were chosen "
            "on single ones; expect other sensitivity and specificity than on validation."
        )
    if by != info.by:
        log.warning("the threshold was chosen on scores by %s and is now used by %s.", info.by, by)
    data = datasets.decode(
        studies, size=info.image_size, channels=info.channels, keep_aspect=info.keep_aspect,
        stretch=info.settings.get("stretch", False), classes=info.classes,
        allow_duplicates=args.allow_duplicates,
    )  # fmt: skip
    predictions = training.predict(
        model, data, tta=args.tta or info.tta, temperature=info.temperature
    )
    if by == "patient":
        predictions, studies, judged = _by_patient(predictions, studies, judged)
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


def _by_patient(
    predictions: Predictions, studies: pd.DataFrame, judged: frozenset[str]
) -> tuple[Predictions, pd.DataFrame, frozenset[str]]:
    """Return one prediction per patient, a row of the table for each, and who was judged before."""
    seen = studies.loc[studies["image_id"].isin(judged), "patient_id"]
    one_each = studies.drop(columns="path").drop_duplicates("patient_id")
    one_each = one_each.assign(image_id=one_each["patient_id"])
    return predictions.aggregate("patient"), one_each, frozenset(seen)


def predict(args: argparse.Namespace) -> None:
    """Score images of your own, files or whole folders, with a kept network."""
    from medimg import models

    model, info = models.load_model(args.model)
    if args.out:
        check_outputs([Path(args.out)], [*args.images, *model_files(args.model)])
        check_table(Path(args.out), "path,score_")
    paths = _files(args.images)
    if info.by == "patient":
        log.warning(
            "the threshold belongs to scores of patients, the mean of their images; here each "
            "image is called by its own score."
        )
    scores, called = _called(model, _read(paths, info), info, paths)
    table = pd.DataFrame({"path": paths})
    if scores.ndim == 1:
        table[f"score_{info.classes[1]}"] = scores.round(4)
    else:
        for column, name in enumerate(info.classes):
            table[f"score_{name}"] = scores[:, column].round(4)
    table["called"] = [info.classes[k] for k in called]
    if args.out:
        write_table(table, args.out)
    if args.json:
        print(json.dumps(table.to_dict(orient="records")))
    else:
        print(table.assign(path=table["path"].map(visible)).to_string(index=False))


def explain(args: argparse.Namespace) -> None:
    """Draw where a kept network looked in images of your own, for the class that it calls."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    from medimg import models, plots
    from medimg.explain import explain as explain_images

    mpl.use("Agg")
    model, info = models.load_model(args.model)
    if args.target and args.target not in info.classes:
        raise ModelError(
            f"--target is '{args.target}', and this network tells {' from '.join(info.classes)}; "
            "give one of these."
        )
    paths = _files(args.images)
    pixels = _read(paths, info)
    scores, called = _called(model, pixels, info, paths)
    targets = np.full(len(called), info.classes.index(args.target)) if args.target else called
    maps = explain_images(model, pixels, method=args.method, target=targets)
    names = [info.classes[k] if name else "" for k, name in zip(targets, maps.names, strict=True)]
    files = [
        Path(args.out) / ("_".join(filter(None, (f"{n:03}", Path(path).stem, args.method,
                          re.sub(r"[^\w.-]+", "-", name)))) + ".png")
        for n, (path, name) in enumerate(zip(paths, names, strict=True))
    ]  # fmt: skip
    check_outputs(files, [*paths, *model_files(args.model)])
    for n, file in enumerate(files):
        title = f"{Path(paths[n]).name}\n{_verdict(scores[n], int(called[n]), info)}"
        ax = plots.plot_map(pixels[n], maps[n], title=title, target=names[n])
        figure = cast("Figure", ax.get_figure(root=True))
        with atomic_write(file) as handle:
            figure.savefig(handle, format="png", dpi=150, bbox_inches="tight")
        plt.close(figure)
        print(visible(str(file)))


def _verdict(score: npt.NDArray[np.float64], called: int, info: ModelInfo) -> str:
    """Say what the network calls an image, with its score."""
    if np.ndim(score):
        return f"called {info.classes[called]} (score {score[called]:.2f})"
    return (
        f"called {info.classes[called]} (score of {info.classes[1]} {score:.2f}, threshold "
        f"{info.threshold:.2f})"
    )


def _called(
    model: MedicalNet, pixels: npt.NDArray[np.uint8], info: ModelInfo, paths: Sequence[str]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return scores (N,) or (N, K), and the number of the class that the model calls."""
    from medimg import training

    logits = training.predict_logits(model, pixels, tta=info.tta)
    odd = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(odd):
        raise ModelError(
            f"{paths[odd[0]]}: the network gives no finite score; its weights or the image are "
            "damaged, so nothing can be said."
        )
    scores = training.probabilities(logits, temperature=info.temperature)
    called = scores >= info.threshold if scores.ndim == 1 else scores.argmax(axis=1)
    return scores, np.asarray(called, dtype=np.int64)


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


def _read(paths: Sequence[str], info: ModelInfo) -> npt.NDArray[np.uint8]:
    """Read files as the network's images: uint8 (N, H, W) or (N, H, W, 3)."""
    return np.stack([
        datasets.decode_file(
            path, info.image_size, channels=info.channels, keep_aspect=info.keep_aspect,
            stretch=info.settings.get("stretch", False),
        )
        for path in paths
    ])  # fmt: skip

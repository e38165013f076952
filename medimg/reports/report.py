"""`write_report`: evaluate a test set, and write the page, the numbers and the predictions."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import medimg
from medimg import metrics
from medimg.errors import MetricsError
from medimg.metrics import Evaluation, Predictions, SubgroupReport, Threshold
from medimg.reports import sections
from medimg.reports.page import as_json, page
from medimg.storage import write_together
from medimg.tables import table_bytes

ATTRIBUTES = ("sex", "age", "view", "site", "grade")
"""Columns of a study table that make groups, where they are there."""


@dataclass(frozen=True)
class Report:
    """What was found, and the files that say so."""

    evaluation: Evaluation
    subgroups: SubgroupReport | None
    html: Path
    json: Path
    predictions: Path


def write_report(
    predictions: Predictions, out_dir: str | os.PathLike[str], *,
    threshold: float | Threshold | None = None, studies: pd.DataFrame | None = None,
    prevalence: float = 0.05, ordinal: bool = False,
) -> Report:  # fmt: skip
    """Evaluate predictions and write ``report.html``, ``report.json`` and ``predictions.csv``.

    All three are written, or none: a page never stands beside the numbers of another run.

    Parameters
    ----------
    predictions : Predictions
        Of the test set.
    out_dir : path
        Folder for the three files; made when missing.
    threshold : float or Threshold, optional
        See `medimg.metrics.evaluate`.
    studies : DataFrame, optional
        A study table that holds every image by ``image_id`` or ``path``; its columns sex, age,
        view, site and grade make the subgroups. One that cannot (more than 20 values,
        say) is left out, and a warning names it. Its paths go into ``predictions.csv``.
    prevalence : float
        Share of people with the disease where the model is to be used, in [0, 1], for the picture
        of 1,000 people (of a rare disease 10,000). Above 0, at least 1 in 20,000.
    ordinal : bool
        Whether more than two classes are grades, in order.

    Returns
    -------
    Report
        The evaluation, the subgroups (None without a study table or groups in it) and the paths of
        the three files.

    Raises
    ------
    MetricsError
        When an image is not in the study table, or a number is out of range.
    OSError
        When the folder cannot be written.
    """
    patients, unit = predictions.patient_ids, predictions.unit
    if unit == "image" and patients is not None and np.array_equal(patients, predictions.ids):
        predictions = Predictions(predictions.ids, predictions.y_true, predictions.y_score,
                                  classes=predictions.classes)  # fmt: skip
    matched = pd.DataFrame() if studies is None else _matched(predictions, studies)
    result = metrics.evaluate(predictions, threshold=threshold, ordinal=ordinal)
    groups, left_out = _by_group(predictions, result, matched)
    result = replace(result, warnings=(*result.warnings, *left_out))
    each = sections.each_class(predictions)
    drawn = sections.curves(result, each)
    html = page(
        "report.html", title="How well the model does", result=result, unit=unit,
        classes=predictions.classes, binary=predictions.is_binary, curves=len(each),
        tiles=[name for name in sections.TILES if name in result],
        **sections.numbers(result, predictions, drawn["others"]), **drawn,
        **sections.prevalence(result, prevalence), **sections.group_section(groups),
    )  # fmt: skip
    names = ("report.html", "report.json", "predictions.csv")
    report = Report(result, groups, *(Path(out_dir) / name for name in names))
    write_together({
        report.predictions: table_bytes(scores_table(predictions, matched)),
        report.json: as_json(_numbers(result, groups, drawn["calibration"], unit)),
        report.html: html,
    })  # fmt: skip
    return report


def scores_table(predictions: Predictions, studies: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table of ``predictions.csv``, which `medimg.tables.read_table` reads.

    Parameters
    ----------
    predictions : Predictions
        One row each.
    studies : DataFrame, optional
        Its rows in the order of the predictions; its paths are added.

    Returns
    -------
    DataFrame
        ``image_id, patient_id, y_true, y_score`` (or one score per class), after the path.
    """
    known: dict[str, Any] = {
        "image_id": predictions.ids, "patient_id": predictions.patient_ids,
        "y_true": predictions.y_true,
    }  # fmt: skip
    if studies is not None and "path" in studies:
        known = {"path": studies["path"].astype(str).to_numpy(), **known}
    many = [f"y_score_{name}" for name in predictions.classes]
    names = ["y_score"] if predictions.is_binary else many
    table = pd.DataFrame(known).dropna(axis="columns", how="all")
    return table.join(pd.DataFrame(predictions.y_score, columns=names))


def _matched(predictions: Predictions, studies: pd.DataFrame) -> pd.DataFrame:
    """Rows of the study table, one a prediction and in the same order."""
    ids = unknown = predictions.ids
    for key in [key for key in ("path", "image_id") if key in studies]:
        names = studies[key].astype(str)
        rows = pd.Index(names.unique()).get_indexer(ids)
        if (rows >= 0).all():
            return studies[~names.duplicated()].take(rows).reset_index(drop=True)
        unknown = ids[rows < 0]
    raise MetricsError(
        f"the image {str(unknown[0])!r} is not in the study table; give the table that the "
        "predictions were made from"
    )


def _by_group(
    predictions: Predictions, result: Evaluation, studies: pd.DataFrame
) -> tuple[SubgroupReport | None, list[str]]:
    """Metrics by group, and a warning for each column that should make groups but cannot.

    Such a column must not keep the rest of the report from being written. With more than two
    classes the metric is the share of images called correctly.
    """
    judged, cut = predictions, result.threshold or 0.5
    if not predictions.is_binary:
        right = (predictions.predicted() == predictions.y_true).astype(float)
        judged = Predictions(predictions.ids, np.ones(len(right)), right, predictions.patient_ids,
                             ("no class", "any class"), predictions.unit)  # fmt: skip
    parts, left_out = [], []
    for name in [name for name in ATTRIBUTES if name in studies]:
        try:
            column = metrics.age_bands(studies[name]) if name == "age" else studies[name]
            group = column.to_frame(name)
            parts.append(metrics.subgroups(judged, group, threshold=cut, level=result.level))
        except MetricsError as error:
            left_out.append(f"the column {name!r} was left out of the subgroups: {error}")
    parts = [part for part in parts if len(part.gaps)]  # two groups at least
    if not parts:
        return None, left_out
    table, gaps = (pd.concat([getattr(part, which) for part in parts], ignore_index=True)
                   for which in ("table", "gaps"))  # fmt: skip
    if not predictions.is_binary:
        table, gaps = (t[t["metric"] == "sensitivity"].assign(metric="accuracy")
                       for t in (table.drop(columns="positives"), gaps))  # fmt: skip
    return SubgroupReport(table, gaps, result.level), left_out


def _numbers(
    result: Evaluation, groups: SubgroupReport | None, calibration: dict[str, Any], unit: str
) -> dict[str, Any]:
    """Everything in the report, for machines; what is not defined is null, with its reason."""
    counts = {"classes": list(result.confusion), "counts": result.confusion.to_numpy().tolist()}
    return {
        "medimg": medimg.__version__, f"n_{unit}s": result.n_images,
        "n_patients": result.n_patients, "unit": unit,
        "threshold": result.threshold, "metrics": result.estimates, "confusion": counts,
        "per_class": [] if result.per_class is None else result.per_class,
        "per_cut": [] if result.per_cut is None else result.per_cut,
        "subgroups": [] if groups is None else groups.table,
        "gaps": [] if groups is None else groups.gaps,
        "calibration": calibration, "warnings": result.warnings,
    }  # fmt: skip

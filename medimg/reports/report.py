"""`write_report`: evaluate a test set, and write the page, the numbers and the predictions."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import medimg
from medimg.errors import MetricsError
from medimg.metrics import (
    Evaluation,
    Predictions,
    SubgroupReport,
    Threshold,
    age_bands,
    evaluate,
    subgroups,
)
from medimg.reports.page import plain, write_page
from medimg.reports.sections import (
    calibration_section,
    facts,
    group_section,
    main_figures,
    methods,
    metric_table,
    per_class_table,
    prevalence_section,
    summary,
)
from medimg.storage import atomic_write

ATTRIBUTES = ("sex", "age", "view", "site", "severity", "grade")
"""Columns of a study table that make groups, where they are there."""
GRADES = ("subtle", "moderate", "gross")
"""Of the sample, in order."""


@dataclass(frozen=True)
class Report:
    """What was found, and the files that say so."""

    evaluation: Evaluation
    subgroups: SubgroupReport | None
    html: Path
    json: Path
    predictions: Path


def write_report(
    predictions: Predictions,
    out_dir: str | os.PathLike[str],
    *,
    threshold: float | Threshold | None = None,
    studies: pd.DataFrame | None = None,
    prevalence: float = 0.05,
    ordinal: bool = False,
    title: str = "How well the model does",
) -> Report:
    """Evaluate predictions and write ``report.html``, ``report.json`` and ``predictions.csv``.

    Parameters
    ----------
    predictions : Predictions
        Of the test set.
    out_dir : path
        Folder for the three files; made when missing.
    threshold : float or Threshold
        See `medimg.metrics.evaluate`.
    studies : DataFrame, optional
        A study table that holds every image by ``image_id`` or ``path``; its columns sex, age,
        view, site and severity make the subgroups of two-class predictions.
    prevalence : float
        Share of the diseased where the model is to be used, for the picture of 1,000 people.
    ordinal : bool
        Whether more than two classes are grades, in order.
    title : str
        Heading of the page.

    Raises
    ------
    MetricsError
        When an image is not in the study table, or a number is out of range.
    OSError
        When the folder cannot be written.
    """
    folder = Path(out_dir)
    result = evaluate(predictions, threshold=threshold, ordinal=ordinal)
    groups = None
    if studies is not None and predictions.is_binary:
        groups = _subgroups(predictions, studies, result)
    content: dict[str, Any] = {
        "title": title,
        "version": medimg.__version__,
        "level": 95,
        "summary": summary(result, predictions),
        "warnings": result.warnings,
        "facts": facts(result, predictions),
        "metrics": metric_table(result, predictions),
        "figures": main_figures(result, predictions),
        "per_class": per_class_table(result),
        "methods": methods(result),
        **prevalence_section(result, predictions, prevalence),
        **calibration_section(predictions),
        **group_section(groups),
    }
    report = Report(
        result, groups, folder / "report.html", folder / "report.json", folder / "predictions.csv"
    )
    predictions.to_csv(report.predictions)
    with atomic_write(report.json, "w") as file:
        json.dump(_numbers(result, groups, content["calibration"]), file, indent=1)
    write_page("report.html", report.html, **content)
    return report


def _subgroups(
    predictions: Predictions, studies: pd.DataFrame, result: Evaluation
) -> SubgroupReport | None:
    """Metrics by the attributes that the study table has and that split these images."""
    key = next((k for k in ("image_id", "path") if k in studies
                and np.isin(predictions.ids, studies[k].astype(str)).all()), None)  # fmt: skip
    if key is None:
        column = "image_id" if "image_id" in studies else "path"
        known = studies[column].astype(str) if column in studies else pd.Series(dtype=str)
        row = int(np.argmin(np.isin(predictions.ids, known)))
        raise MetricsError(
            f"row {row} (image {str(predictions.ids[row])!r}) is not in the study table; give the "
            "table that the predictions were made from"
        )
    unique = studies.assign(**{key: studies[key].astype(str)}).drop_duplicates(key).set_index(key)
    matched = unique.loc[predictions.ids.tolist()].reset_index()
    found = {
        name: age_bands(matched[name]) if name == "age" else matched[name]
        for name in ATTRIBUTES
        if name in matched
        and matched[name].notna().any()
        # a severity in numbers has a value an image; its grade in words makes the groups
        and (name == "age" or not pd.api.types.is_float_dtype(matched[name]))
    }
    if "grade" in found and set(found["grade"].dropna()) <= {"", *GRADES}:
        known = found["grade"].where(found["grade"].isin(GRADES))
        found["grade"] = pd.Series(pd.Categorical(known, GRADES))
    useful = {name: column for name, column in found.items() if len(column.unique()) > 1}
    if not useful or result.threshold is None:
        return None
    return subgroups(predictions, pd.DataFrame(useful), threshold=result.threshold)


def _numbers(
    result: Evaluation, groups: SubgroupReport | None, calibration: list[str]
) -> dict[str, Any]:
    """Everything in the report, for machines; what is not defined is null, with its reason."""
    cut = result.threshold
    numbers: dict[str, Any] = plain(
        {
            "medimg": medimg.__version__,
            "n_images": result.n_images,
            "n_patients": result.n_patients,
            "threshold": None if cut is None else {
                "value": cut.value, "rule": cut.rule, "chosen_on": cut.chosen_on
            },
            "metrics": {name: asdict(estimate) for name, estimate in result.estimates.items()},
            "confusion": {
                "classes": [str(name) for name in result.confusion.index],
                "counts": result.confusion.to_numpy().tolist(),
            },
            "per_class": [] if result.per_class is None
            else result.per_class.drop(columns="estimate"),
            "subgroups": [] if groups is None else groups.table,
            "gaps": [] if groups is None else groups.gaps,
            "calibration": calibration,
            "warnings": list(result.warnings),
        }
    )  # fmt: skip
    return numbers

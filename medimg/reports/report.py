"""`write_report`: evaluate a test set, and write the page, the numbers and the predictions."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype

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
from medimg.metrics.groups import MOST_GROUPS, group_names
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
"""Of the sample, in order; its healthy films have "none"."""


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
    threshold : float or Threshold, optional
        See `medimg.metrics.evaluate`.
    studies : DataFrame, optional
        A study table that holds every image by ``image_id`` or ``path``; its columns sex, age,
        view, site, severity and grade make the subgroups of two-class predictions. One that
        cannot (more than 20 values, say) is left out, and a warning names it.
    prevalence : float
        Share of the diseased where the model is to be used, in [0, 1], for the picture of 1,000
        people.
    ordinal : bool
        Whether more than two classes are grades, in order.
    title : str
        Heading of the page.

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
    folder = Path(out_dir)
    result = evaluate(predictions, threshold=threshold, ordinal=ordinal)
    groups = None
    if studies is not None and predictions.is_binary:
        attributes, left_out = _attributes(_matched(predictions, studies))
        result = replace(result, warnings=(*result.warnings, *left_out))
        if result.threshold is not None and len(attributes.columns):
            groups = subgroups(predictions, attributes, threshold=result.threshold)
    content: dict[str, Any] = {
        "title": title,
        "version": medimg.__version__,
        "level": f"{100 * result.level:g}",
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


def _matched(predictions: Predictions, studies: pd.DataFrame) -> pd.DataFrame:
    """Rows of the study table, one a prediction and in the same order."""
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
    matched: pd.DataFrame = unique.loc[predictions.ids.tolist()].reset_index()
    return matched


def _attributes(studies: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns that split these images into groups, and a warning for each that should but cannot.

    A column that cannot make groups must not keep the rest of the report from being written.
    """
    useful, left_out = {}, []
    for name in ATTRIBUTES:
        # a severity in numbers has a value an image; its grade in words makes the groups
        if name not in studies or (name == "severity" and is_float_dtype(studies[name])):
            continue
        try:
            groups = _as_groups(studies[name])
        except MetricsError as error:
            left_out.append(f"the column {name!r} was left out of the subgroups: {error}")
            continue
        count = group_names(groups).nunique()
        if count > MOST_GROUPS:
            left_out.append(
                f"the column {name!r} was left out of the subgroups: it has {count} values, and at "
                f"most {MOST_GROUPS} make groups that say something"
            )
        elif count > 1:
            useful[name] = groups
    return pd.DataFrame(useful), left_out


def _as_groups(column: pd.Series[Any]) -> pd.Series[Any]:
    """Ages in bands, the sample's grades in order, anything else as it is."""
    if column.name == "age":
        return age_bands(column)
    if column.name == "grade" and set(column.dropna()) <= {"", "none", *GRADES}:
        return pd.Series(pd.Categorical(column.where(column.isin(GRADES)), GRADES))
    return column


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

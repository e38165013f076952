"""TRIPOD+AI and CLAIM: which items of these reporting guidelines are answered, and which are not.

The items have the originals' numbers and order, and our own, shorter words; before submitting a
paper, fill in the originals.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import resources
from typing import Final

import numpy as np
import pandas as pd

import medimg
from medimg.errors import MetricsError
from medimg.metrics import Evaluation, SubgroupReport
from medimg.reports.card import ModelCard
from medimg.reports.page import shown, write_page

LISTS: Final = {
    "TRIPOD+AI": ("tripod_ai.csv", "Collins GS et al. (2024) BMJ 385:e078378"),
    "CLAIM": ("claim.csv", "Tejani AS et al. (2024) Radiol Artif Intell 6:e240300"),
}


def checklist_items() -> pd.DataFrame:
    """Items of both lists.

    Returns
    -------
    DataFrame
        One row an item, text throughout: ``list, item, section, topic, key``; items of one key
        share an answer.

    References
    ----------
    Collins GS et al. (2024) TRIPOD+AI statement. BMJ 385:e078378. Tejani AS et al. (2024) CLAIM:
    2024 update. Radiol Artif Intell 6:e240300.

    Examples
    --------
    >>> checklist_items().groupby("list").size().to_dict()
    {'CLAIM': 44, 'TRIPOD+AI': 52}
    """
    parts = []
    for name, (file, _) in LISTS.items():
        with resources.files("medimg.reports").joinpath(file).open(encoding="utf-8") as text:
            part = pd.read_csv(text, dtype=str)
        part.insert(0, "list", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def checklist(
    path: str | os.PathLike[str],
    *,
    answers: Mapping[str, str] | None = None,
    card: ModelCard | None = None,
    evaluation: Evaluation | None = None,
    groups: SubgroupReport | None = None,
) -> pd.DataFrame:
    """Write both lists as one HTML page, with what is answered and what is not.

    Parameters
    ----------
    path : path
        Of the page to write.
    answers : mapping of key to sentence, optional
        Keys are those of `checklist_items`; they go before what is found by itself.
    card, evaluation, groups : optional
        Answers are drawn from these where they hold one.

    Returns
    -------
    DataFrame
        The items with a column ``answer``, empty where open.

    Raises
    ------
    MetricsError
        When an answer is for a key that no item has.
    """
    items = checklist_items()
    given = dict(answers or {})
    unknown = sorted(set(given) - set(items["key"]))
    if unknown:
        raise MetricsError(
            f"no checklist item has the key {unknown[0]!r}; expected one of "
            f"{', '.join(sorted(set(items['key'])))}"
        )
    found = {**_from_results(evaluation, groups), **_from_card(card), **given}
    items["answer"] = [found.get(key, "").strip() for key in items["key"]]
    tables = []
    for name, (_, source) in LISTS.items():
        part = items[items["list"] == name]
        done = int(np.sum(part["answer"] != ""))
        tables.append((name, source, done, len(part), part.to_dict(orient="records")))
    write_page(
        "checklist.html", path, title="Reporting checklists: what is answered, what is not",
        version=medimg.__version__, tables=tables,
    )  # fmt: skip
    return items


def _from_card(card: ModelCard | None) -> dict[str, str]:
    if card is None:
        return {}
    said = {
        "intended_use": f"{card.intended_use} {card.users}",
        "model": card.model,
        "data_source": f"{card.training_data} {card.evaluation_data}",
        "reference_standard": card.reference_standard,
        "limits": card.limits,
        "ethics": card.ethics,
    }
    return {key: text.strip() for key, text in said.items() if text.strip()}


def _from_results(evaluation: Evaluation | None, groups: SubgroupReport | None) -> dict[str, str]:
    """Answer what the numbers themselves answer; everything else is for people to say."""
    if evaluation is None:
        return {}
    made = sorted({e.method for e in evaluation.estimates.values() if e.method})
    main = [name for name in ("sensitivity", "specificity", "auc", "accuracy", "auc_macro")
            if name in evaluation.estimates]  # fmt: skip
    found = {
        "metrics": f"{', '.join(evaluation.estimates)}.".replace("_", " "),
        "intervals": f"{100 * evaluation.level:g} % confidence intervals: {'; '.join(made)}.",
        "performance": "; ".join(f"{name} {shown(evaluation[name])}" for name in main) + ".",
        "counts": f"Test set: {evaluation.n_images} images of {evaluation.n_patients} patients.",
        "software": f"medimg {medimg.__version__}, Python {platform.python_version()}.",
    }
    if evaluation.threshold is not None and evaluation.threshold.chosen_on:
        found["threshold"] = f"Probability; positive from {evaluation.threshold}."
    if groups is not None:
        kinds = ", ".join(dict.fromkeys(groups.table["attribute"].astype(str)))
        found["performance"] += f" Metrics and gaps with intervals by {kinds}: see the report."
        if "site" in set(groups.table["attribute"]):
            found["performance_sites"] = "Metrics by site; see the report."
    return found

"""What is asked before a command starts: whether it can be done and its result be honest."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from medimg import datasets
from medimg.errors import StudyTableError

if TYPE_CHECKING:
    from medimg.models import ModelInfo

log = logging.getLogger(__name__)


def check_classes(studies: pd.DataFrame, info: ModelInfo, split: str) -> None:
    """Refuse an empty split, and labels that the network has never heard of."""
    if studies.empty:
        raise StudyTableError(
            f"no image is in split '{split}'; choose another with --split, or add images to it."
        )
    unknown = sorted(set(studies["label"]) - set(info.classes))
    if unknown:
        raise StudyTableError(
            f"the label '{unknown[0]}' is unknown to this network, which tells "
            f"{' from '.join(info.classes)}; rename the labels or fit a network on this data."
        )


def beside(model: str | os.PathLike[str]) -> Path:
    """Return where `fit` keeps the study table of a network."""
    return Path(model).with_name("studies.csv")


def check_unseen(
    studies: pd.DataFrame, model: str | os.PathLike[str], split: str
) -> frozenset[str]:
    """Refuse to test a network on images or patients that it learned from.

    Parameters
    ----------
    studies : DataFrame
        The images to measure it on.
    model : path-like
        The network; what it learned from stands in ``studies.csv`` beside it.
    split : str
        As the user asked for: with "train" there is a warning instead.

    Returns
    -------
    frozenset of str
        Ids of those images that chose its threshold and its best epoch.

    Raises
    ------
    StudyTableError
        When one of the images, or a patient by name, was in its training split.
    """
    table = beside(model)
    if not table.is_file():
        log.warning(
            "%s: no such file, so whether the network learned from these images cannot be told.",
            table,
        )
        return frozenset()
    known = datasets.from_csv(table)
    learned = known[known["split"] == "train"]
    unnamed = studies["patient_id"] == studies["image_id"]  # each image counts as a patient
    again = _same_files(studies, learned) | (
        studies["patient_id"].isin(learned["patient_id"]) & ~unnamed
    )
    if again.any():
        first = studies[again].iloc[0]
        words = (
            f"the network learned from {int(again.sum())} of these {len(studies)} images or from "
            f"their patients ({first['path']}, patient '{first['patient_id']}')"
        )
        if split != "train":
            raise StudyTableError(
                f"{words}, as {table} says, so this would be no test; leave --data out to test "
                "what was set aside, or take those patients out of the data (if they only share "
                "a name, give them another patient_id). --split train measures what it learned."
            )
        log.warning("%s: this measures its memory, not how it does on new patients.", words)
    alike = int((studies["image_id"].isin(learned["image_id"]) & ~again).sum())
    if alike:
        log.warning(
            "%d of these images are named like images that the network learned from; if they are "
            "copies of these, this is no test.", alike,
        )  # fmt: skip
    validation = _same_files(studies, known[known["split"] == "val"])
    return frozenset(studies.loc[validation, "image_id"])


def _same_files(studies: pd.DataFrame, others: pd.DataFrame) -> pd.Series[bool]:
    """Tell of each image whether its very file is among the others."""
    return studies["path"].map(os.path.realpath).isin(others["path"].map(os.path.realpath))

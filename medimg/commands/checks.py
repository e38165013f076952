"""What is asked before a command starts: whether it can be done and its result be honest."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg import datasets
from medimg.errors import MetricsError, ModelError, StudyTableError
from medimg.storage import equal_files

if TYPE_CHECKING:
    from medimg.models import ModelInfo

log = logging.getLogger(__name__)


def check_fit(studies: pd.DataFrame, classes: Sequence[str], sensitivity: float | None) -> None:
    """Refuse, before training, what would leave a trained network without a threshold.

    Parameters
    ----------
    studies : DataFrame
        The images to train and validate on.
    classes : sequence of str
        Their K classes.
    sensitivity : float or None
        As given by the user.

    Raises
    ------
    StudyTableError
        When there is one class only, or train or val lacks a class.
    MetricsError
        When the sensitivity is no share above 0, or there are more than two classes.
    """
    if len(classes) < 2:
        raise StudyTableError(
            f"all images to learn from are of class '{classes[0] if classes else ''}'; a network "
            "needs images of at least two classes."
        )
    if sensitivity is not None and len(classes) > 2:
        raise MetricsError(
            f"--sensitivity chooses the threshold between two classes, and here are {len(classes)} "
            f"({', '.join(classes)}); leave it out."
        )
    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise MetricsError(
            f"--sensitivity is {sensitivity:g}; give a share above 0 and up to 1, such as 0.95."
        )
    for split in ("train", "val"):
        labels = set(studies.loc[studies["split"] == split, "label"])
        if not labels:
            raise StudyTableError(
                f"no image is in split '{split}'; a network needs images to learn from (train) and "
                "others to choose the epoch and the threshold by (val)."
            )
        lacking = [name for name in classes if name not in labels]
        if lacking:
            raise StudyTableError(
                f"split '{split}' has no image of class '{lacking[0]}', so nothing can be learned "
                "or chosen for it there; move patients of that class into it."
            )


def check_size(size: int) -> None:
    """Refuse a side of the images that no model card may have, before they are decoded."""
    if not 8 <= size <= 4096:
        raise ModelError(f"--size is {size}; give a number of pixels from 8 to 4096.")


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
    alike = studies["image_id"].isin(learned["image_id"]) | _same_bytes(studies, learned)
    if (alike & ~again).any():
        log.warning(
            "%d of these images are named like images that the network learned from, or have the "
            "same bytes; if they are copies, this is not a test.", int((alike & ~again).sum()),
        )  # fmt: skip
    validation = _same_files(studies, known[known["split"] == "val"])
    return frozenset(studies.loc[validation, "image_id"])


def _same_files(studies: pd.DataFrame, others: pd.DataFrame) -> pd.Series[bool]:
    """Tell of each image whether its very file is among the others."""
    return studies["path"].map(os.path.realpath).isin(others["path"].map(os.path.realpath))


def _same_bytes(studies: pd.DataFrame, others: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell of each image whether another file with its bytes is among the others."""
    found = np.zeros(len(studies), bool)
    for group in equal_files([*studies["path"], *others["path"]]):
        if group[-1] >= len(studies):
            found[[row for row in group if row < len(studies)]] = True
    return found

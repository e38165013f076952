"""What is asked before a command starts: whether it can be done and its result be honest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from medimg import datasets
from medimg.errors import MedimgError, MetricsError, StudyTableError
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
        As given by the user, a share above 0.

    Raises
    ------
    StudyTableError
        When there is one class only, or train or val lacks a class.
    MetricsError
        When a sensitivity is asked of more than two classes.
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
    for split in ("train", "val"):
        labels = set(in_split(studies, split)["label"])
        if lacking := [name for name in classes if name not in labels]:
            raise StudyTableError(
                f"split '{split}' has no image of class '{lacking[0]}', so nothing can be learned "
                "or chosen for it there; move patients of that class into it."
            )


def in_split(studies: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the images of a split, or refuse an empty one."""
    chosen = studies[studies["split"] == split]
    if chosen.empty:
        raise StudyTableError(
            f"no image is in split '{split}'; add images to it: fit learns from train and chooses "
            "epoch and threshold by val, evaluate measures the split that --split names."
        )
    return chosen


def check_labels(studies: pd.DataFrame, info: ModelInfo) -> None:
    """Refuse labels that the network was not trained on."""
    if unknown := sorted(set(studies["label"]) - set(info.classes)):
        raise StudyTableError(
            f"the label '{unknown[0]}' is unknown to this network, which tells "
            f"{' from '.join(info.classes)}; rename the labels or fit a network on this data."
        )


def check_outputs(outputs: Iterable[Path], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write over anything that the command reads, under whatever name."""

    def identity(path: str | Path) -> tuple[int, int]:
        found = os.stat(path)
        return found.st_dev, found.st_ino

    there = [path for path in outputs if path.is_file()]
    read = {identity(path) for path in inputs if there and path and os.path.exists(path)}
    for path in there:
        if identity(path) in read:
            raise MedimgError(
                f"{path} is an input of this command and would be overwritten; choose another "
                "--out."
            )


def check_table(path: Path, header: str) -> None:
    """Refuse to replace a file that is not an older table of the same command."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        first = file.readline(1000).decode("utf-8", "replace").replace('"', "")
    if not first.startswith(header):
        raise MedimgError(
            f"{path} exists and is not a table that this command wrote; choose another --out."
        )


def check_new_folder(out: Path) -> None:
    """Refuse to put the study table of a network over one that has no network beside it."""
    if (out / "studies.csv").is_file() and not (out / "model.json").is_file():
        raise MedimgError(
            f"{out / 'studies.csv'} exists, and no network is beside it, so it may be a table of "
            "yours; choose another --out."
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
    learned, chose = (known[known["split"] == name] for name in ("train", "val"))
    named = studies["patient_id"] != studies["image_id"]  # else each image counts as a patient
    again = _same_files(studies, learned)
    again |= studies["patient_id"].isin(learned["patient_id"]) & named
    if again.any():
        first = studies[again].iloc[0]
        words = (
            f"the network learned from {again.sum()} of these {len(studies)} images or from their "
            f"patients ({first['path']}, patient '{first['patient_id']}')"
        )
        if split != "train":
            raise StudyTableError(
                f"{words}, as {table} says, so this would be no test; leave --data out to test "
                "what was set aside, or take those patients out of the data (if they only share "
                "a name, give them another patient_id). --split train measures what it learned."
            )
        log.warning("%s: this measures its memory, not how it does on new patients.", words)
    alike = studies["image_id"].isin(learned["image_id"]) | _same_bytes(studies, learned)
    if copies := int((alike & ~again).sum()):
        log.warning(
            "%d of these images: the network learned from an image of that name or with the same "
            "bytes; if they are copies, this is not a test.", copies,
        )  # fmt: skip
    return frozenset(studies.loc[_same_files(studies, chose), "image_id"])


def _same_files(studies: pd.DataFrame, others: pd.DataFrame) -> pd.Series[bool]:
    """Tell of each image whether its very file is among the others."""
    return studies["path"].map(os.path.realpath).isin(others["path"].map(os.path.realpath))


def _same_bytes(studies: pd.DataFrame, others: pd.DataFrame) -> pd.Series[bool]:
    """Tell of each image whether another file with its bytes is among the others."""
    groups = equal_files([*studies["path"], *others["path"]])  # positions, rising
    equal = [row for group in groups if group[-1] >= len(studies) for row in group]
    return pd.Series(np.isin(np.arange(len(studies)), equal), index=studies.index)

"""What is asked before a command starts: whether it can be done and its result be honest."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medimg import datasets
from medimg.errors import MedimgError, MetricsError, StudyTableError
from medimg.storage import equal_files

log = logging.getLogger(__name__)


def check_fit(
    studies: pd.DataFrame, classes: Sequence[str], *, sensitivity: float | None = None,
    by: str = "image", ordinal: bool = False,
) -> None:  # fmt: skip
    """Refuse, before training, what would leave a trained network without a threshold.

    Parameters
    ----------
    studies : DataFrame
        The images to train and validate on.
    classes : sequence of str
        Their K classes.
    sensitivity : float or None
        As given by the user.
    by : {"image", "patient"}
        What is scored. Among patients, too, one must be without disease, to choose a threshold.
    ordinal : bool
        Whether the classes are grades; a patient then has the worst grade of the images.

    Raises
    ------
    StudyTableError
        When train or val lacks a class, or `by` is "patient" and the patients are not known or
        cannot be given a class each.
    MetricsError
        When a sensitivity is asked of more than two classes.
    """
    if sensitivity is not None and len(classes) > 2:
        many = f"here are {len(classes)}: {', '.join(classes)}"
        raise MetricsError(f"--sensitivity is for two classes, and {many}; leave it out.")
    for split in ("train", "val"):
        if lacking := set(classes) - set(in_split(studies, split)["label"]):
            what = f"split '{split}' has no image of class '{min(lacking)}'"
            raise StudyTableError(f"{what}; move patients of that class into it.")
    if by == "patient":
        found = in_split(studies, "val").groupby("patient_id")["label"].agg(frozenset)
        mixed = found.index[found.map(len) > 1]
        faults = {
            "the patients are not known": not datasets.patients_known(studies),
            f"patient '{next(iter(mixed), '')}' of split 'val' has several classes":
                len(classes) > 2 and not ordinal and len(mixed) > 0,
            f"no patient of split 'val' has '{classes[0]}' alone": {classes[0]} not in [*found],
        }  # fmt: skip
        for fault in (words for words, holds in faults.items() if holds):
            raise StudyTableError(f"--by patient: {fault}; leave that out, or mend the table.")


def in_split(studies: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the images of a split, or refuse an empty one."""
    chosen = studies[studies["split"] == split]
    if chosen.empty:
        needs = "fit needs train and val, evaluate the split that --split names"
        raise StudyTableError(f"no image is in split '{split}'; add images to it ({needs}).")
    return chosen


def check_new(path: str | None) -> None:
    """Refuse to write a table where a file is already, whatever it is, or where none can be."""
    if path and os.path.exists(os.path.realpath(path)):
        raise MedimgError(f"{path} exists already; choose another --out.")
    check_outputs([Path(path)] if path else [], [])


def check_ours(outputs: Sequence[Path], mark: Path, word: bytes) -> None:
    """Refuse to replace files that may be the user's: beside ours lies one that holds a word."""
    real = [Path(os.path.realpath(path)) for path in (mark, *outputs)]
    if not (real[0].is_file() and word in real[0].read_bytes()):
        for path in filter(Path.exists, real):
            raise MedimgError(f"{path} may be a file of your own; choose another --out.")


def check_outputs(outputs: Sequence[Path], inputs: Sequence[str | Path | None]) -> None:
    """Refuse to write over anything that the command reads, under whatever name.

    Where no output can be written shows here, too, before the work is done.
    """
    # A folder that is not there yet would be made: "new/../film.png" is film.png then.
    real = [Path(os.path.realpath(path)) for path in outputs]
    for path in filter(Path.exists, real):
        if any(path.samefile(read) for read in inputs if read and os.path.exists(read)):
            raise MedimgError(f"{path} is an input; choose another --out or --dicom.")
    for place in {next(filter(Path.exists, path.parents)) for path in real}:
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise MedimgError(f"{place} is not a folder to write to; choose another --out.")
    for path in filter(Path.is_dir, real):
        raise MedimgError(f"{path} is a folder, where a file is to be; choose another --out.")


def beside(model: str | os.PathLike[str]) -> Path:
    """Return where `fit` keeps the study table of a network."""
    return Path(model).with_name("studies.csv")


def check_unseen(
    studies: pd.DataFrame, model: str | os.PathLike[str], *, refuse: bool
) -> frozenset[str]:
    """Refuse to test a network on images or patients that it learned from.

    Parameters
    ----------
    studies : DataFrame
        The images to measure it on.
    model : path-like
        The network; what it learned from stands in ``studies.csv`` beside it.
    refuse : bool
        False: there is a warning instead.

    Returns
    -------
    frozenset of str
        Ids of those images that chose its threshold and its best epoch.

    Raises
    ------
    StudyTableError
        When one of the images, a copy of it, or a patient by name was in its training split.
    """
    table = beside(model)
    if not table.is_file():
        log.warning("whether the network learned from these images cannot be told: no %s.", table)
        return frozenset()
    known = datasets.from_csv(table)
    learned, chose = (known[known["split"] == name] for name in ("train", "val"))
    named = studies["patient_id"] != studies["image_id"]  # else each image counts as a patient
    people, theirs = (table["patient_id"].str.casefold() for table in (studies, learned))
    again = _among(studies, learned) | named & people.isin(theirs)
    if again.any():
        first = studies[again].iloc[0]
        words = (
            f"the network learned from {again.sum()} of these {len(studies)} images or from their "
            f"patients ({first['path']}, patient '{first['patient_id']}')"
        )
        if refuse:
            raise StudyTableError(
                f"{words}, as {table} says: no test. Leave --data out or take them out of it, give "
                "patients who only share a name another patient_id, or add --allow-duplicates."
            )
        log.warning("%s: this measures its memory, not how it does on new patients.", words)
    return frozenset(studies.loc[_among(studies, chose), "image_id"])


def _among(studies: pd.DataFrame, others: pd.DataFrame) -> "pd.Series[bool]":
    """Tell of each image whether a file with its bytes is among the others."""
    groups = equal_files([*studies["path"], *others["path"]])  # positions, rising
    equal = [row for group in groups if group[-1] >= len(studies) for row in group]
    return pd.Series(np.isin(np.arange(len(studies)), equal), index=studies.index)

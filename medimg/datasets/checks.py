"""What a study table must hold, and one summary of what is in it, left out of it, and odd."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medimg.datasets.names import healthy_class, is_ordinal, ranked, require, split_word
from medimg.errors import StudyTableError
from medimg.storage import equal_files

COLUMNS = ("image_id", "path", "label", "split", "patient_id")
SPLITS = ("train", "val", "test")


def note(studies: pd.DataFrame, *texts: str) -> pd.DataFrame:
    """Keep with a table what was left out of it or guessed, for :func:`summary` to say."""
    studies.attrs["notes"] = [*studies.attrs.get("notes", []), *texts]
    return studies


def text_of(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Return values as stripped strings, "" for missing ones."""
    return values.astype(object).where(values.notna(), "").astype(str).str.strip()


def plain_labels(labels: "pd.Series[Any]") -> "pd.Series[str]":
    """Return labels as stripped text; whole numbers without decimals, "1.0" as "1"."""
    text = text_of(labels)
    whole = text.str.fullmatch(r"[+-]?\d+(\.0*)?").all()
    return text.map(lambda value: str(int(value.partition(".")[0]))) if whole else text


def check_studies(studies: pd.DataFrame, *, name: str = "study table") -> pd.DataFrame:
    """Check a study table and return it with its five columns first.

    Blanks around ids, labels and splits are removed, and usual words for a split (training,
    valid, testing, ...) become train, val and test.

    Parameters
    ----------
    studies : DataFrame
        The table to check.
    name : str
        What to call it in an error.

    Returns
    -------
    DataFrame
        The same rows, ``image_id, path, label, split, patient_id`` first, a fresh index.

    Raises
    ------
    StudyTableError
        For a missing column, no rows, an empty label, path or patient, an image or a file listed
        twice, a class spelled in two ways, an unknown split, rows with and rows without a split,
        or a patient who is in more than one split.
    """
    require(studies, COLUMNS, name)
    studies = studies.assign(**{c: text_of(studies[c]) for c in COLUMNS}).reset_index(drop=True)
    studies["label"] = plain_labels(studies["label"])
    for fault in _faults(studies):
        raise StudyTableError(f"{name}: {fault}.")
    studies["split"] = studies["split"].map(split_word)
    return studies[[*COLUMNS, *studies.columns.difference([*COLUMNS], sort=False)]]


def _faults(studies: pd.DataFrame) -> Iterator[str]:
    """Yield what is wrong with the rows of a table."""
    if studies.empty:
        yield "it has no rows; expected one row for each image"
    for column in ("path", "label", "patient_id"):
        for row in studies.index[studies[column] == ""] + 1:
            yield f"'{column}' is empty in row {row}; fill it in or leave the row out"
    yield from spelled_twice(studies["label"])
    words = studies["split"].map(split_word)
    for word in studies.loc[(words == "") & (studies["split"] != ""), "split"]:
        yield f"unknown split '{word}'; expected train, val, test (training, valid, ...) or nothing"
    blank = words.index[words == ""] + 1
    if 0 < len(blank) < len(words):
        yield f"{len(blank)} of {len(words)} rows have no split, as row {blank[0]}; fill them in"
    files = studies["path"].map(os.path.abspath).map(os.path.normcase)
    frames = studies["frame"].astype(str) if "frame" in studies else ""
    for column, values in (("path", files + frames), ("image_id", studies["image_id"])):
        for value in values[values.duplicated()]:
            first, second, *more = values.index[values == value] + 1
            where = f"'{studies[column][first - 1]}' stands in {len(more) + 2} rows"
            yield f"{column} {where} ({first} and {second}); each image needs its own row and id"
    homes = words.groupby(studies["patient_id"].str.casefold()).nunique()
    for patient in homes.index[homes > 1]:
        yield f"patient '{patient}' is in more than one split; put each in one, or split_by_patient"


def spelling(label: str) -> str:
    """Return what two spellings of one class share; a sign, as in HER2+ and HER2-, is kept."""
    return re.sub(r"[\s_.]+|-(?=\w)", "", unicodedata.normalize("NFKC", label).casefold())


def spelled_twice(labels: "pd.Series[str]") -> Iterator[str]:
    """Yield a sentence on each class that is spelled in two ways, with how often each occurs."""
    for _, several in labels.value_counts().groupby(spelling):
        listed = ", ".join(f"'{s}' ({several[s]} images)" for s in sorted(several.index))
        if len(several) > 1:
            yield f"one class is spelled in {len(several)} ways: {listed}; give it one spelling"


@dataclass(frozen=True)
class Summary:
    """What a study table holds. Printed, it is a text for people.

    Attributes
    ----------
    classes : tuple of str
        All K classes in order.
    healthy : str or None
        The class that counts as healthy (index 0), if one does.
    why : str
        Why, or why none does.
    ordinal : bool
        Whether the classes are grades in a known order.
    patients_known : bool
        False: each image counts as a patient.
    images, patients : dict of str to dict of str to int
        How many of each class, by split; the split is "" where there are none.
    notes : tuple of str
        What was left out or guessed when the table was made.
    suspicious : tuple of str
        What a person should look at.
    """

    classes: tuple[str, ...]
    healthy: str | None
    why: str
    ordinal: bool
    patients_known: bool
    images: dict[str, dict[str, int]]
    patients: dict[str, dict[str, int]]
    notes: tuple[str, ...]
    suspicious: tuple[str, ...]

    def __str__(self) -> str:
        order = "grades, lowest first" if self.ordinal else "classes"
        counts, known = pd.DataFrame(self.images).astype(str), self.patients_known
        if known:
            counts += " (" + pd.DataFrame(self.patients).astype(str) + ")"
        table = counts.T.rename({"": "no split yet"})
        return "\n".join([
            f"{order}: {', '.join(self.classes)}",
            f"healthy: {self.healthy or '?'} ({self.why})",
            table.rename_axis(columns="images (patients)" if known else "images").to_string(),
            *([] if known else ["patients: not known; each image counted as one"]),
            *(f"note: {text}" for text in self.notes),
            *(f"look at this: {text}" for text in self.suspicious),
        ])  # fmt: skip


def summary(studies: pd.DataFrame) -> Summary:
    """Summarise a study table, as `fit` and `evaluate` print it.

    Parameters
    ----------
    studies : DataFrame
        A study table as :func:`load` makes it.

    Returns
    -------
    Summary
        Counts, the healthy class, what was left out, and what looks suspicious.

    Raises
    ------
    StudyTableError
        If a column is missing.

    Examples
    --------
    >>> from medimg.datasets import load
    >>> found = summary(load("sample"))
    >>> found.healthy, found.images["test"]
    ('normal', {'normal': 9, 'pneumonia': 6})
    """
    require(studies, COLUMNS)
    given = tuple(studies.attrs.get("classes", ()))
    classes = given or ranked(studies["label"])
    healthy = given[0] if given else healthy_class(classes)
    why = "as given" if given else "the lowest grade" if is_ordinal(classes) else "by its name"
    if healthy is None:
        why = "no class, or more than one, reads as healthy; give the order with classes="
    splits = [s for s in (*SPLITS, "") if (studies["split"] == s).any()]
    sizes = studies.groupby(["split", "label"])["patient_id"].agg(["size", "nunique"]).to_dict()
    images, people = (
        {split: {name: count.get((split, name), 0) for name in classes} for split in splits}
        for count in sizes.values()
    )
    return Summary(
        classes, healthy, why, is_ordinal(classes), patients_known(studies), images, people,
        tuple(studies.attrs.get("notes", ())), tuple(_suspicious(studies, images)),
    )  # fmt: skip


def patients_known(studies: pd.DataFrame) -> bool:
    """Return whether any patient is known.

    An image whose patient is not known has its own ``image_id`` as ``patient_id``, so this
    survives a CSV file.

    Parameters
    ----------
    studies : DataFrame
        A study table.

    Returns
    -------
    bool
        False if every ``patient_id`` is the row's ``image_id``.
    """
    return bool((studies["patient_id"].astype(str) != studies["image_id"].astype(str)).any())


def check_duplicates(studies: pd.DataFrame) -> None:
    """Refuse equal files in two splits or with two labels.

    Parameters
    ----------
    studies : DataFrame
        A study table; files that are not there are left to `decode`.

    Raises
    ------
    StudyTableError
        It names the first two files, and says how many there are.
    """
    _, bad = _copies(studies)
    if bad:
        first = bad[0][["path", "split", "label"]].to_numpy()[:2]
        listed = " and ".join(f"{p} ({split or 'no split'}, {label})" for p, split, label in first)
        what = f"{len(bad)} group(s) of equal files stand in two splits or have two labels"
        fix = "correct them, or continue with allow_duplicates=True (--allow-duplicates)"
        raise StudyTableError(f"{what}: {listed}; {fix}.")


def _copies(studies: pd.DataFrame) -> tuple[int, list[pd.DataFrame]]:
    """Return how many files repeat another, and of each that contradicts itself one row per kind.

    Rows that show different frames of one file do not contradict each other.
    """
    groups = [studies.iloc[rows] for rows in equal_files(studies["path"])]
    alike = [group for group in groups if "frame" not in group or group["frame"].nunique() < 2]
    kinds = [group.drop_duplicates(["split", "label"]) for group in alike]
    return sum(map(len, groups)) - len(groups), [rows for rows in kinds if len(rows) > 1]


def _suspicious(studies: pd.DataFrame, images: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield what a person should look at before believing a result."""
    if len(missing := studies.loc[~studies["path"].map(os.path.isfile), "path"]):
        yield f"{len(missing)} files are not there, the first {missing.iloc[0]}"
    copies, bad = _copies(studies)
    if copies:
        what = f"{copies} files repeat another byte for byte"
        yield f"{what} ({len(bad)} groups in two splits or with two labels)"
    for split in filter(None, images):
        if lacking := sorted(name for name, count in images[split].items() if not count):
            yield f"{split} has no image of {', '.join(lacking)}"
    if any(images) and "test" not in images:
        yield "there is no test split"

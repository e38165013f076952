"""One summary of a study table: what is in it, what was left out, and what looks suspicious."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.datasets.names import healthy_class, is_ordinal, ranked
from medimg.datasets.tables import COLUMNS, SPLITS, require_columns
from medimg.errors import StudyTableError
from medimg.storage import equal_files


@dataclass(frozen=True)
class Summary:
    """What a study table holds. Printed, it is the text for people; `to_dict` is for programs.

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as what JSON can hold.

        Returns
        -------
        dict
            One entry per field.
        """
        return asdict(self)

    def __str__(self) -> str:
        order = "grades, lowest first" if self.ordinal else "classes"
        healthy = f"healthy: {self.healthy or '?'} ({self.why})"
        lines = [f"{order}: {', '.join(self.classes)}", healthy]
        unit = "images (patients)" if self.patients_known else "images"
        width = max(map(len, (*self.classes, "123456 (12345)"))) + 2
        lines.append(f"{unit:19}" + "".join(f"{name:>{width}}" for name in self.classes))
        for split, counts in self.images.items():
            cells = [f"{n} ({self.patients[split][c]})" if self.patients_known else str(n)
                     for c, n in counts.items()]  # fmt: skip
            lines.append(f"{split or 'no split yet':19}" + "".join(f"{c:>{width}}" for c in cells))
        if not self.patients_known:
            lines.append("patients: not known; each image counted as one")
        lines += [f"note: {text}" for text in self.notes]
        return "\n".join(lines + [f"look at this: {text}" for text in self.suspicious])


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
    require_columns(studies, COLUMNS)
    given = tuple(studies.attrs.get("classes", ()))
    classes = given or ranked(studies["label"])
    healthy, why = _healthy(classes, given=bool(given))
    splits = [s for s in (*SPLITS, "") if (studies["split"] == s).any()]
    images = studies.groupby(["split", "label"]).size()
    people = studies.groupby(["split", "label"])["patient_id"].nunique()
    return Summary(
        classes, healthy, why, is_ordinal(classes), patients_known(studies),
        {s: {c: int(images.get((s, c), 0)) for c in classes} for s in splits},
        {s: {c: int(people.get((s, c), 0)) for c in classes} for s in splits},
        tuple(studies.attrs.get("notes", ())), tuple(_suspicious(studies, classes)),
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


def equal_images(studies: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of a table whose files hold the same bytes, one table per group."""
    return [studies.iloc[rows] for rows in equal_files(studies["path"])]


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
    bad = [group for group in equal_images(studies) if _contradicts(group)]
    if bad:
        first = bad[0].drop_duplicates(_contradicts(bad[0])).iloc[:2]
        rows = zip(first["path"], first["split"], first["label"], strict=True)
        pair = " and ".join(
            f"{path} ({split or 'no split'}, {label})" for path, split, label in rows
        )
        raise StudyTableError(
            f"{len(bad)} group(s) of files with the same bytes stand in two splits or have two "
            f"labels: {pair}; remove the copies or correct the labels, or go on with "
            "allow_duplicates=True (--allow-duplicates)."
        )


def _contradicts(group: pd.DataFrame) -> list[str]:
    """Return in what the rows of one file differ."""
    several = {c for c in ("split", "label", "frame") if c in group and len(set(group[c])) > 1}
    return [] if "frame" in several else sorted(several, reverse=True)


def _healthy(classes: tuple[str, ...], *, given: bool) -> tuple[str | None, str]:
    """Return the healthy class and why it is the one."""
    if given:
        return classes[0], "as given"
    name = healthy_class(classes)
    if name is None:
        return None, "no class, or more than one, reads as healthy; give the order with classes="
    return name, "the lowest grade" if is_ordinal(classes) else "by its name"


def _suspicious(studies: pd.DataFrame, classes: tuple[str, ...]) -> list[str]:
    """Return what a person should look at before believing a result."""
    found = []
    missing = [path for path in studies["path"] if not Path(path).is_file()]
    if missing:
        found.append(f"{len(missing)} files are not there, the first {missing[0]}")
    groups = equal_images(studies)
    bad = sum(bool(_contradicts(group)) for group in groups)
    if groups:
        copies = sum(len(group) - 1 for group in groups)
        found.append(f"{copies} files repeat another byte for byte ({bad} groups in two splits or "
                     "with two labels)")  # fmt: skip
    present = [s for s in SPLITS if (studies["split"] == s).any()]
    for split in present:
        lacking = sorted(set(classes) - set(studies.loc[studies["split"] == split, "label"]))
        if lacking:
            found.append(f"{split} has no image of {', '.join(lacking)}")
    if present and "test" not in present:
        found.append("there is no test split")
    if len(classes) > max(20, len(studies) // 2):
        found.append(f"{len(classes)} classes in {len(studies)} images: is this the label?")
    return found

"""Split by patient, never by image; draw small sets without tearing patients apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medimg.datasets.classes import ranked
from medimg.datasets.tables import COLUMNS, SPLITS, check_studies, require_columns
from medimg.errors import StudyTableError


def split_by_patient(
    studies: pd.DataFrame,
    *,
    rng: np.random.Generator,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> pd.DataFrame:
    """Divide a study table into train, val and test so that no patient is in two of them.

    Patients are shuffled within each class (a patient with images of several classes counts as
    the last of them in the order of `class_names`, never as healthy), then dealt out, so that the
    splits have about the same mix of classes.

    Parameters
    ----------
    studies : DataFrame
        A study table; its ``split`` column is replaced.
    rng : numpy.random.Generator
        The source of randomness.
    fractions : tuple of three float
        Shares of train, val and test, of the *patients*; they sum to 1.

    Returns
    -------
    DataFrame
        A copy with ``split`` filled in, in the order of the input.

    Raises
    ------
    StudyTableError
        If the fractions do not sum to 1, a class has too few patients for each split, or the
        table lacks ``patient_id`` or ``label``.

    Examples
    --------
    >>> studies = pd.DataFrame({"patient_id": list("aabbccdd"), "label": ["n", "n", "p", "p"] * 2})
    >>> done = split_by_patient(studies, rng=np.random.default_rng(0), fractions=(0.5, 0, 0.5))
    >>> int(done.groupby("patient_id")["split"].nunique().max())
    1
    """
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise StudyTableError(f"fractions {fractions} must be three shares that sum to 1.")
    require_columns(studies, ("patient_id", "label"))
    order = ranked(studies["label"])
    illness = studies["label"].astype(str).map(order.index)
    label_of = illness.groupby(studies["patient_id"]).max().map(lambda rank: order[rank])
    home: dict[str, str] = {}
    wanted = sum(f > 0 for f in fractions)
    for label in sorted(set(label_of)):
        patients = rng.permutation(label_of.index[label_of == label].to_numpy(dtype=object))
        if len(patients) < wanted:
            raise StudyTableError(
                f"class '{label}' has {len(patients)} patient(s), too few for {wanted} splits; "
                "bring more patients or set a fraction to 0."
            )
        home.update(zip(patients, _deal(len(patients), fractions), strict=True))
    return studies.assign(split=[home[p] for p in studies["patient_id"]])


def _deal(n: int, fractions: tuple[float, float, float]) -> list[str]:
    """Return n split names in the given shares, each wanted split at least once."""
    counts = np.array([max(round(f * n), 1 if f > 0 else 0) for f in fractions])
    counts[np.argmax(counts)] += n - counts.sum()
    return [name for name, count in zip(SPLITS, counts, strict=True) for _ in range(count)]


def draw(
    studies: pd.DataFrame,
    sizes: Mapping[str, int],
    *,
    rng: np.random.Generator,
    balanced: bool = False,
) -> pd.DataFrame:
    """Draw a smaller set: so many images of each split, of as many patients as possible.

    Parameters
    ----------
    studies : DataFrame
        A study table with splits.
    sizes : mapping of split to int
        How many images to keep of each split; a split that is not named is left out, one with
        fewer images is kept whole.
    rng : numpy.random.Generator
        The source of randomness.
    balanced : bool
        Draw the same number from each class instead of keeping the class frequencies.

    Returns
    -------
    DataFrame
        The drawn rows, in the order of the input.

    Raises
    ------
    StudyTableError
        If a size is negative, the named split does not exist in the table, or a column is missing.
    """
    require_columns(studies, ("split", "label", "patient_id"))
    keep: list[int] = []
    for split, size in sizes.items():
        rows = studies[studies["split"] == split]
        if size < 0 or rows.empty:
            raise StudyTableError(
                f"cannot draw {size} images of split '{split}': the table has {len(rows)} there; "
                "ask for a split that exists and a size of 0 or more."
            )
        labels = sorted(set(rows["label"]))
        for number, label in enumerate(labels):
            of_class = rows[rows["label"] == label]
            share = 1 / len(labels) if balanced else len(of_class) / len(rows)
            # Rounding cumulative shares makes the class counts sum to the size exactly.
            below = number / len(labels) if balanced else (rows["label"] < label).mean()
            count = round(size * (below + share)) - round(size * below)
            keep += _spread(of_class, count, rng)
    return studies.loc[sorted(keep)].reset_index(drop=True)


def _spread(rows: pd.DataFrame, count: int, rng: np.random.Generator) -> list[int]:
    """Return the index of ``count`` rows, one of each patient before a second of any."""
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby("patient_id").cumcount()
    return list(turn.sort_values(kind="stable").index[:count])


def draw_few(
    studies: pd.DataFrame,
    *,
    images: int | None = None,
    test: int | None = None,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Make a small experiment of a large set: few images to learn from, others to test on.

    Parameters
    ----------
    studies : DataFrame
        A study table with splits.
    images : int, optional
        Images to learn from, as many of each class, drawn from train and val; a fifth of their
        patients becomes the new val. All of train and val by default.
    test : int, optional
        Images to test on, drawn from the test split and, where that has too few, from patients of
        train and val that were not drawn to learn from. The whole test split by default.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    DataFrame
        A study table with splits.

    Raises
    ------
    StudyTableError
        As :func:`draw` and :func:`split_by_patient`.
    """
    require_columns(studies, COLUMNS)
    learn = studies[studies["split"] != "test"]
    if images is not None:
        learn = draw(learn.assign(split="train"), {"train": images}, rng=rng, balanced=True)
        learn = split_by_patient(learn, rng=rng, fractions=(0.8, 0.2, 0.0))
    held_out = studies[studies["split"] == "test"]
    if test is not None:
        if images is not None and len(held_out) < test:
            unused = ~studies["patient_id"].isin(learn["patient_id"])
            held_out = studies[unused].assign(split="test")
        held_out = draw(held_out, {"test": test}, rng=rng)
    return check_studies(pd.concat([learn, held_out], ignore_index=True))

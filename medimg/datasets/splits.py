"""Split by patient, never by image; take small sets without tearing patients apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medimg.datasets.names import ranked
from medimg.datasets.tables import SPLITS, note, require_columns
from medimg.errors import StudyTableError
from medimg.storage import equal_files

_TRAIN_AND_VAL = (0.85, 0.15, 0.0)
_SEED = 2018  # every reader of a set without published splits gets the same ones


def split_by_patient(
    studies: pd.DataFrame, *, rng: np.random.Generator,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
) -> pd.DataFrame:  # fmt: skip
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


def with_splits(studies: pd.DataFrame) -> pd.DataFrame:
    """Split a table by patient, always in the same way, as far as it has no splits of its own.

    Where only val is missing, as in many public sets, it is taken from train, because the epoch
    and the threshold must be chosen on it; unless train has too few patients. Equal files stay in
    one split, as if they were of one patient.

    Parameters
    ----------
    studies : DataFrame
        A study table.

    Returns
    -------
    DataFrame
        The table with ``split`` filled in; what was done is noted for :func:`summary`.

    Raises
    ------
    StudyTableError
        As :func:`split_by_patient`.
    """
    part = studies["split"].isin(("", "train"))
    unsplit = (studies["split"] == "").all()
    if not unsplit and ((studies["split"] == "val").any() or not part.any()):
        return studies
    learn, rng = studies[part], np.random.default_rng(_SEED)
    fractions = (0.7, 0.15, 0.15) if unsplit else _TRAIN_AND_VAL
    try:
        together = learn.assign(patient_id=_joined(learn))
        dealt = split_by_patient(together, rng=rng, fractions=fractions)["split"]
    except StudyTableError:
        if not unsplit:
            return studies  # equal files may be too many to keep together: `decode` names them
        dealt = split_by_patient(learn, rng=rng, fractions=fractions)["split"]
    done = studies.assign(split=dealt.reindex(studies.index, fill_value="").where(
        part, studies["split"]))  # fmt: skip
    how = "no splits given: split by patient, 70 : 15 : 15" if unsplit else \
        "no val given: 15 % of the patients of train became val"  # fmt: skip
    return note(done, how)


def _joined(studies: pd.DataFrame) -> list[str]:
    """Return the patient of each image, one name for all patients who share equal files."""
    patients = studies["patient_id"].tolist()
    other: dict[str, str] = {}

    def root(name: str) -> str:
        while name in other:
            name = other[name]
        return name

    for group in equal_files(studies["path"]):
        first = root(patients[group[0]])
        for row in group[1:]:
            name = root(patients[row])
            if name != first:
                other[name] = first
    return [root(name) for name in patients]


def subsample(
    studies: pd.DataFrame, sizes: Mapping[str, int], *, rng: np.random.Generator,
    balanced: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Take a smaller set: so many images of each split, of as many patients as possible.

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
        Take the same number from each class instead of keeping the class frequencies.

    Returns
    -------
    DataFrame
        The chosen rows, in the order of the input.

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
                f"cannot take {size} images of split '{split}': the table has {len(rows)} there; "
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

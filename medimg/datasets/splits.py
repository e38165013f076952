"""Split by patient, never by image; take small sets without tearing patients apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medimg.datasets.names import ranked
from medimg.datasets.tables import SPLITS, note, require_columns
from medimg.errors import StudyTableError
from medimg.storage import equal_files

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
    wanted = sum(f > 0 for f in fractions)
    home: dict[str, str] = {}
    for label, people in label_of.groupby(label_of):
        if len(people) < wanted:
            what = f"class '{label}' has {len(people)} patient(s), too few for {wanted} splits"
            raise StudyTableError(f"{what}; bring more patients or set a fraction to 0.")
        counts = np.array([max(round(f * len(people)), int(f > 0)) for f in fractions])
        counts[np.argmax(counts)] += len(people) - counts.sum()
        patients = rng.permutation(people.index.to_numpy(dtype=object))
        home.update(zip(patients, np.repeat(SPLITS, counts).tolist(), strict=True))
    return studies.assign(split=[home[p] for p in studies["patient_id"]])


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
    unsplit, part = (studies["split"] == "").all(), studies["split"].isin(("", "train"))
    if (studies["split"] == "val").any() or not part.any():
        return studies
    learn, rng = studies[part], np.random.default_rng(_SEED)
    fractions = (0.7, 0.15, 0.15) if unsplit else (0.85, 0.15, 0.0)
    try:
        dealt = split_by_patient(_joined(learn), rng=rng, fractions=fractions)["split"]
    except StudyTableError:
        if not unsplit:
            return studies  # equal files may be too many to keep together: `decode` names them
        dealt = split_by_patient(learn, rng=rng, fractions=fractions)["split"]
    how = "no splits given: split by patient, 70 : 15 : 15" if unsplit else \
        "no val given: 15 % of the patients of train became val"  # fmt: skip
    return note(studies.assign(split=studies["split"].where(~part, dealt)), how)


def _joined(studies: pd.DataFrame) -> pd.DataFrame:
    """Return the table with one name for all patients who share equal files."""
    codes, names = pd.factorize(studies["patient_id"])
    pairs = [(codes[g[0]], codes[row]) for g in equal_files(studies["path"]) for row in g[1:]]
    first, other = np.array(pairs, int).reshape(-1, 2).T
    shared = coo_array((np.ones(len(first)), (first, other)), shape=(len(names), len(names)))
    group = connected_components(shared, directed=False)[1]
    leader = pd.Series(names).groupby(group).transform("first")
    return studies.assign(patient_id=leader.to_numpy()[codes])


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
            what = f"cannot take {size} images of split '{split}': the table has {len(rows)}"
            raise StudyTableError(f"{what}; ask for a split that exists and for 0 or more images.")
        classes = list(rows.groupby("label"))
        images = np.cumsum([1 if balanced else len(of_class) for _, of_class in classes])
        # Rounding cumulative shares makes the class counts sum to the size exactly.
        ends = [round(size * float(share)) for share in images / images[-1]]
        for (_, of_class), count in zip(classes, np.diff(ends, prepend=0), strict=True):
            shuffled = of_class.iloc[rng.permutation(len(of_class))]
            turn = shuffled.groupby("patient_id").cumcount()  # one image of each before a second
            keep += list(turn.sort_values(kind="stable").index[:count])
    return studies.loc[sorted(keep)].reset_index(drop=True)

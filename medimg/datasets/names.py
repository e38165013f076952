"""What names mean: which class is healthy, which grades have an order, which split a word means.

The words are rows of ``words.csv``, by kind: names of the ``healthy`` class, words that a name for
it begins or ends with, and a ``prefix`` before another class's name that says so; each ``grade``, a
pattern and its place on the ladder of severity, the first that fits, and words before a number by
which grades are ``counted``; words for a ``split``, and the ``filler`` that may stand beside them;
names of columns in public tables, small and without blanks, the best first; the ``layout`` of
folders, the most telling first; publishers' names for a file of a ``patient``; names of masks.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medimg.errors import StudyTableError

_ROWS = pd.read_csv(Path(__file__).with_name("words.csv"), dtype=str, keep_default_na=False)
WORDS = {str(kind): dict(rows.iloc[:, 1:].to_numpy()) for kind, rows in _ROWS.groupby("kind")}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # NonTB, non-TB and NON_TB: non, tb
_NUMBER = re.compile(rf"(?:(?i:{'|'.join(WORDS['counted'])})[\W_]*)?([+-]?\d+(?:\.\d*)?)")


def split_word(name: str) -> str:
    """Return the split that a word means ("train", "val", "test"), or "".

    Examples
    --------
    >>> split_word("train_images"), split_word("Validation"), split_word("external_test")
    ('train', 'val', '')
    """
    words = [word for word in re.findall("[a-z]+", name.lower()) if word not in WORDS["filler"]]
    return WORDS["split"].get(words[0], "") if len(words) == 1 else ""


def plain(name: str) -> str:
    """Return a name in small letters and digits only."""
    return re.sub(r"[\W_]+", "", name).lower()


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 'stage 10' after 'stage 9'.

    Examples
    --------
    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
    """
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(int(p), "") if p.isdecimal() else (-1, p.lower()) for p in parts] + [(-2, name)]


def require(studies: pd.DataFrame, columns: Iterable[str], name: str = "study table") -> None:
    """Raise a StudyTableError that names the columns which a table lacks."""
    if missing := ", ".join(c for c in columns if c not in studies):
        needed = ", ".join(columns)
        raise StudyTableError(f"{name}: missing column(s) {missing}; expected {needed}.")


def class_names(
    studies: pd.DataFrame, *, classes: Sequence[str] | None = None, ordinal: bool | None = None
) -> tuple[str, ...]:
    """Return the labels of a study table, the healthy class first.

    The order decides what "positive" means, so it must not depend on the alphabet. If ``classes``
    are given, here or to :func:`load`, that is the order. Otherwise numbers and named grades
    (No_DR, Mild, Moderate, ...) rise. Of other names, one that the field uses for "nothing found"
    is first (normal, healthy, negative, control, ...), then those that say so with more words (no
    finding, non-COVID, not fractured, uninfected), then benign, then the others by name.

    Parameters
    ----------
    studies : DataFrame
        A study table; only ``label`` is looked at.
    classes : sequence of str, optional
        All classes in order, the healthy one first.
    ordinal : bool, optional
        True: the classes must be grades whose order is known.

    Returns
    -------
    tuple of str
        K class names; index 0 is the healthy class where one could be told.

    Raises
    ------
    StudyTableError
        If the table has no labels, if it is not known which of two classes is the healthy one, if
        a label is none of the classes given, or if `ordinal` is asked of names whose order is not
        known.

    Examples
    --------
    >>> class_names(pd.DataFrame({"label": ["glioma", "notumor", "meningioma"]}))
    ('notumor', 'glioma', 'meningioma')
    >>> class_names(pd.DataFrame({"label": ["Severe", "No_DR", "Mild", "Moderate"]}))
    ('No_DR', 'Mild', 'Moderate', 'Severe')
    """
    require(studies, ["label"])
    given = tuple(classes or studies.attrs.get("classes", ()))
    names = given or ranked(studies["label"])
    twice = [name for name in given if given.count(name) > 1]
    for wrong in (*sorted({*studies["label"].astype(str)} - {*names}), *twice):
        what = f"the label '{wrong}' is none of the classes given ({', '.join(given)})"
        raise StudyTableError(f"{what}, or is twice; name each once, the healthy one first.")
    if ordinal and not given and not is_ordinal(names):
        what = f"the order of the grades {', '.join(names)} is not known"
        raise StudyTableError(f"{what}; give it, lowest first: --classes {','.join(names)}.")
    if len(names) == 2 and not given and healthy_class(names) is None:
        one, other = names
        count, verb = ("both", "read") if ranks(names)[one] < 3 else ("neither", "reads")
        what = f"{count} of the classes '{one}' and '{other}' {verb} as healthy"
        fix = f"give the healthy one first, with classes= (--classes '{one},{other}')"
        raise StudyTableError(f"{what}; {fix}.")
    return names


def ranked(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the different labels in the order of `class_names`, without a word on doubts."""
    names = sorted({str(label) for label in labels})
    order: Mapping[str, float] = _steps(names) or ranks(names)
    return tuple(sorted(names, key=lambda name: (order[name], natural(name))))


def is_ordinal(names: Sequence[str]) -> bool:
    """Return whether three or more names are grades in a known order.

    Parameters
    ----------
    names : sequence of str
        Class names.

    Returns
    -------
    bool
        True for numbers, and for words of severity.

    Examples
    --------
    >>> is_ordinal(["0", "1", "2"]), is_ordinal(["glioma", "notumor", "pituitary"])
    (True, False)
    """
    return len(names) > 2 and bool(_steps(names))


def healthy_class(names: Sequence[str]) -> str | None:
    """Return the one name that reads as healthy, or None if none or several do.

    Examples
    --------
    >>> healthy_class(["COVID", "non-COVID"]), healthy_class(["buckle", "displaced"])
    ('non-COVID', None)
    """
    rank = ranks(names)
    best = [name for name in names if rank[name] == min(2, *rank.values())]
    return best[0] if len(best) == 1 and best[0] == ranked(names)[0] else None


def ranks(names: Iterable[str]) -> dict[str, int]:
    """Return 0 for a word for healthy, 1 for a name that says so, 2 for benign, 3 for others."""
    found = {}
    opposites = {prefix + plain(name) for name in names for prefix in WORDS["prefix"]}
    for name in names:
        words = [word.lower() for word in _WORD.findall(name)] or [""]
        whole = name.lower() in WORDS["healthy"] or "".join(words) in WORDS["healthy"]
        told = words[0] in WORDS["healthy first"] or words[-1] in WORDS["healthy last"]
        told = told or plain(name) in opposites
        found[name] = 0 if whole else 1 if told else 2 if "benign" in words else 3
    return found


def _steps(names: Sequence[str]) -> dict[str, float]:
    """Return the place of each grade where all names are numbers or words of severity, else {}."""
    numbers = {name: found[1] for name in names if (found := _NUMBER.fullmatch(name))}
    rungs = {name: "0" if rank < 2 else _rung(name) for name, rank in ranks(names).items()}
    for steps in (numbers, rungs):
        known = {name: float(step) for name, step in steps.items() if step}
        if len(set(known.values())) == len(names) > 1:
            return known
    return {}


def _rung(name: str) -> str:
    """Return the place of a word such as 'moderate' on the ladder of severity."""
    words = " ".join(word.lower() for word in _WORD.findall(name))
    return next((rung for word, rung in WORDS["grade"].items() if re.search(word, words)), "")

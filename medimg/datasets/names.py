"""What names mean: which class is healthy, which grades have an order, which split a word means.

The words are rows of ``words.csv``, by kind: names of the ``healthy`` class, words that a name for
it begins or ends with, and a ``prefix`` before another class's name that says so; each ``grade``, a
pattern and its place on the ladder of severity, the first that fits; words for a ``split``, and the
``filler`` that may stand beside them; names of columns in public tables, small and without blanks,
the best first; the ``layout`` of folders, the most telling first; publishers' names for a file of a
``patient``; and names of masks.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from medimg.errors import StudyTableError

_ROWS = pd.read_csv(Path(__file__).with_name("words.csv"), dtype=str, keep_default_na=False)
WORDS: dict[str, dict[str, str]] = defaultdict(dict)
for _kind, _word, _means in _ROWS.to_numpy():
    WORDS[_kind][_word] = _means
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # NonTB, non-TB and NON_TB: non, tb
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


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


def spelling(label: str) -> str:
    """Return what two spellings of one class share; a sign, as in HER2+ and HER2-, is kept."""
    return re.sub(r"[\s_.]+|-(?=\w)", "", unicodedata.normalize("NFKC", label).casefold())


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 'stage 10' after 'stage 9'.

    Examples
    --------
    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
    """
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(int(p), "") if p.isdecimal() else (-1, p.lower()) for p in parts] + [(-2, name)]


def spelled_twice(labels: pd.Series[str]) -> Iterator[str]:
    """Yield a sentence on each class that is spelled in two ways, with how often each occurs."""
    for _, several in labels.value_counts().groupby(spelling):
        listed = ", ".join(f"'{s}' ({several[s]} images)" for s in sorted(several.index))
        if len(several) > 1:
            yield f"one class is spelled in {len(several)} ways: {listed}; give it one spelling"


def class_names(studies: pd.DataFrame, *, ordinal: bool | None = None) -> tuple[str, ...]:
    """Return the labels of a study table, the healthy class first.

    The order decides what "positive" means, so it must not depend on the alphabet. If
    :func:`load` was given ``classes``, that is the order. Otherwise numbers and named grades
    (No_DR, Mild, Moderate, ...) rise. Of other names, one that the field uses for "nothing found"
    is first (normal, healthy, negative, control, ...), then those that say so with more words (no
    finding, non-COVID, not fractured, uninfected), then benign, then the others by name.

    Parameters
    ----------
    studies : DataFrame
        A study table; only ``label`` is looked at.
    ordinal : bool, optional
        True: the classes must be grades whose order is known.

    Returns
    -------
    tuple of str
        K class names; index 0 is the healthy class where one could be told.

    Raises
    ------
    StudyTableError
        If the table has no labels, if it is not known which of two classes is the healthy one, or
        if `ordinal` is asked of names whose order is not known.

    Examples
    --------
    >>> class_names(pd.DataFrame({"label": ["glioma", "notumor", "meningioma"]}))
    ('notumor', 'glioma', 'meningioma')
    >>> class_names(pd.DataFrame({"label": ["Severe", "No_DR", "Mild", "Moderate"]}))
    ('No_DR', 'Mild', 'Moderate', 'Severe')
    """
    if "label" not in studies:
        raise StudyTableError("study table: missing column(s) label; expected one label per image.")
    given = tuple(studies.attrs.get("classes", ()))
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
    order, rank, steps = ranked(names), ranks(names), _steps(names)
    if len(order) == 2 and (steps or rank[order[0]] == rank[order[1]]):
        told = (rank[order[0]] < 3 or not _NUMBER.fullmatch(order[0])) if steps else False
    else:
        told = any(rank[name] < 3 for name in order[:1])
    return order[0] if told else None


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
    """Return the place of each grade where all names are grades, else nothing."""
    if all(map(_NUMBER.fullmatch, names)):
        return {name: float(name) for name in names}
    words = {re.sub(r"[\d\W_]+|(IV|I{1,3}|V)$", "", name).lower() for name in names}
    counted = len(words) == 1 and words <= WORDS["counted"].keys()
    rungs = {name: "0" if rank < 2 else _rung(name) for name, rank in ranks(names).items()}
    numbered = counted or all(name[0].isdecimal() for name in names)
    for steps in (rungs, {name: _numbered(name) for name in names if numbered}):
        known = {name: float(step) for name, step in steps.items() if step}
        if len(set(known.values())) == len(names) > 1:
            return known
    return {}


def _rung(name: str) -> str:
    """Return the place of a word such as 'moderate' on the ladder of severity."""
    words = " ".join(word.lower() for word in _WORD.findall(name))
    return next((rung for word, rung in WORDS["grade"].items() if re.search(word, words)), "")


def _numbered(name: str) -> str:
    """Return the number of 'stage 2', 'Grade_III' or '2_moderate'."""
    roman = re.search(r"(?<![A-Z])(IV|I{1,3}|V)$", name)
    digits = re.search(r"^\d+|\d+$", name)
    return WORDS["roman"][roman[0]] if roman else digits[0] if digits else ""

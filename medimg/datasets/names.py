"""What the names of classes and splits mean: which class is healthy, which grades have an order."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from medimg.errors import StudyTableError

_WHOLE = {"normal", "healthy", "clear", "none", "negative", "neg", "n", "control", "controls",
          "notumor", "nofinding", "absent", "cn", "nc", "hc", "0", "false"}  # fmt: skip
_FIRST = {"normal", "healthy", "negative", "control", "no", "non", "not", "without", "unaffected",
          "uninfected", "unremarkable"}  # fmt: skip
_LAST = {"negative", "neg"}
_PREFIXES = ("no", "non", "not", "un")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # NonTB, non-TB and NON_TB: non, tb
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")
_RUNGS = (
    (r"\bvery ?mild|\bminimal|\bdoubtful|\bquestionable|\blow\b", 1), (r"\bmild", 2),
    (r"\bvery ?severe|\bprolif|\bcritical|\bpdr\b", 6), (r"\bmoderate|\bmedium|\bintermediate", 3),
    (r"\bsevere", 4), (r"\bhigh\b", 5),
)  # fmt: skip
_COUNTED = {"stage", "grade", "level", "birads", "kl", "klgrade", "score", "degree"}
_ROMAN = ("I", "II", "III", "IV", "V")
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "holdout"), "test"),
}
_FILLERS = {"image", "images", "img", "imgs", "data", "dataset", "set", "split", "stage", "folder"}


def split_word(name: str) -> str:
    """Return the split that a word means ("train", "val", "test"), or "".

    Examples
    --------
    >>> split_word("train_images"), split_word("Validation"), split_word("external_test")
    ('train', 'val', '')
    """
    words = [word for word in re.findall(r"[a-z]+", name.lower()) if word not in _FILLERS]
    return _SPLITS.get(words[0], "") if len(words) == 1 else ""


def plain(name: str) -> str:
    """Return a name in small letters and digits only."""
    return re.sub(r"[\W_]+", "", name).lower()


def spelling(label: str) -> str:
    """Return what two spellings of one class share; a sign, as in HER2+ and HER2-, is kept."""
    return re.sub(r"[\s_.]+|-(?=\w)", "", unicodedata.normalize("NFKC", label).casefold())


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
    present = {str(label) for label in studies["label"]}
    names = tuple(studies.attrs.get("classes", ()))
    if names:
        wrong = [*sorted(present - {*names}), *(n for n in names if names.count(n) > 1)]
        if wrong:
            what = f"the label '{wrong[0]}' is none of the classes given ({', '.join(names)})"
            raise StudyTableError(f"{what}, or is twice; name each once, the healthy one first.")
        return names
    names = ranked(present)
    if ordinal and not is_ordinal(names):
        what = f"the order of the grades {', '.join(names)} is not known"
        raise StudyTableError(f"{what}; give it, lowest first: --classes {','.join(names)}.")
    if len(names) == 2 and healthy_class(names) is None:
        pair = "' and '".join(names)
        told = any(_rank(name, names) < 3 for name in names)
        count, verb = ("both", "read") if told else ("neither", "reads")
        fix = f"give the healthy one first, with classes= (--classes '{','.join(names)}')"
        raise StudyTableError(f"{count} of the classes '{pair}' {verb} as healthy; {fix}.")
    return names


def ranked(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the different labels in the order of `class_names`, without a word on doubts."""
    names = sorted({str(label) for label in labels})
    steps = _steps(names)
    if steps:
        return tuple(sorted(names, key=lambda name: steps[name]))
    return tuple(sorted(names, key=lambda name: (_rank(name, names), natural(name))))


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 'stage 10' after 'stage 9'.

    Examples
    --------
    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
    """
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(int(p), "") if p.isdecimal() else (-1, p.lower()) for p in parts] + [(-2, name)]


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
    steps = _steps(names)
    if steps:
        lowest = min(names, key=lambda name: steps[name])
        told = _rank(lowest, names) < 3 or (len(names) == 2 and not _NUMBER.fullmatch(lowest))
        return lowest if told else None
    ranks = sorted((_rank(name, names), name) for name in names)
    unique = len(ranks) < 2 or ranks[0][0] < ranks[1][0]
    return ranks[0][1] if ranks and ranks[0][0] < 3 and (unique or len(names) > 2) else None


def _steps(names: Sequence[str]) -> dict[str, float]:
    """Return the place of each grade where all names are grades, else nothing."""
    if all(_NUMBER.fullmatch(name) for name in names):
        return {name: float(name) for name in names}
    words = {re.sub(r"[\d\W_]+|(IV|I{1,3}|V)$", "", name).lower() for name in names}
    counted = (len(words) == 1 and words <= _COUNTED) or all(name[0].isdecimal() for name in names)
    rungs = {name: _rung(name, names) for name in names}
    for steps in (rungs, {name: _numbered(name) for name in names}) if counted else (rungs,):
        known = {name: float(step) for name, step in steps.items() if step is not None}
        if len(set(known.values())) == len(names) > 1:
            return known
    return {}


def _rung(name: str, names: Sequence[str]) -> int | None:
    """Return the place of a word such as 'moderate' on the ladder of severity."""
    words = " ".join(word.lower() for word in _WORD.findall(name))
    found = (rung for pattern, rung in _RUNGS if re.search(pattern, words))
    return 0 if _rank(name, names) < 2 else next(found, None)


def _numbered(name: str) -> int | None:
    """Return the number of 'stage 2', 'Grade_III' or '2_moderate'."""
    roman = re.search(r"(?<![A-Z])(IV|I{1,3}|V)$", name)
    digits = re.search(r"^\d+|\d+$", name)
    return _ROMAN.index(roman[0]) + 1 if roman else int(digits[0]) if digits else None


def _rank(name: str, names: Iterable[str]) -> int:
    """Return 0 for a word for healthy, 1 for a name that says so, 2 for benign, 3 for others."""
    words = [word.lower() for word in _WORD.findall(name)]
    if name.lower() in _WHOLE or "".join(words) in _WHOLE or name in ("0.0", "00"):
        return 0
    opposites = {prefix + plain(other) for other in names for prefix in _PREFIXES}
    if plain(name) in opposites or (words and (words[0] in _FIRST or words[-1] in _LAST)):
        return 1
    return 2 if "benign" in words else 3

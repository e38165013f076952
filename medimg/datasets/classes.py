"""Which class is the healthy one: it must be index 0, or sensitivity and specificity swap."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

import pandas as pd

from medimg.datasets.tables import require_columns

logger = logging.getLogger(__name__)

_WHOLE = {"normal", "healthy", "clear", "none", "negative", "neg", "control", "controls", "notumor",
          "nofinding", "0", "false"}  # fmt: skip
_FIRST = {"normal", "healthy", "negative", "control", "no", "non", "not", "without", "unaffected",
          "uninfected", "unremarkable"}  # fmt: skip
_LAST = {"negative", "neg"}
_PREFIXES = ("no", "non", "not", "un")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")  # NonTB, non-TB and NON_TB: non, tb


def class_names(studies: pd.DataFrame) -> tuple[str, ...]:
    """Return the labels of a study table, the healthy class first.

    The order decides what "positive" means, so it must not hang on the alphabet. First comes a
    name that the field uses for "nothing found" (normal, healthy, negative, control, ...), then
    names that say so with more words (no finding, non-COVID, NonDemented, not fractured,
    uninfected, COVID negative, or another class with such a prefix); the others follow in
    alphabetical order. Where none of two names, or both, read as healthy, the log warns which one
    is taken.

    Parameters
    ----------
    studies : DataFrame
        A study table; only ``label`` is looked at.

    Returns
    -------
    tuple of str
        K class names; index 0 is the healthy class where one could be told.

    Raises
    ------
    StudyTableError
        If the table has no labels.

    Examples
    --------
    >>> class_names(pd.DataFrame({"label": ["glioma", "notumor", "meningioma"]}))
    ('notumor', 'glioma', 'meningioma')
    >>> class_names(pd.DataFrame({"label": ["COVID", "non-COVID"]}))
    ('non-COVID', 'COVID')
    """
    require_columns(studies, ["label"])
    names = ranked(studies["label"])
    healthy = [name for name in names if _rank(name, names) < 2]
    if len(names) == 2 and len(healthy) != 1:
        logger.warning(
            "%s of the classes '%s' and '%s' reads as healthy: the first is taken for it, the "
            "second for the disease. If it is the other way round, call the healthy one 'normal' "
            "(its folder, or its label in the table).",
            "Each" if healthy else "None", *names,
        )  # fmt: skip
    return names


def ranked(labels: Iterable[object]) -> tuple[str, ...]:
    """Return the different labels in the order of `class_names`, without a word on doubts."""
    names = sorted({str(label) for label in labels})
    return tuple(sorted(names, key=lambda name: (_rank(name, names), name)))


def _rank(name: str, names: Iterable[str]) -> int:
    """Return 0 for a name that is a word for healthy, 1 for one that says so, 2 for others."""
    words = [word.lower() for word in _WORD.findall(name)]
    if name.lower() in _WHOLE or "".join(words) in _WHOLE:
        return 0
    if words and (words[0] in _FIRST or words[-1] in _LAST):
        return 1
    whole = _plain(name)
    opposites = {prefix + _plain(other) for other in names for prefix in _PREFIXES}
    return 1 if whole in opposites else 2


def _plain(name: str) -> str:
    """Return a name in small letters and digits only."""
    return re.sub(r"[\W_]+", "", name).lower()

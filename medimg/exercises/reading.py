"""Read whatever a learner typed: is it blank, what is it in plain words, what is its value."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Why an answer cannot be read, in words for the learner."""

    text: str


class _Blank:
    """The one value that stands for 'nothing filled in yet'."""


BLANK = _Blank()


def is_blank(answer: object) -> bool:
    """Say whether an answer is still the blank: ``...``, None, an empty text or an empty list."""
    if answer is ... or answer is None or answer is BLANK:
        return True
    if isinstance(answer, str):
        return answer.strip() in {"", "...", "…"}
    if isinstance(answer, list | tuple | dict | set):
        items = answer.values() if isinstance(answer, dict) else answer
        return all(item is ... or item is None for item in items)
    return False


def plain(answer: Any) -> Any:
    """Return an estimate's value, a tensor as an array, and a one-element array as its element."""
    if callable(getattr(answer, "detach", None)):
        answer = np.asarray(answer.detach().cpu())
    if hasattr(answer, "low") and hasattr(answer, "high") and hasattr(answer, "value"):
        answer = answer.value
    if isinstance(answer, np.ndarray) and answer.size == 1:
        return answer.reshape(-1)[0].item()
    return answer.item() if isinstance(answer, np.generic) else answer


def describe(answer: object) -> str:
    """Name an answer in a few words: ``the text 'abc'``, ``a list of 3``.

    Examples
    --------
    >>> describe([1, 2, 3]), describe("0.5"), describe(abs)
    ('a list of 3', "the text '0.5'", 'a function')
    """
    if isinstance(answer, str):
        return f"the text '{answer[:40]}'"
    if isinstance(answer, bool | numbers.Number):
        return f"{answer}"
    if isinstance(answer, np.ndarray):
        return f"an array of shape {answer.shape}"
    if callable(answer):
        return "a function"
    size = f" of {len(answer)}" if hasattr(answer, "__len__") else ""
    kind = type(answer).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}{size}"

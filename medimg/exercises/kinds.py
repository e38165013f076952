"""What kind of answer an exercise asks for: how to read it, and when two answers are the same.

Each kind turns whatever a learner typed into a plain value, or raises a `Problem`: one sentence on
what was asked and what was given.
"""

import math
import numbers
from collections.abc import Callable, Sequence, Sized
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np


class Problem(Exception):  # noqa: N818 - it is the learner's, not the program's
    """Why an answer cannot be read, in words for the learner."""


def asked(what: str, answer: object, more: str = "") -> Problem:
    """Say what was asked, and what was given."""
    return Problem(f"This asks for {what}; you gave {describe(answer)}.{more}")


def is_blank(answer: object) -> bool:
    """Say whether an answer is still the blank: ``...``, None, an empty text or an empty list."""
    if isinstance(answer, str):
        return answer.strip() in {"", "...", "…"}
    if isinstance(answer, dict):
        answer = list(answer.values())
    items = answer if isinstance(answer, list | tuple | set) else [answer]
    return all(item is ... or item is None for item in items)


def plain(answer: Any) -> Any:
    """Return an estimate's value, a tensor as an array, and a one-element array as its element."""
    if hasattr(answer, "detach"):
        answer = np.asarray(answer.detach().cpu())
    if all(hasattr(answer, name) for name in ("low", "high", "value")):
        answer = answer.value
    alone = isinstance(answer, np.ndarray | np.generic) and answer.size == 1
    return answer.reshape(-1)[0].item() if alone else answer


def describe(answer: object) -> str:
    """Show a short answer as it is; name the type and the length of another.

    Examples
    --------
    >>> describe([1, 2, 3]), describe("0.5"), describe([0] * 50)
    ('[1, 2, 3]', "'0.5'", 'a value of type list and length 50')
    """
    text = repr(answer)
    if len(text) <= 60 and text.isprintable() and " at 0x" not in text:
        return text
    length = f" and length {len(answer)}" if isinstance(answer, Sized) else ""
    return f"a value of type {type(answer).__name__}{length}"


class Kind:
    """A kind of answer; the subclasses below say how to read and compare."""

    def read(self, answer: Any) -> Any:
        """Return the plain value; raise a Problem if there is none."""
        raise NotImplementedError

    def same(self, value: Any, reference: Any) -> bool:
        """Say whether a value that `read` returned equals the reference."""
        return bool(value == reference)

    def resolve(self, reference: Callable[..., Any], context: dict[str, Any]) -> Any:
        """Compute the reference from the data that the notebook passed to the check."""
        return reference(**context)

    def doubt(self, value: Any, reference: Any) -> str:
        """Return a hint that holds for every wrong answer of this kind, or nothing.

        The reference is there to find *where* an answer goes wrong, never to be shown.
        """
        return ""


@dataclass(frozen=True)
class Number(Kind):
    """One finite number, right within ``tolerance`` (in its own units); ``low <= it <= high``."""

    tolerance: float = 0.005
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""

    def read(self, answer: Any) -> Any:
        """Return the plain value; raise a Problem if there is none."""
        value = plain(answer)
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            what = f"a number in {self.unit}" if self.unit else "a number"
            raise asked(what, value, _advice(value))
        if not math.isfinite(value):
            raise Problem(
                f"You gave {value}, which is not a finite number: look for a division by zero, or "
                "for missing values on the way."
            )
        return float(value)

    def doubt(self, value: Any, reference: Any) -> str:
        """Say that the value is out of range, or looks like a percentage."""
        if self.low <= value <= self.high:
            return ""
        if (self.low, self.high) == (0, 1) and 1 < value <= 100:
            return f"{value:g} looks like a percentage: give a fraction between 0 and 1."
        return f"{value:g} cannot be: the answer lies between {self.low:g} and {self.high:g}."

    def same(self, value: Any, reference: Any) -> bool:
        """Compare within the tolerance."""
        return bool(abs(value - float(reference)) <= self.tolerance * (1 + 1e-9))


def _advice(value: object) -> str:
    """Say how to turn what was typed into a number."""
    if isinstance(value, str):
        return " Write it without quotes."
    if callable(value):
        return " Call it: add the brackets and what goes in."
    if isinstance(value, tuple) and len(value) == 2 and all(type(v) is int for v in value):
        return f" In Python the decimal mark is a point: {value[0]}.{value[1]}."
    return ""


class Choices(Kind):
    """Any number of several letters, upper or lower case, in any order: ``["a", "c"]``."""

    def __init__(self, *options: str) -> None:
        self.options = options

    def read(self, answer: Any) -> Any:
        """Return the plain value; raise a Problem if there is none."""
        given = answer.replace(",", " ").split() if isinstance(answer, str) else answer
        if not isinstance(given, list | tuple | set | frozenset):
            raise asked('a list of letters, such as ["a"]', answer)
        letters = {str(one).strip().lower().rstrip(").") for one in given}
        if strange := sorted(letters.difference(self.options)):
            listed = ", ".join(f'"{option}"' for option in self.options)
            raise asked(f"letters out of {listed}", strange[0])
        return frozenset(letters)


@dataclass(frozen=True)
class Function(Kind):
    """The learner's own function, tried on ``cases`` (each a tuple of arguments).

    The reference, and each mistake's ``like``, are functions too and are called on the same cases.
    """

    cases: Sequence[tuple[Any, ...]]
    tolerance: float = 1e-6

    def read(self, answer: Any) -> Any:
        """Return the plain value; raise a Problem if there is none."""
        if not callable(answer):
            raise asked("the function itself, by its name without brackets", answer)
        results = []
        for case in self.cases:
            try:
                # A copy: a function that alters its argument must not spoil the next case.
                results.append(plain(answer(*deepcopy(case))))
            except (Exception, SystemExit) as error:  # anything the learner's code may raise
                raise Problem(
                    f"Your function stopped with {type(error).__name__}: {error} - "
                    f"when it was called with ({_shown(case)})."
                ) from error
        return ... if all(is_blank(result) for result in results) else results

    def doubt(self, value: Any, reference: Any) -> str:
        """Name the first case that goes wrong, and what the learner's function gave there."""
        for case, given, wanted in zip(self.cases, value, reference, strict=True):
            if not _alike(given, wanted, self.tolerance):
                return (
                    f"Called with ({_shown(case)}), your function gave {describe(given)}, "
                    "which is wrong."
                )
        return ""

    def same(self, value: Any, reference: Any) -> bool:
        """Compare the results case by case."""
        return not self.doubt(value, reference)

    def resolve(self, reference: Callable[..., Any], context: dict[str, Any]) -> Any:
        """Call the reference on every case."""
        return [plain(reference(*deepcopy(case))) for case in self.cases]


@dataclass(frozen=True)
class Made(Kind):
    """Something that the learner made: a table, a file, a figure, a trained network.

    ``look`` takes it and returns what is to be judged, or raises a `Problem`. The exercise's
    ``expected`` takes that and the check's data, and says whether it is right.
    """

    what: str
    look: Callable[[Any], Any]

    def read(self, answer: Any) -> Any:
        """Return the plain value; raise a Problem if there is none."""
        try:
            return self.look(answer)
        except Problem:
            raise
        except Exception:  # not what was asked: it lacks a column, an attribute, a file
            raise asked(self.what, answer) from None

    def same(self, value: Any, reference: Any) -> bool:
        """Ask whether it is right."""
        return bool(reference(value))

    def resolve(self, reference: Callable[..., Any], context: dict[str, Any]) -> Any:
        """Give the question its data."""
        return partial(reference, **context)


def _shown(case: tuple[Any, ...]) -> str:
    return ", ".join(describe(argument) for argument in case)


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    """Compare two answers: numbers and arrays closely, all else exactly."""
    try:
        first, second = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    except (TypeError, ValueError):
        return type(one) is type(other) and bool(one == other)
    return first.shape == second.shape and np.allclose(first, second, 0, tolerance, equal_nan=True)

"""What kind of answer an exercise asks for: how to read it, and when two are the same.

Each kind turns whatever a learner typed into a plain value, or into a `Problem`: one sentence on
what was asked and what was given. Reading never raises. `many` holds the kinds with several values.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from medimg.exercises.reading import Problem, describe, plain


class Kind:
    """A kind of answer; the subclasses below say how to read and compare."""

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        raise NotImplementedError

    def same(self, value: Any, reference: Any) -> bool:
        """Say whether a value that `read` returned equals the reference."""
        return bool(value == reference)

    def keys(self, value: Any) -> tuple[str, ...]:
        """Return the texts under which a sealed reference may lie, the likeliest first."""
        return (str(value),)

    def resolve(self, reference: Callable[..., Any], context: dict[str, Any]) -> Any:
        """Compute the reference from the data that the notebook passed to the check."""
        return reference(**context)

    def doubt(self, value: Any, reference: Any = None) -> str:
        """Return a hint that holds for every wrong answer of this kind, or nothing.

        The reference is there to find *where* an answer goes wrong, never to be shown; it is None
        where it is sealed.
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
        """Return the plain value, BLANK, or a Problem."""
        value = plain(answer)
        asked = f"a number{f' in {self.unit}' if self.unit else ''}"
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            advice = " Write it without quotes." if isinstance(value, str) else ""
            if callable(value):
                advice = " Call it: add the brackets and what goes in."
            return Problem(f"This asks for {asked}; you gave {describe(value)}.{advice}")
        if not math.isfinite(value):
            return Problem(
                f"You gave {value}, which is not a finite number: look for a division by zero, "
                "or for missing values on the way."
            )
        return float(value)

    def doubt(self, value: Any, reference: Any = None) -> str:
        """Say that the value is out of range, or looks like a percentage."""
        if self.low <= value <= self.high:
            return ""
        if (self.low, self.high) == (0, 1) and 1 < value <= 100:
            return f"{value:g} looks like a percentage: give a fraction between 0 and 1."
        return f"{value:g} cannot be: the answer lies between {self.low:g} and {self.high:g}."

    def same(self, value: Any, reference: Any) -> bool:
        """Compare within the tolerance."""
        return bool(abs(value - float(reference)) <= self.tolerance * (1 + 1e-9))

    def keys(self, value: Any) -> tuple[str, ...]:
        """Return the step of the tolerance that the value falls in, and its neighbours."""
        # Neighbouring steps too: otherwise two answers a hair apart could round differently.
        step = round(value / (2 * self.tolerance))
        return (str(step), str(step - 1), str(step + 1))


@dataclass(frozen=True)
class Whole(Number):
    """One whole number, exactly right."""

    tolerance: float = 0.25

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        value = super().read(answer)
        if isinstance(value, float) and value != round(value):
            return Problem(f"This asks for a whole number (a count); you gave {value:g}.")
        return value

    def keys(self, value: Any) -> tuple[str, ...]:
        """Return the whole number."""
        return (str(round(value)),)


@dataclass(frozen=True)
class YesNo(Kind):
    """True or False."""

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        value = plain(answer)
        words = {"yes": True, "true": True, "no": False, "false": False}
        if isinstance(value, str):
            value = words.get(value.strip().lower(), value)
        if isinstance(value, bool):
            return value
        return Problem(f"This asks for True or False; you gave {describe(value)}.")


class Choice(Kind):
    """One of several letters or words; upper and lower case are the same."""

    def __init__(self, *options: str) -> None:
        self.options = options

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        text = str(answer).strip().lower().rstrip(").") if isinstance(answer, str) else None
        if text in {option.lower() for option in self.options}:
            return text
        listed = ", ".join(f'"{option}"' for option in self.options)
        return Problem(f"This asks for one of {listed}; you gave {describe(answer)}.")


class Choices(Choice):
    """Any number of several letters or words, in any order: ``["a", "c"]``."""

    def read(self, answer: Any) -> Any:
        """Return the plain value, BLANK, or a Problem."""
        if isinstance(answer, str):
            answer = [part for part in answer.replace(",", " ").split() if part]
        if not isinstance(answer, list | tuple | set | frozenset):
            given = describe(answer)
            return Problem(f'This asks for a list of letters, such as ["a"]; you gave {given}.')
        read = [super(Choices, self).read(item) for item in answer]
        problems = [item for item in read if isinstance(item, Problem)]
        return problems[0] if problems else frozenset(read)

    def keys(self, value: Any) -> tuple[str, ...]:
        """Return the letters in order."""
        return (" ".join(sorted(value)),)

"""Exercises of notebook 7, brain tumour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Choices, Exercise, Function, Mistake
from medimg.exercises.kinds import Kind, Problem

CASES = (
    (["p", "p", "q", "r"], [True, True, False, False]),
    (["p", "p", "q", "r"], [True, False, False, False]),
    (["s", "q", "s", "q", "r"], [True, False, False, True, True]),
    (["p"], [True]),
)


def _on_both(patients: Sequence[str], in_test: Sequence[bool]) -> set[str]:
    sides = [
        {p for p, t in zip(patients, in_test, strict=True) if bool(t) is s} for s in (False, True)
    ]
    return sides[0] & sides[1]


def leaked(patients: Sequence[str], in_test: Sequence[bool]) -> int:
    """Return how many patients are on both sides."""
    return len(_on_both(patients, in_test))


def in_the_test(patients: Sequence[str], in_test: Sequence[bool]) -> int:
    """Count everybody in the test set, as a wrong answer does."""
    return len({p for p, t in zip(patients, in_test, strict=True) if t})


def slices(patients: Sequence[str], in_test: Sequence[bool]) -> int:
    """Count slices instead of patients, as a wrong answer does."""
    return sum(p in _on_both(patients, in_test) for p in patients)


def _share(value: NDArray[np.bool_], patients: NDArray[Any]) -> float:
    return len(set(np.asarray(patients)[value])) / len(set(patients))


class Split(Kind):
    """True or False for each slice; right is every split by patient with a fair share in test."""

    def read(self, answer: Any) -> NDArray[np.bool_]:
        """Return the array; raise a Problem if it is none."""
        value = np.asarray(answer)
        if value.ndim != 1 or value.dtype != bool:
            raise Problem("Give one True or False per slice, in a list or an array.")
        return value

    def same(self, value: Any, reference: Any) -> bool:
        """Say whether nobody is on both sides and about a fifth of the patients are in test."""
        return (
            len(value) == len(reference)
            and not _on_both(reference.tolist(), value.tolist())
            and 0.1 <= _share(value, reference) <= 0.3
        )


EXERCISES = (
    Exercise(
        name="07-leaked",
        question="How many patients have slices on both sides of a split?",
        kind=Function(cases=CASES),
        expected=leaked,
        right="Run it on every split that you are given, your own among them.",
        hints=(
            "Collect the patients of the test slices in one set, and the others in another.",
            "The patients on both sides are the intersection: count `inside & outside`.",
        ),
        mistakes=(
            Mistake("These are all patients in the test set. Count those who are outside it too.",
                    like=in_the_test),
            Mistake("Count each patient once, however many slices.", like=slices),
        ),
    ),
    Exercise(
        name="07-split",
        question="Which slices are in the test set, if about a fifth of the patients are?",
        kind=Split(),
        expected=lambda patients: np.asarray(patients),
        right="Nobody is on both sides. Draw patients, never slices.",
        hints=(
            "Draw a fifth of the names of the patients, without replacement.",
            "`np.isin(data.patients, chosen)` says of each slice whether its patient was drawn.",
        ),
        mistakes=(
            Mistake("Give one value for each slice in `data`.",
                    when=lambda value, patients: len(value) != len(patients)),
            Mistake("Some patients are on both sides: draw patients instead of slices.",
                    when=lambda value, patients: bool(_on_both(list(patients), value.tolist()))),
            Mistake("Nobody is on both sides, but about a fifth of the patients should be in the test set.",
                    when=lambda value, patients: not 0.1 <= _share(value, patients) <= 0.3),
        ),
    ),
    Exercise(
        name="07-designs",
        question="Which designs leak, or cannot show that they do not?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: frozenset("ad"),
        right="In both, slices of one patient may be on both sides; nothing in the score shows it.",
        hints=(
            "Ask of each design: can a slice, or a copy of it, be in training and in test?",
            "Copies made after a split by patient stay on their side.",
        ),
        mistakes=(
            Mistake("In (b) whole patients are dealt out. That is what you should do.",
                    when=lambda value: "b" in value),
            Mistake("In (c) the split came first, so the copies stay with their patient.",
                    when=lambda value: "c" in value),
            Mistake("One of them is right. There is a second one.",
                    when=lambda value: value in (frozenset("a"), frozenset("d"))),
        ),
    ),
)  # fmt: skip

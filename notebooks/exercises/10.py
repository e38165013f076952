"""Exercises of notebook 10, COVID-19 and confounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medimg.exercises import Choices, Exercise, Mistake, Number

Turn = Callable[[float], dict[str, Any]]


def _gap(turn: Turn, dial: float = 0.9) -> float:
    found = turn(dial)
    return float(found["internal"].value - found["west"].value)


EXERCISES = (
    Exercise(
        name="10-dial",
        question="With the dial at 0.9, by how much does the internal AUC exceed the AUC at west?",
        kind=Number(tolerance=0.006, low=-1, high=1),
        expected=_gap,
        right="That gap is what the paper would not have shown: it needs images from elsewhere.",
        hints=(
            "`turn(0.9)` trains and tests; it returns a dictionary of estimates.",
            'An estimate has a `.value`: subtract that of "west" from that of "internal".',
        ),
        mistakes=(
            Mistake("Subtract the other way round: internal minus west.",
                    like=lambda turn: -_gap(turn)),
            Mistake("That is the gap with the dial at 1. Turn it to 0.9.",
                    like=lambda turn: _gap(turn, 1.0)),
            Mistake("That is the gap with the dial at 0. Turn it to 0.9.",
                    like=lambda turn: _gap(turn, 0.0)),
            Mistake("That is the internal AUC alone. Subtract the AUC at west.",
                    when=lambda value, turn: abs(value - turn(0.9)["internal"].value) < 0.006),
            Mistake("That is the AUC at west alone. Subtract it from the internal AUC.",
                    when=lambda value, turn: abs(value - turn(0.9)["west"].value) < 0.006),
        ),
    ),
    Exercise(
        name="10-designs",
        question="Which designs would show that the model learned the hospital?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: frozenset("bd"),
        right="Both break the tie between label and display, so the shortcut no longer pays.",
        hints=(
            "In which designs do an image with and one without COVID-19 come from the same machine?",
            "More images with the same tie between label and display cannot show it.",
        ),
        mistakes=(
            Mistake("In (a) the test images have the same tie between label and hospital as the "
                    "training images, however many there are.", when=lambda value: "a" in value),
            Mistake("In (c) the other hospital ties label and display in the same way: section 5 "
                    "shows what happens then.", when=lambda value: "c" in value),
            Mistake("One of them is right. There is a second one.",
                    when=lambda value: value in (frozenset("b"), frozenset("d"))),
        ),
    ),
)  # fmt: skip

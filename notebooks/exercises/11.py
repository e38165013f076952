"""Exercises of notebook 11, scale and the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medimg.exercises import Choices, Exercise, Mistake, Number

Reckon = Callable[..., Any]


def _usd(bill: Reckon, **other: Any) -> float:
    given = {"instance": "ml.g5.2xlarge", "size": 320, "megapixels": 4} | other
    return float(bill(40_000, **given).usd)


EXERCISES = (
    Exercise(
        name="11-bill",
        question="What does one fit of 40,000 radiographs cost on the GPU machine?",
        kind=Number(tolerance=0.01, low=0, high=1000, unit="dollars"),
        expected=_usd,
        right="Decoding files of 4 megapixels is a large part of it. Ten trials cost ten times that.",
        hints=(
            "`bill` takes the number of images, and by name `instance`, `size` and `megapixels`.",
            "The result has `.usd`, dollars, and `.hours`, the hours of each part.",
        ),
        mistakes=(
            Mistake("That is for images of 224 pixels. Give `size=320`.",
                    like=lambda bill: _usd(bill, size=224)),
            Mistake("That is for files of one megapixel. Give `megapixels=4`.",
                    like=lambda bill: _usd(bill, megapixels=1.0)),
            Mistake("That is the number of hours. Take `.usd`.",
                    like=lambda bill: sum(bill(40_000, instance="ml.g5.2xlarge", size=320,
                                               megapixels=4).hours.values())),
        ),
    ),
    Exercise(
        name="11-cloud",
        question="Which are needed before images of patients go to a cloud?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: frozenset("acd"),
        right="Permission, de-identification and the right place. Encryption comes on top of all three.",
        hints=(
            "Which of them would your data protection officer ask about?",
            "One of the four only makes the computation faster.",
        ),
        mistakes=(
            Mistake("(b) makes training faster; it protects nobody.",
                    when=lambda value: "b" in value),
            Mistake("Without (a) the provider may not hold the images, encrypted or not.",
                    when=lambda value: "a" not in value),
            Mistake("Without (c) every copy, log and mistake concerns a person who can be named.",
                    when=lambda value: "c" not in value),
            Mistake("Without (d) the images may lie where your agreement does not reach.",
                    when=lambda value: "d" not in value),
        ),
    ),
)  # fmt: skip

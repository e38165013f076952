"""Exercises of notebook 10, COVID-19 and confounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Made, Mistake, Problem

Image = NDArray[np.uint8]


def _both(answer: Any) -> tuple[float, float]:
    """Look at what `turn` returns: the internal AUC and that at west."""
    return float(answer["internal"].value), float(answer["west"].value)


def _is(pair: tuple[float, float], answer: Any) -> bool:
    return bool(np.allclose(pair, _both(answer), atol=1e-4))


def _image(answer: Any) -> Image:
    """Look at an image."""
    if answer.dtype != np.uint8 or answer.ndim != 2:
        raise Problem("Give one image: an array of uint8, (rows, columns).")
    if not answer.std():
        raise Problem("Nothing is left in this image: it is one grey throughout.")
    return answer


def _like(image: Image, target: Image) -> float:
    """Return the correlation with the image as it was; -1 for another shape."""
    if image.shape != target.shape:
        return -1.0
    return float(np.corrcoef(image.ravel(), target.ravel())[0, 1])


Scored = Callable[[Image], float]

EXERCISES = (
    Exercise(
        name="10-dial",
        question="Train with the dial at 0.9; what are the internal AUC and the AUC at west?",
        kind=Made("both estimates, as `turn` returns them", look=_both),
        expected=lambda pair, turn: _is(pair, turn(0.9)),
        right="The gap between the two is what the paper would not have shown: it needs images from "
        "elsewhere.",
        hints=(
            "`turn(...)` trains, tests, and returns both estimates.",
            "It takes the position of the dial, from 0 to 1.",
        ),
        mistakes=(
            Mistake(
                "That is one of the five positions in the table. Turn the dial to 0.9.",
                when=lambda value, curve: any(_is(value, row) for _, row in curve.iterrows()),
            ),
            Mistake(
                "Internal and west are swapped.",
                when=lambda value, turn: _is(value[::-1], turn(0.9)),
            ),
            Mistake("That is not what `turn(0.9)` returns.", when=lambda value: True),
        ),
    ),
    Exercise(
        name="10-hide",
        question="Change only the display of an image with COVID-19 until the network misses it.",
        kind=Made("one image: an array of uint8", look=_image),
        expected=lambda image, target, score_of: (
            _like(image, target) >= 0.7 and score_of(image) < 0.5
        ),
        right="The lungs are the same, and so is the patient. Which of your changes did it?",
        hints=(
            "What did the network learn to read as *no COVID-19*?",
            "`display_at(hospital, data.images[row], seed)` shows the image as any hospital would.",
        ),
        mistakes=(
            Mistake(
                "The image is as it was.",
                when=lambda value, target: np.array_equal(value, target),
            ),
            Mistake(
                "A doctor would no longer see the same: the correlation with `target` is below 0.7, "
                "or the shape is another. Change less.",
                when=lambda value, target: _like(value, target) < 0.7,
            ),
            Mistake(
                "The network still finds it. How does *south* show its images?",
                when=lambda value, score_of: score_of(value) >= 0.5,
            ),
        ),
    ),
)  # fmt: skip

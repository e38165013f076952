"""Exercises of notebook 6, ethics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Choice, Choices, Exercise, Function, Mistake, Number

Ints = NDArray[np.int64]
Z = 1.959964
SENSITIVITY, HALF_WIDTH, PREVALENCE = 0.85, 0.04, 0.08


def _patients() -> tuple[tuple[Ints, Ints, Ints], ...]:
    """Three small sets of patients: truth, prediction and group."""
    return tuple(
        (np.array(y), np.array(called), np.array(group))
        for y, called, group in (
            ([1, 1, 1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0, 1, 0, 0, 0], [0] * 6 + [1] * 4),
            ([1, 1, 0, 1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 1, 1, 0, 1], [0, 0, 0, 1, 1, 1, 1, 0, 1]),
            ([1, 0, 1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0, 0, 1]),
        )
    )


def _gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float(y_called[(y_true == 1) & (group == g)].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _swapped(y_true: Ints, y_called: Ints, group: Ints) -> float:
    return -_gap(y_true, y_called, group)


def _accuracy_gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float((y_true == y_called)[group == g].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _ppv_gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float(y_true[(y_called == 1) & (group == g)].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _over_everyone(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float((y_called * y_true)[group == g].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _positives_by_wilson(share: float = SENSITIVITY) -> int:
    """Fewest patients with disease for which Wilson's interval is narrow enough."""
    n = 1
    while True:
        inside = share * (1 - share) / n + Z**2 / (4 * n**2)
        if Z * math.sqrt(inside) / (1 + Z**2 / n) <= HALF_WIDTH:
            return n
        n += 1


def _recruited() -> int:
    return math.ceil(_positives_by_wilson() / PREVALENCE)


EXERCISES = (
    Exercise(
        name="06-pointing",
        question="Which of these can still identify the patient?",
        kind=Choices("a", "b", "c", "d", "e"),
        expected=lambda: {"a", "c", "e"},
        right="Time and place, a serial number and a UID can each be looked up in some archive. "
        "Thousands of patients share the tube voltage and the pixel spacing.",
        hints=(
            "For each, ask: does some archive store this entry together with a name?",
            "What thousands of patients have in common identifies none of them.",
        ),
        mistakes=(
            Mistake(
                "The tube voltage and the pixel spacing are settings of the machine: thousands of "
                "patients share them.",
                when=lambda value: bool(value & {"b", "d"}),
            ),
            Mistake(
                "Look again at the UID: to a stranger it means nothing, but the hospital's archive "
                "can find the study with it, and so the patient.",
                when=lambda value: value == {"a", "c"},
            ),
            Mistake(
                "An implant's serial number is registered with the patient's name. It identifies "
                "the patient in free text as well.",
                when=lambda value: value == {"a", "e"},
            ),
            Mistake(
                "Who was examined there at that minute? The hospital's schedule knows.",
                when=lambda value: "a" not in value and bool(value),
            ),
        ),
    ),
    Exercise(
        name="06-gap",
        question="What is the sensitivity in group 1 minus that in group 0?",
        kind=Function(cases=_patients(), tolerance=1e-6),
        expected=_gap,
        right="The usual formula, within each group. A report also needs the interval.",
        hints=(
            "Sensitivity counts only people with the disease, here those of one group.",
            "`(y_true == 1) & (group == 0)` selects the people with the disease in group 0; the "
            "mean of `y_called` there is the share that was found.",
        ),
        mistakes=(
            Mistake(
                "The size is right, but it has the wrong sign: compute group 1 *minus* group 0.",
                like=_swapped,
            ),
            Mistake(
                "That is the gap in accuracy: it also counts people without the disease.",
                like=_accuracy_gap,
            ),
            Mistake(
                "That is the gap in PPV, among positive predictions. Count people with disease.",
                like=_ppv_gap,
            ),
            Mistake(
                "You divide by everyone in the group. Divide by the number with the disease; "
                "otherwise a group with little disease looks bad for that reason alone.",
                like=_over_everyone,
            ),
        ),
    ),
    Exercise(
        name="06-recruit",
        question="How many patients must the study recruit?",
        # Rounding at either step may move the answer by 1 / PREVALENCE patients.
        kind=Number(tolerance=13, low=1, unit="patients"),
        expected=_recruited,
        right="Thousands of patients, for one number at one hospital. Studies with a few dozen "
        "patients with disease have wide intervals.",
        hints=(
            "Two steps: first the number of patients with disease, then the number to recruit.",
            "Use `wilson_half_width(0.85, n)` for many n, as above, and take the smallest n "
            "whose interval is narrow enough.",
            "If 8 in 100 have the disease, you recruit 100 / 8 patients for each of them.",
        ),
        mistakes=(
            Mistake(
                "That is the number of patients *with the disease*. The study also recruits the "
                "others: how many patients in total?",
                when=lambda value: abs(value - _positives_by_wilson()) <= 5,
            ),
            Mistake(
                "You multiplied by the prevalence: the study would recruit fewer patients than the "
                "number with disease that it needs. Divide.",
                when=lambda value: abs(value - _positives_by_wilson() * PREVALENCE) <= 2,
            ),
            Mistake(
                "That is for a sensitivity of 0.90; 0.85 needs more patients.",
                when=lambda value: abs(value - _positives_by_wilson(0.9) / PREVALENCE) <= 20,
            ),
            Mistake(
                "You divided by the share without the disease. Sensitivity needs those with it.",
                when=lambda value: abs(value - _positives_by_wilson() / (1 - PREVALENCE)) <= 5,
            ),
        ),
    ),
    Exercise(
        name="06-validation",
        question="Which kind of validation was this?",
        kind=Choice("a", "b", "c"),
        expected=lambda: "b",
        right="Another hospital, so it is external. The images are from before the network was "
        "fixed, so it is not prospective.",
        hints=(
            "Two questions: is it the same hospital? Did the patients come before or after?",
            "For the second, look at when the images were taken, not when they were selected.",
        ),
        mistakes=(
            Mistake(
                "Internal means the hospital of the training images. Which hospital was it here?",
                when=lambda value: value == "a",
            ),
            Mistake(
                "Prospective means patients who come after the network was fixed, by a plan "
                "written before. When were these images taken?",
                when=lambda value: value == "c",
            ),
        ),
    ),
)

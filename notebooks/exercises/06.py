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
    """Three small sets of patients: what is true, what was called, the group."""
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


def _ill_by_wilson(share: float = SENSITIVITY) -> int:
    """Fewest ill patients for which Wilson's interval is narrow enough."""
    n = 1
    while True:
        inside = share * (1 - share) / n + Z**2 / (4 * n**2)
        if Z * math.sqrt(inside) / (1 + Z**2 / n) <= HALF_WIDTH:
            return n
        n += 1


def _recruited() -> int:
    return math.ceil(_ill_by_wilson() / PREVALENCE)


EXERCISES = (
    Exercise(
        name="06-pointing",
        question="Which of these can still lead back to the patient?",
        kind=Choices("a", "b", "c", "d", "e"),
        expected=lambda: {"a", "c", "e"},
        right="A time and a place, a serial number and a UID each lead into somebody's archive; "
        "voltage and pixel spacing are shared by everyone who was filmed there.",
        hints=(
            "For each, ask: is there an archive in which this entry stands beside a name?",
            "What thousands of patients have in common points to none of them.",
        ),
        mistakes=(
            Mistake(
                "The tube voltage and the pixel spacing are settings of the machine: thousands of "
                "patients share them.",
                when=lambda value: bool(value & {"b", "d"}),
            ),
            Mistake(
                "Look again at the UID: it means nothing to a stranger, but the hospital's archive "
                "finds the study by it, and the patient with it.",
                when=lambda value: value == {"a", "c"},
            ),
            Mistake(
                "An implant's serial number is registered under its bearer's name, in free text as "
                "anywhere else.",
                when=lambda value: value == {"a", "e"},
            ),
            Mistake(
                "Who lay on the table there at that minute? The hospital's schedule knows.",
                when=lambda value: "a" not in value and bool(value),
            ),
        ),
    ),
    Exercise(
        name="06-gap",
        question="What is the sensitivity in group 1 minus that in group 0?",
        kind=Function(cases=_patients(), tolerance=1e-6),
        expected=_gap,
        right="The same formula as ever, within each group; now it wants an interval.",
        hints=(
            "Sensitivity looks at the ill only, here at the ill of one group.",
            "`(y_true == 1) & (group == 0)` picks the ill of group 0; the mean of `y_called` there "
            "is the share that was found.",
        ),
        mistakes=(
            Mistake("Right sizes, wrong sign: it is group 1 *minus* group 0.", like=_swapped),
            Mistake(
                "That is the gap in accuracy: it counts the healthy too. Look at the ill only.",
                like=_accuracy_gap,
            ),
            Mistake(
                "That is the gap in PPV: it starts from those who were called. Start from the ill.",
                like=_ppv_gap,
            ),
            Mistake(
                "You divide by everyone in the group. Divide by its ill: a group with few ill "
                "would look bad for that alone.",
                like=_over_everyone,
            ),
        ),
    ),
    Exercise(
        name="06-recruit",
        question="How many patients must the study recruit?",
        # Rounding at either step may move the answer by one ill patient's worth.
        kind=Number(tolerance=13, low=1, unit="patients"),
        expected=_recruited,
        right="Thousands, for one number at one hospital. Now you know why so many studies stop at "
        "a few dozen ill patients, and what their intervals hide.",
        hints=(
            "Two steps: first how many ill patients; then how many must come for that many ill.",
            "Use `wilson_half_width(0.85, n)` for many n, as above, and take the first that is "
            "narrow enough.",
            "If 8 in 100 are ill, each ill patient costs 100 / 8 patients.",
        ),
        mistakes=(
            Mistake(
                "So many *ill* patients, yes. But the ward sends you the others as well: how many "
                "must come for that many to be ill?",
                when=lambda value: abs(value - _ill_by_wilson()) <= 5,
            ),
            Mistake(
                "You multiplied by the prevalence: then fewer would be recruited than are needed "
                "ill. Divide.",
                when=lambda value: abs(value - _ill_by_wilson() * PREVALENCE) <= 2,
            ),
            Mistake(
                "That is for a sensitivity of 0.90; this study expects 0.85, which varies more.",
                when=lambda value: abs(value - _ill_by_wilson(0.9) / PREVALENCE) <= 20,
            ),
            Mistake(
                "You divided by the share of the healthy. Only the ill tell about sensitivity.",
                when=lambda value: abs(value - _ill_by_wilson() / (1 - PREVALENCE)) <= 5,
            ),
        ),
    ),
    Exercise(
        name="06-validation",
        question="Which kind of validation was this?",
        kind=Choice("a", "b", "c"),
        expected=lambda: "b",
        right="Another hospital, so it is external; films from the past, so nobody knows how it "
        "would do on the next patient through the door.",
        hints=(
            "Two questions: is it the same place? Did the patients come before or after?",
            "For the second, look at when the films were taken, not at when they were chosen.",
        ),
        mistakes=(
            Mistake(
                "Internal means the hospital that the network learned from. Which one was it here?",
                when=lambda value: value == "a",
            ),
            Mistake(
                "Prospective means patients who come after the network was fixed, by a plan "
                "written before. When were these films taken?",
                when=lambda value: value == "c",
            ),
        ),
    ),
)

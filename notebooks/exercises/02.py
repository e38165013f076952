"""Exercises of notebook 2, augment."""

from medimg.exercises import Choice, Choices, Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="02-plausible",
        question="Which changes could have happened to a hand radiograph?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "b", "d"},
        right="A mirrored left hand is a right hand, so here the flip is fair: plausibility "
        "depends on the image, not on the operation.",
        hints=(
            "Ask of each: could this film have been taken, and would it keep its label?",
            "What does a left hand become when it is mirrored?",
        ),
        mistakes=(
            Mistake(
                "Inverted films are set right when they are loaded, so the network never meets one "
                "in use: c teaches it a film that cannot come.",
                when=lambda value: "c" in value,
            ),
            Mistake(
                "Think again of the flip: a chest has its heart on one side, but what does a left "
                "hand become in the mirror?",
                when=lambda value: "a" not in value,
            ),
            Mistake(
                "No hand lies perfectly straight, and no two machines give one contrast.",
                when=lambda value: not {"b", "d"} <= set(value),
            ),
        ),
    ),
    Exercise(
        name="02-pixel",
        question="What becomes of a pixel of 0.8 under a slope of 1.5 and an offset of -0.1?",
        kind=Number(tolerance=0.004),
        expected=lambda: (0.8 - 0.5) * 1.5 + 0.5 - 0.1,
        right="The contrast turns about mid-grey: 0.5 would not have moved but for the offset.",
        hints=(
            "First the distance from 0.5, then the slope, then back, then the offset.",
            "0.8 lies 0.3 above mid-grey.",
        ),
        mistakes=(
            Mistake(
                "That multiplies the pixel itself. The slope turns about mid-grey: take 0.5 off "
                "first, and put it back after.",
                when=lambda value: abs(value - 1.1) < 0.004 or abs(value - 1.0) < 0.004,
            ),
            Mistake(
                "The 0.5 has to be put back after the slope.",
                like=lambda: 0.3 * 1.5 - 0.1,
            ),
            Mistake("The offset is negative: it darkens.", when=lambda value: value > 1.04),
            Mistake("The offset is still missing.", like=lambda: 0.3 * 1.5 + 0.5),
        ),
    ),
    Exercise(
        name="02-real",
        question="What does an interval of -0.01 to 0.09 say about a gain?",
        kind=Choice("a", "b", "c", "d"),
        expected=lambda: "c",
        right="More patients would narrow the interval; until then both stories fit.",
        hints=("An interval lists the true gains that the data do not contradict.",),
        mistakes=(
            Mistake(
                "A gain of zero, and even a small loss, lie within the interval: the data do not "
                "rule them out.",
                when=lambda value: value == "a",
            ),
            Mistake(
                "A gain of 0.09 lies within the interval as well: not seen is not the same as "
                "not there.",
                when=lambda value: value == "b",
            ),
            Mistake(
                "A difference can be negative: the second model may be the worse one.",
                when=lambda value: value == "d",
            ),
        ),
    ),
)

"""Exercises of notebook 2, augment."""

from medimg.exercises import Choice, Choices, Exercise, Mistake, Number

EXERCISES = (
    Exercise(
        name="02-plausible",
        question="Which changes are plausible for a hand radiograph?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "b", "d"},
        right="A mirrored left hand looks like a right hand, so here the flip is plausible. "
        "Plausibility depends on the image, not on the operation.",
        hints=(
            "For each change, ask: could this image have been taken, and is its label still right?",
            "What does a left hand look like when it is mirrored?",
        ),
        mistakes=(
            Mistake(
                "Inverted images are corrected when they are loaded, so the network never gets one "
                "in use: (c) trains it on images that it will not see.",
                when=lambda value: "c" in value,
            ),
            Mistake(
                "Think about the flip again: in a chest, the heart is on one side, but what does a "
                "mirrored left hand look like?",
                when=lambda value: "a" not in value,
            ),
            Mistake(
                "No hand lies perfectly straight, and different machines give different contrast.",
                when=lambda value: not {"b", "d"} <= set(value),
            ),
        ),
    ),
    Exercise(
        name="02-pixel",
        question="What is the new value of a pixel of 0.8, with slope 1.5 and offset -0.1?",
        kind=Number(tolerance=0.004),
        expected=lambda: (0.8 - 0.5) * 1.5 + 0.5 - 0.1,
        right="The slope changes the distance from mid-grey: a pixel of 0.5 changes only by the "
        "offset.",
        hints=(
            "Subtract 0.5, multiply by the slope, add 0.5 again, then add the offset.",
            "0.8 is 0.3 above mid-grey.",
        ),
        mistakes=(
            Mistake(
                "This multiplies the pixel itself. The slope multiplies the distance from mid-grey: "
                "subtract 0.5 first, and add it again afterwards.",
                when=lambda value: abs(value - 1.1) < 0.004 or abs(value - 1.0) < 0.004,
            ),
            Mistake("Add the 0.5 again after the slope.", like=lambda: 0.3 * 1.5 - 0.1),
            Mistake(
                "The offset is negative: it makes the pixel darker.",
                when=lambda value: value > 1.04,
            ),
            Mistake("The offset is missing.", like=lambda: 0.3 * 1.5 + 0.5),
        ),
    ),
    Exercise(
        name="02-real",
        question="What does an interval of -0.01 to 0.09 say about a gain?",
        kind=Choice("a", "b", "c", "d"),
        expected=lambda: "c",
        right="With more patients the interval would be narrower. Until then, a gain and a small "
        "decrease both fit the data.",
        hints=("The interval contains the true gains that are compatible with the data.",),
        mistakes=(
            Mistake(
                "The interval contains zero, and even a small decrease: the data do not rule them "
                "out.",
                when=lambda value: value == "a",
            ),
            Mistake(
                "The interval also contains a gain of 0.09. An effect that the data cannot show may "
                "still exist.",
                when=lambda value: value == "b",
            ),
            Mistake(
                "A difference can be negative: augmentation may make the model worse.",
                when=lambda value: value == "d",
            ),
        ),
    ),
)

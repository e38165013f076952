"""Exercises of notebook 1, load."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Choices, Exercise, Function, Mistake, Number, Whole

Floats = NDArray[np.float64]
_LUNG = np.array([-1400.0, -1350.0, -900.0, -600.0, -100.0, 150.0, 800.0])
_SOFT = np.array([-300.0, -160.0, -60.0, 40.0, 190.0, 240.0, 900.0])


def _window(values: Floats, centre: float, width: float) -> Floats:
    return np.clip((values - centre + width / 2) / width, 0, 1)


def _unclipped(values: Floats, centre: float, width: float) -> Floats:
    return (values - centre + width / 2) / width


def _twice_as_wide(values: Floats, centre: float, width: float) -> Floats:
    return np.clip((values - centre + width) / (2 * width), 0, 1)


def _from_the_centre(values: Floats, centre: float, width: float) -> Floats:
    return np.clip((values - centre) / width, 0, 1)


def _upside_down(values: Floats, centre: float, width: float) -> Floats:
    return 1 - _window(values, centre, width)


def _cut_only(values: Floats, centre: float, width: float) -> Floats:
    return np.clip(values, centre - width / 2, centre + width / 2)


def _shared(studies: Any) -> Any:
    """Return which images of the test split belong to a patient of the training split."""
    train = studies.loc[studies["split"] == "train", "patient_id"]
    test = studies[studies["split"] == "test"]
    return test[test["patient_id"].isin(train)]


def _leaked(studies: Any) -> int:
    return len(_shared(studies))


def _leaked_patients(studies: Any) -> int:
    return int(_shared(studies)["patient_id"].nunique())


def _all_tested(studies: Any) -> int:
    return int((studies["split"] == "test").sum())


def _trained_images(studies: Any) -> int:
    test = studies.loc[studies["split"] == "test", "patient_id"]
    train = studies[studies["split"] == "train"]
    return int(train["patient_id"].isin(test).sum())


EXERCISES = (
    Exercise(
        name="01-hounsfield",
        question="How many Hounsfield units is the stored number?",
        kind=Number(tolerance=0.5, unit="HU"),
        expected=lambda: 2 * 532 - 1024,
        right="Soft tissue, such as muscle, or blood without contrast agent.",
        hints=(
            "The modality step is a straight line.",
            "Multiply by the slope first, then add the intercept (which is negative here).",
        ),
        mistakes=(
            Mistake("The intercept is missing: air would not lie at -1000.", like=lambda: 1064),
            Mistake(
                "The order is wrong: multiply by the slope first, then add the intercept.",
                like=lambda: (532 - 1024) * 2,
            ),
            Mistake("The slope is missing.", like=lambda: 532 - 1024),
            Mistake(
                "Add the intercept with its sign: it is negative.", like=lambda: 2 * 532 + 1024
            ),
        ),
    ),
    Exercise(
        name="01-window",
        question="A function that maps values to greys through a window.",
        kind=Function(
            cases=((_LUNG, -600.0, 1500.0), (_SOFT, 40.0, 400.0)),
            tolerance=0.005,
        ),
        expected=_window,
        right="Every image viewer does this when you change the window.",
        hints=(
            "Where is the lower edge? Half a width below the centre.",
            "Subtract the lower edge, divide by the width, and limit the result to 0 to 1.",
            "`np.clip(x, 0, 1)` limits numbers to the range from 0 to 1.",
        ),
        mistakes=(
            Mistake(
                "Values outside the window must stay black or white: limit the result to 0 to 1.",
                like=_unclipped,
            ),
            Mistake(
                "Your window is twice as wide: the width is the whole window, half of it lies on "
                "each side of the centre.",
                like=_twice_as_wide,
            ),
            Mistake(
                "The ramp starts at the centre. It must start at the lower edge; the centre "
                "becomes middle grey.",
                like=_from_the_centre,
            ),
            Mistake("Black and white are swapped: low values are black.", like=_upside_down),
            Mistake(
                "You limited the values to the edges, but they still have their unit. Scale them "
                "to the range from 0 to 1.",
                like=_cut_only,
            ),
        ),
    ),
    Exercise(
        name="01-nodule",
        question="How many pixels across is the nodule?",
        kind=Number(tolerance=0.02, low=0, high=224, unit="pixels"),
        expected=lambda: 5 / (420 / 224),
        right="Fewer than three pixels: a blurred dot. Use larger images for such nodules.",
        hints=(
            "First: how many millimetres does one pixel cover?",
            "Divide the nodule's size by the size of a pixel.",
        ),
        mistakes=(
            Mistake(
                "That is the size of one pixel in millimetres. How many of them fit into the "
                "nodule?",
                like=lambda: 420 / 224,
            ),
            Mistake(
                "You inverted the division: divide the nodule by the pixel.",
                like=lambda: 420 / 224 / 5,
            ),
            Mistake("That is how many nodules fit across the image.", like=lambda: 420 / 5),
            Mistake(
                "You multiplied by the size of a pixel; you need to divide by it.",
                like=lambda: 5 * 420 / 224,
            ),
        ),
    ),
    Exercise(
        name="01-leaked",
        question="How many test images belong to a patient who is also in training?",
        kind=Whole(low=0),
        expected=_leaked,
        right="On each of these images the model meets a person from its training.",
        hints=(
            "Make the list of patients in the training split first.",
            "Then ask of each test image whether its patient `isin` that list, and sum.",
        ),
        mistakes=(
            Mistake(
                "That counts patients. One patient may have several test images: count images.",
                like=_leaked_patients,
            ),
            Mistake(
                "That is the whole test split. Count only images whose patient is in training too.",
                like=_all_tested,
            ),
            Mistake(
                "You counted training images of test patients. Count the test images instead.",
                like=_trained_images,
            ),
        ),
    ),
    Exercise(
        name="01-shortcuts",
        question="In which data sets could a network tell the label without the disease?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "c", "d"},
        right="Position and machine, compression, age: each can tell the label. Only b is fair.",
        hints=(
            "For each set ask: what else differs between people with and without disease?",
            "What changes a file changes its pixels too: compression, for instance.",
        ),
        mistakes=(
            Mistake(
                "Look at b again: what differs between the two groups, apart from the disease?",
                when=lambda value: "b" in value,
            ),
            Mistake(
                "You left out d. A chest radiograph shows age: think of the bones.",
                when=lambda value: "d" not in value,
            ),
            Mistake(
                "You left out c. Strong compression leaves blocks in the pixels, which a network "
                "sees.",
                when=lambda value: "c" not in value,
            ),
            Mistake(
                "You left out a. The position and the machine change the whole image.",
                when=lambda value: "a" not in value,
            ),
        ),
    ),
)

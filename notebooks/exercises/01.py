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
        right="Soft tissue: muscle, or blood. In a lung window it would be white.",
        hints=(
            "The modality step is a straight line.",
            "Multiply by the slope first, then add the intercept (which is negative here).",
        ),
        mistakes=(
            Mistake("The intercept is missing: air would not lie at -1000.", like=lambda: 1064),
            Mistake(
                "The order is the other way round: slope first, then intercept.",
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
        right="That is a window. All viewers in all hospitals do this, millions of times a day.",
        hints=(
            "Where is the lower edge? Half a width below the centre.",
            "Take the lower edge away, divide by the width, and keep the result from 0 to 1.",
            "`np.clip(x, 0, 1)` keeps numbers from 0 to 1.",
        ),
        mistakes=(
            Mistake(
                "Values outside the window must stay black or white: keep the result from 0 to 1.",
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
                "You cut the values off at the edges, but they still carry their unit. Scale them "
                "to go from 0 to 1.",
                like=_cut_only,
            ),
        ),
    ),
    Exercise(
        name="01-nodule",
        question="How many pixels across is the nodule?",
        kind=Number(tolerance=0.02, low=0, high=224, unit="pixels"),
        expected=lambda: 5 / (420 / 224),
        right="Not even three pixels: a smudge. For such nodules one needs larger images.",
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
                "That is upside down: nodule divided by pixel, not pixel by nodule.",
                like=lambda: 420 / 224 / 5,
            ),
            Mistake("That many nodules fit across the film.", like=lambda: 420 / 5),
            Mistake(
                "You multiplied by the size of a pixel; divide by it.", like=lambda: 5 * 420 / 224
            ),
        ),
    ),
    Exercise(
        name="01-leaked",
        question="How many test images belong to a patient who is also in training?",
        kind=Whole(low=0),
        expected=_leaked,
        right="For each of them the model has met the person before.",
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
                "You counted training images of test patients; asked are the test images.",
                like=_trained_images,
            ),
        ),
    ),
    Exercise(
        name="01-shortcuts",
        question="In which data sets could a network tell the label without the disease?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "c", "d"},
        right="Position and machine, compression, age: each would do. One of the four is fair.",
        hints=(
            "For each set ask: what else differs between the sick and the healthy?",
            "What changes a file changes its pixels too: compression, for instance.",
        ),
        mistakes=(
            Mistake(
                "Look at b again: what would differ between sick and healthy, but the disease?",
                when=lambda value: "b" in value,
            ),
            Mistake(
                "You left out d. Can one see the age on a chest film? Look at the bones.",
                when=lambda value: "d" not in value,
            ),
            Mistake(
                "You left out c. Strong compression leaves blocks in the pixels, which a network "
                "sees.",
                when=lambda value: "c" not in value,
            ),
            Mistake(
                "You left out a. Lying and standing, and the machine, change the whole picture.",
                when=lambda value: "a" not in value,
            ),
        ),
    ),
)

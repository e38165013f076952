"""Exercises of notebook 1, load."""

import os
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg import images
from medimg.exercises import Choices, Exercise, Function, Made, Mistake, Number, Problem
from medimg.exercises.kinds import asked

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


def _image(path: Any) -> Floats:
    """Look at a file: the image that it shows."""
    if not isinstance(path, str | os.PathLike):
        raise asked("the path of the repaired file", path)
    try:
        return images.read_image(path)
    except Exception as problem:
        raise Problem(f"Your file cannot be read: {problem}") from None


def _table(answer: Any) -> pd.DataFrame:
    """Look at a study table: who is in which split."""
    if not {"image_id", "patient_id", "split"} <= set(answer.columns):
        raise Problem("Your table lacks one of the columns image_id, patient_id, split.")
    words = set(answer["split"].astype(str))
    if words != {"train", "val", "test"}:
        raise Problem(f"The splits are train, val and test; yours: {', '.join(sorted(words))}.")
    return answer


def _torn(mine: pd.DataFrame) -> bool:
    return bool(mine.groupby("patient_id")["split"].nunique().max() > 1)


def _whole(mine: pd.DataFrame, studies: pd.DataFrame) -> bool:
    """Say whether each image is there once, with its own patient."""
    pairs = [sorted(zip(t["image_id"], t["patient_id"], strict=True)) for t in (mine, studies)]
    return pairs[0] == pairs[1]


def _near(mine: pd.DataFrame) -> bool:
    """Say whether the shares of patients are about 60, 20 and 20 %."""
    shares = mine.groupby("patient_id")["split"].first().value_counts(normalize=True)
    slack = 0.05 + 1 / mine["patient_id"].nunique()
    wanted = {"train": 0.6, "val": 0.2, "test": 0.2}
    return all(abs(shares[name] - share) <= slack for name, share in wanted.items())


def _in_order(mine: pd.DataFrame, studies: pd.DataFrame) -> bool:
    """Say whether the patients were cut in the table's order, not by chance."""
    of = mine.groupby("patient_id")["split"].first()
    names = of[studies["patient_id"].unique()]
    return int((names != names.shift()).sum()) == 3


EXERCISES = (
    Exercise(
        name="01-hounsfield",
        question="How many Hounsfield units is the stored number?",
        kind=Number(tolerance=0.5, unit="HU"),
        expected=lambda: 2 * 532 - 1024,
        right="Soft tissue, such as muscle, or blood without contrast agent.",
        hints=(
            "The modality step is a straight line: value = slope x stored number + intercept.",
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
            "Subtract the lower edge, divide by the width, and limit the result to the range from 0 to 1.",
            "`np.clip(x, 0, 1)` limits numbers to the range from 0 to 1.",
        ),
        mistakes=(
            Mistake(
                "Values outside the window must stay black or white: limit the result to 0 to 1.",
                like=_unclipped,
            ),
            Mistake(
                "Your window is twice as wide as it should be. The width is the whole window: half of it "
                "lies on each side of the centre.",
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
        name="01-repair",
        question="Repair two entries of the header of `export.dcm`.",
        kind=Made("the path of the repaired file", look=_image),
        expected=lambda image, original: (
            image.shape == images.read_image(original).shape
            and bool(np.abs(image - images.read_image(original)).max() < 0.01)
        ),
        right="Both entries were plausible, and no program complained. Look at your images.",
        hints=(
            "Which of the three steps goes wrong? Look at the picture: is it inverted? Is it too "
            "bright or too dark?",
            "`PhotometricInterpretation` decides what is bright. The rescale intercept and the window "
            "have to fit each other.",
            "An intercept of -1024 belongs to a CT. On this radiograph it was 0.",
            '`dicom.RescaleIntercept = "0"` changes one entry. The other one is MONOCHROME1 or MONOCHROME2.',
        ),
        mistakes=(
            Mistake(
                "This is another image. Write a copy of `export.dcm`.",
                when=lambda value, original: value.shape != images.read_image(original).shape,
            ),
            Mistake(
                "Now all pixels have one grey. Look again at slope, intercept and window.",
                when=lambda value: bool(np.ptp(value) == 0),
            ),
            Mistake(
                "Black and white are still swapped: air is bright. Which entry decides that?",
                when=lambda value, original: bool(
                    np.corrcoef(value.ravel(), images.read_image(original).ravel())[0, 1] < 0
                ),
            ),
            Mistake(
                "The polarity is right, the brightness is not. Which entry moves all values?",
                when=lambda value: True,
            ),
        ),
    ),
    Exercise(
        name="01-split",
        question="Write a split by patient: 60 % train, 20 % val, 20 % test.",
        kind=Made("a table with the columns of `studies`", look=_table),
        expected=lambda mine, studies: (
            _whole(mine, studies)
            and not _torn(mine)
            and _near(mine)
            and not _in_order(mine, studies)
        ),
        right="No patient is in two splits. `split_by_patient` also keeps the mix of classes.",
        hints=(
            "Split patients, not images: make a list of the patients first, each once.",
            '`rng.permutation(studies["patient_id"].unique())` shuffles them.',
            "Give the first 60 % of the shuffled patients the word train, the next 20 % val, and the rest "
            "test. Write this into a dictionary: patient to word.",
            '`mine = studies.assign(split=studies["patient_id"].map(d))`, where `d` is your dictionary.',
        ),
        mistakes=(
            Mistake(
                "Images are missing, or are there twice, or have another patient. Change only the "
                "column `split`.",
                when=lambda value, studies: not _whole(value, studies),
            ),
            Mistake(
                "Some patients are in two splits: you split images. Split patients.",
                when=lambda value: _torn(value),
            ),
            Mistake(
                "The shares are not about 60, 20 and 20 % of the patients.",
                when=lambda value: not _near(value),
            ),
            Mistake(
                "You cut the patients in the order of the table. Tables are often sorted, by date or "
                "hospital: shuffle the patients first.",
                when=lambda value, studies: _in_order(value, studies),
            ),
        ),
    ),
    Exercise(
        name="01-shortcuts",
        question="In which data sets could a network predict the label without the disease?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "c", "d"},
        right="Position and machine, compression, age: each can reveal the label. Only b is fair.",
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

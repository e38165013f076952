"""Exercises of notebook 9, bone fracture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medimg.exercises import Choices, Exercise, Made, Mistake, Number


def _share(table: pd.DataFrame, of: str = "test") -> float:
    content = table["path"].map(lambda path: Path(path).read_bytes())
    here = table["split"] == of
    return float(content[here].isin(content[~here]).mean())


def _of_all(table: pd.DataFrame) -> float:
    return _share(table) * float((table["split"] == "test").mean())


def _cleaned(answer: pd.DataFrame) -> pd.DataFrame:
    """Look at a table: the files in it, and their splits."""
    return answer[["path", "split"]].astype(str)


def _repeats(clean: pd.DataFrame) -> bool:
    """Say whether a test image is repeated elsewhere."""
    return _share(clean) > 0 if (clean["split"] == "test").any() else False


def _kept(clean: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Say whether all test images are there, as test images."""
    wanted = set(table.loc[table["split"] == "test", "path"].astype(str))
    return set(clean.loc[clean["split"] == "test", "path"]) == wanted


def _lost(clean: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Say whether an image was left out that repeats no test image."""
    content = table["path"].map(lambda path: Path(path).read_bytes())
    held = table["split"] == "test"
    return not set(table.loc[~held & ~content.isin(content[held]), "path"].astype(str)) <= set(
        clean["path"]
    )


def _count(table: pd.DataFrame) -> float:
    return _share(table) * int((table["split"] == "test").sum())


EXERCISES = (
    Exercise(
        name="09-columns",
        question="Which columns are known before the diagnosis and do not result from it?",
        kind=Choices("a", "b", "c", "d", "e"),
        expected=lambda: frozenset("ac"),
        right="The others exist because somebody already saw or treated a fracture.",
        hints=(
            "Ask of each: would it be the same if nobody had looked at a radiograph yet?",
            "Two of the five are known when the patient comes through the door.",
        ),
        mistakes=(
            Mistake("A cast (b) is put on after the diagnosis: at the first examination there is "
                    "none.", when=lambda value: "b" in value),
            Mistake("A plate over the fracture (d) means that surgeons have been there already.",
                    when=lambda value: "d" in value),
            Mistake("This view (e) was ordered because the doctor suspected a fracture: it holds "
                    "the doctor's opinion.", when=lambda value: "e" in value),
            Mistake("One of them is right. There is a second one.",
                    when=lambda value: value in (frozenset("a"), frozenset("c"))),
        ),
    ),
    Exercise(
        name="09-copies",
        question="What share of the test images repeats an image of another split?",
        kind=Number(tolerance=0.006, low=0, high=1000),
        expected=_share,
        right="A test on these images measures what the model remembers, not what it learned.",
        hints=(
            "`content = copied[\"path\"].map(lambda path: Path(path).read_bytes())`",
            "`content[is_test].isin(content[~is_test])` says of each test image whether it is a "
            "copy; take the mean.",
        ),
        mistakes=(
            Mistake("That is the share among all images. Divide by the number of test images.",
                    like=_of_all),
            Mistake("That is the number of copies. Divide it by the number of test images.",
                    when=lambda value, table: value > 1 and abs(value - _count(table)) < 0.5),
            Mistake("That is the share of the images that are not copies.",
                    like=lambda table: 1 - _share(table)),
            Mistake("That is the share of the training images. Ask it of the test images.",
                    like=lambda table: _share(table, "train")),
        ),
    ),
    Exercise(
        name="09-clean",
        question="Leave out what repeats a test image.",
        kind=Made("a table with the columns of `copied`", look=_cleaned),
        expected=lambda clean, table: (
            _kept(clean, table) and not _repeats(clean) and not _lost(clean, table)
        ),
        right="`decode` takes it now. In a report, say how many images you left out, and why.",
        hints=(
            "Two kinds of rows stay: the test images, and the others whose bytes are in no test image.",
            "`content.isin(content[held])` says of each image whether its bytes are in the test set, "
            "if `held` marks the test images. `~` reverses it, and `|` means *or*.",
        ),
        mistakes=(
            Mistake("Some test images are missing, or have another split now. A test set must not "
                    "change with the training: take the copies out of the training set.",
                    when=lambda value, table: not _kept(value, table)),
            Mistake("A test image is still in another split, too.",
                    when=lambda value: _repeats(value)),
            Mistake("You also left out images that repeat no test image.",
                    when=lambda value, table: _lost(value, table)),
        ),
    ),
)  # fmt: skip

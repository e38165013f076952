"""Exercises of notebook 8, diabetic retinopathy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medimg.exercises import Exercise, Function, Made, Mistake, Problem

CASES = (
    ([0.1, 0.2], ["good", "good"], 0.5),
    ([0.1, 0.7], ["good", "fair"], 0.5),
    ([0.7, 0.1], ["good", "good"], 0.5),
    ([0.5, 0.1], ["good", "good"], 0.5),
    ([0.1, 0.1], ["good", "ungradable"], 0.5),
    ([0.1], ["ungradable"], 0.5),
    ([0.9, 0.8], ["good", "good"], 0.95),
)


def decide(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Refer when an eye is positive or cannot be graded."""
    return max(scores) >= threshold or "ungradable" in quality


def by_mean(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Average the eyes, as a wrong answer does."""
    return sum(scores) / len(scores) >= threshold or "ungradable" in quality


def scores_only(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Forget the quality."""
    return max(scores) >= threshold


def above(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Ask for more than the threshold."""
    return max(scores) > threshold or "ungradable" in quality


def both(scores: Sequence[float], quality: Sequence[str], threshold: float) -> bool:
    """Ask for both eyes."""
    return min(scores) >= threshold or "ungradable" in quality


def _dots(answer: Any) -> tuple[Any, bool]:
    """Look at a figure: its dots, and whether its axes have names."""
    ax = answer.figure.axes[0]
    drawn = [np.asarray(dots.get_offsets(), dtype=float) for dots in ax.collections]
    drawn += [np.asarray(line.get_xydata(), dtype=float) for line in ax.lines]
    drawn = [dots for dots in drawn if len(dots) > 2]
    if not drawn:
        raise Problem("There are no dots in this figure: `ax.scatter(x, y)` draws them.")
    return drawn[0], bool(ax.get_xlabel() and ax.get_ylabel())


def _eyes(studies: Any, scored: Any) -> Any:
    """Return the scores of right and left eye of each person, (N, 2)."""
    rows = studies.set_index("image_id").loc[scored.ids]
    table = rows.assign(score=scored.y_score).pivot(
        index="patient_id", columns="eye", values="score"
    )
    return table[["right", "left"]].to_numpy()


def _match(dots: Any, wanted: Any) -> bool:
    """Compare two clouds of dots, in any order."""
    if dots.shape != wanted.shape:
        return False
    pair = [one[np.lexsort(one.round(6).T)] for one in (dots, wanted)]
    return bool(np.allclose(*pair, atol=1e-4))


def _sorted(dots: Any, wanted: Any) -> bool:
    """Say whether the same numbers are drawn, in other pairs."""
    same = dots.shape == wanted.shape and np.allclose(
        np.sort(dots, axis=0), np.sort(wanted, axis=0), atol=1e-4
    )
    return bool(same and not _match(dots, wanted))


def _predicted(answer: Any) -> Any:
    """Look at predictions: names and scores."""
    if len(answer.ids) != len(answer.y_score):
        raise Problem("Give one row of scores per image.")
    return answer


def _equal(one: Any, other: Any) -> bool:
    same = one.y_score.shape == other.y_score.shape
    return bool(same and np.allclose(one.y_score, other.y_score, atol=1e-6))


EXERCISES = (
    Exercise(
        name="08-decide",
        question="Should this person be seen by an ophthalmologist?",
        kind=Function(cases=CASES),
        expected=decide,
        right="Either eye decides, and an eye that cannot be graded has not been screened.",
        hints=(
            "Two reasons to refer, joined by `or`.",
            "`any(...)` is True when one of several things is; `in` looks a word up in a list.",
        ),
        mistakes=(
            Mistake(
                "The quality is not used yet: an ungradable eye is referred.", like=scores_only
            ),
            Mistake(
                "A mean lets a healthy eye hide a diseased one. Either eye decides.", like=by_mean
            ),
            Mistake("A score equal to the threshold counts as positive: use >=.", like=above),
            Mistake("One diseased eye is enough; you ask for both.", like=both),
        ),
    ),
    Exercise(
        name="08-eyes",
        question="Draw the scores of each person's two eyes against each other.",
        kind=Made("the axes of your figure", look=_dots),
        expected=lambda drawn, studies, scored: (
            _match(drawn[0], _eyes(studies, scored)) and drawn[1]
        ),
        right="The eyes agree, so two images of a person say less than images of two people: intervals go by person.",
        hints=(
            "Put each image's score into the table first: "
            '`pd.Series(refer["test"].y_score, index=refer["test"].ids)` looks it up by name.',
            '`table.pivot(index="patient_id", columns="eye", values="score")` gives one row per '
            "person and one column per eye.",
            '`wide.plot.scatter(x="right", y="left")` draws it and names the axes.',
        ),
        mistakes=(
            Mistake(
                "Right and left are swapped: the right eye goes across.",
                when=lambda value, studies, scored: _match(
                    value[0][:, ::-1], _eyes(studies, scored)
                ),
            ),
            Mistake(
                "One dot per image: pair the two eyes of each person.",
                when=lambda value, scored: len(value[0]) == len(scored.ids),
            ),
            Mistake(
                "The eyes are paired wrongly: both must be of the same person. Join by "
                "`patient_id`, not by position.",
                when=lambda value, studies, scored: _sorted(value[0], _eyes(studies, scored)),
            ),
            Mistake(
                "Name both axes: which eye is it?",
                when=lambda value, studies, scored: _match(value[0], _eyes(studies, scored)),
            ),
        ),
    ),
    Exercise(
        name="08-grey",
        question="Train again on grey photographs, and predict the test images.",
        kind=Made("predictions: what `training.predict` returns", look=_predicted),
        expected=lambda grey, colour: (
            np.array_equal(grey.ids, colour.ids)
            and grey.y_score.shape == colour.y_score.shape
            and not _equal(grey, colour)
        ),
        right="`metrics.evaluate(in_grey, ordinal=True)` gives the row to set beside section 4. "
        "Overlapping intervals settle nothing: both networks read the same eyes.",
        hints=(
            "Four steps: `datasets.decode`, `models.build_model`, `training.fit_head`, "
            "`training.predict`. Copy those from above.",
            "`channels=1` belongs in two of them: `decode` and `build_model`.",
        ),
        mistakes=(
            Mistake(
                "These are the predictions in colour. `channels=1` belongs in `decode` *and* in "
                "`build_model`.",
                when=lambda value, colour: _equal(value, colour),
            ),
            Mistake(
                "These are not the test images.",
                when=lambda value, colour: not np.array_equal(value.ids, colour.ids),
            ),
            Mistake(
                "There are not five outputs: give `build_model` the classes.",
                when=lambda value, colour: value.y_score.shape != colour.y_score.shape,
            ),
        ),
    ),
)

"""Exercises of the quickstart."""

from typing import Any

import numpy as np

from medimg.exercises import Exercise, Made, Mistake, Number, Problem


def _settings(result: Any) -> dict[str, Any]:
    """Look at a training: how it was done, and that it was done."""
    return {**result.settings, "epochs trained": len(result.history)}


def _changed(again: dict[str, Any], first: Any) -> set[str]:
    """Return the names of the settings that differ."""
    before = {**first.settings, "epochs trained": again["epochs trained"]}
    return {name for name in again.keys() | before.keys() if again.get(name) != before.get(name)}


def _pictures(figure: Any) -> list[Any]:
    """Look at a figure: the pictures in it."""
    pictures = [np.asarray(ax.images[0].get_array()) for ax in figure.figure.axes if ax.images]
    if not pictures:
        raise Problem("There is no picture in this figure. `plots.plot_grid` makes one.")
    return pictures


def _rows(pictures: list[Any], test: Any) -> list[int]:
    """Return which test image each picture is; -1 for none."""
    rows = []
    for picture in pictures:
        if picture.shape != test.images.shape[1:]:
            rows.append(-1)
            continue
        scale = 255 if picture.max() <= 1 else 1
        apart = np.abs(test.images - scale * picture.astype(float)).mean(axis=(1, 2))
        rows.append(int(apart.argmin()) if apart.min() < 1 else -1)
    return rows


def _shown_scores(pictures: list[Any], test: Any, scores: Any) -> list[float]:
    return sorted(float(scores[row]) for row in _rows(pictures, test))


def _normal(test: Any, scores: Any) -> list[float]:
    return sorted(float(score) for score in scores[test.labels == 0])


EXERCISES = (
    Exercise(
        name="00-again",
        question="Train again with another seed.",
        kind=Made("a training: what `training.fit` returns", look=_settings),
        expected=lambda again, first: _changed(again, first) == {"seed"},
        right="Compare `again.history` with the table above: that difference is chance alone. "
        "A smaller difference between two methods says nothing.",
        hints=(
            "Copy the lines that build and train the network (`model = ...` and `result = ...`), and "
            "give both results new names.",
            "`training.fit(network, train, val, settings=replace(settings, seed=1))` trains a "
            "`network`; build a new one first, with `models.build_model`.",
        ),
        mistakes=(
            Mistake(
                "Nothing was changed: this is the same training. Give another seed.",
                when=lambda value, first: not _changed(value, first),
            ),
            Mistake(
                "More than the seed was changed, so the comparison says nothing about chance. Begin "
                "with `replace(settings, seed=1)`.",
                when=lambda value, first: len(_changed(value, first)) > 1,
            ),
            Mistake(
                "Another setting was changed, and the seed was not.",
                when=lambda value, first: "seed" not in _changed(value, first),
            ),
        ),
    ),
    Exercise(
        name="00-ppv",
        question="Of the people whom the network calls positive, what share has pneumonia?",
        kind=Number(tolerance=0.006, low=0, high=1),
        expected=lambda: 72 / (72 + 30),
        right="It finds nine of ten people with pneumonia, but nearly a third of its positive "
        "results are false alarms.",
        hints=(
            "PPV is a share. First count all people whom the network calls positive. How many of these "
            "have pneumonia?",
            "The people called positive are the true positives and the false positives together.",
            "Divide the true positives by all people called positive.",
        ),
        mistakes=(
            Mistake(
                "That is the sensitivity: of the people with pneumonia, the share that was found. "
                "Divide by the people *called* positive instead.",
                like=lambda: 72 / 80,
            ),
            Mistake(
                "That is the specificity: of the people without pneumonia, the share that was "
                "called normal. Start from the people called positive.",
                like=lambda: 90 / 120,
            ),
            Mistake(
                "That is the accuracy: of all people, the share that was called correctly. Start "
                "from the people called positive.",
                like=lambda: (72 + 90) / 200,
            ),
            Mistake(
                "Of all people, that is the share who have pneumonia and are called positive. "
                "Divide by the people called positive, not by all people.",
                like=lambda: 72 / 200,
            ),
        ),
    ),
    Exercise(
        name="00-alarms",
        question="Draw the four normal test images with the highest scores.",
        kind=Made("a figure: what `plots.plot_grid` returns", look=_pictures),
        expected=lambda shown, test, scores: (
            -1 not in _rows(shown, test)
            and all(test.labels[_rows(shown, test)] == 0)
            and _shown_scores(shown, test, scores) == _normal(test, scores)[-4:]
        ),
        right="Ask of each image: what in it could look like an opacity?",
        hints=(
            "`np.flatnonzero(test.labels == 0)` gives the places of the normal images.",
            "`np.argsort(x)[-4:]` gives the places of the four largest numbers in `x`.",
            "Sort the scores of the normal images only, then look up their places.",
            "If `normal` holds the places of the normal images, `test_scores.y_score[normal]` holds their "
            "scores, and `normal[x]` turns a place among the normal images, `x`, into a place among all.",
        ),
        mistakes=(
            Mistake(
                "One of these pictures is not a test image. Take them from `test.images`.",
                when=lambda value, test: -1 in _rows(value, test),
            ),
            Mistake(
                "One of these images has pneumonia. Choose among the normal ones first, then sort.",
                when=lambda value, test: bool(any(test.labels[_rows(value, test)] == 1)),
            ),
            Mistake(
                "These are the normal images with the *lowest* scores. `np.argsort` puts the lowest "
                "first.",
                when=lambda value, test, scores: (
                    _shown_scores(value, test, scores) == _normal(test, scores)[:4]
                ),
            ),
            Mistake("Draw four images.", when=lambda value: len(value) != 4),
        ),
    ),
)

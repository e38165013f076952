"""Exercises of notebook 2, augment."""

from typing import Any

import numpy as np

from medimg.exercises import Choices, Exercise, Made, Mistake, Problem


def _scores(result: Any) -> Any:
    """Look at predictions: their scores."""
    return np.asarray(result.y_score, dtype=float)


def _same_as(scores: Any, results: Any) -> bool:
    return any(np.array_equal(scores, other.y_score) for other in results.values())


def _plausible(recipe: Any) -> bool:
    """Say whether a recipe could happen to a chest radiograph."""
    gentle = recipe.rotate <= 25 and 0.7 <= recipe.zoom[0] <= recipe.zoom[1] <= 1.4
    return bool(gentle and recipe.flip == 0 and recipe.shift <= 0.2)


def _empty(recipe: Any) -> bool:
    return bool(recipe == type(recipe).none())


def _pair(answer: Any) -> tuple[Any, Any]:
    """Look at two things: images, and the scores that a model gave them."""
    pictures, result = answer
    if pictures is ... or result is ...:
        raise Problem("One of the two is still missing.")
    if pictures.dtype != np.uint8 or pictures.ndim != 3:
        raise Problem("First give the images, as `films.images` holds them: uint8 (N, H, W).")
    return pictures, result


def _changed(pair: Any, films: Any) -> Any:
    """Return which images are not as they were."""
    return (pair[0] != films.images).any(axis=(1, 2))


def _wins(result: Any) -> float:
    """Return the share of pairs that are in the right order."""
    scores, truth = np.asarray(result.y_score), np.asarray(result.y_true)
    higher = scores[truth == 1][:, None] - scores[truth == 0]
    return float((np.sign(higher) + 1).mean() / 2)


EXERCISES = (
    Exercise(
        name="02-plausible",
        question="Which changes are plausible for a hand radiograph?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: {"a", "b", "d"},
        right="A mirrored left hand looks like a right hand, so here the flip is plausible. "
        "Plausibility depends on the image, not on the operation.",
        hints=(
            "For each change, ask two questions: could somebody have taken this image? Is its label still "
            "right?",
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
        name="02-recipe",
        question="Train with a plausible recipe of your own.",
        kind=Made("predictions: what `cross_validated` returns", look=_scores),
        expected=lambda scores, recipe, results: (
            scores.shape == results["none"].y_score.shape
            and not _same_as(scores, results)
            and _plausible(recipe)
            and not _empty(recipe)
        ),
        right='Is it a gain? `metrics.auc_difference(tried, results["none"])` gives the interval. '
        "It is your fifth comparison.",
        hints=(
            "Look at the table of changes: which ones could really have happened?",
            "`replace(Augment.none(), contrast=0.3)` changes the contrast and nothing else.",
            "`cross_validated(copies(mine))` trains with the copies that `mine` makes.",
        ),
        mistakes=(
            Mistake(
                "A mirrored chest has its heart on the wrong side. Leave the flip out.",
                when=lambda value, recipe: recipe.flip > 0,
            ),
            Mistake(
                "Nobody would accept such an image: keep the rotation below 25 degrees, the zoom "
                "between 0.7 and 1.4, and the shift below 0.2.",
                when=lambda value, recipe: not _plausible(recipe),
            ),
            Mistake("Your recipe changes nothing.", when=lambda value, recipe: _empty(recipe)),
            Mistake(
                "This is the result of one of the four recipes above. Make copies with your own.",
                when=lambda value, results: _same_as(value, results),
            ),
            Mistake(
                "These are not the scores of all images.",
                when=lambda value, results: value.shape != results["none"].y_score.shape,
            ),
        ),
    ),
    Exercise(
        name="02-corners",
        question="Rotate only the images with pneumonia, and train on them.",
        kind=Made("a list of two: the images and the result", look=_pair),
        expected=lambda pair, films, honest: (
            np.array_equal(_changed(pair, films), films.labels == 1)
            and _wins(pair[1]) > max(_wins(honest), 0.9)
        ),
        right="The model reads the corners. Its AUC says nothing about pneumonia, and nothing in the "
        "AUC shows it.",
        hints=(
            "Begin with `tilted = films.images.copy()`, and change some rows of the copy.",
            "`np.flatnonzero(films.labels == 1)` gives the numbers of the images with pneumonia. Loop "
            "over them: `for row in ...`.",
            "In the loop: `tilted[row] = rotate(films.images[row], 15, reshape=False)`.",
            "`x = training.extract_features(model, tilted)` comes before `cross_validated`.",
        ),
        mistakes=(
            Mistake(
                "The images are as they were. Rotate those with pneumonia.",
                when=lambda value, films: not _changed(value, films).any(),
            ),
            Mistake(
                "You rotated all images, so the corners tell nothing. Rotate those with pneumonia.",
                when=lambda value, films: _changed(value, films).all(),
            ),
            Mistake(
                "You rotated other images than those with pneumonia (label 1).",
                when=lambda value, films: (
                    not np.array_equal(_changed(value, films), films.labels == 1)
                ),
            ),
            Mistake(
                "The images are right, but the model never met them: extract the features of the "
                "rotated images, and give them to `cross_validated` twice, as copies and as `judged`.",
                when=lambda value, honest: _wins(value[1]) <= max(_wins(honest), 0.9),
            ),
        ),
    ),
)

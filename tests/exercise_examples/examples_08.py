import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medimg.metrics import Predictions

STUDIES = pd.DataFrame({
    "image_id": list("abcdefgh"), "patient_id": list("ppqqrrss"),
    "eye": ["right", "left", "left", "right", "right", "left", "right", "left"],
})  # fmt: skip
SCORED = Predictions(
    list("abcdefgh"), [0, 1] * 4, [0.1, 0.2, 0.7, 0.9, 0.4, 0.3, 0.5, 0.8], list("ppqqrrss")
)
RIGHT, LEFT = np.array([0.1, 0.9, 0.4, 0.5]), np.array([0.2, 0.7, 0.3, 0.8])


def dots(x, y, label="left"):
    ax = Figure().subplots()
    ax.scatter(x, y)
    ax.set(xlabel="right", ylabel=label)
    return ax


def graded(seed, names="abcd", grades=5):
    scores = np.random.default_rng(seed).random((len(names), grades))
    return Predictions(list(names), [0, 1, 2, 1], scores / scores.sum(axis=1, keepdims=True))


def decide(scores, quality, threshold):
    return max(scores) >= threshold or "ungradable" in quality


def no_quality(scores, quality, threshold):
    return max(scores) >= threshold


def mean(scores, quality, threshold):
    return sum(scores) / len(scores) >= threshold or "ungradable" in quality


def above(scores, quality, threshold):
    return max(scores) > threshold or "ungradable" in quality


EXAMPLES = {
    "08-decide": {
        "context": {},
        "right": [decide],
        "wrong": [
            (no_quality, "quality is not used yet"),
            (mean, "healthy eye hide"),
            (above, "use >="),
        ],
    },
    "08-eyes": {
        "context": {"studies": STUDIES, "scored": SCORED},
        "right": [dots(RIGHT, LEFT), dots(RIGHT[::-1], LEFT[::-1]).figure],
        "wrong": [
            (dots(LEFT, RIGHT), "swapped"),
            (dots(range(8), SCORED.y_score), "One dot per image"),
            (dots(RIGHT, np.roll(LEFT, 1)), "paired wrongly"),
            (dots(RIGHT, LEFT, label=""), "Name both axes"),
            (Figure().subplots(), "no dots"),
            (STUDIES, "the axes of your figure"),
        ],
    },
    "08-grey": {
        "context": {"colour": graded(0)},
        "right": [graded(1), graded(2)],
        "wrong": [
            (graded(0), "predictions in colour"),
            (graded(1, names="abce"), "not the test images"),
            (graded(1, grades=3), "not five outputs"),
            (STUDIES, "predictions: what"),
        ],
    },
}

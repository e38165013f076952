from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from medimg.augment import Augment
from medimg.metrics import Predictions

LABELS = np.array([0, 1] * 10)
RNG = np.random.default_rng(0)
FILMS = SimpleNamespace(images=RNG.integers(1, 256, (20, 5, 7), dtype=np.uint8), labels=LABELS)


def scored(seed, strength=0.3):
    scores = np.random.default_rng(seed).random(20) * (1 - strength) + strength * LABELS
    return Predictions([f"x{k}" for k in range(20)], LABELS, scores)


def darker(which):
    return np.where(which[:, None, None], FILMS.images // 2, FILMS.images)


RESULTS = {name: scored(k) for k, name in enumerate(("none", "usual", "usual + flip", "wild"))}
GENTLE = replace(Augment.none(), contrast=0.3)


EXAMPLES = {
    "02-plausible": {
        "context": {},
        "right": [["a", "b", "d"], {"d", "b", "a"}, ["A", "b", "d"]],
        "wrong": [
            (["a", "b", "c", "d"], "corrected when they are loaded"),
            (["b", "d"], "Think about the flip again"),
            (["a", "b"], "perfectly straight"),
        ],
    },
    "02-recipe": {
        "context": {"recipe": GENTLE, "results": RESULTS},
        "right": [scored(9), scored(10)],
        "wrong": [
            (RESULTS["usual"], "one of the four recipes"),
            (scored(9).subset(LABELS == 1), "not the scores of all images"),
            (GENTLE, "predictions: what"),
        ],
        "other contexts": [
            ({"recipe": replace(GENTLE, flip=0.5)}, scored(9), "wrong side"),
            ({"recipe": replace(GENTLE, rotate=180)}, scored(9), "below 25 degrees"),
            ({"recipe": Augment.none()}, scored(9), "changes nothing"),
        ],
    },
    "02-corners": {
        "context": {"films": FILMS, "honest": RESULTS["none"]},
        "right": [[darker(LABELS == 1), scored(3, 0.99)], (darker(LABELS == 1), scored(4, 0.9))],
        "wrong": [
            ([FILMS.images, scored(3)], "as they were"),
            ([darker(LABELS >= 0), scored(3)], "rotated all images"),
            ([darker(LABELS == 0), scored(3, 0.99)], "other images"),
            ([darker(LABELS == 1), RESULTS["none"]], "never met them"),
            ([darker(LABELS == 1), ...], "still missing"),
            ([scored(3), darker(LABELS == 1)], "a list of two"),
            ([darker(LABELS == 1) / 255, scored(3)], "First give the images"),
        ],
    },
}

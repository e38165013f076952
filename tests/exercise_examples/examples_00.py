from types import SimpleNamespace

import numpy as np

from medimg import plots

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 5, 7), dtype=np.uint8)
TEST = SimpleNamespace(images=IMAGES, labels=np.array([0, 1] * 6))
SCORES = np.array([0.9, 0.8, 0.1, 0.95, 0.3, 0.7, 0.5, 0.99, 0.6, 0.2, 0.2, 0.4])
# normal images are 0, 2, 4, 6, 8, 10: the highest are 0, 8, 6, 4, the lowest 2, 10, 4, 6


def trained(**settings):
    return SimpleNamespace(settings={"seed": 0, "epochs": 3, **settings}, history=[1, 2, 3])


def grid(*rows):
    return plots.plot_grid(IMAGES[list(rows)], columns=2)


EXAMPLES = {
    "00-again": {
        "context": {"first": trained()},
        "right": [trained(seed=1), trained(seed=42)],
        "wrong": [
            (trained(), "Nothing was changed"),
            (trained(seed=1, epochs=5), "More than the seed"),
            (trained(epochs=5), "the seed was not"),
            (trained().settings, "a training: what"),
        ],
    },
    "00-ppv": {
        "context": {},
        "right": [72 / 102, 0.71, 0.706],
        "wrong": [
            (0.9, "That is the sensitivity"),
            (0.75, "That is the specificity"),
            (0.81, "That is the accuracy"),
            (0.36, "Divide by the people called positive, not by all"),
            (70.6, "fraction"),
        ],
    },
    "00-alarms": {
        "context": {"test": TEST, "scores": SCORES},
        "right": [grid(0, 8, 6, 4), grid(4, 6, 8, 0).axes[0]],
        "wrong": [
            (grid(0, 8, 6, 7), "has pneumonia"),
            (grid(2, 10, 4, 6), "lowest"),
            (grid(0, 8, 6), "Draw four"),
            (plots.plot_grid(IMAGES[:4, ::-1]), "not a test image"),
            (plots.plot_history, "a figure"),
        ],
    },
}

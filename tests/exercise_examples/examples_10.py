from types import SimpleNamespace

import numpy as np
import pandas as pd


def turn(dial):
    internal, west = 0.8 + 0.1 * dial, 0.85 - 0.3 * dial
    return {"internal": SimpleNamespace(value=internal), "west": SimpleNamespace(value=west)}


def swapped(found):
    return {"internal": found["west"], "west": found["internal"]}


def score_of(image):
    return float(image[:, :4].mean() > 100)  # reads the border


TARGET = np.random.default_rng(0).integers(50, 250, (30, 40), dtype=np.uint8)
TARGET[:, :4] = 200


def with_border(grey):
    image = TARGET.copy()
    image[:, :4] = grey
    return image


EXAMPLES = {
    "10-dial": {
        "context": {"turn": turn, "curve": pd.DataFrame({d: turn(d) for d in (0, 0.5, 1)}).T},
        "right": [turn(0.9), pd.Series(turn(0.9))],
        "wrong": [
            (turn(1), "five positions"),
            (turn(0), "five positions"),
            (swapped(turn(0.9)), "swapped"),
            (turn(0.8), "not what"),
            (0.31, "both estimates"),
        ],
    },
    "10-hide": {
        "context": {"target": TARGET, "score_of": score_of},
        "right": [with_border(90), with_border(80)],
        "wrong": [
            (TARGET, "as it was"),
            (255 - TARGET, "correlation"),
            (TARGET[:-1], "the shape is another"),
            (with_border(150), "still finds it"),
            (TARGET / 255, "uint8"),
            (np.zeros_like(TARGET), "one grey"),
        ],
    },
}

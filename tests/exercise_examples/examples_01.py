import numpy as np
import pandas as pd

LEAKY = pd.DataFrame(
    {
        "patient_id": ["a", "a", "a", "a", "b", "b", "c", "d", "e"],
        "split": ["train", "test", "test", "train", "train", "val", "test", "test", "train"],
    }
)


def window(values, centre, width):
    return np.clip((values - (centre - width / 2)) / width, 0, 1)


def standard_window(values, centre, width):
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def forgot_to_clip(values, centre, width):
    return (values - (centre - width / 2)) / width


def width_on_each_side(values, centre, width):
    return np.clip((values - (centre - width)) / (2 * width), 0, 1)


def starts_at_centre(values, centre, width):
    return np.clip((values - centre) / width, 0, 1)


def inverted(values, centre, width):
    return 1 - window(values, centre, width)


def clipped_only(values, centre, width):
    return np.clip(values, centre - width / 2, centre + width / 2)


EXAMPLES = {
    "01-hounsfield": {
        "context": {},
        "right": [40, 40.0],
        "wrong": [
            (1064, "intercept is missing"),
            (-984, "order is wrong"),
            (-492, "slope is missing"),
            (2088, "with its sign"),
        ],
    },
    "01-window": {
        "context": {},
        "right": [window, standard_window],
        "wrong": [
            (forgot_to_clip, "must stay black or white"),
            (width_on_each_side, "twice as wide"),
            (starts_at_centre, "starts at the centre"),
            (inverted, "swapped"),
            (clipped_only, "still have their unit"),
        ],
    },
    "01-nodule": {
        "context": {},
        "right": [5 / (420 / 224), 2.67],
        "wrong": [
            (1.875, "one pixel in millimetres"),
            (0.375, "inverted the division"),
            (84, "across the image"),
            (9.375, "divide by it"),
        ],
    },
    "01-leaked": {
        "context": {"studies": LEAKY},
        "right": [2, np.int64(2)],
        "wrong": [(1, "counts patients"), (4, "whole test split")],
    },
    "01-shortcuts": {
        "context": {},
        "right": [["a", "c", "d"], {"d", "a", "c"}, "a, c, d"],
        "wrong": [
            (["a", "b", "c", "d"], "Look at b again"),
            (["a", "c"], "left out d"),
            (["a", "d"], "left out c"),
            (["c", "d"], "left out a"),
        ],
    },
}

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom

from medimg import datasets

SAMPLE = datasets.load("sample")
FILM = SAMPLE[
    (SAMPLE["photometric"] == "MONOCHROME2") & (SAMPLE["window"] == "linear")
    & (SAMPLE["label"] == "normal") & ~SAMPLE["burned_in"]
].sort_values("bits", ascending=False, kind="stable").iloc[0]  # fmt: skip
FOLDER = Path(tempfile.mkdtemp())


def edited(name, **entries):
    dicom = pydicom.dcmread(FILM["dicom_path"])
    for entry, value in entries.items():
        setattr(dicom, entry, value)
    dicom.save_as(FOLDER / f"{name}.dcm")
    return FOLDER / f"{name}.dcm"


(FOLDER / "empty.dcm").write_bytes(b"")
STUDIES = pd.DataFrame({
    "image_id": [f"x{k}" for k in range(60)], "patient_id": [f"p{k // 2}" for k in range(60)],
    "split": "train",
})  # fmt: skip


def split(counts=(18, 6, 6), seed=0, by="patient_id"):
    units = STUDIES[by].unique()
    if seed is not None:
        units = np.random.default_rng(seed).permutation(units)
    names = np.repeat(["train", "val", "test"], np.array(counts) * len(units) // 30)
    return STUDIES.assign(split=STUDIES[by].map(dict(zip(units, names, strict=True))))


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
    "01-repair": {
        "context": {"original": FILM["path"]},
        "right": [FILM["dicom_path"], str(edited("same"))],
        "wrong": [
            (
                edited("both", PhotometricInterpretation="MONOCHROME1", RescaleIntercept="-1024"),
                "still swapped",
            ),
            (edited("one", RescaleIntercept="-1024"), "polarity is right"),
            (edited("slope", WindowCenter="-9000", WindowWidth="10"), "one grey"),
            (SAMPLE["dicom_path"].iloc[0], "another image"),
            (FOLDER / "empty.dcm", "cannot be read"),
            (FOLDER / "nowhere.dcm", "cannot be read"),
            (3, "the path of the repaired file"),
        ],
    },
    "01-split": {
        "context": {"studies": STUDIES},
        "right": [split(), split((17, 7, 6), seed=3)],
        "wrong": [
            (split(by="image_id"), "you split images"),
            (split((24, 3, 3)), "about 60, 20 and 20"),
            (split(seed=None), "order of the table"),
            (split().head(50), "Images are missing"),
            (split().replace("val", "validation"), "yours: test, train, validation"),
            (split().drop(columns="patient_id"), "lacks one of the columns"),
        ],
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

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from medimg.datasets import ImageSet
from medimg.training.data import fingerprint

FOLDER = Path(tempfile.mkdtemp())
PROTOCOL = {
    "question": "Is pneumonia seen?", "intended_use": "none", "primary": "auc",
    "threshold_rule": "0.9 on the validation images", "subgroups": ["sex"], "success": "above 0.7",
    "limits": "simulated",
}  # fmt: skip
(FOLDER / "protocol.json").write_text(json.dumps(PROTOCOL), encoding="utf-8")
SPLITS = np.array(["train"] * 4 + ["val"] * 2 + ["test"] * 4)
STUDIES = pd.DataFrame({
    "image_id": [f"x{k}" for k in range(10)], "split": SPLITS, "sex": list("FM") * 5,
    "patient_id": ["a", "a", "b", "b", "c", "c", "d", "d", "e", "a"],  # a is torn apart
})  # fmt: skip
RNG = np.random.default_rng(0)
DATA = ImageSet(
    RNG.integers(0, 256, (10, 6, 8), dtype=np.uint8), np.array([0, 1] * 5),
    STUDIES["image_id"].to_numpy(str), STUDIES["patient_id"].to_numpy(str), SPLITS,
    ("normal", "flu"),
)  # fmt: skip


def table(n):
    return pd.DataFrame({"shortcut": ["file size"], "auc": [0.6], "n": [n]})


def trained(*splits):
    some = DATA.subset(np.isin(SPLITS, splits))
    return SimpleNamespace(fingerprint=fingerprint(some.images, some.labels))


def report(file, splits=("test",), chosen_on="validation (2 images)", warnings=()):
    rows = STUDIES[STUDIES["split"].isin(splits)]
    labels = rows["image_id"].str[1:].astype(int) % 2
    scores = labels.astype(float)
    scores.iloc[:2] = 1 - scores.iloc[:2]  # the first two are called wrongly
    rows.assign(y_true=labels, y_score=scores).to_csv(FOLDER / f"{file}.csv", index=False)
    found = SimpleNamespace(
        threshold=SimpleNamespace(value=0.5, chosen_on=chosen_on), warnings=warnings
    )
    return SimpleNamespace(evaluation=found, predictions=FOLDER / f"{file}.csv")


REPORT = report("good")  # the test images are 6 to 9; 6 and 7 are wrong


def maps(*rows, overlay=True, images=DATA.images):
    axes = Figure().subplots(len(rows), 2, squeeze=False)
    for row, (left, right) in zip(rows, axes, strict=True):
        left.imshow(images[row])
        right.imshow(images[row])
        if overlay:
            right.imshow(np.zeros((6, 8, 4)))
    return axes[0, 0].figure


RULES = (
    "the protocol is the one sealed before", "the threshold is not from the test images",
    "the primary measure has an interval", "patients are counted",
    "the subgroups of the protocol are reported", "the limits are stated in the model card",
)  # fmt: skip


def checked(*broken):
    return pd.Series({rule: not any(word in rule for word in broken) for rule in RULES})


EXAMPLES = {
    "12-protocol": {
        "context": {"folder": FOLDER, "studies": STUDIES},
        "right": [PROTOCOL, dict(reversed(PROTOCOL.items()))],
        "wrong": [
            (PROTOCOL | {"primary": "auc and accuracy"}, "exactly one"),
            (PROTOCOL | {"threshold_rule": "the best one"}, "on which images"),
            (PROTOCOL | {"subgroups": ["insurance"]}, "a list of columns"),
            (PROTOCOL | {"subgroups": "sex"}, "a list of columns"),
            (PROTOCOL | {"success": "above 0.6"}, "seal it"),
            (PROTOCOL | {"limits": "", "question": ""}, "lacks: question, limits"),
            ("auc", "a dictionary"),
        ],
    },
    "12-audit": {
        "context": {"studies": STUDIES},
        "right": [[1, table(6)], (np.int64(1), table(5))],
        "wrong": [
            ([1, table(10)], "labels of the test images"),
            ([0, table(6)], "Count patients"),
            ([1, STUDIES], "not the table"),
            ([1, ...], "still missing"),
            (table(6), "a list of two"),
        ],
    },
    "12-train": {
        "context": {"data": DATA},
        "right": [trained("train")],
        "wrong": [
            (trained("train", "val", "test"), "seen the test images"),
            (trained("train", "val"), "validation images, too"),
            (SimpleNamespace(fingerprint="other"), "not the training images"),
            (DATA, "a training"),
        ],
    },
    "12-test": {
        "context": {"studies": STUDIES},
        "right": [REPORT],
        "wrong": [
            (report("val", ("val",)), "not the test images"),
            (report("all", ("test", "val")), "not the test images"),
            (report("hand", chosen_on=""), "given by hand"),
            (report("same", warnings=("4 were also used to choose the threshold",)), "very images"),
            (REPORT.evaluation, "a report"),
        ],
    },
    "12-errors": {
        "context": {"report": REPORT, "data": DATA},
        "right": [maps(6), maps(7, 6).axes[0]],
        "wrong": [
            (maps(6, 8), "called correctly"),
            (maps(0), "called correctly"),
            (maps(6, overlay=False), "No map"),
            (maps(6, images=255 - DATA.images), "not an image of"),
            (Figure(), "no picture"),
            (REPORT, "a figure of images"),
        ],
    },
    "12-report": {
        "context": {},
        "right": [checked(), checked().to_dict()],
        "wrong": [
            (pd.Series({"protocol and report are there": False}), "not there yet"),
            (checked("sealed"), "sealed before"),
            (checked("threshold"), "not from validation"),
            (checked("primary"), "has no interval"),
            (checked("patients"), "no patient identifiers"),
            (checked("subgroups"), "promised subgroups"),
            (checked("limits"), "does not state the limits"),
            (True, "the result of"),
        ],
    },
}

import tempfile
from pathlib import Path

import pandas as pd

FOLDER = Path(tempfile.mkdtemp())
CONTENT = {"a": "train", "b": "train", "c": "train", "d": "train", "e": "val",
           "A": "test", "B": "test", "E": "test", "x": "test", "y": "test"}  # fmt: skip
for name in CONTENT:
    (FOLDER / f"{ord(name)}.jpg").write_bytes(name.lower().encode())
TABLE = pd.DataFrame({
    "path": [str(FOLDER / f"{ord(name)}.jpg") for name in CONTENT], "split": CONTENT.values(),
})  # fmt: skip

EXAMPLES = {
    "09-columns": {
        "context": {},
        "right": [["a", "c"], "c, a"],
        "wrong": [
            (["a", "b", "c"], "A cast (b)"),
            (["a", "c", "d"], "A plate over the fracture (d)"),
            (["a", "c", "e"], "This view (e)"),
            (["a"], "There is a second one"),
        ],
    },
    "09-copies": {
        "context": {"table": TABLE},
        "right": [0.6, 0.599],
        "wrong": [
            (0.3, "share among all images"),
            (3, "the number of copies"),
            (0.4, "images that are not copies"),
            (0.5, "share of the training images"),
        ],
    },
    "09-clean": {
        "context": {"table": TABLE},
        "right": [TABLE.drop([0, 1, 4]), TABLE.drop([0, 1, 4]).iloc[::-1]],
        "wrong": [
            (TABLE, "still in another split"),
            (TABLE.drop([5, 6, 7]), "must not change"),
            (TABLE[TABLE["split"] == "test"], "repeat no test image"),
        ],
    },
}

"""Is what tells a class the disease itself? The same people and machines, audited without lesions.

    python benchmarks/sample_without_lesions.py [--sets covid brain retina]

A Markdown table is printed: for each class of the samples of COVID-19, brains and eyes, how well
the four numbers of an image that are no disease tell it, as committed and drawn again with every
lesion left out. The first may be above 0.60 because a large lesion changes the histogram; the
second may not. (In the sample of bones, casts and metal tell the class on purpose.)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from medimg import datasets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))  # the simulator

from simulate import brain, covid, retina

FIRST = ["image_id", "path", "label", "patient_id"]  # no column of the table is audited


def no_disease(*_: Any, **__: Any) -> None:
    """Stand for a disease or a tumour that is not there."""


def no_lesions(light: np.ndarray, *_: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the eye as it is, and no lesion."""
    return np.clip(light, 0, 1), np.zeros(light.shape[:2], bool)


SETS: dict[str, tuple[Callable[..., pd.DataFrame], str, Callable[..., Any]]] = {
    "covid": (covid.make_sample, "simulate.settings.Disease", no_disease),
    "brain": (brain.make_sample, "simulate.brain.draw_tumour", no_disease),
    "retina": (retina.make_sample, "simulate.fundus._lesions", no_lesions),
}


def strongest(studies: pd.DataFrame) -> pd.Series[str]:
    """Return the most telling number of an image for each class, in words."""
    shown = studies[FIRST]
    shown.attrs["classes"] = datasets.class_names(studies)
    table = datasets.audit_shortcuts(shown).drop_duplicates("class").set_index("class")
    interval = [f"{row.auc:.3f} ({row.low:.3f} to {row.high:.3f})" for row in table.itertuples()]
    return table["shortcut"] + " " + interval


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sets", nargs="*", default=[*SETS], choices=[*SETS])
    print("| set | class | with lesions | without |")
    print("|---|---|---|---|")
    for name in options.parse_args().sets:
        make, where, nothing = SETS[name]
        with tempfile.TemporaryDirectory() as folder, mock.patch(where, nothing):
            assert make(folder)["mask_path"].eq("").all()
            without = strongest(datasets.load(str(Path(folder) / name / "studies.csv")))
        with_them = strongest(datasets.load(f"sample_{name}"))
        for label in with_them.index.sort_values():
            print(
                f"| sample_{name} | {label} | {with_them[label]} | {without[label]} |", flush=True
            )


if __name__ == "__main__":
    main()

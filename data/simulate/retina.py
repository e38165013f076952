"""Write ``data/retina``: simulated colour photographs of both eyes of people with diabetes.

Each has a grade of 0 to 4 on the International Clinical Diabetic Retinopathy scale, a mask of its
lesions, one of two cameras and a stated image quality. How a photograph is drawn: `fundus`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from simulate.crosssection import check_count
from simulate.files import Drawn, jpeg, write_set
from simulate.fundus import View, photograph

PATIENTS = 90
GRADES = (0.42, 0.12, 0.24, 0.11, 0.11)  # share of each grade among first eyes
DEAL = ("train", "val", "train", "test", "train")
COLUMNS = ("eye", "camera", "quality", "pigment", "drusen", "age")


def make_sample(
    out: str | os.PathLike[str], *, patients: int = PATIENTS, seed: int = 2026
) -> pd.DataFrame:
    """Write ``out/retina``: photographs, masks and ``studies.csv``.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    patients : int
        Each gives two photographs.
    seed : int
        The same seed gives the same bytes.

    Returns
    -------
    DataFrame
        The study table; paths are relative to ``out/retina``.

    Raises
    ------
    SimulationError
        When a number is impossible or the folder cannot be written.
    """
    table = plan(patients, seed=seed)
    drawn = _photographs(table, seed)
    root = Path(out) / "retina"
    return write_set(root, drawn, total=len(table), suffix=".jpg", columns=COLUMNS)


def plan(patients: int, *, seed: int) -> pd.DataFrame:
    """Say what is photographed: one row per eye, split by patient.

    The grade of the second eye is that of the first or one step beside it. Camera, quality,
    pigment, drusen and age are dealt without regard to the grade.

    Parameters
    ----------
    patients, seed : int
        As in `make_sample`.
    """
    check_count("patients", patients)
    check_count("seed", seed, least=0)
    rng = np.random.default_rng([seed, 8])
    counts = np.floor(np.cumsum([0.0, *GRADES]) * patients + 0.5).astype(int)
    first = rng.permutation(np.repeat(np.arange(5), np.diff(counts)))
    # Patients in the order of their grade are dealt in turn, so that no split lacks a grade.
    splits = np.empty(patients, dtype=object)
    splits[np.lexsort((rng.random(patients), first))] = [
        DEAL[number % len(DEAL)] for number in range(patients)
    ]
    rows = []
    for number in range(patients):
        person = {
            "patient_id": f"r{number + 1:03d}",
            "split": splits[number],
            "camera": "AB"[int(rng.random() < 0.4)],
            "pigment": round(float(rng.random()), 2),
            "drusen": bool(rng.random() < 0.15),
            "age": int(rng.integers(28, 84)),
        }
        other = int(np.clip(first[number] + rng.choice((-1, 0, 0, 1)), 0, 4))
        for eye, grade in (("right", int(first[number])), ("left", other)):
            quality = ("good", "good", "good", "fair", "ungradable")[int(rng.random() * 4.4)]
            rows.append({**person, "eye": eye, "label": grade, "quality": quality})
    table = pd.DataFrame(rows)
    table.insert(0, "image_id", [f"f{number + 1:03d}" for number in range(len(table))])
    return table


def view_of(quality: str, rng: np.random.Generator) -> View:
    """Draw focus, haze, light and aim for an image quality."""
    blur, haze, light = {
        "good": ((0.3, 0.8), (0.00, 0.06), (0.90, 1.08)),
        "fair": ((0.9, 1.6), (0.06, 0.25), (0.70, 1.12)),
        "ungradable": ((2.6, 5.0), (0.35, 0.70), (0.40, 0.80)),
    }[quality]
    shift = rng.normal(0, 0.015, 2)
    return View(
        rng.uniform(*blur), rng.uniform(*haze), rng.uniform(*light),
        (float(shift[0]), float(shift[1])), rng.normal(0, 4),
    )  # fmt: skip


def draw(row: dict[Any, Any], seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the photograph, float64 (H, W, 3), and the lesions, bool (H, W), of a plan's row."""
    rng = np.random.default_rng([seed, 9, int(row["image_id"][1:])])
    return photograph(
        row["label"], eye=row["eye"], camera=row["camera"], view=view_of(row["quality"], rng),
        pigment=row["pigment"], drusen=row["drusen"], rng=rng,
    )  # fmt: skip


def _photographs(table: pd.DataFrame, seed: int) -> Iterator[Drawn]:
    """Yield each photograph of the plan with its lesions."""
    for row in table.to_dict("records"):
        image, lesions = draw(row, seed)
        yield row, jpeg(image, quality=90, subsampling=0), lesions

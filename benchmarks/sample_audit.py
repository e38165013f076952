"""Can the label be told without seeing disease? 600 simulated films, every AUC at most 0.60.

python benchmarks/sample_audit.py [--films 600] [--cache FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from sample_films import CACHE, simulated

from medimg.datasets.audit import audit_shortcuts


def blank_lungs(path: str, lungs: str, out: Path) -> str:
    """Write a film with grey where a ray met lung, and return its path."""
    film, lung = np.asarray(Image.open(path)).copy(), np.asarray(Image.open(lungs)) > 0
    film[lung] = 128
    target = out / Path(path).name
    Image.fromarray(film).save(target)
    return str(target)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--films", type=int, default=600)
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--cache", type=Path, default=CACHE)
    given = options.parse_args()
    studies = simulated(given.cache, "adult", given.films, size=240, seed=given.seed)
    table = audit_shortcuts(studies)
    print("Films as they are")
    print(table.round(3).to_string(index=False))
    out = given.cache / f"blank-{given.films}-{given.seed}"
    out.mkdir(parents=True, exist_ok=True)
    pairs = zip(studies["path"], studies["lungs_path"], strict=True)
    blank = studies[["image_id", "label", "patient_id"]].assign(
        path=[blank_lungs(path, lungs, out) for path, lungs in pairs]
    )
    print("Lungs blanked out")
    print(audit_shortcuts(blank).round(3).to_string(index=False))


if __name__ == "__main__":
    main()

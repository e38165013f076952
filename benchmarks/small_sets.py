"""Fit few films by the command line: the sample over five seeds, 70 real films over five draws.

python benchmarks/small_sets.py                       the sample
python benchmarks/small_sets.py --root FOLDER         and the pneumonia set that lies there
python benchmarks/small_sets.py --root FOLDER --all   and all of it, patients kept apart
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from medimg import datasets, metrics
from medimg.__main__ import main as medimg


def run(arguments: list[str], seed: int) -> tuple[metrics.Predictions, float]:
    """Fit and evaluate by the command line; return the test predictions and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        model = ["--model", f"{folder}/model.safetensors", "--out", f"{folder}/evaluation"]
        for command in (["fit", *arguments, "--seed", str(seed), "--out", folder],
                        ["evaluate", *model]):  # fmt: skip
            if medimg(command):
                raise SystemExit(f"medimg {' '.join(command)} failed")
        path = Path(folder) / "evaluation" / "predictions.csv"
        return read(path), time.perf_counter() - start


def read(path: Path) -> metrics.Predictions:
    """Read the two-class predictions that ``medimg evaluate`` wrote."""
    table = pd.read_csv(path, dtype={"image_id": str, "patient_id": str})
    columns = (table[name].to_numpy() for name in ("image_id", "y_true", "y_score", "patient_id"))
    return metrics.Predictions(*columns)


def drawn(studies: pd.DataFrame, learn: int, test: int, seed: int) -> pd.DataFrame:
    """Take as many images of each class to learn from, a fifth of their patients for validation.

    Where the test split is too small, the test takes patients of train and val that were not taken
    to learn from.
    """
    rng = np.random.default_rng(seed)
    taken = studies[studies["split"] != "test"].assign(split="train")
    taken = datasets.subsample(taken, {"train": learn}, rng=rng, balanced=True)
    taken = datasets.split_by_patient(taken, rng=rng, fractions=(0.8, 0.2, 0.0))
    held_out = studies[studies["split"] == "test"]
    if len(held_out) < test:
        unused = ~studies["patient_id"].isin(taken["patient_id"])
        held_out = studies[unused].assign(split="test")
    held_out = datasets.subsample(held_out, {"test": test}, rng=rng)
    return pd.concat([taken, held_out], ignore_index=True)


def table(name: str, arguments: list[str], seeds: range, few: pd.DataFrame | None = None) -> None:
    """Print the test AUC of each seed, and their mean; 70 images are drawn from `few`, if given."""
    aucs = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            given = arguments
            if few is not None:
                given = [*arguments, "--data", f"{folder}/few.csv"]
                drawn(few, 70, 1000, seed).to_csv(given[-1], index=False)
            predictions, seconds = run(given, seed)
        found = metrics.auc(predictions)
        aucs.append(found.value)
        print(f"RESULT {name:28} seed {seed}  n {len(predictions):5}  AUC {found:.3f}  "
              f"{seconds:5.0f} s", flush=True)  # fmt: skip
    spread = np.std(aucs, ddof=1) if len(aucs) > 1 else 0.0
    print(f"RESULT {name:28} mean {np.mean(aucs):.4f}  sd {spread:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="where the folder of the pneumonia set lies")
    parser.add_argument("--all", action="store_true", help="also train on all of it")
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    seeds = range(args.seeds)
    table("sample", ["--data", "sample"], seeds)
    if args.root:
        films = datasets.load("kermany", root=args.root)
        table("kermany, 35 + 35 films", [], seeds, few=films)
        if args.all:
            real = ["--data", "kermany", "--root", args.root, "--strategy", "frozen"]
            table("kermany, all, frozen", real, range(1))


if __name__ == "__main__":
    main()

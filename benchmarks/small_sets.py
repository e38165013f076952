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

from medimg import metrics
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


def table(name: str, arguments: list[str], seeds: range) -> None:
    """Print the test AUC of each seed, and their mean."""
    aucs = []
    for seed in seeds:
        predictions, seconds = run(arguments, seed)
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
        real = ["--data", "kermany", "--root", args.root]
        table("kermany, 35 + 35 films", [*real, "--draw", "70", "--draw-test", "1000"], seeds)
        if args.all:
            table("kermany, all, frozen", [*real, "--strategy", "frozen"], range(1))


if __name__ == "__main__":
    main()

"""Seconds for the main metrics with their intervals, one and two images per patient.

python benchmarks/metrics_speed.py [--rows 5000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from engine_films import machine

from medimg import metrics
from medimg.metrics import Predictions


def seconds(run: Callable[[], object]) -> float:
    """Median of five runs after one to warm up."""
    run()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    options = parser.parse_args()
    rng, n = np.random.default_rng(0), options.rows
    truth, ids = rng.integers(0, 2, n), [str(i) for i in range(n)]
    sex = pd.DataFrame({"sex": rng.choice(["F", "M"], n)})
    grades = rng.integers(0, 5, n)
    shares = rng.dirichlet(np.ones(5), n)
    shares[np.arange(n), grades] += 1
    print(f"{machine()}; {n} rows\n")
    print("| metric | one image per patient (s) | two images per patient (s) |\n|---|---|---|")
    who = (None, [str(i // 2) for i in range(n)])
    pairs = [
        [Predictions(ids, truth, 0.3 * truth + 0.7 * rng.random(n), w) for _ in range(2)]
        for w in who
    ]
    graded = [Predictions(ids, grades, shares / 2, w) for w in who]
    for name, run in {
        "auc": lambda k: metrics.auc(pairs[k][0]),
        "auc_difference": lambda k: metrics.auc_difference(*pairs[k]),
        "evaluate, two classes": lambda k: metrics.evaluate(pairs[k][0], threshold=0.5),
        "evaluate, five grades": lambda k: metrics.evaluate(graded[k], ordinal=True),
        "calibration_line": lambda k: metrics.calibration_line(pairs[k][0]),
        "decision_curve": lambda k: metrics.decision_curve(pairs[k][0]),
        "subgroups": lambda k: metrics.subgroups(pairs[k][0], sex, threshold=0.5),
    }.items():
        one, two = (seconds(lambda k=k, run=run: run(k)) for k in (0, 1))
        print(f"| {name} | {one:.3f} | {two:.3f} |", flush=True)


if __name__ == "__main__":
    main()

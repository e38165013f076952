"""Seconds for the AUC, its interval and a difference of two on many rows, without and with ties.

python benchmarks/metrics_speed.py [--rows 100000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from engine_films import machine

from medimg.metrics import Predictions, auc, auc_difference


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
    parser.add_argument("--rows", type=int, default=100_000)
    options = parser.parse_args()
    rng, n = np.random.default_rng(0), options.rows
    truth = rng.integers(0, 2, n)
    ids = [str(i) for i in range(n)]
    people = [str(i // 2) for i in range(n)]
    print(f"{machine()}; {n} rows\n")
    print("| scores | patients | AUC (s) | difference (s) |\n|---|---|---|---|")
    for name, digits in (("no ties", 12), ("101 values", 2)):
        first, second = (np.round(0.3 * truth + 0.7 * rng.random(n), digits) for _ in range(2))
        for word, who in (("one image each", None), ("two images each", people)):
            one, other = (Predictions(ids, truth, s, who) for s in (first, second))
            alone = seconds(lambda one=one: auc(one))
            both = seconds(lambda one=one, other=other: auc_difference(one, other))
            print(f"| {name} | {word} | {alone:.2f} | {both:.2f} |", flush=True)


if __name__ == "__main__":
    main()

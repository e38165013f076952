"""Are the films true enough? Train on simulated films only, score all real ones.

    python benchmarks/sample_transfer.py REAL [--films 1600] [--cache FOLDER]

REAL is a folder with train/NORMAL and train/PNEUMONIA (Kermany et al.). Simulated children,
frozen EfficientNet-Lite0, logistic regression; the curve is against the number of films.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sample_films import CACHE, classifier, features, kermany, pixels, simulated
from sklearn.metrics import roc_auc_score

PENALTIES = (1e-3, 1e-4, 1e-5)  # the farther the films from the real ones, the stronger


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("real", type=Path)
    options.add_argument("--films", type=int, default=1600)
    options.add_argument("--seed", type=int, default=12)
    options.add_argument("--cache", type=Path, default=CACHE)
    given = options.parse_args()
    studies = simulated(given.cache, "child", given.films, size=224, seed=given.seed)
    known = features(pixels(studies), given.cache)
    ill = (studies["label"] == "pneumonia").to_numpy().astype(int)
    images, truth, _ = kermany(given.real)
    real = features(images, given.cache)
    rng = np.random.default_rng(0)
    print(f"simulated films   AUC on {len(truth)} real films (three draws), by strength of penalty")
    print("                  " + "".join(f"C = {c:<14g}" for c in PENALTIES))
    for count in (100, 200, 400, 800, len(ill)):
        if count > len(ill):
            continue
        draws = [rng.permutation(len(ill))[:count] for _ in range(3 if count < len(ill) else 1)]
        cells = []
        for strength in PENALTIES:
            aucs = [
                roc_auc_score(
                    truth, classifier(strength).fit(known[d], ill[d]).decision_function(real)
                )
                for d in draws
            ]
            cells.append(f"{np.mean(aucs):.3f} +/- {np.std(aucs):.3f}   ")
        print(f"{count:15d}   {''.join(cells)}")


if __name__ == "__main__":
    main()

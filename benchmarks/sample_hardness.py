"""Is the sample as hard as real films? 70 training films, 300 of other patients, ten draws.

    python benchmarks/sample_hardness.py [--films 600] [--cache FOLDER]

Wanted: mean AUC between 0.88 and 0.96 (real paediatric films: 0.971, partly by shortcuts).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sample_films import CACHE, classifier, features, pixels, simulated
from sklearn.metrics import roc_auc_score


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--films", type=int, default=600)
    options.add_argument("--seed", type=int, default=11)
    options.add_argument("--cache", type=Path, default=CACHE)
    given = options.parse_args()
    studies = simulated(given.cache, "adult", given.films, size=240, seed=given.seed)
    known = features(pixels(studies), given.cache)
    ill = (studies["label"] == "pneumonia").to_numpy().astype(int)
    patients = studies["patient_id"].to_numpy()
    rng = np.random.default_rng(0)
    overall, parts = [], []
    for _ in range(10):
        train = np.concatenate([rng.choice(np.flatnonzero(ill == k), 35, False) for k in (0, 1)])
        others = rng.permutation(np.flatnonzero(~np.isin(patients, patients[train])))[:300]
        score = classifier().fit(known[train], ill[train]).decision_function(known[others])
        overall.append(roc_auc_score(ill[others], score))
        parts.append(by_part(studies.iloc[others], ill[others], score))
    print(f"{'films':32s} AUC (70 to train, {len(others)} to test, 10 draws)")
    print(f"{'all':32s} {np.mean(overall):.3f} +/- {np.std(overall):.3f}")
    for name in parts[0]:
        print(f"{name:32s} {np.mean([p[name] for p in parts]):.3f}")


def by_part(studies, ill, score) -> dict[str, float]:
    """Return the AUC of each kind of disease against all the healthy."""
    found = {}
    for column in ("pattern", "grade", "place"):
        for value in sorted(set(studies.loc[ill == 1, column])):
            keep = (ill == 0) | (studies[column] == value).to_numpy()
            found[f"{column} {value}"] = roc_auc_score(ill[keep], score[keep])
    return found


if __name__ == "__main__":
    main()

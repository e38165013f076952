"""How often do nominal 95 % intervals hold the truth? A simulation, printed as a table.

Scores are normal (binormal model), so that the true sensitivity and AUC are known. "Images a
patient" above 1 gives the images of a patient a shared part, which intervals must be wider for.

    python benchmarks/coverage.py [--draws 4000]
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import expit, ndtr, ndtri

from medimg.metrics import Predictions, auc, auc_difference
from medimg.metrics.binary import shares
from medimg.metrics.estimates import rows

# (patients with disease, patients without, images a patient, true AUC)
SETTINGS = [
    (20, 20, 1, 0.95),
    (30, 60, 1, 0.80),
    (50, 50, 1, 0.90),
    (100, 300, 1, 0.80),
    (100, 300, 1, 0.95),
    (60, 120, 3, 0.85),
]

HEAD = (
    "diseased  healthy  images   AUC  sensitivity  specificity          AUC   AUC, plain"
    "   difference"
)


def draw(rng: np.random.Generator, setting: tuple[int, int, int, float]) -> list[Predictions]:
    """Predictions of two equally good models, correlated by 0.6, on the same images."""
    n_pos, n_neg, images, true_auc = setting
    patient = np.repeat(np.arange(n_pos + n_neg), images)
    truth = (patient < n_pos).astype(int)
    alike = 0.5 if images > 1 else 0.0  # share of the variance that a patient's images share
    n = len(patient)

    def noise() -> np.ndarray:
        own, shared = rng.normal(size=n), rng.normal(size=n_pos + n_neg)[patient]
        return np.sqrt(1 - alike) * own + np.sqrt(alike) * shared

    common = noise()
    shift = np.sqrt(2) * ndtri(true_auc) * truth
    ids = [str(i) for i in range(n)]
    return [
        Predictions(
            ids,
            truth,
            expit(shift + np.sqrt(0.6) * common + np.sqrt(0.4) * noise()),
            patient.astype(str) if images > 1 else None,
        )
        for _ in range(2)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(HEAD)
    for setting in SETTINGS:
        rng = np.random.default_rng(options.seed)
        shift = np.sqrt(2) * ndtri(setting[3])
        cut = shift / 2  # sensitivity equals specificity there
        truth = np.array([ndtr(shift - cut), ndtr(cut), setting[3], setting[3], 0.0])
        held = np.zeros(5)
        for _ in range(options.draws):
            first, second = draw(rng, setting)
            part = shares(rows(first), float(expit(cut)))
            found = (part["sensitivity"], part["specificity"], auc(first),
                     auc(first, scale="plain"), auc_difference(first, second).difference,
                     )  # fmt: skip
            held += [e.low <= t <= e.high for e, t in zip(found, truth, strict=True)]
        shown = "".join(f"{100 * share / options.draws:>13.1f}" for share in held)
        n_pos, n_neg, images, true_auc = setting
        print(f"{n_pos:>8}  {n_neg:>7}  {images:>6}  {true_auc:.2f}{shown}", flush=True)


if __name__ == "__main__":
    main()

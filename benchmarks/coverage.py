"""How often do nominal 95 % intervals hold the truth? A simulation, printed as a table.

Scores are normal (binormal model), so that the true sensitivity and AUCs are known. Two models
score the same images, correlated by 0.6; the second may truly be worse. "Images a patient" above 1
gives the images of a patient a shared part, which intervals must be wider for.

    python benchmarks/coverage.py [--draws 4000]
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from engine_films import machine
from scipy.special import expit, ndtr, ndtri

from medimg.metrics import Predictions, auc, auc_difference
from medimg.metrics.binary import shares
from medimg.metrics.estimates import rows


class Setting(NamedTuple):
    """Patients with disease and without, images a patient, the two models' true AUCs."""

    diseased: int
    healthy: int
    images: int
    auc: float
    other: float


SETTINGS = (
    Setting(20, 20, 1, 0.95, 0.95),
    Setting(20, 20, 1, 0.95, 0.85),
    Setting(30, 60, 1, 0.80, 0.80),
    Setting(50, 50, 1, 0.90, 0.90),
    Setting(100, 300, 1, 0.80, 0.80),
    Setting(100, 300, 1, 0.95, 0.90),
    Setting(60, 120, 3, 0.85, 0.85),
)
COLUMNS = ("sensitivity", "specificity", "AUC", "AUC, plain", "difference", "DeLong's")


def draw(rng: np.random.Generator, setting: Setting) -> list[Predictions]:
    """Predictions of the two models on the same images."""
    people = setting.diseased + setting.healthy
    patient = np.repeat(np.arange(people), setting.images)
    truth = (patient < setting.diseased).astype(int)
    alike = 0.5 if setting.images > 1 else 0.0  # share of the variance that a patient's share
    n = len(patient)

    def noise() -> np.ndarray:
        own, shared = rng.normal(size=n), rng.normal(size=people)[patient]
        return np.sqrt(1 - alike) * own + np.sqrt(alike) * shared

    common = noise()
    ids = [str(i) for i in range(n)]
    patients = patient.astype(str) if setting.images > 1 else None
    scores = [
        np.sqrt(2) * ndtri(area) * truth + np.sqrt(0.6) * common + np.sqrt(0.4) * noise()
        for area in (setting.auc, setting.other)
    ]
    return [Predictions(ids, truth, expit(score), patients) for score in scores]


def held(setting: Setting, draws: int, seed: int) -> np.ndarray:
    """Share of the draws whose interval holds the truth, one a column."""
    rng = np.random.default_rng(seed)
    shift = np.sqrt(2) * ndtri(setting.auc)
    cut = shift / 2  # sensitivity equals specificity there
    gap = setting.auc - setting.other
    truth = (ndtr(shift - cut), ndtr(cut), setting.auc, setting.auc, gap, gap)
    hits = np.zeros(len(COLUMNS))
    for _ in range(draws):
        first, second = draw(rng, setting)
        part = shares(rows(first), float(expit(cut)))
        found = (
            part["sensitivity"],
            part["specificity"],
            auc(first),
            auc(first, scale="plain"),
            auc_difference(first, second).difference,
            auc_difference(first, second, interval="delong").difference,
        )
        hits += [e.low <= t <= e.high for e, t in zip(found, truth, strict=True)]
    return hits / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{machine()}; {options.draws} draws a setting; % of nominal 95 % intervals\n")
    print("| patients | images | AUCs | " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * (3 + len(COLUMNS)))
    for setting in SETTINGS:
        shown = " | ".join(f"{100 * s:.1f}" for s in held(setting, options.draws, options.seed))
        print(
            f"| {setting.diseased} + {setting.healthy} | {setting.images} | "
            f"{setting.auc:.2f}, {setting.other:.2f} | {shown} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

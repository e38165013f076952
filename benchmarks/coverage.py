"""How often do nominal 95 % intervals hold the truth? Simulations, printed as two tables.

Scores are normal (binormal model), so that the true rates and AUCs are known. Two models score the
same images, correlated by 0.6; the second may truly be worse. "Images" above 1 gives the images of
a patient a shared part, which intervals must be wider for. The last four columns are of cohorts, in
which the sizes of the classes vary, too.

The second table is about scores out of fold: five classifiers, each judging the fifth that it has
not learned from, pooled, as in notebook 4. The truth is then the mean AUC of such classifiers.

    python benchmarks/coverage.py [--draws 4000]
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import numpy as np
from engine_films import machine
from scipy.special import expit, ndtr, ndtri
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from medimg.metrics import Predictions, auc, auc_difference, evaluate, ppv_npv_at
from medimg.metrics.evaluation import shares
from medimg.metrics.intervals import difference
from medimg.metrics.roc import area


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
COLUMNS = ("sensitivity", "specificity", "PPV at 5 %", "difference of sensitivities", "AUC",
           "AUC, plain", "difference of AUCs", "DeLong's", "balanced accuracy", "F1",
           "kappa")  # fmt: skip
FOLDED = ((100, 0.80), (100, 0.90), (400, 0.80), (400, 0.90))
"""Films, and the best AUC that is possible."""


def draw(rng: np.random.Generator, setting: Setting, *, cohort: bool = False) -> list[Predictions]:
    """Predictions of the two models on the same images; of a cohort, the classes' sizes vary."""
    people = setting.diseased + setting.healthy
    patient = np.repeat(np.arange(people), setting.images)
    place = patient if not cohort else (people * rng.random(people))[patient]
    truth = (place < setting.diseased).astype(int)
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


def truths(setting: Setting) -> dict[str, float]:
    """Return the true value of each column, at the cut where sensitivity equals specificity."""
    shift, other = (np.sqrt(2) * ndtri(a) for a in (setting.auc, setting.other))
    se, sp, se_other = ndtr(shift / 2), ndtr(shift / 2), ndtr(other - shift / 2)
    n1, n0 = setting.diseased, setting.healthy
    tp, fn, fp, tn = n1 * se, n1 * (1 - se), n0 * (1 - sp), n0 * sp
    n = n1 + n0
    chance = ((tp + fp) * n1 + (fn + tn) * n0) / n**2
    gap = setting.auc - setting.other
    return {
        "sensitivity": se, "specificity": sp,
        "PPV at 5 %": 0.05 * se / (0.05 * se + 0.95 * (1 - sp)),
        "difference of sensitivities": se - se_other, "AUC": setting.auc,
        "AUC, plain": setting.auc, "difference of AUCs": gap, "DeLong's": gap,
        "balanced accuracy": (se + sp) / 2, "F1": 2 * tp / (2 * tp + fp + fn),
        "kappa": ((tp + tn) / n - chance) / (1 - chance),
    }  # fmt: skip


def held(setting: Setting, draws: int, seed: int) -> np.ndarray:
    """Share of the draws whose interval holds the truth, one per column."""
    rng = np.random.default_rng(seed)
    truth = truths(setting)
    cut = float(expit(np.sqrt(2) * ndtri(setting.auc) / 2))
    hits, both = np.zeros(len(COLUMNS)), ("sensitivity", "specificity")
    for _ in range(draws):
        first, second = draw(rng, setting)
        result = evaluate(draw(rng, setting, cohort=True)[0], threshold=cut)
        one, other = first.rows, second.rows
        part = [shares(data, data.score >= cut) for data in (one, other)]
        found_of = [p["sensitivity"] for p in part]
        areas = [area(data) for data in (one, other)]
        plain = {  # a value and its error by DeLong, without the logit scale
            "AUC, plain": (areas[0].value, areas[0].parts),
            "DeLong's": (areas[0].value - areas[1].value, areas[0].parts - areas[1].parts),
        }
        found = {
            "PPV at 5 %": ppv_npv_at(0.05, *(part[0][m].interval(0.95) for m in both)).ppv,
            "difference of sensitivities": difference(*found_of, level=0.95),
            "AUC": areas[0].interval(0.95), "difference of AUCs": auc_difference(first, second),
            **{m: part[0][m].interval(0.95) for m in both},
            "balanced accuracy": result["balanced_accuracy"], "F1": result["f1"],
        }  # fmt: skip
        for k, name in enumerate(COLUMNS):
            if name in plain:
                value, parts = plain[name]
                hits[k] += abs(value - truth[name]) <= 1.959963984540054 * np.sqrt(parts @ parts)
            else:
                e = found[name] if name in found else result["kappa"]
                hits[k] += e.low <= truth[name] <= e.high
    return hits / draws


def out_of_fold(films: int, best: float, draws: int, seed: int) -> tuple[float, float]:
    """Share of the pooled intervals that hold the mean AUC of the classifiers, and that mean."""
    rng = np.random.default_rng(seed)
    features = 20
    shift = np.full(features, np.sqrt(2 / features) * ndtri(best))
    low, high, true = np.zeros((3, draws))
    ids = [str(i) for i in range(films)]
    for k in range(draws):
        y = np.arange(films) % 2
        x = rng.normal(size=(films, features)) + np.outer(y, shift)
        score = np.zeros(films)
        folds = StratifiedKFold(5, shuffle=True, random_state=int(rng.integers(2**31)))
        for learn, judge in folds.split(x, y):
            model = LogisticRegression().fit(x[learn], y[learn])
            score[judge] = model.predict_proba(x[judge])[:, 1]
            w = model.coef_[0]
            true[k] += ndtr(w @ shift / np.linalg.norm(w) / np.sqrt(2)) / 5
        found = auc(Predictions(ids, y, score))
        low[k], high[k] = found.low, found.high
    return float(np.mean((low <= true.mean()) & (true.mean() <= high))), float(true.mean())


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
    print("\n| films | best AUC possible | mean AUC of the classifiers | held, out of fold |")
    print("|---|---|---|---|")
    for films, best in FOLDED:
        share, mean = out_of_fold(films, best, options.draws // 4, options.seed)
        print(f"| {films} | {best:.2f} | {mean:.3f} | {100 * share:.1f} |", flush=True)


if __name__ == "__main__":
    main()

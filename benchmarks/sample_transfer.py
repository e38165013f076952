"""Are the films true enough? Train on simulated films only, score all real ones.

    python benchmarks/sample_transfer.py REAL [--films 1600] [--cache FOLDER] [--table TABLE]
    python -m medimg fit --data TABLE --seed 0 --out OUT
    python benchmarks/sample_transfer.py REAL --network OUT/model

REAL is a folder with train/NORMAL and train/PNEUMONIA (Kermany et al.). The first line trains
logistic regressions on frozen features of simulated children, for a curve against the number of
films; the second fine-tunes by the library's recipe, which knows nothing of the real films, and the
third judges it. With `--first N` the table holds only so many films, for a curve of the fine-tuned
network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sample_films import CACHE, classifier, features, kermany, pixels, simulated
from sklearn.metrics import roc_auc_score

from medimg import models, training
from medimg.metrics import Predictions, auc

PENALTIES = (1e-3, 1e-4, 1e-5)  # the farther the films from the real ones, the stronger


def to_fit(studies: pd.DataFrame, file: Path, *, val: int = 90) -> None:
    """Write the films as a table for `fit`: those of some patients to validate, none to test."""
    patients = studies["patient_id"].drop_duplicates().sample(frac=1, random_state=0)
    films = studies.groupby("patient_id").size()[patients]
    chosen = patients[(films.cumsum() - films).to_numpy() < val]
    split = np.where(studies["patient_id"].isin(chosen), "val", "train")
    columns = ["image_id", "path", "label", "split", "patient_id"]
    # relative paths in a table count from the table's own folder
    paths = [str(Path(path).resolve()) for path in studies["path"]]
    studies.assign(split=split, path=paths)[columns].to_csv(file, index=False)


def judge(network: str, real: Path) -> None:
    """Print the AUC of a kept network on the real films, with its interval by patient."""
    images, truth, patients = kermany(real)
    model, info = models.load_model(network)
    scores = training.probabilities(training.predict_logits(model, images, tta=info.tta))
    ids = [str(i) for i in range(len(truth))]
    found = auc(Predictions(ids, truth, scores, patients, info.classes))
    print(f"fine-tuned by the recipe: AUC {found!r} on {len(truth)} real films")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("real", type=Path)
    options.add_argument("--films", type=int, default=1600)
    options.add_argument("--seed", type=int, default=12)
    options.add_argument("--cache", type=Path, default=CACHE)
    options.add_argument("--table", type=Path, help="write the films there, to fit on")
    options.add_argument("--first", type=int, help="only so many of them, for a curve")
    options.add_argument("--network", help="only judge this network")
    given = options.parse_args()
    if given.network:
        judge(given.network, given.real)
        return
    studies = simulated(given.cache, "child", given.films, size=224, seed=given.seed)
    if given.table:
        to_fit(studies.head(given.first or len(studies)), given.table)
    known = features(pixels(studies))
    ill = (studies["label"] == "pneumonia").to_numpy().astype(int)
    images, truth, _ = kermany(given.real)
    real = features(images)
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

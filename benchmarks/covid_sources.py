"""Is COVID-19 recognised, or the archive? Frozen features on public films of several sources.

    python benchmarks/covid_sources.py FOLDER > benchmarks/results/covid_sources.md

FOLDER holds `studies.csv` (columns path, label, patient_id, source), as for notebook 10, section 8.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from medimg import datasets, metrics, models, training


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    studies = datasets.load(options.parse_args().folder / "studies.csv")
    data = datasets.decode(studies, size=192)
    net = models.build_model("efficientnet_lite0")
    features = np.asarray(training.extract_features(net, data.images))
    covid, one = studies["label"].eq("covid"), studies["source"].eq("cohen")
    questions = {
        "COVID-19 against the rest, all sources": (covid, covid | True),
        "COVID-19 against other pneumonia, one source": (
            covid,
            one & studies["label"].ne("normal"),
        ),
        "which of two sources, all with COVID-19": (one, covid),
    }
    print("# COVID-19 or the archive?\n\n`python benchmarks/covid_sources.py FOLDER`\n")
    print("EfficientNet-Lite0 frozen at 192 pixels, logistic regression, five folds by patient\n")
    print("| question | images | AUC, 95 % interval |\n|---|---|---|")
    recipe = LogisticRegression(C=0.01, max_iter=2000)
    for question, (truth, rows) in questions.items():
        x, y, table = features[rows], truth[rows].to_numpy().astype(int), studies[rows]

        def score(learn, judge, x=x, y=y):
            return recipe.fit(x[learn], y[learn]).predict_proba(x[judge])[:, 1]

        scores = training.cross_validate(score, y, table["patient_id"].to_numpy())
        found = metrics.Predictions(table["image_id"], y, scores, table["patient_id"])
        print(f"| {question} | {len(y):,} | {metrics.auc(found):.3f} |", flush=True)


if __name__ == "__main__":
    main()

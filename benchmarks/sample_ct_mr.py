"""Measure how hard the simulated CT and MR tasks are, and whether anything else tells the label.

Fresh simulated patients (other seeds than the sample's), four slices each. Two kinds of rows:

- "network": a frozen EfficientNet-Lite0 with logistic regression, ten draws of 18 patients to
  train on and all others to test on: the mean AUC and its standard deviation over the draws.
- shortcuts: a random forest, or logistic regression, on numbers that know nothing of the lesion's
  place; five folds by patient, one AUC over all slices.

    python benchmarks/sample_ct_mr.py [--patients 90] [--only ct|mr]
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg.images import apply_window, resize
from medimg.models import build_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))  # the simulator

from simulate.crosssection import SliceRecord, make_dicom
from simulate.ct_task import simulate_ct
from simulate.ct_volume import chest_volume
from simulate.mr_task import simulate_mr
from simulate.mr_volume import load_head
from simulate.volume import load_ct

TRAIN_PATIENTS, DRAWS = 18, 10
SYNTAX = {"ct": JPEG2000Lossless, "mr": JPEGLSLossless}


def records_of(part: str, patients: int) -> Iterable[SliceRecord]:
    if part == "ct":
        return simulate_ct(chest_volume(load_ct()), patients=patients, seed=1003)
    return simulate_mr(load_head(), patients=patients, seed=1004)


def shown(part: str, record: SliceRecord) -> np.ndarray:
    """Return the slice as its own first window shows it, 224 x 224."""
    values = record.pixels.astype(np.float32)
    if part == "ct":
        return resize(apply_window(values - 1024, -600, 1500), 224)
    centre, width = (float(record.header[k]) for k in ("WindowCenter", "WindowWidth"))
    return resize(apply_window(values, centre, width), 224)


def embed(images: np.ndarray) -> np.ndarray:
    model = build_model("efficientnet_lite0").eval()
    with torch.inference_mode():
        parts = [
            model.embed(torch.from_numpy(batch)[:, None])
            for batch in np.array_split(images, max(1, len(images) // 32))
        ]
    return torch.cat(parts).numpy()


def network(features: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> np.ndarray:
    rng, scores = np.random.default_rng(0), []
    for _ in range(DRAWS):
        chosen = rng.choice(np.unique(patients), TRAIN_PATIENTS, replace=False)
        train = np.isin(patients, chosen)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=2000))
        probe.fit(features[train], labels[train])
        scores.append(roc_auc_score(labels[~train], probe.decision_function(features[~train])))
    return np.array(scores)


def shortcuts(part: str, images: np.ndarray, records: list[SliceRecord]) -> dict[str, np.ndarray]:
    flat = images.reshape(len(images), -1)
    bins = np.stack([np.histogram(row, 16, (0, 1))[0] / row.size for row in flat])
    border = np.concatenate(
        [images[:, :8, ::8].reshape(len(images), -1), images[:, ::8, :8].reshape(len(images), -1)],
        axis=1,
    )
    sizes = [len(make_dicom(r.pixels, r.header, SYNTAX[part])) for r in records]
    keys = ("age", "visit", "thickness_mm", "field_tesla")
    known = [
        [float(r.row.get(k, 0)) for k in keys] + [r.row["sex"] == "F", r.row["site"] == "north"]
        for r in records
    ]
    return {
        "mean": flat.mean(axis=1, keepdims=True),
        "deviation": flat.std(axis=1, keepdims=True),
        "histogram, 16 bins": bins,
        "mean, deviation, histogram": np.column_stack([flat.mean(1), flat.std(1), bins]),
        "border pixels": border,
        "file size": np.array(sizes, float)[:, None],
        "table's columns": np.array(known, float),
    }


def shortcut_auc(values: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> list[float]:
    models = (
        RandomForestClassifier(200, min_samples_leaf=3, random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    )
    return [
        float(
            roc_auc_score(
                labels,
                cross_val_predict(
                    model, values, labels, groups=patients, cv=GroupKFold(5), method="predict_proba"
                )[:, 1],
            )
        )
        for model in models
    ]


def report(part: str, patients: int) -> None:
    records = list(records_of(part, patients))
    images = np.stack([shown(part, record) for record in records])
    labels = np.array([record.mask.any() for record in records]).astype(int)
    people = np.array([record.row["patient_id"] for record in records])
    scores = network(embed(images), labels, people)
    print(f"{part}: {patients} patients, {len(records)} slices", flush=True)
    print(f"  {'network':28s} AUC {scores.mean():.3f} +/- {scores.std():.3f}")
    print(f"  {'':28s} forest  logistic")
    for name, values in shortcuts(part, images, records).items():
        forest, logistic = shortcut_auc(values, labels, people)
        print(f"  {name:28s}  {forest:.3f}     {logistic:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=90)
    parser.add_argument("--only", choices=("ct", "mr"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    for part in ("ct", "mr"):
        if options.only in (None, part):
            report(part, options.patients)


if __name__ == "__main__":
    main()

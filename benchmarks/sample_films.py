"""Simulated films, real films and frozen features for the benchmarks of the sample.

Everything made here is kept in a cache folder outside the repository and read back next time.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medimg.models import build_model
from medimg.training import extract_features

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "data"))  # the simulator

from simulate.body import make_body
from simulate.plan import plan
from simulate.sample import write_films
from simulate.volume import load_ct

CACHE = Path.home() / ".cache" / "medimg" / "benchmarks"


def simulated(cache: Path, cohort: str, films: int, *, size: int, seed: int) -> pd.DataFrame:
    """Return a study table of films that is made once: DICOM, PNG, masks and lungs on disk."""
    root = cache / f"{cohort}-{films}-{size}-{seed}"
    if not (root / "studies.csv").is_file():
        root.mkdir(parents=True, exist_ok=True)
        table = plan(normal=films // 2, pneumonia=films // 2, seed=seed)
        table["cohort"], table["keep_lungs"] = cohort, True
        if cohort == "child":
            table["size"] = [(size, size)] * films
        else:
            table["size"] = [tuple(round(v * size / 416) for v in s) for s in table["size"]]
        write_films(root, table, make_body(load_ct(), plane_mm=5.0))
    studies = pd.read_csv(root / "studies.csv", keep_default_na=False)
    for column in ("path", "dicom_path", "lungs_path"):
        studies[column] = [str(root / p) for p in studies[column]]
    return studies


def pixels(studies: pd.DataFrame, column: str = "path") -> np.ndarray:
    """Return the films (N, 224, 224) uint8, squeezed to a square as the course does."""
    return np.stack([_grey(Path(p)) for p in studies[column]])


def _grey(path: Path) -> np.ndarray:
    grey = Image.open(path).convert("L")
    return np.asarray(grey.resize((224, 224), Image.Resampling.BILINEAR))


def kermany(root: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the real films (N, 224, 224) uint8, labels and patients."""
    images, labels, patients = [], [], []
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        for path in sorted((Path(root) / "train" / name).iterdir()):
            images.append(_grey(path))
            labels.append(label)
            found = re.match(r"(person\d+)_|(?:NORMAL2-)?(IM-\d+)", path.name)
            patients.append(found[0] if found else path.stem)
    return np.stack(images), np.array(labels), patients


def features(images: np.ndarray) -> np.ndarray:
    """Return frozen EfficientNet-Lite0 features (N, 1280)."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    return extract_features(build_model("efficientnet_lite0"), images)


def classifier(strength: float = 0.001):
    """Return the logistic regression of all these tables."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))

"""Simulated films and frozen features for the sample's benchmarks, kept in a cache folder.

The cache (`--cache`, by default `~/.cache/medimg/benchmarks`) lies outside the repository.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from medimg.models import build_model
from medimg.training import extract_features

CACHE = Path.home() / ".cache" / "medimg" / "benchmarks"


def kermany(root: str | os.PathLike[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the real films (N, 224, 224) uint8 and their table (label, patient)."""
    rows, images = [], []
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        for path in sorted((Path(root) / "train" / name).iterdir()):
            grey = Image.open(path).convert("L").resize((224, 224), Image.Resampling.BILINEAR)
            images.append(np.asarray(grey))
            stem = path.stem
            patient = stem.split("_")[0] if stem.startswith("person") else stem.rsplit("-", 1)[0]
            rows.append({"label": label, "patient": patient})
    return np.stack(images), pd.DataFrame(rows)


def features(images: np.ndarray, cache: Path, name: str) -> np.ndarray:
    """Return frozen EfficientNet-Lite0 features (N, 1280), computed once per cache file."""
    file = cache / f"{name}.npy"
    if file.is_file():
        known = np.load(file)
        if len(known) == len(images):
            return known
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    found = extract_features(build_model("efficientnet_lite0"), images)
    cache.mkdir(parents=True, exist_ok=True)
    np.save(file, found)
    return found

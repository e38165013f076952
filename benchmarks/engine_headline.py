"""The headline: `python -m medimg fit` on all films, judged on patients kept apart.

The published test films shift from the training films, so the held-out patients are judged as they
are, under eleven changes that training did not draw exactly so, and in strata of image quality.

    python benchmarks/engine_headline.py --root ROOT --out runs/headline
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engine_films import machine
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from medimg import datasets, models, training

Films = np.ndarray  # uint8 (N, H, W)
PREVALENCE = 390 / 624  # of the published test films


def tones(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Films], Films]:
    return lambda x: np.clip(change(x.astype(np.float32) / 255) * 255, 0, 255).astype(np.uint8)


def compressed(films: Films) -> Films:
    out = []
    for film in films:
        buffer = io.BytesIO()
        Image.fromarray(film).save(buffer, "JPEG", quality=20)
        out.append(np.asarray(Image.open(buffer)))
    return np.stack(out)


def cropped(films: Films, share: float = 0.1) -> Films:
    cut = round(share * films.shape[-1])
    inner = torch.from_numpy(films[:, None, cut:-cut, cut:-cut].astype(np.float32))
    grown = torch.nn.functional.interpolate(inner, films.shape[1:], mode="bilinear", antialias=True)
    return grown[:, 0].numpy().astype(np.uint8)


def equalised(films: Films) -> Films:
    ranks = [np.bincount(f.ravel(), minlength=256).cumsum() / f.size for f in films]
    return np.stack([(r[f] * 255).astype(np.uint8) for r, f in zip(ranks, films, strict=True)])


def without_borders(films: Films, share: float = 0.1) -> Films:
    cut = round(share * films.shape[-1])
    out = np.zeros_like(films)
    out[:, cut:-cut, cut:-cut] = films[:, cut:-cut, cut:-cut]
    return out


def changes(seed: int) -> dict[str, Callable[[Films], Films]]:
    rng = np.random.default_rng(seed)
    return {
        "as they are": lambda x: x,
        "darker": tones(lambda v: 0.7 * v),
        "brighter": tones(lambda v: 0.8 * v + 0.2),
        "gamma 1.6": tones(lambda v: v**1.6),
        "low contrast": tones(lambda v: 0.55 * (v - 0.5) + 0.5),
        "blurred": lambda x: np.stack([ndimage.gaussian_filter(f, 2) for f in x]),
        "noisy": tones(lambda v: v + rng.normal(0, 0.06, v.shape).astype(np.float32)),
        "JPEG quality 20": compressed,
        "cropped 10 %": cropped,
        "equalised": equalised,
        "borders blanked": without_borders,
    }


def judged(score: np.ndarray, truth: np.ndarray, threshold: float) -> dict[str, float]:
    sensitivity = float((score[truth == 1] >= threshold).mean())
    specificity = float((score[truth == 0] < threshold).mean())
    return {
        "auc": float(roc_auc_score(truth, score)),
        "accuracy": PREVALENCE * sensitivity + (1 - PREVALENCE) * specificity,
        "sensitivity": sensitivity,
        "specificity": specificity,
    }


def strata(films: Films) -> dict[str, np.ndarray]:
    """Thirds by brightness and by sharpness."""
    brightness = films.mean(axis=(1, 2))
    sharpness = np.array([ndimage.laplace(f.astype(np.float32)).std() for f in films])
    found = {}
    for name, value in (("brightness", brightness), ("sharpness", sharpness)):
        third = np.argsort(np.argsort(value)) * 3 // len(value)
        found |= {f"{part} third by {name}": third == k for k, part in
                  enumerate(("lowest", "middle", "highest"))}  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="the folder that holds kermany/")
    parser.add_argument("--out", type=Path, default=Path("runs/headline"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    parser.add_argument("--no-fit", action="store_true", help="judge what is in --out already")
    args = parser.parse_args()
    command = ["fit", "--data", "kermany", "--seed", str(args.seed), "--root", args.root]
    found: dict = {"machine": machine(), "seed": args.seed}
    if not args.no_fit:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "medimg", *command, "--out", args.out], check=True)
        found["fit_minutes"] = (time.perf_counter() - start) / 60
    model, info = models.load_model(args.out / "model")
    studies = datasets.load("kermany", root=args.root)
    data = datasets.decode(studies[studies["split"] == "test"], size=info.image_size)
    rows = {}
    for name, change in changes(args.seed).items():
        logits = training.predict_logits(model, change(data.images))
        score = training.to_scores(logits, temperature=info.temperature)
        rows[name] = judged(score, data.labels, info.threshold)
        if name == "as they are":
            for part, rows_of in strata(data.images).items():
                rows[part] = judged(score[rows_of], data.labels[rows_of], info.threshold)
    found |= {"settings": info.settings, "threshold": info.threshold, "held_out": rows}
    found |= {"films": len(data), "temperature": info.temperature, "validation": info.metrics}
    print(f"{len(data)} films of held-out patients; accuracy at the published mix of classes")
    print(pd.DataFrame(rows).T.round(3).to_string())
    if args.json:
        found["command"] = "python -m medimg " + " ".join([*command[:-1], "ROOT"])
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

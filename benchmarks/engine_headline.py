"""The headline: `python -m medimg fit` on all films, judged on patients kept apart.

The published test films shift from the training films, so the held-out patients are judged as they
are, in strata (thirds by brightness and sharpness, and the third of each class that global
statistics take for the other class), and under thirteen changes of a part of them. Beside it, the
frozen network with a logistic regression on its features.

    python benchmarks/engine_headline.py --root ROOT --json benchmarks/results/headline.json
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
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

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


def stretched(films: Films, factor: float) -> Films:
    """Show the middle of each film wider (above 1) or taller (below 1)."""
    wide = torch.from_numpy(films[:, None].astype(np.float32))
    side = films.shape[-1]
    shape = (side, round(side * factor)) if factor > 1 else (round(side / factor), side)
    grown = torch.nn.functional.interpolate(wide, shape, mode="bilinear", antialias=True)
    top, left = ((n - side) // 2 for n in shape)
    return grown[:, 0, top : top + side, left : left + side].numpy().astype(np.uint8)


def sharpened(films: Films) -> Films:
    soft = np.stack([ndimage.gaussian_filter(f.astype(np.float32), 1) for f in films])
    return np.clip(films + 2 * (films - soft), 0, 255).astype(np.uint8)


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
        "sharpened": sharpened,
        "25 % wider": lambda x: stretched(x, 1.25),
        "25 % taller": lambda x: stretched(x, 0.8),
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


def statistics(films: Films) -> np.ndarray:
    """Return what is not lung: grey levels, sharpness and border strips of each film."""
    rows = []
    for film in films.astype(np.float32) / 255:
        strips = (film[:8], film[-8:], film[:, :8], film[:, -8:])
        grey = np.histogram(film, 16, (0, 1))[0] / film.size
        sharpness = ndimage.laplace(film).std()
        rows.append([film.mean(), film.std(), sharpness, *grey,
                     *(v for s in strips for v in (s.mean(), s.std()))])  # fmt: skip
    return np.array(rows)


def strata(data: datasets.ImageSet) -> dict[str, np.ndarray]:
    """Thirds by brightness and by sharpness, and the third that statistics take for the other."""
    numbers = statistics(data.images)
    found = {}
    for name, value in (("brightness", numbers[:, 0]), ("sharpness", numbers[:, 2])):
        third = np.argsort(np.argsort(value)) * 3 // len(value)
        found |= {f"{part} third by {name}": third == k for k, part in
                  enumerate(("lowest", "middle", "highest"))}  # fmt: skip
    forest = RandomForestClassifier(300, min_samples_leaf=3, class_weight="balanced",
                                    random_state=0)  # fmt: skip
    ill = cross_val_predict(forest, numbers, data.labels, groups=data.patients, cv=GroupKFold(5),
                            method="predict_proba")[:, 1]  # fmt: skip
    wrong = np.where(data.labels == 1, 1 - ill, ill)
    found["third that looks like the other class"] = np.zeros(len(data), bool)
    for label in (0, 1):
        rows = np.flatnonzero(data.labels == label)
        odd = rows[np.argsort(wrong[rows])[-(len(rows) // 3) :]]
        found["third that looks like the other class"][odd] = True
    return found


def judge(folder: Path, data: datasets.ImageSet, part: datasets.ImageSet, seed: int):
    """Return the network's sidecar and one row of figures a stratum and a change."""
    model, info = models.load_model(folder / "model")
    rows = {}

    def score(films: Films) -> np.ndarray:
        logits = training.predict_logits(model, films, tta=info.tta)
        return training.probabilities(logits, temperature=info.temperature)

    whole = score(data.images)
    rows["all, as they are"] = judged(whole, data.labels, info.threshold)
    for name, chosen in strata(data).items():
        rows[name] = judged(whole[chosen], data.labels[chosen], info.threshold)
    for name, change in changes(seed).items():
        rows[name] = judged(score(change(part.images)), part.labels, info.threshold)
    return info, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True, help="the folder that holds kermany/")
    parser.add_argument("--out", type=Path, default=Path("runs/headline"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="passed on to fit")
    parser.add_argument("--size", type=int, default=224, help="passed on to fit")
    parser.add_argument("--changed", type=int, default=240, help="films judged under each change")
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    parser.add_argument("--no-fit", action="store_true", help="judge what is in --out already")
    parser.add_argument("--fit-only", action="store_true", help="leave the judging for later")
    args = parser.parse_args()
    command = ["fit", "--data", "kermany", "--seed", str(args.seed), "--root", args.root]
    if args.size != 224:
        command[1:1] = ["--size", str(args.size)]
    if args.epochs is not None:
        command[1:1] = ["--epochs", str(args.epochs)]
    studies = datasets.load("kermany", root=args.root)
    data = datasets.decode(studies[studies["split"] == "test"], size=args.size)
    rng = np.random.default_rng(args.seed)
    part = data.subset(np.sort(rng.permutation(len(data))[: args.changed]))
    found: dict = {"machine": machine(), "seed": args.seed, "films": len(data),
                   "films_changed": len(part), "networks": {}}  # fmt: skip
    for name, extra in (("fine-tuned", []), ("frozen", ["--strategy", "frozen"])):
        folder = args.out if name == "fine-tuned" else args.out / "frozen"
        written = " ".join(["python -m medimg", *command[:-1], "ROOT", *extra, "--out OUT"])
        row: dict = {"command": written}
        timed = folder / "fit_minutes.txt"
        if not args.no_fit:
            start = time.perf_counter()
            full = [sys.executable, "-m", "medimg", *command, *extra, "--out", folder]
            subprocess.run(full, check=True)
            timed.write_text(str((time.perf_counter() - start) / 60), encoding="utf-8")
        if args.fit_only:
            continue
        row["fit_minutes"] = float(timed.read_text(encoding="utf-8"))
        info, rows = judge(folder, data, part, args.seed)
        for key in ("threshold", "threshold_rule", "temperature", "metrics", "settings"):
            row[key] = getattr(info, key)
        row["held_out"] = rows
        found["networks"][name] = row
        print(f"{name}: fitted in {row['fit_minutes']:.1f} minutes")
        print(f"{len(data)} films of held-out patients, {len(part)} of them changed; accuracy at "
              "the published mix of classes")  # fmt: skip
        print(pd.DataFrame(rows).T.round(3).to_string(), flush=True)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

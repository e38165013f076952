"""Every explanation method against every test, for two trained networks.

    python benchmarks/explain_methods.py                 # the sample's own test set: 6 lesions
    python -m medimg.simulate xray --out build/films --normal 220 --pneumonia 300 --seed 501
    python benchmarks/explain_methods.py --studies build/films/studies.csv

EfficientNet-Lite0 starts from ImageNet. ResNet-18 starts from ImageNet only if torchvision can
download its weights, else from random weights, and the output says which.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medimg.datasets import ImageSet, decode, decode_masks, from_csv, load
from medimg.errors import ModelError
from medimg.explain import cascade_randomisation, compare_methods, explain, pointing_game
from medimg.metrics import auc
from medimg.models import MedicalNet, build_model
from medimg.training import FitSettings, fit, predict, recipe

METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam")


def start(name: str, seed: int) -> tuple[MedicalNet, str]:
    """Build a network from the best weights at hand, and say which these are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return build_model(name), "ImageNet"
        except ModelError:
            return build_model(name, pretrained=False), "random weights"


def settings_for(origin: str, count: int, seed: int) -> FitSettings:
    settings = recipe(count, seed=seed)
    if origin == "ImageNet":
        return settings
    # without pretraining nothing is worth freezing, and there is more to learn
    return replace(
        settings, strategy="all", freeze_norms=False, probe_strength=0.0,
        learning_rate=1e-3, epochs=16, patience=16,
    )  # fmt: skip


def trained(name: str, seed: int, films: ImageSet, cache: Path) -> tuple[MedicalNet, str]:
    model, origin = start(name, seed)
    file = cache / f"{name}_{len(films)}_{seed}.pt"
    if file.is_file():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval(), origin
    train, val = films.subset("train"), films.subset("val")
    fit(model, train, val, settings=settings_for(origin, len(train), seed))
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model.eval(), origin


def report(name: str, films: ImageSet, masks: np.ndarray, options: argparse.Namespace) -> None:
    model, origin = trained(name, 0, films, options.cache)
    others = [trained(name, seed, films, options.cache)[0] for seed in range(1, options.seeds)]
    test = films.splits == "test"
    found = predict(model, films.subset("test"))
    print(f"\n== {name}, from {origin}; test AUC {auc(found):.2f}, {test.sum()} films")
    lesion = test & masks.any(axis=(1, 2))
    images, truth, who = films.images[lesion], masks[lesion], films.patients[lesion].tolist()
    table = compare_methods(
        model, images, truth, methods=options.methods, patient_ids=who, others=others
    )
    table["shown"] = [f"{estimate:.2f}" for estimate in table["estimate"]]
    chance = table.groupby("test", sort=False)["chance"].first()
    wide = table.pivot_table(
        index="test", columns="method", values="shown", aggfunc="first", sort=False
    )
    print(wide.assign(chance=chance.map("{:.2f}".format)).fillna("").to_string())
    found_ill = found.y_score[masks[test].any(axis=(1, 2))] >= 0.5
    maps = explain(model, images, target=1)
    for word, part in (("found", found_ill), ("missed", ~found_ill)):
        if part.any():
            print(f"Grad-CAM, lesions {word}:", pointing_game(maps[part], truth[part]))
    cascade = cascade_randomisation(model, images, masks=truth, target=1)
    print(cascade.to_string(index=False, float_format="{:.3f}".format))
    reseeded = [pointing_game(explain(m, images, target=1), truth).estimate for m in others]
    print("Grad-CAM's pointing game of the other seeds:", reseeded)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", help="a study table of simulated films; default: the sample")
    parser.add_argument("--models", nargs="+", default=["efficientnet_lite0", "resnet18"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/explain"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    studies = from_csv(options.studies) if options.studies else load("sample")
    films, masks = decode(studies), decode_masks(studies)
    counts = pd.crosstab(films.splits, films.labels)
    print(counts.to_string())
    for name in options.models:
        report(name, films, masks, options)


if __name__ == "__main__":
    main()

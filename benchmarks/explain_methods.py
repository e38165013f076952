"""Every explanation method against every test, for trained networks; and when Grad-CAM points.

    python benchmarks/explain_methods.py --models efficientnet_lite0 --cache build/explain
    python data/simulate xray --out build/films --normal 300 --pneumonia 300 --seed 501
    python benchmarks/explain_methods.py --studies build/films/studies.csv

EfficientNet-Lite0 starts from ImageNet. ResNet-18 starts from ImageNet only if torchvision can
download its weights, else from random weights, and the output says which. The slow methods are
tested on some lesions only, drawn at random.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engine_films import machine
from explain_films import Judged, attentive, films, trained

from medimg.datasets import ImageSet
from medimg.explain import (
    agreement,
    cascade_randomisation,
    compare_methods,
    energy_inside,
    explain,
    iou_at_matched_area,
    pointing_game,
)
from medimg.explain.sanity import baseline_maps
from medimg.metrics import Estimate, Predictions, auc, mean_by_patient
from medimg.models import MedicalNet

FAST = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam")


def scores(model: MedicalNet, some: Judged) -> np.ndarray:
    """P(pneumonia) of each film."""
    batches = torch.split(torch.from_numpy(some.images / np.float32(255))[:, None], 16)
    with torch.inference_mode():
        return np.concatenate([model(x).softmax(1)[:, 1].numpy() for x in batches])


def area(score: np.ndarray, some: Judged) -> Estimate:
    """AUC of the scores."""
    ids = [str(i) for i in range(len(score))]
    return auc(Predictions(ids, some.labels, score, some.patients.tolist()))


def elsewhere(maps: np.ndarray, masks: np.ndarray) -> float:
    """Pointing game of maps against other patients' lesions: what knowing where lungs lie gets."""
    places = maps.reshape(len(maps), -1).argmax(axis=1)
    hits = masks.reshape(len(masks), -1)[:, places]  # lesion i, map j
    return float((hits.sum() - np.trace(hits)) / (len(maps) * (len(maps) - 1)))


def methods_table(model: MedicalNet, some: Judged, methods: Sequence[str],
                  others: Sequence[MedicalNet]) -> None:  # fmt: skip
    """Print one row a test and one column a method."""
    table = compare_methods(
        model, some.images, some.masks, methods=methods, target=1,
        patient_ids=some.patients.tolist(),
    )  # fmt: skip
    for method in methods if others else ():
        maps, *same = (explain(net, some.images, method=method, target=1)
                       for net in (model, *others))  # fmt: skip
        each = np.mean([agreement(maps, one).per_image for one in same], axis=0)
        found = mean_by_patient(each, some.patients)
        table.loc[len(table)] = [method, "agreement across seeds", found, 0.0]
    table["shown"] = [f"{estimate:.2f}" for estimate in table["estimate"]]
    chance = table.groupby("test", sort=False)["chance"].first().map("{:.2f}".format)
    wide = table.pivot_table(
        index="test", columns="method", values="shown", aggfunc="first", sort=False
    )
    print(f"\n{len(some.masks)} lesions:\n")
    print_table(wide.assign(chance=chance).fillna("").reset_index())


def print_table(table: pd.DataFrame) -> None:
    """Print a table in Markdown."""
    print("| " + " | ".join(map(str, table.columns)) + " |")
    print("|" + "---|" * table.shape[1])
    for row in table.itertuples(index=False):
        print("| " + " | ".join(map(str, row)) + " |")


def parts_table(maps: np.ndarray, some: Judged, found: np.ndarray) -> None:
    """Print Grad-CAM's pointing game by pattern, and for lesions that were found or missed."""
    rows = []
    groups = {"all": np.ones(len(found), bool), "found": found, "missed": ~found}
    groups |= {str(name): some.patterns == name for name in np.unique(some.patterns)}
    for name, part in groups.items():
        if part.sum() < 2:
            continue
        one = some.of(part)
        who = one.patients.tolist()
        game = pointing_game(maps[part], one.masks, patient_ids=who)
        spot = pointing_game(baseline_maps(one.images, kind="centre"), one.masks, patient_ids=who)
        rows.append({
            "lesions": name, "n": int(part.sum()), "Grad-CAM": f"{game.estimate:.2f}",
            "chance (area)": f"{game.chance:.2f}", "centre spot": f"{spot.estimate:.2f}",
            "maps of others": f"{elsewhere(maps[part], one.masks):.2f}",
        })  # fmt: skip
    print("\nGrad-CAM's pointing game by lesion:\n")
    print_table(pd.DataFrame(rows))


def training_table(name: str, learn: ImageSet, test: Judged, cache: Path) -> None:
    """Print what the number of films and fine-tuning do to Grad-CAM's pointing game."""
    ways = (("70, head only", {"strategy": "frozen", "few": 70}),
            ("70, all layers", {"strategy": "head_then_all", "few": 70}),
            ("all, head only", {"strategy": "frozen"}), ("all, all layers", {}))  # fmt: skip
    rows = []
    for words, how in ways:
        model, _ = trained(name, 0, learn, cache, **how)
        maps, ill = explain(model, test.ill.images, target=1), test.ill
        game = pointing_game(maps, ill.masks, patient_ids=ill.patients.tolist())
        rows.append({
            "trained on": words, "AUC": f"{area(scores(model, test), test):.2f}",
            "Grad-CAM": f"{game.estimate:.2f}", "chance (area)": f"{game.chance:.2f}",
            "maps of others": f"{elsewhere(maps, ill.masks):.2f}",
        })  # fmt: skip
    print("\nGrad-CAM's pointing game by training:\n")
    print_table(pd.DataFrame(rows))


def layers_table(model: MedicalNet, some: Judged) -> None:
    """Print Grad-CAM and LayerCAM at each of the last stages."""
    rows = []
    for name, layer in list(model.stages().items())[-4:]:
        for method in ("gradcam", "layercam"):
            maps = explain(model, some.images, method=method, target=1, layer=layer[-1])
            tests = (pointing_game, iou_at_matched_area, energy_inside)
            found = [t(maps, some.masks, patient_ids=some.patients.tolist()) for t in tests]
            rows.append({"stage": name, "method": method}
                        | {f.test: f"{f.estimate:.2f}" for f in found})  # fmt: skip
    print(f"\nBy layer, on {len(some.masks)} validation lesions:\n")
    print_table(pd.DataFrame(rows))


def cascade_table(model: MedicalNet, some: Judged) -> None:
    """Print how maps and hits go as weights are shuffled from the output down."""
    table = cascade_randomisation(model, some.images, masks=some.masks, target=1)
    chance = some.masks.mean()
    for column in ("agreement", "pointing"):
        table[column] = [f"{estimate:.2f}" for estimate in table[column]]
    print(f"\nGrad-CAM as weights are shuffled from the output down (chance {chance:.2f}):\n")
    print_table(table)


def report(name: str, learn: ImageSet, validate: Judged, test: Judged,
           options: argparse.Namespace) -> None:  # fmt: skip
    model, origin = trained(name, 0, learn, options.cache)
    ill, score = test.ill, scores(model, test)
    count = int((learn.splits == "train").sum())
    print(f"\n## {name}, from {origin}, trained on {count} films\n")
    print(f"AUC {area(score, test):.2f} on {len(score)} films of other patients.")
    parts_table(explain(model, ill.images, target=1), ill, scores(model, ill) >= 0.5)
    if origin == "ImageNet":
        training_table(name, learn, test, options.cache)
    layers_table(model, validate.ill)
    cascade_table(model, ill)
    if options.slow:
        rows = np.random.default_rng(0).permutation(len(ill.masks))[: options.slow]
        methods_table(model, ill.of(np.sort(rows)), ("gradcam", "occlusion"), [])
    others = [trained(name, seed, learn, options.cache)[0] for seed in range(1, options.seeds)]
    methods_table(model, ill, FAST, others)


def attention_report(learn: ImageSet, test: Judged, cache: Path) -> None:
    """Print the tests of the weights of an attention head beside Grad-CAM of the same network."""
    model = attentive(learn, cache)
    score = scores(model, test)
    print("\n## efficientnet_lite0 with an attention head, backbone frozen\n")
    print(f"AUC {area(score, test):.2f} on {len(score)} films of other patients.")
    methods_table(model, test.ill, ("attention", "gradcam"), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=Path, help="simulated films to learn from, as a table")
    parser.add_argument("--models", nargs="+", default=["efficientnet_lite0", "resnet18"])
    parser.add_argument("--slow", type=int, default=24, help="lesions for the slow methods")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/explain"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    print(machine())
    learn, validate, test = films(options.studies)
    for name in options.models:
        report(name, learn, validate, test, options)
    attention_report(learn, test, options.cache)


if __name__ == "__main__":
    main()

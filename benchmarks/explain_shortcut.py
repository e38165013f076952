"""A mark on the ill films only: what the AUC says, and what the tests of the maps say.

    python benchmarks/explain_shortcut.py --studies build/films/studies.csv

One network learns from honest films, one from films on which every ill patient carries a mark (a
side letter, or an electrode on the chest). Both are EfficientNet-Lite0 from ImageNet, by the
recipe for that number of films unless a strategy is named.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from engine_films import machine
from explain_films import Judged, films, start
from explain_methods import area, print_table, scores

from medimg.datasets import ImageSet
from medimg.explain import Planted, energy_inside, explain, plant_marker, pointing_game
from medimg.models import MedicalNet
from medimg.training import fit, recipe


def marked(images: np.ndarray, who: np.ndarray, kind: str, seed: int) -> Planted:
    return plant_marker(images, who, kind=kind, rng=np.random.default_rng(seed))


def learned(learn: ImageSet, kind: str | None, strategy: str) -> MedicalNet:
    """Train on films as they are, or with the mark on every ill one."""
    if kind:
        images = marked(learn.images, learn.labels == 1, kind, 1).images
        learn = replace(learn, images=images)
    model, _ = start("efficientnet_lite0", 0)
    train, val = learn.subset("train"), learn.subset("val")
    settings = recipe(len(train))
    settings = replace(settings, strategy=strategy or settings.strategy)
    return fit(model, train, val, settings=settings).model.eval()


def areas(model: MedicalNet, test: Judged, kind: str) -> dict[str, str]:
    """AUC with the mark on the ill, on nobody, and on the healthy."""
    found = {}
    for name, who in (("ill", test.labels == 1), ("nobody", None), ("healthy", test.labels == 0)):
        images = test.images if who is None else marked(test.images, who, kind, 2).images
        score = scores(model, replace(test, images=images))
        found[f"AUC, mark on {name}"] = f"{area(score, test):.2f}"
    return found


def places(model: MedicalNet, test: Judged, kind: str) -> dict[str, str]:
    """Whether Grad-CAM points at the mark or at the lesion, on ill films that carry the mark."""
    ill = test.ill
    planted = marked(ill.images, np.ones(len(ill.images), bool), kind, 3)
    maps = explain(model, planted.images, target=1)
    found = {}
    for name, masks in (("mark", planted.marks), ("lesion", ill.masks)):
        game = pointing_game(maps, masks, patient_ids=ill.patients.tolist())
        energy = energy_inside(maps, masks, patient_ids=ill.patients.tolist())
        found[f"points at {name}"] = f"{game.estimate:.2f}, chance {game.chance:.2f}"
        found[f"energy in {name}"] = f"{energy.estimate:.2f}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=Path, help="simulated films to learn from, as a table")
    parser.add_argument("--strategy", default="", help="for instance frozen, head_then_all")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    learn, _, test = films(options.studies)
    print(f"{machine()}; {len(test.images)} films to judge on\n")
    rows = []
    honest = learned(learn, None, options.strategy)
    for kind in ("letter", "electrode"):
        for name, model in (("honest", honest), ("marked", learned(learn, kind, options.strategy))):
            rows.append(
                {"mark": kind, "trained on": name}
                | areas(model, test, kind)
                | places(model, test, kind)
            )
    print_table(pd.DataFrame(rows).set_index("mark").T.reset_index())


if __name__ == "__main__":
    main()

"""Images per second, decoded and trained, measured on 300 images; then predicted for more.

Rates are counted in seconds of one processor core, so that other programs hardly disturb them. The
prediction is that of `medimg launch`: images divided by rates. It is held against measured runs,
and then reckoned for three published sets.

    python benchmarks/throughput.py [--px 96] [--side 1024]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engine_films import machine
from PIL import Image
from scipy import ndimage

from medimg import datasets, models, training
from medimg.commands.launch import bill

FEW, MANY = 300, (500, 1500, 3000)
# Images, as their publishers count them, and megapixels of a file as it is distributed.
SETS = {
    "NIH ChestX-ray14": (112_120, 1.05),
    "CheXpert": (224_316, 6.4),
    "MIMIC-CXR": (377_110, 7.5),
}


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def files(folder: Path, side: int) -> list[Path]:
    """Write thirty radiograph-like PNG files: smooth, with a little noise."""
    rng, made = np.random.default_rng(0), []
    for number in range(30):
        smooth = ndimage.gaussian_filter(rng.normal(size=(side, side)).astype(np.float32), 8)
        smooth = 255 * (smooth - smooth.min()) / np.ptp(smooth) + rng.normal(0, 3, smooth.shape)
        made.append(folder / f"{number}.png")
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(made[-1], compress_level=4)
    return made


def table(paths: list[Path], count: int) -> pd.DataFrame:
    rows = np.arange(count)
    return pd.DataFrame({
        "image_id": [f"i{n}" for n in rows], "path": [str(paths[n % len(paths)]) for n in rows],
        "label": np.where(rows % 2, "pneumonia", "normal"), "split": "train",
        "patient_id": [f"p{n}" for n in rows],
    })  # fmt: skip


def images(count: int, px: int) -> datasets.ImageSet:
    rng, names = np.random.default_rng(count), np.array([f"i{n}" for n in range(count)])
    pixels = rng.integers(0, 256, (count, px, px), dtype=np.uint8)
    labels, split = np.arange(count) % 2, np.full(count, "train")
    return datasets.ImageSet(pixels, labels, names, names, split, ("normal", "pneumonia"))


def network() -> models.MedicalNet:
    return models.build_model("efficientnet_lite0", classes=("normal", "pneumonia"))


def frozen(count: int, px: int) -> float:
    part = images(count, px)
    return cpu_seconds(lambda: training.fit_head(network(), part))


def fine_tuned(count: int, px: int) -> float:
    """Solve the head, then train one epoch of all weights."""
    part = images(count, px)
    settings = training.FitSettings(epochs=2, freeze_norms=True, monitor="last")
    return cpu_seconds(lambda: training.fit(network(), part, settings=settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, default=96, help="side of the network's images")
    parser.add_argument("--side", type=int, default=1024, help="side of the files")
    given = parser.parse_args()
    px, side = given.px, given.side
    torch.set_num_threads(1)
    print(f"EfficientNet-Lite0 at {px} px, files of {side} x {side}; {machine()}, in core seconds")
    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder), side)

        def decoded(count: int, px: int) -> float:
            given = {"size": px, "allow_duplicates": True, "progress": False}
            return cpu_seconds(lambda: datasets.decode(table(paths, count), **given))

        work = {"decode": decoded, "frozen": frozen, "fine-tuned": fine_tuned}
        for run in work.values():
            run(64, px)  # the first call of each also loads and plans
        rates = {name: FEW / run(FEW, px) for name, run in work.items()}
        print("measured on", FEW, {name: f"{rate:.1f} images/s" for name, rate in rates.items()})
        print(f"{'':12}{'images':>8}{'predicted s':>13}{'measured s':>12}{'ratio':>7}")
        for name, run in work.items():
            for count in MANY:
                told, found = count / rates[name], run(count, px)
                print(f"{name:12}{count:8}{told:13.1f}{found:12.1f}{told / found:7.2f}", flush=True)
    print("\nPublished sets, fitted once by the recipe at 224 px")
    for name, (count, megapixels) in SETS.items():
        for instance, machines in (
            ("ml.m5.2xlarge", 1),
            ("ml.g5.2xlarge", 1),
            ("ml.g5.2xlarge", 2),
        ):
            given = {"instance": instance, "count": machines, "megapixels": megapixels}
            print(f"{name}, {count:,} images: {bill(count, **given)}")


if __name__ == "__main__":
    main()

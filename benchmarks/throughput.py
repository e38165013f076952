"""Images per second, decoded and trained, measured on 300 images; then predicted for more.

Seconds are those of one processor core, so that other programs hardly disturb them. Each kind of
work is timed on 100 and on 300 images: the line through both gives what it costs to begin (as the
bill of `medimg launch` has a start of its own) and the images per second. The prediction is held
against measured runs of 500 to 5,000 images. The last kind of work is a whole fit by the recipe,
with validation and test, which the bill's own count of passes predicts from two of the rates. At
the end the bill is reckoned for three published sets.

    python benchmarks/throughput.py [--px 96] [--side 1024] [--work decode whole] [--counts 500]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engine_films import machine
from PIL import Image
from scipy import ndimage

from medimg import datasets, models, training
from medimg.commands.launch import bill, passes

FEW, MANY = (100, 300), (500, 1500, 3000, 5000)
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


def line(work: Callable[[int], float]) -> tuple[float, float]:
    """Return seconds to begin and images per second, from the quicker of two runs each."""
    few, more = (min(work(count) for _ in range(2)) for count in FEW)
    each = (more - few) / (FEW[1] - FEW[0])
    return max(0.0, few - FEW[0] * each), 1 / each


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


def images(count: int, px: int, name: str = "i") -> datasets.ImageSet:
    rng, names = np.random.default_rng(count), np.array([f"{name}{n}" for n in range(count)])
    pixels = rng.integers(0, 256, (count, px, px), dtype=np.uint8)
    labels, split = np.arange(count) % 2, np.full(count, "train")
    return datasets.ImageSet(pixels, labels, names, names, split, ("normal", "pneumonia"))


def network() -> models.MedicalNet:
    return models.build_model("efficientnet_lite0", classes=("normal", "pneumonia"))


def forward(count: int, px: int) -> float:
    part, net = images(count, px), network()
    return cpu_seconds(lambda: training.predict_logits(net, part.images))


def frozen(count: int, px: int) -> float:
    part, net = images(count, px), network()
    return cpu_seconds(lambda: training.fit_head(net, part))


def epoch(count: int, px: int) -> float:
    """Train all weights for one epoch, as the recipe for many images does at full size."""
    part, net = images(count, px), network()
    settings = replace(training.recipe(5000), strategy="all", epochs=1, sizes=())
    return cpu_seconds(lambda: training.fit(net, part, settings=settings))


def whole(count: int, px: int) -> float:
    """Fit by the recipe, none of its epochs left out, and score validation and test as it asks."""
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    train, val, test = (images(round(share * count), px, name) for name, share in shares.items())
    settings, net = training.recipe(len(train)), network()
    settings = replace(settings, patience=settings.epochs)

    def run() -> None:
        model = training.fit(net, train, val, settings=settings).model
        for part in (val, test):
            training.predict_logits(model, part.images, tta=settings.tta)

    return cpu_seconds(run)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--px", type=int, default=96, help="side of the network's images")
    parser.add_argument("--side", type=int, default=1024, help="side of the files")
    parser.add_argument("--work", nargs="+", default=["decode", "frozen", "epoch", "whole"])
    parser.add_argument("--counts", type=int, nargs="+", default=MANY)
    given = parser.parse_args()
    px, side = given.px, given.side
    torch.set_num_threads(1)
    print(f"EfficientNet-Lite0 at {px} px, files of {side} x {side}; {machine()}, in core seconds")
    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder), side)

        def decode(count: int, px: int) -> float:
            given = {"size": px, "allow_duplicates": True, "progress": False}
            return cpu_seconds(lambda: datasets.decode(table(paths, count), **given))

        work = {"decode": decode, "forward": forward, "frozen": frozen, "epoch": epoch}
        parts = {"forward", "epoch"} if "whole" in given.work else set()
        lines = {}
        for name in [name for name in work if name in parts or name in given.work]:
            work[name](64, px)  # the first call also loads and plans
            lines[name] = line(lambda count, run=work[name]: run(count, px))
            begin, rate = lines[name]
            print(f"{name:10}from {FEW}: {begin:.2f} s to begin, {rate:.1f} images/s", flush=True)

        def told(name: str, count: int) -> float:
            if name == "whole":
                once, trained = passes(count)
                return once / lines["forward"][1] + trained / lines["epoch"][1]
            return lines[name][0] + count / lines[name][1]

        print(f"{'':10}{'images':>8}{'predicted s':>13}{'measured s':>12}{'ratio':>7}")
        for name in given.work:
            for count in given.counts:
                expected, found = told(name, count), (work | {"whole": whole})[name](count, px)
                ratio = expected / found
                print(f"{name:10}{count:8}{expected:13.1f}{found:12.1f}{ratio:7.2f}", flush=True)
    print("\nPublished sets, fitted once by the recipe at 224 px")
    for name, (count, megapixels) in SETS.items():
        for instance, machines in (
            ("ml.m5.2xlarge", 1),
            ("ml.g5.12xlarge", 1),  # smaller ones lack the disk
            ("ml.g5.12xlarge", 2),
        ):
            given = {"instance": instance, "count": machines, "megapixels": megapixels}
            print(f"{name}, {count:,} images: {bill(count, **given)}")


if __name__ == "__main__":
    main()

"""Train on more images than the memory may hold: decoded once into a file, mapped, read by batches.

The kernel limits the process's own memory (RLIMIT_DATA; pages of a mapped file do not count, it may
drop them at any time). Under the same limit the same images are decoded without a cache, which
must fail. All rows show one of a hundred generated files, decoded anew for each.

    python benchmarks/bigger_than_memory.py [--images 50000] [--gigabytes 2]     (Linux)
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from medimg import datasets, models, training

PX = 224


def status(name: str) -> float:
    """Return a field of the kernel's account of this process, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def table(folder: Path, count: int) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), np.arange(count)
    for number in range(100):
        image = rng.integers(0, 120, (PX, PX), dtype=np.uint8)
        image[60:120, 60:120] += np.uint8(120 * (number % 2))
        Image.fromarray(image).save(folder / f"{number}.png", compress_level=1)
    return pd.DataFrame({
        "image_id": [f"i{n}" for n in rows], "path": [f"{folder}/{n % 100}.png" for n in rows],
        "label": np.where(rows % 2, "pneumonia", "normal"),
        "split": np.where(rows < 0.98 * count, "train", "val"),
        "patient_id": [f"p{n}" for n in rows],
    })  # fmt: skip


def child(folder: Path, count: int, gigabytes: float, cache: bool) -> None:
    torch.set_num_threads(1)
    studies = table(folder, count)
    model = models.build_model("efficientnet_lite0", classes=("normal", "pneumonia"))
    resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
    curve, phase, over = [], ["decode"], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            curve.append((phase[0], status("RssAnon"), status("RssFile")))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        start = time.perf_counter()
        data = datasets.decode(studies, size=PX, cache=folder / "cache" if cache else None,
                               allow_duplicates=True, progress=False)  # fmt: skip
        seconds = {"decode": time.perf_counter() - start}
        phase[0], start = "train", time.perf_counter()
        settings = training.FitSettings(epochs=1, sizes=(0.15,), strategy="all", monitor="last",
                                        batch_size=64)  # fmt: skip
        result = training.fit(model, data.subset("train"), data.subset("val"), settings=settings)
        seconds["train"] = time.perf_counter() - start
    except MemoryError as error:
        print(f"  stopped: {error}")
        return
    finally:
        over.set()
        watcher.join()
    print(f"  validation AUC {result.history['val_auc'].iloc[-1]:.3f}")
    for name, took in seconds.items():
        own = [mb for at, mb, _ in curve if at == name]
        mapped = max(mb for at, _, mb in curve if at == name)
        parts = [max(part) for part in np.array_split(own, 8) if len(part)]
        print(f"  {name}: {count / took:.0f} images/s; own memory at most, by eighths of the time: "
              f"{', '.join(f'{mb:.0f}' for mb in parts)} MB; mapped {mapped:.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "CACHE"))
    args = parser.parse_args()
    if args.child:
        child(Path(args.child[0]), args.images, args.gigabytes, args.child[1] == "cache")
        return
    size = args.images * PX**2 / 2**30
    print(f"{args.images} images of {PX} px are {size:.2f} GB, the limit {args.gigabytes} GB")
    for how in ("cache", "memory"):
        with tempfile.TemporaryDirectory() as folder:
            print(f"decoded into {'a file' if how == 'cache' else 'memory'}:", flush=True)
            given = [f"--images={args.images}", f"--gigabytes={args.gigabytes}"]
            command = [sys.executable, __file__, *given, "--child", folder, how]
            done = subprocess.run(command, check=False)
            if done.returncode:
                print(f"  ended with status {done.returncode}")


if __name__ == "__main__":
    main()

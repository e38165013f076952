"""Time reading and resizing to 224 px against bare pydicom decoding and other readers.

    python benchmarks/read_speed.py FOLDER [FOLDER ...] [--repeat 5] [--cpu]

In one process, each file is read by each reader in turn, as often as is asked for, and the fastest
time counts, so that a busy moment strikes all of them alike. Files that bare pydicom cannot decode
are left out. A reader that fails on a file is compared on the others, and the row says on how many.
MONAI and torchxrayvision are no dependencies: what is not installed is named and left out, and
`pip install --no-deps --target EXTRA monai torchxrayvision scikit-image imageio lazy-loader
tifffile` with `PYTHONPATH=EXTRA` brings them.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

Reader = Callable[[str], object]
BARE, OURS = "pydicom, decoding only", "medimg, read and resize"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="count CPU time: for a busy machine")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    readers: dict[str, Reader] = {BARE: bare, OURS: ours} | rivals()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"  # on Windows
    for folder in options.folders:
        files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
        taken = times(readers, files, options.repeat, clock)
        what = "CPU time" if options.cpu else "time"
        print(
            f"\n{folder}: {len(taken[BARE])} files, fastest {what} of {options.repeat}, load {load}"
        )
        print(f"{'reader':34} {'files':>5} {'ms a file':>10} {'of pydicom':>10} {'median':>8}")
        for name, spent in taken.items():
            print(row(name, spent, taken[BARE]))


def row(name: str, spent: dict[str, float], bare: dict[str, float]) -> str:
    """Return mean time, and total and median file's ratio to bare decoding of the same files."""
    if not spent:
        return f"{name:34} {0:5}"
    here, there = (np.array([taken[path] for path in spent]) for taken in (spent, bare))
    return (
        f"{name:34} {len(spent):5} {1000 * here.mean():10.2f} {here.sum() / there.sum():10.2f} "
        f"{np.median(here / there):8.2f}"
    )


def bare(path: str) -> np.ndarray:
    """Decode what we decode: the first frame, and nothing after it."""
    return pydicom.pixels.pixel_array(pydicom.dcmread(path), index=0)


def ours(path: str) -> np.ndarray:
    from medimg.images import read_image, resize

    return resize(read_image(path), 224)


def times(
    readers: dict[str, Reader], files: list[str], repeat: int, clock: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Return for each reader the fastest time in seconds of each file that it can read."""
    taken: dict[str, dict[str, float]] = {name: {} for name in readers}
    for path in files:
        able = {name: read for name, read in readers.items() if can(read, path)}
        if BARE not in able:
            continue
        for name in able:
            taken[name][path] = float("inf")
        for _ in range(repeat):
            for name, read in able.items():
                begun = clock()
                read(path)
                taken[name][path] = min(taken[name][path], clock() - begun)
    return taken


def can(read: Reader, path: str) -> bool:
    try:
        read(path)
    except Exception:
        return False
    return True


def rivals() -> dict[str, Reader]:
    """Return the readers that are installed, each with its own usual resize to 224 px."""
    found: dict[str, Reader] = {}
    if missing("monai"):
        print("MONAI is not installed and left out")
    else:
        from monai.transforms import Compose, LoadImage, Resize

        chain = Compose(
            [
                LoadImage(reader="PydicomReader", image_only=True, ensure_channel_first=True),
                Resize((224, 224), mode="area"),
            ]
        )
        found["MONAI, load and resize"] = lambda path: chain(path)
    if missing("torchxrayvision"):
        print("torchxrayvision is not installed and left out")
    else:
        import torchxrayvision as xrv
        from torchxrayvision.datasets import XRayResizer

        resizer = XRayResizer(224)
        found["torchxrayvision, read and resize"] = lambda path: resizer(
            xrv.utils.read_xray_dcm(path)[None]
        )
    return found


def missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


if __name__ == "__main__":
    sys.exit(main())

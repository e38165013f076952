"""Time reading and resizing to 224 px against bare pydicom decoding and other readers.

    python benchmarks/read_speed.py FOLDER [--repeat 5]
    RIVALS=/path/to/python python benchmarks/read_speed.py FOLDER   # with MONAI, torchxrayvision

Every reader gets the same files, one process, one after the other, and the fastest of the repeats
counts. Files that bare pydicom cannot decode are left out for all. A reader that is not installed
gives no row; one that cannot read a file is charged for the others only, and the row says how many.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

Reader = Callable[[str], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only-rivals", action="store_true", help="print JSON, for the other venv")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    files = [str(path) for path in sorted(options.folder.rglob("*")) if path.is_file()]
    if options.only_rivals:
        print(
            json.dumps(
                {name: times(read, files, options.repeat) for name, read in rivals().items()}
            )
        )
        return
    bare = times(lambda path: pydicom.dcmread(path).pixel_array, files, options.repeat)
    files = [path for path in files if path in bare]
    rows = {
        "pydicom, decoding only": bare,
        "medimg, read and resize": times(ours, files, options.repeat),
    }
    rows |= rival_rows(options)
    print(f"{len(files)} files, fastest of {options.repeat}")
    print(f"{'reader':34} {'files':>5} {'ms a file':>10} {'of pydicom':>10}")
    for name, taken in rows.items():
        common = [path for path in files if path in taken]
        spent = 1000 * sum(taken[path] for path in common)
        ratio = spent / (1000 * sum(bare[path] for path in common)) if common else float("nan")
        print(f"{name:34} {len(common):5} {spent / max(len(common), 1):10.2f} {ratio:10.2f}")


def ours(path: str) -> np.ndarray:
    from medimg.images import read_image, resize

    return resize(read_image(path), 224)


def times(read: Reader, files: list[str], repeat: int) -> dict[str, float]:
    """Return the fastest time in seconds for each file that can be read."""
    taken: dict[str, float] = {}
    for path in files:
        try:
            read(path)
        except Exception:
            continue
        spans = []
        for _ in range(repeat):
            begun = time.perf_counter()
            read(path)
            spans.append(time.perf_counter() - begun)
        taken[path] = min(spans)
    return taken


def rival_rows(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time the rivals, in the environment that RIVALS names or in this one."""
    python = os.environ.get("RIVALS")
    if not python:
        return {}
    command = [
        python,
        __file__,
        str(options.folder),
        "--repeat",
        str(options.repeat),
        "--only-rivals",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"the rivals could not be timed: {done.stderr.strip().splitlines()[-1]}")
        return {}
    rows: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def rivals() -> dict[str, Reader]:
    """Return the readers that are installed here, each with its own usual resize to 224 px."""
    found: dict[str, Reader] = {
        "pydicom, decoding (rivals' venv)": lambda path: pydicom.dcmread(path).pixel_array
    }
    if importlib.util.find_spec("monai"):
        from monai.transforms import Compose, LoadImage, Resize

        chain = Compose(
            [
                LoadImage(
                    reader="PydicomReader",
                    image_only=True,
                    ensure_channel_first=True,
                    simple_keys=True,
                ),
                Resize((224, 224), anti_aliasing=True),
            ]
        )
        found["MONAI, load and resize"] = lambda path: chain(path)
    if importlib.util.find_spec("torchxrayvision"):
        import torchxrayvision as xrv
        from torchxrayvision.datasets import XRayResizer

        resizer = XRayResizer(224)
        found["torchxrayvision, read and resize"] = lambda path: resizer(
            xrv.utils.read_xray_dcm(path)[None]
        )
    return found


if __name__ == "__main__":
    sys.exit(main())

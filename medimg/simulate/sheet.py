"""Draw the contact sheet of the README: `python -m medimg.simulate.sheet data`."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from medimg.storage import atomic_write

SIDE, COLUMNS = 200, 6


def contact_sheet(root: str | os.PathLike[str], *, films: int = 24) -> Path:
    """Write `contact_sheet.png`: the first healthy films above, the first ill ones below.

    Parameters
    ----------
    root : path-like
        The data folder, with `studies.csv`. Films of its training split are shown.
    films : int
        How many, half of each class.

    Returns
    -------
    Path
        The picture: 8 bits, `COLUMNS` films abreast, each fitted into `SIDE` pixels.
    """
    folder = Path(root)
    studies = pd.read_csv(folder / "studies.csv").query("split == 'train'")
    chosen = pd.concat(
        [studies[studies["label"] == label][: films // 2] for label in ("normal", "pneumonia")]
    )
    rows = -(-len(chosen) // COLUMNS)
    sheet = np.zeros((rows * SIDE, COLUMNS * SIDE), np.uint8)
    for number, path in enumerate(chosen["path"]):
        film = Image.open(folder / path)
        film.thumbnail((SIDE - 4, SIDE - 4), Image.Resampling.LANCZOS)
        top, left = number // COLUMNS * SIDE, number % COLUMNS * SIDE
        top, left = top + (SIDE - film.height) // 2, left + (SIDE - film.width) // 2
        sheet[top : top + film.height, left : left + film.width] = np.asarray(film)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    with atomic_write(folder / "contact_sheet.png") as file:
        file.write(buffer.getvalue())
    return folder / "contact_sheet.png"


if __name__ == "__main__":
    sys.stdout.write(f"{contact_sheet(sys.argv[1] if len(sys.argv) > 1 else 'data')}\n")

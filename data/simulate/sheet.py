"""Draw the contact sheet of the README: `python data/simulate sheet`."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from simulate.crosssection import check_count
from simulate.errors import SimulationError

from medimg.storage import atomic_write

SIDE, COLUMNS = 200, 6
MAKE_IT = "make the sample first, `python data/simulate xray`"


def contact_sheet(root: str | os.PathLike[str], *, films: int = 24) -> Path:
    """Write `contact_sheet.png`: the first healthy films above, the first ill ones below.

    Parameters
    ----------
    root : path-like
        The data folder, with `studies.csv`. Films of its training split are shown.
    films : int
        How many, half of each class; at least 2.

    Returns
    -------
    Path
        The picture: 8 bits, `COLUMNS` films abreast, each fitted into `SIDE` pixels.

    Raises
    ------
    SimulationError
        When the study table is missing, is none or has no film to show, or `films` is below 2.
    OSError
        When a film cannot be read or the picture cannot be written.
    """
    check_count("films", films, least=2)
    folder = Path(root)
    chosen = _chosen(folder / "studies.csv", films // 2)
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


def _chosen(path: Path, each: int) -> pd.DataFrame:
    """Return the first rows of either class of the training split."""
    try:
        studies = pd.read_csv(path)
        train = studies[studies["split"] == "train"]
        parts = [train[train["label"] == label][:each] for label in ("normal", "pneumonia")]
        chosen = pd.concat(parts)[["path"]]
    except (OSError, ValueError, KeyError) as error:
        raise SimulationError(
            f"{path} is missing or no study table of films ({error}): {MAKE_IT}."
        ) from error
    if chosen.empty:
        raise SimulationError(f"{path} has no film of split train: {MAKE_IT}.")
    return chosen

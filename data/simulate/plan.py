"""Who is filmed, how and with what disease: decided before a single ray is traced.

Everything but the disease is dealt like cards, so that each value is as frequent with disease as
without: no header field, no site and no technique tells the label.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from simulate.crosssection import check_count
from simulate.disease import PATTERNS, PLACES
from simulate.errors import SimulationError
from simulate.film import DISTRACTORS
from simulate.volume import LOBES

SITES = {
    "Northgate Imaginary Hospital": ("Fictiv DX-1", "Fictiv DX-2"),
    "Southbay Imaginary Clinic": ("Inventa R7", "Inventa Mobile"),
}
AGE_BANDS = {"18-39": (18, 39), "40-64": (40, 64), "65-89": (65, 89)}
_FAMILY = "Testova Fakeman Nobody Placebo Dummyson Imaginari Mockford Samplesen Phantomas Nullberg"
_GIVEN = "Ada Bo Cleo Dov Eli Fay Gus Hal Ina Jo Kim Lou Max Nia Oz Pia Quin Rae Sol Uma"
_SIZES = ((416, 416), (448, 376), (376, 448), (432, 392))


def deal(values: Any, count: int, rng: np.random.Generator) -> list[Any]:
    """Return `count` values in random order, each as often as possible.

    Examples
    --------
    >>> sorted(deal(["PA", "AP"], 5, np.random.default_rng(0)))[1:4:2]
    ['AP', 'PA']
    """
    choices = list(values)
    rounds = -(-count // len(choices))
    # The incomplete last round is drawn at random, so that no value is favoured.
    hand = choices * (rounds - 1) + [choices[i] for i in rng.permutation(len(choices))]
    hand = hand[:count]
    return [hand[i] for i in rng.permutation(count)]


def plan(
    *, normal: int = 60, pneumonia: int = 40, revisits: float = 0.25, seed: int = 2026
) -> pd.DataFrame:
    """Return one row a film, with patient, technique and disease.

    Parameters
    ----------
    normal, pneumonia : int
        Films of either class.
    revisits : float
        Share of the patients with a second film.
    seed : int
        Of everything; 0 or more.

    Raises
    ------
    SimulationError
        When a number or the seed is negative, or there is no film at all.
    """
    if min(normal, pneumonia) < 0 or normal + pneumonia == 0:
        raise SimulationError(
            f"{normal} normal and {pneumonia} pneumonia films: a sample needs numbers of 0 or "
            "more, and at least one film"
        )
    check_count("seed", seed, least=0)
    rng = np.random.default_rng(seed)
    groups = []
    for label, films in (("normal", normal), ("pneumonia", pneumonia)):
        for split, count in _shares(films).items():
            groups.append(_group(label, split, count, revisits, rng))
    # A group without a film has columns without a type, which would turn the whole numbers of all.
    table = pd.concat([group for group in groups if len(group)], ignore_index=True)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    digits = max(3, len(str(len(table))))
    table["image_id"] = [f"x{i + 1:0{digits}d}" for i in range(len(table))]
    patients = pd.factorize(table["_person"])[0] + 1
    table["patient_id"] = [f"p{i:0{digits}d}" for i in patients]
    table["seed"] = rng.permutation(10 * len(table))[: len(table)] + 1000 * seed
    table["person_seed"] = patients + 7919 * seed
    return _invent(table.drop(columns="_person"), rng)


def _shares(films: int) -> dict[str, int]:
    """Return how many films go to each split, about 70, 15 and 15 %."""
    aside = round(0.15 * films)
    return {"train": films - 2 * aside, "val": aside, "test": aside}


def _group(
    label: str, split: str, films: int, revisits: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the films of one class and split, technique dealt evenly."""
    people = max(round(films / (1 + revisits)), 1) if films else 0
    second = films - people
    owner = [*range(people), *range(second)]
    visit = [1] * people + [2] * second
    by_person = {
        "age_band": deal(AGE_BANDS, people, rng),
        "sex": deal("FM", people, rng),
        "site": deal(SITES, people, rng),
    }
    table = pd.DataFrame({k: [v[i] for i in owner] for k, v in by_person.items()})
    table["_person"] = [f"{label}{split}{i}" for i in owner]
    table["visit"], table["label"], table["split"] = visit, label, split
    table["view"] = deal(("PA", "AP"), films, rng)
    which = deal((0, 1), films, rng)
    table["scanner"] = [SITES[s][w] for s, w in zip(table["site"], which, strict=True)]
    table["distractor"] = deal((*DISTRACTORS, *["none"] * 5), films, rng)
    table["syntax"] = deal(("explicit", "implicit", "rle", "jpeg2000", "jpegls"), films, rng)
    table["bits"] = deal((10, 12, 12, 14), films, rng)
    table["inverted"] = deal((False, True), films, rng)
    table["window"] = deal(("linear", "two windows", "sigmoid", "voi lut"), films, rng)
    table["size"] = deal(_SIZES, films, rng)
    table["burned_in"] = deal((True, *[False] * 11), films, rng)
    table["exposure"] = deal(("under", "right", "right", "over"), films, rng)
    ill = label == "pneumonia"
    table["pattern"] = deal((*PATTERNS, "bronchopneumonia"), films, rng) if ill else ""
    table["place"] = deal(("open", "open", "open", *PLACES), films, rng) if ill else ""
    table["lobe"] = deal(LOBES, films, rng) if ill else ""
    # Only the lower lobes reach behind the heart and below the domes of the diaphragm.
    hidden = table["place"].isin(PLACES[1:])
    table.loc[hidden, "lobe"] = deal(("left lower", "right lower"), hidden.sum(), rng)
    table.loc[table["pattern"] == "interstitial", ["lobe", "place"]] = "both lungs", "throughout"
    table["severity"] = _severities(films, rng) if ill else 0.0
    return table


def _severities(films: int, rng: np.random.Generator) -> list[float]:
    """Return severities spread evenly from weak to strong."""
    even = (np.arange(films) + rng.random(films)) / max(films, 1)
    return [float(s) for s in np.round(0.45 + 0.55 * even[rng.permutation(films)], 2)]


def _invent(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Add names, numbers and dates that are obviously nobody's."""
    people = {}
    for row in table.sort_values("visit").to_dict("records"):
        if row["patient_id"] not in people:
            people[row["patient_id"]] = _person(row, rng)
    facts = pd.DataFrame([people[p] for p in table["patient_id"]], index=table.index)
    table = pd.concat([table, facts], axis=1)
    films = len(table)
    days = pd.Timestamp("2023-01-02") + pd.to_timedelta(rng.integers(0, 300, films), "D")
    later = pd.to_timedelta((table["visit"] - 1) * 310, "D")
    table["date"] = (pd.Series(days) + later).dt.strftime("%Y%m%d")
    years = table["date"].str[:4].astype(int) - table["age"]
    table["birth"] = [
        f"{y - 1}{m:02d}{d:02d}"
        for y, m, d in zip(years, 12 + 0 * years, rng.integers(30, 32, films), strict=True)
    ]
    table["birth"] = table.groupby("patient_id")["birth"].transform("first")
    table["time"] = [f"{h:02d}{m:02d}00" for h, m in rng.integers((7, 0), (20, 60), (films, 2))]
    table["accession"] = [f"SIM{n}" for n in 100000 + rng.permutation(10 * films)[:films]]
    table["doctor"] = deal(("Fable^Greta^^Dr", "Fiction^Omar^^Dr", "Legend^Li^^Dr"), films, rng)
    table["operator"] = deal(("Mythos^Ola", "Saga^Ines"), films, rng)
    table["kvp"] = [int(k) for k in rng.choice((70, 85, 110, 120), films)]
    dose = {"under": 900, "right": 1800, "over": 3600}
    table["uas"] = [
        int(dose[e] * f)
        for e, f in zip(table["exposure"], rng.uniform(0.8, 1.2, films), strict=True)
    ]
    table["distance"] = [1800 if v == "PA" else 1100 for v in table["view"]]
    return table


def _person(row: dict[Any, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return age, name and record number of an invented patient."""
    low, high = AGE_BANDS[row["age_band"]]
    name = f"{rng.choice(_FAMILY.split())}^{rng.choice(_GIVEN.split())}"
    return {
        "age": int(rng.integers(low, high + 1)),
        "name": name,
        "record": f"SIM-{rng.integers(10**6):06d}",
    }

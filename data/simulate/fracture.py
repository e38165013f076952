"""Write ``data/fracture``: simulated radiographs of wrists and lower legs, broken or not.

A study has two or three views of one limb, and one label. A fracture is displaced or a hairline;
some show on one view only. As in real collections, casts, metal, the body part and the number of
views go with the label, so that the columns of the table alone tell something: that is the lesson.
Age, sex, side and machine tell nothing. How bones and breaks are made: `bones`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage
from simulate.bones import Break, Float, Grid, Part, cast_shadow, chords, follow, leg, wrist
from simulate.crosssection import check_count
from simulate.files import Drawn, jpeg, write_set
from simulate.film import text
from simulate.plan import deal

PATIENTS = 112
SHAPE, PAD = (448, 448), 40
REGIONS = {"wrist": (wrist, 205.0, -85.0), "leg": (leg, 250.0, -172.0)}  # field and its upper edge
TURNS = {"frontal": 0.0, "lateral": 90.0, "oblique": 45.0}
HANGING = ("carpal", "scaphoid", "metacarpal", "phalanx", "radial", "tarsal", "medial")
# Share of each among fractured and among normal studies.
SHARES = {"wrist": (0.64, 0.40), "oblique": (0.55, 0.30), "cast": (0.32, 0.04),
          "metal": (0.12, 0.03)}  # fmt: skip
SOFT, BONE, CAST, METAL = 0.021, 0.058, 0.030, 0.45  # attenuation per mm
VISIBLE = 0.12  # change of the signal's logarithm
COLUMNS = ("study_id", "body_part", "view", "views", "side", "age", "sex", "scanner", "cast",
           "metal", "ring", "kind", "bone", "visible")  # fmt: skip


@dataclass(frozen=True)
class Scanner:
    """How a machine renders the signal.

    Attributes
    ----------
    contrast : float
        Steepness of the response to the logarithm of the signal.
    sharpen : float
        How much detail is enhanced against its surroundings.
    black : float
        Brightness of air.
    noise : float
        Standard deviation in air, in logarithms.
    """

    contrast: float
    sharpen: float
    black: float
    noise: float


SCANNERS = {
    "A": Scanner(0.60, 0.7, 0.08, 0.005),
    "B": Scanner(0.78, 0.3, 0.03, 0.008),
    "C": Scanner(0.48, 1.1, 0.13, 0.004),
}


def make_sample(
    out: str | os.PathLike[str], *, patients: int = PATIENTS, seed: int = 2026
) -> pd.DataFrame:
    """Write ``out/fracture``: radiographs, masks and ``studies.csv``.

    Parameters
    ----------
    out : path-like
        The folder ``data``.
    patients : int
        Half of them with a fracture; every eighth has two studies.
    seed : int
        The same seed gives the same bytes.

    Returns
    -------
    DataFrame
        The study table; paths are relative to ``out/fracture``.

    Raises
    ------
    SimulationError
        When a number is impossible or the folder cannot be written.
    """
    table = plan(patients, seed=seed)
    drawn = _radiographs(table, seed)
    root = Path(out) / "fracture"
    return write_set(root, drawn, total=len(table), suffix=".jpg", columns=COLUMNS)


def plan(patients: int, *, seed: int) -> pd.DataFrame:
    """Say what is examined: one row per image, split by patient.

    Parameters
    ----------
    patients, seed : int
        As in `make_sample`.
    """
    check_count("patients", patients, least=2)
    check_count("seed", seed, least=0)
    rng = np.random.default_rng([seed, 11])
    groups = [_group(label, patients, rng) for label in ("normal", "fracture")]
    table = pd.concat(groups, ignore_index=True)
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    table["study_id"] = [f"s{number + 1:03d}" for number in range(len(table))]
    table["person"] = pd.factorize(table["person"])[0] + 1
    table["patient_id"] = [f"b{number:03d}" for number in table["person"]]
    views = [("frontal", "lateral", "oblique")[: 3 if more else 2] for more in table["oblique"]]
    table = table.assign(view=views, views=[len(each) for each in views]).explode("view")
    table = table.reset_index(drop=True)
    table["image_id"] = [f"x{number + 1:03d}" for number in range(len(table))]
    return table


def _group(label: str, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return the studies of one label."""
    count = patients // 2 + (patients % 2) * (label == "normal")
    share = {name: pair[label == "normal"] for name, pair in SHARES.items()}

    def some(name: str, number: int) -> list[bool]:
        return list(rng.permutation(np.arange(number) < round(share[name] * number)))

    kinds = ("hairline", "displaced") if label == "fracture" else ("none",)
    table = pd.DataFrame({
        "person": [f"{label}{number}" for number in range(count)],
        "label": label,
        "kind": deal(kinds, count, rng),
        "body_part": np.where(some("wrist", count), "wrist", "leg"),
        "side": deal("LR", count, rng),
        "age": [int(age) for age in rng.integers(6, 86, count)],
        "sex": deal("FM", count, rng),
        "scanner": deal((*SCANNERS,), count, rng),
        "metal": some("metal", count),
        "split": deal(("train", "train", "train", "val", "test"), count, rng),
    })  # fmt: skip
    table = pd.concat([table, table.iloc[: count // 8].assign(scanner="A")], ignore_index=True)
    table["oblique"], table["cast"] = some("oblique", len(table)), some("cast", len(table))
    table["ring"] = (
        ~table["cast"] & (rng.random(len(table)) < 0.2) & (table["body_part"] == "wrist")
    )
    return table


def fracture_of(row: dict[Any, Any], rng: np.random.Generator) -> Break:
    """Draw the break of a study."""
    wristy, moved = row["body_part"] == "wrist", row["kind"] == "displaced"
    bone, low, high = (
        (("radius", -26, -13), ("radius", -26, -13), ("radius", -26, -13), ("radius", -60, -35),
         ("ulna", -60, -25), ("metacarpal 5", 58, 75), ("metacarpal 4", 52, 75),
         ("scaphoid", 9, 14))[rng.integers(7 if moved else 8)]
        if wristy else
        (("tibia", -125, -30), ("tibia", -40, -18), ("fibula", -110, -40),
         ("fibula", -12, 8))[rng.integers(4)]
    )  # fmt: skip
    steep = 0.2 if bone == "radius" and high > -30 else 0.45
    slope = rng.normal(0, steep, 2)
    cut = {"bone": bone, "height": rng.uniform(low, high), "seed": int(rng.integers(1 << 30)),
           "slope": (float(slope[0]), float(slope[1])), "rough": rng.uniform(0.3, 0.8)}  # fmt: skip
    if not moved:
        reach = 1.0 if rng.random() < 0.7 else rng.uniform(0.7, 0.9)
        return Break(**cut, gap=rng.uniform(1.1, 2.0), reach=reach, side=rng.uniform(0, 360))
    way, small = rng.uniform(0, 2 * np.pi), 0.6 if bone.startswith("meta") else 1.0
    far = small * rng.uniform(3.5, 8.0)
    tilt = rng.uniform(10, 24) * (0.5 if high < -30 else 1.0) / small
    turn = rng.uniform(0, 2 * np.pi)
    if bone == "radius" and high > -30:  # a fall on the hand: backward, as Colles described it
        way, turn = -np.pi / 2 + rng.normal(0, 0.5), rng.normal(0, 0.4)
    return Break(
        **cut, gap=rng.uniform(0.3, 1.2),
        shift=(far * np.cos(way), far * np.sin(way), rng.uniform(-4, 0)),
        tilt=(tilt * np.cos(turn), tilt * np.sin(turn)),
    )  # fmt: skip


def limb_of(row: dict[Any, Any], rng: np.random.Generator) -> tuple[list[Part], list[Break]]:
    """Return the bones of a person, and clefts that are no fracture."""
    bones = REGIONS[row["body_part"]][0]()[0]
    wide, worn = rng.uniform(0.9, 1.1), 1.0 - 0.3 * max(row["age"] - 45, 0) / 40
    varied = []
    for part in bones:
        x, y = rng.normal(0, 0.5, 2)
        outline = [(z, cx + x, cy + y, a * wide, b * wide) for z, cx, cy, a, b in part.outline]
        inside = (part.inside[0] * worn, part.inside[1] * worn)
        cortex = part.cortex * rng.uniform(0.85, 1.15) * (0.4 + 0.6 * worn)
        varied.append(replace(part, outline=outline, inside=inside, cortex=cortex))
    clefts = []
    if row["age"] < 15:  # growth plates
        places = {"wrist": (("radius", -8.0), ("ulna", -6.5)),
                  "leg": (("tibia", -11.0), ("fibula", 5.0))}[row["body_part"]]  # fmt: skip
        clefts = [Break(bone, at, gap=1.5, rough=0.5, seed=int(rng.integers(1 << 30)))
                  for bone, at in places]  # fmt: skip
    if rng.random() < 0.25:  # a canal of a vessel through the cortex
        bone, at = ("radius", -60.0) if row["body_part"] == "wrist" else ("tibia", -100.0)
        clefts.append(Break(bone, at + rng.uniform(-10, 10), (3.0, 2.0), 0.8, 0.15,
                            rng.uniform(0, 360), rough=0.1))  # fmt: skip
    return varied, clefts


@dataclass(frozen=True)
class Picture:
    """A radiograph with the truth about its break.

    Attributes
    ----------
    image : ndarray
        float32 (H, W) in [0, 1].
    mask : ndarray
        bool (H, W), True where the break is.
    bone : str
        What is broken, or "none".
    shown : float
        Change of the signal's logarithm that the break makes in this view.
    """

    image: Float
    mask: NDArray[np.bool_]
    bone: str
    shown: float


def draw(row: dict[Any, Any], seed: int) -> Picture:
    """Take the radiograph of a row of the plan."""
    person = np.random.default_rng([seed, 12, row["person"]])
    bones, clefts = limb_of(row, person)
    broken = [fracture_of(row, person)] if row["kind"] != "none" else []
    rng = np.random.default_rng([seed, 13, int(row["image_id"][1:])])
    grid = _grid(row, 0.78 + 0.22 * min(row["age"], 16) / 16, rng)
    if broken and broken[0].moved and broken[0].bone in ("radius", "tibia"):
        bones = follow(bones, broken[0], HANGING)
    shadow = cast_shadow(bones, [*broken, *clefts], grid)
    signal = BONE * (shadow.hard + shadow.spongy * (1 + 0.16 * _weave(shadow.hard.shape, rng)))
    shown = _shows(bones, broken, clefts, grid, shadow.band) if broken else 0.0
    swollen = 1.06 if row["kind"] == "displaced" else 1.0
    signal += SOFT * _flesh(row["body_part"], grid, swollen * person.uniform(0.88, 1.12))
    if row["cast"]:
        signal += CAST * _cast(row["body_part"], grid, person)
    signal += METAL * cast_shadow(_metal(row, bones, broken, person), [], grid).hard
    signal, band = _place(signal, shadow.band, rng)
    if row["side"] == "L":
        signal, band = signal[:, ::-1], band[:, ::-1]
    mask = ndimage.binary_dilation(band > 0.3, iterations=2) & bool(broken)
    bone = broken[0].bone.split()[0] if broken else "none"
    return Picture(_render(signal, row, rng), mask, bone, shown)


def _grid(row: dict[Any, Any], size: float, rng: np.random.Generator) -> Grid:
    """Return the detector of a view, with a margin of `PAD` pixels; `size` is the person's."""
    _, field, upper = REGIONS[row["body_part"]]
    pixel = field / SHAPE[0] / size * rng.uniform(0.95, 1.08)
    middle = upper + field / 2 + rng.uniform(-8, 8)
    z, u = (((np.arange(n + 2 * PAD) - (n + 2 * PAD - 1) / 2) * pixel).astype(np.float32)
            for n in SHAPE)  # fmt: skip
    turn = TURNS[row["view"]]
    if row["body_part"] == "leg" and turn:  # the foot points to the right
        u = u + np.float32(22 * turn / 90)
    return Grid(z + np.float32(middle), u, turn + rng.normal(0, 5))


def _shows(
    bones: Sequence[Part], broken: list[Break], clefts: list[Break], grid: Grid, band: Float
) -> float:
    """Return the change of the signal's logarithm that a break makes where it is."""
    own = [part for part in bones if part.name == broken[0].bone]
    with_it, without = (cast_shadow(own, breaks, grid) for breaks in ([*broken, *clefts], clefts))
    change = np.abs(with_it.hard + with_it.spongy - without.hard - without.spongy)
    return float(BONE * np.percentile(change[band > 0.3], 90)) if (band > 0.3).any() else 0.0


def _weave(shape: tuple[int, int], rng: np.random.Generator) -> Float:
    """Return the texture of spongy bone, with unit deviation: threads along the limb."""
    white = rng.standard_normal(shape)
    threads = ndimage.gaussian_filter(white, (2.5, 0.8)) - ndimage.gaussian_filter(white, (6, 3))
    return np.asarray(threads / threads.std(), dtype=np.float32)


def _flesh(region: str, grid: Grid, thick: float) -> Float:
    """Return the path through soft tissue."""
    _, body, ends = REGIONS[region][0]()
    paths = []
    for parts in (body, ends):
        wide = [
            replace(
                part, outline=[(z, x, y, a * thick, b * thick) for z, x, y, a, b in part.outline]
            )
            for part in parts
        ]
        paths.append(np.sum([chords(part, grid) for part in wide], axis=0))
    path = (paths[0] ** 6 + paths[1] ** 6) ** (1 / 6)
    return np.asarray(70 * np.tanh(path / 70), dtype=np.float32)


def _cast(region: str, grid: Grid, rng: np.random.Generator) -> Float:
    """Return the path through a cast: a sleeve of uneven thickness."""
    part = REGIONS[region][0]()[1][0]
    top, thick = rng.uniform(-150, -50), rng.uniform(3, 6)
    waves = [(rng.uniform(0.05, 0.3), rng.uniform(0, 6), rng.uniform(0.3, 1.0)) for _ in range(5)]
    heights = np.arange(top, min(part.outline[-1][0], 90) - 8, 4.0)
    x, y, a, b = part.at(heights.astype(np.float32))
    ripple = sum(size * np.sin(wave * heights + phase) for wave, phase, size in waves)
    inner, outer = (
        Part("cast", list(zip(heights, x, y, a + more, b + more, strict=True)))
        for more in (4.0, 4.0 + thick + ripple)
    )
    return np.clip(chords(outer, grid) - chords(inner, grid), 0, None)


def _metal(
    row: dict[Any, Any], bones: Sequence[Part], broken: list[Break], rng: np.random.Generator
) -> list[Part]:
    """Return a plate with its screws, and a ring."""
    parts = []
    shaft = next(p for p in bones if p.name in ("radius", "tibia"))
    if row["metal"]:
        at = -35.0 if row["body_part"] == "wrist" else -60.0
        long = rng.uniform(20, 32)
        x, y, a = (v[0] for v in shaft.at(np.array([at], np.float32))[:3])
        side = x + rng.choice((-1, 1)) * (a + 1)
        plate = [(at - long, side, y, 1.5, 5.0), (at + long, side, y, 1.5, 5.0)]
        parts.append(Part("plate", plate, (2, 2), 9.0, square=True, rough=0))
        for z in np.linspace(at - long + 4, at + long - 4, 6):
            screw = [(z - 1.6, x, y, a + 2, 1.7), (z + 1.6, x, y, a + 2, 1.7)]
            parts.append(Part("screw", screw, (1, 1), 9.0, square=True, rough=0))
    if row["ring"]:
        finger = next(p for p in bones if p.name == "phalanx 4")
        z, x, y, _, _ = finger.outline[2]
        ring = [(z, x, y, 10.0, 9.5), (z + 3, x, y, 10.0, 9.5)]
        parts.append(Part("ring", ring, (1, 1), 1.5, (0.0, 0.0), rough=0))
    return parts


def _place(signal: Float, band: Float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Turn and shift the limb on the detector, and cut the margin."""
    angle = np.radians(rng.normal(0, 4))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (np.array(signal.shape) - 1) / 2
    offset = middle - turn @ middle + (0, rng.uniform(-14, 14))
    inner = slice(PAD, -PAD), slice(PAD, -PAD)
    signal, band = (ndimage.affine_transform(each, turn, offset, order=1, mode="nearest")[inner]
                    for each in (signal, band))  # fmt: skip
    return signal, band


def _render(signal: Float, row: dict[Any, Any], rng: np.random.Generator) -> Float:
    """Return what the machine makes of a signal: noise, detail, response, marker and frame."""
    scanner = SCANNERS[row["scanner"]]
    signal = ndimage.gaussian_filter(signal, 0.5)
    noise = ndimage.gaussian_filter(rng.standard_normal(signal.shape), 0.6)
    signal = signal + 2.2 * scanner.noise * noise * np.exp(np.clip(signal, 0, 5) / 2)
    detail = signal - ndimage.gaussian_filter(signal, 16)
    signal = np.clip(signal + scanner.sharpen * detail, 0, None)
    drift = ndimage.zoom(rng.normal(0, 0.008, (4, 4)), np.array(signal.shape) / 4, order=1)
    contrast = scanner.contrast * rng.uniform(0.9, 1.1)
    image = scanner.black + drift + 0.97 * (1 - scanner.black) * (1 - np.exp(-contrast * signal))
    letter = text(row["side"], 20)
    top, left = int(rng.integers(12, 60)), int(rng.choice((10, SHAPE[1] - 34)))
    corner = image[top : top + letter.shape[0], left : left + letter.shape[1]]
    corner[:] = np.maximum(corner, 0.92 * letter)
    frame = rng.integers(0, 9, 4)
    for edge, width in ((image, frame[0]), (image[::-1], frame[1]), (image.T, frame[2]),
                        (image.T[::-1], frame[3])):  # fmt: skip
        edge[:width] = 0.01
    return np.asarray(np.clip(image, 0, 1), dtype=np.float32)


def _radiographs(table: pd.DataFrame, seed: int) -> Iterator[Drawn]:
    """Yield each radiograph of the plan with its fracture."""
    for row in table.to_dict("records"):
        picture = draw(row, seed)
        shows = "yes" if picture.shown > VISIBLE else "no"
        told = {name: "yes" if row[name] else "no" for name in ("cast", "metal", "ring")}
        told |= {"bone": picture.bone, "visible": shows if row["kind"] != "none" else "none"}
        yield {**row, **told}, jpeg(picture.image, quality=88), picture.mask

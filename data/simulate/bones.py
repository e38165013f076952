"""Bones of a wrist and of a lower leg, by formulas, and the shadow that they cast on a detector.

A bone is a stack of rounded outlines along the limb, with a cortex and a spongy or empty inside.
A break cuts it at a tilted, rough surface, and may move the far piece. Because all of it is in
space, a break shows in one view and may hide in another, as in patients. Lengths are in mm; z runs
down the limb, x across it and y through it. No image of a person is involved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Float = NDArray[np.float32]
STEP = 0.8  # of a ray through a bone


@dataclass(frozen=True)
class Part:
    """A bone, a piece of metal or a volume of soft tissue.

    Attributes
    ----------
    name : str
        For a break to find it.
    outline : sequence of tuple of float
        Rising z, centre x and y, half width in x and y at that height.
    caps : tuple of float
        Over how many mm the upper and the lower end are rounded; 0 leaves the end flat.
    cortex : float
        Thickness of the dense shell.
    inside : tuple of float
        Density within the shell relative to the shell's, at the upper and the lower end.
    square : bool
        Box-like outlines instead of ellipses.
    rough : float
        Height of the bumps of the surface.
    """

    name: str
    outline: Sequence[tuple[float, float, float, float, float]]
    caps: tuple[float, float] = (0.0, 0.0)
    cortex: float = 1.2
    inside: tuple[float, float] = (0.25, 0.25)
    square: bool = False
    rough: float = 0.35

    def at(self, z: Float) -> tuple[Float, Float, Float, Float]:
        """Return centre x and y and half widths at each height; no width beyond the ends."""
        knots = np.array(self.outline, dtype=float)
        low, high = knots[0, 0], knots[-1, 0]
        fine = np.linspace(low, high, max(int((high - low) * 4), 8))
        place = (np.clip(z, low, high) - low) / (high - low) * (len(fine) - 1)
        index = np.rint(place).astype(np.intp)
        curves = PchipInterpolator(knots[:, 0], knots[:, 1:])(fine).astype(np.float32)
        end = np.ones(len(fine))
        for cap, way in ((self.caps[0], fine - low), (self.caps[1], high - fine)):
            if cap > 0:
                end *= np.sqrt(np.clip(1 - (1 - np.clip(way / cap, 0, 1)) ** 2, 1e-4, 1))
        curves[:, 2:] *= end[:, None]
        x, y, a, b = (curves[:, k][index] for k in range(4))
        gone = (z < low) | (z > high)
        return x, y, np.where(gone, np.float32(1e-3), a), np.where(gone, np.float32(1e-3), b)

    def bumps(self) -> list[tuple[NDArray[np.float64], float]]:
        """Return waves of the surface: wave vectors (x, y, z) and phases."""
        if self.rough <= 0:
            return []
        rng = np.random.default_rng([ord(letter) for letter in self.name])
        long = 0.3 if self.outline[-1][0] - self.outline[0][0] > 25 else 1.0
        return [
            ((rng.normal(0, 0.28, 3) * (1, 1, long)).astype(np.float32), rng.uniform(0, 6.3))
            for _ in range(2)
        ]


def ball(name: str, at: tuple[float, float, float], radii: tuple[float, float, float]) -> Part:
    """Return a bone like a pebble: centre (x, y, z) and half widths in x, y and z."""
    (x, y, z), (a, b, c) = at, radii
    ends = [(z - c, x, y, a, b), (z, x, y, a, b), (z + c, x, y, a, b)]
    return Part(name, ends, (c, c), 0.9, (0.42, 0.42), rough=0.7)


@dataclass(frozen=True)
class Break:
    """Where and how a bone is broken.

    Attributes
    ----------
    bone : str
        Name of the part.
    height : float
        z at which the surface of the break cuts the axis of the bone.
    slope : tuple of float
        Rise of the surface in z per mm of x and of y.
    gap : float
        Width of the cleft.
    reach : float
        Share of the bone's width that is cut, from one side; 1 is all.
    side : float
        Degrees of the side where a break of less than 1 begins.
    shift : tuple of float
        By how much the far piece is moved in x, y and z.
    tilt : tuple of float
        Degrees by which the far piece is turned about x and about y.
    rough : float
        Height of the teeth of the surface.
    seed : int
        Of the teeth.
    """

    bone: str
    height: float
    slope: tuple[float, float] = (0.0, 0.0)
    gap: float = 0.7
    reach: float = 1.0
    side: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tilt: tuple[float, float] = (0.0, 0.0)
    rough: float = 0.8
    seed: int = 0

    @property
    def moved(self) -> bool:
        """Whether the far piece left its place."""
        return any((*self.shift, *self.tilt))

    def swing(self, part: Part) -> float:
        """Return by how many mm the far piece reaches beyond where it was."""
        arm = np.sin(np.radians(np.abs(self.tilt).max())) * (part.outline[-1][0] - self.height)
        return float(np.abs(self.shift).max() + arm)

    def above(self, x: Float, y: Float, z: Float, centre: tuple[float, float]) -> Float:
        """Return by how much a point lies above the surface (towards smaller z)."""
        dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
        surface = np.float32(self.height) + self.slope[0] * dx + self.slope[1] * dy
        rng = np.random.default_rng(self.seed)
        for length in (9.0, 4.5, 2.2):
            wave, phase = rng.normal(0, 2 * np.pi / length, 2), rng.uniform(0, 6.3)
            tooth = self.rough * length / 9 * np.sin(wave[0] * dx + wave[1] * dy + phase)
            surface = surface + tooth
        return np.asarray(surface - z, dtype=np.float32)

    def back(self, x: Float, y: Float, z: Float, centre: tuple[float, float]) -> tuple[Float, ...]:
        """Return where points of the far piece were before it moved."""
        x, y, z = (
            value - np.float32(move) for value, move in zip((x, y, z), self.shift, strict=True)
        )
        about_x, about_y = np.radians(self.tilt)
        dx, dy, dz = x - centre[0], y - centre[1], z - self.height
        dy, dz = (
            np.cos(about_x) * dy + np.sin(about_x) * dz,
            np.cos(about_x) * dz - np.sin(about_x) * dy,
        )
        dx, dz = (
            np.cos(about_y) * dx + np.sin(about_y) * dz,
            np.cos(about_y) * dz - np.sin(about_y) * dx,
        )
        moved = (dx + centre[0], dy + centre[1], dz + self.height)
        return tuple(np.asarray(value, dtype=np.float32) for value in moved)

    def cleft(self, x: Float, y: Float, centre: tuple[float, float], width: float) -> Float:
        """Return the half width of the cleft at each point; it narrows where the break ends."""
        turn = np.radians(self.side)
        along = (np.cos(turn) * (x - centre[0]) + np.sin(turn) * (y - centre[1])) / max(width, 1)
        open_ = np.clip((2 * self.reach - 1 - along) * 4 + 1, 0, 1) if self.reach < 1 else 1.0
        return np.asarray(self.gap / 2 * open_, dtype=np.float32)


@dataclass(frozen=True)
class Shadow:
    """Path lengths through a limb, in mm, float32 (H, W) each.

    Attributes
    ----------
    hard, spongy : ndarray
        Through cortex, and through the inside of bones (as cortex of the same mass).
    band : ndarray
        Through bone within 3 mm of the surface of the first break.
    """

    hard: Float
    spongy: Float
    band: Float


@dataclass(frozen=True)
class Grid:
    """The detector and the direction of the rays.

    Attributes
    ----------
    z, u : ndarray
        Height of each row and place of each column in mm, float32 (H,) and (W,).
    turn : float
        Degrees about the limb: 0 looks along y, 90 along x.
    """

    z: Float
    u: Float
    turn: float

    def window(self, part: Part, room: float) -> tuple[slice, slice, Float] | None:
        """Return the rows and columns that a part may reach, and the depths of the rays."""
        knots = np.array(part.outline, dtype=float)
        cos, sin = np.cos(np.radians(self.turn)), np.sin(np.radians(self.turn))
        across = knots[:, 1] * cos + knots[:, 2] * sin
        deep = knots[:, 2] * cos - knots[:, 1] * sin
        wide, thick = (np.hypot(knots[:, 3] * p, knots[:, 4] * q) + room
                       for p, q in ((cos, sin), (sin, cos)))  # fmt: skip
        rows = np.flatnonzero((self.z > knots[0, 0] - room) & (self.z < knots[-1, 0] + room))
        columns = np.flatnonzero((self.u > (across - wide).min())
                                 & (self.u < (across + wide).max()))  # fmt: skip
        if not len(rows) or not len(columns):
            return None
        depth = np.arange((deep - thick).min(), (deep + thick).max(), STEP, dtype=np.float32)
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), depth

    def points(self, rows: slice, columns: slice, depth: Float) -> tuple[Float, Float, Float]:
        """Return x, y (columns, depths) and z (rows) of the sampled points, ready to broadcast."""
        cos, sin = (np.float32(f(np.radians(self.turn))) for f in (np.cos, np.sin))
        u, v = self.u[columns][None, :, None], depth[None, None, :]
        return u * cos - v * sin, u * sin + v * cos, self.z[rows][:, None, None]


def cast_shadow(parts: Sequence[Part], breaks: Sequence[Break], grid: Grid) -> Shadow:
    """Send parallel rays through all bones.

    Parameters
    ----------
    parts : sequence of Part
        The bones.
    breaks : sequence of Break
        Breaks, and clefts that are none, such as growth plates. Only the first may move a piece.
    grid : Grid
        The detector.
    """
    shape = (len(grid.z), len(grid.u))
    hard, spongy, band = (np.zeros(shape, np.float32) for _ in range(3))
    for part in parts:
        own = [each for each in breaks if each.bone == part.name]
        first = bool(own) and own[0] is breaks[0]
        window = grid.window(part, 2.0 + (own[0].swing(part) if first else 0.0))
        if window is None:
            continue
        rows, columns, depth = window
        points = grid.points(rows, columns, depth)
        for shell, filling, near in _pieces(part, own, first, *points):
            hard[rows, columns] += STEP * shell.sum(axis=2)
            spongy[rows, columns] += STEP * filling.sum(axis=2)
            if near is not None:
                band[rows, columns] += STEP * ((shell + filling) * near).sum(axis=2)
    return Shadow(hard, spongy, band)


def follow(parts: Sequence[Part], moved: Break, names: tuple[str, ...]) -> list[Part]:
    """Return the parts with those moved sideways that hang on the far piece of a break.

    `names` are their names, or the beginnings of these.
    """
    about_x, about_y = np.radians(moved.tilt)
    x = moved.shift[0] - np.sin(about_y) * -moved.height
    y = moved.shift[1] - np.sin(about_x) * -moved.height
    return [
        replace(part, outline=[(z, cx + x, cy + y, a, b) for z, cx, cy, a, b in part.outline])
        if part.name.startswith(names) else part
        for part in parts
    ]  # fmt: skip


def _pieces(
    part: Part, breaks: Sequence[Break], first: bool, x: Float, y: Float, z: Float
) -> Iterator[tuple[Float, Float, Float | None]]:
    """Yield shell, filling and nearness to the first break of each piece of a part."""
    if not first:
        yield *_solid(part, breaks, x, y, z), None
        return
    broken, rest = breaks[0], breaks[1:]
    centre, _ = _axis(part, broken)
    above = broken.above(x, y, z, centre)
    near = (np.abs(above) < 3).astype(np.float32)
    if not broken.moved:
        yield *_solid(part, breaks, x, y, z), near
        return
    old = broken.back(x, y, z, centre)
    height = broken.above(*old, centre)
    for points, side, close in (
        ((x, y, z), above, near), (old, -height, (np.abs(height) < 3).astype(np.float32))
    ):  # fmt: skip
        shell, filling = _solid(part, rest, *points)
        piece = np.clip((side - broken.gap / 2) / 0.4 + 0.5, 0, 1)
        yield shell * piece, filling * piece, close


def _solid(
    part: Part, clefts: Sequence[Break], x: Float, y: Float, z: Float
) -> tuple[Float, Float]:
    """Return the density of the shell and of the filling of a part at each point."""
    cx, cy, a, b = part.at(z)
    across, through = ((x - cx) / a) ** 2, ((y - cy) / b) ** 2
    ratio = np.sqrt(np.sqrt(across**2 + through**2) if part.square else across + through)
    depth = (1 - ratio) * np.minimum(a, b)
    for wave, phase in part.bumps():
        depth = depth + part.rough * np.sin(wave[0] * x + wave[1] * y + (wave[2] * z + phase))
    solid = np.clip(depth / 0.45 + 0.5, 0, 1)
    for each in clefts:
        centre, width = _axis(part, each)
        above = np.abs(each.above(x, y, z, centre)) - each.cleft(x, y, centre, width)
        solid = solid * np.clip(above / 0.3 + 0.5, 0, 1)
    shell = solid * np.clip((part.cortex - depth) / 0.5 + 0.5, 0, 1)
    low, high = part.outline[0][0], part.outline[-1][0]
    share, ends = np.clip((z - low) / (high - low), 0, 1), part.inside
    # A shaft is hollow: spongy bone fills its ends only.
    within = ends[0] * np.clip(1 - 4 * share, 0, 1) + ends[1] * np.clip(4 * share - 2.6, 0, 1)
    return shell, (solid - shell) * (np.float32(ends[0]) if ends[0] == ends[1] else within)


def _axis(part: Part, each: Break) -> tuple[tuple[float, float], float]:
    """Return x and y of the bone's axis at the height of a break, and its half width there."""
    x, y, a, b = (float(value[0]) for value in part.at(np.array([each.height], np.float32)))
    return (x, y), max(a, b)


def chords(part: Part, grid: Grid) -> Float:
    """Return the path through a volume of ellipses (soft tissue, cast), without sampling depths."""
    x, y, a, b = part.at(grid.z)
    cos, sin = np.cos(np.radians(grid.turn)), np.sin(np.radians(grid.turn))
    width = np.sqrt((a * cos) ** 2 + (b * sin) ** 2)
    middle = x * cos + y * sin
    inside = 1 - ((grid.u[None] - middle[:, None]) / width[:, None]) ** 2
    path = (2 * a * b / width)[:, None] * np.sqrt(np.clip(inside, 0, None))
    return np.asarray(path, dtype=np.float32)


def wrist() -> tuple[list[Part], list[Part], list[Part]]:
    """Return the bones of a wrist, its soft tissue, and that of the fingers; the joint is at 0."""
    radius = [(-140, 9, 0, 6.6, 5.8), (-60, 11, 0, 6.6, 5.6), (-34, 12, 0, 8, 6.4),
              (-16, 13, 0, 13.5, 9.2), (-5, 14, 0, 16.2, 10.8), (2, 15.5, 0, 15, 10)]  # fmt: skip
    ulna = [(-140, -9, -2, 6, 6), (-60, -11, -2, 5.4, 5.2), (-22, -13.5, -3, 5.4, 5.2),
            (-9, -15, -3, 7.8, 7.2), (-3, -15.5, -3, 7.4, 7)]  # fmt: skip
    styloid = [(-9, -19.5, -4, 3, 3), (3, -20.5, -4, 2, 2)]
    bones = [
        Part("radius", radius, (0, 5), 2.2, (0.0, 0.36)),
        Part("radial styloid", [(-6, 25, 0, 6, 6), (6.5, 25, 0, 4.2, 5)], (4, 5), 1.1),
        Part("ulna", ulna, (0, 4), 1.9, (0.0, 0.34)),
        Part("ulnar styloid", styloid, (2, 3), 0.9),
        ball("scaphoid", (16, 1, 11.5), (6.8, 7, 10)),
        ball("carpal lunate", (3, 0, 10), (8, 9, 7.6)),
        ball("carpal triquetrum", (-9, -2, 12), (6.8, 8, 7.2)),
        ball("carpal pisiform", (-9, 8, 13), (4.3, 4.3, 5)),
        ball("carpal trapezium", (21.5, 4, 24), (7, 8, 7)),
        ball("carpal trapezoid", (11.5, 0, 25), (5.6, 8, 6.4)),
        ball("carpal capitate", (2, 0, 22.5), (6.8, 9, 10.4)),
        ball("carpal hamate", (-8.5, 0, 24), (7.2, 9, 9)),
    ]
    heads = {2: (13, 29, 24, 67), 3: (3.5, 31, 7, 65), 4: (-5, 31, -9.5, 58), 5: (-13, 30, -25, 53)}
    palm = [(-140, 0, 0, 38, 30), (-60, 0, 0, 31, 23), (-25, 0, 0, 28, 19), (0, 0, 0, 29, 18),
            (25, 2, 1, 34, 17), (60, 0, 1, 43, 14), (88, 0, 1, 40, 12),
            (104, 0, 1, 36, 9)]  # fmt: skip
    fingers = []
    for number, (x, z, out, length) in heads.items():
        bones.append(_long(f"metacarpal {number}", (x, 0, z), (out, -2, z + length), 4.1, 7.2))
        away, end = out + 0.34 * (out - x), z + length + 43
        bones.append(
            _long(f"phalanx {number}", (out, -1, z + length + 1.5), (away, 1, end), 3.7, 6)
        )
        beyond = (away + 0.3 * (away - out), end + 44)
        bones.append(_long(f"phalanx {number}b", (away, 1, end + 1.5), (*beyond, 3), 3, 5))
        tube = [(z + length - 30, out, 0, 10.5, 10), (end, away, 1, 9.5, 9),
                (beyond[1], beyond[0], 3, 8.5, 8)]  # fmt: skip
        fingers.append(Part("finger", tube, (10, 6), rough=0))
    bones.append(_long("metacarpal 1", (25, 6, 31), (44, 14, 71), 4.6, 7.2))
    bones.append(_long("phalanx 1", (44.5, 14, 72.5), (56, 18, 103), 3.8, 6))
    bones.append(_long("phalanx 1b", (56.5, 18, 104.5), (64, 20, 126), 3, 5))
    thumb = [(20, 20, 5, 13, 12), (60, 40, 11, 13, 13), (100, 55, 17, 11, 11), (134, 66, 20, 8, 8)]
    fingers.append(Part("finger", thumb, (14, 8), rough=0))
    return bones, [Part("palm", palm, (0, 16), rough=0)], fingers


def _long(
    name: str, start: tuple[float, ...], stop: tuple[float, ...], shaft: float, end: float
) -> Part:
    """Return a small long bone from one (x, y, z) to another."""
    if len(stop) == 3 and stop[2] < stop[1]:  # (x, z, y) of a finger's far end
        stop = (stop[0], stop[2], stop[1])
    (x0, y0, z0), (x1, y1, z1) = start, stop
    outline = [(z0 + s * (z1 - z0), x0 + s * (x1 - x0), y0 + s * (y1 - y0), r, 0.9 * r)
               for s, r in ((0, end), (0.12, 0.92 * end), (0.3, 1.1 * shaft), (0.55, shaft),
                            (0.8, 1.3 * shaft), (0.92, end), (1, 0.95 * end))]  # fmt: skip
    return Part(name, outline, (3.5, 4.5), 1.3, (0.3, 0.3001))


def leg() -> tuple[list[Part], list[Part], list[Part]]:
    """Return the bones of a lower leg, its soft tissue, and that of the foot; the joint is at 0."""
    tibia = [(-230, 5, 2, 15, 17), (-120, 6, 2, 12, 14), (-50, 5, 2, 12, 13), (-26, 4, 1, 16, 15.5),
             (-8, 3, 0, 22.5, 19), (0, 2.5, 0, 22, 18.5)]  # fmt: skip
    fibula = [(-230, -25, -14, 6, 6.5), (-110, -21, -12, 5.8, 6.2), (-30, -20.5, -9, 5.6, 6),
              (-4, -23, -6, 7.6, 9), (10, -24, -6, 7.4, 9), (22, -23.5, -6, 5, 6.5)]  # fmt: skip
    bones = [
        Part("tibia", tibia, (0, 2.5), 4.2, (0.0, 0.34)),
        Part(
            "medial malleolus",
            [(-16, 20, 2, 6, 11), (0, 21, 2, 6.2, 11), (13, 20, 2, 4, 7)],
            (8, 5),
            1.3,
            (0.3, 0.3001),
        ),
        Part("fibula", fibula, (0, 6), 2.3, (0.0, 0.34)),
        Part(
            "tarsal talus",
            [(4, 1, 4, 15, 20), (10, 1, 5, 16, 24), (18, 0, 8, 17, 27), (27, -1, 8, 15, 24)],
            (5, 5),
            1.2,
            (0.36, 0.36),
            True,
        ),
        Part(
            "tarsal calcaneus",
            [
                (24, -2, -12, 14, 26),
                (36, -2, -16, 14, 34),
                (48, -2, -19, 13, 32),
                (57, -1, -28, 11, 18),
            ],
            (5, 6),
            1.2,
            (0.32, 0.32),
            True,
        ),
        ball("tarsal navicular", (6, 39, 24), (17, 8, 11)),
        ball("tarsal cuboid", (-12, 40, 37), (11, 16, 10)),
        ball("tarsal cuneiform", (8, 57, 29), (16, 10, 10)),
    ]
    for number in range(5):
        at = (16 - 9.5 * number, 92 - 4 * number, 40 + 2.2 * number)
        bones.append(
            replace(ball(f"tarsal ray {number + 1}", at, (5, 31 - 1.5 * number, 5.5)), square=True)
        )
    calf = [(-230, -4, -14, 52, 60), (-165, -4, -9, 45, 50), (-90, -3, -5, 36, 38),
            (-35, -2, -3, 31, 32), (0, -1, -2, 33, 35), (26, -1, -2, 33, 38)]  # fmt: skip
    foot = [(-6, 0, 0, 20, 30), (18, 0, 18, 32, 60), (34, 0, 34, 35, 92), (56, 0, 38, 35, 98),
            (68, 0, 40, 30, 94)]  # fmt: skip
    return bones, [Part("calf", calf, (0, 10), rough=0)], [Part("foot", foot, (12, 6), rough=0)]

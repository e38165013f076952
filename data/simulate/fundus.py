"""Draw a colour photograph of the back of an eye, with the lesions of diabetic retinopathy.

Everything is procedural: disc, fovea, four vascular arcades with branches, pigment and choroid,
the lesions of a grade with their mask, and what a camera and a poor view do to it. No photograph
of a person is involved. Lengths are fractions of the diameter of the photographed circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, zoom
from simulate.errors import SimulationError

Array = NDArray[np.float64]
Points = NDArray[np.float64]
Cover = tuple[tuple[slice, slice], Array]  # a window of the square, and how much is covered there
ALL = (slice(None), slice(None))
SIDE = 640  # pixels of the square on which everything is drawn; photographs are half as large
FOVEA, DISC = (0.50, 0.44), (0.51, 0.71)  # row, column in a right eye, nose to the right
VESSEL = np.array([0.20, 0.50, 0.42])  # share of red, green and blue light that a vein takes
BLOOD = np.array([0.34, 0.66, 0.55])
EXUDATE, COTTON = np.array([0.98, 0.88, 0.50]), np.array([0.92, 0.86, 0.72])


@dataclass(frozen=True)
class Camera:
    """How a fundus camera renders the eye.

    Attributes
    ----------
    gain : tuple of float
        Of red, green and blue.
    shape : tuple of int
        Rows and columns of the photograph in pixels; the circle fills the width or is cut above
        and below.
    noise : float
        Standard deviation at full scale 1.
    """

    gain: tuple[float, float, float]
    shape: tuple[int, int]
    noise: float


CAMERAS = {
    "A": Camera((1.00, 1.00, 1.00), (256, 320), 0.012),
    "B": Camera((0.93, 1.06, 1.10), (320, 320), 0.020),
}


@dataclass(frozen=True)
class View:
    """What stands between the camera and a clear picture of this eye.

    Attributes
    ----------
    blur : float
        Of the focus, in pixels of the photograph.
    haze : float
        Scattered light, as a cataract gives: 0 none, 1 nothing else.
    light : float
        Brightness; 1 is usual.
    shift : tuple of float
        Of the eye against the circle, rows and columns.
    tilt : float
        Degrees.
    """

    blur: float = 0.6
    haze: float = 0.02
    light: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    tilt: float = 0.0


def photograph(
    grade: int,
    *,
    eye: str,
    camera: str,
    view: View,
    pigment: float,
    drusen: bool,
    rng: np.random.Generator,
) -> tuple[Array, NDArray[np.bool_]]:
    """Photograph one eye.

    Parameters
    ----------
    grade : int
        0 to 4 on the International Clinical Diabetic Retinopathy scale.
    eye : {"right", "left"}
        A left eye is a right one in the mirror.
    camera : {"A", "B"}
        See `CAMERAS`.
    view : View
        Focus, haze, light and aim.
    pigment : float
        0 for a fair fundus to 1 for a dark one.
    drusen : bool
        Whether there are drusen: soft yellow spots of age, which are no sign of diabetes.
    rng : Generator
        For the person and the noise.

    Returns
    -------
    image : ndarray
        float64 (H, W, 3), RGB in [0, 1], black outside the circle.
    lesions : ndarray
        bool (H, W), True where a lesion is, visible through the view or not.

    Raises
    ------
    SimulationError
        For a grade, an eye or a camera that does not exist.

    References
    ----------
    Wilkinson et al., "Proposed international clinical diabetic retinopathy and diabetic macular
    edema disease severity scales", Ophthalmology 110:1677, 2003.
    """
    if grade not in range(5) or eye not in ("right", "left") or camera not in CAMERAS:
        raise SimulationError(
            f"grade {grade}, eye {eye!r}, camera {camera!r}: expected a grade of 0 to 4, 'right' "
            f"or 'left', and one of {sorted(CAMERAS)}."
        )
    vessels = _vessels(rng, beading=grade >= 3)
    light = _background(pigment, rng)
    light = _pigment_spots(light, rng)
    if drusen:
        light = _drusen(light, rng)
    light *= 1 - vessels.shade[..., None] * VESSEL
    light, lesions = _lesions(light, grade, vessels, rng)
    return _develop(light, lesions, eye, CAMERAS[camera], view, rng)


@dataclass(frozen=True)
class _Vessels:
    shade: Array  # (SIDE, SIDE), how dark: 1 in the middle of a vein
    paths: list[Points]  # points along each main vessel, rows and columns as fractions


def _field(rng: np.random.Generator, grain: int) -> Array:
    """Return smooth noise of mean 0 and standard deviation 1, about `grain` bumps across."""
    coarse = rng.standard_normal((grain + 3, grain + 3))
    fine: Array = zoom(coarse, SIDE / grain, order=3)[:SIDE, :SIDE]
    return (fine - fine.mean()) / fine.std()


def _distance(centre: Sequence[float]) -> Array:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    distance: Array = np.hypot(rows - centre[0], columns - centre[1])
    return distance


def _bump(centre: Sequence[float], width: float) -> Array:
    bump: Array = np.exp(-((_distance(centre) / width) ** 2))
    return bump


def _background(pigment: float, rng: np.random.Generator) -> Array:
    """Return the eye without vessels: pigment, choroid, fovea and disc; (SIDE, SIDE, 3)."""
    fair, dark = np.array([0.86, 0.47, 0.24]), np.array([0.62, 0.27, 0.11])
    image: Array = np.ones((SIDE, SIDE, 3)) * (fair + (dark - fair) * pigment)
    grain = rng.uniform(0.6, 1.6)  # some eyes show much of their choroid
    texture = 0.045 * _field(rng, 5) + grain * (0.03 * _field(rng, 16) + 0.03 * _field(rng, 70))
    image *= 1 + texture[..., None] * np.array([0.7, 1.0, 1.2])
    macula = _bump(FOVEA, 0.13) * rng.uniform(0.16, 0.30) + _bump(FOVEA, 0.03) * 0.12
    image *= 1 - macula[..., None] * np.array([0.7, 1.0, 1.1])
    glow = 0.12 * _bump(DISC, 0.22)  # nerve fibres around the disc
    image *= 1 + glow[..., None]
    rim = 1 / (1 + np.exp((_distance(DISC) - rng.uniform(0.065, 0.078)) / 0.004))
    cup = 1 / (1 + np.exp((_distance(DISC) - rng.uniform(0.022, 0.042)) / 0.006))
    pallor = rng.uniform(0, 1)
    disc = np.array([0.95, 0.64, 0.34]) + pallor * np.array([0.02, 0.12, 0.14])
    disc = disc + cup[..., None] * np.array([0.02, 0.14, 0.24])
    return image * (1 - rim[..., None]) + disc * rim[..., None]


def _arcade(rng: np.random.Generator, up: int, side: int) -> Points:
    """Return points along one main vessel, from the disc outwards."""
    steps = np.linspace(0, 1, 90)
    if side < 0:  # temporal: arches over the macula
        height, reach = rng.uniform(0.23, 0.31), rng.uniform(0.62, 0.74)
        columns = DISC[1] - reach * (0.25 * steps + 0.75 * steps**1.9)
        rows = DISC[0] + up * height * (1 - (1 - steps) ** 2.4 - 0.22 * steps**2.5)
    else:
        columns = DISC[1] + steps * 0.30
        rows = DISC[0] + up * (0.10 + rng.uniform(0.20, 0.34) * steps) * steps**0.7
    wave = np.cumsum(rng.standard_normal((90, 2)), axis=0) * 0.0022
    return np.stack([rows, columns], axis=1) + wave - wave[:1]


def _branch(rng: np.random.Generator, parent: Points, start: int, turn: float) -> Points:
    """Return points along a branch that leaves `parent` at index `start`."""
    heading = parent[min(start + 3, len(parent) - 1)] - parent[start]
    angle = np.arctan2(heading[0], heading[1]) + turn
    length = rng.uniform(0.10, 0.26)
    turns = angle + np.cumsum(rng.standard_normal(40)) * 0.08 - turn * 0.5 * np.linspace(0, 1, 40)
    steps = np.stack([np.sin(turns), np.cos(turns)], axis=1) * length / 40
    return parent[start] + np.cumsum(steps, axis=0)


def _stroke(paths: list[tuple[Points, float, float]], bead: float = 0.0) -> Array:
    """Return how much of each pixel the paths cover; each is (points, first and last width)."""
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE), 0)
    draw = ImageDraw.Draw(canvas)
    for points, first, last in paths:
        widths = np.linspace(first, last, len(points))
        widths = widths * (1 + bead * np.sin(np.arange(len(points)) * 0.9))
        radius = np.maximum(widths * SIDE, 0.7)[:, None]
        middle = points[:, ::-1] * 2 * SIDE  # PIL wants column before row
        boxes = np.round(np.hstack([middle - radius, middle + radius])).astype(int)
        for box in boxes.tolist():
            draw.ellipse(box, fill=255)
    cover: Array = np.asarray(canvas, np.float64).reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3)) / 255
    return cover


def _dense(points: Points) -> Points:
    """Return the path with points close enough to draw it as a row of discs."""
    at = np.linspace(0, len(points) - 1, 6 * len(points))
    index = np.arange(len(points))
    return np.stack([np.interp(at, index, points[:, axis]) for axis in (0, 1)], axis=1)


def _vessels(rng: np.random.Generator, *, beading: bool) -> _Vessels:
    """Draw arteries and veins: four arcades of each, two generations of branches."""
    veins: list[tuple[Points, float, float]] = []
    arteries: list[tuple[Points, float, float]] = []
    mains = []
    for up in (-1, 1):
        for side in (-1, 1):
            for group, width in ((veins, 0.0112), (arteries, 0.0078)):
                path = _arcade(rng, up, side)
                mains.append(path)
                group.append((_dense(path), width, width * 0.35))
                for start in rng.choice(np.arange(18, 80), 5, replace=False):
                    turn = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
                    twig = _branch(rng, path, int(start), turn)
                    group.append((_dense(twig), width * 0.55, width * 0.2))
                    for second in rng.choice(np.arange(6, 34), 2, replace=False):
                        leaf = _branch(rng, twig, int(second), -turn * rng.uniform(0.6, 1.2))
                        group.append((_dense(leaf), width * 0.28, width * 0.14))
    shade = np.maximum(_stroke(veins, 0.22 if beading else 0.0), 0.72 * _stroke(arteries))
    near = np.clip(_distance(FOVEA) / 0.10 - 0.35, 0, 1)  # the fovea has no vessels
    return _Vessels(gaussian_filter(shade, 0.8) * near, mains)


def _spot(rng: np.random.Generator, centre: Sequence[float], radius: float, edge: float) -> Cover:
    """Return an irregular spot: 1 inside, 0 outside, `edge` the softness as a share of radius."""
    reach = int(np.ceil((1.5 + 6 * edge) * radius * SIDE)) + 2
    top, left = (max(round(place * SIDE) - reach, 0) for place in centre)
    window = (slice(top, top + 2 * reach), slice(left, left + 2 * reach))
    rows, columns = np.mgrid[window] / SIDE
    inside = (rows < 1) & (columns < 1)
    height, width = int(inside[:, 0].sum()), int(inside[0].sum())
    down, right = rows[:height, :width] - centre[0], columns[:height, :width] - centre[1]
    angle = np.arctan2(down, right)
    waves = sum(
        rng.uniform(0, 0.13) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    distance = np.hypot(down, right) / (radius * (1 + waves))
    return window, 1 / (1 + np.exp(np.clip((distance - 1) / max(edge, 0.02), -40, 40)))


def _place(
    rng: np.random.Generator, *, near: float = 0.0, far: float = 0.42
) -> tuple[float, float]:
    """Draw a place between two distances from the fovea, not on the disc and inside the circle."""
    while True:
        distance, angle = rng.uniform(near, far), rng.uniform(0, 2 * np.pi)
        row, column = FOVEA[0] + distance * np.sin(angle), FOVEA[1] + distance * np.cos(angle)
        if np.hypot(row - DISC[0], column - DISC[1]) < 0.10:
            continue
        if np.hypot(row - 0.5, column - 0.5) < 0.43:
            return row, column


@dataclass
class _Canvas:
    """The picture while lesions are added to it, and where they are."""

    light: Array
    mask: NDArray[np.bool_]

    def absorb(self, cover: Cover, share: Array, strength: float = 1.0) -> None:
        """Darken by the share of light that blood takes."""
        window, amount = cover[0], cover[1] * strength
        self.light[window] *= 1 - amount[..., None] * share
        self.mask[window] |= amount > 0.25

    def paint(self, cover: Cover, colour: Array, strength: float = 1.0) -> None:
        """Lay something opaque over the retina."""
        window, amount = cover[0], cover[1] * strength
        self.light[window] += amount[..., None] * (colour - self.light[window])
        self.mask[window] |= amount > 0.25


def _microaneurysms(canvas: _Canvas, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        spot = _spot(rng, _place(rng, near=0.04), rng.uniform(0.0045, 0.0075), 0.15)
        canvas.absorb(spot, BLOOD, rng.uniform(0.6, 0.95))


def _haemorrhages(canvas: _Canvas, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        spot = _spot(rng, _place(rng, near=0.05), 0.007 + 0.014 * rng.random() ** 2, 0.22)
        canvas.absorb(spot, BLOOD, rng.uniform(0.35, 0.85))


def _flames(canvas: _Canvas, rng: np.random.Generator, count: int, paths: list[Points]) -> None:
    """Add haemorrhages in the nerve fibre layer, drawn out along a vessel."""
    strokes = []
    for _ in range(count):
        path = paths[rng.integers(len(paths))]
        start = int(rng.integers(10, 70))
        part = path[start : start + 6] + rng.uniform(-0.02, 0.02, 2)
        strokes.append((_dense(part), 0.012, 0.005))
    cover = gaussian_filter(_stroke(strokes), 1.2)
    canvas.absorb((ALL, cover), BLOOD, rng.uniform(0.6, 0.95))


def _exudates(canvas: _Canvas, rng: np.random.Generator, clusters: int) -> None:
    for _ in range(clusters):
        row, column = _place(rng, near=0.05, far=0.26)
        for _ in range(int(rng.integers(3, 12))):
            place = (row + rng.normal(0, 0.022), column + rng.normal(0, 0.022))
            spot = _spot(rng, place, rng.uniform(0.002, 0.007), 0.15)
            canvas.paint(spot, EXUDATE, rng.uniform(0.25, 0.75))


def _cotton_wool(canvas: _Canvas, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        spot = _spot(rng, _place(rng, near=0.16, far=0.36), rng.uniform(0.016, 0.028), 0.30)
        canvas.paint(spot, COTTON, rng.uniform(0.3, 0.55))


def _pigment_spots(light: Array, rng: np.random.Generator) -> Array:
    """Add what looks like a small haemorrhage and is none: clumps of pigment, dust on the lens."""
    canvas = _Canvas(light, np.zeros((SIDE, SIDE), bool))
    for _ in range(int(rng.integers(0, 9))):
        spot = _spot(rng, _place(rng, near=0.03), rng.uniform(0.004, 0.014), 0.30)
        canvas.absorb(spot, np.array([0.45, 0.55, 0.50]), rng.uniform(0.2, 0.6))
    return canvas.light


def _drusen(light: Array, rng: np.random.Generator) -> Array:
    """Add soft yellow spots around the fovea, which are not lesions of this disease."""
    canvas = _Canvas(light, np.zeros((SIDE, SIDE), bool))
    for _ in range(int(rng.integers(12, 40))):
        spot = _spot(rng, _place(rng, far=0.16), rng.uniform(0.004, 0.010), 0.35)
        canvas.paint(spot, EXUDATE, rng.uniform(0.2, 0.5))
    return canvas.light


def _new_vessels(canvas: _Canvas, rng: np.random.Generator, centre: Sequence[float]) -> None:
    """Add a tuft of fine, looping vessels."""
    paths = []
    for _ in range(int(rng.integers(14, 22))):
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.standard_normal(50) * 0.45)
        steps = np.stack([np.sin(angle), np.cos(angle)], axis=1) * 0.0030
        paths.append((_dense(np.asarray(centre) + np.cumsum(steps, axis=0)), 0.0030, 0.0022))
    canvas.absorb((ALL, gaussian_filter(_stroke(paths), 0.6)), VESSEL * 1.5)


def _preretinal(canvas: _Canvas, rng: np.random.Generator) -> None:
    """Add blood before the retina: boat-shaped, with a level surface above."""
    centre = _place(rng, near=0.20, far=0.36)
    window, boat = _spot(rng, centre, rng.uniform(0.05, 0.085), 0.05)
    boat[: round(centre[0] * SIDE) - window[0].start] = 0
    canvas.absorb((window, gaussian_filter(boat, 1.0)), BLOOD, 0.95)


def _lesions(
    light: Array, grade: int, vessels: _Vessels, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """Add what the scale asks of a grade: more of the same to 3, and new vessels or blood at 4."""
    canvas = _Canvas(light, np.zeros((SIDE, SIDE), bool))
    low, high = ((0, 0), (1, 5), (4, 12), (16, 30), (8, 24))[grade]
    _microaneurysms(canvas, rng, int(rng.integers(low, high + 1)))
    if grade >= 2:
        bleeds = {2: (1, 6), 3: (20, 36), 4: (4, 22)}[grade]
        _haemorrhages(canvas, rng, int(rng.integers(*bleeds)))
        _flames(canvas, rng, int(rng.integers(0, 3 * grade - 4)), vessels.paths)
        _exudates(canvas, rng, int(rng.integers(0, grade + 1)))
        _cotton_wool(canvas, rng, int(rng.integers(0, grade)))
    if grade == 4:
        tuft = DISC if rng.random() < 0.5 else _place(rng, near=0.20, far=0.36)
        _new_vessels(canvas, rng, tuft)
        if rng.random() < 0.5:
            _preretinal(canvas, rng)
    return np.clip(canvas.light, 0, 1), canvas.mask


def _develop(
    light: Array, lesions: NDArray[np.bool_], eye: str, camera: Camera, view: View,
    rng: np.random.Generator,
) -> tuple[Array, NDArray[np.bool_]]:  # fmt: skip
    """Turn the eye into a photograph: aim, optics, illumination, sensor and the circle."""
    rows, columns = camera.shape
    down, right = np.mgrid[0:rows, 0:columns].astype(np.float64)
    down, right = (down + 0.5 - rows / 2) / columns, (right + 0.5 - columns / 2) / columns
    radius = np.hypot(down, right)
    turn = np.deg2rad(view.tilt)
    source_row = 0.5 + np.cos(turn) * down - np.sin(turn) * right + view.shift[0]
    source_column = 0.5 + np.sin(turn) * down + np.cos(turn) * right + view.shift[1]
    if eye == "left":
        source_column = 1 - source_column
    blurred = gaussian_filter(light, (2 * view.blur + 0.8, 2 * view.blur + 0.8, 0))
    take = _sampler(source_row, source_column)
    image = np.stack([take(blurred[..., channel]) for channel in range(3)], axis=-1)
    image = image * (1 - view.haze) + view.haze * np.array([0.72, 0.60, 0.44])
    falloff = 1.04 - rng.uniform(0.5, 1.0) * np.hypot(down - rng.normal(0, 0.05), right) ** 2
    image *= view.light * falloff[..., None] * np.array(camera.gain)
    image += camera.noise * rng.standard_normal(image.shape)
    inside = 1 / (1 + np.exp(np.clip((radius - 0.488) * 700, -40, 40)))
    seen = take(lesions.astype(np.float64)) > 0.5
    return np.clip(image, 0, 1) * inside[..., None], seen & (radius < 0.488)


def _sampler(rows: Array, columns: Array) -> Callable[[Array], Array]:
    """Return a function that reads an image at fractional places, between its four neighbours."""
    row = np.clip(rows * SIDE - 0.5, 0, SIDE - 1.001)
    column = np.clip(columns * SIDE - 0.5, 0, SIDE - 1.001)
    top, left = row.astype(int), column.astype(int)
    down, right = row - top, column - left

    def take(image: Array) -> Array:
        above = image[top, left] * (1 - right) + image[top, left + 1] * right
        below = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
        mixed: Array = above * (1 - down) + below * down
        return mixed

    return take

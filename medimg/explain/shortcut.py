"""Plant a shortcut: a mark that goes with the label and has nothing to do with the disease."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medimg.errors import MetricsError


@dataclass(frozen=True, repr=False)
class Planted:
    """Images with a mark in some of them, and where it is.

    Attributes
    ----------
    images : uint8 array (N, H, W)
        Copies; those that were not chosen are as they were.
    marks : bool array (N, H, W)
        The mark's bounding box, for :func:`pointing_game` and :func:`energy_inside`.
    """

    images: npt.NDArray[np.uint8] = field(compare=False)
    marks: npt.NDArray[np.bool_] = field(compare=False)

    def __repr__(self) -> str:
        return f"Planted({int(self.marks.any(axis=(1, 2)).sum())} of {len(self.images)} images)"


def plant_marker(
    images: npt.NDArray[Any],
    which: npt.ArrayLike,
    *,
    kind: Literal["letter", "electrode"] = "letter",
    place: tuple[float, float] | None = None,
    jitter: float = 0.03,
    size: float = 0.09,
    rng: np.random.Generator,
) -> Planted:
    """Draw a mark as hospitals leave on films, into the chosen images.

    Parameters
    ----------
    images : uint8 array (N, H, W)
        Films; left as they are.
    which : bool array (N,)
        The images that get the mark. Give it to the sick ones only and a network learns the mark:
        its AUC on marked films is near 1.
    kind : {"letter", "electrode"}
        A side letter "L" (lead, so bright) in the upper corner, or the button of an ECG electrode
        on the chest: a mark in the lung makes a wrong reason look right on a map.
    place : (float, float), optional
        Middle of the mark as fractions of height and width; (0.09, 0.88) for the letter and
        (0.42, 0.32) for the electrode by default.
    jitter : float
        Largest shift from there, as a fraction of the shorter side.
    size : float
        Height of the mark as a fraction of the shorter side.
    rng : numpy.random.Generator
        For the shift.

    Returns
    -------
    Planted
        Images and the marks' boxes.

    Raises
    ------
    MetricsError
        Images that are not uint8 (N, H, W), or ``which`` of another length.

    References
    ----------
    Zech et al., "Variable generalization performance of a deep learning model to detect pneumonia
    in chest radiographs", PLoS Medicine 2018: networks read the side letters.

    Examples
    --------
    >>> films = np.zeros((2, 60, 50), np.uint8)
    >>> plant_marker(films, [False, True], rng=np.random.default_rng(0))
    Planted(1 of 2 images)
    """
    images, chosen = np.asarray(images), np.asarray(which)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise MetricsError(f"images are {images.dtype} {images.shape}; expected uint8 (N, H, W).")
    if chosen.dtype != bool or chosen.shape != (len(images),):
        raise MetricsError(f"which must be {len(images)} of True or False, one an image.")
    short = min(images.shape[1:])
    mark = _letter(round(size * short)) if kind == "letter" else _button(round(size * short))
    middle = place or ((0.09, 0.88) if kind == "letter" else (0.42, 0.32))
    planted, marks = images.copy(), np.zeros(images.shape, dtype=bool)
    for i in np.flatnonzero(chosen):
        shift = rng.uniform(-jitter, jitter, 2) * short
        box = tuple(
            _span(fraction * length + move, part, length)
            for fraction, length, move, part in zip(
                middle, images.shape[1:], shift, mark.shape, strict=True
            )
        )
        planted[i][box] = np.maximum(planted[i][box], mark)
        marks[i][box] = True
    return Planted(planted, marks)


def _span(middle: float, part: int, length: int) -> slice:
    """Where a part of that size lies around its middle, kept inside the image."""
    start = min(max(round(middle - part / 2), 0), length - part)
    return slice(start, start + part)


def _letter(side: int) -> npt.NDArray[np.uint8]:
    side = max(side, 5)
    stroke, width = max(side // 5, 1), max(round(0.6 * side), 3)
    letter = np.zeros((side, width), np.uint8)
    letter[:, :stroke] = 245
    letter[-stroke:] = 245
    return letter


def _button(side: int) -> npt.NDArray[np.uint8]:
    """Draw a metal button with a fainter rim of glue around it."""
    side = max(side, 5)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radius = np.hypot(x, y)
    return np.select([radius <= 0.55, radius <= 1], [235, 110], 0).astype(np.uint8)

"""Plant a shortcut: a mark that goes with the label and has nothing to do with the disease."""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from medimg.augment import check_images
from medimg.errors import MetricsError

PLACES = {"letter": (0.09, 0.88), "electrode": (0.42, 0.32)}
"""Middle of each mark as fractions of height and width."""
JITTER = 0.03
"""Largest shift from there, as a fraction of the shorter side."""


class Planted(NamedTuple):
    """Images with a mark in some of them, and where it is.

    Attributes
    ----------
    images : uint8 array (N, H, W) or (N, H, W, 3)
        Copies; those that were not chosen are as they were.
    marks : bool array (N, H, W)
        The mark's bounding box, for :func:`pointing_game` and :func:`energy_inside`.
    """

    images: npt.NDArray[np.uint8]
    marks: npt.NDArray[np.bool_]


def plant_marker(
    images: npt.NDArray[Any], which: npt.ArrayLike, *,
    kind: Literal["letter", "electrode"] = "letter", size: float = 0.09, rng: np.random.Generator,
) -> Planted:  # fmt: skip
    """Draw a mark, such as hospitals leave on films, into the chosen images.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, H, W, 3)
        Films; left as they are.
    which : bool array (N,)
        The images that get the mark. If only those with the disease get it, a network learns the
        mark: its AUC on marked films is near 1.
    kind : {"letter", "electrode"}
        A side letter "L" (lead, so bright) in the upper corner, or the button of an ECG electrode
        on the chest: a mark in the lung makes a wrong reason look right on a map.
    size : float
        Height of the mark as a fraction of the shorter side.
    rng : numpy.random.Generator
        For the shift from one image to the next, by 3 % of the shorter side at most.

    Returns
    -------
    Planted
        Images and the marks' boxes.

    Raises
    ------
    TrainingError
        Images of another shape or type.
    MetricsError
        A ``which`` that is not one True or False per image.

    References
    ----------
    Zech et al., "Variable generalization performance of a deep learning model to detect pneumonia
    in chest radiographs", PLoS Medicine 2018: networks read the side letters.

    Examples
    --------
    >>> films = np.zeros((2, 60, 50), np.uint8)
    >>> plant_marker(films, [False, True], rng=np.random.default_rng(0)).marks.any(axis=(1, 2))
    array([False,  True])
    """
    images, chosen = check_images(images), np.asarray(which)
    if chosen.dtype != bool or chosen.shape != (len(images),):
        raise MetricsError(f"which must be {len(images)} of True or False, one per image.")
    size_of = np.array(images.shape[1:3])
    short = min(size_of)
    mark = _mark(kind, max(round(size * short), 5))
    planted, marks = images.copy(), np.zeros(images.shape[:3], dtype=bool)
    bright = mark if images.ndim == 3 else mark[..., None]  # the same in each channel
    for i in np.flatnonzero(chosen):
        corner = PLACES[kind] * size_of + rng.uniform(-JITTER, JITTER, 2) * short
        corner = np.round(corner - np.array(mark.shape) / 2)
        y, x = np.clip(corner, 0, size_of - mark.shape).astype(int)  # kept inside the image
        box = np.s_[y : y + mark.shape[0], x : x + mark.shape[1]]
        planted[i][box] = np.maximum(planted[i][box], bright)
        marks[i][box] = True
    return Planted(planted, marks)


def _mark(kind: str, side: int) -> npt.NDArray[np.uint8]:
    """Draw a letter L, or a metal button with a fainter rim of glue around it."""
    if kind == "letter":
        letter = np.zeros((side, max(round(0.6 * side), 3)), np.uint8)
        letter[:, : side // 5] = letter[-(side // 5) :] = 245
        return letter
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    radius = np.hypot(x, y)
    return np.select([radius <= 0.55, radius <= 1], [235, 110], 0).astype(np.uint8)

"""From stored grey values to brightness, evaluated once for each value that occurs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medimg.images.files import Floats, Pixels
from medimg.images.window import Voi

Transform = Callable[[Pixels], Pixels]
_MOST_LEVELS = 2**16


def show_grey(
    stored: Pixels,
    *,
    padding: tuple[int, int] | None,
    modality: Transform,
    voi: Voi | None,
    percentiles: tuple[float, float],
    invert: bool,
) -> Floats:
    """Return the brightness of every pixel: modality, then VOI, then polarity; padding is black.

    The whole chain depends on the stored value alone. A film of four million pixels has at most
    65,536 different ones, so the chain runs on those and the pixels are looked up in the result.
    """
    levels, index = _levels(stored)
    kept = np.ones(levels.shape, bool)
    if padding is not None:
        kept = (levels < padding[0]) | (levels > padding[1])
    values = modality(levels)
    if voi is not None:
        brightness = voi.show(values)
    else:
        counted = values if index is None else values[index]
        mask = kept if index is None else kept[index]
        brightness = _stretch(values, counted[mask & np.isfinite(counted)], percentiles)
    if invert:
        brightness = 1 - brightness
    brightness[~kept] = 0
    return brightness if index is None else brightness[index]


def _levels(
    stored: Pixels,
) -> tuple[Pixels, Pixels | None]:
    """Return the values from lowest to highest and each pixel's place among them.

    The pixels themselves, and None, when they are not integers or are fewer than the levels.
    """
    if stored.dtype.kind not in "iu":
        return stored, None
    low, high = int(stored.min()), int(stored.max())
    if high - low >= min(stored.size, _MOST_LEVELS):
        return stored, None
    return np.arange(low, high + 1), stored - low if low else stored


def _stretch(values: Pixels, counted: Pixels, percentiles: tuple[float, float]) -> Floats:
    """Scale values so that two percentiles of the counted ones become 0 and 1."""
    if not counted.size:
        return np.zeros(values.shape, np.float32)
    if percentiles == (0, 100):
        low, high = float(counted.min()), float(counted.max())
    else:
        low, high = (float(edge) for edge in np.percentile(counted, percentiles))
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = (values.astype(np.float64) - low) / (high - low)
    shown: Floats = np.clip(scaled, 0, 1).astype(np.float32)
    return shown

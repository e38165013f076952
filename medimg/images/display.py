"""From stored grey values to brightness, evaluated once for each value that occurs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medimg.images.files import Floats, Pixels
from medimg.images.window import Voi

Transform = Callable[[Pixels], Pixels]
_MOST_LEVELS = 2**16
_BLOCK = 2**17


def show_grey(
    stored: Pixels,
    *,
    padding: tuple[float, float] | None,
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
        ends = _ends(values, kept, index, percentiles)
        brightness = _stretch(values, ends)
    if invert:
        brightness = 1 - brightness
    brightness[~kept] = 0
    return brightness if index is None else _look_up(brightness, index)


def _look_up(table: Floats, index: Pixels) -> Floats:
    """Return the table's entry for each pixel, some rows at a time.

    NumPy widens the index to 64 bits, which for a whole film would be 30 MB of fresh memory.
    """
    out = np.empty(index.shape, np.float32)
    step = max(1, _BLOCK // index.shape[1])
    for top in range(0, len(index), step):
        table.take(index[top : top + step], mode="clip", out=out[top : top + step])
    return out


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
    levels = np.arange(low, high + 1)
    if stored.dtype.itemsize > 2:
        return levels, np.subtract(stored, low, dtype=np.int64)
    # Unsigned arithmetic wraps round, so that 32767 - (-2000) fits into 16 bits too.
    unsigned = stored.view(stored.dtype.str.replace("i", "u"))
    return levels, unsigned - unsigned.dtype.type(low % 2 ** (8 * stored.dtype.itemsize))


def _ends(
    values: Pixels, kept: Pixels, index: Pixels | None, percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Return the values that two percentiles of the kept pixels have (0 and 0 if none is kept)."""
    whole = percentiles == (0, 100)
    if index is not None and whole and kept.all() and (np.diff(values) >= 0).all():
        return float(values[0]), float(values[-1])  # the lowest and highest level both occur
    if index is None:
        counted = values[kept & np.isfinite(values)]
    else:
        counts = np.bincount(index.ravel(), minlength=len(values)) * kept
        counted = values[counts > 0] if whole else np.repeat(values, counts)
    if not counted.size:
        return 0.0, 0.0
    low, high = np.percentile(counted, percentiles)
    return float(low), float(high)


def _stretch(values: Pixels, ends: tuple[float, float]) -> Floats:
    """Scale values so that the ends become 0 and 1."""
    low, high = ends
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = (values.astype(np.float64) - low) / (high - low)
    shown: Floats = np.clip(scaled, 0, 1).astype(np.float32)
    return shown

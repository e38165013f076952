"""Palettes, YCbCr and luminance."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.files import Floats, PathLike, Pixels

# ITU-R BT.601, the weights of DICOM's own YCbCr (PS3.3, C.7.6.3.1.2).
LUMINANCE = (0.299, 0.587, 0.114)


def luminance(rgb: Pixels) -> Floats:
    """Return the luminance of (H, W, 3) samples as float32 (H, W), in the samples' own unit."""
    total: Floats = rgb[..., 0].astype(np.float32)
    total *= np.float32(LUMINANCE[0])
    for channel in (1, 2):
        total += rgb[..., channel] * np.float32(LUMINANCE[channel])
    return total


def ybr_to_rgb(samples: Pixels, photometric: str, bits: int) -> Pixels:
    """Return RGB samples of the same integer range (PS3.3, C.7.6.3.1.2)."""
    if not photometric.startswith("YBR_FULL") and not photometric.startswith("YBR_PARTIAL"):
        return samples
    half, top = 1 << bits - 1, (1 << bits) - 1
    y, cb, cr = (samples[..., at].astype(np.float32) for at in range(3))
    cb, cr = cb - half, cr - half
    if photometric.startswith("YBR_PARTIAL"):  # studio range: 16 to 235 of 255
        y = (y - top * 16 / 255) * (255 / 219)
        cb, cr = cb * (255 / 224), cr * (255 / 224)
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    rounded: Pixels = np.clip(np.rint(rgb), 0, top).astype(samples.dtype)
    return rounded


def apply_palette(path: PathLike, dataset: Dataset, indices: Pixels, *, colour: bool) -> Floats:
    """Look indices up in the palette; return luminance (H, W) or RGB (H, W, 3), 0 to 1."""
    tables = [_table(path, dataset, colour) for colour in ("Red", "Green", "Blue")]
    first = tables[0][1]
    entries = np.stack([table for table, _ in tables], axis=-1)
    # Some writers put 8-bit colours into 16-bit entries; the table itself shows it.
    shades = entries.astype(np.float32) / np.float32(255 if entries.max() <= 255 else 65535)
    index = indices if first == 0 else indices.astype(np.int64) - first
    # Indices beyond either end take the nearest entry.
    shown: Floats = (shades if colour else luminance(shades)).take(index, axis=0, mode="clip")
    return shown


def _table(path: PathLike, dataset: Dataset, colour: str) -> tuple[NDArray[np.uint16], int]:
    """Return one colour's entries and the index of its first one."""
    keyword = f"{colour}PaletteColorLookupTable"
    descriptor = dataset.get(f"{keyword}Descriptor")
    data = dataset.get(f"{keyword}Data")
    segmented = dataset.get(f"Segmented{keyword}Data")
    if descriptor is None or len(descriptor) != 3 or not (data or segmented):
        raise ImageReadError(
            f"{path}: a PALETTE COLOR image without its {colour.lower()} palette means nothing; "
            "export the file again from its source."
        )
    count, first, bits = (int(part) for part in descriptor)
    count = count or 65536
    order = "<" if dataset.original_encoding[1] is not False else ">"
    raw = bytes(data or segmented)
    wide = bits > 8 or len(raw) >= 2 * count
    if not data:
        expanded = _expand(raw, order + "u2" if bits > 8 else "u1")
        if expanded is None:
            raise ImageReadError(
                f"{path}: its palette holds a segment that the standard does not know; "
                "export the file with an ordinary palette or as RGB."
            )
        entries = expanded
    elif wide:
        entries = np.frombuffer(raw[: len(raw) // 2 * 2], order + "u2")
    else:
        entries = np.frombuffer(raw, np.uint8)
    if len(entries) < count:
        raise ImageReadError(
            f"{path}: the {colour.lower()} palette declares {count} entries and holds "
            f"{len(entries)}; the file is damaged, so export it again."
        )
    return entries[:count].astype(np.uint16), first


@functools.lru_cache(maxsize=16)  # the files of a study share their palettes
def _expand(raw: bytes, dtype: str) -> NDArray[np.uint16] | None:
    """Expand a segmented palette (PS3.3, C.7.9.2), None if it is damaged.

    A discrete segment lists entries, a linear one ramps to its end point, and an indirect one
    repeats earlier segments. All of them are knots of one piecewise linear curve.
    """
    wide = dtype.endswith("u2")
    words = np.frombuffer(raw[: len(raw) // 2 * 2] if wide else raw, dtype).tolist()
    places: list[int] = []
    heights: list[int] = []
    waiting = [(0, -1)]  # where to read on, and how many segments from there (-1: all)
    while waiting:
        at, left = waiting.pop()
        if left == 0 or at + 2 >= len(words) or (places and places[-1] > 65535):
            continue
        kind, length = words[at : at + 2]
        end = places[-1] if places else -1
        if kind == 0:
            places += range(end + 1, end + 1 + len(words[at + 2 : at + 2 + length]))
            heights += words[at + 2 : at + 2 + length]
            waiting.append((at + 2 + length, left - 1))
        elif kind == 1 and places:
            places.append(end + length)
            heights.append(words[at + 2])
            waiting.append((at + 3, left - 1))
        elif kind == 2 and left < 0:
            parts = words[at + 2 : at + (4 if wide else 6)]
            offset = sum(part << (16 if wide else 8) * place for place, part in enumerate(parts))
            waiting.append((at + (4 if wide else 6), left))
            waiting.append((offset // 2 if wide else offset, length))
        else:
            return None
    if not places:
        return np.zeros(0, np.uint16)
    return np.rint(np.interp(np.arange(places[-1] + 1), places, heights)).astype(np.uint16)

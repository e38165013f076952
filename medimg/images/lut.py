"""From stored values to brightness: modality, window or table, polarity, palette (PS3.3, C.11)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.decode import Layout
from medimg.images.dicom import OpenDicom, frame_group, items, number, numbers, text, texts
from medimg.images.files import Floats, PathLike, Pixels

_log = logging.getLogger(__name__)

#: Windows that radiologists use for CT: (centre, width) in Hounsfield units.
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}

Window = int | str | tuple[float, float] | None
Values = NDArray[np.float64]
Transform = Callable[[Pixels], Pixels]
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# ITU-R BT.601, the weights of DICOM's own YCbCr (PS3.3, C.7.6.3.1.2).
_LUMINANCE = (0.299, 0.587, 0.114)
_MOST_LEVELS, _BLOCK = 2**16, 2**17


def apply_window(
    values: ArrayLike, centre: float, width: float, *, function: str = "LINEAR"
) -> Floats:
    """Map values to [0, 1] through a window.

    Parameters
    ----------
    values : array_like
        Modality values of any shape, for example Hounsfield units. NaN gives 0.
    centre, width : float
        The window, in the unit of the values.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
        The shape of the ramp. DICOM's LINEAR runs from centre - 0.5 - (width - 1) / 2 to
        centre - 0.5 + (width - 1) / 2, so a width of 1 is a threshold.

    Returns
    -------
    numpy.ndarray
        float32 of the same shape, 0 black, 1 white.

    Raises
    ------
    ImageReadError
        When the function is unknown, or the width is below 1 for LINEAR or not above 0.

    Examples
    --------
    >>> apply_window([-160.0, 39.5, 240.0], 40, 400).tolist()
    [0.0, 0.5, 1.0]

    References
    ----------
    DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3.
    """
    if function not in _FUNCTIONS:
        raise ImageReadError(f"window function {function!r} is not one of {', '.join(_FUNCTIONS)}.")
    if not _legal(width, function) or not np.isfinite(centre):
        raise ImageReadError(
            f"a {function} window of centre {centre} and width {width} shows nothing; "
            f"give a finite centre and a width of at least 1 (or LINEAR_EXACT, above 0)."
        )
    x = np.asarray(values, np.float64)
    if function == "SIGMOID":
        out = 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    elif function == "LINEAR_EXACT":
        out = (x - centre) / width + 0.5
    elif width == 1:
        out = np.where(x > centre - 0.5, 1.0, 0.0)
    else:
        out = (x - (centre - 0.5)) / (width - 1) + 0.5
    clipped: Floats = np.clip(np.nan_to_num(out, nan=0.0), 0, 1).astype(np.float32)
    return clipped


def _legal(width: float, function: str) -> bool:
    return bool(np.isfinite(width)) and (width >= 1 if function == "LINEAR" else width > 0)


# Tables, for modality, VOI and palettes.


@dataclass(frozen=True)
class Table:
    """A look-up table: what the first entry stands for, the entries, and their full range."""

    first: int
    entries: NDArray[np.uint16]
    top: int

    def __call__(self, values: Pixels) -> Values:
        """Look values up; those beyond either end get the first or last entry."""
        index = np.rint(np.nan_to_num(values.astype(np.float64))) - self._first_of(values)
        at = np.clip(index, 0, len(self.entries) - 1).astype(np.int64)
        found: Values = self.entries[at].astype(np.float64)
        return found

    def show(self, values: Pixels) -> Floats:
        """Look values up, and scale the entries to 0 to 1."""
        return (self(values) / self.top).astype(np.float32)

    def _first_of(self, values: Pixels) -> int:
        """Return the first value as these values are read: files mistake its sign.

        63536 stands for -2000 where values are signed, and -25536 for 40000 where they are not.
        """
        lowest = float(np.nanmin(values)) if values.size else 0.0
        if self.first >= 32768 and lowest < 0:
            return self.first - 65536
        if self.first + len(self.entries) <= 0 <= lowest:
            return self.first + 65536
        return self.first


def _read_table(item: Dataset, order: str, prefix: str = "LUT") -> Table | None:
    """Return the table of a LUT item or of one colour, None if it is empty or damaged."""
    descriptor, data = numbers(item, f"{prefix}Descriptor"), item.get(f"{prefix}Data")
    segmented = item.get(f"Segmented{prefix}Data")
    if len(descriptor) != 3 or not (data or segmented):
        return None
    count, first, bits = (int(part) for part in descriptor)
    count = count % 65536 or 65536
    raw = data if isinstance(data or segmented, bytes) else np.asarray(data, "<u2").tobytes()
    # Entries of 8 bits may be packed two a word or stand one a word.
    wide = bits > 8 if segmented else len(raw) >= 2 * count
    raw, code = segmented or raw, order + "u2" if wide and isinstance(data or b"", bytes) else "<u2"
    entries = np.frombuffer(raw[: len(raw) // 2 * 2], code) if wide else np.frombuffer(raw, "u1")
    if segmented and not data:
        found: list[int] = []
        _expand(entries.tolist(), wide, found)
        entries = np.array(found, np.uint16)
    if not len(entries) or (prefix != "LUT" and len(entries) < count):
        return None
    table = entries[:count].astype(np.uint16)
    bits = bits if 1 <= bits <= 16 else 16
    return Table(first, table, max((1 << bits) - 1, (1 << int(table.max()).bit_length()) - 1))


def _expand(words: list[int], wide: bool, found: list[int], at: int = 0, left: int = -1) -> None:
    """Expand a segmented palette (PS3.3, C.7.9.2) into `found`, as far as it is whole.

    A discrete segment lists entries, a linear one ramps to its end point, and an indirect one
    repeats earlier segments.
    """
    while left and at + 2 < len(words) and len(found) <= 65536:
        kind, length = words[at : at + 2]
        if not length:
            break
        if kind == 0:
            found += words[at + 2 : at + 2 + length]
            at += 2 + length
        elif kind == 1 and found:
            begin, end = found[-1], words[at + 2]
            found += [round(begin + (end - begin) * k / length) for k in range(1, length + 1)]
            at += 3
        elif kind == 2 and left < 0:
            parts = words[at + 2 : at + (4 if wide else 6)]
            start = sum(part << (16 if wide else 8) * place for place, part in enumerate(parts))
            _expand(words, wide, found, start // 2 if wide else start, length)
            at += 4 if wide else 6
        else:
            break
        left -= 1


def apply_palette(source: OpenDicom, indices: Pixels) -> Floats:
    """Look indices up in the palette; return RGB (H, W, 3), 0 to 1."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        table = _read_table(source.dataset, source.order, f"{colour}PaletteColorLookupTable")
        if table is None:
            raise ImageReadError(
                f"{source.path}: a PALETTE COLOR image without its {colour.lower()} palette "
                "means nothing; export the file again from its source."
            )
        tables.append(table)
    count = min(len(table.entries) for table in tables)
    entries = np.stack([table.entries[:count] for table in tables], axis=-1)
    # Some writers put 8-bit colours into 16-bit entries; the table itself shows it.
    shades = entries.astype(np.float32) / np.float32(255 if entries.max() <= 255 else 65535)
    index = indices.astype(np.int64) - tables[0].first if tables[0].first else indices
    shown: Floats = shades.take(index, axis=0, mode="clip")  # beyond either end: the nearest
    return shown


def luminance(rgb: Pixels) -> Floats:
    """Return the luminance of (H, W, 3) samples as float32 (H, W), in the samples' own unit."""
    total: Floats = rgb[..., 0].astype(np.float32)
    total *= np.float32(_LUMINANCE[0])
    for channel in (1, 2):
        total += rgb[..., channel] * np.float32(_LUMINANCE[channel])
    return total


# From stored values to what they measure, and which of them are padding.


def modality_transform(source: OpenDicom, index: int) -> Callable[[Pixels], Values]:
    """Return the function from stored to modality values (PS3.3, C.11.1)."""
    header = source.dataset
    holder = frame_group(header, index, "PixelValueTransformationSequence")
    for item in items(header, "ModalityLUTSequence")[:1]:
        table = _read_table(item, source.order)
        if table is not None and not _for_measuring_only(header):
            return table
    slope, offset = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept") or 0.0
    if slope == 0:
        _log.warning("the rescale slope is 0, which would erase the image; 1 is taken")
        slope = None
    if text(header, "Modality") == "RTDOSE":
        slope = number(header, "DoseGridScaling") or slope
    scale = 1.0 if slope is None else slope
    return lambda stored: stored.astype(np.float64) * scale + offset


def _for_measuring_only(header: Dataset) -> bool:
    """Tell whether the LUT makes a logarithmic angiogram linear, which is not for display.

    PS3.3, C.8.7.1.1.2.
    """
    angiography = "X-Ray" in getattr(header.get("SOPClassUID"), "name", "")
    return angiography and text(header, "PixelIntensityRelationship") in ("LOG", "DISP")


def padding_range(source: OpenDicom, layout: Layout) -> tuple[float, float] | None:
    """Return the stored values, lowest and highest, that fill the image's edge (C.7.5.1.1.2)."""
    kind = source.keyword.removesuffix("PixelData")  # floating pixels have tags of their own
    value = number(source.dataset, f"{kind}PixelPaddingValue")
    if value is None or layout.samples > 1:
        return None
    limit = number(source.dataset, f"{kind}PixelPaddingRangeLimit")
    ends = (value, value if limit is None else limit)
    low, high = sorted(ends if layout.floating else (_as_stored(int(end), layout) for end in ends))
    return low, high


def _as_stored(value: int, layout: Layout) -> int:
    """Read a padding value as the pixels are read: files give it signed, unsigned or either."""
    bits = layout.stored
    if layout.signed and value >= 1 << bits - 1:
        wide = value - (1 << layout.allocated)
        return wide if wide >= -(1 << bits - 1) else value - (1 << bits)
    return value % (1 << layout.allocated) if not layout.signed and value < 0 else value


# Windows and tables of the file, and the choice among them.


def file_vois(source: OpenDicom, index: int) -> list[tuple[str, Transform]]:
    """Return a file's ways of showing a frame, with their names: tables first, then windows."""
    holder = frame_group(source.dataset, index, "FrameVOILUTSequence")
    vois: list[tuple[str, Transform]] = []
    for item in items(holder, "VOILUTSequence"):
        table = _read_table(item, source.order)
        if table is not None:
            vois.append((text(item, "LUTExplanation"), table.show))
    function = text(holder, "VOILUTFunction") or "LINEAR"
    if function not in _FUNCTIONS:
        _log.warning("the VOI LUT function is unknown; LINEAR is taken")
        function = "LINEAR"
    named = [name.strip().upper() for name in texts(holder, "WindowCenterWidthExplanation")]
    windows = zip(numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth"), strict=False)
    for place, (centre, width) in enumerate(windows):
        if _legal(width, function):
            name = named[place] if place < len(named) else ""
            vois.append((name, _windower(centre, width, function)))
        else:
            _log.warning("window %d is too narrow to be legal; it is ignored", place)
    return vois


def _windower(centre: float, width: float, function: str = "LINEAR") -> Transform:
    return lambda values: apply_window(values, centre, width, function=function)


def choose_voi(
    path: PathLike, vois: list[tuple[str, Transform]], window: Window, *, presets: bool
) -> Transform | None:
    """Return what shows the values: what is asked for, else the first, None for all values.

    `presets` says whether the windows for CT may be meant.
    """
    if window is None or window == "full":
        return vois[0][1] if vois and window is None else None
    if isinstance(window, tuple | list):
        return _windower(float(window[0]), float(window[1]))
    if isinstance(window, str):
        named = {name: voi for name, voi in reversed(vois) if name}
        if window.strip().upper() in named:
            return named[window.strip().upper()]
        if presets and window.lower() in CT_WINDOWS:
            return _windower(*CT_WINDOWS[window.lower()])
        raise ImageReadError(
            f"{path}: there is no window {window!r}; the file's own are "
            f"{sorted(named) or 'unnamed'}, and the presets {', '.join(CT_WINDOWS)} are for CT "
            'only; or give window=(centre, width), or "full" for all values.'
        )
    if not 0 <= window < len(vois):
        raise ImageReadError(
            f"{path}: there is no window {window}; the file holds {len(vois)}, counted from 0, "
            "or give window=(centre, width)."
        )
    return vois[window][1]


# The chain from stored value to brightness, run once for each value that occurs.


def show_grey(
    stored: Pixels,
    *,
    padding: tuple[float, float] | None = None,
    modality: Transform,
    voi: Transform | None,
    percentiles: tuple[float, float] = (0, 100),
    invert: bool = False,
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
        brightness: Floats = voi(values)
    else:
        low, high = _ends(values, kept, index, percentiles)
        brightness = np.zeros(values.shape, np.float32)
        if high > low:
            scaled = (values.astype(np.float64) - low) / (high - low)
            brightness = np.clip(scaled, 0, 1).astype(np.float32)
    if invert:
        brightness = 1 - brightness
    brightness[~kept] = 0
    if index is None:
        return brightness
    # Some rows at a time: NumPy widens the index to 64 bits, which for a film would be 30 MB.
    out = np.empty(index.shape, np.float32)
    step = max(1, _BLOCK // index.shape[1])
    for top in range(0, len(index), step):
        brightness.take(index[top : top + step], mode="clip", out=out[top : top + step])
    return out


def _levels(stored: Pixels) -> tuple[Pixels, Pixels | None]:
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

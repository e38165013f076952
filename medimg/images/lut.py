"""From stored values to brightness: modality, window or table, polarity, palette (PS3.3, C.11).

Every file becomes an `ImageFile`, which reads its frames, and each of those a `Frame`, which knows
how to become values and a picture, whatever the file was.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.decode import Layout, read_layout, stored_frames
from medimg.images.dicom import OpenDicom, frame_group, items, number, numbers, parse, text
from medimg.images.files import Floats, Limited, PathLike, Pixels, log, refuse

#: Windows that radiologists use for CT: (centre, width) in Hounsfield units.
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0), "mediastinum": (40.0, 400.0), "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0)}  # fmt: skip

Window = int | str | tuple[float, float] | None
Transform = Callable[[Pixels], Pixels]
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
# ITU-R BT.601, the weights of DICOM's own YCbCr (PS3.3, C.7.6.3.1.2).
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_MOST_LEVELS, _ROWS = 2**16, 64
_SUPPLEMENTAL = "a supplemental palette colours a part of its values; all are shown in grey."


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
    if function not in _FUNCTIONS or not _legal(width, function) or not np.isfinite(centre):
        raise ImageReadError(
            f"a {function} window of centre {centre} and width {width} shows nothing; give one of "
            f"{', '.join(_FUNCTIONS)}, a finite centre, and a width of at least 1."
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
    return np.clip(np.nan_to_num(out, nan=0.0), 0, 1).astype(np.float32)


def _legal(width: float, function: str) -> bool:
    return bool(np.isfinite(width)) and (width >= 1 if function == "LINEAR" else width > 0)


class Table(NamedTuple):
    """A look-up table: what the first entry stands for, the entries, and their full range."""

    first: int
    entries: NDArray[np.uint16]
    top: int

    def find(self, values: Pixels) -> Pixels:
        """Look values up; those beyond either end get the first or last entry.

        Files mistake the sign of the first value: 63536 stands for -2000 where values are signed,
        and -25536 for 40000 where they are not.
        """
        first, lowest = self.first, float(np.nanmin(values)) if values.size else 0.0
        if first >= 32768 and lowest < 0:
            first -= 65536
        elif first + len(self.entries) <= 0 <= lowest:
            first += 65536
        places = np.rint(np.nan_to_num(values.astype(np.float64))) - first
        return self.entries[places.clip(0, len(self.entries) - 1).astype(np.int64)].astype(float)

    def show(self, values: Pixels) -> Pixels:
        """Look values up, and scale the entries to 0 to 1."""
        return self.find(values) / self.top


def _read_table(item: Dataset, order: str, prefix: str = "LUT") -> Table | None:
    """Return the table of a LUT item or of one colour, None if it is empty or damaged."""
    descriptor, data = numbers(item, f"{prefix}Descriptor"), item.get(f"{prefix}Data")
    if len(descriptor) != 3 or not data:
        return None
    count, first, bits = (int(part) for part in descriptor)
    count, bits = count % 65536 or 65536, bits if 1 <= bits <= 16 else 16
    if not isinstance(data, bytes):
        data, order = np.asarray(data, "<u2").tobytes(), "<"
    wide = len(data) >= 2 * count  # entries of 8 bits may be packed two a word or stand one a word
    words = np.frombuffer(data[: 2 * count] if wide else data, order + "u2" if wide else "u1")
    if prefix != "LUT" and len(words) < count:
        return None
    entries = words[:count].astype(np.uint16)
    return Table(first, entries, (1 << max(bits, int(entries.max()).bit_length())) - 1)


def _apply_palette(source: OpenDicom, indices: Pixels) -> Floats:
    """Look indices up in the palette; return RGB (H, W, 3), 0 to 1."""
    names = (f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
    tables = [table for name in names if (table := _read_table(source.dataset, source.order, name))]
    refuse((len(tables) < 3, "it holds no palette, or one that is stored in segments, which is not "
            "read here; save the picture as PNG from another program"))  # fmt: skip
    colours = np.stack([table.find(indices) for table in tables], axis=-1).astype(np.float32)
    # Some writers put 8-bit colours into 16-bit entries; the table itself shows it.
    top = 255 if max(table.entries.max() for table in tables) <= 255 else 65535
    return colours / np.float32(top)


def linear(slope: float, offset: float) -> Transform:
    """Return the function that rescales stored values."""
    return lambda stored: stored.astype(np.float64) * slope + offset


_AS_STORED, _NONE = linear(1.0, 0.0), (np.inf, -np.inf)


def _windower(centre: float, width: float, function: str = "LINEAR") -> Transform:
    return lambda values: apply_window(values, centre, width, function=function)


@dataclass
class Frame:
    """What one frame of any file holds: stored values, and the recipe to make a picture of them.

    `stored` has the shape (H, W) or (H, W, 3), `top` is the value of full brightness, None where
    the header does not state it. `modality` leads to what is measured, `padding` are the lowest
    and highest stored value of the image's filled edge, and `vois` the windows and tables of the
    file. Without one, values are shown between two percentiles, `ends`.
    """

    stored: Pixels
    top: float | None = None
    modality: Transform = _AS_STORED
    padding: tuple[float, float] = _NONE
    vois: list[Transform] = field(default_factory=list)
    is_ct: bool = False
    ends: tuple[float, float] = (0, 100)
    invert: bool = False
    notes: list[str] = field(default_factory=list)

    def values(self) -> Floats:
        """Return what the pixels measure, NaN where padded; of colour, the luminance to 255."""
        if self.stored.ndim == 3:
            return _luminance(self.stored) * np.float32(255 / (self.top or 255))
        values = self.modality(self.stored).astype(np.float32)
        values[(self.stored >= self.padding[0]) & (self.stored <= self.padding[1])] = np.nan
        return values

    def show(self, window: Window, *, colour: bool) -> Floats:
        """Return the picture: (H, W), or (H, W, 3) where the samples are and `colour` is wanted."""
        top, low, high = self.top or 1.0, float(self.stored.min()), float(self.stored.max())
        if window is None and top > 1 and low < high <= top and 4 * (high - low) <= top:
            self.notes.append(
                f"its values run from {low:.0f} to {high:.0f}, a small part of the range of 0 to "
                f"{top:.0f} that its format has, so the image is dark or flat; if that is not "
                'meant, stretch it with window="full".'
            )
        if self.stored.ndim == 2:
            return self._show_grey(self._choose_voi(window), (0, 100) if window else self.ends)
        refuse((window not in (None, "full"), f"the image is in colour, so window={window!r} has "
                'no meaning; leave it out, or give "full" to stretch it'))  # fmt: skip
        image = self.stored.astype(np.float32) if colour else _luminance(self.stored)
        if window == "full" and low < high:
            image, top = image - np.float32(low), high - low
        image /= np.float32(top)
        return np.clip(image, 0, 1, out=image)

    def _choose_voi(self, window: Window) -> Transform | None:
        """Return what shows the values: the one requested, else the first, None for all values."""
        if window == "full" or (window is None and not self.vois):
            return None
        presets = CT_WINDOWS if self.is_ct else {}
        chosen = presets.get(window) if isinstance(window, str) else window or 0
        if isinstance(chosen, tuple | list):
            return _windower(float(chosen[0]), float(chosen[1]))
        own = len(self.vois)
        refuse((chosen not in range(own), f"there is no window {window!r}; choose one of the "
                f"file's own {own}, counted from 0, a preset for CT ({', '.join(CT_WINDOWS)}), "
                'window=(centre, width), or "full" for all values'))  # fmt: skip
        return self.vois[int(chosen or 0)]

    def _show_grey(self, voi: Transform | None, ends: tuple[float, float]) -> Floats:
        """Return the brightness of pixels: modality, then VOI, then polarity; padding is black.

        The whole chain depends on the stored value alone. A film of four million pixels has at
        most 65,536 different ones, so the chain runs on those and the pixels are looked up.
        """
        stored, levels, low = self.stored, self.stored, 0
        if stored.dtype.kind in "iu":
            low, high = int(stored.min()), int(stored.max())
            if high - low < min(stored.size, _MOST_LEVELS):
                levels = np.arange(low, high + 1)
        kept = (levels < self.padding[0]) | (levels > self.padding[1])
        values = self.modality(levels)
        if voi:
            brightness = voi(values)
        else:
            times: Pixels = kept & np.isfinite(values)
            if levels is not stored:  # of the ends, it matters that they occur, not how often
                found = np.bincount(np.subtract(stored, low, dtype=np.int64).ravel())
                times = times * (found > 0 if ends == (0, 100) else found)
            counted = np.repeat(values.ravel(), times.ravel())
            black, white = np.percentile(counted, ends) if counted.size else (0.0, 0.0)
            brightness = (values - black) / (white - black) if white > black else 0 * values
        brightness = brightness.clip(0, 1).astype(np.float32)
        if self.invert:
            brightness = 1 - brightness
        brightness[~kept] = 0
        if levels is stored:
            return brightness
        shown = np.empty(stored.shape, np.float32)
        for top in range(0, len(stored), _ROWS):  # as few as stay in the cache
            places = np.subtract(stored[top : top + _ROWS], low, dtype=np.intp)
            brightness.take(places, mode="clip", out=shown[top : top + _ROWS])
        return shown


def _luminance(rgb: Pixels) -> Floats:
    """Return the luminance of (H, W, 3) samples as float32 (H, W), in the samples' own unit."""
    total: Floats = np.einsum("hwc,c->hw", rgb, _LUMINANCE, dtype=np.float32, casting="unsafe")
    return total


class ImageFile(NamedTuple):
    """An open image file: its size, how many frames it has, and how to read them.

    `read` takes numbers of frames, growing, and yields them. `usual` is the one to show.
    `affine` leads from (column, row, slice) to mm in DICOM's patient coordinates, where a file is
    a volume by itself.
    """

    rows: int
    columns: int
    frames: int
    usual: int
    read: Callable[[Iterable[int]], Iterator[Frame]]
    affine: NDArray[np.float64] | None = None
    burned_in: str = "NO"


def open_dicom_image(path: PathLike, stream: Limited, max_pixels: int) -> ImageFile:
    """Open a DICOM file as far as its frames."""
    source = parse(path, stream)
    layout, header = read_layout(source, max_pixels), source.dataset

    def read(wanted: Iterable[int]) -> Iterator[Frame]:
        for index, stored, found in stored_frames(source, layout, wanted):
            yield _frame(source, index, stored, found)

    return ImageFile(layout.rows, layout.columns, layout.number_of_frames, 0, read,
                     burned_in=text(header, "BurnedInAnnotation"))  # fmt: skip


def _frame(source: OpenDicom, index: int, stored: Pixels, layout: Layout) -> Frame:
    """Return a frame with the recipe of its header."""
    header = source.dataset
    if layout.photometric_interpretation == "PALETTE COLOR":
        return Frame(_apply_palette(source, stored), 1.0)
    if layout.samples_per_pixel == 3:
        return Frame(stored, float((1 << layout.bits_stored) - 1))
    kind, shape = text(header, "Modality"), text(header, "PresentationLUTShape")
    return Frame(
        stored, None, _modality_transform(source, index), _padding_range(header, layout),
        _file_vois(source, index), is_ct=kind == "CT", ends=(1, 99) if kind == "MR" else (0, 100),
        invert=layout.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE",
        notes=[_SUPPLEMENTAL] if "RedPaletteColorLookupTableDescriptor" in header else [],
    )  # fmt: skip


def _modality_transform(source: OpenDicom, index: int) -> Transform:
    """Return the function from stored to modality values (PS3.3, C.11.1)."""
    header = source.dataset
    # The table of an angiogram makes it linear, for measuring and not for display (C.8.7.1.1.2).
    angiography = "X-Ray" in getattr(header.get("SOPClassUID"), "name", "")
    logarithm = angiography and text(header, "PixelIntensityRelationship") in ("LOG", "DISP")
    tables = [_read_table(item, source.order) for item in items(header, "ModalityLUTSequence")[:1]]
    if tables and tables[0] and not logarithm:
        return tables[0].find
    holder = frame_group(header, index, "PixelValueTransformationSequence")
    slope = number(holder, "RescaleSlope", 1.0)
    if slope == 0:
        log.warning("the rescale slope is 0, which would erase the image; 1 is taken")
    if text(header, "Modality") == "RTDOSE":
        slope = number(header, "DoseGridScaling") or slope
    return linear(slope or 1.0, number(holder, "RescaleIntercept"))


def _padding_range(header: Dataset, layout: Layout) -> tuple[float, float]:
    """Return the stored values, lowest and highest, that fill the image's edge (C.7.5.1.1.2)."""
    ends = numbers(header, "PixelPaddingValue")[:1]
    ends += numbers(header, "PixelPaddingRangeLimit")[: len(ends)]
    ends = [_as_stored(int(end), layout) for end in ends]
    return (min(ends), max(ends)) if ends else _NONE


def _as_stored(value: int, layout: Layout) -> int:
    """Read a padding value as the pixels are read: files give it signed, unsigned or either."""
    half, signed = 1 << layout.bits_stored - 1, layout.pixel_representation
    if signed and value >= half:
        wide = value - (1 << layout.bits_allocated)
        return wide if wide >= -half else value - 2 * half
    return value if signed or value >= 0 else value % (1 << layout.bits_allocated)


def _file_vois(source: OpenDicom, index: int) -> list[Transform]:
    """Return a file's ways of showing a frame: tables first, then windows."""
    holder = frame_group(source.dataset, index, "FrameVOILUTSequence")
    tables = [_read_table(item, source.order) for item in items(holder, "VOILUTSequence")]
    vois: list[Transform] = [table.show for table in tables if table]
    function = text(holder, "VOILUTFunction")
    function = function if function in _FUNCTIONS else "LINEAR"
    windows = zip(numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth"), strict=False)
    for place, (centre, width) in enumerate(windows):
        if _legal(width, function):
            vois.append(_windower(centre, width, function))
        else:
            log.warning("window %d is too narrow to be legal; it is ignored", place)
    return vois

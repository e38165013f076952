"""From stored values to what they measure (Hounsfield units in CT), and which are padding."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medimg.images.files import Pixels
from medimg.images.layout import Layout
from medimg.images.tags import integer, item_at, items, number, numbers, text

_log = logging.getLogger(__name__)
Values = NDArray[np.float64]


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


def frame_groups(dataset: Dataset, index: int, keyword: str) -> Dataset | None:
    """Return a functional group of one frame of an enhanced file, or the one all frames share."""
    for group in (
        item_at(dataset, "PerFrameFunctionalGroupsSequence", index),
        item_at(dataset, "SharedFunctionalGroupsSequence", 0),
    ):
        found = None if group is None else item_at(group, keyword, 0)
        if found is not None:
            return found
    return None


def modality_transform(
    dataset: Dataset, index: int, *, little_endian: bool = True
) -> Callable[[Pixels], Values]:
    """Return the function from stored to modality values (PS3.3, C.11.1)."""
    group = frame_groups(dataset, index, "PixelValueTransformationSequence")
    holder = dataset if group is None else group
    for item in items(dataset, "ModalityLUTSequence")[:1]:
        table = read_table(item, little_endian=little_endian)
        if table is not None and not _for_measuring_only(dataset):
            return table
    slope, intercept = number(holder, "RescaleSlope"), number(holder, "RescaleIntercept")
    if slope == 0:
        _log.warning("the rescale slope is 0, which would erase the image; 1 is taken")
        slope = None
    if text(dataset, "Modality") == "RTDOSE":
        slope = number(dataset, "DoseGridScaling") or slope
    scale = 1.0 if slope is None else slope
    offset = 0.0 if intercept is None else intercept

    def rescale(stored: Pixels) -> Values:
        values: Values = stored.astype(np.float64) * scale + offset
        return values

    return rescale


def _for_measuring_only(dataset: Dataset) -> bool:
    """Tell whether the LUT makes a logarithmic angiogram linear, which is not for display.

    PS3.3, C.8.7.1.1.2.
    """
    angiography = "X-Ray" in getattr(dataset.get("SOPClassUID"), "name", "")
    return angiography and text(dataset, "PixelIntensityRelationship") in ("LOG", "DISP")


def read_table(item: Dataset, *, little_endian: bool = True) -> Table | None:
    """Return the table of a Modality or VOI LUT item, None if it is empty or damaged."""
    descriptor = numbers(item, "LUTDescriptor")
    data: Any = item.get("LUTData")
    if len(descriptor) != 3 or data is None:
        return None
    count, first, bits = (int(part) for part in descriptor)
    count = count % 65536 or 65536
    if isinstance(data, bytes):
        order = "<" if little_endian else ">"
        # Entries of 8 bits may be packed two a word or stand one a word.
        wide = len(data) >= 2 * count
        entries = (
            np.frombuffer(data[: len(data) // 2 * 2], order + "u2")
            if wide
            else (np.frombuffer(data, np.uint8))
        )
    else:
        entries = np.asarray(data, np.int64).reshape(-1) % 65536
    table: NDArray[np.uint16] = entries[:count].astype(np.uint16)
    if not len(table):
        return None
    bits = bits if 1 <= bits <= 16 else 16
    top = max((1 << bits) - 1, (1 << int(table.max()).bit_length()) - 1)
    return Table(first, table, top)


def padding_range(dataset: Dataset, layout: Layout) -> tuple[float, float] | None:
    """Return the stored values, lowest and highest, that fill the image's edge (C.7.5.1.1.2)."""
    if layout.floating:
        return _floating_padding(dataset, layout)
    value = integer(dataset, "PixelPaddingValue")
    if value is None or layout.colour:
        return None
    limit = integer(dataset, "PixelPaddingRangeLimit")
    ends = sorted(_as_stored(end, layout) for end in (value, value if limit is None else limit))
    return ends[0], ends[1]


def _floating_padding(dataset: Dataset, layout: Layout) -> tuple[float, float] | None:
    """Return the range of padding of Float or Double Float Pixel Data, which has its own tags."""
    kind = "Float" if layout.allocated == 32 else "DoubleFloat"
    value = number(dataset, f"{kind}PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, f"{kind}PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return low, high


def _as_stored(value: int, layout: Layout) -> int:
    """Read a padding value as the pixels are read: files give it signed, unsigned or either."""
    bits = layout.stored
    if layout.signed and value >= 1 << bits - 1:
        wide = value - (1 << layout.allocated)
        return wide if wide >= -(1 << bits - 1) else value - (1 << bits)
    return value % (1 << layout.allocated) if not layout.signed and value < 0 else value

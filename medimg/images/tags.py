"""Read numbers from DICOM tags that real files fill with anything."""

from __future__ import annotations

import logging
import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

_log = logging.getLogger(__name__)


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers that a tag holds, [] if it is absent, empty or nonsense.

    Takes decimal commas, text in a tag of unknown VR, and padding in its stride.
    """
    try:
        value: Any = dataset.get(keyword)
    except Exception:  # pydicom converts on access, and has many ways to fail
        value = _raw(dataset, keyword)
    found = _flatten(value)
    good = [number for number in map(_number, found) if number is not None]
    if len(good) < len(found):
        _log.warning("%s holds something that is not a number; it is ignored", keyword)
    return good


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of a tag, or None."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first number of a tag as an int, or None."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def text(dataset: Dataset, keyword: str) -> str:
    """Return a tag's first value as stripped upper-case text, "" if absent or unreadable."""
    try:
        value: Any = dataset.get(keyword)
    except Exception:
        value = _raw(dataset, keyword)
    found = _flatten(value)
    return found[0].strip(" \x00").upper() if found else ""


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence, [] if it is absent, empty or not a sequence."""
    value = dataset.get(keyword)
    if value is None or isinstance(value, str | bytes | int | float):
        return []
    return [item for item in value if isinstance(item, Dataset)]


def item_at(dataset: Dataset, keyword: str, index: int) -> Dataset | None:
    """Return one item of a sequence, None if there is none."""
    value = dataset.get(keyword)
    if not isinstance(value, Sequence) or not 0 <= index < len(value):
        return None
    return value[index]


def _raw(dataset: Dataset, keyword: str) -> Any:
    from pydicom.datadict import tag_for_keyword

    element = dataset.get_item(tag_for_keyword(keyword) or 0)
    return None if element is None else element.value


def _flatten(value: Any) -> list[str]:
    """Return any tag value as a list of non-empty strings."""
    if value is None:
        return []
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.split("\\")
    elif not hasattr(value, "__iter__"):
        value = [value]
    return [part for part in (str(item).strip(" \x00") for item in value) if part]


def _number(part: str) -> float | None:
    try:
        value = float(part.replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None

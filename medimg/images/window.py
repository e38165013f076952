"""Windows: which part of the values is shown, from black to white (PS3.3, C.11.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, Pixels
from medimg.images.modality import Table, frame_groups, read_table
from medimg.images.tags import items, numbers, text

_log = logging.getLogger(__name__)

#: Windows that radiologists use for CT: (centre, width) in Hounsfield units.
CT_WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}

Window = int | str | tuple[float, float] | None
FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def apply_window(
    values: ArrayLike, centre: float, width: float, *, function: str = "LINEAR"
) -> NDArray[np.float32]:
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
    if function not in FUNCTIONS:
        raise ImageReadError(f"window function {function!r} is not one of {', '.join(FUNCTIONS)}.")
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
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(out, nan=0.0), 0, 1).astype(np.float32)
    return clipped


def _legal(width: float, function: str) -> bool:
    return bool(np.isfinite(width)) and (width >= 1 if function == "LINEAR" else width > 0)


@dataclass(frozen=True)
class Voi:
    """One way to show a file's values: a window or a look-up table, with its explanation."""

    explanation: str
    show: Callable[[Pixels], NDArray[np.float32]]


def file_vois(dataset: Dataset, index: int, *, little_endian: bool = True) -> list[Voi]:
    """Return a file's ways of showing a frame in order: its tables first, then its windows."""
    group = frame_groups(dataset, index, "FrameVOILUTSequence")
    holder = dataset if group is None else group
    vois = []
    for item in items(holder, "VOILUTSequence"):
        table = read_table(item, little_endian=little_endian)
        if table is not None:
            vois.append(Voi(text(item, "LUTExplanation"), _shower(table)))
    return vois + _windows(holder)


def _windows(holder: Dataset) -> list[Voi]:
    centres, widths = numbers(holder, "WindowCenter"), numbers(holder, "WindowWidth")
    function = text(holder, "VOILUTFunction") or "LINEAR"
    if function not in FUNCTIONS:
        _log.warning("the VOI LUT function is unknown; LINEAR is taken")
        function = "LINEAR"
    names = _names(holder)
    vois = []
    for place, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if not _legal(width, function):
            _log.warning("window %d is too narrow to be legal; it is ignored", place)
            continue
        name = names[place] if place < len(names) else ""
        vois.append(Voi(name, _windower(centre, width, function)))
    return vois


def _names(holder: Dataset) -> list[str]:
    value = holder.get("WindowCenterWidthExplanation")
    parts = [value] if isinstance(value, str) else list(value or [])
    return [str(part).strip().upper() for part in parts]


def _shower(table: Table) -> Callable[[Pixels], NDArray[np.float32]]:
    def show(values: Pixels) -> NDArray[np.float32]:
        shown: NDArray[np.float32] = (table(values) / table.top).astype(np.float32)
        return shown

    return show


def _windower(
    centre: float, width: float, function: str
) -> Callable[[Pixels], NDArray[np.float32]]:
    return lambda values: apply_window(values, centre, width, function=function)


def choose_voi(path: PathLike, dataset: Dataset, vois: list[Voi], window: Window) -> Voi | None:
    """Return the VOI that is asked for, the file's first if none is, None if it has none."""
    if window is None:
        return vois[0] if vois else None
    if isinstance(window, str):
        return _by_name(path, dataset, vois, window)
    if isinstance(window, tuple | list):
        centre, width = window
        return Voi("", _windower(float(centre), float(width), "LINEAR"))
    if not 0 <= window < len(vois):
        raise ImageReadError(
            f"{path}: there is no window {window}; the file holds {len(vois)}, counted from 0, "
            "or give window=(centre, width)."
        )
    return vois[window]


def _by_name(path: PathLike, dataset: Dataset, vois: list[Voi], window: str) -> Voi:
    for voi in vois:
        if voi.explanation and voi.explanation == window.strip().upper():
            return voi
    if window.lower() in CT_WINDOWS and text(dataset, "Modality") == "CT":
        centre, width = CT_WINDOWS[window.lower()]
        return Voi(window, _windower(centre, width, "LINEAR"))
    own = sorted({voi.explanation for voi in vois if voi.explanation})
    raise ImageReadError(
        f"{path}: there is no window {window!r}; the file's own are {own or 'unnamed'}, and the "
        f"presets {', '.join(CT_WINDOWS)} are for CT only; or give window=(centre, width)."
    )

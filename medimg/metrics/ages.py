"""Ages as numbers, as text or as DICOM writes them, in bands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import MetricsError

YEARS: Final = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Years in each unit of a DICOM age string."""


def age_bands(ages: ArrayLike, *, edges: Sequence[float] = (18, 40, 65)) -> pd.Series[Any]:
    """Name each patient's age band.

    Parameters
    ----------
    ages : array-like of float or str, (N,)
        Years, as numbers or as text, or DICOM age strings such as "034Y", "018M", "003W" and
        "010D". None, NaN and empty text are missing.
    edges : sequence of float
        Rising ages in years; each begins a band.

    Returns
    -------
    Series, (N,)
        Ordered categories "under 18", "18-39", "40-64", "65 and over"; missing where the age is.

    Raises
    ------
    MetricsError
        When an age is neither, is negative or is infinite. The message names its row.

    References
    ----------
    DICOM PS3.5 section 6.2, value representation AS.

    Examples
    --------
    >>> age_bands([4, 18, 64.5, 90]).tolist()
    ['under 18', '18-39', '40-64', '65 and over']
    >>> age_bands(["034Y", "018M", ""]).tolist()
    ['18-39', 'under 18', nan]
    """
    years = np.array([_years(row, age) for row, age in enumerate(pd.Series(np.asarray(ages)))])
    names = [
        f"under {edges[0]:g}",
        *(f"{a:g}-{b - 1:g}" for a, b in pairwise(edges)),
        f"{edges[-1]:g} and over",
    ]
    place = np.searchsorted(np.asarray(edges, float), years, side="right")
    codes = np.where(np.isnan(years), -1, place)  # -1 is pandas's code of a missing category
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names), ordered=True))


def _years(row: int, age: Any) -> float:
    """Read one age; NaN when it is missing."""
    text = "" if pd.isna(age) else str(age).strip()
    dicom = re.fullmatch(r"(\d{3})([DWMY])", text)
    if dicom:
        return int(dicom[1]) * YEARS[dicom[2]]
    try:
        years = float(text or "nan")
    except ValueError:
        years = -1.0
    if years < 0 or np.isinf(years):
        raise MetricsError(
            f"row {row}: the age is {age!r}; expected years, a DICOM age such as 034Y, 018M, 003W "
            "or 010D, or nothing"
        )
    return years

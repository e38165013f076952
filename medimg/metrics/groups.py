"""Whether the model is as good for each group of patients: metrics by group, and the gaps."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import MetricsError
from medimg.metrics.evaluation import shares
from medimg.metrics.intervals import Estimate, Measure, difference, rows
from medimg.metrics.predictions import Bools, Predictions, check_level, require_binary
from medimg.metrics.roc import area
from medimg.metrics.thresholds import Threshold, as_threshold

YEARS: Final = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Years in each unit of a DICOM age string."""
MOST_GROUPS = 20
NOTHING = ("unknown", "none")
"""What negative images have where only positive ones have an attribute, in any case."""


@dataclass(frozen=True, repr=False, eq=False)
class SubgroupReport:
    """Metrics by group and gaps to the reference group.

    Attributes
    ----------
    table : DataFrame
        One row per group and metric: ``attribute, group, n, positives, metric, value, low, high,
        reason, warning``.
    gaps : DataFrame
        One row per group, metric and its difference from the reference group: ``attribute, group,
        reference, metric, value, low, high, reason, warning``.
    level : float
        Confidence level of the intervals, a share.
    """

    table: pd.DataFrame
    gaps: pd.DataFrame
    level: float = 0.95

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each group that is too small to say."""
        small = self.table[self.table["warning"] != ""]
        named = small.drop_duplicates(["attribute", "group"])
        return tuple(
            f"{row.attribute} {row.group}: {row.warning}" for row in named.itertuples(index=False)
        )

    def __repr__(self) -> str:
        wide = self.table.assign(
            shown=[
                f"{v:.2f} ({lo:.2f} to {hi:.2f})" if math.isfinite(v) else f"- ({why})"
                for v, lo, hi, why in zip(
                    self.table["value"], self.table["low"], self.table["high"],
                    self.table["reason"], strict=True,
                )
            ]
        ).pivot_table(
            index=["attribute", "group", "n"], columns="metric", values="shown", aggfunc="first",
            sort=False,
        )  # fmt: skip
        return "\n".join([wide.to_string(), *(f"warning: {w}" for w in self.warnings)])


def subgroups(
    predictions: Predictions,
    groups: pd.DataFrame,
    *,
    threshold: float | Threshold,
    smallest: int = 20,
    level: float = 0.95,
) -> SubgroupReport:
    """Sensitivity, specificity and AUC of each group, with intervals, and the gaps.

    Gaps are against the attribute's largest group. Where a patient has images in both groups (the
    same patients on two machines, say), the gap's interval allows for it, as for a paired
    comparison; groups without common patients are independent.

    An attribute that only positive images have (severity, pattern: unknown or "none" for all
    negative ones) makes groups of the positive, each set against all negative images.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    groups : DataFrame, N rows in the order of the predictions
        One column per attribute ("sex", "view", ...). Empty and missing values make the group
        "unknown". Ages should be banded first, with `age_bands`.
    threshold : float or Threshold
        One for all groups, as it will be used.
    smallest : int
        A metric on fewer images than this (positive ones for sensitivity, and so on) gets a
        warning that it is too small to say.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    SubgroupReport
        Its `table` of metrics by group and its `gaps` to the largest group.

    Raises
    ------
    MetricsError
        With more than two classes, when the rows do not match, a column has more than 20 groups,
        or the level is out of range.
    """
    require_binary(predictions)
    check_level(level)
    if len(groups) != len(predictions):
        raise MetricsError(
            f"groups has {len(groups)} rows and the predictions {len(predictions)}, so row "
            f"{min(len(groups), len(predictions))} is the first without a partner"
        )
    cut = as_threshold(threshold).value
    table, gaps = [], []
    for attribute in groups.columns:
        names = group_names(groups[attribute])
        if names.nunique() > MOST_GROUPS:
            raise MetricsError(
                f"column {attribute!r} has {names.nunique()} groups; band it first (at most "
                f"{MOST_GROUPS})"
            )
        parts = _parts(predictions, names, _order(groups[attribute], pd.Index(names.unique())))
        found = {name: _measures(predictions, mask, cut) for name, (_, mask) in parts.items()}
        reference = max(parts, key=lambda name: parts[name][0])
        for group, metrics in found.items():
            n, mask = parts[group]
            ill = int(np.sum(predictions.y_true[mask] == 1))
            for metric, (measure, count, which) in metrics.items():
                if metric == "specificity" and n < mask.sum():
                    continue  # the negative images are the same in all groups of positive ones
                warning = _too_small(count, which, smallest)
                numbers = _numbers(measure.interval(level))
                table.append([attribute, group, n, ill, metric, *numbers, warning])
                if group != reference:
                    base, base_count, _ = found[reference][metric]
                    gap = _numbers(difference(measure, base, level=level)[0])
                    warning = warning or _too_small(base_count, which, smallest)
                    gaps.append([attribute, group, reference, metric, *gap, warning])
    ends = ["metric", "value", "low", "high", "reason", "warning"]
    return SubgroupReport(
        pd.DataFrame(table, columns=["attribute", "group", "n", "positives", *ends]),
        pd.DataFrame(gaps, columns=["attribute", "group", "reference", *ends]),
        level,
    )


def group_names(column: pd.Series[Any]) -> pd.Series[str]:
    """Name each row's group: its value as text, "unknown" where it is empty or missing."""
    return column.astype("object").fillna("").astype(str).replace("", "unknown")


def _parts(
    predictions: Predictions, names: pd.Series[str], order: list[str]
) -> dict[str, tuple[int, Bools]]:
    """Size and rows of each group, in order.

    Where only positive images have the attribute, each group is of these, against all negative.
    """
    member = {name: (names == name).to_numpy() for name in order}
    negative = predictions.y_true == 0
    lacking = names.str.lower().isin(NOTHING).to_numpy()
    if not (negative.any() and len(order) > 1 and bool(lacking[negative].all())):
        return {name: (int(m.sum()), m) for name, m in member.items()}
    return {
        name: (int((m & ~negative).sum()), m | negative)
        for name, m in member.items()
        if (m & ~negative).any()
    }


def _order(column: pd.Series[Any], present: pd.Index[Any]) -> list[str]:
    """Order groups by category, where a column has categories, else by name; "unknown" last."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = [str(name) for name in column.dtype.categories if str(name) in present]
    else:
        known = sorted(name for name in present if name != "unknown")
    return known + (["unknown"] if "unknown" in present and "unknown" not in known else [])


def _numbers(e: Estimate) -> tuple[float, float, float, str]:
    return e.value, e.low, e.high, e.reason


def _measures(
    predictions: Predictions, mask: Bools, cut: float
) -> dict[str, tuple[Measure, int, str]]:
    """Each metric of one group, with how many images of which class speak for it."""
    data = rows(predictions).where(mask)
    ill, well = int(data.positive.sum()), int((~data.positive).sum())
    part = shares(data, data.score >= cut)
    return {
        "sensitivity": (part["sensitivity"], ill, predictions.positive),
        "specificity": (part["specificity"], well, predictions.classes[0]),
        "auc": (area(data), min(ill, well), "the smaller class"),
    }


def _too_small(n: int, which: str, smallest: int) -> str:
    if n >= smallest:
        return ""
    return f"too small to say: {n} image{'s' * (n != 1)} of {which} (fewer than {smallest})"


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

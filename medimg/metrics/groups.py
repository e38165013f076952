"""Whether the model is as good for each group of patients: metrics by group, and the gaps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from medimg.errors import MetricsError
from medimg.metrics.evaluation import shares
from medimg.metrics.intervals import difference
from medimg.metrics.predictions import Predictions, Rows, check_same_length
from medimg.metrics.roc import Threshold, area, as_threshold

AGES: Final = ("under 18", "18-39", "40-64", "65 and over")
MOST_GROUPS = SMALLEST = 20
NOTHING = ("unknown", "none")
"""What negative images have where only positive ones have an attribute, in any case."""


@dataclass(frozen=True, eq=False)
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
        small = self.table[self.table["warning"] != ""].drop_duplicates(["attribute", "group"])
        return tuple(f"{row.attribute} {row.group}: {row.warning}" for row in small.itertuples())


def subgroups(
    predictions: Predictions, groups: pd.DataFrame, *, threshold: float | Threshold,
    level: float = 0.95,
) -> SubgroupReport:  # fmt: skip
    """Sensitivity, specificity and AUC of each group, with intervals, and the gaps.

    Gaps are against the attribute's largest known group. Where a patient has images in both groups
    (the same patients on two machines, say), the gap's interval allows for it, as for a paired
    comparison; groups without common patients are independent.

    An attribute that only positive images have (severity, pattern: unknown or "none" for all
    negative ones) makes groups of the positive, each set against all negative images.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    groups : DataFrame, N rows in the order of the predictions
        One column per attribute ("sex", "view", ...). Empty and missing values, and "Unknown" in
        any case, make the group "unknown". Ages should be banded first, with `age_bands`.
    threshold : float or Threshold
        One for all groups, as it will be used.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    SubgroupReport
        Its `table` of metrics by group and its `gaps` to the largest known group. A metric on fewer
        than 20 images (positive ones for sensitivity, and so on) has a warning: too small to say.

    Raises
    ------
    MetricsError
        With more than two classes, when the rows do not match, a column has more than 20 groups,
        or the level is out of range.
    """
    check_same_length(predictions.ids, groups=groups)
    cut, table, gaps = as_threshold(threshold).value, [], []
    for attribute, column in groups.items():
        rows = _by_group(predictions, column, cut)
        largest = max(rows, key=lambda row: (row["group"] != "unknown", row["n"]))["group"]
        reference = {row["metric"]: row for row in rows if row["group"] == largest}
        for row in rows:
            base = reference[row["metric"]]
            named = row | {"attribute": attribute, "reference": largest}
            table.append(named | asdict(row["measure"].interval(level)))
            if row is not base:
                gap = difference(row["measure"], base["measure"], level=level)
                gaps.append(named | asdict(gap) | {"warning": row["warning"] or base["warning"]})
    ends = ["metric", "value", "low", "high", "reason", "warning"]
    return SubgroupReport(
        pd.DataFrame(table, columns=["attribute", "group", "n", "positives", *ends]),
        pd.DataFrame(gaps, columns=["attribute", "group", "reference", *ends]),
        level,
    )


def _by_group(predictions: Predictions, column: pd.Series[Any], cut: float) -> list[dict[str, Any]]:
    """One row per group and metric: the group's size, the measure, and whether it is too small.

    Groups are in the order of the categories, where the column has them, else of their names, with
    "unknown" last. Where only positive images have the attribute, each group is of these, against
    all negative images, whose specificity is the same in all groups and left out.
    """
    names = column.astype("object").fillna("").astype(str).str.strip()
    names = names.mask(names.str.lower().isin(["", "unknown"]), "unknown")
    present, whole, rows = set(names), predictions.rows, []
    if len(present) > MOST_GROUPS:
        many = f"column {column.name!r} has {len(present)} groups"
        raise MetricsError(f"{many}; band it first (at most {MOST_GROUPS})")
    kinds = column.cat.categories if hasattr(column, "cat") else sorted(present)
    order = dict.fromkeys(map(str.strip, map(str, kinds)))
    ill, well = whole.positive, ~whole.positive
    bare = names.str.lower().isin(NOTHING).to_numpy()
    of_positive = bool(well.any() and bare[well].all() and not bare[ill].all())
    for name in [*(kind for kind in order if kind != "unknown"), "unknown"]:
        member = (names == name).to_numpy() & (ill | (not of_positive))
        if not member.any():
            continue
        mask = member | (of_positive & well)
        data = Rows(ill[mask], whole.score[mask], whole.patient[mask], whole.size)
        positives, negatives = int(data.positive.sum()), int((~data.positive).sum())
        part = shares(data, data.score >= cut)
        metrics = {
            "sensitivity": (part["sensitivity"], positives, predictions.positive),
            "specificity": (part["specificity"], negatives, predictions.classes[0]),
            "auc": (area(data), min(positives, negatives), "the smaller class"),
        }
        if of_positive:
            del metrics["specificity"]
        for metric, (measure, n, which) in metrics.items():
            few = f"{n} {predictions.unit}{'s' * (n != 1)} of {which} (fewer than {SMALLEST})"
            rows.append({
                "group": name, "n": int(member.sum()), "positives": positives, "metric": metric,
                "measure": measure, "warning": f"too small to say: {few}" if n < SMALLEST else "",
            })  # fmt: skip
    return rows


def age_bands(ages: ArrayLike) -> pd.Series[Any]:
    """Name each patient's age band.

    Parameters
    ----------
    ages : array-like of float or str, (N,)
        Years, as numbers or as text. None, NaN and empty text are missing.

    Returns
    -------
    Series, (N,)
        Ordered categories "under 18", "18-39", "40-64", "65 and over"; missing where the age is.

    Raises
    ------
    MetricsError
        When an age is not a number, is negative or is infinite. The message names its row.

    Examples
    --------
    >>> age_bands([4, 18, 64.5, 90]).tolist()
    ['under 18', '18-39', '40-64', '65 and over']
    """
    given = np.asarray(ages).tolist()
    text = pd.Series(["" if pd.isna(age) else str(age).strip() for age in given], dtype=object)
    years = pd.to_numeric(text, errors="coerce")
    bad = ~text.str.lower().isin(["", "nan"]) & ~years.between(0, np.inf, inclusive="left")
    if bad.any():
        row = int(np.argmax(bad))
        raise MetricsError(
            f"row {row}: the age is {given[row]!r}; expected years as a number, or nothing (of a "
            "DICOM age such as 034Y, give 34)"
        )
    return pd.Series(pd.cut(years, [-1, 18, 40, 65, np.inf], right=False, labels=AGES))

"""Whether the model is as good for each group of patients: metrics by group, and the gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.binary import shares
from medimg.metrics.checks import check_level
from medimg.metrics.estimates import Estimate, mover_difference, rows, undefined
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import auc, require_binary
from medimg.metrics.thresholds import Threshold, as_threshold

METRICS = ("sensitivity", "specificity", "auc")
MOST_GROUPS = 20
NOTHING = ("unknown", "none")
"""What the healthy have where only the diseased have an attribute, in any case."""


@dataclass(frozen=True, repr=False, eq=False)
class SubgroupReport:
    """Metrics by group and gaps to the reference group.

    Attributes
    ----------
    table : DataFrame
        One row a group and metric: ``attribute, group, n, positives, metric, value, low, high,
        reason, warning``.
    gaps : DataFrame
        One row a group, metric and its difference from the reference group: ``attribute, group,
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

    Gaps are against the attribute's largest group; their intervals join the two groups' own
    (square-and-add), as for independent groups. Where a patient stands in both groups (views, say)
    this is on the safe side.

    An attribute that only the diseased have (severity, pattern: unknown or "none" for all healthy
    images) makes groups of the diseased, each set against all healthy images.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    groups : DataFrame, N rows in the order of the predictions
        One column an attribute ("sex", "view", ...). Empty and missing values make the group
        "unknown". Ages should be banded first, with `age_bands`.
    threshold : float or Threshold
        One for all groups, as it will be used.
    smallest : int
        A metric on fewer images than this (diseased ones for sensitivity, and so on) gets a
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
        found = {name: _of_group(part, cut, smallest, level) for name, (_, part) in parts.items()}
        reference = max(parts, key=lambda name: parts[name][0])
        for group, metrics in found.items():
            n, part = parts[group]
            ill = int(np.sum(part.y_true == 1))
            for metric, (e, warning) in metrics.items():
                if metric == "specificity" and n < len(part):
                    continue  # the healthy are the same in all groups of the diseased
                table.append([attribute, group, n, ill, metric, *_numbers(e), warning])
                if group != reference:
                    base, base_warning = found[reference][metric]
                    gap = _numbers(mover_difference(e, base))
                    gaps.append(
                        [attribute, group, reference, metric, *gap, warning or base_warning]
                    )
    numbers = ["value", "low", "high", "reason"]
    return SubgroupReport(
        pd.DataFrame(table, columns=["attribute", "group", "n", "positives", "metric", *numbers,
                                     "warning"]),
        pd.DataFrame(gaps, columns=["attribute", "group", "reference", "metric", *numbers,
                                    "warning"]),
        level,
    )  # fmt: skip


def group_names(column: pd.Series[Any]) -> pd.Series[str]:
    """Name each row's group: its value as text, "unknown" where it is empty or missing."""
    return column.astype("object").fillna("").astype(str).replace("", "unknown")


def _parts(
    predictions: Predictions, names: pd.Series[str], order: list[str]
) -> dict[str, tuple[int, Predictions]]:
    """Size and predictions of each group, in order.

    Where only the diseased have the attribute, each group is theirs, set against all the healthy.
    """
    member = {name: (names == name).to_numpy() for name in order}
    healthy = predictions.y_true == 0
    lacking = names.str.lower().isin(NOTHING).to_numpy()
    of_disease = healthy.any() and len(order) > 1 and bool(lacking[healthy].all())
    if not of_disease:
        return {name: (int(m.sum()), predictions.subset(m)) for name, m in member.items()}
    return {
        name: (int((m & ~healthy).sum()), predictions.subset(m | healthy))
        for name, m in member.items()
        if (m & ~healthy).any()
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


def _of_group(
    group: Predictions, cut: float, smallest: int, level: float
) -> dict[str, tuple[Estimate, str]]:
    """Each metric of one group, with a warning where too few images speak for it."""
    data = rows(group)
    ill, well = int(data.positive.sum()), int((~data.positive).sum())
    if len(data.score) == 0:
        nothing = undefined("every image has weight 0", level=level)
        return dict.fromkeys(METRICS, (nothing, nothing.reason))
    part = shares(data, cut, level=level)
    found = {
        "sensitivity": (part["sensitivity"], ill, group.positive),
        "specificity": (part["specificity"], well, group.classes[0]),
        "auc": (auc(group, level=level), min(ill, well), "the smaller class"),
    }
    return {
        metric: (
            estimate,
            f"too small to say: {n} image{'s' * (n != 1)} of {which} (fewer than {smallest})"
            if n < smallest
            else "",
        )
        for metric, (estimate, n, which) in found.items()
    }

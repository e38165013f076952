"""Turn numbers, tables and figures into one HTML file that needs no other."""

from __future__ import annotations

import base64
import io
import math
import os
import re
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medimg.metrics import Estimate
from medimg.storage import atomic_write


@dataclass(frozen=True)
class Picture:
    """A figure as a data address, with the sentence that stands for it."""

    source: str
    alt: str


def picture(ax: Axes, alt: str) -> Picture:
    """Embed the figure of an axes as SVG, which stays sharp on any screen, and close it."""
    figure = ax.figure
    if not isinstance(figure, Figure):
        raise TypeError("the axes are part of a subfigure; a report takes whole figures")
    file = io.BytesIO()
    # A fixed salt and no date: the same numbers give the same file, to the byte.
    with mpl.rc_context({"svg.hashsalt": "medimg", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    code = base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(f"data:image/svg+xml;base64,{code}", alt)


def unbroken(text: Any) -> Any:
    """Keep each interval on one line: no-break spaces within ``(0.88 to 0.94)``."""
    if not isinstance(text, str):
        return text
    return re.sub(r"\((-?[\d.]+) to (-?[\d.]+)\)", "(\\1\u00a0to\u00a0\\2)", text)


def shown(estimate: Estimate, *, digits: int = 2) -> str:
    """Write an estimate for people: ``0.91 (0.88 to 0.94)``, or why there is none."""
    if math.isnan(estimate.value):
        return f"not defined ({estimate.reason})"
    if math.isnan(estimate.low):
        return f"{estimate.value:.{digits}f} (no interval: {estimate.reason})"
    return f"{estimate:.{digits}f}"


def shown_row(row: Any, *, digits: int = 2) -> str:
    """Write a table row with ``value, low, high, reason`` like an estimate."""
    return shown(Estimate(row.value, row.low, row.high, reason=row.reason), digits=digits)


def wide(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Turn a table of one metric a row into one group a row, one column a metric.

    A group that lacks a metric which others have shares the healthy images with them (see
    `medimg.metrics.subgroups`), and its cell says so.
    """
    long = table.assign(shown=[shown_row(row) for row in table.itertuples(index=False)])
    result = long.pivot_table(index=keys, columns="metric", values="shown", aggfunc="first",
                              sort=False, observed=True)  # fmt: skip
    result.columns.name = None
    return result.fillna("the same healthy images in every group").reset_index()


def plain(value: Any) -> Any:
    """Make a value fit for JSON, which knows no NaN and no infinity (both become null)."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, pd.DataFrame):
        return plain(value.to_dict(orient="records"))
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_page(template: str, path: str | os.PathLike[str], **content: Any) -> None:
    """Fill a template of this package and write the page; a missing name is an error."""
    environment = Environment(
        loader=PackageLoader("medimg.reports", "templates"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = unbroken
    with atomic_write(path, "w") as file:
        file.write(environment.get_template(template).render(**content))

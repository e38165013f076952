"""Turn numbers, tables and figures into one HTML file that needs no other."""

import base64
import dataclasses
import io
import math
import re
from importlib import resources
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import medimg
from medimg.metrics import Estimate
from medimg.plots.canvas import metric_name


def picture(ax: Axes) -> str:
    """Return the figure of an axes as a data URI (SVG, sharp on any screen), and close it."""
    figure, file = cast(Figure, ax.get_figure(root=True)), io.BytesIO()
    # A fixed salt and no date: the same numbers give the same file, to the byte.
    with mpl.rc_context({"svg.hashsalt": "medimg", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def shown(estimate: Estimate, digits: int = 2) -> str:
    """Write an estimate for people: ``0.91 (0.88 to 0.94)``, or in brackets why there is none."""
    if math.isnan(estimate.value):
        return f"not defined ({estimate.reason})"
    return f"{estimate:.{digits}f}"


def unbroken(text: Any) -> Any:
    """Keep each interval on one line: no-break spaces within ``(0.88 to 0.94)``."""
    if not isinstance(text, str):
        return text
    return re.sub(r"\((-?[\d.]+) to (-?[\d.]+)\)", "(\\1\u00a0to\u00a0\\2)", text)


def packaged(name: str) -> pd.DataFrame:
    """Read a table of this package, as text."""
    with resources.files("medimg.reports").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype=str)


def plain(value: Any) -> Any:
    """Make a value fit for JSON: no NaN and no infinity (both become null), no objects."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, pd.DataFrame):
        value = value.to_dict(orient="records")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page(template: str, **content: Any) -> bytes:
    """Fill a template of this package; a missing name is an error, and all text is escaped."""
    environment = Environment(
        loader=PackageLoader("medimg.reports", "templates"), undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(shown=shown, unbroken=unbroken, metric_name=metric_name)
    text = environment.get_template(template).render(version=medimg.__version__, **content)
    return text.encode("utf-8", "backslashreplace")

"""Turn numbers, tables and figures into one HTML file that needs no other."""

import base64
import dataclasses
import io
import json
import re
from typing import Any, cast

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import medimg
from medimg.plots.canvas import metric_name
from medimg.tables import visible


def picture(ax: Axes) -> str:
    """Return the figure of an axes as a data URI (SVG, sharp on any screen), and close it."""
    figure, file = cast(Figure, ax.get_figure(root=True)), io.BytesIO()
    # A fixed salt and no date: the same numbers give the same file, to the byte.
    with mpl.rc_context({"svg.hashsalt": "medimg", "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def shown(text: Any) -> Any:
    """Write controls of a text out, and keep each interval ``(0.88 to 0.94)`` on one line."""
    if type(text) is not str:  # a number, or a finished piece of the page
        return text
    return re.sub(r"(\(-?[\d.]+) to (-?[\d.]+\))", "\\1\u00a0to\u00a0\\2", visible(text))


def as_json(numbers: dict[str, Any]) -> bytes:
    """Write numbers for machines: what is not a number, or not finite, becomes null."""

    def simple(value: Any) -> Any:
        if isinstance(value, pd.DataFrame):
            return value.drop(columns="estimate", errors="ignore").to_dict(orient="records")
        if dataclasses.is_dataclass(value):  # without the ids of images
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
        return value.item()

    finite = json.loads(json.dumps(numbers, default=simple), parse_constant=lambda _: None)
    return json.dumps(finite, indent=1).encode()


def page(template: str, **content: Any) -> bytes:
    """Fill a template of this package; a missing name is an error, and all text is escaped."""
    environment = Environment(
        loader=PackageLoader("medimg.reports", "templates"), undefined=StrictUndefined,
        autoescape=True, finalize=shown, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["metric_name"] = metric_name
    text = environment.get_template(template).render(version=medimg.__version__, **content)
    return text.encode("utf-8", "backslashreplace")

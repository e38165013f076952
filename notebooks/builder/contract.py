"""The head of a notebook: badges, and the runtime contract from measured figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builder.layout import Layout
from nbformat import NotebookNode

WORDS_A_MINUTE = 200
SECONDS_A_CODE_LINE = 5
MINUTES_AN_EXERCISE = {"12_your_study": 15}  # a step of a study of one's own; elsewhere 4
# Amazon's list price for a SageMaker notebook in us-east-1; prices change, so the notebook says so.
GPU_INSTANCE, GPU_DOLLARS_AN_HOUR = "ml.g4dn.xlarge", 0.7364
REAL_DATA = "kermany"


def badges(layout: Layout, place: Path) -> str:
    """Return the badges that open a notebook in Studio Lab, Colab and Binder."""
    repository, path = layout.repository, place.relative_to(layout.root).as_posix()
    blob = f"github/{repository}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{repository}/main?urlpath=lab/tree/{quote(path, '')}"
    return "\n".join(
        f"[![Open in {where}]({picture})]({address})"
        for where, picture, address in [
            (
                "Studio Lab",
                "https://studiolab.sagemaker.aws/studiolab.svg",
                f"https://studiolab.sagemaker.aws/import/{blob}",
            ),
            (
                "Colab",
                "https://colab.research.google.com/assets/colab-badge.svg",
                f"https://colab.research.google.com/{blob}",
            ),
            ("Binder", "https://mybinder.org/badge_logo.svg", binder),
        ]
    )


def read_runtimes(layout: Layout) -> dict[str, dict[str, dict[str, Any]]]:
    """Read what `--execute` measured: notebook -> ``"<data set> <cpu or gpu>"`` -> figures."""
    if not layout.runtimes.exists():
        return {}
    runtimes: dict[str, dict[str, dict[str, Any]]] = json.loads(
        layout.runtimes.read_text(encoding="utf-8")
    )
    return runtimes


def minutes_to_work(cells: list[NotebookNode]) -> tuple[int, int]:
    """Estimate minutes to read, and the number of exercises, from the source itself."""
    words = sum(len(re.findall(r"\w+", c.source)) for c in cells if c.cell_type == "markdown")
    lines = sum(len(c.source.splitlines()) for c in cells if c.cell_type == "code")
    exercises = sum("exercise" in c.metadata.get("tags", []) for c in cells)
    minutes = words / WORDS_A_MINUTE + lines * SECONDS_A_CODE_LINE / 60
    return max(5, 5 * round(minutes / 5)), exercises


def contract(layout: Layout, name: str, cells: list[NotebookNode]) -> str:
    """Return the paragraph and table that say what a notebook takes, its exercises solved."""
    reading, exercises = minutes_to_work(cells)
    runtimes = read_runtimes(layout)
    measured = runtimes.get(name, {}) | runtimes.get(f"solutions/{name}", {})
    minutes = MINUTES_AN_EXERCISE.get(name, 4)
    working = reading + exercises * minutes
    said = f"**Time:** about {reading} minutes to read"
    if exercises:
        count = "an exercise" if exercises == 1 else f"{exercises} exercises"
        each = "" if exercises == 1 else " each"
        said += f", and {count} of about {minutes} minutes{each}"
    cpu, gpu = measured.get("sample cpu"), measured.get("sample gpu")
    columns = [_cores(cpu["cores"] if cpu else 2)] + ([gpu["device"]] if gpu else [])
    rows = [
        ["Run from start to end, on the sample", *_both(_time, cpu, gpu)],
        ["Peak memory", *_both(_memory, cpu, gpu)],
    ]
    real = measured.get(f"{REAL_DATA} cpu"), measured.get(f"{REAL_DATA} gpu")
    if any(real):
        name = f"The same on real radiographs (`MEDIMG_DATASET={REAL_DATA}`)"
        rows.append([name, *_both(_time, *real)][: len(columns) + 1])
    dollars = working / 60 * GPU_DOLLARS_AN_HOUR
    cost = (
        f"**Cost:** none on SageMaker Studio Lab or your own machine. A paid GPU instance "
        f"({GPU_INSTANCE}, list price {GPU_DOLLARS_AN_HOUR:.4g} USD an hour; prices change) kept "
        f"open for these {working} minutes would cost about {dollars:.2f} USD, and is not needed."
    )
    head = ["Measured", *columns]
    table = [head, ["---"] * len(head), *(row + ["-"] * (len(head) - len(row)) for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return f"{said}.\n\n" + "\n".join(lines) + f"\n\n{cost}"


def _both(show: Any, cpu: dict[str, Any] | None, gpu: dict[str, Any] | None) -> list[str]:
    return [show(cpu) if cpu else "not measured yet", *([show(gpu)] if gpu else [])]


def _cores(count: int) -> str:
    return f"{count} CPU core" + ("s" if count != 1 else "")


def _time(figures: dict[str, Any]) -> str:
    seconds = figures["seconds"]
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _memory(figures: dict[str, Any]) -> str:
    return f"{figures['peak_mb'] / 1000:.1f} GB"


def runtime_table(layout: Layout) -> str:
    """Return all measurements as a Markdown table, with each run's headline numbers."""
    lines = ["| notebook | data, device | time | peak memory | said |", "|---|---|---|---|---|"]
    for name, runs in sorted(read_runtimes(layout).items()):
        for key, figures in sorted(runs.items()):
            device = _cores(figures["cores"]) if figures["device"] == "CPU" else figures["device"]
            said = " ".join(" ".join(figures["headline"]).split()).replace("|", "/")
            run = f"{key.split()[0]}, {device}"
            lines.append(f"| {name} | {run} | {_time(figures)} | {_memory(figures)} | {said} |")
    return "\n".join(lines)

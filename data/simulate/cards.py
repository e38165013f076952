"""Keep the sample's cards true: counts in ``data/README.md``, and ``data/croissant.json``.

``python data/simulate cards`` writes both anew from the files that are there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
from simulate.croissant import TASKS, croissant_card
from simulate.errors import SimulationError

from medimg.storage import atomic_write

BEGIN, END = "<!-- counts: written by data/simulate/cards.py -->", "<!-- end of counts -->"


def write_cards(data: str | os.PathLike[str] = "data") -> list[Path]:
    """Write ``croissant.json`` and the counts in ``README.md`` from the study tables.

    Parameters
    ----------
    data : path-like
        The sample's folder, with its study tables and a README.md that has the two marks
        between which the counts stand.

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    SimulationError
        When a study table or the README is missing or unreadable, or the README lacks the marks.
    """
    root = Path(data)
    tables = {task.name: _table(root / task.table) for task in TASKS}
    readme, croissant = root / "README.md", root / "croissant.json"
    text = _with_counts(readme, counts(tables))
    content = json.dumps(croissant_card(root, tables), indent=1, ensure_ascii=False) + "\n"
    for path, written in ((readme, text), (croissant, content)):
        try:
            with atomic_write(path, "w") as file:
                file.write(written)
        except OSError as error:
            raise SimulationError(
                f"{path} cannot be written ({error.strerror}): choose a folder that you may "
                "write to."
            ) from error
    return [readme, croissant]


def counts(tables: dict[str, pd.DataFrame]) -> str:
    """Return the Markdown table of how many images and patients each split and label has.

    Examples
    --------
    >>> table = pd.DataFrame({"split": ["train", "test"], "label": ["clear", "consolidation"],
    ...                       "patient_id": ["a", "b"], "mask_path": [None, "m.png"]})
    >>> print(counts({"ct": table}))
    | set | split | images | by label | with mask | patients |
    |---|---|---|---|---|---|
    | Chest CT slices | train | 1 | clear 1 | 0 | 1 |
    | Chest CT slices | test | 1 | consolidation 1 | 1 | 1 |
    """
    lines = [
        "| set | split | images | by label | with mask | patients |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        table = tables.get(task.name, pd.DataFrame({"split": []}))
        for split in ("train", "val", "test"):
            part = table[table["split"] == split]
            if len(part):
                labels = part["label"].value_counts().sort_index()
                by_label = ", ".join(f"{label} {count}" for label, count in labels.items())
                lines.append(
                    f"| {task.title} | {split} | {len(part)} | {by_label} | "
                    f"{part['mask_path'].notna().sum()} | {part['patient_id'].nunique()} |"
                )
    return "\n".join(lines)


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise SimulationError(
            f"{path} is missing or no study table ({error}): make the sample first, `python "
            "data/simulate all`."
        ) from error
    missing = {"image_id", "label", "split", "patient_id", "mask_path"} - set(table.columns)
    if missing:
        raise SimulationError(
            f"{path} lacks the columns {sorted(missing)}: make the sample again, `python "
            "data/simulate all`."
        )
    return table


def _with_counts(readme: Path, table: str) -> str:
    """Return the README's text with `table` between its two marks."""
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError as error:
        raise SimulationError(
            f"{readme} cannot be read ({error.strerror}): restore it from the repository."
        ) from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SimulationError(
            f"{readme} lacks the marks {BEGIN} and {END}: restore it from the repository."
        )
    return f"{before}{BEGIN}\n{table}\n{END}{after}"

"""Turn what a run knows into the report's tables, without a value of the input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from medimg.deid.hipaa import hipaa_table
from medimg.deid.inventory import Inventory
from medimg.deid.journal import Entry
from medimg.deid.options import DeidOptions
from medimg.deid.pixels import may_show_text
from medimg.deid.verify import Verdict


def tabulate(
    options: DeidOptions,
    inventory: Inventory,
    entries: Mapping[int, Entry],
    verdicts: Mapping[int, Verdict],
) -> dict[str, pd.DataFrame]:
    """Return the tables of a `DeidReport` by name."""
    columns = ["number", "status", "reason", "output", "look_at", "pixels", "scrubbed"]
    files = [
        (n, e.status, e.reason, e.output, e.look_at, e.pixels, e.scrubbed)
        for n, e in entries.items()
    ]
    leaks = [
        (entries[n].output, kind, element, count)
        for n, verdict in verdicts.items()
        for (kind, element), count in verdict.leaks.items()
    ]
    accepted: Counter[tuple[str, str, str]] = Counter()
    seen_in: Counter[tuple[str, str, str]] = Counter()
    done: Counter[str] = Counter()
    for verdict in verdicts.values():
        accepted.update(verdict.accepted)
        seen_in.update(verdict.accepted.keys())
    for entry in entries.values():
        done.update(entry.done)
    counts = Counter(one.kind for one in inventory.found)
    kinds = sorted(counts | inventory.unsearched)
    legible = any(may_show_text(e.look_at) for e in entries.values() if e.output)
    return {
        "files": pd.DataFrame(files, columns=columns),
        "leaks": pd.DataFrame(leaks, columns=["output", "kind", "element", "count"]),
        "accepted": pd.DataFrame(
            [(*what, seen_in[what], count) for what, count in sorted(accepted.items())],
            columns=["kind", "element", "reason", "files", "count"],
        ),
        "searched": pd.DataFrame(
            [(kind, counts[kind], inventory.unsearched[kind]) for kind in kinds],
            columns=["kind", "searched", "not_searched"],
        ),
        "done": pd.DataFrame(sorted(done.items()), columns=["what", "count"]),
        "hipaa": hipaa_table(options, counts, text_in_pixels=legible),
    }

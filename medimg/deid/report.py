"""What was done, what was found, what remains, and what a person must look at."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from io import StringIO
from pathlib import Path

import jinja2
import pandas as pd

from medimg.deid.options import DeidOptions
from medimg.deid.profile import MEANINGS
from medimg.storage import atomic_write

TABLES = ("files", "leaks", "unaccounted", "accepted", "searched", "done", "hipaa")


def _data(name: str) -> str:
    return package_files("medimg.deid").joinpath(name).read_text(encoding="utf-8")


def hipaa_table(
    options: DeidOptions,
    counts: Mapping[str, int],
    *,
    found: Mapping[str, int] | None = None,
    text_in_pixels: bool = False,
) -> pd.DataFrame:
    """Return a row for each identifier of 45 CFR 164.514(b)(2)(i).

    Parameters
    ----------
    options : DeidOptions
        What was retained.
    counts : mapping
        Distinct values of the input, by kind, that were searched for in the output.
    found : mapping, optional
        Hits in the output without an explanation, by kind.
    text_in_pixels : bool
        Whether the pixels of some output may show text, which can be any identifier.

    Returns
    -------
    DataFrame
        Columns ``number, identifier, in_dicom, done, values_in_input, found, settled,
        cannot_know``; ``settled`` is "yes", "in the header" (a person must still read the pixels),
        "no" or "a person decides".

    References
    ----------
    .. [1] 45 CFR 164.514(b)(2)(i)(A) to (R).

    Examples
    --------
    >>> table = hipaa_table(DeidOptions(), {"patient name": 3})
    >>> len(table), int(table.values_in_input[0]), table.settled[0]
    (18, 3, 'yes')
    >>> hipaa_table(DeidOptions(), {}, text_in_pixels=True).settled[0]
    'in the header'
    """
    gone = "removed, emptied or replaced by a dummy, nested sequences included"
    dates = (
        "shifted by one secret offset per patient: still dates, so no Safe Harbor; needs an expert"
    )
    words = {
        "gone": gone,
        "dates": dates if options.retain_dates else gone,
        "ages": "ages kept, 90+ as 090Y" if options.retain_characteristics else "ages removed",
        "device": "kept by option" if options.retain_device else gone,
    }
    header = "in the header" if text_in_pixels else "yes"
    settled = {
        "yes": "yes",
        "header": header,
        "person": "a person decides",
        "dates": "no" if options.retain_dates else header,
        "device": "no" if options.retain_device else header,
    }
    table = pd.read_csv(StringIO(_data("hipaa.csv")), keep_default_na=False)
    kinds = [[kind for kind in row.split("|") if kind] for row in table.pop("kinds")]
    table.insert(0, "number", range(1, len(table) + 1))
    table["done"] = [text.format(**words) for text in table["done"]]
    table.insert(4, "values_in_input", [sum(counts.get(k, 0) for k in row) for row in kinds])
    hits = found or {}
    table.insert(5, "found", [sum(hits.get(k, 0) for k in row) for row in kinds])
    table["settled"] = table["settled"].map(settled)
    table.loc[table["found"] > 0, "settled"] = "no"
    return table


@dataclass(frozen=True)
class DeidReport:
    """The outcome of a de-identification; holds no value of the input.

    Attributes
    ----------
    options : DeidOptions
        What was asked for.
    files : DataFrame
        A row per input file: ``number, status, reason, output, look_at, pixels, scrubbed``.
        ``status`` is "written", "kept" (done by an earlier run), "refused" or "leaking".
    leaks : DataFrame
        ``output, kind, element, count``: identifiers of the input found in what was to be written.
        Such copies are not in the output folder.
    unaccounted : DataFrame
        ``element, files, bytes, why``: what a copy holds that a program cannot account for.
    accepted : DataFrame
        ``kind, element, reason, files, count``: hits that are no leak, and why.
    searched : DataFrame
        ``kind, searched, not_searched``: distinct values searched for; values left out.
    done : DataFrame
        ``what, count``: elements treated.
    hipaa : DataFrame
        The 18 identifiers, see `hipaa_table`.
    """

    options: DeidOptions
    files: pd.DataFrame
    leaks: pd.DataFrame
    unaccounted: pd.DataFrame
    accepted: pd.DataFrame
    searched: pd.DataFrame
    done: pd.DataFrame
    hipaa: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether no identifier was found in any copy."""
        return len(self.leaks) == 0

    @property
    def look_at(self) -> pd.DataFrame:
        """A row for each reason to look at pixels: ``reason, files``."""
        reasons = self.files.loc[self.files["output"] != "", "look_at"].explode().dropna()
        counts = reasons.value_counts().sort_index(kind="stable")
        return pd.DataFrame({"reason": counts.index, "files": counts.to_numpy()})

    def summary(self) -> str:
        """Return the outcome in one line."""
        status = self.files["status"].value_counts()
        written = int(status.get("written", 0) + status.get("kept", 0))
        flagged = int((self.files["look_at"].map(len).gt(0) & (self.files["output"] != "")).sum())
        known = int(self.searched["searched"].sum())
        proof = f"none of {known} known identifiers found in their bytes"
        if len(self.unaccounted):
            proof = (
                f"{int(self.unaccounted['bytes'].sum())} bytes in {len(self.unaccounted)} elements "
                f"could not be accounted for and must be read by a person; in all other bytes, no "
                f"hit for {known} known identifiers"
            )
        if not self.ok:
            proof = f"IDENTIFIERS FOUND in {len(set(self.leaks['output']))} copies, not written"
        return (
            f"{written} of {len(self.files)} files de-identified "
            f"({int(status.get('kept', 0))} by an earlier run), "
            f"{int(status.get('refused', 0))} refused and not copied; {proof}; "
            f"a person must look at {flagged}."
        )

    def __repr__(self) -> str:
        return f"DeidReport({self.summary()})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as ``.json`` or ``.html``, after the path's suffix.

        Raises
        ------
        ValueError
            For another suffix.
        """
        suffix = Path(path).suffix
        if suffix not in (".json", ".html"):
            raise ValueError(f'A report is saved as .json or .html, not "{suffix}".')
        text = self._json() if suffix == ".json" else self._html()
        with atomic_write(path, "w") as file:
            file.write(text)

    def _json(self) -> str:
        tables = {name: getattr(self, name).to_dict(orient="records")
                  for name in (*TABLES, "look_at")}  # fmt: skip
        head = {"ok": self.ok, "summary": self.summary(), "codes": list(self.options.codes)}
        return json.dumps({**head, **tables}, indent=1, default=int)

    def _html(self) -> str:
        page = jinja2.Environment(autoescape=True).from_string(_data("report.html"))
        kept = [code for code in self.options.codes if code != "113100"]
        return page.render(
            report=self,
            options=", ".join(MEANINGS[code] for code in kept) or "none",
            codes=", ".join(f"{code} {MEANINGS[code]}" for code in self.options.codes),
            refused=self.files.loc[self.files["status"] == "refused", ["number", "reason"]],
            changed=self.files.loc[self.files["scrubbed"].map(len) + self.files["pixels"].map(len) > 0,
                                   ["number", "output", "scrubbed", "pixels"]],
            html=_html_table,
        )  # fmt: skip


def _html_table(table: pd.DataFrame) -> str:
    """Return a table as HTML, its lists written as text."""
    joined = table.map(lambda cell: "; ".join(cell) if isinstance(cell, list | tuple) else cell)
    return joined.to_html(index=False, border=0) if len(table) else "<p>None.</p>"

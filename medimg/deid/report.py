"""What was done, what remains, and what a person must look at."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import jinja2
import pandas as pd

from medimg.deid.options import DeidOptions
from medimg.deid.profile import MEANINGS
from medimg.storage import atomic_write


@dataclass(frozen=True)
class DeidReport:
    """The outcome of a de-identification; holds no value of the input.

    Attributes
    ----------
    options : DeidOptions
        What was asked for.
    files : DataFrame
        A row an input file: ``number, status, reason, output, look_at, pixels, scrubbed``.
        ``status`` is "written", "kept" (done by an earlier run), "refused" or "leaking".
    leaks : DataFrame
        ``output, kind, element, count``: identifiers of the input found in an output.
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
    accepted: pd.DataFrame
    searched: pd.DataFrame
    done: pd.DataFrame
    hipaa: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether no identifier was found in any output."""
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
        proof = (
            f"none of {int(self.searched['searched'].sum())} known identifiers found in the output"
            if self.ok
            else f"IDENTIFIERS FOUND in {self.leaks['output'].nunique()} outputs: do not share"
        )
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
        names = ("files", "leaks", "accepted", "searched", "done", "hipaa", "look_at")
        tables = {name: getattr(self, name).to_dict(orient="records") for name in names}
        head = {"ok": self.ok, "summary": self.summary(), "codes": list(self.options.codes)}
        return json.dumps({**head, **tables}, indent=1, default=int)

    def _html(self) -> str:
        refused = self.files.loc[self.files["status"] == "refused", ["number", "reason"]]
        changed = self.files[self.files["scrubbed"].map(len) + self.files["pixels"].map(len) > 0]
        sections = [
            ("Leaks", "Identifiers of the input that an output still holds. Such outputs were "
             "moved to the private folder.", self.leaks),
            ("Look at these", "Flagged from the header of the original.", self.look_at),
            ("Refused", "Not copied.", refused),
            ("HIPAA Safe Harbor", "45 CFR 164.514(b)(2)(i).", self.hipaa),
            ("Treated", "Elements over all files.", self.done),
            ("Searched for", "Distinct values of the input, in any spelling and encoding. Not "
             "searched for: under four characters, one character repeated, and what says nothing "
             "(such as 0001-01-01, full hours, anonymized).", self.searched),
            ("Hits that are no leak", "Each with its reason.", self.accepted),
            ("Changed beyond the profile", "Elements that the profile keeps but that held an "
             "identifier were emptied; pixels as stated.",
             changed[["number", "output", "scrubbed", "pixels"]]),
            ("Files", "", self.files[["number", "status", "output", "look_at"]]),
        ]  # fmt: skip
        source = package_files("medimg.deid").joinpath("report.html").read_text(encoding="utf-8")
        page = jinja2.Environment(autoescape=True).from_string(source)
        kept = [code for code in self.options.codes if code != "113100"]
        return page.render(
            report=self,
            options=", ".join(MEANINGS[code] for code in kept) or "none",
            codes=", ".join(f"{code} {MEANINGS[code]}" for code in self.options.codes),
            sections=[(t, n, _joined(table)) for t, n, table in sections],
        )


def _joined(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its lists written as text."""
    return table.map(lambda cell: "; ".join(cell) if isinstance(cell, list | tuple) else cell)

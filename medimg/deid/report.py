"""What was done, what was found, what remains, and what a person must look at."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import StringIO
from pathlib import Path

import jinja2
import pandas as pd

from medimg.deid.dicomfile import RULES, package_text
from medimg.deid.options import DeidOptions
from medimg.storage import atomic_write


def hipaa_table(
    options: DeidOptions, counts: Mapping[str, int], found: Mapping[str, int], *, legible: bool
) -> pd.DataFrame:
    """Return a row for each identifier of 45 CFR 164.514(b)(2)(i).

    Parameters
    ----------
    options : DeidOptions
        What was retained.
    counts, found : mapping
        By kind: distinct values of the input that were searched for, and hits without explanation.
    legible : bool
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
    >>> table = hipaa_table(DeidOptions(), {"patient name": 3}, {}, legible=False)
    >>> len(table), int(table.values_in_input[0]), table.settled[0]
    (18, 3, 'yes')
    """
    gone, header = "removed, emptied or replaced by a dummy", "in the header" if legible else "yes"
    dates = "shifted by a secret offset per patient: still dates, so not Safe Harbor; ask an expert"
    ages = "ages kept, 90+ as 090Y" if options.retain_characteristics else "ages removed"
    words = {"gone": gone, "dates": dates if options.retain_dates else gone, "ages": ages,
             "device": "kept by option" if options.retain_device else gone}  # fmt: skip
    settled = {"yes": "yes", "header": header, "person": "a person decides",
               "dates": "no" if options.retain_dates else header,
               "device": "no" if options.retain_device else header}  # fmt: skip
    table = pd.read_csv(StringIO(package_text("hipaa.csv")), keep_default_na=False)
    kinds = table.pop("kinds").str.split("|")
    table.insert(0, "number", range(1, len(table) + 1))
    table["done"] = [text.format(**words) for text in table["done"]]
    for at, (name, by_kind) in enumerate((("values_in_input", counts), ("found", found)), 4):
        table.insert(at, name, [sum(by_kind.get(kind, 0) for kind in row) for row in kinds])
    table["settled"] = table["settled"].map(settled).where(table["found"] == 0, "no")
    return table


@dataclass(frozen=True)
class DeidReport:
    """The outcome of a de-identification; holds no value of the input.

    Attributes
    ----------
    options : DeidOptions
        What was asked for.
    files : DataFrame
        A row per input file: ``number, status, reason, output, look_at, pixels``.
        ``status`` is "written", "kept" (done by an earlier run), "refused" or "leaking".
    leaks : DataFrame
        ``output, kind, element, count``: identifiers of the input found in what was to be written.
        Such copies are not in the output folder.
    unaccounted : DataFrame
        ``element, files, bytes``: what copies hold that a program cannot account for.
    accepted : DataFrame
        ``kind, element, reason, files, count``: hits that are no leak, and why.
    searched : DataFrame
        ``kind, searched, not_searched``: distinct values searched for; values left out.
    done : DataFrame
        ``what, files, count``: elements treated.
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
        status = Counter(self.files["status"])
        flagged = int((self.files["look_at"].map(len).gt(0) & (self.files["output"] != "")).sum())
        known, odd = int(self.searched["searched"].sum()), self.unaccounted
        proof = f"none of {known} known identifiers found in their bytes"
        if len(odd):
            proof = f"no hit for {known} known identifiers, but {int(odd['bytes'].sum())} bytes in "
            proof += f"{len(odd)} elements could not be accounted for: a person must read them"
        if not self.ok:
            proof = f"IDENTIFIERS FOUND in {self.leaks['output'].nunique()} copies, not written"
        return (
            f"{status['written'] + status['kept']} of {len(self.files)} files de-identified "
            f"({status['kept']} by an earlier run), {status['refused']} refused and not copied; "
            f"{proof}; a person must look at {flagged}."
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
        with atomic_write(path, "w") as file:
            file.write(self._json() if suffix == ".json" else self._html())

    def _json(self) -> str:
        names = [*(one.name for one in fields(self) if one.name != "options"), "look_at"]
        tables = {name: getattr(self, name).to_dict(orient="records") for name in names}
        head = {"ok": self.ok, "summary": self.summary(), "codes": list(self.options.codes)}
        return json.dumps({**head, **tables}, indent=1, default=int)

    def _html(self) -> str:
        page = jinja2.Environment(autoescape=True).from_string(package_text("report.html"))
        return page.render(report=self, meanings=RULES["meanings"], html=_html_table)


def _html_table(table: pd.DataFrame) -> str:
    """Return a table as HTML, its lists written as text."""
    joined = table.map(lambda cell: "; ".join(cell) if isinstance(cell, list | tuple) else cell)
    return joined.to_html(index=False, border=0) if len(table) else "<p>None.</p>"

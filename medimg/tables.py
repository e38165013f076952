"""Write what comes from data so that no reader takes it for anything else.

File names, labels and ids may hold any character: a cell that a spreadsheet would run as a formula,
a byte that is not UTF-8, an escape code of a terminal.
"""

from __future__ import annotations

import csv
import os
import re
from typing import IO, Any, Final

import pandas as pd

from medimg.storage import atomic_write

FORMULA: Final = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
ODD_BYTE: Final = re.compile(r"\\udc([89a-f][0-9a-f])")
HIDDEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Controls, also those that turn the direction of the text after them, numbers included."""


def table_bytes(table: pd.DataFrame) -> bytes:
    r"""Return a table as CSV that a spreadsheet cannot take for formulas.

    Text that begins with ``= + - @`` or a line break gets an apostrophe before it, unless it is a
    plain number. A byte of a file name that is not UTF-8 is written as Python shows it
    (``\udcff``). `read_table` gives back the text as it was.

    Parameters
    ----------
    table : DataFrame
        Written without its index.

    Returns
    -------
    bytes
        The file's content.

    Examples
    --------
    >>> table = pd.DataFrame({"path": ["=1+1", "a.png"], "score": [-0.5, 1]})
    >>> print(table_bytes(table).decode(), end="")
    path,score
    '=1+1,-0.5
    a.png,1.0
    """

    def safe(cell: Any) -> Any:
        if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
            return "'" + cell
        return cell

    rows = table.rename(columns=safe).astype(object).where(table.notna().to_numpy(), None).map(safe)
    broken = any("\r" in cell for cell in rows.to_numpy().ravel() if isinstance(cell, str))
    how: Any = csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL
    text = rows.to_csv(index=False, lineterminator="\n", quoting=how)
    return text.encode("utf-8", "backslashreplace")


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as `table_bytes` makes it, whole or not at all."""
    with atomic_write(path) as file:
        file.write(table_bytes(table))


def read_table(path: str | os.PathLike[str] | IO[bytes]) -> pd.DataFrame:
    """Read a CSV table as text, as it was before `table_bytes` guarded it.

    Parameters
    ----------
    path : path-like
        UTF-8, with or without a byte-order mark.

    Returns
    -------
    DataFrame
        str throughout; an empty cell is the empty string.
    """
    return unguarded(pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig"))


def unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text without the guards of `table_bytes`."""

    def bare(cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        cell = cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell
        return ODD_BYTE.sub(lambda odd: chr(0xDC00 + int(odd[1], 16)), cell)

    return table.rename(columns=bare).astype(object).map(bare)


def visible(text: object, *, lines: bool = False) -> str:
    r"""Return text that any terminal, figure or page can show: controls are written out.

    Parameters
    ----------
    text : object
        A name that comes from data, or a text with such names.
    lines : bool
        Keep the ends of lines; else they count as controls.

    Returns
    -------
    str
        Without control characters, marks that turn its direction, and lone surrogates.

    Examples
    --------
    >>> print(visible("a\x07\udcff"))
    a\x07\udcff
    """
    if lines:
        return "\n".join(map(visible, str(text).split("\n")))
    shown = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return HIDDEN.sub(lambda c: ascii(c[0])[1:-1], shown)

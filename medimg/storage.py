"""Write files so that nothing is lost, and sum them so that nothing is mistaken."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd

FORMULA: Final = re.compile(r"'*[=+\-@＝＋－＠\t\r\n]")
NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is whole.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file is
    then renamed, which POSIX and Windows both do in one step. On any error, Ctrl-C included, the
    temporary file is removed and a file that stood there before is left as it was.

    Parameters
    ----------
    path : str or path-like
        Where the file shall be. Missing folders are made.
    mode : {"wb", "w"}
        Bytes or UTF-8 text.

    Yields
    ------
    file object
        Open for writing.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> target = pathlib.Path(tempfile.mkdtemp()) / "table.csv"
    >>> with atomic_write(target, "w") as file:
    ...     _ = file.write("a,b")
    >>> target.read_text()
    'a,b'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # "No space left" alone does not say where
        raise


def _umask() -> int:
    """Return the process's umask (mkstemp makes files private; ours shall be ordinary)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 sum of a file.

    Parameters
    ----------
    path : path-like
        Read in pieces, so that it may be larger than the memory.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> empty = pathlib.Path(tempfile.mkdtemp()) / "empty"
    >>> empty.touch()
    >>> sha256(empty)[:12]
    'e3b0c44298fc'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files that belong together: all of them, or none.

    Parameters
    ----------
    contents : mapping of Path to bytes
        What each file is to hold. Missing folders are made.

    Raises
    ------
    OSError
        When one of them cannot be written; then every file is as it was.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "a folder is in the place of", str(path))
            if path.exists():
                path.open("r+b").close()  # Windows does not replace a file that is open elsewhere
            file = stack.enter_context(atomic_write(path))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk shows here, before any file is replaced


def table_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as CSV that a spreadsheet cannot take for formulas.

    Text that begins with ``= + - @`` or a line break gets an apostrophe before it, unless it is a
    plain number. Bytes of file names that are not UTF-8 are kept. `read_table` gives back the
    text as it was.

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
    >>> import pandas as pd
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

    named = table.rename(columns=safe).astype(object).where(table.notna().to_numpy(), None)
    rows = named.map(safe)
    broken = any("\r" in cell for cell in rows.to_numpy().ravel() if isinstance(cell, str))
    text = rows.to_csv(
        index=False, lineterminator="\n", quoting=csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL
    )
    return text.encode("utf-8", "surrogateescape")


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a CSV table as text, with the guards of `table_bytes` taken off.

    Parameters
    ----------
    path : path-like
        UTF-8, with or without a byte-order mark; other bytes are kept as Python keeps them in file
        names.

    Returns
    -------
    DataFrame
        str throughout; an empty cell is the empty string.
    """
    import pandas as pd

    table = pd.read_csv(
        path, dtype=str, keep_default_na=False, encoding="utf-8-sig",
        encoding_errors="surrogateescape",
    )  # fmt: skip

    def bare(cell: Any) -> Any:
        guarded = isinstance(cell, str) and cell[:1] == "'" and FORMULA.match(cell)
        return cell[1:] if guarded else cell

    return table.rename(columns=bare).map(bare)

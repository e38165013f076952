"""Write files so that nothing is lost, and sum them so that nothing is mistaken."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under its name only once it is whole.

    The bytes go to a temporary file in the same folder, are flushed to the disk, and the file is
    then renamed, which POSIX and Windows both do in one step. On any error, Ctrl-C included, the
    temporary file is removed and a file that stood there before is left as it was. Text gets the
    same bytes on every system: the ends of lines stay as they are written.

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
    >>> target.read_text(encoding="utf-8")
    'a,b'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        how = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with os.fdopen(handle, mode, **how) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        _replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # "No space left" alone does not say where
        raise


def _replace(source: str, target: Path, patience: float = 2.0) -> None:
    """Rename, and on Windows wait a little while a virus scanner or reader holds the old file."""
    start = time.monotonic()
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if os.name != "nt" or time.monotonic() - start > patience:
                raise
            time.sleep(0.05)


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

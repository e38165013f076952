"""Write files so that nothing is lost, and sum them so that nothing is mistaken."""

import errno
import hashlib
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Made by archivers, file servers and editors; never a patient or a class.
_JUNK = frozenset({"__macosx", "@eadir", "__pycache__", "#recycle", "lost+found"})
_JUNK_FILES = frozenset({"thumbs.db", "desktop.ini"})


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
        Where the file is to be. Missing folders are made.
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
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        how = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
        with open(temporary, mode.replace("w", "x"), **how) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(target)  # "No space left" alone does not say where
        raise


def _replace(source: Path, target: Path, patience: float = 2.0) -> None:
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


@dataclass(frozen=True)
class FoundFiles:
    """What lies in a folder and its sub-folders.

    Attributes
    ----------
    files, folders : tuple of Path
        All that could be listed, sorted.
    hidden : tuple of Path
        Folders and files that are hidden or made by a program (``.ipynb_checkpoints``,
        ``__MACOSX``, ``@eaDir``, ``._name``); what hidden folders hold is not listed.
    unreadable : tuple of (Path, str)
        Folders that could not be listed, and why.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    hidden: tuple[Path, ...]
    unreadable: tuple[tuple[Path, str], ...]


def walk_files(root: str | os.PathLike[str], *, hidden: bool = False) -> FoundFiles:
    """List every file below a folder, however deep, and what could not be listed.

    Links to folders are followed, each target once, so that a circle of links comes to an end.

    Parameters
    ----------
    root : path-like
        The folder to look in.
    hidden : bool
        List hidden folders and files like all others.

    Returns
    -------
    FoundFiles
        Paths begin with `root`.

    Examples
    --------
    >>> import tempfile
    >>> walk_files(tempfile.mkdtemp()).files
    ()
    """
    files, folders, skipped = [], [], []
    unreadable: list[tuple[Path, str]] = []
    linked, waiting = {os.path.realpath(root)}, [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            unreadable.append((Path(folder), error.strerror or type(error).__name__))
            continue
        for entry in entries:
            is_folder = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
            name = entry.name.lower()
            junk = name in (_JUNK if is_folder else _JUNK_FILES)  # made by a program
            if not hidden and (junk or name.startswith(".")):
                skipped.append(Path(entry.path))
            elif not is_folder:
                files.append(Path(entry.path))
            elif not _is_link(entry) or _first_visit(entry.path, linked):
                folders.append(Path(entry.path))
                waiting.append(entry.path)
    # Capitals first, by the names of folders and file: Path ignores case on Windows.
    kinds = (sorted(some, key=lambda path: path.parts) for some in (files, folders, skipped))
    found_files, found_folders, left_out = map(tuple, kinds)
    return FoundFiles(found_files, found_folders, left_out, tuple(sorted(unreadable)))


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a link, or on Windows a junction (Python 3.12 tells these)."""
    return entry.is_symlink() or (hasattr(entry, "is_junction") and bool(entry.is_junction()))


def _first_visit(link: str, linked: set[str]) -> bool:
    """Return whether the target of a link is new, and remember it."""
    target, here = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    new = target not in linked and not Path(here).is_relative_to(target)
    linked.add(target)
    return new


def equal_files(paths: Iterable[str | os.PathLike[str]]) -> list[list[int]]:
    """Return which files have the same bytes.

    Only files of one size are opened, and read whole only if their last 64 KB agree as well.

    Parameters
    ----------
    paths : iterable of path-like
        Files; those that cannot be read are equal to none.

    Returns
    -------
    list of list of int
        Positions in `paths`, one list per group of two or more.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name, text in {"a": "one", "b": "two", "c": "one"}.items():
    ...     _ = (folder / name).write_text(text)
    >>> equal_files([folder / "a", folder / "b", folder / "c"])
    [[0, 2]]
    """
    names = [os.fspath(path) for path in paths]
    groups = [[at for at, name in enumerate(names) if os.path.isfile(name)]]  # no pipe, which waits
    for key in (os.path.getsize, _tail, sha256):
        finer: dict[tuple[int, Any], list[int]] = defaultdict(list)
        for number, group in enumerate(groups):
            for at in group:
                with suppress(OSError, ValueError):
                    finer[number, key(names[at])].append(at)
        groups = [group for group in finer.values() if len(group) > 1]
    return sorted(groups)


def _tail(path: str) -> bytes:
    """Return the last 64 KB of a file."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - (1 << 16)))
        return file.read()

"""Keep decoded images in a file that is mapped into memory, and make it whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medimg.errors import StudyTableError
from medimg.progress import tqdm

_DECODER = 1  # raise when the same file would decode to other pixels, so that old caches go stale


def fill(
    images: npt.NDArray[np.uint8],
    paths: list[str],
    one: Callable[[str], npt.NDArray[np.uint8]],
    *,
    progress: bool,
) -> None:
    """Decode into ``images``; threads help because the decoders release the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(one, paths)
        bar = tqdm(decoded, "decoding", len(paths), disable=not progress, delay=2, leave=False)
        try:
            for row, image in enumerate(bar):
                images[row] = image
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def fingerprint(paths: list[str], size: int, *, keep_aspect: bool) -> str:
    """Return a name that changes with any file, the size or the way of decoding."""
    stats = [os.stat(p) for p in paths]
    facts = [_DECODER, size, keep_aspect, [(p, s.st_size, s.st_mtime_ns) for p, s in
                                           zip(paths, stats, strict=True)]]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def cached(
    file: Path,
    shape: tuple[int, int, int],
    paths: list[str],
    one: Callable[[str], npt.NDArray[np.uint8]],
    *,
    progress: bool,
) -> npt.NDArray[np.uint8]:
    """Return the array mapped from ``file``, which is made first if it is not there."""
    if not file.is_file():
        with _new_file(file) as partial:
            made = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
            fill(made, paths, one, progress=progress)
            made.flush()
    images: npt.NDArray[np.uint8] = np.load(file, mmap_mode="r")
    if images.shape != shape or images.dtype != np.uint8:
        raise StudyTableError(
            f"{file}: the cache holds {images.dtype} {images.shape}, expected uint8 {shape}; "
            "delete this file and run again."
        )
    return images


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """Give a temporary name beside ``file``; it becomes ``file`` only when all went well."""
    file.parent.mkdir(parents=True, exist_ok=True)
    start = f".{file.name}.{platform.node()}."  # a shared folder may serve several machines
    _remove_stale(file.parent, start)
    partial = file.with_name(f"{start}{os.getpid()}")
    try:
        yield partial
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def _remove_stale(folder: Path, start: str) -> None:
    """Remove what processes of this machine left behind that were killed while they decoded."""
    for other in folder.iterdir():
        pid = other.name.removeprefix(start)
        if other.name.startswith(start) and pid.isdecimal() and not _runs(int(pid)):
            other.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether a process runs, as far as this system lets ask without disturbing it."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)  # signal 0 asks and sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True

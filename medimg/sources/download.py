"""Fetch one public file: resumed when broken off, checked against a sum, whole or not at all."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from medimg.errors import DownloadError
from medimg.progress import tqdm

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """A public file, and what one must know before using it.

    Attributes
    ----------
    url, md5 : str
        Where the file is, and its sum as its publisher states it.
    licence, citation : str
        The terms of use, and whom to cite.
    """

    url: str
    md5: str
    licence: str
    citation: str


def default_folder() -> Path:
    """Return the folder for downloads in the user's cache.

    Returns
    -------
    Path
        It need not exist.
    """
    return Path(pooch.os_cache("medimg"))


def fetch(source: Source, folder: str | os.PathLike[str], name: str) -> Path:
    """Download a file unless it is there already and right.

    Bytes go to ``NAME.part``, which a later call continues where it broke off. Only a file whose
    sum is right gets its name.

    Parameters
    ----------
    source : Source
        What to fetch.
    folder : path-like
        Where to keep it; made if missing.
    name : str
        The file's name there.

    Returns
    -------
    Path
        The whole, verified file.

    Raises
    ------
    DownloadError
        If the server cannot be reached or breaks off (the part is kept), or the sum is wrong (the
        part is deleted, for safety).
    """
    target = Path(folder).expanduser() / name
    part = target.with_name(f"{name}.part")
    try:
        pooch.retrieve(
            source.url, f"md5:{source.md5}", fname=name, path=target.parent,
            downloader=_Resuming(part),
        )  # fmt: skip
    except ValueError as error:
        raise DownloadError(
            f"{source.url}: what came is not the published file (its MD5 is not {source.md5}); it "
            "was deleted for safety; try again, and if it stays so, the publisher has changed it."
        ) from error
    except OSError as error:
        kept = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing came yet"
        raise DownloadError(
            f"{source.url}: the download broke off ({error}); {kept}; run the same command again "
            "to go on from there."
        ) from error
    return target


class _Resuming:
    """A downloader for pooch that goes on with a part that an earlier run left."""

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                resumed = answer.status == 206
                expected = int(answer.headers.get("Content-Length") or 0)
                self._save(answer, "ab" if resumed else "wb", have if resumed else 0, expected)
        except urllib.error.HTTPError as error:
            if error.code != 416:  # 416: the part is whole already
                raise
        os.replace(self.part, output_file)  # pooch checks the sum, then gives it its name

    def _save(self, answer: Any, mode: str, have: int, expected: int) -> None:
        """Append to the part what the server sends."""
        got = 0
        with (
            self.part.open(mode) as file,
            tqdm(total=have + expected or None, initial=have, unit="B", unit_scale=True,
                 desc=self.part.stem, delay=2) as bar,
        ):  # fmt: skip
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                got += len(chunk)
                bar.update(len(chunk))
        if expected and got < expected:
            raise OSError(f"the server sent {got:,} of {expected:,} bytes")

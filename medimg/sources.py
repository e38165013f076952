"""Fetch public data: resumed when broken off, checked against a sum, whole or not at all."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import runpy
import shutil
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from PIL import Image
from tqdm.auto import tqdm

from medimg.errors import DownloadError
from medimg.storage import atomic_write

logger = logging.getLogger(__name__)
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
    """Return the folder for downloads in the user's cache."""
    return Path(pooch.os_cache("medimg"))


def pneumoniamnist(size: int) -> Source:
    """Return where PneumoniaMNIST lies, in the words of the ``medmnist`` package.

    Parameters
    ----------
    size : {28, 64, 128, 224}
        Side of the images in pixels.

    Raises
    ------
    DownloadError
        For another size.

    References
    ----------
    .. [1] Yang et al., "MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D
       biomedical image classification", Scientific Data 10:41, 2023.

    Examples
    --------
    >>> pneumoniamnist(224).licence
    'CC BY 4.0'
    """
    info = _medmnist_table()["pneumoniamnist"]
    suffix = "" if size == 28 else f"_{size}"
    if f"url{suffix}" not in info:
        raise DownloadError(f"pneumoniamnist has no images of {size} pixels; use 28, 64, 128, 224.")
    return Source(
        url=info[f"url{suffix}"],
        md5=info[f"MD5{suffix}"],
        licence=info["license"],
        citation="Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), after Kermany et al., "
        "Cell 172:1122 (2018)",
    )


def _medmnist_table() -> dict[str, Any]:
    """Return medmnist's table of addresses without importing medmnist, which takes seconds."""
    package = importlib.util.find_spec("medmnist")
    if package is None or package.origin is None:
        raise DownloadError(
            "the package medmnist is missing; install it with `pip install medmnist`."
        )
    table: dict[str, Any] = runpy.run_path(str(Path(package.origin).with_name("info.py")))["INFO"]
    return table


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


def unpack_npz(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack a MedMNIST file to ``FOLDER/{split}/{class}/*.png``, whole or not at all.

    Parameters
    ----------
    file : path-like
        A MedMNIST ``.npz`` of the binary pneumonia task.
    folder : path-like
        The folder to make. One that is there already is left as it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DownloadError
        If the file is not such an archive.
    """
    target = Path(folder).expanduser()
    if target.is_dir():
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with np.load(file, allow_pickle=False) as archive:
            for split in ("train", "val", "test"):
                _unpack_split(archive[f"{split}_images"], archive[f"{split}_labels"][:, 0],
                              temporary / split)  # fmt: skip
        os.replace(temporary, target)
    except (KeyError, ValueError, OSError) as error:
        raise DownloadError(
            f"{file}: this is no MedMNIST archive ({error}); delete it and fetch it again."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _unpack_split(images: Any, labels: Any, folder: Path) -> None:
    for name in ("normal", "pneumonia"):
        (folder / name).mkdir(parents=True)
    bar = tqdm(zip(images, labels, strict=True), folder.name, len(labels), delay=2)
    for number, (image, label) in enumerate(bar):
        Image.fromarray(image).save(folder / ("normal", "pneumonia")[label] / f"{number:05}.png")


def fetch_pneumoniamnist(root: str | os.PathLike[str], *, size: int = 224) -> Path:
    """Fetch PneumoniaMNIST and lay it out as a folder of classes.

    Parameters
    ----------
    root : path-like
        Where real data lie.
    size : {28, 64, 128, 224}
        Side of the images in pixels.

    Returns
    -------
    Path
        ``ROOT/pneumoniamnist_SIZE``, with SOURCE.json (address, licence, citation) in it.

    Raises
    ------
    DownloadError
        See :func:`fetch` and :func:`unpack_npz`.
    """
    source = pneumoniamnist(size)
    file = fetch(source, root, f"pneumoniamnist_{size}.npz")
    folder = unpack_npz(file, Path(root).expanduser() / f"pneumoniamnist_{size}")
    with atomic_write(folder / "SOURCE.json", "w") as note:
        json.dump(asdict(source), note, indent=2)
    return folder

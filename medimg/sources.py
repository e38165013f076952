"""Public data: fetched from where its publisher keeps it, with its licence and whom to cite.

A download is resumed when it broke off, checked against a sum, and there whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import asdict, dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pooch
from PIL import Image

from medimg.errors import DownloadError
from medimg.progress import tqdm
from medimg.storage import atomic_write

_CHUNK = 1 << 20
_MAX_BYTES = 20 << 30  # no file of the course is near this; a body without end stops here
_MAX_SECONDS = 6 * 3600.0
_MEDMNIST = "https://zenodo.org/records/10519652/files/"
_PNEUMONIA = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
# MedMNIST numbers its classes; in BreastMNIST 0 is the disease. Names go by the file's name.
_MEDMNIST_NAMES = {
    "pneumoniamnist": ("normal", "pneumonia"),
    "breastmnist": ("malignant", "normal_or_benign"),
    "retinamnist": ("0", "1", "2", "3", "4"),
}


@dataclass(frozen=True)
class Source:
    """A public file, and what one must know before using it.

    Attributes
    ----------
    url, md5 : str
        Where the file is, and its checksum as its publisher states it.
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


def pneumoniamnist(size: int) -> Source:
    """Return where PneumoniaMNIST lies.

    Parameters
    ----------
    size : {28, 64, 128, 224}
        Side of the images in pixels.

    Returns
    -------
    Source
        Address, checksum, licence and citation.

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
    if size not in _PNEUMONIA:
        raise DownloadError(f"pneumoniamnist has no images of {size} pixels; use 28, 64, 128, 224.")
    name = "pneumoniamnist" if size == 28 else f"pneumoniamnist_{size}"
    return Source(
        url=f"{_MEDMNIST}{name}.npz?download=1", md5=_PNEUMONIA[size], licence="CC BY 4.0",
        citation="Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), after Kermany et al., "
        "Cell 172:1122 (2018)",
    )  # fmt: skip


def fetch(source: Source, folder: str | os.PathLike[str], name: str) -> Path:
    """Download a file unless it is there already and right.

    Bytes go to ``NAME.part``, which a later call continues where it broke off. Only a file whose
    checksum is right gets its name.

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
        If the server cannot be reached, breaks off or breaks the rules of HTTP (the part is kept),
        sends more than 20 GB or takes more than 6 hours, or the checksum is wrong (the part is
        deleted, for safety).
    """
    target = Path(folder).expanduser() / name
    part = target.with_name(f"{name}.part")
    try:
        pooch.retrieve(source.url, f"md5:{source.md5}", fname=name, path=target.parent,
                       downloader=partial(_download, part))  # fmt: skip
    except (OSError, HTTPException) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        kept = f"{part.stat().st_size:,} bytes are kept" if part.exists() else "nothing came yet"
        raise DownloadError(
            f"{source.url}: the download broke off ({said}); {kept}; "
            "run the same command again to resume it."
        ) from error
    except ValueError as error:
        raise DownloadError(
            f"{source.url}: what came is not the published file (its MD5 is not {source.md5}); it "
            "was deleted for safety; try again, and if it stays so, the publisher has changed it."
        ) from error
    return target


def _download(part: Path, url: str, output_file: str, _: Any) -> None:
    """Continue the part that an earlier run left; then pooch checks the sum and names the file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            told = answer.headers.get("Content-Range", f"bytes {have}-")
            resumed = answer.status == 206 and told.startswith(f"bytes {have}-")
            _save(answer, part, have if resumed else 0)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part is whole already
            raise
    except ValueError as error:  # of http.client, for an odd length of a chunk
        raise HTTPException("the server's answer breaks the rules of HTTP") from error
    os.replace(part, output_file)


def _save(answer: Any, part: Path, have: int) -> None:
    """Append to the part what the server sends, up to a total size and time."""
    length, began = answer.headers.get("Content-Length", ""), time.monotonic()
    total = have + int(length) if length.isdecimal() else None
    with (
        part.open("ab" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, delay=2) as bar,
    ):
        while chunk := answer.read1(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
            seconds = time.monotonic() - began
            if file.tell() > _MAX_BYTES or seconds > _MAX_SECONDS:
                size = file.tell()
                file.truncate(0)
                raise OSError(
                    f"stopped after {size:,} bytes and {seconds:.0f} s, which is more than any "
                    "file of the course needs"
                )
        if total and file.tell() < total:
            raise OSError(f"the server sent {file.tell() - have:,} of {total - have:,} bytes")


def unpack_npz(file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack a MedMNIST file to ``FOLDER/{split}/{class}/*.png``, whole or not at all.

    Parameters
    ----------
    file : path-like
        A MedMNIST ``.npz`` of 2-D images with one label each.
    folder : path-like
        The folder to make. One that is there already is left as it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DownloadError
        If the file is not such an archive, or the disk is full.
    """
    target = Path(folder).expanduser()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        made = Path(temporary) / target.name
        try:
            with np.load(file, allow_pickle=False) as archive:
                for split in ("train", "val", "test"):
                    _unpack_split(archive[f"{split}_images"], archive[f"{split}_labels"],
                                  made / split, Path(file).stem.partition("_")[0])  # fmt: skip
            os.replace(made, target)
        except (LookupError, ValueError, TypeError, EOFError, OSError, AttributeError,
                zipfile.BadZipFile) as error:  # fmt: skip
            if not target.is_dir():  # else another process has just made it
                raise DownloadError(
                    f"{file}: it cannot be unpacked as a MedMNIST archive ({error}); if it is one, "
                    "delete it and fetch it again."
                ) from error
    return target


def _unpack_split(images: Any, labels: Any, folder: Path, name: str) -> None:
    """Write the images of one split, each into the folder of its class."""
    if labels.ndim != 2 or labels.shape[1] != 1:
        raise ValueError(f"it has {labels.shape[-1]} findings per image; a class needs one label")
    if images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)) or images.ndim < 3:
        raise ValueError(f"its images are {images.dtype} {images.shape}, not 2-D pictures")
    names = _MEDMNIST_NAMES.get(name) or [f"class_{k:02}" for k in range(int(labels.max()) + 1)]
    for each in names:
        (folder / each).mkdir(parents=True)
    bar = tqdm(zip(images, labels[:, 0], strict=True), folder.name, len(labels), delay=2)
    for number, (image, label) in enumerate(bar):
        Image.fromarray(image).save(folder / names[int(label)] / f"{number:05}.png")


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

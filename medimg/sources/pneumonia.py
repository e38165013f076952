"""PneumoniaMNIST: where it lies, and how it becomes a folder of classes."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medimg.errors import DownloadError
from medimg.progress import tqdm
from medimg.sources.download import Source, fetch
from medimg.storage import atomic_write


def pneumoniamnist(size: int) -> Source:
    """Return where PneumoniaMNIST lies, in the words of the ``medmnist`` package.

    Parameters
    ----------
    size : {28, 64, 128, 224}
        Side of the images in pixels.

    Returns
    -------
    Source
        Address, sum, licence and citation.

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

"""Write the files of a sample: images, masks and the study table."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from simulate.errors import SimulationError

from medimg.progress import tqdm
from medimg.storage import atomic_write

# A row of the plan, the image's file and where the lesion is: bool (H, W).
Drawn = tuple[Mapping[str, Any], bytes, NDArray[np.bool_]]
FIRST = ["image_id", "path", "label", "split", "patient_id", "mask_path"]


def write_set(
    folder: Path, drawn: Iterable[Drawn], *, total: int, suffix: str,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Write the images, masks and study table of a sample.

    Files are ``<split>/<label>/<id><suffix>``, ``masks/<id>.png`` where there is a lesion, and
    ``studies.csv``.

    Parameters
    ----------
    folder : Path
        Where they go; made if need be.
    drawn : iterable
        Each image's row, file and lesion.
    total : int
        How many there are.
    suffix : str
        How the images' names end, with the dot.
    columns : sequence of str, optional
        Of the rows, those that the table has after `FIRST`. By default all.

    Returns
    -------
    DataFrame
        The study table; its paths are relative to `folder`.

    Raises
    ------
    SimulationError
        When the folder cannot be written.
    """
    root, rows = writable(folder), []
    for row, image, mask in tqdm(drawn, desc=folder.name, total=total, unit="image"):
        paths = {"path": f"{row['split']}/{row['label']}/{row['image_id']}{suffix}"}
        files = {paths["path"]: image}
        if mask.any():
            paths["mask_path"] = f"masks/{row['image_id']}.png"
            files[paths["mask_path"]] = png(mask.astype(np.float32))
        for path, content in files.items():
            write_file(root / path, content)
        rows.append({"mask_path": "", **row, **paths})
    table = pd.DataFrame(rows)
    rest = [name for name in table if name not in FIRST] if columns is None else columns
    table = table[[*FIRST, *rest]]
    write_file(root / "studies.csv", table.to_csv(index=False, lineterminator="\n").encode())
    return table


def writable(folder: str | os.PathLike[str]) -> Path:
    """Return the folder, made if need be.

    Raises
    ------
    SimulationError
        When nothing can be written there.
    """
    root = Path(folder)
    try:
        with atomic_write(root / ".writable") as file:
            file.write(b"")
        (root / ".writable").unlink()
    except OSError as error:
        raise SimulationError(
            f"{root} cannot be written ({error.strerror}): choose a folder of your own with --out"
        ) from error
    return root


def write_file(path: Path, content: bytes) -> None:
    """Write bytes to a file, or raise SimulationError that names the folder."""
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise SimulationError(
            f"{path} cannot be written ({error.strerror}): choose a folder that you may write to."
        ) from error


def png(image: np.ndarray[Any, Any]) -> bytes:
    """Return an 8-bit PNG of an image in [0, 1] (values beyond are clipped)."""
    grey = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def jpeg(image: NDArray[Any], **options: int) -> bytes:
    """Return an 8-bit JPEG of an image in [0, 1], (H, W) or (H, W, 3); options as in Pillow."""
    buffer = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()

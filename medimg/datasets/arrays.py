"""Decode each image once, into one uint8 array that training works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg.datasets.cache import cached, fill, fingerprint
from medimg.datasets.classes import class_names
from medimg.datasets.tables import COLUMNS, require_columns
from medimg.errors import StudyTableError
from medimg.images import read_image, resize


@dataclass(frozen=True, repr=False)
class ImageSet:
    """Images in memory (or mapped from a file), with their labels.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W)
        Grey images, 0 black, 255 white; bright = dense.
    labels : ndarray of int64, shape (N,)
        Index into ``classes``.
    ids, patients, splits : ndarray of str, shape (N,)
        Image, patient and split of each row.
    classes : tuple of str
        The K class names, the healthy one first.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        mix = ", ".join(f"{n} {name}" for n, name in zip(counts, self.classes, strict=True))
        height, width = self.images.shape[1:]
        return f"ImageSet({len(self)} images of {height} x {width}: {mix})"

    def subset(self, rows: str | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> ImageSet:
        """Return the images of one split, or those that a mask or indices choose.

        Parameters
        ----------
        rows : {"train", "val", "test"} or ndarray of bool, shape (N,), or ndarray of int
            The choice.

        Returns
        -------
        ImageSet
            The chosen images, in their order, with the same classes.

        Raises
        ------
        StudyTableError
            If a split of that name has no image.
        """
        chosen = np.flatnonzero(self.splits == rows) if isinstance(rows, str) else np.asarray(rows)
        if isinstance(rows, str) and not len(chosen):
            known = ", ".join(sorted(set(self.splits.tolist()) - {""})) or "none"
            raise StudyTableError(f"no image is in split '{rows}'; the splits here: {known}.")
        taken = _as_slice(chosen)
        return ImageSet(
            self.images[taken], self.labels[taken], self.ids[taken],
            self.patients[taken], self.splits[taken], self.classes,
        )  # fmt: skip


def _as_slice(chosen: npt.NDArray[np.generic]) -> slice | npt.NDArray[np.generic]:
    """Return rows that follow one another as a slice: a view, which leaves a mapped file unread."""
    rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    if len(rows) and rows[0] >= 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return slice(int(rows[0]), int(rows[0]) + len(rows))
    return rows


def decode(
    studies: pd.DataFrame,
    *,
    size: int = 224,
    cache: str | os.PathLike[str] | None = None,
    keep_aspect: bool = False,
    classes: Sequence[str] | None = None,
    progress: bool = True,
) -> ImageSet:
    """Read, window and resize every image of a study table, once.

    Parameters
    ----------
    studies : DataFrame
        A study table.
    size : int
        Side of the square images, in pixels.
    cache : path-like, optional
        A folder. The decoded array is kept there under the fingerprint of the files, and mapped
        into memory instead of read, so that a set larger than the memory can be used. A file that
        changed makes a new array.
    keep_aspect : bool
        Pad with black to a square instead of stretching.
    classes : sequence of str, optional
        The class names in their order, the healthy one first; by default `class_names` tells them
        from the labels.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ImageSet
        Images (N, size, size) in the order of the table.

    Raises
    ------
    ImageReadError
        For the first file that cannot be read; it names the file.
    StudyTableError
        If a column or a file of the table is missing, a label is none of the classes, or the size
        is below 8.
    """
    if size < 8:
        raise StudyTableError(f"size {size} is too small: expected at least 8 pixels.")

    require_columns(studies, COLUMNS)
    classes = class_names(studies) if classes is None else tuple(classes)
    labels = studies["label"].astype(str)
    if not labels.isin(classes).all():
        raise StudyTableError(
            f"the label '{labels[~labels.isin(classes)].iloc[0]}' is none of the classes "
            f"{', '.join(classes)}; give the names of all classes."
        )

    def one(path: str) -> npt.NDArray[np.uint8]:
        image = resize(read_image(path), size, keep_aspect=keep_aspect)
        return np.round(image * 255).astype(np.uint8)

    paths = studies["path"].tolist()
    shape = (len(paths), size, size)
    missing = next((p for p in paths if not Path(p).is_file()), None)
    if missing is not None:
        raise StudyTableError(f"{missing}: no such file, though the study table names it.")
    if cache is None:
        images = np.empty(shape, np.uint8)
        fill(images, paths, one, progress=progress)
    else:
        name = fingerprint(paths, size, keep_aspect=keep_aspect)
        images = cached(Path(cache) / f"{name}.npy", shape, paths, one, progress=progress)
    return ImageSet(
        images=images,
        labels=np.array([classes.index(v) for v in labels], np.int64),
        ids=studies["image_id"].to_numpy(dtype=str),
        patients=studies["patient_id"].to_numpy(dtype=str),
        splits=studies["split"].to_numpy(dtype=str),
        classes=classes,
    )


def decode_masks(studies: pd.DataFrame, *, size: int = 224) -> npt.NDArray[np.bool_]:
    """Read the true lesion masks of a study table.

    Parameters
    ----------
    studies : DataFrame
        A study table with the column ``mask_path`` (empty where there is no lesion).
    size : int
        Side of the square masks, in pixels.

    Returns
    -------
    ndarray of bool, shape (N, size, size)
        True inside a lesion; all False where the table names no mask.

    Raises
    ------
    StudyTableError
        If the table has no column ``mask_path``.
    ImageReadError
        If a mask cannot be read.
    """
    if "mask_path" not in studies:
        raise StudyTableError(
            "this study table has no column 'mask_path', so where the lesions are is not known; "
            "the sample's tables have it."
        )
    masks = np.zeros((len(studies), size, size), bool)
    for row, path in enumerate(studies["mask_path"]):
        if pd.notna(path) and path:
            masks[row] = resize(read_image(path), size) >= 0.5
    return masks

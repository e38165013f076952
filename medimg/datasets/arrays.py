"""Decode each image once, into one uint8 array that training works on, and keep it in a cache."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medimg.datasets.names import class_names, healthy_class, is_ordinal
from medimg.datasets.summary import check_duplicates, patients_known
from medimg.datasets.tables import COLUMNS, require_columns
from medimg.errors import StudyTableError
from medimg.images import read_image, resize
from medimg.progress import tqdm
from medimg.storage import sha256

Images = npt.NDArray[np.uint8]
_DECODER = 2  # raise when the same file would decode to other pixels, so that old caches go stale
_DAY = 86_400.0


@dataclass(frozen=True, repr=False, eq=False)
class ImageSet:
    """Images in memory (or mapped from a file), with their labels, checked once, on making.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, H, W) or (N, H, W, 3)
        Grey or RGB images, 0 black, 255 white; bright = dense for X-ray.
    labels : ndarray of int64, shape (N,)
        Index into ``classes``.
    ids, patients, splits : ndarray of str, shape (N,)
        Image, patient and split of each row.
    classes : tuple of str
        The K class names, the healthy one first, or grades in rising order.
    ordinal : bool
        Whether the classes are grades in a known order.
    patients_known : bool
        False: ``patients`` are the images' ids, and each image counts as one.

    Raises
    ------
    StudyTableError
        If the arrays differ in length, the images are not uint8 of such a shape, a label is not in
        0 .. K-1, or a class is named twice.
    """

    images: Images
    labels: npt.NDArray[np.int64]
    ids: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    classes: tuple[str, ...]
    ordinal: bool = False
    patients_known: bool = True

    def __post_init__(self) -> None:
        """Check shapes, types and lengths."""
        shape, count = self.images.shape, len(self.labels)
        if self.images.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
            raise StudyTableError(
                f"images are {self.images.dtype} {shape}; expected uint8 (N, H, W) or (N, H, W, 3)."
            )
        lengths = {len(a) for a in (self.images, self.ids, self.patients, self.splits)}
        if lengths != {count} or 0 in shape[1:]:
            raise StudyTableError(
                f"{count} labels with arrays of length {sorted(lengths)} and images of shape "
                f"{shape}; expected one row per image and at least one pixel."
            )
        labels = np.asarray(self.labels)
        whole = labels.dtype.kind in "iu"
        if not whole or (count and not 0 <= labels.min() <= labels.max() < len(self.classes)):
            raise StudyTableError(
                f"labels must be whole numbers from 0 to {len(self.classes) - 1}, the index into "
                f"the classes ({', '.join(self.classes)})."
            )
        if len(set(self.classes)) < len(self.classes):
            raise StudyTableError(f"a class is named twice: {', '.join(self.classes)}.")
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        mix = ", ".join(f"{n} {name}" for n, name in zip(counts, self.classes, strict=True))
        height, width = self.images.shape[1:3]
        kind = " RGB" if self.channels == 3 else ""
        return f"ImageSet({len(self)}{kind} images of {height} x {width}: {mix})"

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return 3 if self.images.ndim == 4 else 1

    @property
    def healthy(self) -> str | None:
        """The class that reads as healthy; of two classes always the first."""
        return self.classes[0] if len(self.classes) == 2 else healthy_class(self.classes)

    @property
    def patient_ids(self) -> npt.NDArray[np.str_] | None:
        """The patients as `metrics.Predictions` takes them: None where they are not known."""
        return self.patients if self.patients_known else None

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
        return replace(
            self, images=self.images[taken], labels=self.labels[taken], ids=self.ids[taken],
            patients=self.patients[taken], splits=self.splits[taken],
        )  # fmt: skip


def _as_slice(chosen: npt.NDArray[np.generic]) -> slice | npt.NDArray[np.generic]:
    """Return rows that follow one another as a slice: a view, which leaves a mapped file unread."""
    rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
    if len(rows) and rows[0] >= 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return slice(int(rows[0]), int(rows[0]) + len(rows))
    return rows


def decode(
    studies: pd.DataFrame, *, size: int = 224, channels: int = 1, keep_aspect: bool = False,
    stretch: bool = False, cache: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None, allow_duplicates: bool = False, progress: bool = True,
) -> ImageSet:  # fmt: skip
    """Read, window and resize every image of a study table, once.

    Parameters
    ----------
    studies : DataFrame
        A study table. A column ``frame``, if there is one, chooses the frame of each file.
    size : int
        Side of the square images, in pixels.
    channels : {1, 3}
        1 makes all images grey, 3 keeps colour (grey files get three equal channels).
    keep_aspect : bool
        Pad with black to a square instead of changing the shape.
    stretch : bool
        Map each file's lowest to its highest value to 0 to 255, whatever window it names.
    cache : path-like, optional
        A folder. The decoded array is kept there under a fingerprint of all bytes of the files,
        and mapped into memory instead of read, so that a set larger than the memory can be used.
        Any file that changed makes a new array; a damaged one is made again.
    classes : sequence of str, optional
        The class names in their order, the healthy one first; by default `class_names` tells them
        from the labels.
    allow_duplicates : bool
        Go on where files with the same bytes are in two splits or have two labels.
    progress : bool
        Show a progress bar.

    Returns
    -------
    ImageSet
        Images (N, size, size) or (N, size, size, 3), in the order of the table.

    Raises
    ------
    ImageReadError
        For the first file that cannot be read; it names the file.
    StudyTableError
        If a column or a file of the table is missing, a label is none of the classes, equal files
        contradict each other, the size is below 8, or the disk of the cache is full.
    """
    _check_square(size, channels)
    require_columns(studies, COLUMNS)
    classes = class_names(studies) if classes is None else tuple(classes)
    labels = studies["label"].astype(str)
    if not labels.isin(classes).all():
        raise StudyTableError(
            f"the label '{labels[~labels.isin(classes)].iloc[0]}' is none of the classes "
            f"{', '.join(classes)}."
        )
    paths = studies["path"].astype(str).tolist()
    missing = next((p for p in paths if not Path(p).is_file()), None)
    if missing is not None:
        raise StudyTableError(f"{missing}: no such file, though the study table names it.")
    if not allow_duplicates:
        check_duplicates(studies)
    frames = studies["frame"].tolist() if "frame" in studies else [None] * len(paths)
    files = list(zip(paths, frames, strict=True))

    def one(file: tuple[str, Any]) -> Images:
        frame = None if pd.isna(file[1]) else int(file[1])
        return decode_file(file[0], size, channels=channels, keep_aspect=keep_aspect,
                           stretch=stretch, frame=frame)  # fmt: skip

    shape = (len(paths), size, size, 3)[: 3 if channels == 1 else 4]
    if cache is None:
        images = np.empty(shape, np.uint8)
        _fill(images, files, one, progress=progress)
    else:
        name = _fingerprint(files, [_DECODER, size, channels, keep_aspect, stretch])
        images = _cached(Path(cache) / f"{name}.npy", shape,
                         lambda out: _fill(out, files, one, progress=progress))  # fmt: skip
    return ImageSet(
        images=images,
        labels=np.array([classes.index(v) for v in labels], np.int64),
        ids=studies["image_id"].to_numpy(dtype=str),
        patients=studies["patient_id"].to_numpy(dtype=str),
        splits=studies["split"].to_numpy(dtype=str),
        classes=classes,
        ordinal=is_ordinal(classes),
        patients_known=patients_known(studies),
    )


def decode_file(
    path: str | os.PathLike[str], size: int = 224, *, channels: int = 1,
    keep_aspect: bool = False, stretch: bool = False, frame: int | None = None,
) -> Images:  # fmt: skip
    """Read one file as the square that a network takes; `decode` does the same for a table.

    Parameters
    ----------
    path : path-like
        Any file that `medimg.images.read_image` reads.
    size : int
        Side of the square, in pixels.
    channels : {1, 3}
        1 makes the image grey, 3 keeps colour.
    keep_aspect : bool
        Pad with black to a square instead of changing the shape.
    stretch : bool
        Map the file's lowest to its highest value to 0 to 255, whatever window it names.
    frame : int, optional
        Which frame or axial slice of a file with several.

    Returns
    -------
    ndarray of uint8, shape (size, size) or (size, size, 3)
        0 black, 255 white.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    StudyTableError
        If the size is below 8, or channels is neither 1 nor 3.
    """
    _check_square(size, channels)
    image = read_image(path, window="full" if stretch else None, frame=frame, colour=channels == 3)
    return np.round(resize(image, size, keep_aspect=keep_aspect) * 255).astype(np.uint8)


def _check_square(size: int, channels: int) -> None:
    if not 8 <= size <= 4096:
        raise StudyTableError(
            f"size {size} is too {'small' if size < 8 else 'large'}: expected 8 to 4096 pixels."
        )
    if channels not in (1, 3):
        raise StudyTableError(f"channels={channels}; give 1 for grey or 3 for colour.")


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


def fingerprint(*arrays: npt.NDArray[Any]) -> str:
    """Return a SHA-256 over type, shape and every byte of some arrays.

    Parameters
    ----------
    *arrays : ndarray
        In memory or mapped; read in pieces.

    Returns
    -------
    str
        64 hexadecimal digits; equal only for equal arrays.

    Examples
    --------
    >>> a = np.zeros((5, 3), np.uint8)
    >>> fingerprint(a) == fingerprint(a.copy()), fingerprint(a) == fingerprint(a.T)
    (True, False)
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape};".encode())
        rows = max(1, (1 << 24) // max(1, array[:1].nbytes)) if array.ndim else 1
        for start in range(0, len(array) if array.ndim else 1, rows):
            piece = array[start : start + rows] if array.ndim else array
            digest.update(np.ascontiguousarray(piece).tobytes())
    return digest.hexdigest()


def _fill(
    images: Images, files: list[tuple[str, Any]], one: Callable[[tuple[str, Any]], Images],
    *, progress: bool,
) -> None:  # fmt: skip
    """Decode into ``images``; threads help because the decoders release the interpreter lock."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoded = pool.map(one, files)
        bar = tqdm(decoded, "decoding", len(files), disable=not progress, delay=2, leave=False)
        try:
            for row, image in enumerate(bar):
                images[row] = image
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _fingerprint(files: list[tuple[str, Any]], settings: list[Any]) -> str:
    """Return a name that changes with any byte of any file, their order, or the settings."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = list(pool.map(sha256, [path for path, _ in files]))
    facts = json.dumps([settings, sums, [str(frame) for _, frame in files]])
    return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _cached(file: Path, shape: tuple[int, ...], make: Callable[[Images], None]) -> Images:
    """Return the array mapped from ``file``, which is made first if it is not there and whole."""
    images = _open_whole(file, shape)
    if images is None:
        _new_file(file, shape, make)
        images = _open_whole(file, shape)
    if images is None:
        raise StudyTableError(f"{file}: the cache was changed while it was read; run again.")
    return images


def _open_whole(file: Path, shape: tuple[int, ...]) -> Images | None:
    """Map a cached array if its bytes are those that were written: their sum stands at the end."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            left = os.fstat(stream.fileno()).st_size - digest.digest_size
            while left > 0 and (piece := stream.read(min(left, 1 << 24))):
                digest.update(piece)
                left -= len(piece)
            if stream.read() != digest.digest():
                return None
        images: Images = np.lib.format.open_memmap(file, mode="r")
    except (OSError, ValueError):
        return None
    return images if images.shape == shape and images.dtype == np.uint8 else None


def _new_file(file: Path, shape: tuple[int, ...], make: Callable[[Images], None]) -> None:
    """Write an array under a temporary name; it becomes ``file`` only when it is whole."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        for left in file.parent.glob(f".{file.name}.*"):  # of runs that were killed
            if time.time() - left.stat().st_mtime > _DAY:
                left.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        os.close(handle)
    except OSError as error:
        raise StudyTableError(
            f"{file.parent}: the cache cannot be written there ({error.strerror}); choose another "
            "folder for it."
        ) from error
    try:
        images = np.lib.format.open_memmap(name, mode="w+", dtype=np.uint8, shape=shape)
        _reserve(name, images.offset)
        make(images)
        images.flush()
        del images
        total = bytes.fromhex(sha256(name))
        with open(name, "ab") as stream:
            stream.write(total)
        with contextlib.suppress(PermissionError):  # Windows: another process has just made it
            os.replace(name, file)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise StudyTableError(
            f"{file.parent}: no room for the cache of {np.prod(shape) / 1e6:.0f} MB; free some "
            "space or choose another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _reserve(name: str, start: int) -> None:
    """Take the disk space of a new file now: mapped, a full disk would kill the process."""
    size, block = os.path.getsize(name), bytes(1 << 20)
    with open(name, "r+b") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
            return
        except AttributeError:  # macOS, Windows
            pass
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        stream.seek(start)  # after the header, which is there already
        for at in range(start, size, len(block)):
            stream.write(block[: size - at])

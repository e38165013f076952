"""Decode each image once, into one uint8 array that training works on, and keep it in a cache."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from joblib import Parallel, cpu_count, delayed

from medimg.datasets.checks import COLUMNS, check_duplicates, patients_known
from medimg.datasets.names import class_names, is_ordinal, require
from medimg.errors import StudyTableError
from medimg.images import read_image, resize
from medimg.progress import tqdm
from medimg.runtime import check_processes
from medimg.storage import sha256

Images = npt.NDArray[np.uint8]
Files = list[tuple[str, int | None]]  # the path of each image, and which frame of that file
Settings = dict[str, Any]
_DECODER = 4  # raise when the same file would decode to other pixels, so that old caches go stale
_BLOCK = 16  # images that are decoded and summed together, and kept when the run is killed


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
        If the arrays differ in length, the images are not uint8 of such a shape, or a label is not
        in 0 .. K-1.
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
        labels, shape, k = np.asarray(self.labels), self.images.shape, len(self.classes)
        lengths = {len(a) for a in (self.images, labels, self.ids, self.patients, self.splits)}
        pictures = self.images.dtype == np.uint8 and 0 not in shape[1:] and len(lengths) == 1
        if not pictures or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
            what = f"images are {self.images.dtype} {shape} beside arrays of {sorted(lengths)} rows"
            raise StudyTableError(f"{what}; expected uint8 (N, H, W) or RGB, one row per image.")
        if labels.dtype.kind not in "iu" or not set(np.unique(labels)) <= set(range(k)):
            raise StudyTableError(f"labels must be whole numbers from 0 to {k - 1}, the classes.")
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = np.bincount(self.labels, minlength=len(self.classes))
        mix = ", ".join(f"{n} {name}" for n, name in zip(counts, self.classes, strict=True))
        size = " x ".join(map(str, self.images.shape[1:]))
        return f"ImageSet({len(self)} images of {size}: {mix})"

    @property
    def channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return 3 if self.images.ndim == 4 else 1

    @property
    def patient_ids(self) -> npt.NDArray[np.str_] | None:
        """The patients as `metrics.Predictions` takes them: None where they are not known."""
        return self.patients if self.patients_known else None

    def subset(self, rows: str | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
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
        chosen = np.arange(len(self))[self.splits == rows if isinstance(rows, str) else rows]
        if isinstance(rows, str) and not len(chosen):
            known = ", ".join(sorted({*self.splits.tolist()} - {""})) or "none"
            raise StudyTableError(f"no image is in split '{rows}'; the splits here: {known}.")
        # Rows that follow one another are taken as a view, which leaves a mapped file unread.
        together = len(chosen) and bool((np.diff(chosen) == 1).all())
        taken = slice(chosen[0], chosen[-1] + 1) if together else chosen
        arrays = ("images", "labels", "ids", "patients", "splits")
        return replace(self, **{name: getattr(self, name)[taken] for name in arrays})


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
        A folder, which may be deleted at any time. The array is kept there in one file for this
        table and these settings, and mapped into memory instead of read, so that a set larger
        than the memory can be used. Several processes decode a large set. Each block of images
        has a sum of all bytes of its files and of its pixels: a run that was killed, or met an
        image that cannot be read, goes on where it was, and what changed or was damaged since is
        decoded again in its place. If the disk is full, the file is removed.
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
    require(studies, COLUMNS)
    names = class_names(studies, classes=classes)
    paths = studies["path"].astype(str).tolist()
    for path in (path for path in paths if not os.path.isfile(path)):
        raise StudyTableError(f"{path}: no such file, though the study table names it.")
    if not allow_duplicates:
        check_duplicates(studies)
    frames = [None if pd.isna(n) else int(n) for n in studies.get("frame", [None] * len(paths))]
    files = list(zip(paths, frames, strict=True))
    how = {"size": size, "channels": channels, "keep_aspect": keep_aspect, "stretch": stretch}
    shape = (len(files), size, size, 3)[: 3 if channels == 1 else 4]
    if cache is None:
        images: Images = np.empty(shape, np.uint8)
        for row, block in _decoded(files, how, range(0, len(files), _BLOCK), progress):
            images[row : row + _BLOCK] = block
    else:
        images = _cached(Path(cache), shape, files, how, progress)
    ids, patients, splits = studies[["image_id", "patient_id", "split"]].to_numpy(dtype=str).T
    labels = studies["label"].astype(str).map(names.index).to_numpy(np.int64)
    return ImageSet(
        images, labels, ids, patients, splits, names, is_ordinal(names), patients_known(studies)
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
    return np.round(resize(image, size, keep_aspect=keep_aspect) * 255).astype(np.uint8, "C")


def _check_square(size: int, channels: int) -> None:
    if not 8 <= size <= 4096 or channels not in (1, 3):
        what = f"images of {size} pixels with {channels} channels cannot be made"
        raise StudyTableError(f"{what}; give 8 to 4096 pixels, and 1 (grey) or 3 (colour).")


def decode_masks(
    studies: pd.DataFrame, *, size: int = 224, keep_aspect: bool = False
) -> npt.NDArray[np.bool_]:
    """Read the true lesion masks of a study table.

    Parameters
    ----------
    studies : DataFrame
        A study table with the column ``mask_path`` (empty where there is no lesion).
    size : int
        Side of the square masks, in pixels.
    keep_aspect : bool
        As the images were decoded: pad the shorter side instead of stretching it.

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
    require(studies, ["mask_path"])
    masks = np.zeros((len(studies), size, size), bool)
    for row, path in enumerate(studies["mask_path"]):
        if pd.notna(path) and path:
            masks[row] = resize(read_image(path), size, keep_aspect=keep_aspect) >= 0.5
    return masks


def _decoded(
    files: Files, how: Settings, rows: Sequence[int], progress: bool,
    is_done: Callable[[int], bool] | None = None,
) -> Iterator[tuple[int, Images]]:  # fmt: skip
    """Decode the blocks that begin with these rows, unless they are done when their turn comes.

    Threads begin at once, and pass warnings on. Processes, for many blocks of a cache, take seconds
    to begin and are faster where decoding is Python's work, as with DICOM files.
    """
    check_processes()
    workers = max(1, cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    many = is_done is not None and len(rows) > 64 * workers
    jobs = (
        delayed(_block)(files[row : row + _BLOCK], how, row)
        for row in rows if is_done is None or not is_done(row)
    )  # fmt: skip
    pool = Parallel(workers, "loky" if many else "threading", return_as="generator", batch_size=1)
    bar = {"unit": " images", "unit_scale": _BLOCK, "disable": not progress, "leave": False}
    with closing(pool(jobs)) as run:  # after an error, nothing more is begun
        yield from tqdm(run, "decoding", len(rows), delay=2, **bar)


def _block(files: Files, how: Settings, row: int) -> tuple[int, Images]:
    return row, np.stack([decode_file(path, frame=frame, **how) for path, frame in files])


def _cached(
    folder: Path, shape: tuple[int, ...], files: Files, how: Settings, progress: bool
) -> Images:
    """Return the array mapped from its file, once all of its blocks are whole there.

    Each process that torchrun started on this machine begins in another place and leaves out what
    the others have done meanwhile.
    """
    key = hashlib.sha256(repr((_DECODER, how, files)).encode()).hexdigest()
    file, size = folder / f"{key[:24]}.u8", math.prod(shape)
    starts, rank = range(0, len(files), _BLOCK), int(os.environ.get("LOCAL_RANK", "0"))
    sources = [sha256(path) for path, _ in files]
    try:
        _reserve(file, size + 32 * len(starts))
        stored: Images = np.memmap(file, np.uint8, mode="r")
        images, sums = stored[:size].reshape(shape), stored[size:].reshape(-1, 32)

        def sum_of(row: int, block: Images) -> bytes:
            read = "".join(sources[row : row + _BLOCK]).encode()
            return hashlib.sha256(read + block.tobytes()).digest()

        def is_whole(row: int) -> bool:
            return bytes(sums[row // _BLOCK]) == sum_of(row, images[row : row + _BLOCK])

        left = [row for row in starts if not is_whole(row)]
        turn = rank * len(left) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        rows = left[turn:] + left[:turn]
        for row, block in _decoded(files, how, rows, progress and not rank, is_whole):
            with file.open("r+b") as stream:
                stream.seek(row * math.prod(shape[1:]))
                stream.write(block.data)
                stream.seek(size + 32 * (row // _BLOCK))
                stream.write(sum_of(row, block))
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        what = f"the cache of {size / 1e6:.0f} MB cannot be written there ({error.strerror})"
        raise StudyTableError(f"{folder}: {what}; free some space or choose another.") from error
    return images


def _reserve(file: Path, size: int) -> None:
    """Give a file this size and the space that it needs, so that a full disk shows here."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        if stream.tell() == size:
            return
        stream.truncate(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)

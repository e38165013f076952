"""Open a DICOM file as far as its pixels, and read tags, which real files fill with anything."""

from __future__ import annotations

import logging
import math
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import (
    _read_file_meta_info,
    read_dataset,
    read_partial,
    read_preamble,
    read_sequence,
)
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medimg.errors import ImageReadError
from medimg.images.files import Limited, PathLike, as_image_error, identify

_log = logging.getLogger(__name__)

_PIXELS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
# More than any real file needs; they keep a small file from filling memory.
_MAX_INFLATED, _LARGE_ELEMENT = 2**28, 2**24


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels.

    `keyword` names the element with the pixels ("" if there is none), `vr` its type, `start` its
    first byte in the stream, and `length` its length in bytes as the file states it.
    """

    path: PathLike
    dataset: FileDataset
    stream: Limited
    keyword: str
    vr: str
    start: int
    length: int

    @property
    def syntax(self) -> str:
        """The transfer syntax's UID, "" if the file does not say."""
        return str(getattr(self.dataset.file_meta, "TransferSyntaxUID", "")).strip(" \x00")

    @property
    def order(self) -> str:
        """The byte order, as `struct` and NumPy write it."""
        return "<" if self.dataset.original_encoding[1] is not False else ">"


def parse(path: PathLike, stream: Limited) -> OpenDicom:
    """Parse the header from `stream`, leaving the pixels unread."""
    dataset, stream = _read(path, stream, header_only=True)
    if not len(dataset):
        raise ImageReadError(
            f"{path}: the DICOM file holds no tags; it is cut short, copy it again."
        )
    # The element's own form counts, since some files change it half-way: lengths are even, so an
    # implicit length never looks like one of these types.
    head, order = stream.read(12), "<" if dataset.original_encoding[1] is not False else ">"
    vr = head[4:6].decode("ascii", "replace")
    if vr not in ("OB", "OW", "OF", "OD", "UN"):
        stream.seek(min(0, 8 - len(head)), 1)
        head, vr = head[:4] + bytes(4) + head[4:8], "OW"
    group, element, length = struct.unpack(f"{order}HH4xL", head.ljust(12, b"\0"))
    keyword = _PIXELS.get(int(Tag(group, element)), "")
    source = OpenDicom(path, dataset, stream, keyword, vr, stream.tell(), length)
    if not source.syntax:
        _log.warning("%s: no transfer syntax is given; it is guessed from the content", path)
    return source


def _read(path: PathLike, stream: Limited, *, header_only: bool) -> tuple[FileDataset, Limited]:
    """Read a data set, or what is before its pixels; inflate it first, up to a limit."""

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        return header_only and int(tag) in _PIXELS

    stream.seek(0)
    preamble, meta = read_preamble(stream, True), _read_file_meta_info(stream)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        stream.seek(0)  # large elements are passed over when only the header is wanted
        return read_partial(stream, stop, _LARGE_ELEMENT if header_only else None, True), stream
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = Limited(path, inflater.decompress(stream.read(), _MAX_INFLATED))
    if inflater.unconsumed_tail:
        raise ImageReadError(
            f"{path}: its deflated data swell to more than {_MAX_INFLATED:,} bytes; this looks "
            "like a decompression bomb, so get the file from its source again."
        )
    if not inflater.eof:
        raise ImageReadError(
            f"{path}: the deflated DICOM data end early; the file is cut short, copy it again."
        )
    found = read_dataset(body, False, True, stop_when=stop)
    dataset = FileDataset(str(path), found, preamble, meta, is_implicit_VR=False)
    dataset.set_original_encoding(False, True)
    return dataset, body


def open_dicom(path: PathLike) -> FileDataset:
    """Parse a whole DICOM file with its pixels, as `pydicom.dcmread` does, but within limits.

    A file that is deflated as a whole is inflated up to 256 MB and no further, and a file of
    millions of elements is refused, so that a small file cannot fill the memory.

    Parameters
    ----------
    path : str or path-like
        A DICOM file, with or without preamble.

    Returns
    -------
    pydicom.FileDataset
        All elements; compressed pixels stay compressed.

    Raises
    ------
    ImageReadError
        When the file is missing, empty, damaged, not DICOM, or made to fill memory.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> len(open_dicom(get_testdata_file("image_dfl.dcm")).PixelData)
    262144
    """
    with as_image_error(path):
        return _read_dicom(path, header_only=False)


def read_header(path: PathLike) -> Dataset:
    """Read a DICOM file's tags, and not its pixels.

    Takes about a millisecond however large the image is.

    Parameters
    ----------
    path : str or path-like
        A DICOM file, with or without preamble.

    Returns
    -------
    pydicom.Dataset
        All tags before the pixel data; `file_meta` holds the transfer syntax if the file has one.

    Raises
    ------
    ImageReadError
        When the file is missing, empty, damaged or not DICOM.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> read_header(get_testdata_file("CT_small.dcm")).Modality
    'CT'

    References
    ----------
    DICOM PS3.10, section 7 (file format).
    """
    with as_image_error(path):
        return _read_dicom(path, header_only=True)


def _read_dicom(path: PathLike, *, header_only: bool) -> FileDataset:
    kind = identify(path)
    if kind != "DICOM":
        raise ImageReadError(
            f"{path}: this is a {kind} file and has no DICOM header; read it with read_image()."
        )
    with Limited(path) as stream:
        if header_only:
            return parse(path, stream).dataset
        return _read(path, stream, header_only=False)[0]


def is_image_file(path: PathLike) -> bool:
    """Tell from the content, cheaply, whether a file is an image that `read_image` may read.

    Parameters
    ----------
    path : str or path-like
        Any path; one that does not exist, or a folder, is not an image.

    Returns
    -------
    bool
        True for a picture, a NIfTI volume, and DICOM with pixel data. Nothing is decoded.

    Examples
    --------
    >>> is_image_file("no such file")
    False
    """
    with suppress(ImageReadError), as_image_error(path):
        if identify(path) != "DICOM":
            return True
        with Limited(path) as stream:
            return bool(parse(path, stream).keyword)
    return False


# Tags: whatever they hold, a value or nothing comes out, and no exception.


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return a tag's values as non-empty strings."""
    try:
        value: Any = dataset.get(keyword)
    except Exception:  # pydicom converts on access, and has many ways to fail
        value = getattr(dataset.get_item(tag_for_keyword(keyword) or 0), "value", None)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, str):
        value = value.split("\\")
    elif not hasattr(value, "__iter__"):
        value = [] if value is None else [value]
    return [part for part in (str(item).strip(" \x00") for item in value) if part]


def text(dataset: Dataset, keyword: str) -> str:
    """Return a tag's first value as stripped upper-case text, "" if absent or unreadable."""
    return next(iter(texts(dataset, keyword)), "").upper()


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the finite numbers that a tag holds, [] if it is absent, empty or nonsense.

    Takes decimal commas, text in a tag of unknown VR, and padding in its stride.
    """
    found = texts(dataset, keyword)
    good = []
    for part in found:
        with suppress(ValueError):
            good.append(float(part.replace(",", ".")))
    good = [value for value in good if math.isfinite(value)]
    if len(good) < len(found):
        _log.warning("%s holds something that is not a number; it is ignored", keyword)
    return good


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of a tag, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def integer(dataset: Dataset, keyword: str, usual: int = 0) -> int:
    """Return the first number of a tag as an int, or what is usual without one."""
    found = number(dataset, keyword)
    return usual if found is None else int(found)


def items(dataset: Dataset | None, keyword: str) -> Sequence:
    """Return the items of a sequence, none if it is absent, empty or not a sequence."""
    value = None if dataset is None else dataset.get(keyword)
    return value if isinstance(value, Sequence) else Sequence()


def frame_group(dataset: Dataset, index: int, keyword: str) -> Dataset:
    """Return one frame's functional group of an enhanced file, or that of all frames, or all."""
    frames, shared = (f"{name}FunctionalGroupsSequence" for name in ("PerFrame", "Shared"))
    for group in [*items(dataset, frames)[index : index + 1], *items(dataset, shared)[:1]]:
        for found in items(group, keyword)[:1]:
            return found
    return dataset

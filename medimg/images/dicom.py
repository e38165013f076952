"""Open a DICOM file as far as its pixels, and read tags, which real files fill with anything."""

from __future__ import annotations

import itertools
import logging
import math
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, as_image_error, check_file, kind_of, require_kind

_log = logging.getLogger(__name__)

_PIXELS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_PIXEL_VRS = ("OB", "OW", "OF", "OD", "UN")
UNDEFINED = 0xFFFFFFFF
# More than any real file needs; they keep a small file from filling memory or time.
_MAX_INFLATED, _MAX_ELEMENTS, _LARGE_ELEMENT = 2**28, 2**17, 2**24


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels.

    `keyword` names the element with the pixels ("" if there is none), `vr` its type, `start` its
    first byte in the stream, and `length` its length in bytes as the file states it.
    """

    path: PathLike
    dataset: FileDataset
    stream: BinaryIO
    size: int
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


def parse(path: PathLike, stream: BinaryIO) -> OpenDicom:
    """Parse the header from `stream`, leaving the pixels unread."""
    size = Path(path).stat().st_size
    dataset, inflated = _read(path, stream, header_only=True)
    if inflated is not None:
        stream, size = inflated, inflated.getbuffer().nbytes
    if not len(dataset):
        raise ImageReadError(
            f"{path}: the DICOM file holds no tags; it is cut short, copy it again."
        )
    keyword, vr, length = _pixel_element(stream, dataset.original_encoding[1] is not False)
    source = OpenDicom(path, dataset, stream, size, keyword, vr, stream.tell(), length)
    if not source.syntax:
        _log.warning("%s: no transfer syntax is given; it is guessed from the content", path)
    return source


def _read(
    path: PathLike, stream: BinaryIO, *, header_only: bool
) -> tuple[FileDataset, BytesIO | None]:
    """Read a data set, or what is before its pixels; inflate it first, up to a limit."""
    seen = itertools.count()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if next(seen) > _MAX_ELEMENTS:
            raise ImageReadError(
                f"{path}: the header holds more than {_MAX_ELEMENTS:,} elements, as no real file "
                "does; it is damaged or made to harm, so export it again from its source."
            )
        return header_only and int(tag) in _PIXELS

    start = _deflated_start(stream)
    stream.seek(start)
    if not start:  # large private elements are passed over when only the header is wanted
        return read_partial(stream, stop, _LARGE_ELEMENT if header_only else None, True), None
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = BytesIO(inflater.decompress(stream.read(), _MAX_INFLATED))
    if inflater.unconsumed_tail:
        raise ImageReadError(
            f"{path}: its deflated data swell to more than {_MAX_INFLATED:,} bytes; this looks "
            "like a decompression bomb, so get the file from its source again."
        )
    if not inflater.eof:
        raise ImageReadError(
            f"{path}: the deflated DICOM data end early; the file is cut short, copy it again."
        )
    meta, found = read_file_meta_info(str(path)), read_dataset(body, False, True, stop_when=stop)
    dataset = FileDataset(str(path), found, file_meta=meta, is_implicit_VR=False)
    dataset.set_original_encoding(False, True)
    return dataset, body


def _pixel_element(stream: BinaryIO, little: bool) -> tuple[str, str, int]:
    """Return keyword, type and length of the pixel element at the stream's place, and enter it."""
    head, order = stream.read(12), "<" if little else ">"
    if len(head) < 8:
        return "", "", 0
    keyword = _PIXELS.get(int(Tag(*struct.unpack(order + "HH", head[:4]))), "")
    # The element's own form counts, since some files change it half-way: lengths are even, so an
    # implicit length never looks like one of these.
    vr = head[4:6].decode("ascii", "replace")
    if vr in _PIXEL_VRS:
        return keyword, vr, struct.unpack(order + "L", head[8:].ljust(4, b"\0"))[0]
    stream.seek(8 - len(head), 1)
    return keyword, "OW", struct.unpack(order + "L", head[4:8])[0]


def _deflated_start(stream: BinaryIO) -> int:
    """Return where a deflated data set begins, or 0 if the file is not deflated.

    The file meta information is walked here, so that nothing inflates before we set a limit.
    """
    stream.seek(0)
    head = stream.read(2**16)
    at, deflated = 132 if head[128:132] == b"DICM" else 0, False
    while head[at : at + 2] == b"\x02\x00" and at + 8 <= len(head):
        tag, long = head[at : at + 4], head[at + 4 : at + 6] in (b"OB", b"UN", b"UT", b"OW", b"SQ")
        size = int.from_bytes(head[at + 8 : at + 12] if long else head[at + 6 : at + 8], "little")
        at += 12 if long else 8
        if tag == b"\x02\x00\x10\x00":
            deflated = (
                head[at : at + size].rstrip(b"\0 ") == DeflatedExplicitVRLittleEndian.encode()
            )
        at += size
    return at if deflated else 0


def open_dicom(path: PathLike) -> FileDataset:
    """Parse a whole DICOM file with its pixels, as `pydicom.dcmread` does, but within limits.

    A file that is deflated as a whole is inflated up to 256 MB and no further, so that a small
    file cannot fill the memory.

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
        When the file is missing, empty, damaged, not DICOM, or a decompression bomb.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> len(open_dicom(get_testdata_file("image_dfl.dcm")).PixelData)
    262144
    """
    with as_image_error(path), open(_require_dicom(path), "rb") as stream:
        return _read(path, stream, header_only=False)[0]


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
    with as_image_error(path), open(_require_dicom(path), "rb") as stream:
        return parse(path, stream).dataset


def _require_dicom(path: PathLike) -> Path:
    file = check_file(path)
    kind = require_kind(file)
    if kind != "DICOM":
        raise ImageReadError(
            f"{path}: this is a {kind} file and has no DICOM header; read it with read_image()."
        )
    return file


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
        kind = kind_of(check_file(path))
        if kind != "DICOM":
            return bool(kind)
        with open(path, "rb") as stream:
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


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first number of a tag as an int, or None."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


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

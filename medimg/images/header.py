"""Open a DICOM file as far as its pixels, and stop there."""

from __future__ import annotations

import logging
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, as_image_error, check_file, kind_of, require_kind

_log = logging.getLogger(__name__)

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_PIXEL_TAGS[0x7FE00010] = "PixelData"
_PIXEL_VRS = ("OB", "OW", "OF", "OD", "UN")
# A deflated header this large is no header; the limit keeps a small file from filling memory.
_MAX_INFLATED = 2**30
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Element:
    """Where the pixel data lie in the file: the tag's name, first byte and length."""

    keyword: str
    vr: str
    start: int
    length: int


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels."""

    path: PathLike
    dataset: Dataset
    stream: BinaryIO
    size: int
    syntax: UID
    little_endian: bool
    pixels: Element | None


def read_header(path: PathLike) -> Dataset:
    """Read a DICOM file's tags, and not its pixels.

    Costs about a millisecond however large the image is.

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
        file = check_file(path)
        kind = require_kind(file)
        if kind != "DICOM":
            raise ImageReadError(
                f"{path}: this is a {kind} file and has no DICOM header; read it with read_image()."
            )
        with open(file, "rb") as stream:
            return open_dicom(path, stream).dataset


def open_dicom(path: PathLike, stream: BinaryIO) -> OpenDicom:
    """Parse the header from `stream`, leaving the pixels unread."""
    size = Path(path).stat().st_size
    deflated = _deflated_start(stream)
    dataset: FileDataset
    if deflated:
        dataset, stream, size = _inflate(path, stream, deflated, size)
    else:
        stream.seek(0)
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
    little = bool(dataset.original_encoding[1])
    if not len(dataset):
        raise ImageReadError(
            f"{path}: the DICOM file holds no tags; it is cut short, copy it again."
        )
    syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", "")).strip(" \x00"))
    if not syntax:
        _log.warning("%s: no transfer syntax is given; it is guessed from the content", path)
    pixels = _find_pixels(stream, little)
    return OpenDicom(path, dataset, stream, size, syntax, little, pixels)


def _deflated_start(stream: BinaryIO) -> int:
    """Return where a deflated data set begins, or 0 if the file is not deflated.

    The file meta information is walked here, so that nothing inflates before we set a limit.
    """
    stream.seek(0)
    head = stream.read(2**16)
    at = 132 if head[128:132] == b"DICM" else 0
    deflated = False
    while head[at : at + 2] == b"\x02\x00" and at + 8 <= len(head):
        tag, vr, length = head[at : at + 4], head[at + 4 : at + 6], head[at + 6 : at + 8]
        at += 8
        size = int.from_bytes(length, "little")
        if vr in (b"OB", b"UN", b"UT", b"OW", b"SQ"):
            size = int.from_bytes(head[at : at + 4], "little")
            at += 4
        if tag == b"\x02\x00\x10\x00":
            deflated = head[at : at + size].rstrip(b"\x00 ").decode("ascii", "replace") == _DEFLATED
        at += size
    return at if deflated else 0


def _inflate(
    path: PathLike, stream: BinaryIO, start: int, size: int
) -> tuple[FileDataset, BinaryIO, int]:
    """Inflate a deflated data set, up to a limit, and parse its header."""
    stream.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(stream.read(), _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise ImageReadError(
            f"{path}: {size} bytes of deflated DICOM swell to more than {_MAX_INFLATED} bytes; "
            "this looks like a decompression bomb, so get the file from its source again."
        )
    if not inflater.eof:
        raise ImageReadError(
            f"{path}: the deflated DICOM data end early; the file is cut short, copy it again."
        )
    stream.seek(0)
    inflated = BytesIO(body)
    dataset = FileDataset(
        str(path),
        read_dataset(inflated, False, True, stop_when=_at_pixels),
        file_meta=read_file_meta_info(str(path)),
        is_implicit_VR=False,
    )
    dataset.set_original_encoding(False, True)
    return dataset, inflated, len(body)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) in _PIXEL_TAGS


def _find_pixels(stream: BinaryIO, little: bool) -> Element | None:
    """Return where the pixel data lie, reading the element's head at the stream's position."""
    head = stream.read(12)
    order = "<" if little else ">"
    if len(head) < 8:
        return None
    keyword = _PIXEL_TAGS.get(int(Tag(*struct.unpack(order + "HH", head[:4]))))
    if keyword is None:
        return None
    # The header's own form counts, since some files change it half-way: lengths are even, so an
    # implicit length never looks like one of these.
    vr = head[4:6].decode("ascii", "replace")
    if vr not in _PIXEL_VRS:
        return Element(keyword, "OW", stream.tell() - len(head) + 8, _length(order, head[4:8]))
    return Element(keyword, vr, stream.tell(), _length(order, head[8:12].ljust(4, b"\0")))


def _length(order: str, four: bytes) -> int:
    return int(struct.unpack(order + "L", four)[0])


def is_image_file(path: PathLike) -> bool:
    """Tell from the content, cheaply, whether a file is an image that `read_image` may read.

    Parameters
    ----------
    path : str or path-like
        Any path; one that does not exist, or a folder, is no image.

    Returns
    -------
    bool
        True for a picture, and for DICOM with pixel data. The pixels are not decoded.

    Examples
    --------
    >>> is_image_file("no such file")
    False
    """
    try:
        with as_image_error(path):
            check_file(path)
            kind = kind_of(path)
            if kind != "DICOM":
                return bool(kind)
            with open(path, "rb") as stream:
                return open_dicom(path, stream).pixels is not None
    except ImageReadError:
        return False

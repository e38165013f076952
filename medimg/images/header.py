"""Open a DICOM file as far as its pixels, and stop there."""

from __future__ import annotations

import logging
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images.deflated import PIXEL_TAGS, deflated_start, inflate
from medimg.images.files import PathLike, as_image_error, check_file, kind_of, require_kind

_log = logging.getLogger(__name__)

_PIXEL_VRS = ("OB", "OW", "OF", "OD", "UN")
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Element:
    """Where the pixel data lie in the file: the tag's name, first byte and length."""

    keyword: str
    vr: str
    start: int
    length: int


@dataclass(frozen=True)
class Fragment:
    """A piece of an encapsulated frame: its offset from the first fragment's item, and place."""

    offset: int
    start: int
    length: int


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels.

    `found` holds the places of all compressed frames once one has been looked for.
    """

    path: PathLike
    dataset: Dataset
    stream: BinaryIO
    size: int
    syntax: UID
    little_endian: bool
    pixels: Element | None
    found: list[list[Fragment]] = field(default_factory=list, repr=False)


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
    deflated = deflated_start(stream)
    dataset: FileDataset
    if deflated:
        dataset, stream, size = inflate(path, stream, deflated, size)
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


def _find_pixels(stream: BinaryIO, little: bool) -> Element | None:
    """Return where the pixel data lie, reading the element's head at the stream's position."""
    head = stream.read(12)
    order = "<" if little else ">"
    if len(head) < 8:
        return None
    keyword = PIXEL_TAGS.get(int(Tag(*struct.unpack(order + "HH", head[:4]))))
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

"""Open a DICOM file as far as its pixels, and read tags, which real files fill with anything."""

import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydicom import filereader
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from medimg.errors import ImageReadError
from medimg.images.files import TOO_MANY, Limited, PathLike, as_image_error, identify, log, refuse

_PIXEL_DATA = 0x7FE00010
_LARGE_ELEMENT = 2**24  # more than any that is needed has; such are passed over


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels.

    `syntax` is the transfer syntax's UID, "" if the file does not say, and `order` the byte order
    as NumPy writes it. `vr` is the type of the element with the pixels (None if there is none),
    `start` its first byte in the stream, and `length` its length in bytes as stated.
    """

    path: PathLike
    dataset: Dataset
    stream: Limited
    syntax: str
    order: str
    vr: str | None
    start: int
    length: int


def parse(path: PathLike, stream: Limited) -> OpenDicom:
    """Parse the header from `stream`, leaving the pixels unread."""
    vr: str | None = None
    length = 0

    def stop(tag: BaseTag, of: str | None, size: int) -> bool:
        nonlocal vr, length
        if tag == _PIXEL_DATA:
            vr, length = of or "", size
        return vr is not None

    filereader.read_preamble(stream, True)
    meta = filereader._read_file_meta_info(stream)  # before pydicom inflates without a limit
    refuse((meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian, "it is deflated as a "
            "whole, which is not read here; convert it with `dcmconv +te`"))  # fmt: skip
    stream.seek(0)
    dataset = filereader.read_partial(stream, stop, _LARGE_ELEMENT, True)
    refuse((not len(dataset), "the DICOM file holds no tags"))
    start = stream.tell() + (12 if vr in EXPLICIT_VR_LENGTH_32 else 8)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "")).strip(" \x00")
    if not syntax:
        log.warning("%s: no transfer syntax is given; it is guessed from the content", path)
    order = "<" if dataset.original_encoding[1] is not False else ">"
    return OpenDicom(path, dataset, stream, syntax, order, vr, start, length)


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
        kind = identify(path)
        refuse((kind != "DICOM", f"this is a {kind} file and has no DICOM header; read it with "
                "read_image()"))  # fmt: skip
        with Limited(path) as stream:
            return parse(path, stream).dataset


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
            return parse(path, stream).vr is not None
    return False


def what_it_is(dataset: Dataset) -> str:
    """Name a DICOM object; the name of an image holds "Image Storage"."""
    if "DirectoryRecordSequence" in dataset:
        return "a DICOMDIR, a list of other files"
    unnamed = "Image Storage" if "Rows" in dataset else "a DICOM file that does not say what it is"
    return getattr(dataset.get("SOPClassUID"), "name", "") or unnamed


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
    found: list[float] = []
    for part in texts(dataset, keyword):
        with suppress(ValueError):
            found.append(float(part.replace(",", ".")))
    return [value for value in found if math.isfinite(value)]


def number(dataset: Dataset, keyword: str, usual: float = 0.0) -> float:
    """Return the first number of a tag, or what is usual without one."""
    return next(iter(numbers(dataset, keyword)), usual)


def items(dataset: Dataset, keyword: str) -> Sequence:
    """Return the items of a sequence, none if it is absent, empty or not a sequence."""
    tag = tag_for_keyword(keyword) or 0
    raw: Any = dataset.get_item(tag, keep_deferred=True)
    if isinstance(raw, RawDataElement) and raw.VR in ("SQ", "UN", None):  # not yet parsed
        refuse((raw.value is None and raw.length > _LARGE_ELEMENT, TOO_MANY))
        data, form = raw.value or b"", (raw.is_implicit_VR, raw.is_little_endian)
        found = filereader.read_sequence(Limited(data), *form, len(data), "iso8859")
        dataset[tag] = raw = DataElement(tag, "SQ", found)
    value = getattr(raw, "value", None)
    return value if isinstance(value, Sequence) else Sequence()


def frame_group(dataset: Dataset, index: int, keyword: str) -> Dataset:
    """Return one frame's functional group of an enhanced file, or that of all frames, or all."""
    frames, shared = (f"{name}FunctionalGroupsSequence" for name in ("PerFrame", "Shared"))
    for group in [*items(dataset, frames)[index : index + 1], *items(dataset, shared)[:1]]:
        for found in items(group, keyword)[:1]:
            return found
    return dataset

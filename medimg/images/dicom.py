"""Open a DICOM file as far as its pixels, and read tags, which real files fill with anything."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydicom import filereader
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from medimg.errors import ImageReadError
from medimg.images.files import TOO_MANY, Limited, PathLike, as_image_error, identify, refuse

_log = logging.getLogger(__name__)

_PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData",
           0x7FE00010: "PixelData"}  # fmt: skip
# More than any real file needs; they keep a small file from filling memory.
_MAX_INFLATED, _LARGE_ELEMENT = 2**28, 2**24


@dataclass(frozen=True)
class OpenDicom:
    """A parsed header, and the stream that still holds the pixels.

    `syntax` is the transfer syntax's UID, "" if the file does not say, and `order` the byte order
    as NumPy writes it. `keyword` names the element with the pixels ("" if there is none), `vr` its
    type, `start` its first byte in the stream, and `length` its length in bytes as stated.
    """

    path: PathLike
    dataset: FileDataset
    stream: Limited
    syntax: str
    order: str
    keyword: str
    vr: str
    start: int
    length: int


def parse(path: PathLike, stream: Limited) -> OpenDicom:
    """Parse the header from `stream`, leaving the pixels unread."""
    keyword, vr, length = "", "OW", 0

    def stop(tag: BaseTag, of: str | None, size: int) -> bool:
        nonlocal keyword, vr, length
        if tag in _PIXELS:
            keyword, vr, length = _PIXELS[tag], of or "", size
        return bool(keyword)

    dataset, stream = _read(stream, stop)
    refuse((not len(dataset), "the DICOM file holds no tags; it is cut short, copy it again"))
    start = stream.tell() + (12 if vr in EXPLICIT_VR_LENGTH_32 else 8)
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", "")).strip(" \x00")
    if not syntax:
        _log.warning("%s: no transfer syntax is given; it is guessed from the content", path)
    order = "<" if dataset.original_encoding[1] is not False else ">"
    return OpenDicom(path, dataset, stream, syntax, order, keyword, vr or "OW", start, length)


def _read(
    stream: Limited, stop: Callable[[BaseTag, str | None, int], bool] | None
) -> tuple[FileDataset, Limited]:
    """Read a data set, or what is before its pixels; inflate it first, up to a limit."""
    stream.seek(0)
    preamble = filereader.read_preamble(stream, True)
    meta = filereader._read_file_meta_info(stream)  # before pydicom inflates without a limit
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        stream.seek(0)  # large elements are passed over when only the header is wanted
        return filereader.read_partial(stream, stop, _LARGE_ELEMENT if stop else None, True), stream
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = Limited(inflater.decompress(stream.read(), _MAX_INFLATED))
    refuse(
        (inflater.unconsumed_tail, f"its deflated data swell to more than {_MAX_INFLATED:,} bytes; "
         "this looks like a decompression bomb, so get the file from its source again"),
        (not inflater.eof, "the deflated DICOM data end early; the file is cut short, copy it "
         "again"),
    )  # fmt: skip
    found = filereader.read_dataset(body, False, True, stop_when=stop)
    dataset = FileDataset("", found, preamble, meta, is_implicit_VR=False)
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
    with as_image_error(path), Limited(_require_dicom(path)) as stream:
        return _read(stream, None)[0]


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
    with as_image_error(path), Limited(_require_dicom(path)) as stream:
        return parse(path, stream).dataset


def _require_dicom(path: PathLike) -> PathLike:
    kind = identify(path)
    refuse((kind != "DICOM", f"this is a {kind} file and has no DICOM header; read it with "
            "read_image()"))  # fmt: skip
    return path


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
    good, found = [], texts(dataset, keyword)
    for part in found:
        with suppress(ValueError):
            good += [float(part.replace(",", "."))]
    good = [value for value in good if math.isfinite(value)]
    if len(good) < len(found):
        _log.warning("%s holds something that is not a number; it is ignored", keyword)
    return good


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

"""Read and write DICOM files without a word about what is in them."""

from __future__ import annotations

import logging
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LIMIT = 1 << 27  # bytes that an inflated data set, or the decoded frames of an image, may take


class RefusedError(Exception):
    """A file is not to be copied; the message says why, without a value from it."""


@contextmanager
def quietly() -> Iterator[None]:
    """Mute pydicom, whose warnings and log lines quote tag values, and let odd values pass."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def inflate(data: bytes, limit: int = LIMIT) -> bytes:
    """Inflate a raw deflate stream of at most ``limit`` bytes; what follows its end is dropped.

    Raises
    ------
    RefusedError
        When it is damaged, ends early or holds more.
    """
    stream = zlib.decompressobj(-15)
    try:
        found = stream.decompress(data, limit)
    except zlib.error:
        raise RefusedError("holds deflated data that are damaged") from None
    if not stream.eof and stream.unconsumed_tail:
        raise RefusedError("holds deflated data that are too large to inflate")
    if not stream.eof:
        raise RefusedError("holds deflated data that end early")
    return found


def read(source: str | os.PathLike[str] | BytesIO) -> Dataset:
    """Read a file; large values of a file on the disk stay there until they are asked for.

    Raises
    ------
    RefusedError
        When the bytes are not a DICOM object.
    """
    try:
        inflated = None if isinstance(source, BytesIO) else _inflated(source)
        if inflated is not None or isinstance(source, BytesIO):
            dataset = pydicom.dcmread(inflated or source, force=True)
        else:
            dataset = pydicom.dcmread(source, force=True, defer_size=65536)
    except RefusedError:
        raise
    except Exception as error:  # pydicom raises whatever its parser stumbled on
        raise RefusedError(f"cannot be parsed as DICOM ({type(error).__name__})") from None
    if not _is_object(dataset):
        if not len(dataset) and not isinstance(source, BytesIO):  # pydicom gave up in the pixels
            if _is_object(pydicom.dcmread(source, force=True, stop_before_pixels=True)):
                raise RefusedError("has pixel data that end early: the file is cut short")
        raise RefusedError("is not a DICOM object (neither a SOP class nor an image size)")
    return dataset


def _is_object(dataset: Dataset) -> bool:
    return "SOPClassUID" in dataset or {"Rows", "Columns"} <= set(dataset.dir())


def _inflated(path: str | os.PathLike[str]) -> BytesIO | None:
    """Return a deflated file as an uncompressed one; None when it is not deflated."""
    with open(path, "rb") as file:
        read_preamble(file, True)
        meta = _read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return None
        data = inflate(file.read())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = BytesIO()
    whole.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(data)
    whole.seek(0)
    return whole


def write(dataset: Dataset) -> bytes:
    """Return the bytes of a file with a fresh preamble and file meta information.

    The old ones may name the sender (Source Application Entity Title, private information).
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        syntax = syntax if little else ExplicitVRBigEndian
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    whole = bool(dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID"))
    if whole:
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=whole)
    return buffer.getvalue()


def elements(dataset: Dataset) -> Iterator[tuple[Dataset, BaseTag, str, bytes]]:
    """Walk a freshly read file, items of sequences included: (data set, tag, VR, value bytes).

    The values are the bytes as they lie in the file, so that every hit of a byte search can be
    traced to an element.
    """
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        vr = raw.VR if raw is not None else None
        if vr in (None, "UN", "SQ"):
            element = dataset[tag]
            vr = element.VR
            if vr == "SQ":
                for item in element.value:
                    yield from elements(item)
                continue
        value = getattr(raw, "value", None)
        yield dataset, tag, str(vr), value if isinstance(value, bytes) else b""

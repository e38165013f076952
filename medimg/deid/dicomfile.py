"""Read and write DICOM files without a word about what is in them."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
SEQUENCE = "SQ"


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


def read(source: str | os.PathLike[str] | BytesIO, *, large: bool = True) -> Dataset:
    """Read a file; without ``large``, values over 64 KB are left on the disk.

    Raises
    ------
    RefusedError
        When the bytes are no DICOM object.
    """
    try:
        dataset = pydicom.dcmread(source, force=True, defer_size=None if large else 65536)
    except Exception as error:  # pydicom raises whatever its parser stumbled on
        raise RefusedError(f"cannot be parsed as DICOM ({type(error).__name__})") from None
    if not _is_object(dataset):
        if not len(dataset) and _is_object(_header(source)):  # pydicom gave up in the pixels
            raise RefusedError("has pixel data that end early: the file is cut short")
        raise RefusedError("is not a DICOM object (neither a SOP class nor an image size)")
    return dataset


def _is_object(dataset: Dataset) -> bool:
    return "SOPClassUID" in dataset or {"Rows", "Columns"} <= set(dataset.dir())


def _header(source: str | os.PathLike[str] | BytesIO) -> Dataset:
    if isinstance(source, BytesIO):
        source.seek(0)
    return pydicom.dcmread(source, force=True, stop_before_pixels=True)


def write(dataset: Dataset) -> bytes:
    """Return the bytes of a file with a fresh preamble and file meta information.

    The old ones may name the sender (Source Application Entity Title, private information).
    Deflated files become uncompressed ones, so that their bytes can be searched.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        syntax = syntax if little else ExplicitVRBigEndian
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = (
        ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax
    )
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
    """Walk a freshly read file, items of sequences included: (dataset, tag, VR, value bytes).

    The values are the bytes as they lie in the file, so that every hit of a byte search can be
    traced to an element.
    """
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        vr = raw.VR if raw is not None else None
        if vr in (None, "UN", SEQUENCE):
            element = dataset[tag]
            vr = element.VR
            if vr == SEQUENCE:
                for item in element.value:
                    yield from elements(item)
                continue
        value = getattr(raw, "value", None)
        yield dataset, tag, str(vr), value if isinstance(value, bytes) else b""

"""Read and write DICOM files without a word about what is in them."""

from __future__ import annotations

import logging
import os
import tomllib
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files as package_files
from io import BytesIO
from typing import Any

import pydicom
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LIMIT = 1 << 27  # bytes that an inflated data set, or a decoded frame, may take


class RefusedError(Exception):
    """A file is not to be copied; the message says why, without a value from it."""


def package_text(name: str) -> str:
    """Return a data file of this package."""
    return package_files("medimg.deid").joinpath(name).read_text(encoding="utf-8")


RULES: dict[str, Any] = tomllib.loads(package_text("rules.toml"))


@contextmanager
def quietly() -> Iterator[None]:
    """Mute pydicom, whose warnings and log lines quote tag values, and let odd values pass."""
    logger = logging.getLogger("pydicom")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def read(source: str | os.PathLike[str] | BytesIO) -> Dataset:
    """Read a file; large values of a file on the disk stay there until they are asked for.

    Raises
    ------
    RefusedError
        When the bytes are not a DICOM object, or inflate to more than `LIMIT`.
    """
    early = False
    try:
        is_file = not isinstance(source, BytesIO)
        buffer = _inflated(source) if is_file else source
        defer = 65536 if buffer is None else None
        dataset = pydicom.dcmread(buffer or source, force=True, defer_size=defer)
        if is_file and not len(dataset):  # pydicom gave up in the pixels
            dataset = pydicom.dcmread(source, force=True, stop_before_pixels=True)
            early = len(dataset) > 0
    except RefusedError:
        raise
    except Exception as error:  # pydicom raises whatever its parser stumbled on
        raise RefusedError(f"cannot be parsed as DICOM ({type(error).__name__})") from None
    if "SOPClassUID" not in dataset and not {"Rows", "Columns"} <= set(dataset.dir()):
        raise RefusedError("is not a DICOM object (neither a SOP class nor an image size)")
    if early:
        raise RefusedError("has pixel data that end early: the file is cut short")
    return dataset


def on_disk(dataset: Dataset, tag: BaseTag, over: int = 0) -> bool:
    """Whether a value of more than ``over`` bytes was left on the disk."""
    raw = dataset._dict.get(tag)  # `get_item` would read it
    return getattr(raw, "value", b"") is None and getattr(raw, "length", 0) > over


def _inflated(path: Any) -> BytesIO | None:
    """Return a deflated file as an uncompressed one; None when it is not deflated."""
    with open(path, "rb") as file:
        read_preamble(file, True)
        meta = _read_file_meta_info(file)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return None
        stream = zlib.decompressobj(-15)
        data = stream.decompress(file.read(), LIMIT)
    if not stream.eof:
        early = "end early" if not stream.unconsumed_tail else "are too large to inflate"
        raise RefusedError(f"holds deflated data that {early}")
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    whole: Any = BytesIO()
    whole.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(whole, meta, enforce_standard=False)
    whole.write(data)
    return BytesIO(whole.getvalue())


def write(dataset: Dataset) -> bytes:
    """Return the bytes of a file with a fresh preamble and file meta information.

    The old ones may name the sender (Source Application Entity Title, private information).
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        implicit, little = dataset.original_encoding
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        syntax = syntax if little else uid.ExplicitVRBigEndian
    dataset.file_meta = meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    whole = bool(dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID"))
    if whole:
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = uid.PYDICOM_IMPLEMENTATION_UID
    dataset.preamble = b"\0" * 128
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=whole)
    return buffer.getvalue()

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
from pydicom import DataElement, Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.tag import BaseTag

PathLike = str | os.PathLike[str]
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
DEFLATED = uid.DeflatedExplicitVRLittleEndian
LIMIT = 1 << 27  # bytes that an inflated data set, or a decoded frame, may take


class RefusedError(Exception):
    """A file is not to be copied; the message says why, without a value from it."""


def refuse_if(holds: object, why: str) -> None:
    """Raise RefusedError when something holds."""
    if holds:
        raise RefusedError(why)


def first(reasons: dict[str, Any]) -> str:
    """Return the first reason that holds; "" when none does."""
    return next((reason for reason, holds in reasons.items() if holds), "")


@contextmanager
def refusing(why: str) -> Iterator[None]:
    """Turn any error into RefusedError: decoders and parsers raise what they like, with values."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"{why} ({type(error).__name__})") from None


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
        with warnings.catch_warnings(action="ignore"), pydicom.config.disable_value_validation():
            yield
    finally:
        logger.disabled = before


def read(source: PathLike | BytesIO) -> Dataset:
    """Read a file; large values of a file on the disk stay there until they are asked for.

    Raises
    ------
    RefusedError
        When the bytes are not a DICOM object, or inflate to more than `LIMIT`.
    """
    with refusing("cannot be parsed as DICOM"):
        in_memory = isinstance(source, BytesIO) or _is_deflated(source)
        dataset = pydicom.dcmread(source, force=True, defer_size=None if in_memory else 65536)
        if not len(dataset):  # pydicom gave up, perhaps in the pixels
            head = pydicom.dcmread(source, force=True, stop_before_pixels=True)
            refuse_if("SOPClassUID" in head, "has pixel data that end early: the file is cut short")
    no_object = "SOPClassUID" not in dataset and not {"Rows", "Columns"} <= set(dataset.dir())
    refuse_if(no_object, "is not a DICOM object (neither a SOP class nor an image size)")
    return dataset


def element_of(dataset: Dataset, tag: BaseTag, most: int = LIMIT) -> DataElement | None:
    """Return an element; None when it cannot be parsed, or more than ``most`` bytes are on disk."""
    raw = dataset._dict.get(tag)  # `get_item` would read it from the disk
    try:
        left = getattr(raw, "value", b"") is None and getattr(raw, "length", 0) > most
        return None if left else dataset[tag]
    except Exception:  # pydicom raises whatever it stumbled on
        return None


def elements(dataset: Dataset, most: int = LIMIT) -> Iterator[tuple[Dataset, DataElement]]:
    """Yield all elements that can be parsed, with their data sets: meta information, items too."""
    if "file_meta" in vars(dataset):
        yield from elements(dataset.file_meta)
    for tag in list(dataset.keys()):
        element = element_of(dataset, tag, most)
        if element is not None and element.VR == "SQ":
            for item in element.value:
                yield from elements(item, most)
        elif element is not None:
            yield dataset, element


def _is_deflated(path: PathLike) -> bool:
    """Whether a data set is deflated; refuse one that is not whole, or too large."""
    with open(path, "rb") as file:
        read_preamble(file, True)
        if _read_file_meta_info(file).get("TransferSyntaxUID") != DEFLATED:
            return False
        stream = zlib.decompressobj(-15)
        stream.decompress(file.read(), LIMIT)
    refuse_if(stream.unconsumed_tail, "holds deflated data that are too large to inflate")
    refuse_if(not stream.eof, "holds deflated data that end early")
    return True


def write(dataset: Dataset) -> bytes:
    """Return the bytes of a file, not deflated, with a fresh preamble and file meta information.

    The old ones may name the sender (Source Application Entity Title, private information).
    """
    implicit, little = dataset.original_encoding
    plain = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    plain = uid.ImplicitVRLittleEndian if implicit else plain
    syntax = dataset.file_meta.get("TransferSyntaxUID", plain)
    dataset.file_meta, dataset.preamble = FileMetaDataset(), b"\0" * 128
    dataset.file_meta.TransferSyntaxUID = plain if syntax == DEFLATED else syntax
    dataset.file_meta.ImplementationClassUID = uid.PYDICOM_IMPLEMENTATION_UID
    whole = bool(dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID"))
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=whole)
    return buffer.getvalue()

"""Read and write DICOM files without a word about what is in them."""

import logging
import os
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files as package_files
from io import BytesIO
from typing import Any

import pydicom
from pydicom import DataElement, Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble

PathLike = str | os.PathLike[str]
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LIMIT = 1 << 27  # bytes that a value read from the disk, or a decoded frame, may take
CONVERT = "write it in Explicit VR Little Endian (dcmconv +te) first"


class RefusedError(Exception):
    """A file is not to be copied; the message says why, without a value from it."""


def refuse_if(holds: object, why: str) -> None:
    """Raise RefusedError when something holds."""
    if holds:
        raise RefusedError(why)


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


def read(path: PathLike) -> Dataset:
    """Read a file; large values stay on the disk until they are used.

    Raises
    ------
    RefusedError
        When the bytes are not a DICOM object, or are deflated or in big-endian order.
    """
    with refusing("cannot be parsed as DICOM"):
        with open(path, "rb") as file:
            read_preamble(file, True)
            syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
        refuse_if(syntax == uid.DeflatedExplicitVRLittleEndian, f"is deflated; {CONVERT}")
        dataset = pydicom.dcmread(path, force=True, defer_size=65536)
    whole = dataset.get("SOPClassUID") and dataset.get("SOPInstanceUID")
    refuse_if(not whole, "is cut short, or no DICOM object (no SOP class and instance UIDs)")
    implicit, little = dataset.original_encoding
    refuse_if(not little, f"is in big-endian order; {CONVERT}")
    for one in list(dataset._dict.values()):  # those that are parsed have no length
        if getattr(one, "length", 0) > LIMIT and one.value is None and one.tag not in PIXELS:
            del dataset[one.tag]  # or bytes after the last element, read as one
    plain = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    dataset.file_meta.setdefault("TransferSyntaxUID", plain)
    return dataset


def elements(dataset: Dataset) -> Iterator[tuple[Dataset, DataElement]]:
    """Yield all elements but pixels, with their data sets: meta information and items too."""
    if "file_meta" in vars(dataset):
        yield from elements(dataset.file_meta)
    for element in (dataset[tag] for tag in list(dataset.keys()) if tag not in PIXELS):
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        else:
            yield dataset, element


def write(dataset: Dataset) -> bytes:
    """Return the bytes of a file with a fresh preamble and file meta information.

    The old ones may name the sender (Source Application Entity Title, private information).
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.file_meta, dataset.preamble = FileMetaDataset(), b"\0" * 128
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.ImplementationClassUID = uid.PYDICOM_IMPLEMENTATION_UID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

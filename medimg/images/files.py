"""What a file is, told from its first bytes, and how every failure becomes one clear error."""

from __future__ import annotations

import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.config import disable_value_validation

from medimg.errors import ImageReadError

PathLike = str | os.PathLike[str]
#: Samples of whatever type the file holds.
Pixels = NDArray[Any]
Floats = NDArray[np.float32]
#: The largest frame that is read unless the caller raises the limit: 0.8 GB as float32 RGB.
MAX_PIXELS = 2**26


class ImageWarning(UserWarning):
    """A file is read, but may not show what was meant."""


# Formats by their first bytes: DICOM and NIfTI are told otherwise, the rest is for Pillow.
_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF87a": "GIF", b"GIF89a": "GIF",
    b"II*\x00": "TIFF", b"MM\x00*": "TIFF", b"II+\x00": "TIFF", b"MM\x00+": "TIFF", b"BM": "BMP",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000",
}  # fmt: skip
# Things that learners take for images, and what to do with them instead.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive; unpack it and read the files inside",
    b"\x1f\x8b": "a gzip-compressed file; unpack it (gunzip) and read what is inside",
    b"BZh": "a bzip2-compressed file; unpack it and read what is inside",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it and read the files inside",
    b"Rar!": "a RAR archive; unpack it and read the files inside",
    b"\xff\x0a": "a JPEG XL picture; save it as PNG or TIFF",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL picture; save it as PNG or TIFF",
    b"%PDF": "a PDF document; export its pages as PNG",
    b"NRRD": "an NRRD volume; convert it to DICOM or NIfTI",
    b"\x89HDF": "an HDF5 file; read it with h5py and save its images as PNG or TIFF",
    b"\x93NUMPY": "a NumPy array; load it with numpy.load",
    b"<?xml": "an XML document",
    b"<!DOCTYPE": "a web page; the download probably asked for a login",
    b"<html": "a web page; the download probably asked for a login",
    b"{": "a JSON or other text file",
}
_DAMAGED = "the file is damaged or breaks its format ({kind}); copy or export it again"
_FAILURES: tuple[tuple[Any, str], ...] = (  # the first that fits
    (RecursionError, "its sequences are nested too deeply to be a real image; the file is damaged "
     "or made to harm, so export it again from its source"),
    (MemoryError, "there is not enough memory for this image; read one frame of it (frame=0) or "
     "use a machine with more memory"),
    (PermissionError, "the file may not be read; change its permissions (chmod +r)"),
    ((OSError, EOFError), "the file could not be read to its end or decoded ({kind}); it is "
     "damaged or cut short, so copy or export it again"),
)  # fmt: skip
_VR = re.compile(rb"[A-Z]{2}")
_HEAD = 4096


@contextmanager
def as_image_error(path: PathLike) -> Iterator[None]:
    """Let out one `ImageReadError` for whatever goes wrong inside, and only the user's Ctrl-C.

    The text of the foreign error stays out of the message, since a parser quotes values that
    may name a patient; it is kept as the cause. For the same reason pydicom's warnings are
    silenced. `BaseException` is caught because decoders in Rust panic with one.
    """
    try:
        with disable_value_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ImageReadError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        words = next((words for kind, words in _FAILURES if isinstance(error, kind)), _DAMAGED)
        raise ImageReadError(f"{path}: {words.format(kind=type(error).__name__)}.") from error


def check_file(path: PathLike) -> Path:
    """Return `path` as a Path to a non-empty ordinary file, or raise saying what it is."""
    file = Path(path)
    words = ""
    if file.is_dir():
        words = (
            "this is a folder; use read_series() for a volume, scan() for a table of its files, "
            "or name one file in it"
        )
    elif file.is_symlink() and not file.exists():
        words = "this is a link to a file that is gone; copy that file here"
    elif not file.exists():
        words = "there is no such file; check the spelling and the folder"
    elif not file.is_file():
        words = "this is a device or pipe, not a file; copy it to a file"
    elif file.stat().st_size == 0:
        words = "the file is empty (zero bytes); the copy or download failed, so repeat it"
    if words:
        raise ImageReadError(f"{path}: {words}.")
    return file


def kind_of(path: PathLike) -> str:
    """Return "DICOM", "NIfTI" or the name of a picture format, "" for what is not an image.

    Only the content counts, never the extension. `DICM` at byte 128 comes before any other
    magic number, because a DICOM preamble may be the header of a TIFF (PS3.10, 7.1).
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head[128:132] == b"DICM":
        return "DICOM"
    for magic, name in _PICTURES.items():
        if head.startswith(magic) and (name != "BMP" or head[6:10] == bytes(4)):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            head = zlib.decompressobj(31).decompress(head, _HEAD)
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return "NIfTI"
    return "DICOM" if _bare_dicom(head) else ""


def _bare_dicom(head: bytes) -> bool:
    """Tell whether bytes without preamble plausibly begin a DICOM data set."""
    group = head[:2]
    if len(head) < 16 or group not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    if _VR.fullmatch(head[4:6]):
        return True
    # Implicit VR: a four-byte length, which must fit into the file's first elements.
    return group != b"\x00\x08" and int.from_bytes(head[4:8], "little") <= len(head)


def describe_other(path: PathLike) -> str:
    """Say in words what a file is that is not an image."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head[344:348] == b"ni1\0":
        return "half of a NIfTI pair (.hdr and .img); convert the pair to one .nii file"
    for magic, words in _OTHERS.items():
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            return words
    if head[4:8] == b"ftyp":
        return "a video, or a HEIF or AVIF photo; export single frames as PNG"
    if not head.strip(b"\x00"):
        return "nothing but zero bytes; the copy or download failed, so repeat it"
    printable = sum(byte in b"\t\n\r\x0c" or 32 <= byte < 127 for byte in head)
    if printable > 0.95 * len(head):
        return "a text file, whatever its name says; find the image that it belongs to"
    return (
        "none of DICOM, NIfTI, PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000; "
        "export it as one of these"
    )


def require_kind(path: PathLike) -> str:
    """Return the kind of an image file, or raise saying what it is instead."""
    kind = kind_of(path)
    if not kind:
        raise ImageReadError(f"{path}: this is not an image but {describe_other(path)}.")
    return kind


def check_size(
    path: PathLike, rows: int, columns: int, max_pixels: int, *, size: int | None = None
) -> None:
    """Refuse more pixels than the limit, or than `size` compressed bytes can mean.

    An even picture may be small, but 16 million pixels need some bytes, and an image that shows
    something takes far more than one byte for 64 pixels.
    """
    pixels = rows * columns
    if pixels > max_pixels:
        raise ImageReadError(
            f"{path}: the header declares {columns} x {rows} pixels, more than the limit of "
            f"{max_pixels:,}; if you trust the file, raise the limit with max_pixels=."
        )
    if size is not None and pixels > 2**24 + 64 * size:
        raise ImageReadError(
            f"{path}: {size} bytes cannot hold the {pixels:,} pixels that its header declares; "
            "it is cut short or made to fill memory, so get it from its source again."
        )

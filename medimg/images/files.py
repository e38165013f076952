"""What a file is, told from its first bytes, and how every failure becomes one clear error."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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

# Formats that Pillow opens for us, by their first bytes.
_PICTURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)

# Things that learners take for images, and what to do with them instead.
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive; unpack it and read the files inside"),
    (b"\x1f\x8b", "a gzip-compressed file; unpack it (gunzip) and read what is inside"),
    (b"BZh", "a bzip2-compressed file; unpack it and read what is inside"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and read the files inside"),
    (b"Rar!", "a RAR archive; unpack it and read the files inside"),
    (b"\xff\x0a", "a JPEG XL picture; save it as PNG or TIFF"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL picture; save it as PNG or TIFF"),
    (b"%PDF", "a PDF document; export its pages as PNG"),
    (b"NRRD", "an NRRD volume; convert it to DICOM or export slices as PNG or TIFF"),
    (b"\x89HDF", "an HDF5 file; read it with h5py and save its images as PNG or TIFF"),
    (b"\x93NUMPY", "a NumPy array; load it with numpy.load"),
    (b"<?xml", "an XML document, not an image"),
    (b"<!DOCTYPE", "a web page, not an image; the download probably asked for a login"),
    (b"<html", "a web page, not an image; the download probably asked for a login"),
    (b"{", "a JSON or other text file, not an image"),
)

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
    except RecursionError as error:
        raise ImageReadError(
            f"{path}: its sequences are nested too deeply to be a real image; "
            "the file is damaged or made to harm, so export it again from its source."
        ) from error
    except MemoryError as error:
        raise ImageReadError(
            f"{path}: there is not enough memory for this image; read one frame of it (frame=0) "
            "or use a machine with more memory."
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            f"{path}: the file may not be read; change its permissions (chmod +r)."
        ) from error
    except OSError as error:
        raise ImageReadError(
            f"{path}: the file could not be read to its end or decoded ({_kind(error)}); "
            "it is damaged or cut short, so copy or export it again."
        ) from error
    except BaseException as error:
        raise ImageReadError(
            f"{path}: the file is damaged or breaks its format ({_kind(error)}); "
            "copy or export it again from its source."
        ) from error


def _kind(error: BaseException) -> str:
    return type(error).__name__


def check_file(path: PathLike) -> Path:
    """Return `path` as a Path to a non-empty ordinary file, or raise saying what it is."""
    file = Path(path)
    if file.is_dir():
        raise ImageReadError(
            f"{path}: this is a folder; use read_series() for a volume, scan() for a table of "
            "its files, or name one file in it."
        )
    if file.is_symlink() and not file.exists():
        raise ImageReadError(f"{path}: this is a link to a file that is gone; copy that file here.")
    if not file.exists():
        raise ImageReadError(f"{path}: there is no such file; check the spelling and the folder.")
    if not file.is_file():
        raise ImageReadError(f"{path}: this is a device or pipe, not a file; copy it to a file.")
    if file.stat().st_size == 0:
        raise ImageReadError(
            f"{path}: the file is empty (zero bytes); the copy or download failed, so repeat it."
        )
    return file


def kind_of(path: PathLike) -> str:
    """Return "DICOM", or the name of a picture format, or "" for what is no image.

    Only the content counts, never the extension. `DICM` at byte 128 comes before any other
    magic number, because a DICOM preamble may be the header of a TIFF (PS3.10, 7.1).
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head[128:132] == b"DICM":
        return "DICOM"
    for magic, name in _PICTURES:
        if head.startswith(magic) and (name != "BMP" or head[6:10] == bytes(4)):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
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
    """Say in words what a file is that is no image."""
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    if head[344:347] in (b"n+1", b"ni1"):
        return "a NIfTI volume; read it with nibabel and save its slices as PNG or TIFF"
    for magic, words in _OTHERS:
        if head.lstrip()[: len(magic)].lower() == magic.lower():
            return words
    if head[4:8] == b"ftyp":
        return "a video, or a HEIF or AVIF photo; export single frames as PNG"
    if not head.strip(b"\x00"):
        return "nothing but zero bytes; the copy or download failed, so repeat it"
    printable = sum(byte in b"\t\n\r\x0c" or 32 <= byte < 127 for byte in head)
    if printable > 0.95 * len(head):
        return "a text file, whatever its name says; find the image that it belongs to"
    return "none of DICOM, PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000; export it as one of these"


def require_kind(path: PathLike) -> str:
    """Return the kind of an image file, or raise saying what it is instead."""
    kind = kind_of(path)
    if not kind:
        raise ImageReadError(f"{path}: this is no image but {describe_other(path)}.")
    return kind

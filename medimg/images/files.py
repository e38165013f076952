"""What a file is, told from its first bytes, and how every failure becomes one clear error."""

import io
import logging
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

#: The one logger of the package.
log = logging.getLogger("medimg.images")
PathLike = str | os.PathLike[str]
#: Samples of whatever type the file holds.
Pixels = NDArray[Any]
Floats = NDArray[np.float32]
#: The largest frame that is read unless the caller raises the limit: 0.8 GB as float32 RGB.
MAX_PIXELS = 2**26


class ImageWarning(UserWarning):
    """A file is read, but may not show what was meant."""


class Refused(Exception):  # noqa: N818 - says what happens, not what is wrong
    """Why a file is not read; `as_image_error` adds its name, and a way out where none is given."""


TOO_MANY = "it holds more elements, chunks or pages than any real file"


def refuse(*cases: tuple[object, str]) -> None:
    """Raise what the first case that is true says."""
    for true, words in cases:
        if true:
            raise Refused(words)


# What a file is, by its first bytes. `DICM` comes before all, because a DICOM preamble may be the
# header of a TIFF (PS3.10, 7.1). Without a preamble, DICOM begins with a tag, then a type, or a
# length that fits the first elements.
_KINDS = {
    rb".{128}DICM": "DICOM",
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"GIF8[79]a": "GIF",
    rb"II[*+]\0|MM\0[*+]": "TIFF",
    rb"BM.{4}\0{4}": "BMP",
    rb".{344}n\+1\0|.{4}n\+2\0": "NIfTI",
    rb"([\x02\x08]\0|\0\x08)..[A-Z]{2}.{10}|[\x02\x08]\0...[\0-\x0f]\0\0.{8}": "DICOM",
}
# What learners take for images, and what to do with it instead.
_OTHERS = {
    rb"PK\x03\x04|\x1f\x8b|BZh|7z\xbc\xaf|Rar!": "an archive; unpack it and read what is inside",
    rb"\s*(?i:<!doctype|<html)": "a web page; the download probably asked for a login",
    rb".{344}ni1\0": "half of a NIfTI pair (.hdr and .img); convert the pair to one .nii file",
    rb"\0+\Z": "nothing but zero bytes; the copy or download failed, so repeat it",
    rb"": "not an image that can be read here (DICOM, NIfTI, PNG, JPEG, TIFF, BMP, GIF), "
          "whatever its name says; if it is a picture, save it as PNG",
}  # fmt: skip
_AGAIN = "; it is damaged, cut short or made to harm, so copy or export it again from its source"
_FAILURES: tuple[tuple[Any, str], ...] = (  # the first that fits
    (Refused, "{error}"),
    (SyntaxError, "the picture is damaged, or of a kind that is not read here (many channels, "
     "unusual samples); save it from another program as PNG or TIFF of 8 or 16 bits"),
    (MemoryError, "there is not enough memory for this image; use a machine with more"),
    (PermissionError, "the file may not be read; change its permissions (chmod +r)"),
    ((OSError, EOFError), "the file could not be read to its end or decoded ({kind})"),
    (BaseException, "the file breaks its format ({kind})"),
)  # fmt: skip
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
        words = next(words for kind, words in _FAILURES if isinstance(error, kind))
        words = words.format(kind=type(error).__name__, error=error)
        raise ImageReadError(f"{path}: {words}{'' if ';' in words else _AGAIN}.") from error


class Limited(io.BufferedReader):
    """A file, or bytes unpacked from it, that no parser reads in more pieces than a real one.

    Parsers believe what a file says of itself, such as a million empty elements, items, chunks or
    pages, or tags that all claim the same megabyte. Each is a read, or the same bytes once more.
    """

    def __init__(self, source: PathLike | bytes, pieces: int = 200_000) -> None:
        raw: Any = io.BytesIO(source) if isinstance(source, bytes) else io.FileIO(os.fspath(source))
        super().__init__(raw, 2**16)
        self.size = raw.seek(0, io.SEEK_END)
        self._pieces, self._bytes = pieces, 8 * self.size + 2**24
        raw.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, as long as they are no more than a real file needs."""
        data = super().read(size)
        self._pieces, self._bytes = self._pieces - 1, self._bytes - len(data)
        if self._pieces < 0 or self._bytes < 0:
            raise Refused(TOO_MANY)
        return data


def identify(path: PathLike) -> str:
    """Return the kind of an image file, or raise saying what it is instead."""
    file = Path(path)
    refuse(
        (file.is_dir(), "this is a folder; use read_series() for a volume or scan() for a table"),
        (not file.exists(), "there is no such file; check the spelling and the folder"),
        (not file.is_file(), "this is a device or pipe, not a file; copy it to a file"),
        (file.is_file() and not file.stat().st_size, "the file is empty; copy or load it again"),
    )
    kind = kind_of(path)
    refuse((not kind, f"this is {_first(_OTHERS, _head(path))}"))
    return kind


def kind_of(path: PathLike) -> str:
    """Return "DICOM", "NIfTI" or the name of a picture format, "" for what is not an image.

    Only the content counts, never the extension.
    """
    head = _head(path)
    if head.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            head = zlib.decompressobj(31).decompress(head, _HEAD)
        return "NIfTI" if _first(_KINDS, head) == "NIfTI" else ""
    return _first(_KINDS, head)


def _head(path: PathLike) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_HEAD)


def _first(known: dict[bytes, str], head: bytes) -> str:
    """Return what the first pattern that fits the head of a file stands for."""
    return next((what for start, what in known.items() if re.match(start, head, re.DOTALL)), "")


def check_size(rows: int, columns: int, max_pixels: int, size: int | None = None) -> None:
    """Refuse more pixels than the limit, or than `size` compressed bytes can mean.

    An even picture may be small, but 16 million pixels need some bytes, and an image that shows
    something takes far more than one byte for 64 pixels.
    """
    pixels = rows * columns
    refuse(
        (pixels > max_pixels, f"the header declares {columns} x {rows} pixels, more than the "
         f"limit of {max_pixels:,}; if you trust the file, raise the limit with max_pixels="),
        (size is not None and pixels > 2**24 + 64 * size, f"{size} bytes cannot hold the "
         f"{pixels:,} pixels that its header declares"),
    )  # fmt: skip

"""Unpack a data set that is deflated as a whole, up to a limit."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import BinaryIO

from pydicom.dataset import FileDataset
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.tag import BaseTag

from medimg.errors import ImageReadError
from medimg.images.files import PathLike

PIXEL_TAGS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_DEFLATED = "1.2.840.10008.1.2.1.99"
# More than any image needs that `max_pixels` lets through; it keeps a small file from filling
# the memory.
_MAX_INFLATED = 2**30


def deflated_start(stream: BinaryIO) -> int:
    """Return where a deflated data set begins, or 0 if the file is not deflated.

    The file meta information is walked here, so that nothing inflates before we set a limit.
    """
    stream.seek(0)
    head = stream.read(2**16)
    at = 132 if head[128:132] == b"DICM" else 0
    deflated = False
    while head[at : at + 2] == b"\x02\x00" and at + 8 <= len(head):
        tag, vr, length = head[at : at + 4], head[at + 4 : at + 6], head[at + 6 : at + 8]
        at += 8
        size = int.from_bytes(length, "little")
        if vr in (b"OB", b"UN", b"UT", b"OW", b"SQ"):
            size = int.from_bytes(head[at : at + 4], "little")
            at += 4
        if tag == b"\x02\x00\x10\x00":
            deflated = head[at : at + size].rstrip(b"\x00 ").decode("ascii", "replace") == _DEFLATED
        at += size
    return at if deflated else 0


def inflate(
    path: PathLike, stream: BinaryIO, start: int, size: int
) -> tuple[FileDataset, BinaryIO, int]:
    """Inflate a deflated data set, up to a limit, and parse its header."""
    stream.seek(start)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    body = inflater.decompress(stream.read(), _MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise ImageReadError(
            f"{path}: {size} bytes of deflated DICOM swell to more than {_MAX_INFLATED} bytes; "
            "this looks like a decompression bomb, so get the file from its source again."
        )
    if not inflater.eof:
        raise ImageReadError(
            f"{path}: the deflated DICOM data end early; the file is cut short, copy it again."
        )
    stream.seek(0)
    inflated = BytesIO(body)
    dataset = FileDataset(
        str(path),
        read_dataset(inflated, False, True, stop_when=_at_pixels),
        file_meta=read_file_meta_info(str(path)),
        is_implicit_VR=False,
    )
    dataset.set_original_encoding(False, True)
    return dataset, inflated, len(body)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) in PIXEL_TAGS

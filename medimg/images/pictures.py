"""PNG, JPEG, TIFF and the like: every mode and depth to grey or RGB samples, upright.

Pillow opens them, but takes memory by what a header claims. So the structure of each format is
looked at first, and what is too large, or has too many parts, is refused.
"""

from __future__ import annotations

import logging
import threading
import warnings
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from medimg.errors import ImageReadError
from medimg.images.decode import choose_frame, inspect_stream
from medimg.images.files import PathLike, Pixels, check_size

_log = logging.getLogger(__name__)
_ORIENTATION, _WHITE_IS_ZERO, _SIGNED, _SEPARATE_PLANES = 0x0112, 0, 2, 2  # TIFF tags and values
_MAX_PARTS = 2**17  # chunks of a PNG, tags of a TIFF
_MAX_PAGES = 10_000
# Bytes that a value of each TIFF type takes, by the type's number.
_WIDTHS = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8, *[0] * 13])
_pillow_limit = threading.Lock()


def read_picture(
    path: PathLike, kind: str, *, frame: int | None, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return a picture's samples, (H, W) or (H, W, 3), and the value of full brightness.

    The second is None for samples that are signed, wider than 16 bits or floating-point, whose
    range no header states.
    """
    with _opened(path, kind, max_pixels) as picture:
        index = frame or 0
        if frame:  # to count the pages means to read them
            index = choose_frame(path, 0, getattr(picture, "n_frames", 1), frame)
        return _frame(Path(path), kind, picture, index, max_pixels)


def picture_frames(path: PathLike, kind: str, *, max_pixels: int) -> Generator[tuple[int, Pixels]]:
    """Yield the number of frames or pages, and the samples, of every one of them."""
    with _opened(path, kind, max_pixels) as picture:
        frames = getattr(picture, "n_frames", 1)
        for index in range(frames):
            yield frames, _frame(Path(path), kind, picture, index, max_pixels)[0]


@contextmanager
def _opened(path: PathLike, kind: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture with Pillow, and refuse what is too large before anything is decoded."""
    size = Path(path).stat().st_size
    with _no_pillow_limit():
        found = _check_structure(Path(path), kind)
        if found is not None:
            check_size(path, *found, max_pixels, size=size)
        if kind == "PNG":
            _check_sums(Path(path))
        try:
            picture = Image.open(path, formats=[kind])
        except UnidentifiedImageError as error:
            raise ImageReadError(
                f"{path}: this begins like a {kind} file but is damaged, or of a kind that is not "
                "read here (many channels, unusual sample types); "
                "save it from another program as PNG or TIFF of 8 or 16 bits."
            ) from error
        with picture:
            check_size(path, picture.height, picture.width, max_pixels, size=size)
            if found is not None and found != (picture.height, picture.width):
                raise ImageReadError(
                    f"{path}: the {kind} file states two sizes, {found[1]} x {found[0]} and "
                    f"{picture.width} x {picture.height}; it is damaged, so export it again."
                )
            yield picture


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Lift Pillow's own global limit for a moment: ours can be raised by the caller."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_structure(path: Path, kind: str) -> tuple[int, int] | None:
    """Refuse a file of too many parts; return the rows and columns that its stream states."""
    if kind in ("JPEG", "JPEG2000"):
        found, _ = inspect_stream(path, path.read_bytes(), kind)
        return found.rows, found.columns
    with open(path, "rb") as stream:
        head = stream.read(32)
        if kind == "PNG":
            return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])
        if kind == "WEBP":
            return _webp_size(head)
        if kind == "TIFF":
            _check_directories(path, stream)
        # Every frame of a GIF follows the zero byte that ends what came before.
        elif kind == "GIF" and stream.read().count(b"\0,") > _MAX_PAGES:
            raise _too_many(path, "frames")
    return None


def _too_many(path: Path, what: str) -> ImageReadError:
    return ImageReadError(
        f"{path}: the file holds more {what} than any real one; it is damaged or made to harm, "
        "so get it from its source again."
    )


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Return rows and columns of a WebP file, whose canvas Pillow makes when it opens it."""
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
        return height, width
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return (height, width) if head[12:16] == b"VP8 " else None


def _check_sums(path: Path) -> None:
    """Compare the checksums that a PNG carries, which Pillow does not do for its pixels."""
    data = memoryview(path.read_bytes())
    at = 8
    for _ in range(_MAX_PARTS):
        if at + 12 > len(data):
            raise ImageReadError(
                f"{path}: the PNG ends early; it is cut short, so copy or export it again."
            )
        size, name = int.from_bytes(data[at : at + 4]), bytes(data[at + 4 : at + 8])
        body = data[at + 4 : at + 8 + size]
        found = int.from_bytes(data[at + 8 + size : at + 12 + size])
        if (name[:1].isupper() or name == b"fdAT") and zlib.crc32(body) != found:
            raise ImageReadError(
                f"{path}: a checksum of this PNG is wrong, so its pixels are damaged; "
                "copy or export it again."
            )
        if name == b"IEND":
            return
        at += 12 + size
    raise _too_many(path, "chunks")


def _check_directories(path: Path, stream: BinaryIO) -> None:
    """Walk the pages of a TIFF or BigTIFF: too many of them, or tags that claim too many bytes."""
    stream.seek(0)
    size, head = path.stat().st_size, stream.read(16)
    order: Any = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    long, short, fields = (8, 8, "u8") if big else (4, 2, "u4")
    entry = np.dtype([("tag", "u2"), ("type", "u2"), ("count", fields), ("value", fields)])
    entry = entry.newbyteorder(order)
    at, tags, held = int.from_bytes(head[8:16] if big else head[4:8], order), 0, 0
    for _ in range(_MAX_PAGES):
        if not 0 < at < size:
            return
        stream.seek(at)
        tags += (count := int.from_bytes(stream.read(short), order))
        if tags > _MAX_PARTS:
            raise _too_many(path, "tags")
        block = stream.read(count * entry.itemsize)
        found = np.frombuffer(block, entry, len(block) // entry.itemsize)
        held += int((found["count"].astype(float) * _WIDTHS[found["type"] % 32]).sum())
        if held > 2 * size + 2**20:
            raise _too_many(path, "bytes in its tags")
        at = int.from_bytes(stream.read(long), order)
    raise _too_many(path, "pages")


def _frame(
    path: Path, kind: str, picture: Image.Image, index: int, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return one frame's samples, upright, and the value of full brightness."""
    if index:
        picture.seek(index)
        check_size(path, picture.height, picture.width, max_pixels, size=path.stat().st_size)
    orientation = _orientation(path, picture)
    if kind == "TIFF":
        _check_tiles(path, picture)
        if orientation > 1:
            _hide_orientation(picture)
    picture.load()  # finds a file cut short, which the decoders of deep samples may not
    deep = _deep_samples(path, kind, picture, index)
    found, top = _samples(picture) if deep is None else deep
    # EXIF says where row 0 and column 0 of the samples lie: undo the camera's rotation.
    if orientation >= 5:
        found = found.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        found = found[::-1]
    return (found[:, ::-1] if orientation in (2, 3, 6, 7) else found), top


def _orientation(path: Path, picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) when there is none or it is unreadable."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not make the pixels wrong
        _log.warning("%s: the EXIF block is unreadable; the image is taken as upright", path)
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _check_tiles(path: Path, picture: Any) -> None:
    """Refuse a TIFF whose strips or tiles do not cover it (Pillow leaves it black), or are huge."""
    tags = picture.tag_v2
    width, height = tags[256], tags[257]
    places = {tuple(tile[1]) for tile in picture.tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    if covered < width * height:
        raise ImageReadError(
            f"{path}: the TIFF declares {width} x {height} pixels and lists the places of "
            f"{covered} only; it is damaged, so copy or export it again."
        )
    if tags.get(322, 1) * tags.get(323, 1) > 4 * width * height + 2**22:
        raise _too_many(path, "pixels in a tile")


def _hide_orientation(picture: Any) -> None:
    """Make Pillow leave a TIFF as it lies: its own turning garbles rows (seen in Pillow 13.0)."""
    picture.tag_v2[_ORIENTATION] = 1
    picture.getexif()[_ORIENTATION] = 1
    picture._size = (picture.tag_v2[256], picture.tag_v2[257])


def _samples(picture: Image.Image) -> tuple[Pixels, float | None]:
    """Return grey or RGB samples, without alpha, of what Pillow reads at its full depth."""
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGB")
    elif picture.mode in ("PA", "La", "RGBa", "RGBX"):
        picture = picture.convert("RGBA")
    samples = np.asarray(picture)
    if picture.mode == "1":
        return samples.astype(np.uint8), 1.0
    if picture.mode.startswith("I;16"):
        return samples.astype(np.uint16), 65535.0
    return (samples, None) if picture.mode in ("I", "F") else (_drop_alpha(samples), 255.0)


def _drop_alpha(samples: Pixels) -> Pixels:
    if samples.ndim == 2:
        return samples
    return samples[..., 0] if samples.shape[2] <= 2 else samples[..., :3]


def _deep_samples(
    path: Path, kind: str, picture: Image.Image, index: int
) -> tuple[Pixels, float | None] | None:
    """Return samples that Pillow would cut to 8 bits or misread; None for all others."""
    if kind == "TIFF":
        return _tiff_samples(path, picture, index)
    if picture.mode == "I;16" or kind not in ("PNG", "JPEG2000"):
        return None
    data = path.read_bytes()
    if kind == "PNG" and data[24] == 16:
        if index:
            raise ImageReadError(
                f"{path}: frame {index} of an animated PNG of 16-bit colour is not read here; "
                "choose frame=0, or save the frame as a PNG of its own."
            )
        return _drop_alpha(imagecodecs.png_decode(data)), 65535.0
    depth = inspect_stream(path, data, kind)[0].precision if kind == "JPEG2000" else 8
    if depth > 8:  # Pillow 13.0 shows white as black here
        raise ImageReadError(
            f"{path}: JPEG 2000 of {depth}-bit colour is not read here; "
            "save it from another program as PNG or TIFF of 16 bits."
        )
    return None


def _tiff_samples(path: Path, picture: Any, index: int) -> tuple[Pixels, float | None] | None:
    """Return a TIFF's samples by its own tags, None where Pillow has read them rightly."""
    tags = picture.tag_v2
    bits, signed = max(tags.get(258, (1,))), set(tags.get(339, (1,))) == {_SIGNED}
    inverse = tags.get(262) == _WHITE_IS_ZERO
    if picture.mode in ("RGB", "RGBA", "RGBX") and bits == 16:
        deep = imagecodecs.tiff_decode(path.read_bytes(), index=index)
        planes = tags.get(284) == _SEPARATE_PLANES
        return _drop_alpha(deep.transpose(1, 2, 0) if planes else deep), 65535.0
    samples = np.asarray(picture)
    if picture.mode == "L" and signed:
        return samples.view(np.int8), None
    if picture.mode.startswith("I;16"):
        top = (1 << bits) - 1
        return (top - samples if inverse else samples.astype(np.uint16)), float(top)
    if picture.mode == "I" and bits == 32 and not signed:
        samples = samples.view(np.uint32)
    if picture.mode in ("I", "F"):
        return (-samples.astype(np.float64) if inverse else samples), None
    return None

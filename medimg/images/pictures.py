"""PNG, JPEG, TIFF and the like: every mode and depth to grey or RGB samples, upright.

Pillow opens them, but takes memory by what a header claims. So what is too large, or cut into too
many parts, is refused before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images.decode import inspect_stream
from medimg.images.files import Limited, Pixels, check_size
from medimg.images.lut import Frame

_log = logging.getLogger(__name__)
_ORIENTATION, _WHITE_IS_ZERO, _SIGNED, _SEPARATE_PLANES = 0x0112, 0, 2, 2  # TIFF tags and values
_MAX_FRAMES = 10_000


def open_picture(stream: Limited, kind: str, max_pixels: int) -> Any:
    """Open a picture with Pillow, and refuse what is too large before anything is decoded."""
    path, size = stream.path, _stated_size(stream, kind)
    if size:
        check_size(path, *size, max_pixels, size=stream.size)
    picture = _pillow(stream, kind)
    check_size(path, picture.height, picture.width, max_pixels, size=stream.size)
    if kind == "PNG":  # compares checksums, which decoding does not
        picture.verify()
        picture = _pillow(stream, kind)
    if size and size != (picture.height, picture.width):
        raise ImageReadError(
            f"{path}: the {kind} file states two sizes, {size[1]} x {size[0]} and "
            f"{picture.width} x {picture.height}; it is damaged, so export it again."
        )
    if kind == "TIFF":
        _check_tiles(stream, picture)
    return picture


def _pillow(stream: Limited, kind: str) -> Any:
    """Let Pillow read a header, past its own global limit of size: ours can be raised."""
    stream.seek(0)
    if kind not in Image.OPEN:
        Image.init()
    try:
        return Image.OPEN[kind][0](stream, str(stream.path))
    except (SyntaxError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ImageReadError(
            f"{stream.path}: this begins like a {kind} file but is damaged, or of a kind that is "
            "not read here (many channels, unusual sample types); "
            "save it from another program as PNG or TIFF of 8 or 16 bits."
        ) from error


def _stated_size(stream: Limited, kind: str) -> tuple[int, int] | None:
    """Return the rows and columns that a file states where Pillow would not see or heed them."""
    data = stream.read()
    if kind in ("JPEG", "JPEG2000"):
        found = inspect_stream(stream.path, data, kind)
        return found.rows, found.columns
    if kind == "GIF" and data.count(b"\0,") > _MAX_FRAMES:  # what begins each frame
        raise ImageReadError(
            f"{stream.path}: the GIF holds more frames than any real one; it is made to harm, so "
            "get it from its source again."
        )
    if kind != "WEBP":
        return None
    # Pillow makes the canvas of a WebP when it opens it.
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return height, width


def _check_tiles(stream: Limited, picture: Any) -> None:
    """Refuse a TIFF whose strips or tiles do not cover it (Pillow leaves it black), or are huge."""
    tags = picture.tag_v2
    width, height = tags[256], tags[257]
    places = {tuple(tile[1]) for tile in picture.tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    if covered < width * height or tags.get(322, 1) * tags.get(323, 1) > 4 * covered + 2**22:
        raise ImageReadError(
            f"{stream.path}: the TIFF declares {width} x {height} pixels and lists the places of "
            f"{covered} only, or has larger tiles; it is damaged, so copy or export it again."
        )


def picture_frames(
    stream: Limited, kind: str, picture: Any, max_pixels: int, wanted: Iterable[int]
) -> Iterator[Frame]:
    """Yield frames or pages of an open picture, upright."""
    for index in wanted:
        if index:
            picture.seek(index)
            width, height = picture.size
            check_size(stream.path, height, width, max_pixels, size=stream.size)
        orientation = _orientation(picture)
        if kind == "TIFF":
            _check_tiles(stream, picture)
            if orientation > 1:  # Pillow's own turning garbles rows (seen in Pillow 13.0)
                picture.tag_v2[_ORIENTATION] = picture.getexif()[_ORIENTATION] = 1
                picture._size = (picture.tag_v2[256], picture.tag_v2[257])
        picture.load()  # finds a file cut short, which the decoders of deep samples may not
        read = _tiff_samples if kind == "TIFF" else _deep_samples
        found, top = read(stream, kind, picture, index) or _samples(picture)
        # EXIF says where row 0 and column 0 of the samples lie: undo the camera's rotation.
        if orientation >= 5:
            found = found.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            found = found[::-1]
        if orientation in (2, 3, 6, 7):
            found = found[:, ::-1]
        yield Frame(stream.path, found, top)


def _orientation(picture: Any) -> int:
    """Return the EXIF orientation, 1 (upright) when there is none or it is unreadable."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not make the pixels wrong
        _log.warning("the EXIF block of a picture is unreadable; it is taken as upright")
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _samples(picture: Any) -> tuple[Pixels, float | None]:
    """Return grey or RGB samples, without alpha, of what Pillow reads at its full depth."""
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
        picture = picture.convert("RGB")
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


def _whole(stream: Limited) -> bytes:
    stream.seek(0)
    return stream.read()


def _deep_samples(
    stream: Limited, kind: str, picture: Any, index: int
) -> tuple[Pixels, float | None] | None:
    """Return the samples of a PNG that Pillow would cut to 8 bits; None for all others."""
    if picture.mode == "I;16" or kind not in ("PNG", "JPEG2000"):
        return None
    data = _whole(stream)
    depth = data[24] if kind == "PNG" else inspect_stream(stream.path, data, kind).precision
    if depth <= 8:
        return None
    if kind == "PNG" and not index:
        return _drop_alpha(imagecodecs.png_decode(data)), 65535.0
    what = "JPEG 2000" if kind == "JPEG2000" else f"frame {index} of an animated PNG"
    raise ImageReadError(  # Pillow 13.0 shows white as black here
        f"{stream.path}: {what} of {depth}-bit colour is not read here; choose frame=0, or save it "
        "from another program as PNG or TIFF of 16 bits."
    )


def _tiff_samples(
    stream: Limited, kind: str, picture: Any, index: int
) -> tuple[Pixels, float | None] | None:
    """Return a TIFF's samples by its own tags, None where Pillow has read them rightly."""
    tags = picture.tag_v2
    bits, signed = max(tags.get(258, (1,))), set(tags.get(339, (1,))) == {_SIGNED}
    inverse = tags.get(262) == _WHITE_IS_ZERO
    if picture.mode in ("RGB", "RGBA", "RGBX") and bits == 16:
        deep = imagecodecs.tiff_decode(_whole(stream), index=index)
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

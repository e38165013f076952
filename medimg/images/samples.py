"""The samples of an opened picture: every mode and depth to grey or RGB, checked for damage."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images.files import Pixels

_WHITE_IS_ZERO, _SIGNED, _SEPARATE_PLANES = 0, 2, 2  # values of TIFF tags


def check_sums(path: Path) -> None:
    """Compare the checksums that a PNG carries, which Pillow does not do for its pixels."""
    data = memoryview(path.read_bytes())
    at = 8
    while at + 12 <= len(data):
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
    raise ImageReadError(
        f"{path}: the PNG ends early; it is cut short, so copy or export it again."
    )


def samples(picture: Image.Image) -> tuple[Pixels, float | None]:
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
    if picture.mode in ("I", "F"):
        return samples, None
    return _drop_alpha(samples), 255.0


def deep_samples(
    path: Path, kind: str, picture: Image.Image, index: int
) -> tuple[Pixels, float | None] | None:
    """Return samples that Pillow would cut to 8 bits or misread; None for all others."""
    if kind == "TIFF":
        return _tiff_samples(path, picture, index)
    if picture.mode == "I;16" or kind not in ("PNG", "JPEG2000"):
        return None
    if kind == "PNG" and _byte(path, b"IHDR", 8) == 16:
        if index:
            raise ImageReadError(
                f"{path}: frame {index} of an animated PNG of 16-bit colour is not read here; "
                "choose frame=0, or save the frame as a PNG of its own."
            )
        return _drop_alpha(imagecodecs.png_decode(path.read_bytes())), 65535.0
    depth = _byte(path, b"\xff\x4f\xff\x51", 38) % 128 + 1 if kind == "JPEG2000" else 8
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


def _byte(path: Path, marker: bytes, place: int) -> int:
    """Return a byte so many places after the end of a file's first such marker, 0 if none."""
    data = path.read_bytes()
    at = data.find(marker) + len(marker) + place
    return data[at] if marker in data and at < len(data) else 0


def _drop_alpha(samples: Pixels) -> Pixels:
    if samples.ndim == 2:
        return samples
    return samples[..., 0] if samples.shape[2] <= 2 else samples[..., :3]

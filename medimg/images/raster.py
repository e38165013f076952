"""PNG, JPEG, TIFF and the like: every mode to grey or RGB samples, upright."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, Pixels
from medimg.images.layout import check_pixels

_log = logging.getLogger(__name__)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
# No lossless or JPEG stream of these formats holds more pixels a byte than this.
_DENSEST = {"PNG": 9000, "JPEG": 2000, "BMP": 600, "GIF": 3000}
_ORIENTATION = 0x0112
_WHITE_IS_ZERO = 0
_pillow_limit = threading.Lock()


def read_picture(
    path: PathLike, kind: str, *, frame: int | None, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return a picture's samples, (H, W) or (H, W, 3), and the value of full brightness.

    The second is None for floating-point and 32-bit samples, whose range no header states.
    """
    with _no_pillow_limit(), Image.open(path, formats=_FORMATS) as picture:
        columns, rows = picture.size
        check_pixels(path, rows, columns, max_pixels)
        _check_plausible(path, kind, rows * columns)
        frames = getattr(picture, "n_frames", 1)
        index = 0 if frame is None else frame
        if not 0 <= index < frames:
            raise ImageReadError(
                f"{path}: there is no frame {index}; the file holds {frames}, "
                f"so choose one from 0 to {frames - 1}."
            )
        if frames > 1:
            picture.seek(index)
            check_pixels(path, picture.height, picture.width, max_pixels)
        orientation = _orientation(picture)
        if kind == "TIFF" and orientation > 1:
            _hide_orientation(picture)
        samples, top = _samples(Path(path), kind, picture)
        return _upright(samples, orientation), top


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


def _check_plausible(path: PathLike, kind: str, pixels: int) -> None:
    """Refuse a header that declares more than a file of this size can hold."""
    size = Path(path).stat().st_size
    if pixels > size * _DENSEST.get(kind, pixels):
        raise ImageReadError(
            f"{path}: {size} bytes cannot hold the {pixels:,} pixels that its header declares; "
            "it is cut short or made to fill memory, so get it from its source again."
        )


def _samples(path: Path, kind: str, picture: Image.Image) -> tuple[Pixels, float | None]:
    """Decode to grey or RGB, keeping 16 bits and dropping alpha."""
    picture.load()  # finds a file cut short, which the 16-bit decoder below may not
    if kind == "PNG" and picture.mode != "I;16" and _png_depth(path) == 16:
        return _drop_alpha(imagecodecs.png_decode(path.read_bytes())), 65535.0
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
        samples = samples.astype(np.uint16)
        inverse = kind == "TIFF" and picture.tag_v2.get(262) == _WHITE_IS_ZERO  # type: ignore[attr-defined]
        return (65535 - samples if inverse else samples), 65535.0
    if picture.mode in ("I", "F"):
        return samples, None
    return _drop_alpha(samples), 255.0


def _png_depth(path: Path) -> int:
    """Return the bits a sample, from the IHDR chunk that begins every PNG."""
    with open(path, "rb") as file:
        return file.read(25)[24]


def _drop_alpha(samples: Pixels) -> Pixels:
    if samples.ndim == 2:
        return samples
    return samples[..., 0] if samples.shape[2] <= 2 else samples[..., :3]


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) when there is none or it is unreadable."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not make the pixels wrong
        _log.warning("the EXIF block is unreadable; the image is taken as upright")
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _hide_orientation(picture: Any) -> None:
    """Make Pillow leave a TIFF as it lies: its own turning garbles rows (seen in Pillow 13.0)."""
    picture.tag_v2[_ORIENTATION] = 1
    picture.getexif()[_ORIENTATION] = 1
    picture._size = (picture.tag_v2[256], picture.tag_v2[257])


def _upright(samples: Pixels, orientation: int) -> Pixels:
    """Undo the camera's rotation: EXIF says where row 0 and column 0 of the samples lie."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples

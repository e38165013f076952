"""PNG, JPEG, TIFF and the like: every mode to grey or RGB samples, upright."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, Pixels
from medimg.images.layout import check_pixels

_log = logging.getLogger(__name__)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
# No lossless or JPEG stream of these formats holds more pixels a byte than this.
_DENSEST = {"PNG": 9000, "JPEG": 2000, "BMP": 600, "GIF": 3000}
_ORIENTATION = 0x0112
_WHITE_IS_ZERO, _SIGNED, _SEPARATE_PLANES = 0, 2, 2  # values of TIFF tags
_pillow_limit = threading.Lock()


def read_picture(
    path: PathLike, kind: str, *, frame: int | None, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return a picture's samples, (H, W) or (H, W, 3), and the value of full brightness.

    The second is None for samples that are signed, wider than 16 bits or floating-point, whose
    range no header states.
    """
    with _opened(path, kind, max_pixels) as picture:
        frames = getattr(picture, "n_frames", 1)
        index = 0 if frame is None else frame
        if not 0 <= index < frames:
            raise ImageReadError(
                f"{path}: there is no frame {index}; the file holds {frames}, "
                f"so choose one from 0 to {frames - 1}."
            )
        return _frame(Path(path), kind, picture, index, max_pixels)


def picture_frames(path: PathLike, kind: str, *, max_pixels: int) -> Generator[Pixels]:
    """Yield the samples of every frame or page of a picture."""
    with _opened(path, kind, max_pixels) as picture:
        for index in range(getattr(picture, "n_frames", 1)):
            yield _frame(Path(path), kind, picture, index, max_pixels)[0]


@contextmanager
def _opened(path: PathLike, kind: str, max_pixels: int) -> Iterator[Image.Image]:
    """Open a picture with Pillow, and refuse what is too large before anything is decoded."""
    with _no_pillow_limit():
        try:
            picture = Image.open(path, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ImageReadError(
                f"{path}: this begins like a {kind} file but is damaged, or of a kind that is not "
                "read here (many channels, unusual sample types); "
                "save it from another program as PNG or TIFF of 8 or 16 bits."
            ) from error
        with picture:
            check_pixels(path, picture.height, picture.width, max_pixels)
            _check_plausible(path, kind, picture.height * picture.width)
            yield picture


def _frame(
    path: Path, kind: str, picture: Image.Image, index: int, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return one frame's samples, upright, and the value of full brightness."""
    if getattr(picture, "n_frames", 1) > 1:
        picture.seek(index)
        check_pixels(path, picture.height, picture.width, max_pixels)
    orientation = _orientation(picture)
    if kind == "TIFF" and orientation > 1:
        _hide_orientation(picture)
    picture.load()  # finds a file cut short, which the decoders of deep samples may not
    deep = _deep_samples(path, kind, picture, index)
    samples, top = _samples(picture) if deep is None else deep
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
    if picture.mode in ("I", "F"):
        return samples, None
    return _drop_alpha(samples), 255.0


def _deep_samples(
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
    """Return a byte so many places after the end of a marker near the file's start, 0 if none."""
    with open(path, "rb") as file:
        head = file.read(4096)
    at = head.find(marker) + len(marker) + place
    return head[at] if marker in head and at < len(head) else 0


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

"""PNG, JPEG, TIFF and the like: every mode to grey or RGB samples, upright."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, Pixels
from medimg.images.layout import check_pixels
from medimg.images.samples import check_sums, deep_samples, samples

_log = logging.getLogger(__name__)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")
# No lossless or JPEG stream of these formats holds more pixels a byte than this.
_DENSEST = {"PNG": 9000, "JPEG": 2000, "BMP": 600, "GIF": 3000}
_ORIENTATION = 0x0112
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
            if kind == "PNG":
                check_sums(Path(path))
            yield picture


def _frame(
    path: Path, kind: str, picture: Image.Image, index: int, max_pixels: int
) -> tuple[Pixels, float | None]:
    """Return one frame's samples, upright, and the value of full brightness."""
    if getattr(picture, "n_frames", 1) > 1:
        picture.seek(index)
        check_pixels(path, picture.height, picture.width, max_pixels)
    orientation = _orientation(path, picture)
    if kind == "TIFF" and orientation > 1:
        _hide_orientation(picture)
    if kind == "TIFF":
        _check_strips(path, picture)
    picture.load()  # finds a file cut short, which the decoders of deep samples may not
    deep = deep_samples(path, kind, picture, index)
    found, top = samples(picture) if deep is None else deep
    return _upright(found, orientation), top


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


def _orientation(path: Path, picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) when there is none or it is unreadable."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not make the pixels wrong
        _log.warning("%s: the EXIF block is unreadable; the image is taken as upright", path)
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _check_strips(path: Path, picture: Any) -> None:
    """Refuse a TIFF whose strips or tiles do not cover it: Pillow leaves the rest black."""
    places = {tuple(tile[1]) for tile in picture.tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    width, height = picture.tag_v2[256], picture.tag_v2[257]
    if covered < width * height:
        raise ImageReadError(
            f"{path}: the TIFF declares {width} x {height} pixels and lists the places of "
            f"{covered} only; it is damaged, so copy or export it again."
        )


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

"""Look at a finished image for what a reader should be told."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.files import Floats, PathLike
from medimg.images.header import OpenDicom
from medimg.images.tags import text

_log = logging.getLogger(__name__)


def checked(path: PathLike, image: Floats, strict: bool) -> Floats:
    """Make an image finite, and say when it shows nothing."""
    low, high = float(image.min()), float(image.max())
    trouble = ""
    if not np.isfinite(low + high):
        trouble = "some pixels are not finite numbers; they are shown as black"
        image = np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)
    elif low == high:
        trouble = "every pixel has the same brightness, so there is nothing to see"
    if trouble and strict:
        raise ImageReadError(
            f"{path}: {trouble}; leave the file out, choose another window or frame, "
            "or read it with strict=False."
        )
    if trouble:
        _log.warning("%s: %s", path, trouble)
    return image


def warn_burned_in(source: OpenDicom) -> None:
    """Say when text is, or may be, burned into the pixels."""
    flag = text(source.dataset, "BurnedInAnnotation")
    if flag == "YES":
        _log.warning("%s: its pixels hold burned-in text, which may name a patient", source.path)
    elif flag != "NO":
        _warn_once(
            "a DICOM file does not say whether text is burned into its pixels; "
            "look before you share it (said once)"
        )


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back this package's warnings, for a table that tells of every file by itself."""
    logger = logging.getLogger("medimg.images")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

"""Read one file into one image: the pipeline from end to end."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.colour import apply_palette, luminance
from medimg.images.display import show_grey
from medimg.images.files import (
    Floats,
    PathLike,
    Pixels,
    as_image_error,
    check_file,
    describe_other,
    kind_of,
)
from medimg.images.header import OpenDicom, open_dicom
from medimg.images.layout import Layout
from medimg.images.modality import modality_transform, padding_range
from medimg.images.raster import read_picture
from medimg.images.stored import stored_pixels
from medimg.images.tags import text
from medimg.images.window import Window, apply_window, choose_voi, file_vois

_log = logging.getLogger(__name__)
MAX_PIXELS = 200_000_000


def read_image(
    path: PathLike,
    *,
    window: Window = None,
    frame: int | None = None,
    colour: bool = False,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Floats:
    """Read any medical image file as it is meant to be seen.

    Parameters
    ----------
    path : str or path-like
        DICOM of any transfer syntax, PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000. The content
        decides, not the extension.
    window : int, str or (centre, width), optional
        Which of the file's own windows (0 is the first; tables count before windows), the name
        of one, a CT preset from `CT_WINDOWS`, or a window in the unit of the values. By default
        the file's first; a file without any is scaled from its lowest to its highest value, or,
        for MR, whose values have no unit, from its 1st to its 99th percentile. Padding pixels
        take no part in that, and come out black.
    frame : int, optional
        Which frame of several, counted from 0. By default the one that the file calls
        representative, else the first.
    colour : bool
        Return (H, W, 3) instead of luminance; a grey image has three equal channels.
    strict : bool
        Raise for a constant image or non-finite values, instead of logging a warning.
    max_pixels : int
        The largest image to accept, in pixels a frame.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], (H, W), bright = dense (MONOCHROME1 is inverted); always finite.

    Raises
    ------
    ImageReadError
        Whatever is wrong, with what the file is and what to do.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> image = read_image(get_testdata_file("CT_small.dcm"), window="bone")
    >>> image.shape, str(image.dtype)
    ((128, 128), 'float32')

    References
    ----------
    DICOM PS3.3, C.7.6.3 (pixels), C.11 (look-up tables); PS3.4, N.2 (their order).
    """
    with as_image_error(path):
        file = check_file(path)
        kind = _require_kind(path)
        if kind == "DICOM":
            with open(file, "rb") as stream:
                source = open_dicom(path, stream)
                image = _dicom_image(source, window, frame, strict, max_pixels)
        else:
            image = _picture_image(path, kind, window, frame, strict, max_pixels)
        if colour:
            return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
        return luminance(image) if image.ndim == 3 else image


def read_values(
    path: PathLike, *, frame: int | None = None, max_pixels: int = MAX_PIXELS
) -> Floats:
    """Read what the pixels measure: Hounsfield units for CT, otherwise the file's own unit.

    Parameters
    ----------
    path : str or path-like
        A file as for `read_image`.
    frame : int, optional
        Which frame of several; the default is that of `read_image`.
    max_pixels : int
        The largest image to accept.

    Returns
    -------
    numpy.ndarray
        float32 (H, W) after the modality LUT or rescale, before any window or inversion. NaN where
        the file says that a pixel is padding. Colour becomes luminance in stored units.

    Raises
    ------
    ImageReadError
        As for `read_image`.

    Examples
    --------
    >>> from pydicom.data import get_testdata_file
    >>> float(read_values(get_testdata_file("CT_small.dcm")).min())
    -896.0

    References
    ----------
    DICOM PS3.3, C.11.1 (modality LUT) and C.7.5.1.1.2 (padding).
    """
    with as_image_error(path):
        file = check_file(path)
        kind = _require_kind(path)
        if kind != "DICOM":
            samples, _ = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
            return luminance(samples) if samples.ndim == 3 else samples.astype(np.float32)
        with open(file, "rb") as stream:
            source = open_dicom(path, stream)
            stored, layout, index = stored_pixels(source, frame=frame, max_pixels=max_pixels)
            rgb = _rgb(source, stored, layout)
            if rgb is not None:
                return luminance(rgb[0])
            transform = modality_transform(
                source.dataset, index, little_endian=source.little_endian
            )
            values = transform(stored).astype(np.float32)
            padding = padding_range(source.dataset, layout)
            if padding is not None:
                values[(stored >= padding[0]) & (stored <= padding[1])] = np.nan
            return values


def _require_kind(path: PathLike) -> str:
    kind = kind_of(path)
    if not kind:
        raise ImageReadError(f"{path}: this is no image but {describe_other(path)}.")
    return kind


def _dicom_image(
    source: OpenDicom, window: Window, frame: int | None, strict: bool, max_pixels: int
) -> Floats:
    stored, layout, index = stored_pixels(source, frame=frame, max_pixels=max_pixels)
    dataset = source.dataset
    _warn_burned_in(source)
    rgb = _rgb(source, stored, layout)
    if rgb is not None:
        _refuse_window(source.path, window)
        return _checked(source.path, rgb[0].astype(np.float32) / np.float32(rgb[1]), strict)
    vois = file_vois(dataset, index, little_endian=source.little_endian)
    image = show_grey(
        stored,
        padding=padding_range(dataset, layout),
        modality=modality_transform(dataset, index, little_endian=source.little_endian),
        voi=choose_voi(source.path, dataset, vois, window),
        percentiles=(1, 99) if text(dataset, "Modality") == "MR" else (0, 100),
        invert=layout.photometric == "MONOCHROME1"
        or text(dataset, "PresentationLUTShape") == "INVERSE",
    )
    return _checked(source.path, image, strict)


def _rgb(source: OpenDicom, stored: Pixels, layout: Layout) -> tuple[Pixels, int] | None:
    """Return RGB samples and their full brightness, or None for a grey image."""
    if layout.photometric == "PALETTE COLOR":
        return apply_palette(source.path, source.dataset, stored)
    return (stored, (1 << layout.stored) - 1) if layout.colour else None


def _picture_image(
    path: PathLike, kind: str, window: Window, frame: int | None, strict: bool, max_pixels: int
) -> Floats:
    samples, top = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
    if isinstance(window, tuple | list) and samples.ndim == 2:
        return _checked(path, apply_window(samples, *window), strict)
    _refuse_window(path, window)
    if top is None:
        identity: Callable[[Pixels], Pixels] = _identity
        image = show_grey(
            samples, padding=None, modality=identity, voi=None, percentiles=(0, 100), invert=False
        )
        return _checked(path, image, strict)
    return _checked(path, samples.astype(np.float32) / np.float32(top), strict)


def _identity(values: Pixels) -> Pixels:
    return values.astype(np.float64)


def _refuse_window(path: PathLike, window: Window) -> None:
    if window is not None:
        raise ImageReadError(
            f"{path}: window={window!r} has no meaning here, since the image is in colour or no "
            "DICOM; leave it out, or give (centre, width) for a grey picture."
        )


def _checked(path: PathLike, image: Floats, strict: bool) -> Floats:
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


def _warn_burned_in(source: OpenDicom) -> None:
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


def is_image_file(path: PathLike) -> bool:
    """Tell from the content, cheaply, whether a file is an image that `read_image` may read.

    Parameters
    ----------
    path : str or path-like
        Any path; one that does not exist, or a folder, is no image.

    Returns
    -------
    bool
        True for a picture, and for DICOM with pixel data. The pixels are not decoded.

    Examples
    --------
    >>> is_image_file("no such file")
    False
    """
    try:
        with as_image_error(path):
            check_file(path)
            kind = kind_of(path)
            if kind != "DICOM":
                return bool(kind)
            with open(Path(path), "rb") as stream:
                return open_dicom(path, stream).pixels is not None
    except ImageReadError:
        return False

"""Read one file into one image: the pipeline from end to end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.checks import checked, warn_burned_in
from medimg.images.colour import apply_palette, luminance
from medimg.images.display import show_grey
from medimg.images.files import Floats, PathLike, Pixels, as_image_error, check_file, require_kind
from medimg.images.header import OpenDicom, open_dicom
from medimg.images.layout import Layout
from medimg.images.modality import modality_transform, padding_range
from medimg.images.raster import read_picture
from medimg.images.stored import stored_pixels
from medimg.images.tags import text
from medimg.images.window import Window, apply_window, choose_voi, file_vois

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
        kind = require_kind(path)
        if kind == "DICOM":
            with open(file, "rb") as stream:
                source = open_dicom(path, stream)
                image = _dicom_image(source, window, frame, strict, max_pixels, colour)
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
        the file says that a pixel is padding. Colour in DICOM becomes luminance from 0 to 255.

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
        kind = require_kind(path)
        if kind != "DICOM":
            samples, _ = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
            return luminance(samples) if samples.ndim == 3 else samples.astype(np.float32)
        with open(file, "rb") as stream:
            source = open_dicom(path, stream)
            stored, layout, index = stored_pixels(source, frame=frame, max_pixels=max_pixels)
            shown = _colour_image(source, stored, layout, colour=False)
            if shown is not None:
                return shown * np.float32(255)
            transform = modality_transform(
                source.dataset, index, little_endian=source.little_endian
            )
            values = transform(stored).astype(np.float32)
            padding = padding_range(source.dataset, layout)
            if padding is not None:
                values[(stored >= padding[0]) & (stored <= padding[1])] = np.nan
            return values


def _dicom_image(
    source: OpenDicom,
    window: Window,
    frame: int | None,
    strict: bool,
    max_pixels: int,
    colour: bool,
) -> Floats:
    stored, layout, index = stored_pixels(source, frame=frame, max_pixels=max_pixels)
    dataset = source.dataset
    warn_burned_in(source)
    shown = _colour_image(source, stored, layout, colour=colour)
    if shown is not None:
        _refuse_window(source.path, window)
        return checked(source.path, shown, strict)
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
    return checked(source.path, image, strict)


def _colour_image(
    source: OpenDicom, stored: Pixels, layout: Layout, *, colour: bool
) -> Floats | None:
    """Return RGB, or its luminance, from 0 to 1; None for a grey image."""
    if layout.photometric == "PALETTE COLOR":
        return apply_palette(source.path, source.dataset, stored, colour=colour)
    if not layout.colour:
        return None
    shown = stored.astype(np.float32) if colour else luminance(stored)
    shown /= np.float32((1 << layout.stored) - 1)
    return shown


def _picture_image(
    path: PathLike, kind: str, window: Window, frame: int | None, strict: bool, max_pixels: int
) -> Floats:
    samples, top = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
    if isinstance(window, tuple | list) and samples.ndim == 2:
        return checked(path, apply_window(samples, *window), strict)
    _refuse_window(path, window)
    if top is None:
        identity: Callable[[Pixels], Pixels] = _identity
        image = show_grey(
            samples, padding=None, modality=identity, voi=None, percentiles=(0, 100), invert=False
        )
        return checked(path, image, strict)
    return checked(path, samples.astype(np.float32) / np.float32(top), strict)


def _identity(values: Pixels) -> Pixels:
    return values.astype(np.float64)


def _refuse_window(path: PathLike, window: Window) -> None:
    if window is not None:
        raise ImageReadError(
            f"{path}: window={window!r} has no meaning here, since the image is in colour or no "
            "DICOM; leave it out, or give (centre, width) for a grey picture."
        )

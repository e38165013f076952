"""Read one file into one image: the pipeline from end to end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.checks import checked, warn_burned_in
from medimg.images.colour import luminance
from medimg.images.display import show_grey
from medimg.images.files import Floats, PathLike, Pixels, as_image_error, check_file, require_kind
from medimg.images.header import OpenDicom, open_dicom
from medimg.images.modality import modality_transform, padding_range
from medimg.images.raster import read_picture
from medimg.images.stored import stored_pixels
from medimg.images.tags import text
from medimg.images.values import MAX_PIXELS, colour_image
from medimg.images.window import Window, apply_window, choose_voi, file_vois


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
    shown = colour_image(source, stored, layout, colour=colour)
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

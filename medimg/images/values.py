"""What the pixels measure: the pipeline up to the modality values, before any window."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medimg.images.colour import apply_palette, luminance
from medimg.images.files import Floats, PathLike, Pixels, as_image_error, check_file, require_kind
from medimg.images.header import OpenDicom, open_dicom
from medimg.images.layout import Layout
from medimg.images.modality import modality_transform, padding_range
from medimg.images.raster import read_picture
from medimg.images.stored import stored_pixels

MAX_PIXELS = 200_000_000


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
            return _values(open_dicom(path, stream), frame, max_pixels)


def frame_values(
    path: PathLike, frames: Iterable[int], *, max_pixels: int = MAX_PIXELS
) -> list[Floats]:
    """Return the values of several frames of a DICOM file, whose header is parsed once."""
    with as_image_error(path), open(check_file(path), "rb") as stream:
        source = open_dicom(path, stream)
        return [_values(source, frame, max_pixels) for frame in frames]


def _values(source: OpenDicom, frame: int | None, max_pixels: int) -> Floats:
    stored, layout, index = stored_pixels(source, frame=frame, max_pixels=max_pixels)
    shown = colour_image(source, stored, layout, colour=False)
    if shown is not None:
        return shown * np.float32(255)
    transform = modality_transform(source.dataset, index, little_endian=source.little_endian)
    values = transform(stored).astype(np.float32)
    padding = padding_range(source.dataset, layout)
    if padding is not None:
        values[(stored >= padding[0]) & (stored <= padding[1])] = np.nan
    return values


def colour_image(
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

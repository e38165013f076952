"""Read one file into one image: every step in the standard's order.

A DICOM file does not hold a picture but numbers and the recipe to make one of them: decode the
stored values (`decode`), turn them into what they measure, choose which values run from black to
white, and turn MONOCHROME1 round, so that dense is always bright (`lut`). Every other format is
brought to the same form, a `Frame`.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images import files, lut, pictures
from medimg.images.files import MAX_PIXELS, Floats, PathLike, Pixels, log
from medimg.images.lut import Frame, ImageFile, Window

_warn_once = functools.cache(log.warning)


@contextmanager
def open_image(path: PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[ImageFile]:
    """Open an image file of any kind; whatever goes wrong with it becomes an `ImageReadError`."""
    with files.as_image_error(path):
        kind = files.identify(path)
        with files.Limited(path, 200_000 if kind == "DICOM" else 100_000) as stream:
            if kind == "DICOM":
                yield lut.open_dicom_image(path, stream, max_pixels)
            elif kind == "NIfTI":
                yield pictures.open_nifti(stream, max_pixels)
            else:
                yield pictures.open_picture(stream, kind, max_pixels)


def _read_frame(path: PathLike, opened: ImageFile, index: int | None) -> Frame:
    """Read the frame asked for, counted from 0, else the usual one."""
    if index is None and opened.frames > 1:
        log.warning("%s: frame %d of %d is read", path, opened.usual + 1, opened.frames)
    index = opened.usual if index is None else index
    words = f"there is no frame {index}; choose one from 0 to {opened.frames - 1}"
    files.refuse((not 0 <= index < opened.frames, words))
    return next(opened.read([index]))


def read_image(
    path: PathLike, *, window: Window = None, frame: int | None = None, colour: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Floats:  # fmt: skip
    """Read any medical image file as it is meant to be seen.

    Parameters
    ----------
    path : str or path-like
        DICOM (not deflated as a whole), NIfTI (.nii, .nii.gz), PNG, JPEG, TIFF, BMP or GIF. The
        content decides, not the extension.
    window : int, str or (centre, width), optional
        Which of the file's own windows (0 is the first; tables count before windows), a CT preset
        from `CT_WINDOWS`, a window in the unit of the values, or "full" for all values from the
        lowest to the highest. By default the file's first window; a picture is shown as it is, and
        DICOM or NIfTI without a window is scaled from its lowest to its highest value, or, for MR
        and NIfTI, whose values have no unit, from its 1st to its 99th percentile. Pixels that are
        padding or no number take no part in that, and come out black.
    frame : int, optional
        Which frame of several, counted from 0; of a NIfTI volume, the axial slice, counted from
        the feet. By default the first; of a NIfTI volume, the middle slice.
    colour : bool
        Return (H, W, 3) instead of luminance; a grey image has three equal channels.
    max_pixels : int
        The largest image to accept, in pixels per frame.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], (H, W), or (H, W, 3) with `colour`; bright = dense (MONOCHROME1 is
        inverted); always finite.

    Raises
    ------
    ImageReadError
        Whatever is wrong, with what the file is and what to do.

    Warns
    -----
    ImageWarning
        When a picture uses a quarter of its range or less, such as 12-bit values in a 16-bit PNG,
        and so is dark or flat; or when a palette that colours part of the values is left out.

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
    with open_image(path, max_pixels) as opened:
        found = _read_frame(path, opened, frame)
        image = found.show(window, colour=colour)
        if opened.burned_in == "YES":
            log.warning("%s: its pixels hold burned-in text, which may name a patient", path)
        elif opened.burned_in != "NO":
            _warn_once("a DICOM file does not say whether text is burned into its pixels; look "
                       "before you share it (said once)")  # fmt: skip
        if colour and image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=-1)
    for note in found.notes:
        warnings.warn(f"{path}: {note}", files.ImageWarning, stacklevel=2)
    return image


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
        the file says that a pixel is padding. Colour becomes luminance from 0 to 255.

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
    with open_image(path, max_pixels) as opened:
        return _read_frame(path, opened, frame).values()


def resize(image: Pixels, size: int, *, keep_aspect: bool = False) -> Floats:
    """Resize an image to a square, averaging over every source pixel that a target covers.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W) or (H, W, 3), of any real type; NaN counts as 0.
    size : int
        Height and width of the result in pixels.
    keep_aspect : bool
        Scale both axes alike and pad with 0, evenly on both sides, instead of stretching.

    Returns
    -------
    numpy.ndarray
        float32 (size, size) or (size, size, 3), in the range of the input.

    Raises
    ------
    ImageReadError
        When the image has no pixels or another shape, or the size is not positive.

    Examples
    --------
    >>> resize(np.array([[0.0, 1.0], [1.0, 0.0]]), 1).tolist()
    [[0.5]]
    """
    array = np.asarray(image)
    if array.ndim < 2 or array.shape[2:] not in ((), (3,)) or 0 in array.shape or size < 1:
        raise ImageReadError(
            f"an image to resize has shape (H, W) or (H, W, 3), not {array.shape}, and at least "
            f"one pixel per side, not {size}."
        )
    if array.ndim == 3:
        return np.dstack([resize(array[..., k], size, keep_aspect=keep_aspect) for k in range(3)])
    plane = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(plane).all():  # the look is quick, the copy is not
        plane = np.nan_to_num(plane)
    rows, columns = size, size
    if keep_aspect:
        rows, columns = (max(1, round(size * side / max(plane.shape))) for side in plane.shape)
    # Pillow's box filter means "average the covered area"; when enlarging it would make blocks.
    smaller = rows <= plane.shape[0] and columns <= plane.shape[1]
    kernel = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    scaled = np.asarray(Image.fromarray(plane).resize((columns, rows), kernel), np.float32)
    top, left = (size - rows) // 2, (size - columns) // 2
    edges = (top, size - rows - top), (left, size - columns - left)
    return np.pad(scaled, edges) if keep_aspect else scaled

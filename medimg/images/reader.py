"""Read one file into one image: every step in the standard's order.

A DICOM file does not hold a picture but numbers and the recipe to make one of them: decode the
stored values (`decode`), turn them into what they measure, choose which values run from black to
white, and turn MONOCHROME1 round, so that dense is always bright (`lut`).
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images import decode, dicom, files, lut
from medimg.images.files import MAX_PIXELS, Floats, PathLike, Pixels
from medimg.images.lut import Window
from medimg.images.nifti import open_nifti
from medimg.images.pictures import read_picture

_log = logging.getLogger(__name__)


def read_image(
    path: PathLike,
    *,
    window: Window = None,
    frame: int | None = None,
    colour: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Floats:
    """Read any medical image file as it is meant to be seen.

    Parameters
    ----------
    path : str or path-like
        DICOM of any transfer syntax, NIfTI (.nii, .nii.gz), PNG, JPEG, TIFF, BMP, GIF, WebP or
        JPEG 2000. The content decides, not the extension.
    window : int, str or (centre, width), optional
        Which of the file's own windows (0 is the first; tables count before windows), the name
        of one, a CT preset from `CT_WINDOWS`, a window in the unit of the values, or "full" for
        all values from the lowest to the highest. By default the file's first window; a picture
        is shown as it is, and DICOM or NIfTI without a window is scaled from its lowest to its
        highest value, or, for MR and NIfTI, whose values have no unit, from its 1st to its 99th
        percentile. Padding pixels take no part in that, and come out black.
    frame : int, optional
        Which frame of several, counted from 0; of a NIfTI volume, the axial slice, counted from
        the feet. By default the frame that the file calls representative, else the first; of a
        NIfTI volume, the middle slice.
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
    notes: list[str] = []
    with files.as_image_error(path):
        file, kind = files.check_file(path), files.require_kind(path)
        if kind == "DICOM":
            with open(file, "rb") as stream:
                source = dicom.parse(path, stream)
                image = _show_dicom(source, window, frame, max_pixels, colour, notes)
        elif kind == "NIfTI":
            values = _nifti_slice(path, frame, max_pixels)
            voi = lut.choose_voi(path, [], window, presets=True)
            ends = (1, 99) if window is None else (0, 100)
            image = lut.show_grey(values, modality=_as_float, voi=voi, percentiles=ends)
        else:
            samples, top = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
            image = _show_samples(path, samples, top, window, colour, notes)
        image = _checked(path, image)
        if colour and image.ndim == 2:
            image = np.repeat(image[..., None], 3, axis=-1)
    for note in notes:
        warnings.warn(f"{path}: {note}", files.ImageWarning, stacklevel=2)
    return image


def _show_dicom(
    source: dicom.OpenDicom, window: Window, frame: int | None, max_pixels: int, colour: bool,
    notes: list[str],
) -> Floats:  # fmt: skip
    layout, header, path = decode.read_layout(source, max_pixels), source.dataset, source.path
    index = _pick_frame(source, layout, frame)
    stored, layout = next(decode.stored_frames(source, layout, [index]))
    _warn_burned_in(source)
    if layout.photometric == "PALETTE COLOR":
        return _show_samples(path, lut.apply_palette(source, stored), 1.0, window, colour, [])
    if layout.samples == 3:
        return _show_samples(path, stored, float((1 << layout.stored) - 1), window, colour, notes)
    if "RedPaletteColorLookupTableDescriptor" in header:
        notes.append(
            "a palette colours a part of its values (a supplemental palette), such as a map laid "
            "over the anatomy; all values are shown in grey."
        )
    modality, shape = dicom.text(header, "Modality"), dicom.text(header, "PresentationLUTShape")
    vois = lut.file_vois(source, index)
    return lut.show_grey(
        stored,
        padding=lut.padding_range(source, layout),
        modality=lut.modality_transform(source, index),
        voi=lut.choose_voi(path, vois, window, presets=modality == "CT"),
        percentiles=(1, 99) if modality == "MR" and window is None else (0, 100),
        invert=layout.photometric == "MONOCHROME1" or shape == "INVERSE",
    )


def _pick_frame(source: dicom.OpenDicom, layout: decode.Layout, frame: int | None) -> int:
    representative = dicom.integer(source.dataset, "RepresentativeFrameNumber") or 1
    return decode.choose_frame(source.path, representative - 1, layout.frames, frame)


def _show_samples(
    path: PathLike, samples: Pixels, top: float | None, window: Window, colour: bool,
    notes: list[str],
) -> Floats:  # fmt: skip
    """Return grey or RGB samples from 0 to 1; those without a known range from end to end."""
    if samples.ndim == 3 and window not in (None, "full"):
        raise ImageReadError(
            f"{path}: window={window!r} has no meaning here, since the image is in colour; "
            'leave it out, or give "full" to stretch it from its lowest to its highest value.'
        )
    if samples.ndim == 2:
        voi = lut.choose_voi(path, [], window, presets=False)
        if voi is not None or top is None or window == "full":
            return lut.show_grey(samples, modality=_as_float, voi=voi)
    grey = samples.ndim == 3 and not colour
    image = lut.luminance(samples) if grey else samples.astype(np.float32)
    low, high, top = float(samples.min()), float(samples.max()), top or 1.0
    if window == "full" and high > low:
        image -= np.float32(low)
        top = high - low
    elif top > 1 and low < high <= top and 4 * (high - low) <= top:
        notes.append(
            f"its values run from {low:.0f} to {high:.0f}, a small part of the range of 0 to "
            f"{top:.0f} that its format has, so the image is dark or flat; if that is not meant, "
            'stretch it with window="full".'
        )
    image /= np.float32(top)
    return np.clip(image, 0, 1, out=image)


def _as_float(values: Pixels) -> Pixels:
    return values.astype(np.float64)


def _nifti_slice(path: PathLike, frame: int | None, max_pixels: int) -> Floats:
    volume = open_nifti(path)
    frames, rows, columns = volume.voxels.shape
    files.check_size(path, rows, columns, max_pixels)
    return volume.values(decode.choose_frame(path, frames // 2, frames, frame))


def _checked(path: PathLike, image: Floats) -> Floats:
    """Make an image finite, and say when it shows nothing."""
    low, high = float(image.min()), float(image.max())
    if not np.isfinite(low + high):
        _log.warning("%s: some pixels are not finite numbers; they are shown as black", path)
        return np.nan_to_num(image, nan=0.0, posinf=1.0, neginf=0.0)
    if low == high:
        _log.warning("%s: every pixel has the same brightness; there is nothing to see", path)
    return image


def _warn_burned_in(source: dicom.OpenDicom) -> None:
    """Say when text is, or may be, burned into the pixels."""
    flag = dicom.text(source.dataset, "BurnedInAnnotation")
    if flag == "YES":
        _log.warning("%s: its pixels hold burned-in text, which may name a patient", source.path)
    elif flag != "NO":
        _warn_unstated()


@functools.cache
def _warn_unstated() -> None:
    _log.warning(
        "a DICOM file does not say whether text is burned into its pixels; "
        "look before you share it (said once)"
    )


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
    with files.as_image_error(path):
        file, kind = files.check_file(path), files.require_kind(path)
        if kind == "NIfTI":
            return _nifti_slice(path, frame, max_pixels)
        if kind != "DICOM":
            samples, _ = read_picture(path, kind, frame=frame, max_pixels=max_pixels)
            return lut.luminance(samples) if samples.ndim == 3 else samples.astype(np.float32)
        with open(file, "rb") as stream:
            source = dicom.parse(path, stream)
            layout = decode.read_layout(source, max_pixels)
            return next(frame_values(source, layout, [_pick_frame(source, layout, frame)]))


def frame_values(
    source: dicom.OpenDicom, layout: decode.Layout, wanted: Sequence[int]
) -> Iterator[Floats]:
    """Yield the values of frames of an opened DICOM file, in the order asked for."""
    found = decode.stored_frames(source, layout, wanted)
    for index, (stored, as_read) in zip(wanted, found, strict=True):
        if as_read.photometric == "PALETTE COLOR":
            yield lut.luminance(lut.apply_palette(source, stored)) * np.float32(255)
        elif as_read.samples == 3:
            yield lut.luminance(stored) * np.float32(255 / ((1 << as_read.stored) - 1))
        else:
            values = lut.modality_transform(source, index)(stored).astype(np.float32)
            padding = lut.padding_range(source, as_read)
            if padding is not None:
                values[(stored >= padding[0]) & (stored <= padding[1])] = np.nan
            yield values


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
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] != 3):
        raise ImageReadError(
            f"an image to resize has shape (H, W) or (H, W, 3), not {array.shape}."
        )
    if int(size) < 1:
        raise ImageReadError(f"size={size}: an image has at least one pixel per side.")
    if array.ndim == 3:
        channels = [resize(array[..., at], size, keep_aspect=keep_aspect) for at in range(3)]
        return np.stack(channels, axis=-1)
    plane = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(plane).all():  # the look is quick, the copy is not
        plane = np.nan_to_num(plane)
    height, width = plane.shape
    long = max(height, width) if keep_aspect else 0
    rows = max(1, round(size * height / long)) if long else size
    columns = max(1, round(size * width / long)) if long else size
    # Pillow's box filter means "average the covered area"; when enlarging it would make blocks.
    smaller = rows <= height and columns <= width
    kernel = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    scaled = np.asarray(Image.fromarray(plane).resize((columns, rows), kernel), np.float32)
    if scaled.shape == (size, size):
        return scaled
    out = np.zeros((size, size), np.float32)
    top, left = (size - rows) // 2, (size - columns) // 2
    out[top : top + rows, left : left + columns] = scaled
    return out

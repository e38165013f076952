"""Make images smaller without aliasing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medimg.errors import ImageReadError
from medimg.images.files import Pixels


def resize(image: Pixels, size: int, *, keep_aspect: bool = False) -> NDArray[np.float32]:
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
        raise ImageReadError(f"size={size}: an image has at least one pixel a side.")
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

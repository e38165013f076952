"""Read medical images: any file becomes the right picture, or one clear error.

A DICOM file does not hold a picture but numbers and the recipe to make one of them. The modules
of this package are the steps of that recipe, in the standard's order:

1. `files`: what is it? `dicom`: its tags, and where its pixels lie.
2. `decode`: from compressed bytes to stored numbers.
3. `lut`: from stored numbers to what they measure, such as HU; which of them run from black to
   white; and polarity: MONOCHROME1 files store dense as dark, here dense is always bright.

PNG, JPEG and TIFF, and NIfTI volumes (`pictures`), are brought to the same form, a `Frame`.
`reader` walks the whole way: `read_image` to a picture, `read_values` to what is measured.
`folders` makes a table of a folder of anything (`scan`), or stacks slices in space (`read_series`).
"""

from medimg.errors import ImageReadError
from medimg.images.dicom import is_image_file, read_header
from medimg.images.files import ImageWarning
from medimg.images.folders import Volume, read_series, scan
from medimg.images.lut import CT_WINDOWS, apply_window
from medimg.images.reader import read_image, read_values, resize

__all__ = [
    "CT_WINDOWS", "ImageReadError", "ImageWarning", "Volume", "apply_window", "is_image_file",
    "read_header", "read_image", "read_series", "read_values", "resize", "scan",
]  # fmt: skip

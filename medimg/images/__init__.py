"""Read medical images: any file becomes the right picture, or one clear error.

A DICOM file does not hold a picture but numbers and the recipe to make one of them. The modules
of this package are the steps of that recipe, in the standard's order:

1. **container** (`files`, `header`, `deflated`, `frames`): what is it, where are the pixels?
2. **decode** (`codecs`, `layout`, `stored`, `colour`): from compressed bytes to stored numbers.
3. **modality** (`modality`, `values`): from stored numbers to what they measure, such as HU.
4. **VOI** (`window`): which values of interest run from black to white.
5. **polarity** (`display`): MONOCHROME1 files store dense as dark; here dense is always bright.

`read_image` walks the whole way, `read_values` stops after step 3, `read_header` before step 2.
PNG, JPEG and TIFF (`raster`, `samples`) have only the first two steps. `read_series` stacks the
slices of a CT or MR series in space (`series`, `slices`, `placement`), and `scan` (`catalogue`)
makes a table of a folder of anything.
"""

from medimg.errors import ImageReadError
from medimg.images.catalogue import scan
from medimg.images.header import is_image_file, read_header
from medimg.images.reader import read_image
from medimg.images.resize import resize
from medimg.images.series import Volume, read_series
from medimg.images.values import read_values
from medimg.images.window import CT_WINDOWS, apply_window

__all__ = [
    "CT_WINDOWS",
    "ImageReadError",
    "Volume",
    "apply_window",
    "is_image_file",
    "read_header",
    "read_image",
    "read_series",
    "read_values",
    "resize",
    "scan",
]

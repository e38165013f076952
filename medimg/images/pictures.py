"""PNG, JPEG, TIFF and the like, and NIfTI volumes: samples that lie as an axial slice does.

Pillow opens pictures, but takes memory by what a header claims. So what is too large, or cut into
too many parts, is refused before.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator
from typing import Any, cast

import imagecodecs
import nibabel
import numpy as np
from nibabel import orientations
from PIL import Image

from medimg.images.decode import inspect_stream
from medimg.images.files import TOO_MANY, Limited, Pixels, Refused, check_size, refuse
from medimg.images.lut import Frame, ImageFile, linear

_log = logging.getLogger(__name__)
_ORIENTATION, _BITS, _WHITE_IS_ZERO, _SIGNED, _SEPARATE_PLANES = 0x0112, 258, 0, 2, 2  # of TIFF
# How often to turn by 90 degrees what EXIF calls 0 (nothing), 1 (upright), 2, ... 8.
_TURNS, _MIRRORED = (0, 0, 0, 2, 2, 1, 3, 3, 1), (2, 4, 5, 7)
_MAX_FRAMES = 10_000
# What a small NIfTI file may unpack to: voxels, and bytes.
_MAX_VOXELS, _MAX_INFLATED = 2**27, 2**28


def open_picture(stream: Limited, kind: str, max_pixels: int) -> ImageFile:
    """Open a picture with Pillow, and refuse what is too large before anything is decoded."""
    rows, columns = _stated_size(stream, kind)
    check_size(rows, columns, max_pixels, stream.size)
    picture = _pillow(stream, kind)
    width, height = picture.size
    check_size(height, width, max_pixels, stream.size)
    if kind == "PNG":  # compares checksums, which decoding does not
        picture.verify()
        picture = _pillow(stream, kind)
    refuse((rows and (rows, columns) != (height, width), f"the {kind} file states two sizes, "
            f"{columns} x {rows} and {width} x {height}; it is damaged, so export it "
            "again"))  # fmt: skip

    def read(wanted: Iterable[int]) -> Iterator[Frame]:
        for index in wanted:
            picture.seek(index)
            check_size(picture.height, picture.width, max_pixels, stream.size)
            yield _frame(stream, kind, picture, index)

    frames = getattr(picture, "n_frames", 1)
    return ImageFile(height, width, frames, 0, read)


def _pillow(stream: Limited, kind: str) -> Any:
    """Let Pillow read a header, past its own global limit of size: ours can be raised."""
    stream.seek(0)
    Image.init()
    try:
        return Image.OPEN[kind][0](stream, "")
    except (SyntaxError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Refused(
            f"this begins like a {kind} file but is damaged, or of a kind that is not read here "
            "(many channels, unusual sample types); save it from another program as PNG or TIFF "
            "of 8 or 16 bits"
        ) from error


def _stated_size(stream: Limited, kind: str) -> tuple[int, int]:
    """Return the rows and columns that a file states where Pillow would not see or heed them."""
    data = stream.read()
    if kind in ("JPEG", "JPEG2000"):
        return inspect_stream(data, kind).shape[:2]
    refuse((kind == "GIF" and data.count(b"\0,") > _MAX_FRAMES, TOO_MANY))  # begins each frame
    if kind != "WEBP":
        return 0, 0
    # Pillow makes the canvas of a WebP when it opens it. Both sides lie in one number.
    start, bits, used, more = {b"VP8X": (24, 24, 24, 1), b"VP8L": (21, 14, 14, 1)}.get(
        data[12:16], (26, 16, 14, 0)
    )
    packed, mask = int.from_bytes(data[start : start + 6], "little"), (1 << used) - 1
    return (packed >> bits & mask) + more, (packed & mask) + more


def _check_tiles(picture: Any) -> None:
    """Refuse a TIFF whose strips or tiles do not cover it (Pillow leaves it black), or are huge."""
    tags = picture.tag_v2
    width, height = tags[256], tags[257]
    places = {tuple(tile[1]) for tile in picture.tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    tile = tags.get(322, 1) * tags.get(323, 1)
    refuse((covered < width * height or tile > 4 * covered + 2**22, f"the TIFF declares {width} x "
            f"{height} pixels and lists the places of {covered} only, or has larger tiles; it is "
            "damaged, so copy or export it again"))  # fmt: skip


def _frame(stream: Limited, kind: str, picture: Any, index: int) -> Frame:
    """Return the frame or page at which a picture stands, upright."""
    orientation = _orientation(picture)
    if kind == "TIFF":
        _check_tiles(picture)
        if orientation > 1:  # Pillow's own turning garbles rows (seen in Pillow 13.0)
            picture.tag_v2[_ORIENTATION] = picture.getexif()[_ORIENTATION] = 1
            picture._size = (picture.tag_v2[256], picture.tag_v2[257])
    picture.load()  # finds a file cut short, which the decoders of deep samples may not
    samples, top = _deep_colour(stream, kind, picture, index) or _samples(kind, picture)
    if samples.ndim == 3:  # without alpha
        samples = samples[..., 0] if samples.shape[2] <= 2 else samples[..., :3]
    # EXIF says where row 0 and column 0 of the samples lie: undo the camera's rotation.
    samples = samples[:, ::-1] if orientation in _MIRRORED else samples
    return Frame(np.rot90(samples, _TURNS[orientation]), top)


def _orientation(picture: Any) -> int:
    """Return the EXIF orientation, 1 (upright) when there is none or it is unreadable."""
    try:
        found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # a broken EXIF block does not make the pixels wrong
        _log.warning("the EXIF block of a picture is unreadable; it is taken as upright")
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _deep_colour(
    stream: Limited, kind: str, picture: Any, index: int
) -> tuple[Pixels, float] | None:
    """Return the samples of a picture that Pillow would cut to 8 bits; None for all others."""
    cut = picture.mode in ("RGB", "RGBA", "RGBX") if kind == "TIFF" else picture.mode != "I;16"
    if not cut or kind not in ("PNG", "JPEG2000", "TIFF"):
        return None
    stream.seek(0)
    data = stream.read()
    if kind == "JPEG2000":
        depth = inspect_stream(data, kind).precision
    else:
        depth = data[24] if kind == "PNG" else max(picture.tag_v2.get(_BITS, (1,)))
    if depth <= 8:
        return None
    if kind == "TIFF":
        deep = imagecodecs.tiff_decode(data, index=index)
        planes = picture.tag_v2.get(284) == _SEPARATE_PLANES
        return deep.transpose(1, 2, 0) if planes else deep, 65535.0
    what = "JPEG 2000" if kind == "JPEG2000" else f"frame {index} of an animated PNG"
    refuse((kind == "JPEG2000" or index, f"{what} of {depth}-bit colour is not read here; choose "
            "frame=0, or save it from another program as PNG or TIFF of 16 bits"))  # fmt: skip
    return imagecodecs.png_decode(data), 65535.0  # Pillow 13.0 would show white as black


def _samples(kind: str, picture: Any) -> tuple[Pixels, float | None]:
    """Return the samples that Pillow reads at their full depth, and the value of white."""
    tags = picture.tag_v2 if kind == "TIFF" else {}
    bits, signed = max(tags.get(_BITS, (16,))), set(tags.get(339, (1,))) == {_SIGNED}
    if picture.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBa", "La"):
        picture = picture.convert("RGB")
    samples, mode, inverse = np.asarray(picture), picture.mode, tags.get(262) == _WHITE_IS_ZERO
    if mode == "1":
        return samples.astype(np.uint8), 1.0
    if mode.startswith("I;16"):
        top = (1 << bits) - 1
        return top - samples if inverse else samples.astype(np.uint16), float(top)
    if mode == "L" and signed:
        return samples.view(np.int8), None
    if mode == "I" and bits == 32 and not signed:
        samples = samples.view(np.uint32)
    if mode in ("I", "F"):
        return -samples.astype(np.float64) if inverse else samples, None
    return samples, 255.0


def open_nifti(stream: Limited, max_pixels: int) -> ImageFile:
    """Open a NIfTI-1 or NIfTI-2 file, compressed or not, or raise saying what is in the way.

    Slices run from the feet to the head, rows from front to back, columns from the patient's
    right to the left.
    """
    limit, raw = _MAX_INFLATED + 16 * stream.size, stream.read()
    if raw.startswith(b"\x1f\x8b"):
        stream.seek(0)
        raw = gzip.GzipFile(fileobj=stream).read(limit + 1)
    cls: Any = nibabel.Nifti2Image if raw[4:8] == b"n+2\0" else nibabel.Nifti1Image
    # The header first: what it declares is compared with what is there before memory is taken.
    header: Any = cls.header_class(raw[: cls.header_class.sizeof_hdr], check=False)
    shape = [int(side) for side in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    sides, dtype = " x ".join(map(str, shape)), header.get_data_dtype()
    voxels = float(np.prod(shape, dtype=float))
    cases = (
        (len(shape) not in (2, 3), f"it has {len(shape)} axes ({sides}), and a volume has three; "
         "save one time point or channel as a file of its own, for example with "
         "nibabel.funcs.four_to_three"),
        (dtype.kind not in "iuf", "its voxels are colours or complex numbers; save one channel as "
         "numbers"),
        (voxels > _MAX_VOXELS + 16 * stream.size or len(raw) > limit, f"{stream.size} bytes "
         f"cannot hold its {sides} voxels; it is made to fill memory"),
        (voxels < 1 or header["vox_offset"] + voxels * dtype.itemsize > len(raw), f"{sides} "
         f"voxels of {dtype.itemsize} bytes are declared, and the file holds fewer; it is cut "
         "short, so copy it again"),
    )  # fmt: skip
    refuse(*((bad, f"this NIfTI file is not read here, since {words}") for bad, words in cases))
    shape += [1] * (3 - len(shape))
    image, lies = cls.from_bytes(raw), cast(Any, orientations)  # nibabel states no types
    data = image.dataobj
    turn = lies.ornt_transform(lies.io_orientation(image.affine), lies.axcodes2ornt("LPS"))
    turned = lies.apply_orientation(np.asanyarray(data.get_unscaled()).reshape(shape), turn)
    slices, scale = turned.transpose(2, 1, 0), linear(float(data.slope), float(data.inter))

    def read(wanted: Iterable[int]) -> Iterator[Frame]:
        for index in wanted:  # values have no unit, so the brightest and darkest are cut off
            yield Frame(slices[index], None, scale, is_ct=True, ends=(1, 99))

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ lies.inv_ornt_aff(turn, shape)
    frames, rows, columns = slices.shape
    check_size(rows, columns, max_pixels)
    return ImageFile(rows, columns, frames, frames // 2, read, affine)

"""PNG, JPEG, TIFF and the like, and NIfTI volumes: samples that lie as an axial slice does.

Pillow opens pictures, but takes memory by what a header claims. So what is too large, or cut into
too many parts, is refused before.
"""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, cast

import nibabel
import numpy as np
from nibabel import orientations
from PIL import Image, ImageOps

from medimg.images.decode import inspect_stream
from medimg.images.files import TOO_MANY, Limited, Pixels, check_size, refuse
from medimg.images.lut import Frame, ImageFile, linear

_ORIENTATION, _BITS, _SAMPLE_FORMAT, _SIGNED, _WHITE_IS_ZERO = 274, 258, 339, 2, 0  # of TIFF
_MAX_FRAMES = 10_000
_DEEP = "colours of 16 bits, and samples of 32, are not read here; save it as PNG of 8 bits"
# What a small NIfTI file may unpack to: voxels, and bytes.
_MAX_VOXELS, _MAX_INFLATED = 2**27, 2**28


def open_picture(stream: Limited, kind: str, max_pixels: int) -> ImageFile:
    """Open a picture with Pillow, and refuse what is too large before anything is decoded."""
    data = stream.read()
    refuse((kind == "GIF" and data.count(b"\0,") > _MAX_FRAMES, TOO_MANY))  # begins each frame
    picture = _pillow(stream, kind)
    size = (picture.height, picture.width)
    check_size(*size, max_pixels, stream.size)
    stated = inspect_stream(data, kind).shape[:2] if kind == "JPEG" else size
    refuse((stated != size, f"the file states two sizes, {stated} and {size}"),
           (kind == "PNG" and data[24] > 8 and data[25], _DEEP))  # fmt: skip
    if kind == "PNG":  # compares checksums, which decoding does not
        picture.verify()
        picture = _pillow(stream, kind)

    def read(wanted: Iterable[int]) -> Iterator[Frame]:
        for index in wanted:
            picture.seek(index)
            check_size(picture.height, picture.width, max_pixels, stream.size)
            yield _frame(kind, picture)

    return ImageFile(*size, getattr(picture, "n_frames", 1), 0, read)


def _pillow(stream: Limited, kind: str) -> Any:
    """Let Pillow read a header, past its own global limit of size: ours can be raised."""
    stream.seek(0)
    Image.init()
    return Image.OPEN[kind][0](stream, "")


def _check_tiff(picture: Any) -> None:
    """Refuse a page that Pillow would show wrongly: strips that leave it black, odd samples."""
    tags = picture.tag_v2
    width, height, bits = tags[256], tags[257], max(tags.get(_BITS, (1,)))
    places = {tuple(tile[1]) for tile in picture.tile}
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in places)
    tile = tags.get(322, 1) * tags.get(323, 1)
    refuse(
        (covered < width * height or tile > 4 * covered + 2**22, "the TIFF "
         f"lists the places of {covered} of its {width} x {height} pixels, or has larger tiles"),
        (tags.get(_ORIENTATION, 1) > 1, "the TIFF is stored turned; save it upright, or as PNG"),
        (bits > 8 and not picture.mode.startswith("I;16"), _DEEP),
        (_SIGNED in tags.get(_SAMPLE_FORMAT, ()), "the samples of the TIFF have a sign; save it as "
         "PNG"),
    )  # fmt: skip


def _frame(kind: str, picture: Any) -> Frame:
    """Return the frame or page at which a picture stands, upright."""
    if kind == "TIFF":
        _check_tiff(picture)
    picture.load()
    # A next frame is read into the picture as it lies.
    upright = picture.copy() if getattr(picture, "n_frames", 1) > 1 else picture
    with suppress(Exception):  # a broken EXIF block does not make the pixels wrong
        ImageOps.exif_transpose(upright, in_place=True)
    samples, top = _samples(upright, picture.tag_v2 if kind == "TIFF" else {})
    if samples.ndim == 3:  # without alpha
        samples = samples[..., 0] if samples.shape[2] <= 2 else samples[..., :3]
    return Frame(samples, top, vois=[linear(1 / top, 0.0)])


def _samples(picture: Any, tags: Any) -> tuple[Pixels, float]:
    """Return the samples that Pillow reads at their full depth, and the value of white."""
    if picture.mode.startswith("I;16"):
        samples, top = np.asarray(picture).astype(np.uint16), (1 << max(tags.get(_BITS, (16,)))) - 1
        return top - samples if tags.get(262) == _WHITE_IS_ZERO else samples, float(top)
    if picture.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8), 1.0
    return np.asarray(picture), 255.0


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
    refuse(
        (len(shape) != 3, f"it has {len(shape)} axes ({sides}), and a volume has three; save each "
         "time point or channel as a file of its own (nibabel.funcs.four_to_three)"),
        (dtype.kind not in "iuf", "its voxels are colours or complex numbers; save one channel as "
         "numbers"),
        (voxels > _MAX_VOXELS + 16 * stream.size or len(raw) > limit, f"{stream.size} bytes "
         f"cannot hold its {sides} voxels"),
        (voxels < 1 or header["vox_offset"] + voxels * dtype.itemsize > len(raw), "the file holds "
         f"fewer than its {sides} voxels of {dtype.itemsize} bytes"),
    )  # fmt: skip
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

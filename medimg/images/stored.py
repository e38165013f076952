"""From a frame's bytes to its stored pixel values: the second step of the pipeline."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
from pydicom.dataset import Dataset

from medimg.errors import ImageReadError
from medimg.images.codecs import DEFLATED_FRAME, RLE, decode_frame, inflate_frame, rle_segments
from medimg.images.colour import ybr_to_rgb
from medimg.images.files import Pixels
from medimg.images.frames import encapsulated_frame, is_encapsulated, native_frame
from medimg.images.header import Element, OpenDicom
from medimg.images.layout import Layout, read_layout
from medimg.images.tags import integer, items

_log = logging.getLogger(__name__)
_FLOATS = {32: "f4", 64: "f8"}


def stored_pixels(
    source: OpenDicom, *, frame: int | None, max_pixels: int
) -> tuple[Pixels, Layout, int]:
    """Return one frame's stored values, (H, W) or RGB (H, W, 3), the layout, and the frame."""
    element = source.pixels
    if element is None:
        raise ImageReadError(f"{source.path}: {_no_pixels(source)}")
    layout = read_layout(source.path, source.dataset, element.keyword, max_pixels)
    index = choose_frame(source, layout.frames, frame)
    if is_encapsulated(source, element, layout):
        samples, layout = _compressed(source, element, layout, index)
    else:
        samples = _native(source, element, layout, index)
    if samples.ndim == 3:
        samples = ybr_to_rgb(samples, layout.photometric, layout.stored)
    return samples, layout, index


def choose_frame(source: OpenDicom, frames: int, frame: int | None) -> int:
    """Return the frame asked for, else the representative one, else the first."""
    if frame is None:
        representative = integer(source.dataset, "RepresentativeFrameNumber") or 1
        frame = representative - 1 if 1 <= representative <= frames else 0
        if frames > 1:
            _log.info("%s: frame %d of %d is read; choose with frame=", source.path, frame, frames)
    if not 0 <= frame < frames:
        raise ImageReadError(
            f"{source.path}: there is no frame {frame}; the file holds {frames}, "
            f"so choose one from 0 to {frames - 1}."
        )
    return frame


def _no_pixels(source: OpenDicom) -> str:
    """Say what a DICOM object without pixels is, and where to look instead."""
    dataset = source.dataset
    if "DirectoryRecordSequence" in dataset:
        return _listed(dataset)
    what = getattr(dataset.get("SOPClassUID"), "name", "")
    if "Image Storage" in what or "Rows" in dataset:
        return (
            f"this is {what or 'an image'} whose pixel data are missing; "
            "the file is cut short or was exported without them, so export it again."
        )
    return (
        f"this is {what or 'a DICOM file that does not say what it is'}, and holds no image; "
        "choose an image file of the same study."
    )


def _listed(dataset: Dataset) -> str:
    """Say which files a DICOMDIR lists."""
    files = []
    for record in items(dataset, "DirectoryRecordSequence"):
        name = record.get("ReferencedFileID")
        if name:
            files.append(name if isinstance(name, str) else "/".join(map(str, name)))
    if not files:
        return "this is a DICOMDIR, a list of files, and it lists none; read the files themselves."
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"this is a DICOMDIR, a list of files; read those: {', '.join(files[:3])}{more}."


def _compressed(
    source: OpenDicom, element: Element, layout: Layout, index: int
) -> tuple[Pixels, Layout]:
    data = encapsulated_frame(source, element, layout.frames, index)
    if source.syntax == DEFLATED_FRAME:
        whole = inflate_frame(source.path, data, (layout.frame_bits + 7) // 8)
        return align(unpack(whole, layout, 0, "<"), layout), layout
    if source.syntax == RLE and layout.allocated == 1:
        packed = rle_segments(source.path, data, layout, (layout.frame_bits + 7) // 8)
        return unpack(packed.tobytes(), layout, 0, "<"), layout
    decoded = decode_frame(source.path, data, layout, source.syntax)
    if decoded.rgb and layout.photometric.startswith("YBR"):
        layout = dataclasses.replace(layout, photometric="RGB")
    if decoded.precision <= layout.stored:
        layout = dataclasses.replace(layout, high_bit=layout.stored - 1)
    return align(decoded.samples, layout, clip=decoded.lossy), layout


def _native(source: OpenDicom, element: Element, layout: Layout, index: int) -> Pixels:
    if layout.photometric.endswith("_422") and layout.allocated == 8:
        present = min(element.length, source.size - element.start)
        halved = dataclasses.replace(layout, halved_chroma=True, planar=False)
        if present * 8 < layout.frame_bits * layout.frames:
            layout = halved
    data = native_frame(source, element, layout, index)
    order = "<" if source.little_endian else ">"
    return align(unpack(data, layout, layout.frame_bits * index % 8, order), layout)


def unpack(data: bytes, layout: Layout, first_bit: int, order: str) -> Pixels:
    """Return a frame's samples as (H, W) or (H, W, 3), still with all bits allocated."""
    count = layout.frame_bits // layout.allocated
    if layout.floating:
        flat: Pixels = np.frombuffer(data, order + _FLOATS[layout.allocated], count)
    elif layout.allocated in (8, 16, 32, 64):
        flat = np.frombuffer(data, f"{order}u{layout.allocated // 8}", count)
    else:  # one bit a pixel, or twelve: a stream of bits, the least significant first
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        bits = bits[first_bit : first_bit + count * layout.allocated]
        weights = 1 << np.arange(layout.allocated, dtype=np.int64)
        flat = (bits.reshape(count, -1) @ weights).astype(np.uint32)
    if layout.halved_chroma:
        return _spread_chroma(flat.reshape(layout.rows, -1, 4))
    if not layout.colour:
        return flat.reshape(layout.rows, layout.columns)
    if layout.planar:
        return flat.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.rows, layout.columns, 3)


def _spread_chroma(pairs: Pixels) -> Pixels:
    """Turn (H, W/2, Y Y Cb Cr) into (H, W, Y Cb Cr): two pixels share their chroma."""
    first, second = pairs[..., [0, 2, 3]], pairs[..., [1, 2, 3]]
    return np.stack([first, second], axis=2).reshape(pairs.shape[0], -1, 3)


def align(samples: Pixels, layout: Layout, *, clip: bool = False) -> Pixels:
    """Cut the stored bits out of the allocated ones, and extend the sign.

    Bits above the stored ones are overlays or rubbish. A lossy codec may overshoot the stored
    range by a little: such values are clipped, since cutting bits off would turn white to black.
    """
    if layout.floating:
        return samples
    bits, shift = layout.stored, layout.high_bit + 1 - layout.stored
    width, order = samples.dtype.itemsize * 8, samples.dtype.byteorder
    signed_stream = samples.dtype.kind == "i"
    if clip and (signed_stream == layout.signed or not layout.signed):
        return _clip(samples, bits, layout.signed)
    if width < bits:  # a stream of fewer bits than the header says: none is above them
        return samples
    # Up to the top, then down again: what was above is lost, and the sign comes along.
    words = samples.view(f"{order}{'i' if layout.signed else 'u'}{width // 8}")
    if width > bits + shift:
        words = words << (width - bits - shift)
    return words >> (width - bits) if width > bits else words


def _clip(samples: Pixels, bits: int, signed: bool) -> Pixels:
    """Clip to the range of so many bits, where any value lies beyond it."""
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if samples.min() >= low and samples.max() <= high:
        return samples
    limits = np.iinfo(samples.dtype)
    return np.clip(samples, max(low, limits.min), min(high, limits.max))

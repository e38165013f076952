"""From the bytes of a DICOM file's pixels to stored values: layout, frames, compressed streams.

A compressed stream is looked at before it is decoded: its own size must be the header's, so that
it cannot fill memory that nothing announced, and what it says of sign and colour counts more than
what the header says. The decoders are called here and not through pydicom's plugins, which take
the stream on trust, and hide why a frame fails.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg.utils
from pydicom.uid import UID, RLELossless

from medimg.errors import ImageReadError
from medimg.images.dicom import UNDEFINED, OpenDicom, integer, items, text
from medimg.images.files import PathLike, Pixels, check_size

_log = logging.getLogger(__name__)

_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT",
            "YBR_RCT")  # fmt: skip
_DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
_ITEM, _END, _J2K, _EOI = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xff\x4f\xff\x51", b"\xff\xd9"
# A frame begins with one of these when it is JPEG, JPEG-LS or JPEG 2000.
_STARTS = (b"\xff\xd8\xff", _J2K, b"\x00\x00\x00\x0c")
_CUT = "the compressed image ends early; the file is cut short, so copy or export it again"
_MAX_FRAMES, _MAX_FRAGMENTS, _MAX_SCANNED, _MAX_TILES = 2**24, 2**18, 2**28, 2**14


@dataclass(frozen=True)
class Layout:
    """The header's description of the pixels (PS3.3, C.7.6.3), checked and completed."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str
    floating: bool

    @property
    def frame_bits(self) -> int:
        """Bits that one uncompressed frame takes."""
        return self.rows * self.columns * self.samples * self.allocated

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a decoded frame, (H, W) or (H, W, 3)."""
        return (self.rows, self.columns, 3)[: 2 if self.samples == 1 else 3]

    def __str__(self) -> str:
        frames = f"{self.frames} frames of " if self.frames > 1 else ""
        samples = f"{self.samples} x " if self.samples > 1 else ""
        return f"{frames}{self.columns} x {self.rows} pixels of {samples}{self.allocated} bits"


def read_layout(source: OpenDicom, max_pixels: int) -> Layout:
    """Return the layout that the header declares, or raise naming what is missing or absurd."""
    path, header, floating = source.path, source.dataset, source.keyword != "PixelData"
    if not source.keyword:
        raise ImageReadError(f"{path}: {_no_pixels(source)}.")

    def of(keyword: str, usual: int) -> int:
        found = integer(header, keyword)
        return usual if found is None else found

    rows, columns, allocated = of("Rows", 0), of("Columns", 0), of("BitsAllocated", 0)
    if floating:
        allocated = 32 if source.keyword == "FloatPixelData" else 64
    frames, samples = of("NumberOfFrames", 1) or 1, of("SamplesPerPixel", 1) or 1
    photometric = text(header, "PhotometricInterpretation")
    if not photometric:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
        _log.warning("%s: Photometric Interpretation is missing; %s is taken", path, photometric)
    is_grey = photometric in _GREYS
    for wrong, words in (
        (min(rows, columns) < 1, "the header does not state the image's size (Rows and Columns)"),
        (not 1 <= allocated <= 64, "the header does not say how many bits a pixel takes (Bits "
         "Allocated)"),
        (not 1 <= frames <= _MAX_FRAMES, f"the header declares {frames} frames, as no real file"),
        (not is_grey and photometric not in _COLOURS, "its photometric interpretation is not one "
         f"of {', '.join(_GREYS + _COLOURS)}"),
        (samples != 1 if is_grey else samples != 3, f"{photometric} pixels cannot have {samples} "
         "samples"),
    ):  # fmt: skip
        if wrong:
            raise ImageReadError(f"{path}: {words}; export the file again from its source.")
    check_size(path, rows, columns, max_pixels)
    stored = of("BitsStored", 0) if not floating else allocated
    if not 1 <= stored <= allocated:
        _log.warning("%s: Bits Stored is missing or absurd; all %d bits are taken", path, allocated)
        stored = allocated
    high_bit, signed = of("HighBit", -1), floating or of("PixelRepresentation", -1)
    if signed == -1:
        _log.warning("%s: Pixel Representation is missing; unsigned is taken", path)
    return Layout(
        rows, columns, frames, samples, allocated, stored,
        high_bit if stored - 1 <= high_bit < allocated else stored - 1, signed == 1,
        samples > 1 and of("PlanarConfiguration", 0) == 1, photometric, floating,
    )  # fmt: skip


def _no_pixels(source: OpenDicom) -> str:
    """Say what a DICOM object without pixels is, and where to look instead."""
    header = source.dataset
    if "DirectoryRecordSequence" in header:
        names = [part.get("ReferencedFileID") for part in items(header, "DirectoryRecordSequence")]
        files = [name if isinstance(name, str) else "/".join(name) for name in names if name]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        listed = ", ".join(files[:3]) or "it lists none"
        return f"this is a DICOMDIR, a list of files; read those: {listed}{more}"
    what = getattr(header.get("SOPClassUID"), "name", "")
    if "Image Storage" in what or (not what and "Rows" in header):
        return (
            f"this is {what or 'an image'} whose pixel data are missing; the file is cut short or "
            "was exported without them, so export it again"
        )
    what = what or "a DICOM file that does not say what it is"
    return f"this is {what}, and holds no image; choose an image file of the same study"


def choose_frame(path: PathLike, usual: int, frames: int, frame: int | None) -> int:
    """Return the frame asked for, counted from 0, else the usual one, else the first."""
    if frame is None:
        frame = usual if 0 <= usual < frames else 0
        if frames > 1:
            _log.info("%s: frame %d of %d is read; choose with frame=", path, frame, frames)
    if not 0 <= frame < frames:
        raise ImageReadError(
            f"{path}: there is no frame {frame}; the file holds {frames}, "
            f"so choose one from 0 to {frames - 1}."
        )
    return frame


def stored_frames(
    source: OpenDicom, layout: Layout, wanted: Iterable[int]
) -> Iterator[tuple[Pixels, Layout]]:
    """Yield frames' stored values, (H, W) or RGB (H, W, 3), and the layout as the stream has it."""
    frames, found = _find_frames(source, layout), layout
    for index in wanted:
        if frames:
            data = b"".join(_read(source, *piece) for piece in frames[index])
            samples, found = _compressed(source, data, layout)
        else:
            samples = _align(_native(source, layout, index), layout)
        if samples.ndim == 3:
            samples = _to_rgb(samples, found.photometric, found.stored)
        yield samples, found


def _read(source: OpenDicom, start: int, length: int) -> bytes:
    source.stream.seek(start)
    return source.stream.read(length)


def _native(source: OpenDicom, layout: Layout, index: int) -> Pixels:
    """Return one uncompressed frame, which may begin inside a byte, with all bits allocated."""
    bits, present = layout.frame_bits, min(source.length, source.size - source.start)
    halved = layout.photometric.endswith("_422") and layout.allocated == 8
    halved = halved and present * 8 < bits * layout.frames
    bits = bits // 3 * 2 if halved else bits
    whole = (bits * layout.frames + 7) // 8
    if present < whole:
        raise ImageReadError(
            f"{source.path}: the pixel data are cut short: {layout} need {whole} bytes "
            f"and the file holds {max(present, 0)}; copy or export the file again."
        )
    first, last = bits * index // 8, (bits * (index + 1) + 7) // 8
    if source.order == ">" and source.vr == "OW" and layout.allocated == 8:
        # Bytes written as big-endian words of two: each pair stands the wrong way round.
        even = first // 2 * 2
        words = _read(source, source.start + even, last - even + (last - even) % 2)
        data = np.frombuffer(words, ">u2").astype("<u2").tobytes()[first - even : last - even]
    else:
        data = _read(source, source.start + first, last - first)
    if halved:  # Y Y Cb Cr: two pixels share their chroma
        pairs = np.frombuffer(data, np.uint8).reshape(layout.rows, -1, 4)
        return pairs[..., [[0, 2, 3], [1, 2, 3]]].reshape(layout.shape)
    return _unpack(data, layout, bits * index % 8, source.order)


def _unpack(
    data: bytes | bytearray, layout: Layout, first_bit: int = 0, order: str = "<"
) -> Pixels:
    """Return a frame's samples as (H, W) or (H, W, 3), still with all bits allocated."""
    width = layout.allocated
    count = layout.frame_bits // width
    flat: Pixels
    if width in (8, 16, 32, 64):
        flat = np.frombuffer(data, f"{order}{'f' if layout.floating else 'u'}{width // 8}", count)
    else:  # one bit a pixel, or twelve: a stream of bits, the least significant first
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        bits = bits[first_bit : first_bit + count * width]
        flat = np.zeros(count, np.uint8 if width == 1 else np.uint32)
        for place in range(min(width, 32)):
            flat |= bits[place::width].astype(flat.dtype) << place
    if layout.planar:
        return flat.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.shape)


def _align(samples: Pixels, layout: Layout, *, clip: bool = False) -> Pixels:
    """Cut the stored bits out of the allocated ones, and extend the sign.

    Bits above the stored ones are overlays or rubbish. A lossy codec may overshoot the stored
    range by a little: such values are clipped, since cutting bits off would turn white to black.
    """
    if layout.floating:
        return samples
    bits, shift = layout.stored, layout.high_bit + 1 - layout.stored
    width, order = samples.dtype.itemsize * 8, samples.dtype.byteorder
    if clip and (samples.dtype.kind == "i" or not layout.signed):
        low = -(1 << bits - 1) if layout.signed else 0
        high, limits = low + (1 << bits) - 1, np.iinfo(samples.dtype)
        if samples.min() >= low and samples.max() <= high:
            return samples
        return np.clip(samples, max(low, limits.min), min(high, limits.max))
    if width < bits:  # a stream of fewer bits than the header says: none is above them
        return samples
    # Up to the top, then down again: what was above is lost, and the sign comes along.
    words = samples.view(f"{order}{'i' if layout.signed else 'u'}{width // 8}")
    if width > bits + shift:
        words = words << (width - bits - shift)
    return words >> (width - bits) if width > bits else words


def _to_rgb(samples: Pixels, photometric: str, bits: int) -> Pixels:
    """Return RGB samples of the same integer range (PS3.3, C.7.6.3.1.2)."""
    if not photometric.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return samples
    half, top = 1 << bits - 1, (1 << bits) - 1
    y, cb, cr = (samples[..., at].astype(np.float32) for at in range(3))
    cb, cr = cb - half, cr - half
    if photometric.startswith("YBR_PARTIAL"):  # studio range: 16 to 235 of 255
        y, cb, cr = (y - top * 16 / 255) * (255 / 219), cb * (255 / 224), cr * (255 / 224)
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    rounded: Pixels = np.clip(np.rint(rgb), 0, top).astype(samples.dtype)
    return rounded


def _find_frames(source: OpenDicom, layout: Layout) -> list[list[tuple[int, int]]]:
    """Return (start, length) of the fragments of each compressed frame (PS3.5, annex A.4).

    Returns [] when the pixels are not encapsulated; some writers give items a definite length.
    """
    if source.length != UNDEFINED and (
        _read(source, source.start, 4) != _ITEM
        or source.length * 8 >= layout.frame_bits * layout.frames
    ):
        return []
    pieces = _fragments(source)
    table, frames = _read(source, *pieces.pop(0)), layout.frames
    size = sum(length for _, length in pieces)
    check_size(source.path, layout.rows, layout.columns, 2**62, size=size)
    if frames == 1:
        groups = [pieces]
    elif len(pieces) == frames:
        groups = [[piece] for piece in pieces]
    else:  # by the offset table, else by what a frame starts with
        extended = source.dataset.get("ExtendedOffsetTable")
        offsets = set(np.frombuffer(extended or table, "<u8" if extended else "<u4").tolist())
        base, groups = pieces[0][0], []
        for start, length in pieces:
            begins = start - base in offsets
            if not offsets:
                begins = _read(source, start, 4).startswith(_STARTS)
            if begins or not groups:
                groups.append([])
            groups[-1].append((start, length))
    if not size or len(groups) < frames:
        raise ImageReadError(
            f"{source.path}: {frames} compressed frame(s) are declared and only "
            f"{len(groups) if size else 0} are in the file; it is cut short, so export it again."
        )
    return groups


def _fragments(source: OpenDicom) -> list[tuple[int, int]]:
    """Return (start, length) of the items of encapsulated pixel data; the first is a table."""
    found: list[tuple[int, int]] = []
    at = source.start
    while True:
        head = _read(source, at, 8)
        if found and (head[:4] == _END or not head):  # a missing end marker does no harm
            return found
        length = int.from_bytes(head[4:], "little")
        if head[:4] != _ITEM or at + 8 + length > source.size or len(found) > _MAX_FRAGMENTS:
            raise ImageReadError(
                f"{source.path}: the compressed pixel data are cut short or damaged at byte {at} "
                f"of {source.size}; copy or export the file again."
            )
        found.append((at + 8, length))
        at += 8 + length


def _compressed(source: OpenDicom, data: bytes, layout: Layout) -> tuple[Pixels, Layout]:
    """Decode one compressed frame; return its values, and the layout as the stream corrects it."""
    path, size = source.path, (layout.frame_bits + 7) // 8
    if source.syntax == _DEFLATED_FRAME:
        frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
        if len(frame) < size:
            raise ImageReadError(f"{path}: {_CUT}.")
        return _align(_unpack(frame, layout), layout), layout
    if source.syntax == RLELossless:
        room, code = bytearray(size + 2**16), f"<u{max(1, layout.allocated // 8)}"
        raw = imagecodecs.dicomrle_decode(data, code, out=room)
        if len(raw) < size:
            raise ImageReadError(f"{path}: {_CUT}.")
        layout = replace(layout, planar=layout.samples > 1)
        return _align(_unpack(raw, layout), layout), layout
    stream, data = inspect_stream(path, data, UID(source.syntax).name)
    if (stream.rows, stream.columns, stream.samples) != (*layout.shape[:2], layout.samples):
        raise ImageReadError(
            f"{path}: the header declares {layout}, but the {stream.codec} stream inside holds "
            f"{stream.columns} x {stream.rows} pixels of {stream.samples} sample(s); "
            "one of them is damaged, so export the file again."
        )
    samples, is_rgb = _decode_stream(data, stream, layout.photometric)
    if is_rgb and layout.photometric.startswith("YBR"):
        layout = replace(layout, photometric="RGB")
    if stream.precision <= layout.stored:
        layout = replace(layout, high_bit=layout.stored - 1)
    if samples.dtype.kind == "i":  # the stream's own sign counts
        layout = replace(layout, signed=True)
    return _align(samples.reshape(layout.shape), layout, clip=stream.lossy), layout


class Stream(NamedTuple):
    """What a compressed stream says of itself; `rgb` is None where it does not say."""

    codec: str
    rows: int
    columns: int
    samples: int
    precision: int
    lossy: bool = True
    rgb: bool | None = None


def inspect_stream(path: PathLike, data: bytes, name: str) -> tuple[Stream, bytes]:
    """Read a compressed stream's own header; return it and the stream without what is after it."""
    if data.startswith(b"\xff\xd8"):  # JPEG (ITU-T T.81) and JPEG-LS (T.87)
        return _inspect_jpeg(path, data)
    if data.startswith((_J2K, b"\x00\x00\x00\x0cjP  ")):  # DICOM has no boxes (A.4.4)
        return _inspect_j2k(path, data[max(data.find(_J2K), 0) :])
    raise ImageReadError(
        f"{path}: its pixels are compressed as {name or 'an unknown transfer syntax'}, "
        "which is not read here; convert the file first, "
        "for example with `dcmdjpeg`, `dcmconv` or `gdcmconv --raw`."
    )


def _inspect_jpeg(path: PathLike, data: bytes) -> tuple[Stream, bytes]:
    """Walk the JPEG markers up to the frame header, as the decoders do."""
    at, rgb = 2, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD7:  # fill byte, or marker without length
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            # The end marker cannot occur in coded data; decoders paint what is missing in grey.
            end = data.find(_EOI, at) + 2
            if len(body) < 6 or end < 2:
                break
            _, precision, rows, columns, samples = struct.unpack(">BBHHB", b"\0" + body[:6])
            scans = data.count(b"\xff\xda", at, end)
            if scans > 16 and scans * rows * columns > _MAX_SCANNED:
                raise ImageReadError(
                    f"{path}: its JPEG stream holds {scans} scans of {columns} x {rows} pixels, as "
                    "no real picture does; get it from its source again."
                )
            rgb = True if rgb is None and body[6::3][:3] == b"RGB" else rgb
            codec = "JPEG-LS" if marker == 0xF7 else "JPEG"
            return Stream(codec, rows, columns, samples, precision, marker & 3 != 3, rgb), data[
                :end
            ]
        if marker == 0xE0 and body.startswith(b"JFIF\x00"):
            rgb = False
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12 and rgb is None:
            rgb = body[11] != 1
        at += 2 + length
    raise ImageReadError(f"{path}: {_CUT}.")


def _inspect_j2k(path: PathLike, data: bytes) -> tuple[Stream, bytes]:
    """Read the SIZ segment of JPEG 2000 (T.800), and look for the colour transform in COD."""
    right, bottom, left, top, wide, high = struct.unpack(">6L", data[8:32])
    if min(wide, high) < 1 or (right // wide + 1) * (bottom // high + 1) > _MAX_TILES:
        raise ImageReadError(
            f"{path}: its JPEG 2000 stream is cut into more tiles than any real one; "
            "it is damaged or made to harm, so export it again."
        )
    at, transformed = 2, None
    while data[at] == 0xFF and data[at + 1] not in (0x90, 0x93):
        if data[at + 1] == 0x52:
            transformed = True if data[at + 8] == 1 else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    samples, depth = int.from_bytes(data[40:42], "big"), (data[42] & 127) + 1
    end = data.rfind(_EOI) + 2
    stream = Stream("JPEG 2000", bottom - top, right - left, samples, depth, True, transformed)
    return stream, data[:end] if end > 1 else data


def _decode_stream(data: bytes, stream: Stream, photometric: str) -> tuple[Pixels, bool]:
    """Return the samples, (H, W) or (H, W, S), and whether they are RGB now.

    Where one decoder fails and the stream has its end marker, the next one is tried.
    """
    is_rgb, space = False, None
    if stream.codec == "JPEG" and stream.samples == 3:
        # Lossless JPEG codes its samples as they are; the header names them.
        is_rgb = stream.lossy
        rgb = stream.rgb if stream.rgb is not None else not photometric.startswith("YBR")
        space = "RGB" if rgb or not stream.lossy else "YCBCR"
    elif stream.codec == "JPEG 2000":
        is_rgb = bool(stream.rgb) or photometric in ("YBR_ICT", "YBR_RCT")
    out = space and "RGB"
    if stream.codec == "JPEG":
        return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace=out), is_rgb
    # Other decoders of lossless JPEG crash on damaged data, so there is no second one for JPEG.
    attempts: dict[str, list[Callable[[bytes], Any]]] = {
        "JPEG-LS": [
            imagecodecs.jpegls_decode,
            lambda part: jpeg_ls.decode(np.frombuffer(part, "u1")),
        ],
        "JPEG 2000": [openjpeg.utils.decode, imagecodecs.jpeg2k_decode],
    }
    first, second = attempts[stream.codec]
    if data.endswith(_EOI) and (stream.codec == "JPEG 2000" or stream.samples == 1):
        with suppress(Exception):
            return first(data), is_rgb
        return second(data), is_rgb
    return first(data), is_rgb

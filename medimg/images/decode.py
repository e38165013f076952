"""From the bytes of a DICOM file's pixels to stored values: layout, frames, compressed streams.

pydicom finds the frames and unpacks those that are not compressed. A compressed stream is looked
at before it is decoded: its own size must be the header's, so that it cannot fill memory that
nothing announced, and what it says of sign and colour counts more than what the header says. So
the decoders are called here: pydicom's plugins take the stream on trust, and hide why it fails.
"""

import io
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg.utils
from PIL import Image
from pydicom import encaps
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from medimg.images.dicom import OpenDicom, number, text, what_it_is
from medimg.images.files import Pixels, check_size, log, refuse

_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_UNDEFINED, _J2K, _EOI = 0xFFFFFFFF, b"\xff\x4f\xff\x51", b"\xff\xd9"
_CUT = "the compressed image ends early"
_MAX_FRAMES, _MAX_SCANNED, _MAX_TILES, _MAX_SEGMENTS = 2**24, 2**28, 2**14, 2**16
# A segment of a JPEG or JPEG 2000 stream: fill bytes and markers without a length, then one with.
_SEGMENT = re.compile(rb"(?:\xff[\x01\xd0-\xd7]|\xff(?=\xff))*\xff(.)(..)", re.DOTALL)
_JPEG_FRAMES = (*(0xC0 + kind for kind in range(16) if kind not in (4, 8, 12)), 0xF7)
# YCbCr to RGB, from a zero that is in the middle of the range of Cb and Cr.
_RGB = np.array([[1, 1, 1], [0, -0.344136, 1.772], [1.402, -0.714136, 0]], np.float32)


class Layout(NamedTuple):
    """The header's description of the pixels (PS3.3, C.7.6.3), checked and completed."""

    rows: int
    columns: int
    samples_per_pixel: int
    number_of_frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    pixel_representation: int
    planar_configuration: int
    photometric_interpretation: str
    pixel_vr: str


def read_layout(source: OpenDicom, max_pixels: int) -> Layout:
    """Return the layout that the header declares, or raise naming what is missing or absurd."""
    header, known = source.dataset, what_it_is(source.dataset)
    rows, columns, allocated, stored, high, frames, samples, signed, planar = (
        int(number(header, keyword)) for keyword in (
            "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "NumberOfFrames",
            "SamplesPerPixel", "PixelRepresentation", "PlanarConfiguration"))  # fmt: skip
    frames, samples = frames or 1, samples or 1
    kind = text(header, "PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB")
    refuse(
        ("FloatPixelData" in header or "DoubleFloatPixelData" in header, "floating-point "
         "pixels are not read here; export the picture from the program that made it"),
        (source.vr is None and "Image Storage" not in known, f"this is {known}, and holds no "
         "image; choose an image file of the same study"),
        (source.vr is None, f"this is {known} whose pixel data are missing"),
        (min(rows, columns) < 1, "the header does not state the image's size (Rows and Columns)"),
        (allocated not in (1, 8, 16, 32, 64), f"pixels of {allocated} bits (Bits Allocated) "
         "are not read here; convert the file to 8 or 16"),
        (not 1 <= frames <= _MAX_FRAMES, f"the header declares {frames} frames, as no real file"),
        (kind not in _GREYS + _COLOURS, "its photometric interpretation is unknown"),
        (samples != (1 if kind in _GREYS else 3), f"{kind} pixels cannot have {samples} samples"),
    )  # fmt: skip
    check_size(rows, columns, max_pixels)
    usual = {"PhotometricInterpretation": kind, "BitsStored": allocated, "PixelRepresentation": 0}
    for keyword, taken in usual.items():
        if not text(header, keyword):
            log.warning("%s: %s is missing; %s is taken", source.path, keyword, taken)
    stored = stored if 1 <= stored <= allocated else allocated
    return Layout(
        rows, columns, samples, frames, allocated, stored,
        high if stored - 1 <= high < allocated else stored - 1, int(signed == 1),
        int(samples > 1 and planar == 1), kind, source.vr or "OW",
    )  # fmt: skip


def stored_frames(
    source: OpenDicom, layout: Layout, wanted: Iterable[int]
) -> Iterator[tuple[int, Pixels, Layout]]:
    """Yield growing numbers of frames, stored values, and the layout as the stream has it.

    The values are (H, W), or RGB (H, W, 3).
    """
    frames = enumerate(_encapsulated(source, layout)) if source.length == _UNDEFINED else None
    for index in wanted:
        if frames is None:
            samples, found = _native(source, layout, index), layout
        else:
            data = next((data for at, data in frames if at == index), b"")
            samples, found = _compressed(source.syntax, data, layout)
        yield index, _to_rgb(samples, found), found


def _encapsulated(source: OpenDicom, layout: Layout) -> Iterator[bytes]:
    """Return the compressed frames, each of one item or several (PS3.5, annex A.4)."""
    stream = source.stream
    check_size(layout.rows, layout.columns, 2**62, stream.size - source.start)
    stream.seek(source.start)
    encaps.parse_basic_offsets(stream)
    count, places = encaps.parse_fragments(stream)
    for last in places[-1:]:
        first = stream.tell()
        stream.seek(last + 4)
        refuse((last + 8 + int.from_bytes(stream.read(4), "little") > stream.size, _CUT))
        stream.seek(first)
    # Tables of offsets are often wrong, and needed only where a frame has several items.
    if layout.number_of_frames == 1:
        return iter([b"".join(encaps.generate_fragments(stream))])
    if layout.number_of_frames == count:
        return encaps.generate_fragments(stream)
    stream.seek(source.start)
    return encaps.generate_frames(stream, number_of_frames=layout.number_of_frames)


def _native(source: OpenDicom, layout: Layout, index: int) -> Pixels:
    """Return the stored values of one uncompressed frame, which may begin inside a byte."""
    bits = int(np.prod(layout[:3])) * layout.bits_allocated
    present = min(source.length, source.stream.size - source.start)
    if layout.photometric_interpretation.endswith("_422") and layout.bits_allocated == 8:
        if present * 8 < bits * layout.number_of_frames:  # two pixels share their chroma
            bits = bits // 3 * 2
        else:
            layout = layout._replace(photometric_interpretation="YBR_FULL")
    whole = (bits * layout.number_of_frames + 7) // 8
    refuse((present < whole, f"the header declares {whole} bytes of pixels, and the file holds "
            f"{max(present, 0)}"))  # fmt: skip
    source.stream.seek(source.start)
    return _unpack(source.stream, layout, index, source.order)


def _unpack(data: Any, layout: Layout, index: int = 0, order: str = "<") -> Pixels:
    """Return the stored values of one frame of some bytes, or of a stream at their start."""
    native: Any = get_decoder(ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian)
    shared = layout.photometric_interpretation.endswith("_422")
    samples: Pixels = native.as_array(
        data, index=index, validate=False, raw=True, correct_unused_bits=False,
        view_only=layout.bits_allocated > 1 and order == "<" and not shared,
        pixel_keyword="PixelData", **layout._asdict(),
    )[0]  # fmt: skip
    return _align(samples, layout)


def _align(samples: Pixels, layout: Layout, *, lossy: bool = False) -> Pixels:
    """Cut the stored bits out of the allocated ones, and extend the sign.

    Bits above the stored ones are overlays or rubbish. A lossy codec may overshoot the stored
    range by a little: such values are clipped, since cutting bits off would turn white to black.
    """
    bits, width = layout.bits_stored, samples.dtype.itemsize * 8
    signed, order = layout.pixel_representation, samples.dtype.byteorder
    # A stream of fewer bits than are stored has none above them.
    if width < bits:
        return samples
    if lossy and (samples.dtype.kind == "i" or not signed):
        low, limits = -(1 << bits - 1) if signed else 0, np.iinfo(samples.dtype)
        return samples.clip(max(low, limits.min), min(low + (1 << bits) - 1, limits.max))
    # Up to the top, then down again: what was above is lost, and the sign comes along.
    words = samples.view(f"{order}{'i' if signed else 'u'}{width // 8}")
    if width > layout.high_bit + 1:
        words = words << (width - layout.high_bit - 1)
    return words >> (width - bits) if width > bits else words


def _to_rgb(samples: Pixels, layout: Layout) -> Pixels:
    """Return RGB samples of the same integer range (PS3.3, C.7.6.3.1.2); grey ones as they are."""
    if not layout.photometric_interpretation.startswith("YBR_FULL"):
        return samples
    half, top = 1 << layout.bits_stored - 1, (1 << layout.bits_stored) - 1
    ybr: Pixels = samples - np.array([0, half, half], np.float32)
    return np.clip(np.rint(ybr @ _RGB), 0, top).astype(samples.dtype)


def _compressed(syntax: str, data: bytes, layout: Layout) -> tuple[Pixels, Layout]:
    """Decode one compressed frame; return its values, and the layout as the stream corrects it."""
    shape = layout[:3]
    refuse((not data, _CUT))
    if syntax == RLELossless:
        size = (int(np.prod(shape)) * layout.bits_allocated + 7) // 8
        code = f"<u{max(1, layout.bits_allocated // 8)}"
        frame = imagecodecs.dicomrle_decode(data, code, out=bytearray(size + 2**16))
        refuse((len(frame) < size, _CUT))
        planes = layout._replace(planar_configuration=int(layout.samples_per_pixel > 1))
        return _unpack(bytes(frame), planes), layout
    stream = inspect_stream(data, UID(syntax).name)
    rows, columns, count = stream.shape
    refuse((stream.shape != shape, f"the header declares {layout.columns} x {layout.rows} pixels "
            f"of {shape[2]} sample(s), but the {stream.codec} stream inside holds {columns} x "
            f"{rows} of {count}"))  # fmt: skip
    samples = _decode_stream(stream, layout.photometric_interpretation)
    if shape[2] == 3 and stream.lossy and (stream.codec == "JPEG" or stream.rgb):
        layout = layout._replace(photometric_interpretation="RGB")
    if stream.precision <= layout.bits_stored:
        layout = layout._replace(high_bit=layout.bits_stored - 1)
    if samples.dtype.kind == "i":  # the stream's own sign counts
        layout = layout._replace(pixel_representation=1)
    samples = samples.reshape(shape if shape[2] > 1 else shape[:2])
    return _align(samples, layout, lossy=stream.lossy), layout


class Stream(NamedTuple):
    """What a compressed stream says of itself, and the stream without what comes after it.

    `shape` is rows, columns and samples; `rgb` is None where the stream does not say.
    """

    codec: str
    shape: tuple[int, int, int]
    precision: int
    lossy: bool
    rgb: bool | None
    data: bytes


def inspect_stream(data: bytes, name: str) -> Stream:
    """Read the header of a JPEG or JPEG-LS (ITU-T T.81, T.87) or JPEG 2000 stream (T.800)."""
    if data.startswith(b"\x00\x00\x00\x0cjP  "):  # boxes, which DICOM does not have (A.4.4)
        data = data[max(data.find(_J2K), 0) :]
    refuse((not data.startswith((b"\xff\xd8", _J2K)), "its pixels are compressed as "
            f"{name or 'nothing known'}, which is not read here; convert the file first, for "
            "example with `gdcmconv --raw`"))  # fmt: skip
    found, at = _segments(data)
    if data.startswith(_J2K):
        right, bottom, left, top, wide, high = struct.unpack(">6L", found[0x51][2:26])
        many = min(wide, high) < 1 or (right // wide + 1) * (bottom // high + 1) > _MAX_TILES
        refuse((many, "its JPEG 2000 stream is cut into more tiles than any real one"))
        shape = (bottom - top, right - left, int.from_bytes(found[0x51][34:36], "big"))
        depth, end = (found[0x51][36] & 127) + 1, data.rfind(_EOI) + 2
        transformed = True if found.get(0x52, b"")[4:5] == b"\1" else None
        return Stream("JPEG 2000", shape, depth, True, transformed, data[:end] if end > 1 else data)
    kind = next((marker for marker in found if marker in _JPEG_FRAMES), 0)
    # The end marker cannot occur in coded data; decoders paint what is missing in grey.
    end = data.find(_EOI, at) + 2
    refuse((end < 2 or len(found.get(kind, b"")) < 6, _CUT))
    precision, rows, columns, samples = struct.unpack(">BHHB", found[kind][:6])
    scans = data.count(b"\xff\xda", at, end)
    many = scans > 16 and scans * rows * columns > _MAX_SCANNED
    refuse((many, f"its JPEG stream holds {scans} scans, as no real picture does"))
    adobe, rgb = found.get(0xEE, b""), True if found[kind][6::3][:3] == b"RGB" else None
    if adobe.startswith(b"Adobe") and len(adobe) >= 12:
        rgb = adobe[11] != 1
    if found.get(0xE0, b"").startswith(b"JFIF\x00"):
        rgb = False
    codec = "JPEG-LS" if kind == 0xF7 else "JPEG"
    return Stream(codec, (rows, columns, samples), precision, kind & 3 != 3, rgb, data[:end])


def _segments(data: bytes) -> tuple[dict[int, bytes], int]:
    """Return the first segment of each marker before the coded pixels, and where those begin."""
    found: dict[int, bytes] = {}
    at = 2
    for _ in range(_MAX_SEGMENTS):
        head = _SEGMENT.match(data, at)
        if head is None or head[1] in (b"\xda", b"\x90", b"\x93"):
            break
        at = head.end() + int.from_bytes(head[2], "big") - 2
        found.setdefault(head[1][0], data[head.end() : at])
    return found, at


def _decode_stream(stream: Stream, photometric: str) -> Pixels:
    """Return a stream's samples; where the first decoder fails, the next one is tried.

    Not where the end marker is missing, nor where the next one would guess at the colour.
    """
    first, second = _DECODERS[stream.codec]
    coloured = stream.shape[2] > 1 and stream.codec != "JPEG 2000"
    colour: dict[str, str] = {}
    if coloured and stream.codec == "JPEG":
        rgb = stream.rgb if stream.rgb is not None else not photometric.startswith("YBR")
        # Lossless JPEG codes its samples as they are; the header names them.
        space = "RGB" if rgb or not stream.lossy else "YCBCR"
        colour = {"colorspace": space, "outcolorspace": "RGB"}
    try:
        return first(stream.data, **colour)
    except Exception:
        if (coloured and stream.rgb is None) or not stream.data.endswith(_EOI):
            raise
        return second(stream.data)


_DECODERS: dict[str, tuple[Callable[..., Pixels], Callable[[bytes], Pixels]]] = {
    "JPEG": (imagecodecs.jpeg8_decode, lambda data: np.asarray(Image.open(io.BytesIO(data)))),
    "JPEG-LS": (imagecodecs.jpegls_decode, lambda data: jpeg_ls.decode(np.frombuffer(data, "u1"))),
    "JPEG 2000": (openjpeg.utils.decode, imagecodecs.jpeg2k_decode),
}

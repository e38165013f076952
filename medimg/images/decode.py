"""From the bytes of a DICOM file's pixels to stored values: layout, frames, compressed streams.

pydicom finds the frames and unpacks those that are not compressed. A compressed stream is looked
at before it is decoded: its own size must be the header's, so that it cannot fill memory that
nothing announced, and what it says of sign and colour counts more than what the header says. So
the decoders are called here: pydicom's plugins take the stream on trust, and hide why it fails.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg.utils
from PIL import Image
from pydicom import encaps
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from medimg.images.dicom import OpenDicom, items, number, text
from medimg.images.files import Pixels, Refused, check_size, refuse, shorten

_log = logging.getLogger(__name__)

_GREYS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT",
            "YBR_RCT")  # fmt: skip
_DEFLATED_FRAME, _UNDEFINED = "1.2.840.10008.1.2.8.1", 0xFFFFFFFF
_ITEM, _J2K, _EOI = b"\xfe\xff\x00\xe0", b"\xff\x4f\xff\x51", b"\xff\xd9"
_CUT = "the compressed image ends early; the file is cut short, so copy or export it again"
_MAX_FRAMES, _MAX_SCANNED, _MAX_TILES, _MAX_SEGMENTS = 2**24, 2**28, 2**14, 2**16
# A segment of a JPEG or JPEG 2000 stream: fill bytes and markers without a length, then one with.
_SEGMENT = re.compile(rb"(?:\xff[\x01\xd0-\xd7]|\xff(?=\xff))*\xff(.)(..)", re.DOTALL)
_JPEG_FRAMES = (*(0xC0 + kind for kind in range(16) if kind not in (4, 8, 12)), 0xF7)
# YCbCr to RGB, from a zero that is in the middle of the range of Cb and Cr.
_STUDIO = np.array([255 / 219, 255 / 224, 255 / 224], np.float32)
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
    pixel_keyword: str
    pixel_vr: str

    @property
    def frame_bits(self) -> int:
        """Bits that one uncompressed frame takes."""
        return self.rows * self.columns * self.samples_per_pixel * self.bits_allocated

    def __str__(self) -> str:
        frames = f"{self.number_of_frames} frames of " if self.number_of_frames > 1 else ""
        samples = f"{self.samples_per_pixel} x " if self.samples_per_pixel > 1 else ""
        return f"{frames}{self.columns} x {self.rows} pixels of {samples}{self.bits_allocated} bits"


def read_layout(source: OpenDicom, max_pixels: int) -> Layout:
    """Return the layout that the header declares, or raise naming what is missing or absurd."""
    if not source.keyword:
        raise Refused(_no_pixels(source.dataset))
    header, floating = source.dataset, source.keyword != "PixelData"
    rows, columns, allocated, stored, high, frames, samples, signed, planar = (
        int(number(header, keyword, usual)) for keyword, usual in (
            ("Rows", 0), ("Columns", 0), ("BitsAllocated", 0), ("BitsStored", 0), ("HighBit", 0),
            ("NumberOfFrames", 1), ("SamplesPerPixel", 1), ("PixelRepresentation", -1),
            ("PlanarConfiguration", 0)))  # fmt: skip
    frames, samples = frames or 1, samples or 1
    if floating:
        allocated = stored = 32 if source.keyword == "FloatPixelData" else 64
    photometric = text(header, "PhotometricInterpretation")
    taken = photometric or ("MONOCHROME2" if samples == 1 else "RGB")
    cases = (
        (min(rows, columns) < 1, "the header does not state the image's size (Rows and Columns)"),
        (not 1 <= allocated <= 64, "the header does not say how many bits a pixel takes (Bits "
         "Allocated)"),
        (not 1 <= frames <= _MAX_FRAMES, f"the header declares {frames} frames, as no real file"),
        (taken not in _GREYS + _COLOURS, "its photometric interpretation is not one of "
         f"{', '.join(_GREYS + _COLOURS)}"),
        (samples != (1 if taken in _GREYS else 3), f"{taken} pixels cannot have {samples} samples"),
    )  # fmt: skip
    refuse(*((bad, f"{words}; export the file again from its source") for bad, words in cases))
    check_size(rows, columns, max_pixels)
    path = source.path
    if not photometric:
        _log.warning("%s: Photometric Interpretation is missing; %s is taken", path, taken)
    if not 1 <= stored <= allocated:
        _log.warning("%s: Bits Stored is missing or absurd; all %d bits are taken", path, allocated)
        stored = allocated
    if signed == -1 and not floating:
        _log.warning("%s: Pixel Representation is missing; unsigned is taken", path)
    return Layout(
        rows, columns, samples, frames, allocated, stored,
        high if stored - 1 <= high < allocated else stored - 1, int(signed == 1),
        int(samples > 1 and planar == 1), taken, source.keyword, source.vr,
    )  # fmt: skip


def _no_pixels(header: Dataset) -> str:
    """Say what a DICOM object without pixels is, and where to look instead."""
    if "DirectoryRecordSequence" in header:
        names = [part.get("ReferencedFileID") for part in items(header, "DirectoryRecordSequence")]
        files = [name if isinstance(name, str) else "/".join(name) for name in names if name]
        listed = shorten(files, 3) or "it lists none"
        return f"this is a DICOMDIR, a list of files; read those: {listed}"
    unnamed = "an image" if "Rows" in header else "a DICOM file that does not say what it is"
    known = getattr(header.get("SOPClassUID"), "name", "") or unnamed
    if "Image Storage" not in known and known != "an image":
        return f"this is {known}, and holds no image; choose an image file of the same study"
    return (f"this is {known} whose pixel data are missing; the file is cut short or was exported "
            "without them, so export it again")  # fmt: skip


def stored_frames(
    source: OpenDicom, layout: Layout, wanted: Iterable[int]
) -> Iterator[tuple[int, Pixels, Layout]]:
    """Yield growing numbers of frames, stored values, and the layout as the stream has it.

    The values are (H, W), or RGB (H, W, 3).
    """
    stream = source.stream
    stream.seek(source.start)
    # Some writers give encapsulated pixels a definite length.
    encapsulated = source.length == _UNDEFINED or (
        stream.read(4) == _ITEM and source.length * 8 < layout.frame_bits * layout.number_of_frames
    )
    frames = enumerate(_encapsulated(source, layout)) if encapsulated else None
    for index in wanted:
        if frames is None:
            samples, found = _native(source, layout, index), layout
        else:
            data = next((data for at, data in frames if at == index), b"")
            samples, found = _compressed(source.syntax, data, layout)
        yield index, _to_rgb(samples, found), found


def _encapsulated(source: OpenDicom, layout: Layout) -> Iterator[bytes]:
    """Return the compressed frames, each of one item or several (PS3.5, annex A.4)."""
    stream, header, frames = source.stream, source.dataset, layout.number_of_frames
    check_size(layout.rows, layout.columns, 2**62, stream.size - source.start)
    stream.seek(source.start)
    encaps.parse_basic_offsets(stream)
    count, places = encaps.parse_fragments(stream)
    first = stream.tell()
    last = places[-1] if places else first
    stream.seek(last + 4)
    length = int.from_bytes(stream.read(4), "little") if places else 0
    refuse((places and last + 8 + length > stream.size, "the compressed pixel data are cut short "
            f"or damaged at byte {last} of {stream.size}; copy or export the file "
            "again"))  # fmt: skip
    # Tables of offsets are often wrong, and needed only where a frame has several items.
    if count == frames or frames == 1:
        stream.seek(first)
        fragments = encaps.generate_fragments(stream)
        return fragments if count == frames else iter([b"".join(fragments)])
    stream.seek(source.start)
    table = (header.get("ExtendedOffsetTable"), header.get("ExtendedOffsetTableLengths"))
    offsets = table if all(table) else None
    return encaps.generate_frames(stream, number_of_frames=frames, extended_offsets=offsets)


def _native(source: OpenDicom, layout: Layout, index: int) -> Pixels:
    """Return the stored values of one uncompressed frame, which may begin inside a byte."""
    bits, present = layout.frame_bits, min(source.length, source.stream.size - source.start)
    if layout.photometric_interpretation.endswith("_422") and layout.bits_allocated == 8:
        if present * 8 < bits * layout.number_of_frames:  # two pixels share their chroma
            bits = bits // 3 * 2
        else:
            layout = layout._replace(photometric_interpretation="YBR_FULL")
    whole = (bits * layout.number_of_frames + 7) // 8
    refuse((present < whole, f"the pixel data are cut short: {layout} need {whole} bytes and the "
            f"file holds {max(present, 0)}; copy or export the file again"))  # fmt: skip
    source.stream.seek(source.start)
    return _unpack(source.stream, layout, index, source.order)


def _unpack(data: Any, layout: Layout, index: int = 0, order: str = "<") -> Pixels:
    """Return the stored values of one frame among bytes, or in a stream that stands at the first.

    Pixels of one bit, or of twelve, are a stream of bits, the least significant first.
    """
    native: Any = get_decoder(ExplicitVRLittleEndian if order == "<" else ExplicitVRBigEndian)
    bits = layout.bits_allocated
    packed, kind = bits not in (1, 8, 16, 32, 64), layout.photometric_interpretation
    plain = bits >= 8 and not packed and order == "<" and not kind.endswith("_422")
    asked = layout._replace(columns=layout.columns * bits, bits_allocated=1) if packed else layout
    samples: Pixels = native.as_array(
        data, index=index, validate=False, raw=True, correct_unused_bits=False,
        view_only=plain, **asked._asdict(),
    )[0]  # fmt: skip
    if packed:
        planes = samples.reshape(layout.rows, layout.columns, bits)
        samples = np.zeros(planes.shape[:2], np.uint32)
        for place in range(min(bits, 32)):
            samples |= planes[..., place].astype(np.uint32) << place
    return _align(samples, layout)


def _align(samples: Pixels, layout: Layout, *, lossy: bool = False) -> Pixels:
    """Cut the stored bits out of the allocated ones, and extend the sign.

    Bits above the stored ones are overlays or rubbish. A lossy codec may overshoot the stored
    range by a little: such values are clipped, since cutting bits off would turn white to black.
    """
    bits, width = layout.bits_stored, samples.dtype.itemsize * 8
    signed, order = layout.pixel_representation, samples.dtype.byteorder
    # A stream of fewer bits than are stored has none above them.
    if "Float" in layout.pixel_keyword or width < bits:
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
    if not layout.photometric_interpretation.startswith(("YBR_FULL", "YBR_PARTIAL")):
        return samples
    half, top = 1 << layout.bits_stored - 1, (1 << layout.bits_stored) - 1
    ybr: Pixels = samples - np.array([0, half, half], np.float32)
    if "PARTIAL" in layout.photometric_interpretation:  # studio range: 16 to 235 of 255
        ybr = (ybr - np.array([top * 16 / 255, 0, 0], np.float32)) * _STUDIO
    rounded: Pixels = np.clip(np.rint(ybr @ _RGB), 0, top).astype(samples.dtype)
    return rounded


def _compressed(syntax: str, data: bytes, layout: Layout) -> tuple[Pixels, Layout]:
    """Decode one compressed frame; return its values, and the layout as the stream corrects it."""
    size, shape = (layout.frame_bits + 7) // 8, layout[:3]
    refuse((not data, _CUT))
    if syntax in (_DEFLATED_FRAME, RLELossless):
        if syntax == RLELossless:
            layout = layout._replace(planar_configuration=int(layout.samples_per_pixel > 1))
            code = f"<u{max(1, layout.bits_allocated // 8)}"
            frame = imagecodecs.dicomrle_decode(data, code, out=bytearray(size + 2**16))
        else:
            frame = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
        refuse((len(frame) < size, _CUT))
        return _unpack(bytes(frame), layout), layout
    stream = inspect_stream(data, UID(syntax).name)
    rows, columns, count = stream.shape
    refuse((stream.shape != shape, f"the header declares {layout}, but the {stream.codec} stream "
            f"inside holds {columns} x {rows} pixels of {count} sample(s); one of them is damaged, "
            "so export the file again"))  # fmt: skip
    samples = _decode_stream(stream, layout.photometric_interpretation)
    is_rgb = stream.codec == "JPEG" and stream.lossy
    if stream.codec == "JPEG 2000":
        is_rgb = bool(stream.rgb) or layout.photometric_interpretation in ("YBR_ICT", "YBR_RCT")
    if is_rgb and shape[2] == 3:
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
            f"{name or 'an unknown transfer syntax'}, which is not read here; convert the file "
            "first, for example with `dcmdjpeg`, `dcmconv` or `gdcmconv --raw`"))  # fmt: skip
    found, at = _segments(data)
    if data.startswith(_J2K):
        right, bottom, left, top, wide, high = struct.unpack(">6L", found[0x51][2:26])
        many = min(wide, high) < 1 or (right // wide + 1) * (bottom // high + 1) > _MAX_TILES
        refuse((many, "its JPEG 2000 stream is cut into more tiles than any real one; it is "
                "damaged or made to harm, so export it again"))  # fmt: skip
        shape = (bottom - top, right - left, int.from_bytes(found[0x51][34:36], "big"))
        depth, end = (found[0x51][36] & 127) + 1, data.rfind(_EOI) + 2
        transformed = True if found.get(0x52, b"")[4:5] == b"\1" else None
        whole = data[:end] if end > 1 else data
        return Stream("JPEG 2000", shape, depth, True, transformed, whole)
    kind = next((marker for marker in found if marker in _JPEG_FRAMES), 0)
    # The end marker cannot occur in coded data; decoders paint what is missing in grey.
    end = data.find(_EOI, at) + 2
    refuse((end < 2 or len(found.get(kind, b"")) < 6, _CUT))
    precision, rows, columns, samples = struct.unpack(">BHHB", found[kind][:6])
    scans = data.count(b"\xff\xda", at, end)
    refuse((scans > 16 and scans * rows * columns > _MAX_SCANNED, "its JPEG stream holds "
            f"{scans} scans of {columns} x {rows} pixels, as no real picture does; get it from its "
            "source again"))  # fmt: skip
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
    colour: dict[str, str] = {}
    if stream.codec == "JPEG" and stream.shape[2] == 3:
        rgb = stream.rgb if stream.rgb is not None else not photometric.startswith("YBR")
        # Lossless JPEG codes its samples as they are; the header names them.
        space = "RGB" if rgb or not stream.lossy else "YCBCR"
        colour = {"colorspace": space, "outcolorspace": "RGB"}
    sure = stream.shape[2] == 1 or stream.codec == "JPEG 2000" or (
        stream.codec == "JPEG" and stream.rgb is not None
    )  # fmt: skip
    try:
        samples: Pixels = first(stream.data, **colour)
    except Exception:
        if not sure or not stream.data.endswith(_EOI):
            raise
        samples = second(stream.data)
    return samples


def _by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]))


def _by_charls(data: bytes) -> Pixels:
    return np.asarray(jpeg_ls.decode(np.frombuffer(data, "u1")))


_DECODERS: dict[str, tuple[Callable[..., Pixels], Callable[[bytes], Pixels]]] = {
    "JPEG": (imagecodecs.jpeg8_decode, _by_pillow),
    "JPEG-LS": (imagecodecs.jpegls_decode, _by_charls),
    "JPEG 2000": (openjpeg.utils.decode, imagecodecs.jpeg2k_decode),
}

"""Decode one compressed frame, trusting what its own stream says over what the header says.

Decoders: imagecodecs (JPEG of 8 and 12 bits, lossless JPEG, RLE, JPEG XL), pyjpegls (JPEG-LS) and
pylibjpeg-openjpeg (JPEG 2000, HTJ2K). Each runs only after the stream's size has been compared
with the header's, so that a stream cannot fill memory that the header did not announce.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg.utils
from numpy.typing import NDArray
from pydicom.uid import UID

from medimg.errors import ImageReadError
from medimg.images.files import PathLike, Pixels
from medimg.images.layout import Layout

RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
_J2K = b"\xff\x4f\xff\x51"
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_LOSSLESS_JPEG = {0xC3, 0xC7, 0xCB, 0xCF}
_CUT = "the compressed image ends early; the file is cut short, so copy or export it again"


@dataclass(frozen=True)
class Stream:
    """What a compressed stream says of itself."""

    codec: str
    rows: int
    columns: int
    samples: int
    precision: int
    lossy: bool = True
    ycbcr: bool | None = None


@dataclass(frozen=True)
class Decoded:
    """Samples as the codec gave them; `rgb` when it already turned YCbCr into RGB."""

    samples: Pixels
    precision: int
    lossy: bool
    rgb: bool


def decode_frame(path: PathLike, data: bytes, layout: Layout, syntax: UID) -> Decoded:
    """Decode one frame to (H, W) or (H, W, 3) samples."""
    if syntax == RLE:
        return Decoded(_rle(path, data, layout), layout.allocated, lossy=False, rgb=False)
    stream = inspect_stream(path, data, syntax)
    declared = (layout.rows, layout.columns, layout.samples)
    found = (stream.rows, stream.columns, stream.samples)
    if stream.codec != "JPEG XL" and declared != found:
        raise ImageReadError(
            f"{path}: the header declares {layout}, but the {stream.codec} stream inside holds "
            f"{stream.columns} x {stream.rows} pixels of {stream.samples} sample(s); "
            "one of them is damaged, so export the file again."
        )
    if stream.codec == "JPEG":
        samples, rgb = _jpeg(data, stream, layout)
    elif stream.codec == "JPEG-LS":
        samples, rgb = _jpeg_ls(data, stream), False
    elif stream.codec == "JPEG 2000":
        samples = openjpeg.utils.decode(_code_stream(data))
        rgb = layout.photometric in ("YBR_ICT", "YBR_RCT")
    else:
        samples, rgb = imagecodecs.jpegxl_decode(data), layout.colour
    samples = samples.reshape(samples.shape[:2]) if not layout.colour else samples
    shape = (layout.rows, layout.columns, 3) if layout.colour else (layout.rows, layout.columns)
    if samples.shape != shape:
        raise ImageReadError(
            f"{path}: the {stream.codec} stream decodes to {samples.shape} samples, not {shape}; "
            "the file is damaged, so export it again."
        )
    precision = stream.precision or samples.dtype.itemsize * 8
    return Decoded(samples, precision, stream.lossy, rgb)


def inspect_stream(path: PathLike, data: bytes, syntax: UID) -> Stream:
    """Read a compressed stream's own header."""
    if data.startswith(b"\xff\xd8"):
        return _inspect_jpeg(path, data)
    if data.startswith((_J2K, b"\x00\x00\x00\x0cjP  ")):
        return _inspect_j2k(path, _code_stream(data))
    if data.startswith((b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")):
        return Stream("JPEG XL", 0, 0, 0, 0, lossy=True)
    raise ImageReadError(
        f"{path}: its pixels are compressed as {syntax.name or 'an unknown transfer syntax'}, "
        "which is not read here; convert the file first, "
        "for example with `dcmdjpeg`, `dcmconv` or `gdcmconv --raw`."
    )


def _code_stream(data: bytes) -> bytes:
    """Return the JPEG 2000 code stream, without the JP2 boxes that DICOM forbids (A.4.4)."""
    return data[max(data.find(_J2K), 0) :]


def _inspect_jpeg(path: PathLike, data: bytes) -> Stream:
    """Walk the JPEG markers up to the frame header (ITU-T T.81, B.2)."""
    at, jfif, adobe = 2, False, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:
            at += 1
            continue
        body = data[at + 4 : at + 2 + length]
        if marker in _SOF and len(body) >= 6:
            return _jpeg_frame(path, data, marker, body, jfif=jfif, adobe=adobe)
        if marker == 0xE0 and body.startswith(b"JFIF\x00"):
            jfif = True
        if marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        at += 2 + length
    raise ImageReadError(f"{path}: the JPEG stream inside has no frame header; {_CUT}.")


def _jpeg_frame(
    path: PathLike, data: bytes, marker: int, body: bytes, *, jfif: bool, adobe: int | None
) -> Stream:
    # libjpeg paints what is missing in grey, so the end has to be looked for here.
    if b"\xff\xd9" not in data[-64:].rstrip(b"\x00")[-4:]:
        raise ImageReadError(f"{path}: {_CUT}.")
    rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    ycbcr: bool | None = None
    if jfif:
        ycbcr = True
    elif adobe is not None:
        ycbcr = adobe == 1
    elif body[6::3][:3] == b"RGB":
        ycbcr = False
    codec = "JPEG-LS" if marker == 0xF7 else "JPEG"
    lossy = marker not in _LOSSLESS_JPEG and marker != 0xF7
    return Stream(codec, rows, columns, body[5], body[0], lossy, ycbcr)


def _inspect_j2k(path: PathLike, data: bytes) -> Stream:
    """Read the SIZ segment, which comes first (ITU-T T.800, A.5.1)."""
    size = data[4:]
    if len(size) < 39:
        raise ImageReadError(f"{path}: {_CUT}.")
    right, bottom, left, top = (int.from_bytes(size[at : at + 4], "big") for at in (4, 8, 12, 16))
    samples, depth = int.from_bytes(size[36:38], "big"), size[38]
    return Stream("JPEG 2000", bottom - top, right - left, samples, (depth & 127) + 1, lossy=True)


def _jpeg(data: bytes, stream: Stream, layout: Layout) -> tuple[Pixels, bool]:
    """Decode JPEG; YCbCr becomes RGB when the stream, or else the header, says it is YCbCr."""
    if not layout.colour:
        return imagecodecs.jpeg8_decode(data), False
    ycbcr = stream.ycbcr
    if ycbcr is None or not stream.lossy:
        ycbcr = layout.photometric.startswith("YBR")
    if not stream.lossy:  # lossless JPEG codes its samples as they are; the header names them
        return imagecodecs.jpeg8_decode(data, colorspace="RGB", outcolorspace="RGB"), False
    space = "YCBCR" if ycbcr else "RGB"
    return imagecodecs.jpeg8_decode(data, colorspace=space, outcolorspace="RGB"), True


def _jpeg_ls(data: bytes, stream: Stream) -> Pixels:
    """Decode JPEG-LS, whose planes may be stored one after the other (interleave mode 0)."""
    buffer, info = jpeg_ls.decode_pixel_data(data)
    flat = np.frombuffer(buffer, dtype="u1" if stream.precision <= 8 else "<u2")
    if stream.samples == 1:
        return flat.reshape(stream.rows, stream.columns)
    if info["interleave_mode"] == 0:
        return flat.reshape(stream.samples, stream.rows, stream.columns).transpose(1, 2, 0)
    return flat.reshape(stream.rows, stream.columns, stream.samples)


def _rle(path: PathLike, data: bytes, layout: Layout) -> Pixels:
    """Decode RLE: one segment for each byte of each sample, the highest byte first."""
    width = layout.allocated // 8
    planes = rle_segments(path, data, layout, layout.rows * layout.columns)
    bytewise = planes.reshape(layout.samples, width, layout.rows, layout.columns)
    # (S, bytes, H, W) to (H, W, S, bytes), the lowest byte first, then seen as one integer.
    ordered = np.ascontiguousarray(bytewise[:, ::-1].transpose(2, 3, 0, 1))
    samples: Pixels = ordered.view(f"<u{width}")[..., 0]
    return samples if layout.colour else samples[..., 0]


def rle_segments(path: PathLike, data: bytes, layout: Layout, length: int) -> NDArray[np.uint8]:
    """Return the unpacked segments of an RLE frame, (segments, length) (PS3.5, annex G)."""
    expected = layout.samples * max(1, layout.allocated // 8)
    bounds = np.frombuffer(data[:64].ljust(64, b"\x00"), "<u4").tolist()
    if bounds[0] != expected or layout.allocated not in (1, 8, 16, 32):
        raise ImageReadError(
            f"{path}: RLE data of {bounds[0]} segments cannot hold {layout}; "
            "the file is damaged, so export it again."
        )
    starts, stops = bounds[1 : expected + 1], [*bounds[2 : expected + 1], len(data)]
    out = np.empty((expected, length), np.uint8)
    for row, start, stop in zip(out, starts, stops, strict=True):
        segment = imagecodecs.packbits_decode(data[start:stop])
        if len(segment) < length:
            raise ImageReadError(f"{path}: {_CUT}.")
        row[:] = np.frombuffer(segment, np.uint8, length)
    return out


def inflate_frame(path: PathLike, data: bytes, size: int) -> bytes:
    """Inflate a frame of the Deflated Image Frame Compression syntax to exactly `size` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    frame = inflater.decompress(data, size + 1)
    if len(frame) < size:
        raise ImageReadError(f"{path}: {_CUT}.")
    return frame[:size]

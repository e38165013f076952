"""Account for every byte of the pixels: samples stay, everything beside them goes.

Compressed streams are cleaned segment by segment without being encoded anew; run-length and
deflated frames, which are lossless, are packed again. Where bytes were dropped, the stream before and after
must decode to the same samples, or the file is refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless, UID_dictionary

from medimg.deid.dicomfile import LIMIT, PIXELS, RefusedError, inflate
from medimg.deid.options import Box

HEAD = re.compile(
    r"head|brain|skull|face|facial|orbit|sinus|neuro|cerebr|crani|schädel|kopf|pituitary|"
    r"maxill|mandib|dental|\bear\b|\biac\b|cochlea|neck",
    re.IGNORECASE,
)
PLACES = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName",
          "RequestedProcedureDescription", "AnatomicRegionSequence")  # fmt: skip
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
TEXT_BURNED = frozenset({"US", "IVUS", "ES", "SC", "OT", "XA", "RF", "DG", "GM"})
PHOTOGRAPHS = frozenset({"XC", "ES", "GM", "DMS"})
REFUSED_CLASSES = {
    "1.2.840.10008.1.3.10": "is a DICOMDIR, which lists the original files",
    "1.2.840.10008.5.1.4.1.1.104": "is an encapsulated document, which cannot be cleaned",
    "1.2.840.10008.5.1.4.1.1.88": "is a structured report, whose text cannot be cleaned",
    "1.2.840.10008.5.1.4.1.1.11": "is a presentation state, whose annotations cannot be cleaned",
    "1.2.840.10008.5.1.4.1.1.9": "is a waveform, whose annotations cannot be cleaned",
}
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
STREAMS = {"1.2.840.10008.1.2.4.8": "jpegls", "1.2.840.10008.1.2.4.9": "jpeg2k",
           "1.2.840.10008.1.2.4.20": "jpeg2k", "1.2.840.10008.1.2.4.5": "jpeg",
           "1.2.840.10008.1.2.4.6": "jpeg", "1.2.840.10008.1.2.4.7": "jpeg"}  # fmt: skip
DECODERS = {"jpeg": imagecodecs.jpeg_decode, "jpegls": imagecodecs.jpegls_decode,
            "jpeg2k": imagecodecs.jpeg2k_decode}  # fmt: skip
# JPEG markers (ITU-T T.81 table B.1, T.87): frames, tables, restart interval, number of lines.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xF8})
NEXT = {
    "jpeg": re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]"),
    "jpegls": re.compile(rb"\xff[\x80-\xff]"),
}
MOST_SCANS = 64
# JPEG 2000 markers (T.800 table A.2): sizes, styles, quantisation, regions, order, packed headers,
# tables of lengths. Left out: COM (64) and CRG (63).
J2K_KEPT = frozenset(
    {0x50, 0x51, 0x52, 0x53, 0x55, 0x57, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61}
)
J2K_LENGTHS = frozenset({0x55, 0x57, 0x58})


def refuse_what_cannot_be_cleaned(dataset: Dataset) -> None:
    """Raise RefusedError for objects of text, private classes and unknown or video syntaxes."""
    uid = str(dataset.get("SOPClassUID", ""))
    for root, reason in REFUSED_CLASSES.items():
        if uid == root or uid.startswith(root + "."):
            raise RefusedError(reason)
    if uid and uid not in UID_dictionary:
        raise RefusedError("is of a private SOP class, which no rule knows")
    if "EncapsulatedDocument" in dataset:
        raise RefusedError("holds an encapsulated document, which cannot be cleaned")
    if sum(tag in dataset for tag in PIXELS) > 1:
        raise RefusedError("holds pixel data of more than one kind")


def risks(dataset: Dataset) -> tuple[str, ...]:
    """Return what a person must look at, from the header of the original file.

    A reason that begins with ``text:`` or ``face:`` says what the pixels may show.
    """
    modality = str(dataset.get("Modality", "") or "").upper()
    has_pixels = any(tag in dataset for tag in PIXELS)
    burned = str(dataset.get("BurnedInAnnotation", "") or "").upper()
    where = " ".join(str(dataset.get(keyword, "") or "") for keyword in PLACES)
    uid = str(dataset.get("SOPClassUID", ""))
    secondary = uid == SECONDARY or uid.startswith(SECONDARY + ".")
    slices = modality in ("CT", "MR", "PT")
    found = {
        "text: stated (Burned In Annotation YES)": burned == "YES",
        "text: not excluded (Burned In Annotation absent)": burned not in ("YES", "NO"),
        "text: secondary capture": secondary or "ConversionType" in dataset,
        f"text: frequent in {modality} images": modality in TEXT_BURNED,
        "photograph": modality in PHOTOGRAPHS,
        "face: head series": slices and HEAD.search(where) is not None,
        "face: body part not stated": slices and not where.strip(),
        "recognisable features stated": dataset.get("RecognizableVisualFeatures") == "YES",
        "overlays removed": any(0x6000 <= tag.group <= 0x60FF for tag in dataset.keys()),
    }
    return tuple(text for text, holds in found.items() if holds and has_pixels)


def may_show_text(reasons: Iterable[str]) -> bool:
    """Whether one of the reasons of `risks` is text in the pixels."""
    return any(reason.startswith("text: ") for reason in reasons)


def clean(dataset: Dataset, boxes: tuple[Box, ...]) -> tuple[str, ...]:
    """Drop every byte beside the samples, blank boxes; say what was done.

    Raises
    ------
    RefusedError
        When the pixels are not whole, or cannot be accounted for.
    """
    tag = next((tag for tag in PIXELS if tag in dataset), None)
    if tag is None:
        return ()
    syntax = _syntax(dataset)
    shape = _Shape(dataset, tag)
    if syntax is None:
        done = _native(dataset, tag, shape)
    else:
        done = _encapsulated(dataset, syntax, shape)
    picked = [box for box in boxes if box.picks(dataset)]
    if picked:
        _blank(dataset, picked, shape)
        done.append("box blanked, written uncompressed" if syntax else "box blanked")
    return tuple(done)


def _syntax(dataset: Dataset) -> UID | None:
    """Return the transfer syntax of compressed pixels; None when they are not compressed."""
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        return None
    if not syntax.is_transfer_syntax:
        raise RefusedError("has a transfer syntax that this version of pydicom does not know")
    return syntax if syntax.is_encapsulated else None


class _Shape:
    """Size and bits of the pixels, as the header states them."""

    def __init__(self, dataset: Dataset, tag: int) -> None:
        try:
            self.rows, self.columns = int(dataset.Rows), int(dataset.Columns)
            self.samples = int(dataset.get("SamplesPerPixel", 1))
            self.frames = int(dataset.get("NumberOfFrames", 1) or 1)
            floats = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag)
            self.bits = floats or int(dataset.BitsAllocated)
            self.stored = floats or int(dataset.get("BitsStored") or self.bits)
            self.high = int(dataset.get("HighBit") or self.stored - 1)
        except (AttributeError, TypeError, ValueError):
            raise RefusedError("has pixel data but no usable image size") from None
        self.signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
        little = dataset.original_encoding[1] is not False
        self.dtype = np.dtype(f"{'<' if little else '>'}u{max(self.bits, 8) // 8}")
        if self.bits not in (1, 8, 16, 32, 64) or not self.stored - 1 <= self.high < self.bits:
            raise RefusedError("has pixels of an unusual number of bits")
        if min(self.rows, self.columns, self.samples, self.frames) < 1:
            raise RefusedError("has pixel data but no usable image size")
        half = dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
        self.count = self.rows * self.columns * (2 if half else self.samples)  # samples of a frame

    def size(self, frames: int) -> int:
        """Return the number of bytes that so many frames take."""
        return (self.count * frames * self.bits + 7) // 8


def _mask(values: NDArray[np.unsignedinteger], shape: _Shape) -> NDArray[np.unsignedinteger]:
    """Return unsigned words with the bits outside the stored ones cleared.

    In signed data the sign is repeated above them, unless no word has a bit there.
    """
    if shape.stored == shape.bits:
        return values
    low = shape.high + 1 - shape.stored
    inside = ((1 << shape.stored) - 1) << low
    kept = values & values.dtype.type(inside)
    above = values.dtype.type(((1 << shape.bits) - 1) ^ ((1 << (shape.high + 1)) - 1))
    if shape.signed and above and bool((values & above).any()):
        sign = (kept >> values.dtype.type(shape.high)) & values.dtype.type(1)
        kept = kept | (sign * above)
    return kept


def _samples(data: bytes, shape: _Shape, frames: int) -> bytes:
    """Return the bytes of so many frames with nothing beside the stored bits."""
    data = data[: shape.size(frames)]
    if len(data) < shape.size(frames):
        raise RefusedError("has truncated pixel data")
    if shape.bits == 1:
        spare = -shape.count * frames % 8
        return data[:-1] + bytes([data[-1] & (0xFF >> spare)])
    if shape.stored == shape.bits:
        return data
    return _mask(np.frombuffer(data, shape.dtype), shape).astype(shape.dtype).tobytes()


def _native(dataset: Dataset, tag: int, shape: _Shape) -> list[str]:
    data = dataset[tag].value
    if not isinstance(data, bytes):
        raise RefusedError("has pixel data that cannot be read as bytes")
    new = _samples(data, shape, shape.frames)
    done = []
    if len(data) > len(new) + len(new) % 2:
        done.append("bytes after the last frame cut")
    if data[: len(new)] != new:
        done.append("bits beside the stored ones cleared")
    dataset[tag].value = new + b"\0" * (len(new) % 2)
    return done


def _encapsulated(dataset: Dataset, syntax: UID, shape: _Shape) -> list[str]:
    """Clean each frame of compressed pixels, and pack them with a fresh table of offsets."""
    table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    try:
        found = list(generate_frames(dataset.PixelData, number_of_frames=shape.frames,
                                     extended_offsets=table if all(table) else None))  # fmt: skip
    except Exception:  # pydicom raises whatever the items held
        raise RefusedError("has fragments of pixels that cannot be put together") from None
    if len(found) < shape.frames:
        raise RefusedError("has fewer frames than it states")
    new = [_frame(one, syntax, shape) for one in found[: shape.frames]]
    done = ["frames beyond the stated number dropped"] if len(found) > shape.frames else []
    if any(a.rstrip(b"\0") != b.rstrip(b"\0") for a, b in zip(found, new, strict=False)):
        done.append("bytes beside the samples dropped")
    dataset.PixelData = encapsulate(new)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return done


def _frame(data: bytes, syntax: UID, shape: _Shape) -> bytes:
    """Return one compressed frame with nothing beside its samples."""
    if shape.size(1) > LIMIT:
        raise RefusedError("has frames that are too large to be decoded")
    if syntax == RLELossless:
        return _run_lengths(data, shape)
    if syntax == DEFLATED_FRAMES:
        whole = _samples(inflate(data, shape.size(1) + 2), shape, 1)
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(whole) + packer.flush()
    kind = next((kind for root, kind in STREAMS.items() if syntax.startswith(root)), "")
    if not kind:
        raise RefusedError("is compressed in a way that cannot be cleaned (video or the like)")
    try:
        new, size = _jpeg2000(data) if kind == "jpeg2k" else _jpeg(data, kind)
    except IndexError:
        raise RefusedError("has a compressed stream that ends early") from None
    rows, columns, precision = size
    if (rows, columns) != (shape.rows, shape.columns):
        raise RefusedError("has a compressed stream of another size than the header states")
    changed = new != data.rstrip(b"\0") and new != data
    if changed or precision > shape.stored:
        samples = _decoded(new, kind)
        if changed and not np.array_equal(samples, _decoded(data, kind)):
            raise RefusedError("has a compressed stream that decodes otherwise when it is cleaned")
        if (
            precision > shape.stored
            and samples.dtype.kind in "iu"
            and samples.itemsize * 8 == shape.bits
        ):
            words = samples.view(f"u{samples.itemsize}")
            if not np.array_equal(_mask(words, shape), words):
                raise RefusedError("has bits above Bits Stored in compressed pixels")
    return new


def _decoded(data: bytes, kind: str) -> NDArray[np.generic]:
    try:
        found: NDArray[np.generic] = DECODERS[kind](data)
    except Exception as error:  # decoders raise whatever they like
        raise RefusedError(f"cannot be decoded to compare it ({type(error).__name__})") from None
    return found


def _run_lengths(data: bytes, shape: _Shape) -> bytes:
    """Unpack the planes of a run-length frame and pack what the image needs of them (PS3.5 G)."""
    header = np.frombuffer(data[:64].ljust(64, b"\0"), "<u4").astype(np.int64)
    width = max(shape.bits // 8, 1)
    planes, count = shape.samples * width, shape.rows * shape.columns // (8 // min(shape.bits, 8))
    starts = header[1 : planes + 1]
    if header[0] != planes or len(starts) < planes or np.any(np.diff(starts) <= 0):
        raise RefusedError("has a run-length frame with another number of segments")
    words = np.empty((count, shape.samples, width), np.uint8)
    for n, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True)):
        try:
            plane = np.frombuffer(imagecodecs.packbits_decode(data[start:end]), np.uint8)
        except Exception:  # as above
            raise RefusedError("has a run-length frame that cannot be unpacked") from None
        if len(plane) < count:
            raise RefusedError("has truncated pixel data")
        words[:, n // width, n % width] = plane[:count]  # the highest byte of a sample first
    if shape.bits > 1:
        big = words.view(f">u{width}")
        words = _mask(big.astype(f"u{width}"), shape).astype(f">u{width}").view(np.uint8)
    rows = (shape.rows, shape.columns) if shape.bits > 1 else (1, count)
    columns = np.ascontiguousarray(words.reshape(count, planes).T)
    packed = [bytes(imagecodecs.packbits_encode(one.reshape(rows), axis=-1)) for one in columns]
    packed = [one + b"\0" * (len(one) % 2) for one in packed]
    fresh = np.zeros(16, "<u4")
    fresh[0] = planes
    fresh[1 : planes + 1] = 64 + np.cumsum([0, *map(len, packed[:-1])])
    return fresh.tobytes() + b"".join(packed)


def _jpeg(data: bytes, kind: str) -> tuple[bytes, tuple[int, int, int]]:
    """Return a JPEG or JPEG-LS stream without comments and the like, and (rows, columns, bits)."""
    if data[:2] != b"\xff\xd8":
        raise RefusedError("has a compressed stream that does not begin as one")
    out, at, size, scans = bytearray(data[:2]), 2, (0, 0, 0), 0
    while data[at : at + 2] != b"\xff\xd9":
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        end = at + 2 + length
        body = data[at + 4 : end]
        if data[at] != 0xFF or length < 2 or len(body) != length - 2:
            raise RefusedError("has a damaged compressed stream")
        if marker == 0xDA:
            scans += 1
            found = NEXT[kind].search(data, end)
            end = found.end() - 2 if found else len(data)
            out += (
                data[at:end].rstrip(b"\xff") if found else data[at:end].rstrip(b"\0") + b"\xff\xd9"
            )
            if not found or scans > MOST_SCANS:
                break
        elif marker in FRAMES:
            size = int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[0]
            out += data[at:end]
        elif marker in TABLES:
            if not _exact(marker, body):
                raise RefusedError(
                    "has a table with bytes beyond its entries in a compressed stream"
                )
            out += data[at:end]
        elif marker == 0xE0 and body[:5] == b"JFIF\0":
            out += b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
        elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            out += b"\xff\xee\0\x0eAdobe\0d\0\0\0\0" + body[11:12]
        elif marker == 0xE8 and body[:4] == b"mrfx":
            out += b"\xff\xe8\0\x07mrfx" + body[4:5]
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            raise RefusedError("has an unknown segment in a compressed stream")
        at = end
    if scans > MOST_SCANS:
        raise RefusedError("has a compressed stream of too many scans")
    return bytes(out) if out.endswith(b"\xff\xd9") else bytes(out) + b"\xff\xd9", size


def _exact(marker: int, body: bytes) -> bool:
    """Whether tables of a JPEG stream hold what they need and no byte more."""
    at = 0
    while marker in (0xC4, 0xDB) and at < len(body):
        wide = body[at] >> 4
        at += 17 + sum(body[at + 1 : at + 17]) if marker == 0xC4 else 65 + 64 * bool(wide)
    if marker == 0xF8:  # JPEG-LS: preset thresholds only, no mapping tables
        return len(body) == 11 and body[0] == 1
    return at == len(body) if marker in (0xC4, 0xDB) else len(body) <= 4


def _jpeg2000(data: bytes) -> tuple[bytes, tuple[int, int, int]]:
    """Return the bare codestream without comments, and (rows, columns, bits)."""
    if data[4:8] == b"jP  ":
        data = _codestream(data)
    if data[:4] != b"\xff\x4f\xff\x51":
        raise RefusedError("has a compressed stream that does not begin as one")
    box = [int.from_bytes(data[at : at + 4]) for at in (8, 12, 16, 20)]
    size = box[1] - box[3], box[0] - box[2], (data[42] & 0x7F) + 1
    head, at, lengths = _segments(data, 2, 0x90)
    out, dropped = bytearray(data[:2] + head), False
    while data[at : at + 2] == b"\xff\x90":  # tile-parts
        start, whole = at, int.from_bytes(data[at + 6 : at + 10])
        head, at, _ = _segments(data, at + 12, 0x93)
        stop = start + whole if whole else data.find(b"\xff\xd9", at)
        stop = len(data) if stop < 0 else stop
        if stop > len(data) or stop < at:
            raise RefusedError("has a compressed stream that ends early")
        dropped |= len(head) != at - start - 12
        part = head + data[at:stop]
        out += (
            data[start : start + 6]
            + (12 + len(part)).to_bytes(4) * bool(whole)
            + b"\0" * 4 * (not whole)
        )
        out += data[start + 10 : start + 12] + part
        at = stop
    if dropped and lengths:
        raise RefusedError("has comments in tiles below a table of their lengths")
    return bytes(out) + b"\xff\xd9", size


def _segments(data: bytes, at: int, stop: int) -> tuple[bytes, int, bool]:
    """Return the kept segments up to a marker, where it is, and whether lengths are tabled."""
    out, lengths = bytearray(), False
    while data[at + 1] != stop:
        length, marker = int.from_bytes(data[at + 2 : at + 4]), data[at + 1]
        if (
            data[at] != 0xFF
            or length < 2
            or (marker not in J2K_KEPT and marker not in (0x63, 0x64))
        ):
            raise RefusedError("has an unknown segment in a compressed stream")
        if marker in J2K_KEPT:
            out += data[at : at + 2 + length]
            lengths |= marker in J2K_LENGTHS
        at += 2 + length
    return bytes(out), at, lengths


def _codestream(data: bytes) -> bytes:
    """Return what lies in the codestream box of a JP2 file."""
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = at + (16 if length == 1 else 8)
        length = int.from_bytes(data[at + 8 : at + 16]) if length == 1 else length or len(data) - at
        if kind == b"jp2c":
            return data[body : at + length]
        at += max(length, 8)
    raise RefusedError("has a JP2 file without a codestream")


def _blank(dataset: Dataset, boxes: list[Box], shape: _Shape) -> None:
    """Decode, set the boxes to black, and store as Explicit VR Little Endian."""
    if shape.bits not in (8, 16, 32) or "PixelData" not in dataset:
        raise RefusedError("has a box to blank in pixels that are not 8, 16 or 32 bits")
    if shape.size(shape.frames) > 2 * LIMIT:
        raise RefusedError("is too large to blank a box in it")
    try:
        values = pixel_array(dataset)
    except Exception as error:  # as above
        raise RefusedError(f"cannot be decoded to blank a box ({type(error).__name__})") from None
    colour = shape.samples > 1
    samples = values.shape[-1] if colour else 1
    values = values.reshape(shape.frames, shape.rows, shape.columns, samples).copy()
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    black = 0 if colour else (values.max() if inverted else values.min())
    for box in boxes:
        values[:, box.row0 : box.row1, box.col0 : box.col1] = black
    if colour:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    if not dataset.original_encoding[1] and any(
        e.VR == "OW" for e in dataset if e.tag not in PIXELS
    ):
        raise RefusedError("is big endian with a box to blank and other 16-bit blocks")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if shape.bits <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False

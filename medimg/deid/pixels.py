"""Account for every byte of the pixels: samples stay, everything beside them goes.

Compressed streams are cleaned segment by segment without being encoded anew; run lengths are
written uncompressed. Where bytes were dropped, the stream before and after must decode to the same
samples, or the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medimg.deid.dicomfile import LIMIT, PIXELS, RULES, RefusedError
from medimg.deid.options import Box

HEAD = re.compile(RULES["risks"]["head"], re.IGNORECASE)
DECODERS = {"jpeg": imagecodecs.jpeg_decode, "jpegls": imagecodecs.jpegls_decode,
            "jpeg2k": imagecodecs.jpeg2k_decode}  # fmt: skip
# JPEG (ITU-T T.81 table B.1, T.87): frames, then with scans, lines, restarts and conditioning.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
SCAN, JPEG_KEPT = 0xDA, FRAMES | {0xCC, 0xDA, 0xDC, 0xDD}
NEXT = {"jpeg": re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]"),
        "jpegls": re.compile(rb"\xff[\x80-\xff]")}  # fmt: skip
MOST_SCANS = 64  # what decodes within a second or two
# Application segments that decoding needs: how each begins, what of it stays (from, to), and what
# replaces the rest. JFIF and Adobe tell the colours, mrfx a colour transform of JPEG-LS.
APPLICATIONS = {0xE0: (b"JFIF\0", b"JFIF\0\1\1\0\0\1\0\1\0\0", slice(0)),
                0xEE: (b"Adobe", b"Adobe\0d\0\0\0\0", slice(11, 12)),
                0xE8: (b"mrfx", b"mrfx", slice(4, 5))}  # fmt: skip
# JPEG 2000 (T.800 table A.2): sizes, styles, quantisation, regions, order, packed headers, and
# tables of lengths. Left out: comments (64) and registration of components (63).
LENGTHS = frozenset({0x55, 0x57, 0x58})
J2K_KEPT = LENGTHS | {0x50, 0x51, 0x52, 0x53, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61}
Size = tuple[int, int, int]  # rows, columns, bits of a compressed stream


def refuse_what_cannot_be_cleaned(dataset: Dataset) -> None:
    """Raise RefusedError for objects of text, private classes, and pixels of two kinds."""
    uid = str(dataset.get("SOPClassUID", ""))
    for root, reason in RULES["refused"].items():
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
    burned = str(dataset.get("BurnedInAnnotation", "") or "").upper()
    where = " ".join(str(dataset.get(keyword, "") or "") for keyword in RULES["risks"]["places"])
    uid, root = str(dataset.get("SOPClassUID", "")), RULES["risks"]["secondary"]
    slices = modality in ("CT", "MR", "PT")
    found = {
        "text: stated (Burned In Annotation YES)": burned == "YES",
        "text: not excluded (Burned In Annotation absent)": burned not in ("YES", "NO"),
        "text: secondary capture": f"{uid}.".startswith(root + ".") or "ConversionType" in dataset,
        f"text: frequent in {modality} images": modality in RULES["risks"]["text"],
        "photograph": modality in RULES["risks"]["photographs"],
        "face: head series": slices and HEAD.search(where) is not None,
        "face: body part not stated": slices and not where.strip(),
        "recognisable features stated": dataset.get("RecognizableVisualFeatures") == "YES",
        "overlays removed": any(tag >> 24 == 0x60 for tag in list(dataset.keys())),
    }
    has_pixels = any(tag in dataset for tag in PIXELS)
    return tuple(text for text, holds in found.items() if holds and has_pixels)


def may_show_text(reasons: Iterable[str]) -> bool:
    """Whether one of the reasons of `risks` is text in the pixels."""
    return any(reason.startswith("text: ") for reason in reasons)


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
            self.low = int(dataset.get("HighBit") or self.stored - 1) + 1 - self.stored
        except (AttributeError, TypeError, ValueError):
            raise RefusedError("has pixel data but no usable image size") from None
        self.signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
        fits = self.bits in (1, 8, 16, 32, 64) and 0 <= self.low <= self.bits - self.stored
        if not fits or min(self.rows, self.columns, self.samples, self.frames) < 1:
            raise RefusedError("has pixels of an impossible size or number of bits")
        half = dataset.get("PhotometricInterpretation") == "YBR_FULL_422"
        self.count = self.rows * self.columns * (2 if half else self.samples)  # samples of a frame


def clean(dataset: Dataset, boxes: tuple[Box, ...]) -> list[str]:
    """Drop every byte beside the samples, blank boxes; say what was done.

    Raises
    ------
    RefusedError
        When the pixels are not whole, or cannot be accounted for.
    """
    tag = next((tag for tag in PIXELS if tag in dataset), None)
    if tag is None:
        return []
    shape = _Shape(dataset, tag)
    meta = getattr(dataset, "file_meta", None)
    syntax = UID(getattr(meta, "TransferSyntaxUID", None) or ExplicitVRLittleEndian)
    if not syntax.is_transfer_syntax:
        raise RefusedError("has a transfer syntax that this version of pydicom does not know")
    packed = syntax.is_encapsulated
    picked = [box for box in boxes if box.picks(dataset)]
    if (picked or syntax == RLELossless) and shape.count * shape.frames * shape.bits > 16 * LIMIT:
        raise RefusedError("is too large to be decoded")
    if syntax == RLELossless:
        done = ["run lengths written uncompressed", *_unpacked(dataset, tag, shape)]
    else:
        done = _encapsulated(dataset, syntax, shape) if packed else _native(dataset, tag, shape)
    if picked:
        _blank(dataset, picked, shape)
        done.append("box blanked, written uncompressed" if packed else "box blanked")
    return done


def _mask(values: NDArray[np.unsignedinteger], shape: _Shape) -> NDArray[np.unsignedinteger]:
    """Return unsigned words with the bits outside the stored ones cleared.

    In signed data the sign is repeated above them, unless no word has a bit there.
    """
    high, word = shape.low + shape.stored - 1, values.dtype.type
    kept = values & word(((1 << shape.stored) - 1) << shape.low)
    above = word((1 << shape.bits) - (1 << (high + 1)))
    if shape.signed and bool((values & above).any()):
        kept = kept | ((kept >> word(high)) & word(1)) * above
    return kept


def _native(dataset: Dataset, tag: int, shape: _Shape) -> list[str]:
    """Cut uncompressed pixels after their last frame, and clear the bits beside the stored ones."""
    data, size = dataset[tag].value, (shape.count * shape.frames * shape.bits + 7) // 8
    little = dataset.original_encoding[1] is not False
    swapped = not little and shape.bits == 8 and dataset[tag].VR == "OW" and size % 2 == 1
    end = size + swapped  # the last byte of an odd number lies behind the padding
    if not isinstance(data, bytes) or len(data) < end:
        raise RefusedError("has truncated pixel data")
    new = data[:end]
    if swapped:
        new = new[: size - 1] + b"\0" + new[size:]
    elif shape.bits == 1:
        new = new[:-1] + bytes([new[-1] & (0xFF >> (-shape.count * shape.frames % 8))])
    elif shape.stored < shape.bits:
        dtype = np.dtype(f"{'<' if little else '>'}u{shape.bits // 8}")
        new = _mask(np.frombuffer(new, dtype), shape).astype(dtype).tobytes()
    dataset[tag].value = new + b"\0" * (len(new) % 2)
    cut, cleared = len(data) > len(new) + len(new) % 2, data[: len(new)] != new
    done = {"bytes after the last frame cut": cut, "bits beside the stored ones cleared": cleared}
    return [text for text, holds in done.items() if holds]


def _unpacked(dataset: Dataset, tag: int, shape: _Shape) -> list[str]:
    """Decode run lengths, whose segments and padding no decoder reads to the end."""
    try:
        dataset.decompress(as_rgb=False, generate_instance_uid=False)
    except Exception as error:  # decoders raise whatever they like
        raise RefusedError(f"cannot be decoded ({type(error).__name__})") from None
    return _native(dataset, tag, shape)


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
    dataset.PixelData = encapsulate(new)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    changed = any(a.rstrip(b"\0") != b.rstrip(b"\0") for a, b in zip(found, new, strict=False))
    dropped = changed or len(found) > shape.frames
    return ["bytes beside the samples dropped"] * dropped


def _frame(data: bytes, syntax: UID, shape: _Shape) -> bytes:
    """Return one compressed frame with nothing beside its samples."""
    kind = next((kind for root, kind in RULES["streams"].items() if syntax.startswith(root)), "")
    if shape.count * shape.bits > 8 * LIMIT:
        raise RefusedError("has frames that are too large to be decoded")
    if not kind:
        raise RefusedError("is compressed in a way that cannot be cleaned (video or the like)")
    try:
        new, size = _jpeg2000(data) if kind == "jpeg2k" else _jpeg(data, kind)
    except IndexError:
        raise RefusedError("has a compressed stream that ends early") from None
    if size[:2] != (shape.rows, shape.columns):
        raise RefusedError("has a compressed stream of another size than the header states")
    changed = new != data and new != data.rstrip(b"\0")
    samples = _decoded(new, kind) if changed or size[2] > shape.stored else np.zeros(0)
    if changed and not np.array_equal(samples, _decoded(data, kind)):
        raise RefusedError("has a compressed stream that decodes otherwise when it is cleaned")
    if size[2] > shape.stored and samples.itemsize * 8 == shape.bits:
        words = samples.view(f"u{samples.itemsize}")
        if not np.array_equal(_mask(words, shape), words):
            raise RefusedError("has bits above Bits Stored in compressed pixels")
    return new


def _decoded(data: bytes, kind: str) -> NDArray[np.generic]:
    try:
        return np.asarray(DECODERS[kind](data))
    except Exception as error:  # decoders raise whatever they like
        raise RefusedError(f"cannot be decoded to compare it ({type(error).__name__})") from None


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return marker, body and end of a segment of a JPEG or JPEG 2000 stream."""
    while data[at] == 0xFF and data[at + 1] == 0xFF:
        at += 1
    length = int.from_bytes(data[at + 2 : at + 4])
    end = at + 2 + length
    if data[at] != 0xFF or length < 2 or end > len(data):
        raise RefusedError("has a damaged compressed stream")
    return data[at + 1], data[at + 4 : end], end


def _written(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def _jpeg(data: bytes, kind: str) -> tuple[bytes, Size]:
    """Return a JPEG or JPEG-LS stream without comments and the like, and its size."""
    if data[:2] != b"\xff\xd8":
        raise RefusedError("has a compressed stream that does not begin as one")
    out, at, size, scans = bytearray(data[:2]), 2, (0, 0, 0), 0
    while at < len(data) and data[at : at + 2] != b"\xff\xd9":
        marker, body, at = _segment(data, at)
        out += _kept(marker, body)
        if marker in FRAMES:
            size = int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[0]
        if marker == SCAN:
            found = NEXT[kind].search(data, at)
            out += data[at : found.start() if found else len(data)]
            at, scans = found.end() - 2 if found else len(data), scans + 1
        if scans > MOST_SCANS:
            raise RefusedError("has a compressed stream of too many scans")
    return bytes(out) + b"\xff\xd9", size


def _kept(marker: int, body: bytes) -> bytes:
    """Return what of a segment of a JPEG stream stays: nothing of comments, tables as they are."""
    at = 0
    while marker in (0xC4, 0xDB) and at < len(body):  # Huffman and quantisation tables
        values = sum(body[at + 1 : at + 17]) + 16 if marker == 0xC4 else 64 << (body[at] >> 4 & 1)
        at += 1 + values
    exact = marker in (0xC4, 0xDB) and at == len(body)
    if exact or marker in JPEG_KEPT or (marker == 0xF8 and body[:1] == b"\1" and len(body) == 11):
        return _written(marker, body)
    if not (0xE0 <= marker <= 0xEF or marker == 0xFE):
        raise RefusedError("has an unknown segment or table in a compressed stream")
    if marker not in APPLICATIONS or not body.startswith(APPLICATIONS[marker][0]):
        return b""
    _, fresh, rest = APPLICATIONS[marker]
    return _written(marker, fresh + body[rest])


def _jpeg2000(data: bytes) -> tuple[bytes, Size]:
    """Return the bare codestream of a JPEG 2000 stream without comments, and its size."""
    box = data.find(b"jp2c") if data[4:8] == b"jP  " else -4  # of a JP2 file: after its last header
    data = data[box + 4 :]
    if data[:4] != b"\xff\x4f\xff\x51":
        raise RefusedError("has a compressed stream that does not begin as one")
    width, height, left, top = (int.from_bytes(data[at : at + 4]) for at in (8, 12, 16, 20))
    size = height - top, width - left, (data[42] & 0x7F) + 1
    head, at, tabled = _j2k_header(data, 2, 0x90)
    out = bytearray(data[:2] + head)
    while data[at : at + 2] == b"\xff\x90":  # tile-parts
        start, whole = at, int.from_bytes(data[at + 6 : at + 10])
        head, at, _ = _j2k_header(data, at + 12, 0x93)
        stop = start + whole if whole else data.find(b"\xff\xd9", at) % (len(data) + 1)
        if tabled and len(head) != at - start - 12:
            raise RefusedError("has comments in tiles below a table of their lengths")
        if not at <= stop <= len(data):
            raise RefusedError("has a compressed stream that ends early")
        part = data[start + 10 : start + 12] + head + data[at:stop]
        out += data[start : start + 6] + (len(part) + 10 if whole else 0).to_bytes(4) + part
        at = stop
    return bytes(out) + b"\xff\xd9", size


def _j2k_header(data: bytes, at: int, stop: int) -> tuple[bytes, int, bool]:
    """Return kept segments up to a marker, its place, and whether lengths are tabled."""
    out, tabled = bytearray(), False
    while data[at + 1] != stop:
        marker, body, at = _segment(data, at)
        if marker not in J2K_KEPT | {0x63, 0x64}:
            raise RefusedError("has an unknown segment in a compressed stream")
        out += _written(marker, body) if marker in J2K_KEPT else b""
        tabled |= marker in LENGTHS
    return bytes(out), at, tabled


def _blank(dataset: Dataset, boxes: list[Box], shape: _Shape) -> None:
    """Decode, set the boxes to black, and store as Explicit VR Little Endian."""
    if shape.bits not in (8, 16, 32) or "PixelData" not in dataset:
        raise RefusedError("has a box to blank in pixels that are not 8, 16 or 32 bits")
    try:
        values = pixel_array(dataset)
    except Exception as error:  # as above
        raise RefusedError(f"cannot be decoded to blank a box ({type(error).__name__})") from None
    colour = shape.samples > 1
    values = values.reshape(shape.frames, shape.rows, shape.columns, shape.samples).copy()
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    black = 0 if colour else (values.max() if inverted else values.min())
    for box in boxes:
        values[:, box.row0 : box.row1, box.col0 : box.col1] = black
    if colour:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    words = any(e.VR == "OW" for e in dataset if e.tag not in PIXELS)
    if not dataset.original_encoding[1] and words:
        raise RefusedError("is big endian with a box to blank and other 16-bit blocks")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if shape.bits <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False

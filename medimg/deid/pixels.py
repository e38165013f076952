"""Account for every byte of the pixels: samples stay, everything beside them goes.

Compressed streams are cleaned segment by segment without being encoded anew; run lengths are
written uncompressed. Where bytes were dropped, the stream before and after must decode to the same
samples, or the file is refused.
"""

from __future__ import annotations

import re
import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

from medimg.deid.dicomfile import LIMIT, PIXELS, RULES, refuse_if, refusing
from medimg.deid.options import Box

HEAD = re.compile(RULES["risks"]["head"], re.IGNORECASE)
DECODERS = {"jpeg": imagecodecs.jpeg_decode, "jpegls": imagecodecs.jpegls_decode,
            "jpeg2k": imagecodecs.jpeg2k_decode}  # fmt: skip
# Segments by their markers. Of JPEG (ITU-T T.81 table B.1, T.87): frames, then with scans, lines,
# restarts and conditioning. Of JPEG 2000 (T.800 table A.2): sizes, styles, quantisation, regions,
# order, packed headers, lengths of packets, tile-parts, and the packets themselves.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
SIZE, TILE, PACKETS, SCAN, MOST_SCANS = 0x51, 0x90, 0x93, 0xDA, 64  # scans within a second or two
KEPT = FRAMES | {0xCC, 0xDA, 0xDC, 0xDD} | {*range(0x50, 0x54), *range(0x57, 0x62), TILE, PACKETS}
# Left out: comments and applications of JPEG; comments, their registration and the lengths of tiles
# of JPEG 2000.
DROPPED = frozenset({0xFE, *range(0xE0, 0xF0), 0x64, 0x63, 0x55})
BEGINS = (b"\xff\xd8", b"\xff\x4f")
# The marker that ends a scan, or the packets of a tile.
NEXT = {SCAN: re.compile(rb"(?=\xff[\x80-\xcf\xd8-\xfe])|\Z"),
        PACKETS: re.compile(rb"(?=\xff[\x90\xd9])|\Z")}  # fmt: skip
# Application segments that decoding needs: how each begins, what of it stays (from, to), and what
# replaces the rest. JFIF and Adobe tell the colours, mrfx a colour transform of JPEG-LS.
APPLICATIONS = {0xE0: (b"JFIF\0", b"JFIF\0\1\1\0\0\1\0\1\0\0", slice(0)),
                0xEE: (b"Adobe", b"Adobe\0d\0\0\0\0", slice(11, 12)),
                0xE8: (b"mrfx", b"mrfx", slice(4, 5))}  # fmt: skip


def refuse_what_cannot_be_cleaned(dataset: Dataset) -> None:
    """Raise RefusedError for objects of text, private classes, and pixels of two kinds."""
    uid = str(dataset.get("SOPClassUID", ""))
    for root, why in RULES["refused"].items():
        refuse_if(f"{uid}.".startswith(root + "."), why)
    refuse_if(uid and uid not in UID_dictionary, "is of a private SOP class, which no rule knows")
    refuse_if("EncapsulatedDocument" in dataset, "holds a document, which cannot be cleaned")
    refuse_if(sum(tag in dataset for tag in PIXELS) > 1, "holds pixel data of more than one kind")


def risks(dataset: Dataset) -> list[str]:
    """Return what a person must look at, from the header of the original file.

    A reason that begins with ``text:`` or ``face:`` says what the pixels may show.
    """
    told = {word: str(dataset.get(word, "") or "").upper() for word in RULES["risks"]["words"]}
    uid, modality, burned, recognizable, *places = told.values()
    slices, secondary = modality in ("CT", "MR", "PT"), RULES["risks"]["secondary"]
    found = {
        "text: stated (Burned In Annotation YES)": burned == "YES",
        "text: not excluded (Burned In Annotation absent)": burned not in ("YES", "NO"),
        "text: secondary capture": f"{uid}.".startswith(secondary) or "ConversionType" in dataset,
        f"text: frequent in {modality} images": modality in RULES["risks"]["text"],
        "photograph": modality in RULES["risks"]["photographs"],
        "face: head series": slices and HEAD.search(" ".join(places)),
        "face: body part not stated": slices and not "".join(places).strip(),
        "recognisable features stated": recognizable == "YES",
        "overlays removed": any(tag >> 24 == 0x60 for tag in list(dataset.keys())),
    }
    has_pixels = any(tag in dataset for tag in PIXELS)
    return [text for text, holds in found.items() if holds and has_pixels]


class _Shape:
    """Size and bits of the pixels, as the header states them."""

    def __init__(self, dataset: Dataset, tag: int) -> None:
        def stated(keyword: str, default: int = 0) -> int:
            return int(dataset.get(keyword) or default)

        self.rows, self.columns = stated("Rows"), stated("Columns")
        self.samples, self.frames = stated("SamplesPerPixel", 1), stated("NumberOfFrames", 1)
        floats = {0x7FE00008: 32, 0x7FE00009: 64}.get(tag)
        self.bits = floats or stated("BitsAllocated")
        self.stored = floats or stated("BitsStored", self.bits)
        self.low = stated("HighBit", self.stored - 1) + 1 - self.stored
        self.signed = stated("PixelRepresentation") == 1
        fits = self.bits in (1, 8, 16, 32, 64) and 0 <= self.low <= self.bits - self.stored
        sized = min(self.rows, self.columns, self.samples, self.frames) > 0
        refuse_if(not (fits and sized), "has pixel data but no usable image size or number of bits")
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
    with refusing("has pixel data but no usable image size"):
        shape = _Shape(dataset, tag)
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian))
    refuse_if(not syntax.is_transfer_syntax, "has a transfer syntax that pydicom does not know")
    packed, picked = syntax.is_encapsulated, [box for box in boxes if box.picks(dataset)]
    unpack, bits = syntax == RLELossless or (packed and picked), shape.count * shape.bits
    refuse_if((unpack or picked) and shape.frames * bits > 16 * LIMIT, "is too large to be decoded")
    refuse_if(packed and bits > 8 * LIMIT, "has frames that are too large to be decoded")
    if packed and not unpack:
        return _encapsulated(dataset, syntax, shape)
    done = ["run lengths written uncompressed"] * (syntax == RLELossless)  # no decoder reads all
    if unpack:
        with refusing("cannot be decoded"):
            dataset.decompress(as_rgb=bool(picked), generate_instance_uid=False)
        shape = _Shape(dataset, tag)
    done += _native(dataset, tag, shape)
    if picked:
        _blank(dataset, picked, shape)
        done.append("box blanked, written uncompressed" if packed else "box blanked")
    return done


def _mask(values: NDArray[np.unsignedinteger], shape: _Shape) -> NDArray[np.unsignedinteger]:
    """Return unsigned words with the bits outside the stored ones cleared.

    In signed data the sign is repeated above them, unless no word has a bit there.
    """
    up = shape.bits - shape.stored - shape.low
    signs = shape.signed and bool((values >> (shape.bits - up)).any())
    words = values.astype(f"{'i' if signs else 'u'}{values.itemsize}")
    return (words << up >> (up + shape.low) << shape.low).astype(f"u{values.itemsize}")


def _native(dataset: Dataset, tag: int, shape: _Shape) -> list[str]:
    """Cut uncompressed pixels after their last frame, and clear the bits beside the stored ones."""
    data, size = dataset[tag].value, (shape.count * shape.frames * shape.bits + 7) // 8
    little = dataset.original_encoding[1] is not False
    # in words of big endian, the last byte of an odd number lies behind the padding
    swapped = not little and shape.bits == 8 and dataset[tag].VR == "OW" and size % 2 == 1
    truncated = not isinstance(data, bytes) or len(data) < size + swapped
    refuse_if(truncated, "has truncated pixel data")
    new = data[: size - 1] + b"\0" + data[size : size + 1] if swapped else data[:size]
    if shape.bits == 1:
        new = new[:-1] + bytes([new[-1] & (0xFF >> (-shape.count * shape.frames % 8))])
    elif shape.stored < shape.bits:
        dtype = np.dtype(f"{'<' if little else '>'}u{shape.bits // 8}")
        new = _mask(np.frombuffer(new, dtype), shape).astype(dtype).tobytes()
    dataset[tag].value = new + b"\0" * (len(new) % 2)
    cut, cleared = len(data) > len(new) + len(new) % 2, data[: len(new)] != new
    done = {"bytes after the last frame cut": cut, "bits beside the stored ones cleared": cleared}
    return [text for text, holds in done.items() if holds]


def _encapsulated(dataset: Dataset, syntax: UID, shape: _Shape) -> list[str]:
    """Clean each frame of compressed pixels, and pack them with a fresh table of offsets."""
    kind = next((kind for root, kind in RULES["streams"].items() if syntax.startswith(root)), "")
    refuse_if(not kind, "is compressed in a way that cannot be cleaned (video or the like)")
    table = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    with refusing("has fragments of pixels that cannot be put together"):
        found = list(generate_frames(dataset.PixelData, number_of_frames=shape.frames,
                                     extended_offsets=table if all(table) else None))  # fmt: skip
    refuse_if(len(found) < shape.frames, "has fewer frames than it states")
    new = [_frame(one, kind, shape) for one in found[: shape.frames]]
    dataset.PixelData = encapsulate(new)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    changed = any(a.rstrip(b"\0") != b.rstrip(b"\0") for a, b in zip(found, new, strict=False))
    dropped = changed or len(found) > shape.frames
    return ["bytes beside the samples dropped"] * dropped


def _frame(data: bytes, kind: str, shape: _Shape) -> bytes:
    """Return one compressed frame with nothing beside its samples."""
    with refusing("has a compressed stream that ends early"):
        new, (*size, bits) = _cleaned(data)
    refuse_if(size != [shape.rows, shape.columns], "is compressed with another size than it states")
    if new not in (data, data.rstrip(b"\0")) or bits > shape.stored:
        with refusing("cannot be decoded to compare it"):
            samples, before = DECODERS[kind](new), DECODERS[kind](data)
        refuse_if(not np.array_equal(samples, before), "decodes otherwise when it is cleaned")
        words = samples.view(f"u{samples.itemsize}")
        if bits > shape.stored and samples.itemsize * 8 == shape.bits:
            spare = not np.array_equal(_mask(words, shape), words)
            refuse_if(spare, "has bits above Bits Stored in compressed pixels")
    return new


def _cleaned(data: bytes) -> tuple[bytes, tuple[int, int, int]]:
    """Return a JPEG, JPEG-LS or bare JPEG 2000 stream without comments; rows, columns, bits."""
    data = data[max(data.find(b"\xff\x4f\xff\x51"), 0) :]  # a JP2 file holds it in a box
    refuse_if(data[:2] not in BEGINS, "has a compressed stream that does not begin as one")
    out, at, tile, scans, size = bytearray(data[:2]), 2, 0, 0, (0, 0, 0)
    while data[at : at + 1] == b"\xff" and data[at + 1] != 0xD9:
        marker, body, at = _segment(data, at)
        tile = len(out) if marker == TILE else tile
        out += _kept(marker, body)
        if marker in FRAMES:
            bits, rows, columns = struct.unpack(">BHH", body[:5])
            size = rows, columns, bits
        elif marker == SIZE:
            width, height, left, top = struct.unpack(">4I", body[2:18])
            size = height - top, width - left, (body[36] & 0x7F) + 1
        elif marker in NEXT:
            end = next(NEXT[marker].finditer(data, at)).start()
            out, at, scans = out + data[at:end], end, scans + (marker == SCAN)
        if marker == PACKETS:
            out[tile + 6 : tile + 10] = (len(out) - tile).to_bytes(4)
        refuse_if(scans > MOST_SCANS, "has a compressed stream of too many scans")
    return bytes(out) + b"\xff\xd9", size


def _segment(data: bytes, at: int) -> tuple[int, bytes, int]:
    """Return marker, body and end of a segment of a stream."""
    while data[at + 1] == 0xFF:
        at += 1
    length = 0 if data[at + 1] == PACKETS else int.from_bytes(data[at + 2 : at + 4])
    end = at + 2 + length
    refuse_if(end > len(data) or length == 1, "has a damaged compressed stream")
    return data[at + 1], data[at + 4 : end], end


def _kept(marker: int, body: bytes) -> bytes:
    """Return what of a segment stays: nothing of comments, tables of JPEG as they are."""
    begins, fresh, rest = APPLICATIONS.get(marker, (b"", b"", slice(0)))
    if fresh and body.startswith(begins):
        body = fresh + body[rest]
    elif marker in DROPPED:
        return b""
    at, table = 0, marker in (0xC4, 0xDB)
    while table and at < len(body):  # Huffman and quantisation tables
        values = sum(body[at + 1 : at + 17]) + 16 if marker == 0xC4 else 64 << (body[at] >> 4 & 1)
        at += 1 + values
    preset = marker == 0xF8 and body[:1] == b"\1" and len(body) == 11
    known = fresh or marker in KEPT or preset or (table and at == len(body))
    refuse_if(not known, "has an unknown segment or table in a compressed stream")
    length = b"" if marker == PACKETS else (len(body) + 2).to_bytes(2)
    return bytes([0xFF, marker]) + length + body


def _blank(dataset: Dataset, boxes: list[Box], shape: _Shape) -> None:
    """Set boxes in uncompressed pixels to black."""
    kind, little = dataset.PhotometricInterpretation, dataset.original_encoding[1] is not False
    plain = shape.bits in (8, 16, 32) and "PixelData" in dataset and kind != "YBR_FULL_422"
    swapped = not little and shape.bits == 8 and dataset["PixelData"].VR == "OW"
    refuse_if(swapped or not plain, "has a box to blank in pixels that are not plain words")
    dtype = f"{'<' if little else '>'}{'i' if shape.signed else 'u'}{shape.bits // 8}"
    values = np.frombuffer(dataset.PixelData, dtype, shape.count * shape.frames).copy()
    planar = dataset.get("PlanarConfiguration") == 1
    size = (-1, shape.rows, shape.columns) if planar else (shape.rows, shape.columns, -1)
    planes = np.moveaxis(values.reshape(shape.frames, *size), 1 if planar else 3, 1)
    grey = planes.max() if kind == "MONOCHROME1" else planes.min()
    black = np.array([0, 128, 128] if kind.startswith("YBR") else [0] * 3)[:, None, None]
    for box in boxes:
        area = planes[:, :, box.row0 : box.row1, box.col0 : box.col1]
        area[:] = black if shape.samples == 3 else grey
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)

"""Account for every byte of the pixels: samples stay, everything beside them goes.

Compressed streams are cleaned segment by segment without being encoded anew; run lengths are
written uncompressed. Where bytes were dropped, the stream before and after must decode to the same
samples, or the file is refused.
"""

import re
import struct

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import get_expected_length, get_nr_frames, pixel_array
from pydicom.uid import UID, RLELossless

from medimg.deid.dicomfile import LIMIT, PIXELS, RULES, refuse_if, refusing
from medimg.deid.options import Box

UNUSABLE = "has pixel data but no usable image size or number of bits"
# Segments by their markers. Of JPEG (ITU-T T.81 table B.1, T.87): frames, then with scans, lines,
# restarts and conditioning. Of JPEG 2000 (T.800 table A.2): sizes, styles, quantisation, regions,
# order, packed headers, lengths of packets, tile-parts, and the packets themselves.
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
SIZE, TILE, PACKETS, SCAN, MOST_SCANS = 0x51, 0x90, 0x93, 0xDA, 64  # scans within a second or two
KEPT = FRAMES | {0xCC, 0xDA, 0xDC, 0xDD} | {*range(0x50, 0x54), *range(0x57, 0x62), TILE, PACKETS}
# Left out: comments and applications of JPEG; comments, their registration and the lengths of tiles
# of JPEG 2000.
DROPPED = frozenset({0xFE, *range(0xE0, 0xF0), 0x64, 0x63, 0x55})
# The marker that ends a scan, or the packets of a tile.
NEXT = {SCAN: re.compile(rb"(?=\xff[\x80-\xcf\xd8-\xfe])|\Z"),
        PACKETS: re.compile(rb"(?=\xff[\x90\xd9])|\Z")}  # fmt: skip
# Application segments that decoding needs: how each begins, what of it stays (from, to), and what
# replaces the rest. JFIF and Adobe tell the colours.
APPLICATIONS = {0xE0: (b"JFIF\0", b"JFIF\0\1\1\0\0\1\0\1\0\0", slice(0)),
                0xEE: (b"Adobe", b"Adobe\0d\0\0\0\0", slice(11, 12))}  # fmt: skip


def refuse_what_cannot_be_cleaned(dataset: Dataset) -> None:
    """Raise RefusedError for objects of text, private classes, and pixels of two kinds."""
    uid = str(dataset.get("SOPClassUID", ""))
    for root, why in RULES["refused"].items():
        refuse_if(f"{uid}.".startswith(root + "."), why)
    refuse_if(uid and uid not in UID_dictionary, "is of a private SOP class, which no rule knows")
    refuse_if(sum(tag in dataset for tag in PIXELS) > 1, "holds pixel data of more than one kind")


def risks(dataset: Dataset) -> list[str]:
    """Return what a person must look at, from the header of the original file.

    A reason that begins with ``text:`` or ``face:`` says what the pixels may show.
    """
    if not any(tag in dataset for tag in PIXELS):
        return []
    told = [f"{word}={dataset.get(word) or ''}" for word in RULES["risks"]["words"]]
    line, found = f"|{'|'.join(told)}|", RULES["risks"]["found"].items()
    return [risk for risk, shows in found if re.search(shows, line, re.IGNORECASE | re.DOTALL)]


def _bits(dataset: Dataset) -> tuple[int, int]:
    """Return how many bits a word has, and how many hold its value, from the lowest on."""
    with refusing(UNUSABLE):
        bits, size = dataset.BitsAllocated, get_expected_length(dataset)
        stored = dataset.get("BitsStored", bits) if "PixelData" in dataset else bits  # or floats
        lowest = dataset.get("HighBit", stored - 1) + 1 - stored
        usable = bits in (1, 8, 16, 32, 64) and 0 < stored <= bits and size > 0 == lowest
        refuse_if(not usable, UNUSABLE)
    return bits, stored


def clean(dataset: Dataset, boxes: tuple[Box, ...]) -> bool:
    """Drop every byte beside the samples and blank boxes; say whether a box was blanked.

    Raises
    ------
    RefusedError
        When the pixels are not whole, or cannot be accounted for.
    """
    tag = next((tag for tag in PIXELS if tag in dataset), None)
    if tag is None:
        return False
    _bits(dataset)
    size, frames = get_expected_length(dataset), get_nr_frames(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    refuse_if(not syntax.is_transfer_syntax, "has a transfer syntax that pydicom does not know")
    packed, picked = syntax.is_encapsulated, [box for box in boxes if box.picks(dataset)]
    gone = any(dataset.Rows <= box.row0 or dataset.Columns <= box.col0 for box in picked)
    refuse_if(gone, "has no pixel in a box that is to be blanked")
    unpack = syntax == RLELossless or (packed and picked)  # no decoder reads all run lengths
    refuse_if((unpack or picked) and size > 2 * LIMIT, "is too large to be decoded")
    refuse_if(packed and size > frames * LIMIT, "has frames that are too large to be decoded")
    if packed and not unpack:
        _encapsulated(dataset, syntax, frames)
        return False
    if unpack:
        with refusing("cannot be decoded"):
            dataset.decompress(as_rgb=bool(picked), generate_instance_uid=False)
    _native(dataset, dataset[tag])
    if picked:
        _blank(dataset, picked)
    return bool(picked)


def _mask(values: NDArray[np.unsignedinteger], dataset: Dataset) -> NDArray[np.unsignedinteger]:
    """Return unsigned words with the bits above the stored ones cleared.

    In signed data the sign is repeated in them, unless no word has a bit there.
    """
    bits, stored = _bits(dataset)
    signs = dataset.get("PixelRepresentation") == 1 and bool((values >> stored).any())
    words = values.astype(f"{'i' if signs else 'u'}{values.itemsize}")
    return (words << bits - stored >> bits - stored).astype(f"u{values.itemsize}")


def _native(dataset: Dataset, element: DataElement) -> None:
    """Cut uncompressed pixels after their last frame, and clear the bits above the stored ones."""
    size, data, (bits, stored) = get_expected_length(dataset), element.value, _bits(dataset)
    refuse_if(not isinstance(data, bytes) or len(data) < size, "has truncated pixel data")
    new = data[:size]
    if bits == 1:
        spare = -get_expected_length(dataset, "pixels") % 8
        new = new[:-1] + bytes([new[-1] & (0xFF >> spare)])
    elif stored < bits:
        new = _mask(np.frombuffer(new, f"<u{bits // 8}"), dataset).tobytes()
    element.value = new + b"\0" * (size % 2)


def _encapsulated(dataset: Dataset, syntax: UID, frames: int) -> None:
    """Clean each frame of compressed pixels, and pack them with a fresh table of offsets."""
    kind = next((kind for root, kind in RULES["streams"].items() if syntax.startswith(root)), "")
    refuse_if(not kind, "is compressed in a way that cannot be cleaned (video or the like)")
    with refusing("has fragments of pixels that cannot be put together"):
        found = list(generate_frames(dataset.PixelData, number_of_frames=frames))
    refuse_if(len(found) < frames, "has fewer frames than it states")
    dataset.PixelData = encapsulate([_frame(one, kind, dataset) for one in found[:frames]])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True


def _frame(data: bytes, kind: str, dataset: Dataset) -> bytes:
    """Return one compressed frame with nothing beside its samples."""
    with refusing("has a compressed stream that ends early"):
        new, (*size, held) = _cleaned(data)
    stated, (bits, stored) = [dataset.Rows, dataset.Columns], _bits(dataset)
    refuse_if(size != stated, "is compressed with another size than it states")
    if new not in (data, data.rstrip(b"\0")) or held > stored:
        decode = getattr(imagecodecs, f"{kind}_decode")
        with refusing("cannot be decoded to compare it"):
            samples, before = decode(new), decode(data)
        refuse_if(not np.array_equal(samples, before), "decodes otherwise when it is cleaned")
        words = samples.view(f"u{samples.itemsize}")
        known = samples.itemsize * 8 == bits and np.array_equal(_mask(words, dataset), words)
        refuse_if(held > stored and not known, "has bits above Bits Stored in compressed pixels")
    return new


def _cleaned(data: bytes) -> tuple[bytes, tuple[int, int, int]]:
    """Return a JPEG, JPEG-LS or bare JPEG 2000 stream without comments; rows, columns, bits."""
    data = data[max(data.find(b"\xff\x4f\xff\x51"), 0) :]  # a JP2 file holds it in a box
    refuse_if(
        data[:2] not in (b"\xff\xd8", b"\xff\x4f"),
        "has a compressed stream that does not begin as one",
    )
    out, at, tile, scans, size = bytearray(data[:2]), 2, 0, 0, (0, 0, 0)
    while data[at : at + 1] == b"\xff" and data[at + 1] != 0xD9:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        end = at + 2 + (length if marker != PACKETS else 0)  # which follow without a length
        refuse_if(end > len(data) or end == at + 3, "has a damaged compressed stream")
        body, at = data[at + 4 : end], end
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


def _blank(dataset: Dataset, boxes: list[Box]) -> None:
    """Set boxes in uncompressed pixels to black."""
    kind, samples = dataset.PhotometricInterpretation, dataset.SamplesPerPixel
    plain = dataset.BitsAllocated in (8, 16, 32) and "PixelData" in dataset and kind[-3:] != "422"
    refuse_if(not plain, "has a box to blank in pixels that are not plain words")
    values = pixel_array(dataset, raw=True).copy()
    planes = values.reshape(-1, dataset.Rows, dataset.Columns, samples)
    black = {"RGB": 0, "YBR_FULL": (0, 128, 128), "MONOCHROME1": values.max()}
    for box in boxes:
        planes[:, box.row0 : box.row1, box.col0 : box.col1] = black.get(kind, values.min())
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    if samples > 1:
        dataset.PlanarConfiguration = 0

"""Find the bytes of one frame in a DICOM file, and refuse what is cut short."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.header import UNDEFINED, Element, Fragment, OpenDicom
from medimg.images.layout import Layout

_log = logging.getLogger(__name__)

_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0"
# A frame begins with one of these when it is JPEG, JPEG-LS, JPEG 2000 or JPEG XL.
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0c", b"\xff\x0a")


def native_frame(source: OpenDicom, element: Element, layout: Layout, frame: int) -> bytes:
    """Return the bytes that hold one uncompressed frame, which may begin inside the first."""
    whole = (layout.frame_bits * layout.frames + 7) // 8
    present = min(element.length, source.size - element.start)
    if present < whole:
        raise ImageReadError(
            f"{source.path}: the pixel data are cut short: {layout} need {whole} bytes "
            f"and the file holds {max(present, 0)}; copy or export the file again."
        )
    first = layout.frame_bits * frame // 8
    last = (layout.frame_bits * (frame + 1) + 7) // 8
    if source.little_endian or element.vr != "OW" or layout.allocated != 8:
        source.stream.seek(element.start + first)
        return source.stream.read(last - first)
    # Bytes written as big-endian words of two: each pair stands the wrong way round.
    even = first // 2 * 2
    source.stream.seek(element.start + even)
    words = source.stream.read(last - even + (last - even) % 2)
    swapped = np.frombuffer(words[: len(words) // 2 * 2], ">u2").astype("<u2").tobytes()
    return swapped[first - even : last - even]


def is_encapsulated(source: OpenDicom, element: Element, layout: Layout) -> bool:
    """Tell whether the pixels come as items, which some writers give a definite length."""
    if element.length == UNDEFINED:
        return True
    source.stream.seek(element.start)
    items = source.stream.read(4) == _ITEM
    return items and element.length * 8 < layout.frame_bits * layout.frames


def encapsulated_frame(source: OpenDicom, element: Element, frames: int, frame: int) -> bytes:
    """Return the bytes of one compressed frame, its fragments joined."""
    if not source.found:
        fragments = list(_fragments(source, element))
        if len(fragments) < 2:
            raise ImageReadError(
                f"{source.path}: the compressed pixel data are empty; export the file again."
            )
        source.found.extend(_group(source, fragments[0], fragments[1:], frames))
    if frame >= len(source.found):
        raise ImageReadError(
            f"{source.path}: {frames} frames are declared and only {len(source.found)} are in the "
            "file; it is cut short, so copy or export it again."
        )
    return b"".join(_read(source.stream, piece) for piece in source.found[frame])


def _fragments(source: OpenDicom, element: Element) -> Iterator[Fragment]:
    """Yield the items of encapsulated pixel data: the offset table, then each fragment."""
    stream, at, base = source.stream, element.start, -1
    while True:
        stream.seek(at)
        head = stream.read(8)
        if head[:4] == _END:
            return
        if not head and base >= 0:  # every item is whole, only the end marker is missing
            _log.warning("%s: the end marker of the pixel data is missing", source.path)
            return
        length = struct.unpack("<L", head[4:])[0] if len(head) == 8 else UNDEFINED
        if head[:4] != _ITEM or at + 8 + length > source.size:
            raise ImageReadError(
                f"{source.path}: the compressed pixel data are cut short or damaged at byte {at} "
                f"of {source.size}; copy or export the file again."
            )
        yield Fragment(at - base if base >= 0 else -1, at + 8, length)
        at += 8 + length
        base = at if base < 0 else base


def _group(
    source: OpenDicom, table: Fragment, pieces: list[Fragment], frames: int
) -> list[list[Fragment]]:
    """Gather fragments into frames: by the offset tables, by number, or by start markers."""
    if frames == 1:
        return [pieces]
    if len(pieces) == frames:
        return [[piece] for piece in pieces]
    offsets = set(_offsets(source, table))
    groups: list[list[Fragment]] = []
    for piece in pieces:
        begins = piece.offset in offsets
        if not offsets:
            source.stream.seek(piece.start)
            begins = source.stream.read(4).startswith(_STARTS)
        if begins or not groups:
            groups.append([])
        groups[-1].append(piece)
    return groups


def _offsets(source: OpenDicom, table: Fragment) -> list[int]:
    extended = source.dataset.get("ExtendedOffsetTable")
    if isinstance(extended, bytes) and extended:
        return list(struct.unpack(f"<{len(extended) // 8}Q", extended[: len(extended) // 8 * 8]))
    basic = _read(source.stream, table)
    return list(struct.unpack(f"<{len(basic) // 4}L", basic[: len(basic) // 4 * 4]))


def _read(stream: BinaryIO, fragment: Fragment) -> bytes:
    stream.seek(fragment.start)
    return stream.read(fragment.length)

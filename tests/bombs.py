"""Small files made to take much memory or time, and what each costs to look at.

    python tests/bombs.py

Every bomb is read, scanned and asked whether it is an image, in a process apart; the table says
what came of it, the seconds of computing and the megabytes of memory (where the system tells).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
from dicom_files import item, make_dicom
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

GREY = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
ITEM = b"\xfe\xff\x00\xe0"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, cost in costs(Path(folder)):
            seconds, megabytes, said = cost["seconds"], cost["megabytes"], cost["said"]
            sys.stdout.write(f"{name:28} {seconds:6.2f} s {megabytes:6.0f} MB  {said}\n")
            sys.stdout.flush()


def costs(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Build all bombs in a folder; yield name, seconds, megabytes and outcome of each.

    One process reads them all, so that the megabytes of each are those beyond the ones before.
    """
    build(folder)
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as child:
        for line in child.stdout or ():
            yield tuple(json.loads(line))
    if child.returncode:
        raise RuntimeError(f"the process that reads the bombs ended with {child.returncode}")


def look(path: Path) -> None:
    """Print as JSON what one file costs in all ways of looking at it; the longest counts."""
    from medimg.images import (
        ImageReadError,
        is_image_file,
        read_header,
        read_image,
        read_series,
        scan,
    )

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    alone = path.parent.parent / f"{path.parent.name}-alone" / path.name
    alone.parent.mkdir(exist_ok=True)
    path.replace(alone)
    before, seconds, said = peak(), 0.0, ""
    ways = [is_image_file, read_image]
    ways += [read_header, read_series] if alone.stat().st_size < 50e6 else []
    for way in [*ways, lambda _: scan(alone.parent, progress=False)]:
        begun = time.process_time()
        try:
            way(alone)
            said = said or ("read" if way is read_image else "")
        except ImageReadError as error:
            said = said or (str(error).removeprefix(f"{alone}: ") if way is read_image else "")
        seconds = max(seconds, time.process_time() - begun)
    cost = {"seconds": seconds, "megabytes": peak() - before, "said": said}
    sys.stdout.write(json.dumps([alone.name, cost]) + "\n")
    sys.stdout.flush()
    alone.unlink()


def peak() -> float:
    """Return the most memory that this process has held, in megabytes, 0 where not known."""
    with contextlib.suppress(ImportError):
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return 0.0


def build(folder: Path) -> None:
    """Write the bombs; the largest is a few megabytes on disk."""
    pictures(folder)
    tiffs(folder)
    dicoms(folder)
    raw = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).to_bytes()
    wide = bytearray(raw)
    wide[40:48] = struct.pack("<4h", 3, 30000, 30000, 30000)
    (folder / "nifti.nii").write_bytes(wide)
    (folder / "nifti.nii.gz").write_bytes(b"\x1f\x8b\x08" + bytes(7) + swelling(bytes(wide), 600))


def swelling(start: bytes, blocks: int) -> bytes:
    """Return deflated bytes: `start`, then so many blocks of a megabyte of zeros."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)) * blocks


def pictures(folder: Path) -> None:
    body = b"VP8L" + struct.pack("<L", 14) + b"\x2f\xff\xff\xff\x0f" + bytes(9)
    (folder / "webp").write_bytes(b"RIFF" + struct.pack("<L", 4 + len(body)) + b"WEBP" + body)
    jp2 = bytearray(imagecodecs.jpeg2k_encode(GREY, level=0, reversible=True))
    header, size = jp2.index(b"ihdr") + 4, jp2.index(b"\xff\x4f\xff\x51") + 8
    jp2[header : header + 8] = struct.pack(">2L", 60000, 60000)
    for at in (size, size + 16):
        jp2[at : at + 8] = struct.pack(">2L", 60000, 60000)
    (folder / "jp2").write_bytes(jp2)
    (folder / "jp2 of many tiles").write_bytes(
        bytes(jp2[: size + 16]) + struct.pack(">2L", 1, 1) + bytes(jp2[size + 24 :])
    )
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, "JPEG")
    plain = buffer.getvalue()
    at = plain.index(b"\xff\xc0") + 5
    huge = plain[:at] + struct.pack(">2H", 65500, 65500) + plain[at + 4 :]
    (folder / "jpeg").write_bytes(huge)
    (folder / "jpeg with FF01").write_bytes(b"\xff\xd8\xff\x01" + huge[2:])
    shown = io.BytesIO()
    Image.new("L", (4000, 4000), 99).save(shown, "JPEG", progressive=True)
    data = shown.getvalue()
    last = data.rindex(b"\xff\xda")
    (folder / "jpeg of many scans").write_bytes(data[:last] + data[last:-2] * 1000 + b"\xff\xd9")
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<2H3B", 2000, 2000, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    (folder / "gif of many frames").write_bytes(head + frame * 300_000 + b";")

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))
        )

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2L5B", 60000, 60000, 8, 0, 0, 0, 0))
    (folder / "png").write_bytes(
        start + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")
    )
    small = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2L5B", 9, 9, 8, 0, 0, 0, 0))
    (folder / "png of many chunks").write_bytes(small + chunk(b"prVt", b"") * 1_000_000)


def tiffs(folder: Path) -> None:
    def page(after: int, **tags: int) -> bytes:
        known = {256: 8000, 257: 8000, 258: 8, 259: 32773, 262: 1, 273: 8, 277: 1, 278: 8000,
                 279: 504_000} | {int(tag[1:]): value for tag, value in tags.items()}  # fmt: skip
        body = b"".join(struct.pack("<HHLL", tag, 4, 1, known[tag]) for tag in sorted(known))
        return struct.pack("<H", len(known)) + body + struct.pack("<L", after)

    strip = b"\x81\x00" * 504_000  # PackBits: 128 zeros each, row after row
    for name, pages, tags in (
        ("tiff of one strip", 500, {"_279": len(strip)}),
        ("tiff of many pages", 100_000, {"_256": 2, "_257": 2, "_278": 2}),
        ("tiff of one tile", 1, {"_322": 2**20, "_323": 2**20}),
    ):
        length = len(page(0, **tags))
        first = 8 + len(strip)
        body = b"".join(
            page(first + (n + 1) * length if n + 1 < pages else 0, **tags) for n in range(pages)
        )
        (folder / name).write_bytes(b"II*\0" + struct.pack("<L", first) + strip + body)
    entries = b"".join(struct.pack("<HHLL", 40000 + n, 1, 10**6, 8) for n in range(2000))
    first = struct.pack("<H", 2000) + entries + bytes(4)
    strip = bytes(10**6)
    (folder / "tiff of claims").write_bytes(
        b"II*\0" + struct.pack("<L", 8 + len(strip)) + strip + first
    )


def dicoms(folder: Path) -> None:
    one = np.zeros((1, 1), np.uint8)
    make_dicom(folder / "dicom of 2^24 frames", one, data=bytes(2**21), NumberOfFrames=2**24,
               BitsAllocated=1, BitsStored=1, HighBit=0)  # fmt: skip
    make_dicom(folder / "dicom deflated", GREY, syntax=DeflatedExplicitVRLittleEndian)
    whole = (folder / "dicom deflated").read_bytes()
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    blob = swelling(struct.pack("<HH2sHL", 9, 0x1010, b"OB", 0, 2 * 10**9), 2000)
    (folder / "dicom deflated").write_bytes(whole[:start] + blob)
    path = make_dicom(folder / "dicom with a 3 GB blob", GREY)
    raw = path.read_bytes()
    at = raw.index(b"\xe0\x7f\x10\x00")
    with open(path, "wb") as file:  # sparse: it takes no place on most file systems
        file.write(raw[:at] + struct.pack("<HH2sHL", 0x29, 0x1010, b"OB", 0, 3 * 10**9))
        file.seek(3 * 10**9, 1)
        file.write(raw[at:])
    make_dicom(folder / "dicom of many elements", GREY)
    element = struct.pack("<HH2sH", 0x29, 0x1010, b"LO", 0)
    (folder / "dicom of many elements").write_bytes(raw[:at] + element * 2_000_000 + raw[at:])
    group = struct.pack("<HH2sH", 0x5200, 0x9230, b"SQ", 0)  # per-frame functional groups
    unknown = struct.pack("<HH2sHL", 0x29, 0x1010, b"UN", 0, 0xFFFFFFFF)
    for name, start, inside in (
        ("items", group + b"\xff" * 4, (ITEM + bytes(4)) * 1_500_000),
        ("long items", group + b"\xff" * 4, (ITEM + b"\x08\0\0\0" + element) * 750_000),
        ("nested elements", group + b"\xff" * 4 + ITEM + b"\xff" * 4, element * 1_500_000),
        ("unknown items", unknown, (ITEM + bytes(4)) * 1_500_000),
        ("items, counted", group + struct.pack("<L", 12_000_000), (ITEM + bytes(4)) * 1_500_000),
        ("elements, counted", group + struct.pack("<L", 12_000_008) + ITEM
         + struct.pack("<L", 12_000_000), element * 1_500_000),
    ):  # fmt: skip
        (folder / f"dicom of many {name}").write_bytes(raw[:at] + start + inside + raw[at:])
    pieces = ITEM + bytes(4)
    for name, syntax, frames in (
        ("dicom of many pieces", JPEGBaseline8Bit, [b"xx"]),
        ("dicom RLE", RLELossless, [struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 10**7]),
        ("dicom JPEG-LS", JPEGLSLossless, [_large(imagecodecs.jpegls_encode(GREY), b"\xff\xf7")]),
        ("dicom J2K", JPEG2000Lossless, [(folder / "jp2").read_bytes()]),
    ):
        make_dicom(folder / name, GREY, syntax=syntax, frames=frames)
        if "pieces" in name:
            raw = (folder / name).read_bytes()
            at = raw.rindex(ITEM)
            (folder / name).write_bytes(
                raw[:at] + pieces * 2_000_000 + b"\xfe\xff\xdd\xe0" + bytes(4)
            )
    huge = {"Rows": 20000, "Columns": 20000}
    stream = _large(imagecodecs.jpegls_encode(GREY), b"\xff\xf7")
    make_dicom(folder / "dicom JPEG-LS as declared", GREY, syntax=JPEGLSLossless, frames=[stream],
               **huge)  # fmt: skip
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    words = np.array([0, 1, 7] + [1, 65535, 9] * 20000 + [2, 65535, 0, 0] * 5000, "<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        palette |= {f"{name}Descriptor": [0, 0, 16], f"Segmented{name}Data": words}
    make_dicom(folder / "dicom of segments", GREY, **palette)
    groups = [item(FrameVOILUTSequence=[item(WindowCenter=9, WindowWidth=90)])] * 3_000
    make_dicom(folder / "dicom of many groups", one, data=bytes(3_000), NumberOfFrames=3_000,
               PerFrameFunctionalGroupsSequence=groups)  # fmt: skip


def _large(stream: bytes, marker: bytes) -> bytes:
    at = stream.index(marker) + 5
    return stream[:at] + struct.pack(">2H", 20000, 20000) + stream[at + 4 :]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        for bomb in sorted(Path(sys.argv[1]).iterdir()):
            look(bomb)
    else:
        main()

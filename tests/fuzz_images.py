"""Damage small image files of every kind, and see that each gives an image or ImageReadError.

    python tests/fuzz_images.py [MUTATIONS] [SEED]

A child process does the reading, so that a crash of a decoder is seen and counted too. It fails on
any other exception, a wrong shape or range, 2 s of computing or 1 GB of memory for one file.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import imagecodecs
import numpy as np
from dicom_files import item, lut_item, make_dicom
from PIL import Image
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from medimg.images import ImageReadError, read_image

SECONDS, MEGABYTES = 2.0, 1024
# Bytes that mean something to a parser: items, lengths, tags, markers.
TOKENS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xd9",
          b"\x7f\xff\xff\xff", b"SQ\0\0", b"UN", b"OW", b"\x28\x00\x10\x00", b"\xe0\x7f\x10\x00",
          b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"IHDR", b"II*\0")  # fmt: skip


def seeds(folder: Path) -> list[bytes]:
    """Return 40 small files of all kinds."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (12, 17), dtype=np.uint8)
    words = rng.integers(0, 4096, (12, 17), dtype=np.uint16)
    rgb = rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    return _dicom(folder / "seed", grey, words, rgb) + _pictures(grey, words, rgb)


def _dicom(path: Path, grey: np.ndarray, words: np.ndarray, rgb: np.ndarray) -> list[bytes]:
    made: list[bytes] = []

    def add(*args: object, **options: object) -> None:
        made.append(make_dicom(path, *args, **options).read_bytes())

    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        add(words, syntax=syntax, WindowCenter=[600, 40], WindowWidth=[1600, 400])
    add(grey, preamble=False)
    add(words, RescaleSlope=2, RescaleIntercept=-1024, PixelPaddingValue=0, Modality="CT")
    add(words, Modality="MR", PhotometricInterpretation="MONOCHROME1")
    add(words, ModalityLUTSequence=[lut_item(5, [1, 2, 900], bits=16)])
    add(words, VOILUTSequence=[lut_item(0, list(range(200)))])
    add(rgb)
    add(rgb, PlanarConfiguration=1, PhotometricInterpretation="YBR_FULL")
    add(rgb, PhotometricInterpretation="YBR_FULL_422", data=bytes(12 * 18 * 2), Columns=18)
    groups = item(FrameVOILUTSequence=[item(WindowCenter=9, WindowWidth=90)])
    add(np.stack([grey, grey]), PerFrameFunctionalGroupsSequence=[groups, groups])
    add(grey, BitsAllocated=1, BitsStored=1, HighBit=0, data=bytes(26))
    add(words, BitsAllocated=12, BitsStored=12, HighBit=11, data=bytes(306))
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    segmented = dict(palette)
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        palette |= {f"{name}Descriptor": [256, 0, 8], f"{name}Data": bytes(range(256))}
        segmented |= {f"{name}Descriptor": [5, 0, 16]}
        codes = np.array([0, 1, 0, 1, 3, 300, 2, 1, 0, 0], "<u2").tobytes()
        segmented |= {f"Segmented{name}Data": codes}
    add(grey, **palette)
    add(grey, **segmented)
    add(words.astype(np.int16) - 2048, PixelPaddingValue=-2048, BitsStored=13, HighBit=12)
    add(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    jpeg = imagecodecs.jpeg8_encode
    for pixels, syntax, stream in (
        (grey, JPEGBaseline8Bit, jpeg(grey)),
        (rgb, JPEGBaseline8Bit, jpeg(rgb)),
        (words, JPEGExtended12Bit, jpeg(words, bitspersample=12)),
        (words, JPEGLosslessSV1, jpeg(words, lossless=True, bitspersample=12)),
        (words, JPEGLSLossless, imagecodecs.jpegls_encode(words)),
        (rgb, JPEGLSLossless, imagecodecs.jpegls_encode(rgb)),
        (words, JPEG2000Lossless, _j2k(words)),
        (rgb, JPEG2000Lossless, _j2k(rgb)),
    ):
        add(pixels, syntax=syntax, frames=[stream])
    add(grey, syntax="1.2.840.10008.1.2.5", frames=[_rle(grey)])
    add(np.stack([grey, grey]), syntax=JPEGLSLossless, frames=[imagecodecs.jpegls_encode(grey)] * 2)
    return made


def _j2k(pixels: np.ndarray) -> bytes:
    encoded: bytes = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k")
    return encoded


def _rle(grey: np.ndarray) -> bytes:
    head = np.array([1, 64] + [0] * 14, "<u4").tobytes()
    packed: bytes = imagecodecs.packbits_encode(grey.tobytes())
    return head + packed


def _pictures(grey: np.ndarray, words: np.ndarray, rgb: np.ndarray) -> list[bytes]:
    made = []
    for samples, kind, options in (
        (grey, "PNG", {}), (words, "PNG", {}), (rgb, "PNG", {}), (grey, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True}), (grey, "TIFF", {}), (words, "TIFF", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}), (rgb, "TIFF", {"compression": "jpeg"}),
        (grey, "GIF", {}), (rgb, "BMP", {}), (rgb, "WEBP", {"lossless": True}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        Image.fromarray(samples).save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return made


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` damaged in one to four ways."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        kind, at = rng.integers(7), int(rng.integers(max(len(out), 1)))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del out[at:]
        elif kind == 2:  # a length field, or anything that looks like one
            width = int(rng.choice([2, 4]))
            out[at : at + width] = rng.integers(0, 256, width, dtype=np.uint8).tobytes()
        elif kind == 3:  # two tags change places
            other = int(rng.integers(max(len(out), 1)))
            out[at : at + 4], out[other : other + 4] = out[other : other + 4], out[at : at + 4]
        elif kind == 4:
            token = TOKENS[int(rng.integers(len(TOKENS)))]
            out[at : at + len(token)] = token
        elif kind == 5:
            out[at:at] = out[at : at + int(rng.integers(1, 64))]
        else:
            del out[at : at + int(rng.integers(1, 16))]
    return bytes(out)


def case(files: list[bytes], seed: int, number: int) -> bytes:
    """Return mutation `number` of a run with `seed`."""
    return mutate(files[number % len(files)], np.random.default_rng([seed, number]))


def child(first: int, last: int, seed: int, folder: Path) -> None:
    """Read the mutations `first` to `last - 1`, noting each before it is read."""
    logging.disable(logging.CRITICAL)
    files = seeds(folder)
    target, note = folder / "case.dcm", folder / "number"
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        note.write_text(str(number))
        target.write_bytes(case(files, seed, number))
        faulthandler.dump_traceback_later(60, exit=True)
        begun, outcome = time.process_time(), "image"
        try:
            image = read_image(target)
            if image.ndim != 2 or not np.isfinite(image).all():
                raise AssertionError("not a finite (H, W) image")
            if image.min() < 0 or image.max() > 1:
                raise AssertionError("values outside 0 to 1")
        except ImageReadError as error:
            outcome = "refused"
            if "not enough memory" in str(error):
                raise
        if time.process_time() - begun > SECONDS:
            raise TimeoutError(f"case {number} took {time.process_time() - begun:.1f} s")
        sys.stdout.write(f"{outcome}\n")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
        if grown > MEGABYTES:
            raise MemoryError(f"case {number} took {grown:.0f} MB")


def fuzz(mutations: int, seed: int = 0, first: int = 0) -> tuple[Counter[str], list[str]]:
    """Return how many mutations gave an image or a refusal, and a description of each failure."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    last = first + mutations
    with tempfile.TemporaryDirectory() as name:
        while first < last:
            command = [sys.executable, __file__, "child", str(first), str(last), str(seed), name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            counts.update(done.stdout.split())
            if done.returncode == 0:
                break
            number = int((Path(name) / "number").read_text())
            failures.append(f"case {number}, status {done.returncode}: {done.stderr[-600:]}")
            first = number + 1
    return counts, failures


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*map(int, sys.argv[2:5]), Path(sys.argv[5]))
    else:
        total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
        found, bad = fuzz(total, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
        report = [*bad, f"{total} mutations: {dict(found)}, {len(bad)} failures\n"]
        sys.stdout.write("\n".join(report))
        sys.exit(bool(bad))

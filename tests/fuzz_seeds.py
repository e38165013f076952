"""Small whole files of every kind that `read_image` opens, for the fuzzer to damage."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from dicom_files import item, lut_item, make_dicom
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """Return (kind, bytes) of 40 DICOM files and 24 pictures."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (12, 17), dtype=np.uint8)
    words = rng.integers(0, 4096, (12, 17), dtype=np.uint16)
    rgb = rng.integers(0, 256, (12, 17, 3), dtype=np.uint8)
    made: list[tuple[str, bytes]] = []

    def add(kind: str, *args: object, **options: object) -> None:
        made.append((f"DICOM {kind}", make_dicom(folder / "seed", *args, **options).read_bytes()))

    _native(add, grey, words, rgb)
    _compressed(add, grey, words, rgb)
    return made + _pictures(grey, words, rgb)


def _native(add, grey: np.ndarray, words: np.ndarray, rgb: np.ndarray) -> None:
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("big endian", ExplicitVRBigEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
    ):
        add(name, words, syntax=syntax, WindowCenter=[600, 40], WindowWidth=[1600, 400])
    add("bare", grey, preamble=False)
    add("bare implicit", words, preamble=False, syntax=ImplicitVRLittleEndian)
    add("CT", words, RescaleSlope=2, RescaleIntercept=-1024, PixelPaddingValue=0, Modality="CT")
    add("MR", words, Modality="MR", PhotometricInterpretation="MONOCHROME1")
    add("modality LUT", words, ModalityLUTSequence=[lut_item(5, [1, 2, 900], bits=16)])
    add("VOI LUT", words, VOILUTSequence=[lut_item(0, list(range(200)))])
    add("RGB", rgb)
    add("YBR planar", rgb, PlanarConfiguration=1, PhotometricInterpretation="YBR_FULL")
    halved = {"PhotometricInterpretation": "YBR_FULL_422", "Columns": 18}
    add("YBR 422", rgb, data=bytes(12 * 18 * 2), **halved)
    groups = item(FrameVOILUTSequence=[item(WindowCenter=9, WindowWidth=90)])
    add("enhanced", np.stack([grey, grey]), PerFrameFunctionalGroupsSequence=[groups, groups])
    add("1 bit", grey, BitsAllocated=1, BitsStored=1, HighBit=0, data=bytes(26))
    add("12 bits", words, BitsAllocated=12, BitsStored=12, HighBit=11, data=bytes(306))
    add("32 bits", words.astype(np.uint32) << 18)
    palette: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    segmented = dict(palette)
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        palette |= {f"{name}Descriptor": [256, 0, 8], f"{name}Data": bytes(range(256))}
        segmented |= {f"{name}Descriptor": [5, 0, 16]}
        codes = np.array([0, 1, 0, 1, 3, 300, 2, 1, 0, 0], "<u2").tobytes()
        segmented |= {f"Segmented{name}Data": codes}
    add("palette", grey, **palette)
    add("palette segmented", grey, **segmented)
    add("signed", words.astype(np.int16) - 2048, PixelPaddingValue=-2048, BitsStored=13, HighBit=12)
    for kind, tag, vr, code in (("float", 8, "OF", "<f4"), ("double", 9, "OD", "<f8")):
        pixels = DataElement(0x7FE00000 + tag, vr, words.astype(code).tobytes())
        add(kind, words, data=b"", BitsStored=None, HighBit=None, elements=[pixels])
    add("report", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    add("DICOMDIR", DirectoryRecordSequence=[item(ReferencedFileID=["A", "IM1"])] * 2)


def _compressed(add, grey: np.ndarray, words: np.ndarray, rgb: np.ndarray) -> None:
    jpeg = imagecodecs.jpeg8_encode
    twelve = {"BitsStored": 12, "HighBit": 11}
    add("JPEG", grey, syntax=JPEGBaseline8Bit, frames=[jpeg(grey)])
    add("JPEG RGB", rgb, syntax=JPEGBaseline8Bit, frames=[jpeg(rgb)])
    stream = jpeg(words, bitspersample=12)
    add("JPEG 12 bits", words, syntax=JPEGExtended12Bit, frames=[stream], **twelve)
    stream = jpeg(words, lossless=True, bitspersample=12)
    add("JPEG lossless", words, syntax=JPEGLosslessSV1, frames=[stream], **twelve)
    stream = jpeg(rgb, lossless=True)
    add("JPEG lossless RGB", rgb, syntax=JPEGLosslessSV1, frames=[stream])
    stream = imagecodecs.jpegls_encode(words)
    add("JPEG-LS", words, syntax=JPEGLSLossless, frames=[stream])
    pieces = [stream[:100] + b"", stream[100:]]
    add("JPEG-LS in pieces", words, syntax=JPEGLSLossless, frames=pieces)
    add("JPEG-LS RGB", rgb, syntax=JPEGLSLossless, frames=[imagecodecs.jpegls_encode(rgb)])
    add("JPEG 2000", words, syntax=JPEG2000Lossless, frames=[_j2k(words)])
    add("JPEG 2000 RGB", rgb, syntax=JPEG2000Lossless, frames=[_j2k(rgb)])
    add("HTJ2K", words, syntax=HTJ2KLossless, frames=[_htj2k(words)])
    add("RLE", grey, syntax=RLELossless, frames=[_rle([grey])])
    add("RLE 16", words, syntax=RLELossless, frames=[_rle([words >> 8, words & 255])])
    add("RLE RGB", rgb, syntax=RLELossless, frames=[_rle(list(rgb.transpose(2, 0, 1)))])
    packer = zlib.compressobj(wbits=-15)
    frame = packer.compress(grey.tobytes()) + packer.flush()
    add("deflated frame", grey, syntax=DEFLATED_FRAME, frames=[frame])
    two = [imagecodecs.jpegls_encode(grey), imagecodecs.jpegls_encode(grey[::-1].copy())]
    add("JPEG-LS frames", np.stack([grey, grey]), syntax=JPEGLSLossless, frames=two)


def _j2k(pixels: np.ndarray) -> bytes:
    encoded: bytes = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k")
    return encoded


def _htj2k(pixels: np.ndarray) -> bytes:
    encoded: bytes = imagecodecs.htj2k_encode(pixels, reversible=True)
    return encoded


def _rle(planes: list[np.ndarray]) -> bytes:
    packed = [imagecodecs.packbits_encode(plane.astype(np.uint8).tobytes()) for plane in planes]
    starts = 64 + np.cumsum([0] + [len(segment) for segment in packed])[:-1]
    return struct.pack("<16L", len(packed), *starts, *[0] * (15 - len(packed))) + b"".join(packed)


def _pictures(grey: np.ndarray, words: np.ndarray, rgb: np.ndarray) -> list[tuple[str, bytes]]:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.fromarray
    wide = imagecodecs.png_encode
    more = {"save_all": True, "append_images": [image(grey[::-1].copy())]}
    tall = np.stack([words, words], axis=-1)
    return [
        ("PNG", _saved(grey, "PNG")), ("PNG 16", _saved(words, "PNG")),
        ("PNG RGB", _saved(rgb, "PNG")), ("PNG RGB 16", wide(rgb.astype(np.uint16) * 257)),
        ("PNG grey+alpha 16", wide(tall)), ("PNG palette", _saved(image(rgb).quantize(9), "PNG")),
        ("PNG 1 bit", _saved(image(grey > 99), "PNG")),
        ("PNG animated", _saved(grey, "PNG", **more)),
        ("PNG RGBA", _saved(image(rgb).convert("RGBA"), "PNG")),
        ("JPEG", _saved(grey, "JPEG")), ("JPEG RGB", _saved(rgb, "JPEG", progressive=True)),
        ("JPEG turned", _saved(rgb, "JPEG", exif=turned)),
        ("JPEG CMYK", _saved(image(rgb).convert("CMYK"), "JPEG")),
        ("TIFF", _saved(grey, "TIFF")), ("TIFF 16", _saved(words, "TIFF")),
        ("TIFF LZW", _saved(rgb, "TIFF", compression="tiff_lzw")),
        ("TIFF JPEG", _saved(rgb, "TIFF", compression="jpeg")),
        ("TIFF pages", _saved(grey, "TIFF", **more)),
        ("TIFF float", _saved(words.astype(np.float32), "TIFF")),
        ("GIF", _saved(grey, "GIF")), ("GIF animated", _saved(grey, "GIF", **more)),
        ("BMP", _saved(rgb, "BMP")), ("WEBP", _saved(rgb, "WEBP", lossless=True)),
        ("JPEG2000", _saved(rgb, "JPEG2000")),
    ]  # fmt: skip


def _saved(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(buffer, kind, **options)
    return buffer.getvalue()

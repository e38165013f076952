"""What in the pixels may show who it is, and the blanking of boxes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from pydicom import Dataset
from pydicom.pixels.utils import get_expected_length, pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from medimg.deid.dicomfile import PIXELS, RefusedError
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


def refuse_what_cannot_be_cleaned(dataset: Dataset) -> None:
    """Raise RefusedError for objects of text, and for pixel data that is not whole."""
    uid = str(dataset.get("SOPClassUID", ""))
    for root, reason in REFUSED_CLASSES.items():
        if uid == root or uid.startswith(root + "."):
            raise RefusedError(reason)
    if "EncapsulatedDocument" in dataset:
        raise RefusedError("holds an encapsulated document, which cannot be cleaned")
    if "PixelData" in dataset and _is_native(dataset):
        try:
            expected = get_expected_length(dataset, unit="bytes")
        except (AttributeError, TypeError, ValueError, KeyError):
            raise RefusedError("has pixel data but no usable image size") from None
        if len(dataset.PixelData) < expected:
            raise RefusedError("has truncated pixel data")


def risks(dataset: Dataset) -> tuple[str, ...]:
    """Return what a person must look at, from the header of the original file.

    A reason that begins with ``text:`` or ``face:`` says what the pixels may show.
    """
    modality = str(dataset.get("Modality", "") or "").upper()
    has_pixels = any(tag in dataset for tag in PIXELS)
    burned = str(dataset.get("BurnedInAnnotation", "") or "").upper()
    where = " ".join(str(dataset.get(keyword, "") or "") for keyword in PLACES)
    sop_class = str(dataset.get("SOPClassUID", ""))
    overlays = [e for e in dataset if 0x6000 <= e.tag.group <= 0x60FF]
    slices = modality in ("CT", "MR", "PT")
    found = {
        "text: stated (Burned In Annotation YES)": burned == "YES",
        "text: not excluded (Burned In Annotation absent)": has_pixels
        and burned not in ("YES", "NO"),
        "text: secondary capture": sop_class.startswith(SECONDARY) or "ConversionType" in dataset,
        f"text: frequent in {modality} images": has_pixels and modality in TEXT_BURNED,
        "photograph": modality in PHOTOGRAPHS,
        "face: head series": slices and HEAD.search(where) is not None,
        "face: body part not stated": slices and not where.strip(),
        "recognisable features stated": dataset.get("RecognizableVisualFeatures") == "YES",
        "overlays removed": bool(overlays),
        "text: overlay bits inside compressed pixels": _has_embedded(dataset)
        and not _is_native(dataset),
    }
    return tuple(text for text, holds in found.items() if holds and has_pixels)


def may_show_text(reasons: Iterable[str]) -> bool:
    """Whether one of the reasons of `risks` is text in the pixels."""
    return any(reason.startswith("text: ") for reason in reasons)


def clean(dataset: Dataset, boxes: tuple[Box, ...]) -> tuple[str, ...]:
    """Blank boxes, clear overlay bits, cut bytes after the last frame; say what was done."""
    done = []
    if "PixelData" in dataset and _is_native(dataset):
        if _has_embedded(dataset):
            _clear_overlay_bits(dataset)
            done.append("overlay bits cleared")
        expected = get_expected_length(dataset, unit="bytes")
        expected += expected % 2
        if len(dataset.PixelData) > expected:
            dataset.PixelData = dataset.PixelData[:expected]
            done.append("bytes after the last frame cut")
    picked = [box for box in boxes if box.picks(dataset)]
    if picked and any(tag in dataset for tag in PIXELS):
        compressed = not _is_native(dataset)
        _blank(dataset, picked)
        done.append("box blanked, written uncompressed" if compressed else "box blanked")
    return tuple(done)


def _is_native(dataset: Dataset) -> bool:
    meta = getattr(dataset, "file_meta", None)
    syntax = getattr(meta, "TransferSyntaxUID", None)
    if syntax is None:
        return True
    if not syntax.is_transfer_syntax:
        raise RefusedError("has a transfer syntax that this version of pydicom does not know")
    return not syntax.is_compressed or bool(syntax.is_deflated)


def _has_embedded(dataset: Dataset) -> bool:
    """Whether an overlay lies in the unused high bits of the pixels (PS3.3 C.9.2, retired)."""
    groups = {element.tag.group for element in dataset if 0x6000 <= element.tag.group <= 0x60FF}
    return any((group, 0x0010) in dataset and (group, 0x3000) not in dataset for group in groups)


def _clear_overlay_bits(dataset: Dataset) -> None:
    """Keep the stored bits of each pixel; in signed data, repeat the sign above them."""
    bits, high = int(dataset.BitsAllocated), int(dataset.HighBit)
    if bits not in (8, 16, 32):
        raise RefusedError("has overlay bits in pixels of an unusual size")
    order = "<" if dataset.original_encoding[1] else ">"
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    dtype = np.dtype(f"{order}{'i' if signed else 'u'}{bits // 8}")
    low = high + 1 - int(dataset.BitsStored)
    values = np.frombuffer(dataset.PixelData, dtype=dtype)
    if signed:
        kept = (values << (bits - 1 - high)) >> (bits - 1 - high + low) << low
    else:
        kept = values & dtype.type(((1 << (high + 1)) - 1) & ~((1 << low) - 1))
    dataset.PixelData = kept.astype(dtype).tobytes()


def _blank(dataset: Dataset, boxes: list[Box]) -> None:
    """Decode, set the boxes to black, and store as Explicit VR Little Endian."""
    if int(dataset.get("BitsAllocated", 0)) not in (8, 16, 32) or "PixelData" not in dataset:
        raise RefusedError("has a box to blank in pixels that are not 8, 16 or 32 bits")
    try:
        values = pixel_array(dataset)
    except Exception as error:  # decoders raise whatever they like
        raise RefusedError(f"cannot be decoded to blank a box ({type(error).__name__})") from None
    colour = int(dataset.get("SamplesPerPixel", 1)) > 1
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    shape = (frames, int(dataset.Rows), int(dataset.Columns), values.shape[-1] if colour else 1)
    values = values.reshape(shape).copy()  # (F, H, W, samples)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    black = 0 if colour else (values.max() if inverted else values.min())
    for box in boxes:
        values[:, box.row0 : box.row1, box.col0 : box.col1] = black
    if colour:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    _to_little_endian(dataset)
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if int(dataset.BitsAllocated) <= 8 else "OW"
    dataset["PixelData"].is_undefined_length = False


def _to_little_endian(dataset: Dataset) -> None:
    """Let the data set be written as Explicit VR Little Endian."""
    big = not dataset.original_encoding[1]
    if big and any(e.VR == "OW" for e in dataset if e.tag != 0x7FE00010):
        raise RefusedError("is big endian with a box to blank and other 16-bit blocks")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian

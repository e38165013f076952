"""Build small DICOM files for tests, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.config import disable_value_validation
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)


def make_dataset(pixels: np.ndarray | None = None, **tags: Any) -> Dataset:
    """Return a plain header for `pixels` ((H, W), (H, W, 3) or (N, H, W) of frames; give
    NumberOfFrames too where W is 3).

    `tags` set or replace elements by keyword; None removes one.
    """
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["medimg tests"])
    dataset.Modality = "OT"
    dataset.BurnedInAnnotation = "NO"
    if pixels is not None:
        colour = pixels.ndim == 3 and pixels.shape[-1] == 3 and "NumberOfFrames" not in tags
        frames = pixels.ndim == 3 and not colour
        dataset.SamplesPerPixel = 3 if colour else 1
        dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            dataset.PlanarConfiguration = 0
        if frames:
            dataset.NumberOfFrames = len(pixels)
        dataset.Rows, dataset.Columns = pixels.shape[1:3] if frames else pixels.shape[:2]
        bits = pixels.dtype.itemsize * 8
        dataset.BitsAllocated = dataset.BitsStored = bits
        dataset.HighBit = bits - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def make_dicom(
    path: Path,
    pixels: np.ndarray | None = None,
    *,
    syntax: str = ExplicitVRLittleEndian,
    frames: Sequence[bytes] | None = None,
    data: bytes | None = None,
    elements: Sequence[DataElement] = (),
    preamble: bool = True,
    **tags: Any,
) -> Path:
    """Write a DICOM file and return its path.

    `frames` are compressed frames, `data` the bytes of the pixel data as they are; without either
    the pixels are written uncompressed. `elements` may break the standard.
    """
    with disable_value_validation():
        dataset = make_dataset(pixels, **tags)
        for element in elements:
            dataset[element.tag] = element
        big = syntax == ExplicitVRBigEndian
        if frames is not None:
            data = encapsulate(list(frames))
        elif data is None and pixels is not None:
            data = np.ascontiguousarray(pixels).astype(
                pixels.dtype.newbyteorder(">" if big else "<")
            )
            data = data.tobytes()
        if data is not None:
            wide = dataset.get("BitsAllocated", 8) > 8 and frames is None
            dataset.add_new(0x7FE00010, "OW" if wide else "OB", data + b"\0" * (len(data) % 2))
            dataset["PixelData"].is_undefined_length = frames is not None
        if not preamble:
            dcmwrite(path, dataset, implicit_vr=syntax == ImplicitVRLittleEndian,
                     little_endian=not big, enforce_file_format=False)  # fmt: skip
            return path
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        known = dataset.file_meta.TransferSyntaxUID.is_transfer_syntax
        dcmwrite(path, dataset, enforce_file_format=known, force_encoding=not known,
                 **({} if known else {"implicit_vr": False, "little_endian": True}))  # fmt: skip
        if not known:
            raw = path.read_bytes()
            path.write_bytes(raw if raw[128:132] == b"DICM" else bytes(128) + b"DICM" + raw)
    return path


def item(**tags: Any) -> Dataset:
    """Return a sequence item with these tags."""
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def lut_item(first: int, entries: Sequence[int], bits: int = 8, explanation: str = "") -> Dataset:
    """Return an item of a Modality or VOI LUT sequence."""
    dataset = item(LUTExplanation=explanation)
    dataset.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries), first, bits])
    dataset.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return dataset

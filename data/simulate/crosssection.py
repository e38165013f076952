"""What simulated CT and MR slices have in common: splits, headers, files and the study table."""

from __future__ import annotations

import io
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from simulate.errors import SimulationError

NOTICE = "SIMULATED image for teaching, not a patient"
SPLITS = ((0.68, "train"), (0.84, "val"), (1.0, "test"))


@dataclass(frozen=True)
class SliceRecord:
    """One simulated slice: stored values, where the lesion is, and what is known about it.

    ``row`` holds the columns of the study table, ``header`` the DICOM attributes by keyword.
    """

    pixels: NDArray[np.uint16] = field(repr=False)
    mask: NDArray[np.bool_] = field(repr=False)
    row: Mapping[str, Any]
    header: Mapping[str, Any] = field(repr=False)


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """Return `value` when it is a whole number of at least `least`, else raise SimulationError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise SimulationError(
            f"{name} is {value!r}, but must be a whole number of at least {least}: give such a one."
        )
    return int(value)


def split_of(patient: int, patients: int) -> str:
    """Return the split of patient number `patient` (from 0): about 68, 16 and 16 in a hundred.

    Examples
    --------
    >>> [split_of(p, 25) for p in (0, 16, 17, 20, 21, 24)]
    ['train', 'train', 'val', 'val', 'test', 'test']
    """
    return next(name for limit, name in SPLITS if (patient + 0.5) / patients <= limit)


def stable_uid(*parts: object) -> UID:
    """Return a DICOM UID under 2.25 that depends on `parts` only.

    Examples
    --------
    >>> stable_uid("ct", 1) == stable_uid("ct", 1) != stable_uid("ct", 2)
    True
    """
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(map(str, parts))).int}")


def common_header(modality: str, uid: tuple[object, ...], visit: int, part: int) -> dict[str, Any]:
    """Return the attributes that CT and MR slices share, by keyword.

    References
    ----------
    DICOM PS3.3 A.3 and A.4: the modules of the CT and MR image objects.
    """
    date = f"2030{3 + 2 * visit:02d}15"
    return {
        "SOPInstanceUID": stable_uid(*uid, visit, part),
        "StudyInstanceUID": stable_uid(*uid, visit),
        "SeriesInstanceUID": stable_uid(*uid, visit, "series"),
        "FrameOfReferenceUID": stable_uid(*uid, visit, "frame"),
        "PositionReferenceIndicator": "",
        "Modality": modality,
        "StudyDate": date,
        "SeriesDate": date,
        "ContentDate": date,
        "StudyTime": "120000",
        "ContentTime": "120000",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyID": str(visit + 1),
        "SeriesNumber": "1",
        "AcquisitionNumber": "1",
        "InstanceNumber": str(part + 1),
        "StudyDescription": "SIMULATED",
        "SeriesDescription": f"SIMULATED {modality} for teaching",
        "ImageComments": NOTICE,
        "PatientComments": NOTICE,
        "Manufacturer": "medimg simulator",
        "PatientPosition": "HFS",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "LossyImageCompression": "00",
    }


def corner(shape: tuple[int, ...], pixel: float, height: float) -> list[float]:
    """Return Image Position (Patient) of a slice centred on the axis at `height` mm.

    Examples
    --------
    >>> corner((4, 6), 2.0, 10.25)
    [-5.0, -3.0, 10.25]
    """
    rows, columns = shape
    return [
        round(-pixel * (columns - 1) / 2, 3),
        round(-pixel * (rows - 1) / 2, 3),
        round(height, 3),
    ]


def make_dicom(pixels: NDArray[np.uint16], header: Mapping[str, Any], syntax: UID) -> bytes:
    """Return the bytes of a single-frame DICOM file of 12 stored bits.

    Parameters
    ----------
    pixels : uint16 array, (H, W)
        Stored values from 0 to 4095.
    header : mapping
        Attributes by keyword; SOPClassUID and SOPInstanceUID among them.
    syntax : UID
        A lossless transfer syntax.

    References
    ----------
    DICOM PS3.3 C.7 (common modules), PS3.10 section 7 (file format).
    """
    dataset = Dataset()
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.PixelData = 0, pixels.astype("<u2").tobytes()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Fixed here, or every release of pydicom would change the bytes of every file.
    meta.ImplementationClassUID, meta.ImplementationVersionName = stable_uid("medimg"), "MEDIMG"
    dataset.file_meta = meta
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

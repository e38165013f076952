"""Write a simulated film as the DICOM file a hospital would send.

All header people are invented. Every file says SIMULATED in Image Type, Series Description and
Image Comments.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

Float = npt.NDArray[np.float32]
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
}
WINDOWS = ("linear", "two windows", "sigmoid", "voi lut")
_DX = "1.2.840.10008.5.1.4.1.1.1.1"
_ROOT = "1.2.826.0.1.3680043.10.1666"


@dataclass(frozen=True)
class Coding:
    """How the pixels of a file are stored.

    Attributes
    ----------
    syntax : str
        A key of `SYNTAXES`.
    bits : int
        Bits stored, 10 to 14, in 16 allocated.
    inverted : bool
        MONOCHROME1, where the lowest value is white.
    window : str
        One of `WINDOWS`: what the VOI module holds.
    """

    syntax: str = "explicit"
    bits: int = 12
    inverted: bool = False
    window: str = "linear"


def uid(*parts: object) -> UID:
    """Return a unique identifier that depends on nothing but `parts`."""
    import hashlib

    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(f"{_ROOT}.{int.from_bytes(digest[:8], 'big')}")


def stored_values(
    image: Float, coding: Coding
) -> tuple[npt.NDArray[np.uint16], tuple[float, float], npt.NDArray[np.uint16] | None]:
    """Return stored values, window (centre, width) and VOI LUT that display as `image`.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        0 to 1 is the window; values beyond are kept as far as the bits reach.
    coding : Coding
        Bits, inversion and kind of window.
    """
    top = 2**coding.bits - 1
    low, width = round(0.2 * top), round(0.6 * top)
    lut = None
    if coding.window == "sigmoid":
        # Inverse of 1 / (1 + exp(-4 (v - c) / w)), the function of PS3.3 C.11.2.1.3.1.
        logit = np.clip(image, 0.002, 0.998)
        centre, spread = round(0.5 * top), round(0.35 * top)
        values = centre + spread / 4 * np.log(logit / (1 - logit))
        window = (float(centre), float(spread))
    elif coding.window == "voi lut":
        values = np.clip(image, 0, 1) ** 0.8 * top
        lut = np.round((np.arange(top + 1) / top) ** 1.25 * 4095).astype(np.uint16)
        window = (0.0, 0.0)
    else:
        # Inverse of the LINEAR function of PS3.3 C.11.2.1.2.1.
        values = low + image * (width - 1)
        window = (low + 0.5 + (width - 1) / 2, float(width))
    stored = np.clip(np.round(values), 0, top).astype(np.uint16)
    if coding.inverted:
        stored = (top - stored).astype(np.uint16)
        if lut is None:
            window = (top - window[0] + (1 if coding.window != "sigmoid" else 0), window[1])
        else:
            lut = (4095 - lut[::-1]).astype(np.uint16)
    return stored, window, lut


def write_dx(image: Float, coding: Coding, row: Any, pixel: float) -> bytes:
    """Return a whole DX file.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W)
        Brightness, 0 to 1 displayed.
    coding : Coding
        How to store it.
    row : mapping
        The plan's entry for this film (see `medimg.simulate.sample.plan`).
    pixel : float
        Millimetres per pixel at the detector.
    """
    stored, window, lut = stored_values(image, coding)
    data = _header(row, pixel, coding)
    data.Rows, data.Columns = stored.shape
    _voi(data, coding, window, lut)
    data.PixelData = stored.tobytes()
    data["PixelData"].VR = "OW"
    syntax = SYNTAXES[coding.syntax]
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.file_meta.ImplementationClassUID = UID(f"{_ROOT}.1")
    data.file_meta.ImplementationVersionName = "MEDIMG_SIM"
    plain = syntax if syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) else None
    data.file_meta.TransferSyntaxUID = plain or ExplicitVRLittleEndian
    if plain is None:
        data.compress(syntax, stored, generate_instance_uid=False)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _voi(
    data: Dataset,
    coding: Coding,
    window: tuple[float, float],
    lut: npt.NDArray[np.uint16] | None,
) -> None:
    """Fill in the VOI LUT module."""
    if lut is not None:
        item = Dataset()
        item.LUTDescriptor = [len(lut) % 65536, 0, 12]
        item.LUTExplanation = "STANDARD CHEST"
        item.LUTData = lut.tobytes()
        item["LUTData"].VR = "OW"
        data.VOILUTSequence = [item]
        return
    centre, width = (f"{v:g}" for v in window)
    if coding.window == "two windows":
        data.WindowCenter = [centre, centre]
        data.WindowWidth = [width, f"{round(window[1] * 0.6):g}"]
        data.WindowCenterWidthExplanation = ["NORMAL", "HARDER"]
    else:
        data.WindowCenter, data.WindowWidth = centre, width
        data.WindowCenterWidthExplanation = "NORMAL"
    if coding.window == "sigmoid":
        data.VOILUTFunction = "SIGMOID"


def _header(row: Any, pixel: float, coding: Coding) -> Dataset:
    """Return everything but the pixels."""
    data = Dataset()
    _people(data, row)
    data.SOPClassUID = UID(_DX)
    data.SOPInstanceUID = uid("image", row["image_id"])
    data.StudyInstanceUID = uid("study", row["patient_id"], row["visit"])
    data.SeriesInstanceUID = uid("series", row["image_id"])
    data.Modality = "DX"
    data.PresentationIntentType = "FOR PRESENTATION"
    data.ImageType = ["DERIVED", "PRIMARY", "", "SIMULATED"]
    data.SeriesDescription = f"SIMULATED CHEST {row['view']}"
    data.ImageComments = "SIMULATED: rays through a CT of LIDC-IDRI-0001, no patient. Not for care."
    data.DerivationDescription = "Simulated radiograph (medimg.simulate)"
    data.BodyPartExamined = "CHEST"
    data.ViewPosition = row["view"]
    data.ImageLaterality = "U"
    data.PatientOrientation = ["L", "F"]
    data.InstanceNumber, data.SeriesNumber = "1", "1"
    data.AcquisitionNumber = "1"
    data.ImagerPixelSpacing = [f"{pixel:.4f}"] * 2
    data.PixelSpacing = [f"{pixel:.4f}"] * 2
    data.PixelSpacingCalibrationType = "GEOMETRY"
    data.PixelSpacingCalibrationDescription = "at the detector"
    data.FocalSpots, data.AnodeTargetMaterial = "1.2", "TUNGSTEN"
    data.KVP = str(row["kvp"])
    data.ExposureInuAs = str(row["uas"])
    data.DistanceSourceToDetector = str(row["distance"])
    data.DetectorType = "DIRECT"
    data.PositionerType = "NONE"
    data.BurnedInAnnotation = "YES" if row["burned_in"] else "NO"
    data.LossyImageCompression = "00"
    data.PixelIntensityRelationship = "LOG"
    data.PixelIntensityRelationshipSign = 1 if coding.inverted else -1
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if coding.inverted else "MONOCHROME2"
    data.PresentationLUTShape = "INVERSE" if coding.inverted else "IDENTITY"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, coding.bits, coding.bits - 1
    data.PixelRepresentation = 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.ViewCodeSequence = [_code(*_VIEWS[row["view"]])]
    data.ViewCodeSequence[0].ViewModifierCodeSequence = []
    data.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    data.AcquisitionContextSequence = []
    data.RequestAttributesSequence = []
    return data


_VIEWS = {
    "PA": ("272479007", "SCT", "postero-anterior"),
    "AP": ("399348003", "SCT", "antero-posterior"),
}


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return one coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _people(data: Dataset, row: Any) -> None:
    """Fill in the invented patient, staff, place and dates, and private elements."""
    data.SpecificCharacterSet = "ISO_IR 100"
    data.PatientName = row["name"]
    data.PatientID = row["record"]
    data.PatientBirthDate = row["birth"]
    data.PatientSex = row["sex"]
    data.PatientAge = f"{row['age']:03d}Y"
    data.PatientComments = "Invented person; any resemblance is chance"
    data.StudyDate = data.SeriesDate = data.ContentDate = data.AcquisitionDate = row["date"]
    data.StudyTime = data.SeriesTime = data.ContentTime = data.AcquisitionTime = row["time"]
    data.AccessionNumber = row["accession"]
    data.StudyID = row["accession"][-4:]
    data.StudyDescription = "CHEST RADIOGRAPH"
    data.ReferringPhysicianName = row["doctor"]
    data.OperatorsName = row["operator"]
    data.InstitutionName = row["site"]
    data.InstitutionAddress = "1 Nowhere Lane, Neverland"
    data.StationName = row["scanner"].upper().replace(" ", "_")
    data.Manufacturer = row["scanner"].split(" ")[0]
    data.ManufacturerModelName = row["scanner"]
    data.DeviceSerialNumber = str(1000 + len(row["scanner"]))
    data.SoftwareVersions = "1.0"
    block = data.private_block(0x0011, "MEDIMG SIMULATION", create=True)
    block.add_new(0x01, "LO", f"Called by {row['operator']}")
    block.add_new(0x02, "SH", row["record"])

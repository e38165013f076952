"""The header of a simulated film: invented people, dates, technique."""

from __future__ import annotations

import hashlib
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

_DX = "1.2.840.10008.5.1.4.1.1.1.1"
UID_ROOT = "1.2.826.0.1.3680043.10.1666"


def uid(*parts: object) -> UID:
    """Return a unique identifier that depends on nothing but `parts`."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(f"{UID_ROOT}.{int.from_bytes(digest[:8], 'big')}")


def make_header(row: Any, pixel: float, *, bits: int, inverted: bool) -> Dataset:
    """Return everything but the pixels and their window.

    Parameters
    ----------
    row : mapping
        A row of the plan.
    pixel : float
        Millimetres per pixel at the detector.
    bits : int
        Bits stored.
    inverted : bool
        MONOCHROME1.
    """
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
    # equal and without a calibration type: at the detector, not corrected (PS3.3 10.7.1.1)
    data.PixelSpacing = data.ImagerPixelSpacing
    data.FocalSpots, data.AnodeTargetMaterial = "1.2", "TUNGSTEN"
    data.KVP = str(row["kvp"])
    data.ExposureInuAs = str(row["uas"])
    data.DistanceSourceToDetector = str(row["distance"])
    data.DetectorType = "DIRECT"
    data.PositionerType = "NONE"
    data.BurnedInAnnotation = "YES" if row["burned_in"] else "NO"
    data.LossyImageCompression = "00"
    data.PixelIntensityRelationship = "LOG"
    data.PixelIntensityRelationshipSign = 1 if inverted else -1
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    data.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelRepresentation = 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "0", "1", "US"
    data.ViewCodeSequence = [_code(*_VIEWS[row["view"]])]
    data.ViewCodeSequence[0].ViewModifierCodeSequence = []
    data.AnatomicRegionSequence = [_code("51185008", "SCT", "Chest")]
    data.AcquisitionContextSequence = []
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

"""DICOM files with a planted identifier in every place that a test can think of."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.2.1143"
CT = "1.2.840.10008.5.1.4.1.1.2"
ROWS, COLUMNS = 6, 10

# What must not be found again, as text. Each is in the file that `planted` returns.
PLANTED = (
    "Grünwald", "Zoë-Amélie", "MRN-778120", "ACC5512345", "Rosengasse", "Sankt Elisabeth",
    "Dr. Quackenbush", "+43 664 9988776", "Geheimnis", "Fernandez", "Blutwurst", "19480317",
    "20210914", "083157", "SN-4477-X", "DE-SSN-8812", "Lindwurm", "Policy77123", "10.20.30.40",
    "Nachbar", "Tippfehler",
)  # fmt: skip


def item(**values) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def plain(number: int = 1, *, patient: str = "MRN-778120", study: str = "20210914") -> FileDataset:
    """A small CT slice with what a CT slice must have."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CT
    meta.MediaStorageSOPInstanceUID = f"{ROOT}.3.{number}"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.SOPInstanceUID = CT, f"{ROOT}.3.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2"
    ds.FrameOfReferenceUID = f"{ROOT}.4"
    ds.PatientName, ds.PatientID = "Grünwald^Zoë-Amélie", patient
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge = "19480317", "F", "093Y"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = study
    ds.StudyTime = ds.AcquisitionTime = "083157"
    ds.Modality, ds.Manufacturer, ds.BodyPartExamined = "CT", "Acme Imaging", "CHEST"
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "7", "1", str(number)
    ds.AccessionNumber, ds.ReferringPhysicianName = "ACC5512345", "Fernandez^Luz"
    ds.Rows, ds.Columns, ds.SamplesPerPixel = ROWS, COLUMNS, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    pixels = np.arange(ROWS * COLUMNS, dtype="<u2").reshape(ROWS, COLUMNS) + 100
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def planted(number: int = 1, **kwargs) -> FileDataset:
    """A slice with identifiers in nested sequences, private tags, free text, odd places."""
    ds = plain(number, **kwargs)
    ds.preamble = b"Patient Grunwald".ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = "LINDWURM"
    ds.InstitutionName, ds.InstitutionAddress = "Sankt Elisabeth", "Rosengasse 12, Graz"
    ds.OperatorsName = ["Blutwurst^Hans", "Fernandez^Luz"]
    ds.PatientTelephoneNumbers = ["+43 664 9988776"]
    ds.PatientAddress, ds.StationName = "Rosengasse 12", "LINDWURM"
    ds.DeviceSerialNumber, ds.InsurancePlanIdentification = "SN-4477-X", "Policy77123"
    ds.PatientComments = "lives next to Nachbar\r\nsee 10.20.30.40"
    ds.OtherPatientIDsSequence = Sequence([item(PatientID="DE-SSN-8812", TypeOfPatientID="TEXT")])
    # beyond the table: an element that the profile keeps, with a name typed into it
    ds.SoftwareVersions = ["4.1", "Tippfehler"]
    ds.PatientMotherBirthName = "Tippfehler^Anna"
    # nested two deep, under a sequence that the profile keeps
    step = item(
        PerformedProcedureStepStartDate="20210914",
        PersonName="Dr. Quackenbush",
        ReferencedSOPInstanceUID=f"{ROOT}.3.99",
        ReferencedSOPClassUID=CT,
        ContentCreatorName="Blutwurst^Hans",
    )
    ds.DerivationCodeSequence = Sequence([
        item(
            CodeValue="113076", CodingSchemeDesignator="DCM", CodeMeaning="Segmentation",
            PurposeOfReferenceCodeSequence=Sequence([step]),
        )
    ])  # fmt: skip
    ds.SourceImageSequence = Sequence([
        item(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID=f"{ROOT}.3.1")
    ])  # fmt: skip
    block = ds.private_block(0x0019, "ACME SECRETS", create=True)
    block.add_new(0x01, "LO", "Geheimnis")
    block.add_new(0x02, "SQ", Sequence([item(PatientName="Nachbar^Otto", StudyDate="20210914")]))
    nested = ds.DerivationCodeSequence[0].private_block(0x0021, "ACME NESTED", create=True)
    nested.add_new(0x05, "UT", "Geheimnis of Fernandez")
    ds.add_new(0x60000010, "US", ROWS)
    ds.add_new(0x60003000, "OW", b"Lindwurm".ljust(8, b"\0"))
    ds.add_new(0xFFFCFFFC, "OB", b"Blutwurst\0")
    return ds


def save(ds: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def everything_under(folder: Path) -> bytes:
    """All bytes of all files, and the names of the files."""
    return b"".join(
        str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def spelled(text: str) -> set[bytes]:
    """A text in the encodings and cases that a byte search must cover."""
    bare = text.translate(str.maketrans("üëé", "uee"))
    return {
        shape.encode(encoding, "ignore")
        for one in (text, bare)
        for shape in (one, one.lower(), one.upper())
        for encoding in ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
    }

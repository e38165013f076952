"""An adversary of `medimg.deid`: hides identifiers in files and searches the copies for them.

    python tests/adversary_deid.py [--turns 10]

Each file gets identifiers of one invented person in one hiding place, and their ordinary elements
in the header. The command runs as a user would run it. The search shares no code with medimg.deid:
it looks at decoded elements, raw bytes, decompressed streams, bit planes, file names and reports.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

ROOT = "1.2.826.0.1.3680043.2.1143.7"
CLASSES = {  # kind of file: (SOP class, modality, bits, frames)
    "DX": ("1.2.840.10008.5.1.4.1.1.1.1", "DX", 16, 1),
    "CR": ("1.2.840.10008.5.1.4.1.1.1", "CR", 16, 1),
    "CT": ("1.2.840.10008.5.1.4.1.1.2", "CT", 16, 1),
    "MR": ("1.2.840.10008.5.1.4.1.1.4", "MR", 16, 1),
    "enhanced": ("1.2.840.10008.5.1.4.1.1.4.1", "MR", 16, 3),
    "US": ("1.2.840.10008.5.1.4.1.1.3.1", "US", 8, 3),
    "SC": ("1.2.840.10008.5.1.4.1.1.7", "OT", 8, 1),
    "PT": ("1.2.840.10008.5.1.4.1.1.128", "PT", 16, 1),
    "SEG": ("1.2.840.10008.5.1.4.1.1.66.4", "SEG", 8, 2),
    "RT": ("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE", 32, 2),
}
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
REFUSED = (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)  # whatever they hold
PACKED = (RLELossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
SCRIPTS = (  # character set, Python's codec, a name in it
    ("ISO_IR 100", "latin-1", "Grünwald^Zoë"),
    ("ISO_IR 101", "iso8859-2", "Wałęsa^Żaneta"),
    ("ISO_IR 109", "iso8859-3", "Ħaġjar^Ġorġ"),
    ("ISO_IR 110", "iso8859-4", "Bērziņš^Jānis"),
    ("ISO_IR 144", "iso8859-5", "Люкceмбypг^Роза"),
    ("ISO_IR 127", "iso8859-6", "قباني^لنزار"),
    ("ISO_IR 126", "iso8859-7", "Διονυσιος^Αλεξ"),
    ("ISO_IR 138", "iso8859-8", "שרון^דבורה"),
    ("ISO_IR 148", "iso8859-9", "Yıldırım^Gülşen"),
    ("ISO_IR 166", "tis-620", "นามสกุล^ชื่อ"),
    ("ISO_IR 192", "utf-8", "王^伟"),
    ("GB18030", "gb18030", "王^小东"),
    (["", "ISO 2022 IR 87"], "iso2022_jp", "山田^太郎"),
    (["", "ISO 2022 IR 149"], "euc_kr", "洪^吉洞"),
    (["", "ISO 2022 IR 58"], "gb2312", "张^小东"),
)


@dataclass
class Person:
    """The identifiers of twelve kinds that one file is about, different in each file."""

    number: int
    family: str = ""
    given: str = ""
    script: tuple = SCRIPTS[0]

    def __post_init__(self) -> None:
        letters = "bdfgklmnprstvz"
        code = [letters[self.number // 14**n % 14] for n in range(3)]
        self.family = f"Quack{code[0]}e{code[1]}bush{code[2]}a"
        self.given = f"Lud{code[2]}i{code[0]}wig{code[1]}o"
        self.script = SCRIPTS[self.number % len(SCRIPTS)]
        n = 104_729 + 7919 * self.number
        self.mrn, self.accession = f"MRN-{7 * n:07}", f"ACC{90_000_000 + n}"
        self.day, self.month, self.year = 10 + n % 18, 1 + n % 12, 1990 + n % 17
        self.study = f"{self.year}{self.month:02}{self.day:02}"
        self.birth = f"19{10 + n % 20}{1 + n % 11:02}{11 + n % 17}"
        self.phone, self.address = f"+43 664 {8_000_000 + n}", f"Rosengasse {n}"
        self.institution, self.serial = f"Sankt {self.family[::-1].title()}", f"SN-{n}-X"
        self.ip = f"10.{20 + n % 200}.{n % 251}.{3 + n % 250}"
        self.mail, self.uid = f"{self.given.lower()}@example.org", f"{ROOT}.{n}.1"

    def spellings(self) -> list[str]:
        """Return the identifiers as an adversary writes them, one of each kind and more."""
        family, given = self.script[2].split("^")
        month = [
            "Jan",
            "Feb",
            "Mar",
            "Apr",
            "May",
            "Jun",
            "Jul",
            "Aug",
            "Sep",
            "Oct",
            "Nov",
            "Dec",
        ][self.month - 1]
        return [
            f"{self.family}^{self.given}", f"{self.given} {self.family}".upper(),
            self.given + self.family, self.family.lower(), self.mrn, self.mrn.replace("-", ""),
            self.mrn[4:], self.accession, self.accession[3:], self.study, self.birth,
            f"{self.day}-{month}-{self.year}", f"{self.year}-{self.month}-{self.day}",
            f"{self.day}/{self.month:02}/{self.year % 100:02}", self.phone, self.address,
            self.institution, self.serial, self.ip, self.mail, self.uid, "95Y", "095Y", "0095Y",
            self.script[2], family + given,
        ]  # fmt: skip


def header(kind: str, person: Person, syntax: str) -> FileDataset:
    """Return a file of a kind, with the person's ordinary elements and plain pixels."""
    sop, modality, bits, frames = CLASSES[kind]
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = syntax, sop
    meta.MediaStorageSOPInstanceUID = f"{ROOT}.9.{person.number}"
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128,
                     is_implicit_VR=syntax == ImplicitVRLittleEndian,
                     is_little_endian=syntax != ExplicitVRBigEndian)  # fmt: skip
    ds.SpecificCharacterSet = person.script[0]
    ds.SOPClassUID, ds.SOPInstanceUID = sop, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = person.uid, f"{ROOT}.8.{person.number}"
    ds.Modality, ds.Manufacturer, ds.BodyPartExamined = modality, "Siemens", "CHEST"
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.PatientName, ds.PatientID = f"{person.family}^{person.given}", person.mrn
    ds.OtherPatientNames = person.script[2]
    ds.PatientBirthDate, ds.PatientAge, ds.PatientSex = person.birth, "095Y", "F"
    ds.StudyDate, ds.AccessionNumber = person.study, person.accession
    ds.PatientTelephoneNumbers, ds.PatientAddress = person.phone, person.address
    ds.InstitutionName, ds.DeviceSerialNumber = person.institution, person.serial
    ds.PatientTelecomInformation, ds.PatientComments = person.mail, person.ip
    ds.BurnedInAnnotation, ds.InstanceNumber, ds.KVP = "NO", 1, "120"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PixelRepresentation = 16, 24, 1, 0
    ds.PhotometricInterpretation = "MONOCHROME2"
    stored = 12 if bits == 16 else bits
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, stored, stored - 1
    if frames > 1:
        ds.NumberOfFrames = frames
    rng = np.random.default_rng(person.number)
    values = rng.integers(0, 2 ** min(stored, 12), (frames, 16, 24)).astype(f"u{bits // 8}")
    _store(ds, values, syntax)
    return ds


def _store(ds: Dataset, values: np.ndarray, syntax: str) -> None:
    if syntax not in PACKED:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        ds.PixelData = values.astype(values.dtype.newbyteorder(order)).tobytes()
        ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
        return
    ds.PixelData = encapsulate([_packed(one, syntax) for one in values])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True


def _packed(one: np.ndarray, syntax: str) -> bytes:
    if syntax == JPEGBaseline8Bit:
        return bytes(imagecodecs.jpeg_encode(one))
    if syntax == JPEGLosslessSV1:
        return bytes(imagecodecs.ljpeg_encode(one))
    if syntax == JPEGLSLossless:
        return bytes(imagecodecs.jpegls_encode(one))
    if syntax == JPEG2000Lossless:
        return bytes(imagecodecs.jpeg2k_encode(one, level=0, codecformat="j2k", reversible=True))
    width = one.dtype.itemsize
    planes = one.astype(one.dtype.newbyteorder(">")).view("u1").reshape(16, 24, width)
    parts = [bytes(imagecodecs.packbits_encode(np.ascontiguousarray(planes[..., n]), axis=-1))
             for n in range(width)]  # fmt: skip
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    starts = [64 + sum(map(len, parts[:n])) for n in range(width)]
    return np.array([width, *starts, *[0] * (15 - width)], "<u4").tobytes() + b"".join(parts)


# The hiding places: each takes the data set and a text, and hides it.
def _element(keyword: str):
    def hide(ds: Dataset, text: str) -> None:
        vr = pydicom.datadict.dictionary_VR(pydicom.datadict.tag_for_keyword(keyword))
        value = text.encode("utf-8") if vr in ("OB", "OW", "UN") else text
        if vr in ("OB", "OW"):
            value += b"\0" * (-len(value) % 4)
        ds[keyword] = pydicom.DataElement(pydicom.datadict.tag_for_keyword(keyword), vr, value)

    return hide


def _odd(tag: int, vr: str):
    """A value of another kind, or of a longer number of values, than the dictionary says."""

    def hide(ds: Dataset, text: str) -> None:
        data = text.encode("utf-8") + b" " * (-len(text.encode()) % 8)
        ds[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.BaseTag(tag), vr, len(data), data, 0, False, True
        )

    return hide


def _nested(*keywords: str, leaf: str = "PatientComments"):
    def hide(ds: Dataset, text: str) -> None:
        for keyword in keywords:
            item = Dataset()
            setattr(ds, keyword, [item])
            ds = item
        _element(leaf)(ds, text)

    return hide


def private_text(ds: Dataset, text: str) -> None:
    ds.private_block(0x0019, "ACME", create=True).add_new(1, "LO", text[:64])


def private_creator(ds: Dataset, text: str) -> None:
    ds.private_block(0x0019, text[:60].replace("\\", ""), create=True).add_new(1, "US", 1)


def private_bytes(ds: Dataset, text: str) -> None:
    data = text.encode("utf-16-le")
    ds.private_block(0x0019, "ACME", create=True).add_new(2, "UN", data + b"\0" * (len(data) % 2))


def private_sequence(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.ImageComments = text
    ds.private_block(0x0019, "ACME", create=True).add_new(3, "SQ", [item])


def private_below_a_code(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113076", "DCM", "Segmentation"
    private_text(item, text)
    ds.DerivationCodeSequence = [item]


def code_value(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = text[:16], "99HOME", "Chest"
    ds.AnatomicRegionSequence = [item]


def code_meaning(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "51185008", "SCT", text[:60]
    ds.AnatomicRegionSequence = [item]


def charset_below(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.SpecificCharacterSet, item.PatientName = "ISO_IR 192", text
    ds.ReferencedPatientSequence = [item]


def image_type(ds: Dataset, text: str) -> None:
    ds.ImageType = ["DERIVED", "PRIMARY", text.upper()[:16]]


def preamble(ds: Dataset, text: str) -> None:
    ds.preamble = text.encode("utf-8").ljust(128, b"\0")[:128]


def sender(ds: Dataset, text: str) -> None:
    ds.file_meta.SourceApplicationEntityTitle = text[:16]


def meta_private(ds: Dataset, text: str) -> None:
    ds.file_meta.PrivateInformationCreatorUID = ROOT
    ds.file_meta.PrivateInformation = text.encode() + b"\0" * (len(text.encode()) % 2)


def implementation(ds: Dataset, text: str) -> None:
    ds.file_meta.ImplementationVersionName = text[:16]


def instance_uid(ds: Dataset, text: str) -> None:
    ds.FrameOfReferenceUID = "1.2.840.10008." + "".join(c for c in text if c.isdigit())[:30]


def private_class(ds: Dataset, text: str) -> None:
    ds.RelatedGeneralSOPClassUID = f"{ROOT}.{''.join(c for c in text if c.isdigit())[:20] or 5}"


def icon(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.Rows = item.Columns = 8
    item.PixelData = text.encode("utf-8").ljust(64, b"\0")[:64]
    item["PixelData"].VR = "OB"
    ds.IconImageSequence = [item]


def pixels_below(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.PixelData = text.encode("utf-8").ljust(64, b"\0")[:64]
    item["PixelData"].VR = "OW"
    ds.ReferencedImageSequence = [item]


def overlay(ds: Dataset, text: str) -> None:
    ds.add_new(0x60000010, "US", 16)
    ds.add_new(0x60003000, "OW", text.encode("utf-8").ljust(64, b"\0")[:64])


def overlay_label(ds: Dataset, text: str) -> None:
    ds.add_new(0x60021500, "LO", text[:64])


def curve(ds: Dataset, text: str) -> None:
    ds.add_new(0x50003000, "OW", text.encode("utf-8").ljust(64, b"\0")[:64])


def lut_tail(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType = [4, 0, 16], "US"
    item.add_new(0x00283006, "OW", b"\1\0\2\0\3\0\4\0" + text.encode().ljust(64, b"\0")[:64])
    ds.ModalityLUTSequence = [item]


def lut_explanation(ds: Dataset, text: str) -> None:
    item = Dataset()
    item.LUTDescriptor, item.LUTExplanation = [2, 0, 16], text[:60]
    item.add_new(0x00283006, "OW", b"\1\0\2\0")
    ds.VOILUTSequence = [item]


def date_range(ds: Dataset, text: str) -> None:
    ds.add_new(0x00400244, "DA", f"{ds.StudyDate}-{ds.StudyDate}")


def time_text(ds: Dataset, text: str) -> None:
    ds.add_new(0x00080032, "TM", text)


def datetime_tail(ds: Dataset, text: str) -> None:
    ds.add_new(0x0008002A, "DT", f"{ds.StudyDate} {text}")


def number_of_a_person(ds: Dataset, text: str) -> None:
    ds.AcquisitionNumber = "".join(c for c in str(ds.PatientID) if c.isdigit())


def decimal_of_a_person(ds: Dataset, text: str) -> None:
    ds.ExposureTime = str(ds.AccessionNumber)[3:]


def bit_plane(ds: Dataset, text: str) -> None:
    """A text written bit by bit above the stored bits."""
    words = np.frombuffer(ds.PixelData, "<u2").copy()
    bits = np.unpackbits(np.frombuffer(text.encode("utf-8")[:90], np.uint8))[: len(words)]
    words[: len(bits)] |= bits.astype("<u2") << 14
    ds.PixelData = words.tobytes()


def pixel_tail(ds: Dataset, text: str) -> None:
    ds.PixelData = ds.PixelData + text.encode("utf-8").ljust(128, b"\0")


def float_tail(ds: Dataset, text: str) -> None:
    del ds.PixelData
    ds.BitsAllocated = 32
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    frames = int(ds.get("NumberOfFrames", 1))
    ds.FloatPixelData = np.zeros(16 * 24 * frames, "<f4").tobytes() + text.encode().ljust(
        128, b"\0"
    )


def _segment(marker: int, prefix: bytes = b""):
    """A segment of a JPEG or JPEG-LS stream, after its first marker."""

    def hide(frame: bytes, data: bytes) -> bytes:
        body = prefix + data
        return frame[:2] + bytes([255, marker]) + (len(body) + 2).to_bytes(2) + body + frame[2:]

    return hide


def after_the_end(frame: bytes, data: bytes) -> bytes:
    return frame + data


def j2k_comment(frame: bytes, data: bytes) -> bytes:
    at = 4 + int.from_bytes(frame[4:6])
    return frame[:at] + b"\xff\x64" + (len(data) + 4).to_bytes(2) + b"\0\1" + data + frame[at:]


def j2k_tile_comment(frame: bytes, data: bytes) -> bytes:
    at = frame.index(b"\xff\x90")
    segment = b"\xff\x64" + (len(data) + 4).to_bytes(2) + b"\0\1" + data
    whole = int.from_bytes(frame[at + 6 : at + 10])
    size = (whole + len(segment) if whole else 0).to_bytes(4)
    return frame[: at + 6] + size + frame[at + 10 : at + 12] + segment + frame[at + 12 :]


def jp2_box(frame: bytes, data: bytes) -> bytes:
    """The stream in a JP2 file, with a box of text behind the first two."""
    whole = imagecodecs.jpeg2k_encode(imagecodecs.jpeg2k_decode(frame), level=0, codecformat="jp2")
    at = 12 + int.from_bytes(whole[12:16])
    return whole[:at] + (8 + len(data)).to_bytes(4) + b"xml " + data + whole[at:]


def rle_header(frame: bytes, data: bytes) -> bytes:
    return frame[:20] + data.ljust(44, b"\0")[:44] + frame[64:]


def rle_gap(frame: bytes, data: bytes) -> bytes:
    """Bytes between the first segment and the second, which the first leaves unread."""
    starts = np.frombuffer(frame[:64], "<u4").copy()
    data = data + b"\0" * (len(data) % 2)
    second = int(starts[2])
    starts[2 : 1 + starts[0]] += len(data)
    return starts.tobytes() + frame[64:second] + data + frame[second:]


ELEMENTS = (
    "AdditionalPatientHistory", "ImageComments", "StudyDescription", "SeriesDescription",
    "ProtocolName", "InstitutionAddress", "OperatorsName", "PhysiciansOfRecord", "Occupation",
    "StationName", "DetectorID", "RetrieveURL", "RetrieveURI", "NTPSourceAddress", "DeviceID",
    "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest",
    "PatientBirthDateInAlternativeCalendar", "PixelDataProviderURL", "Manufacturer",
    "ManufacturerModelName", "SoftwareVersions", "ConvolutionKernel", "SequenceName",
    "RescaleType", "BodyPartExamined", "SegmentLabel", "WindowCenterWidthExplanation", "StackID",
    "ImageID", "DerivationDescription", "DataSetName", "OwnerID", "ContentDescription",
    "ReceiveCoilName", "PatientMotherBirthName", "ViewName", "FilterType", "ICCProfile",
    "SelectorUTValue", "SelectorUCValue", "InsurancePlanIdentification", "MedicalRecordLocator",
    "IssuerOfPatientID", "TextValue", "PersonName", "DeidentificationMethod",
)  # fmt: skip
PLACES = {
    **{name: _element(name) for name in ELEMENTS},
    "two levels down": _nested("RequestAttributesSequence", "ReferencedPatientSequence"),
    "three levels down": _nested("DerivationCodeSequence", "PurposeOfReferenceCodeSequence",
                                 "ReferencedImageSequence", leaf="LongCodeValue"),
    "original attributes": _nested("OriginalAttributesSequence", "ModifiedAttributesSequence"),
    "person's code": _nested("PersonIdentificationCodeSequence", leaf="CodeMeaning"),
    "unknown element": _odd(0x00080003, "LO"), "unknown group": _odd(0x00120999, "UT"),
    "retired element": _odd(0x00184000, "LT"),
    "trailing padding": _odd(0xFFFCFFFC, "OB"), "digital signature": _odd(0x04000120, "OB"),
    "text in numbers": _odd(0x00281050, "DS"), "text in an integer": _odd(0x00200012, "IS"),
    "numbers too many": _odd(0x00280034, "FD"), "text as UN": _odd(0x00181030, "UN"),
    "text in a block": _odd(0x00660129, "OF"), "text in an age": _odd(0x00101010, "AS"),
    "private text": private_text, "private creator": private_creator,
    "private bytes, UTF-16": private_bytes, "private sequence": private_sequence,
    "private below a code": private_below_a_code, "code value": code_value,
    "code meaning": code_meaning, "character set below": charset_below, "image type": image_type,
    "preamble": preamble, "sender's title": sender, "meta: private": meta_private,
    "meta: version": implementation, "UID in DICOM's root": instance_uid,
    "UID of a class": private_class, "icon": icon, "pixels below": pixels_below,
    "overlay": overlay, "overlay label": overlay_label, "curve": curve, "table's tail": lut_tail,
    "table's explanation": lut_explanation, "range of dates": date_range, "time": time_text,
    "date and time": datetime_tail, "ID as integer": number_of_a_person,
    "ID as number": decimal_of_a_person, "bits above the stored": bit_plane,
    "after the last frame": pixel_tail, "after float pixels": float_tail,
}  # fmt: skip
STREAM_PLACES = {  # name: (transfer syntax, change of the first frame)
    "JPEG comment": (JPEGBaseline8Bit, _segment(0xFE)),
    "JPEG EXIF": (JPEGBaseline8Bit, _segment(0xE1, b"Exif\0\0")),
    "JPEG profile": (JPEGBaseline8Bit, _segment(0xE2, b"ICC_PROFILE\0\1\1")),
    "JPEG thumbnail": (JPEGBaseline8Bit, _segment(0xE0, b"JFXX\0\x10")),
    "JPEG APP13": (JPEGBaseline8Bit, _segment(0xED)),
    "JPEG after its end": (JPEGBaseline8Bit, after_the_end),
    "JPEG lossless comment": (JPEGLosslessSV1, _segment(0xFE)),
    "JPEG lossless after its end": (JPEGLosslessSV1, after_the_end),
    "JPEG-LS comment": (JPEGLSLossless, _segment(0xFE)),
    "JPEG-LS application": (JPEGLSLossless, _segment(0xE9)),
    "JPEG-LS after its end": (JPEGLSLossless, after_the_end),
    "JPEG 2000 comment": (JPEG2000Lossless, j2k_comment),
    "JPEG 2000 tile comment": (JPEG2000Lossless, j2k_tile_comment),
    "JPEG 2000 after its end": (JPEG2000Lossless, after_the_end),
    "JP2 box": (JPEG2000Lossless, jp2_box),
    "RLE header": (RLELossless, rle_header),
    "RLE after its end": (RLELossless, after_the_end),
    "RLE between segments": (RLELossless, rle_gap),
}
RAW_PLACES = ("extra fragment", "offset table", "after the data set", "after the deflated data",
              "after the big-endian data", "file name")  # fmt: skip


@dataclass
class Case:
    """One file: where the identifiers are hidden, and what became of it."""

    place: str
    kind: str
    syntax: str
    person: Person
    path: Path = Path()
    marker: str = ""
    found: list[str] = field(default_factory=list)
    status: str = ""
    same_pixels: bool | None = None


def cases(turns: int) -> list[Case]:
    """Return a case for each place; with more turns several, in other kinds and syntaxes."""
    every, number = [], 0
    kinds = list(CLASSES)
    for index, place in enumerate([*PLACES, *STREAM_PLACES, *RAW_PLACES]):
        for turn in range(turns):
            number += 1
            kind = kinds[(index + 3 * turn) % 10]
            syntax = (PLAIN + PACKED)[(index + 4 * turn) % 7]
            if place in STREAM_PLACES:
                syntax = STREAM_PLACES[place][0]
            elif place in ("bits above the stored", "after the last frame", "after float pixels"):
                syntax = ExplicitVRLittleEndian
            elif place in ("extra fragment", "offset table"):
                syntax = PACKED[(index + turn) % 5]
            elif place in ("after the deflated data", "after the big-endian data"):
                syntax = REFUSED[place == "after the deflated data"]
            if place in ("bits above the stored", "RLE between segments"):
                kind = ("CT", "DX", "MR", "PT")[turn % 4]
            if syntax == JPEGBaseline8Bit:
                kind = ("US", "SC", "SEG")[(index + turn) % 3]
            elif syntax in PACKED and kind == "RT":
                kind = "CT"
            every.append(Case(place, kind, syntax, Person(number)))
    return every


def plant(case: Case, folder: Path, hidden: bool = True) -> None:
    """Write the case's file, with its identifiers hidden or (the clean twin) not."""
    warnings.simplefilter("ignore")
    person = case.person
    spelled = person.spellings()
    case.marker = f"zq{person.number:04}kx"
    texts = [spelled[(person.number + n) % len(spelled)] for n in range(3)]
    text = " ".join([*texts[:1], case.marker, *texts[1:]])
    named = hidden and case.place == "file name"
    name = (
        f"{person.family}_{person.mrn}_{person.number:04}.dcm"
        if named
        else f"{person.number:04}.dcm"
    )
    case.path = folder / person.family / name
    case.path.parent.mkdir(parents=True, exist_ok=True)
    with pydicom.config.disable_value_validation():
        try:
            _save(case, text, hidden)
        except (TypeError, UnicodeEncodeError):  # a text that the character set does not hold
            _save(case, text.encode("ascii", "ignore").decode(), hidden)


def _save(case: Case, text: str, hidden: bool) -> None:
    ds = header(case.kind, case.person, case.syntax)
    data = text.encode("utf-8")
    data += b" " * (len(data) % 2)
    if hidden and case.place in PLACES:
        PLACES[case.place](ds, text)
    elif hidden and case.place in STREAM_PLACES:
        frames = list(generate_frames(ds.PixelData, number_of_frames=ds.get("NumberOfFrames", 1)))
        frames[0] = STREAM_PLACES[case.place][1](frames[0], data)
        ds.PixelData = encapsulate([one + b"\0" * (len(one) % 2) for one in frames])
    elif hidden and case.place == "extra fragment":
        ds.PixelData += b"\xfe\xff\x00\xe0" + len(data).to_bytes(4, "little") + data
    elif hidden and case.place == "offset table":
        size = int.from_bytes(ds.PixelData[4:8], "little")
        table = ds.PixelData[8 : 8 + size] + data + b"\0" * (-len(data) % 4)
        head = b"\xfe\xff\x00\xe0" + len(table).to_bytes(4, "little")
        ds.PixelData = head + table + ds.PixelData[8 + size :]
    ds.save_as(case.path, enforce_file_format=True)
    if hidden and case.place in RAW_PLACES[2:5]:
        with open(case.path, "ab") as file:
            file.write(data)


def forms(case: Case) -> dict[str, set[bytes]]:
    """Return, for each identifier, the bytes that betray it: every spelling, in every codec."""
    person, wanted = case.person, {}
    codecs = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", person.script[1])
    month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][
        person.month - 1
    ]
    texts = [*person.spellings(), person.given, case.marker,
             f"{person.day} {month} {person.year}", person.script[2].split("^")[0] * 1]  # fmt: skip
    for text in texts:
        for shape in (text, text.lower(), text.upper()):
            for codec in codecs:
                data = shape.encode(codec, "ignore").lower()
                data = data.split(b"\x1b(b")[0].removeprefix(b"\x1b$b") if b"\x1b" in data else data
                if len(data) >= 4:
                    wanted.setdefault(text, set()).add(data)
    return wanted


def decoded(ds: Dataset) -> np.ndarray:
    """Return the samples of a file, by decoders that read a frame and nothing of the header."""
    readers = {JPEGBaseline8Bit: imagecodecs.jpeg_decode, JPEGLosslessSV1: imagecodecs.jpeg_decode,
               JPEGLSLossless: imagecodecs.jpegls_decode,
               JPEG2000Lossless: imagecodecs.jpeg2k_decode}  # fmt: skip
    reader = readers.get(ds.file_meta.TransferSyntaxUID)
    if reader is None:
        return ds.pixel_array
    frames = int(ds.get("NumberOfFrames", 1))
    found = list(generate_frames(ds.PixelData, number_of_frames=frames))[:frames]
    return np.stack([reader(one) for one in found])


def layers(path: Path) -> dict[str, bytes]:
    """Return every reading of a file that an adversary could think of, as bytes."""
    raw = path.read_bytes()
    views = {
        "raw bytes": raw,
        "file name": str(path.name).encode() + str(path.parent.name).encode(),
    }
    if path.suffix != ".dcm":
        return {**views, "text": raw.replace(b"&amp;", b"&")}
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(path)
        held = [one for one in [*ds.file_meta, *ds.iterall()]
                if one.tag != 0x7FE00010 and one.VR != "SQ"]  # fmt: skip
        texts = [one.value.decode("latin-1") if isinstance(one.value, bytes) else str(one.value)
                 for one in held]  # fmt: skip
        views["decoded elements"] = "\n".join(texts).encode("utf-8")
        if "PixelData" in ds:
            values = decoded(ds)
            views["decompressed"] = values.tobytes()
            for bit in range(values.dtype.itemsize * 8):
                plane = ((values.ravel() >> bit) & 1).astype(np.uint8)
                for order in ("big", "little"):
                    views[f"bit plane {bit} {order}"] = np.packbits(plane, bitorder=order).tobytes()
            if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
                words = np.frombuffer(ds.PixelData, f"u{ds.BitsAllocated // 8}")
                for bit in range(ds.BitsStored, ds.BitsAllocated):
                    plane = ((words >> bit) & 1).astype(np.uint8)
                    views[f"high bits {bit}"] = np.packbits(plane).tobytes()
    return views


def _is_age(text: str) -> bool:
    return text in ("95Y", "095Y", "0095Y")


def search(case: Case, views: dict[str, bytes]) -> None:
    """Note every identifier of the case that some reading of its copy still shows."""
    for text, wanted in forms(case).items():
        for layer, data in views.items():
            low = data.lower()
            # six bytes or eight digits in pixels, else chance finds them
            pixels = "plane" in layer or layer in ("decompressed", "high bits")
            least = (8 if text.isdigit() else 6) if pixels or layer == "raw bytes" else 4
            if _is_age(text) and layer != "decoded elements":
                continue
            if any(form in low for form in wanted if len(form) >= least):
                case.found.append(f"{text} in {layer}")


def compare(before: Path, after: Path) -> bool | None:
    """Whether both decode to the same stored bits; None when pydicom cannot decode the original."""
    values = []
    for path in (before, after):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = pydicom.dcmread(path)
                array = decoded(ds)
        except Exception:  # the adversary breaks files on purpose
            return None
        mask = (1 << int(ds.get("BitsStored", 32))) - 1
        values.append(array & array.dtype.type(mask) if array.dtype.kind == "u" else array)
    return bool(np.array_equal(*values))


def run(folder: Path, out: Path, *options: str) -> tuple[int, str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "medimg", "deidentify", str(folder), str(out), *options]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def attack(scratch: Path, *, turns: int = 1, options: tuple[str, ...] = ()) -> list[Case]:
    """Plant every case, run the command once, search what it wrote."""
    import csv

    every = cases(turns)
    for case in every:
        plant(case, scratch / "in")
    _, said = run(scratch / "in", scratch / "out", *options)
    with open(scratch / "out.private" / "files.csv", encoding="utf-8") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    shared = {path.name: layers(path) for path in (scratch / "out").glob("report.*")}
    shared["messages"] = {"text": said.encode()}
    for case in every:
        row = rows[case.path.relative_to(scratch / "in").as_posix()]
        case.status = row["status"] + (f": {row['reason']}" if row["reason"] else "")
        for views in shared.values():
            search(case, views)
        if row["status"] == "written":
            copy = scratch / "out" / row["output"]
            search(case, layers(copy))
            case.same_pixels = compare(case.path, copy)
    return every


def false_alarms(scratch: Path, *, turns: int = 1) -> tuple[int, str]:
    """Run the command on the same files with nothing hidden; return how many were not written.

    Without those whose transfer syntax is refused.
    """
    every = [case for case in cases(turns) if case.syntax not in REFUSED]
    for case in every:
        plant(case, scratch / "in", hidden=False)
    _, said = run(scratch / "in", scratch / "out")
    return len(every) - len(list((scratch / "out").rglob("*.dcm"))), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=1, help="files for each place, of other kinds")
    parser.add_argument("options", nargs="*", help="of the command, such as --retain-dates")
    arguments, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        every = attack(Path(scratch) / "a", turns=arguments.turns, options=tuple(rest))
        alarms, _ = false_alarms(Path(scratch) / "b", turns=arguments.turns)
    places = list(dict.fromkeys(case.place for case in every))
    print(f"{'place':40}planted found refused leaking other-pixels")
    for place in places:
        of = [case for case in every if case.place == place]
        print(f"{place:40}{len(of):7}{sum(bool(c.found) for c in of):6}"
              f"{sum(c.status.startswith('refused') for c in of):8}"
              f"{sum(c.status == 'leaking' for c in of):8}"
              f"{sum(c.same_pixels is False for c in of):13}")  # fmt: skip
    print(f"\n{len(places)} places, {len(every)} files of {len({c.kind for c in every})} kinds and "
          f"{len({c.syntax for c in every})} transfer syntaxes: found in "
          f"{sum(bool(c.found) for c in every)}, "
          f"false alarms {alarms}")  # fmt: skip
    print(Counter(case.status for case in every).most_common())
    for case in every:
        if case.found or case.same_pixels is False:
            print(case.place, case.kind, case.syntax, case.status, case.found[:4], case.same_pixels)


if __name__ == "__main__":
    main()

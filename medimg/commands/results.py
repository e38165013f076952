"""Results as a clinic's systems read them: a structured report, and a picture beside its image."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pydicom
from PIL import Image
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medimg import __version__
from medimg.errors import ImageReadError, MedimgError
from medimg.models import ModelInfo
from medimg.storage import atomic_write

_ODD = (pydicom.errors.InvalidDicomError, AttributeError, LookupError, TypeError, ValueError)
WARNING = "Not for clinical use. Made for teaching and research; not a medical device."


def write_report(
    path: str, out: Path, *, info: ModelInfo, scores: Sequence[float], called: str
) -> None:
    """Write what a network says of an image as a structured report (TID 1500).

    Parameters
    ----------
    path : str
        The image, a DICOM file; the report takes patient and study from it and refers to it.
    out : Path
        The report's file.
    info : ModelInfo
        The network's card: classes, threshold, checksum of the weights.
    scores : sequence of float
        One score, or one per class.
    called : str
        The class that the network calls.

    Raises
    ------
    ImageReadError
        When the image is not a DICOM file with patient and study.
    MedimgError
        When highdicom is not installed.

    References
    ----------
    DICOM PS3.16, TID 1500 "Measurement Report" and TID 1004 "Device Observer".
    """
    cut = f", threshold {info.threshold} ({info.threshold_rule})" if len(scores) == 1 else ""
    use = f"Intended use: to teach how to tell {' from '.join(info.classes)}."
    with _source(path) as (hd, source, frames):
        sr, code = hd.sr, hd.sr.CodedConcept
        names = info.classes[-len(scores) :]  # a code for each, the same in every network
        coded = [code(f"S{crc32(c.encode()):X}", "99MEDIMG", f"score of {c}"[:64]) for c in names]
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(generate_uid(), "image"),
            source_images=[sr.SourceImageForMeasurementGroup.from_source_image(source, frames)],
            measurements=[
                sr.Measurement(name, round(float(score), 4), codes.UCUM.NoUnits)
                for name, score in zip(coded, scores, strict=True)
            ],
        )
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[__version__, info.weights_sha256]), name="medimg",
            manufacturer_name="medimg", model_name=f"medimg {__version__}, {info.name}",
            serial_number=f"weights SHA-256 {info.weights_sha256}",
        )  # fmt: skip
        observer = sr.ObserverContext(codes.DCM.Device, device)
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=code("18748-4", "LN", "Diagnostic imaging study"),
            imaging_measurements=[group],
        )[0]
        for text in (WARNING, f"Called {called}{cut}.", use):
            item = sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)
            report.ContentSequence.append(item)
        made = sr.EnhancedSR(
            [source], report, generate_uid(), 901, generate_uid(), 1, manufacturer="medimg",
            is_complete=True,
        )  # fmt: skip
        _save(made, out)


def write_capture(path: str, out: Path, *, picture: Path, title: str) -> None:
    """Write a picture as a secondary capture that refers to the image it was made of.

    Parameters
    ----------
    path : str
        The image, a DICOM file.
    out : Path
        The capture's file.
    picture : Path
        A picture, as a PNG file.
    title : str
        What it shows.

    Raises
    ------
    ImageReadError, MedimgError
        As `write_report`.
    """
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    with _source(path) as (hd, source, frames):
        capture = hd.sc.SCImage.from_ref_dataset(
            source, pixels, "RGB", 8, hd.CoordinateSystemNames.PATIENT, generate_uid(), 902,
            generate_uid(), 1, "medimg", patient_orientation=("L", "F"),
        )  # fmt: skip
        capture.PatientOrientation = source.get("PatientOrientation")  # empty where it is not said
        kept = "BodyPartExamined|(Image)?Laterality|LossyImageCompression(Ratio|Method)?"
        capture.update({item.tag: item for item in source if re.fullmatch(kept, item.keyword)})
        capture.SeriesDescription = "medimg, not for clinical use"
        capture.DerivationDescription = f"{title}. {WARNING}"
        capture.BurnedInAnnotation = "YES"
        capture.SourceImageSequence = hd.ReferencedImageSequence([source], frames)
        _save(capture, out)


@contextmanager
def _source(path: str) -> Iterator[tuple[Any, pydicom.Dataset, list[int] | None]]:
    """Yield highdicom, the header of an image and, of several frames, the one that was read."""
    try:
        import highdicom

        source = pydicom.dcmread(path, stop_before_pixels=True)
        yield highdicom, source, [1] if (source.get("NumberOfFrames") or 1) > 1 else None
    except ImportError as error:
        raise MedimgError("this needs highdicom: pip install 'medimg[dicom]'") from error
    except _ODD as error:
        raise ImageReadError(
            f"{path}: not a DICOM file with patient and study for a result ({error}); leave it out"
        ) from error


def _save(made: pydicom.Dataset, out: Path) -> None:
    made.SpecificCharacterSet = "ISO_IR 192"  # names of classes may be in any script
    with atomic_write(out) as file:
        made.save_as(file, enforce_file_format=True)

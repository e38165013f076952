"""Results as a clinic's systems read them: a structured report, and a picture beside its image."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import generate_uid

from medimg import __version__
from medimg.errors import ImageReadError, MedimgError
from medimg.models import ModelInfo
from medimg.storage import atomic_write

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
    with _source(path) as (hd, source):
        sr = hd.sr
        seen = sr.SourceImageForMeasurementGroup.from_source_image(source)
        names = [f"score of {name}" for name in info.classes[-len(scores) :]]
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(generate_uid(), "image"),
            source_images=[seen],
            measurements=[
                sr.Measurement(
                    name=sr.CodedConcept(f"SCORE{n}", "99MEDIMG", name[:64]),
                    value=round(float(score), 4), unit=sr.CodedConcept("1", "UCUM", "no units"),
                )
                for n, (name, score) in enumerate(zip(names, scores, strict=True))
            ],
        )  # fmt: skip
        observer = sr.ObserverContext(
            sr.CodedConcept("121007", "DCM", "Device"),
            sr.DeviceObserverIdentifyingAttributes(
                uid=generate_uid(), name="medimg", manufacturer_name="medimg",
                model_name=f"medimg {__version__}, {info.name}",
                serial_number=f"weights SHA-256 {info.weights_sha256}",
            ),
        )  # fmt: skip
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=sr.CodedConcept("18748-4", "LN", "Diagnostic imaging study"),
            imaging_measurements=[group],
        )
        cut = f"threshold {info.threshold:.4f} ({info.threshold_rule})"
        told = f"Called {called}" + (f", {cut}." if len(scores) == 1 else ".")
        use = f"Intended use: to teach how to tell {' from '.join(info.classes)}."
        comment = sr.CodedConcept("121106", "DCM", "Comment")
        for text in (WARNING, told, use):
            item = sr.TextContentItem(comment, text, sr.RelationshipTypeValues.CONTAINS)
            report[0].ContentSequence.append(item)
        made = sr.EnhancedSR(
            [source], report[0], generate_uid(), 901, generate_uid(), 1, manufacturer="medimg",
            is_complete=True,
        )  # fmt: skip
        _save(made, out)


def write_capture(path: str, out: Path, *, png: bytes, title: str) -> None:
    """Write a picture as a secondary capture that refers to the image it was made of.

    Parameters
    ----------
    path : str
        The image, a DICOM file.
    out : Path
        The capture's file.
    png : bytes
        The picture.
    title : str
        What it shows.

    Raises
    ------
    ImageReadError, MedimgError
        As `write_report`.
    """
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    with _source(path) as (hd, source):
        capture = hd.sc.SCImage.from_ref_dataset(
            source, pixels, "RGB", 8, hd.CoordinateSystemNames.PATIENT, generate_uid(), 902,
            generate_uid(), 1, "medimg", patient_orientation=("L", "F"),
        )  # fmt: skip
        capture.PatientOrientation = source.get("PatientOrientation")  # empty where it is not said
        for name in ("BodyPartExamined", "Laterality", "ImageLaterality"):
            if name in source:
                setattr(capture, name, source[name].value)
        capture.ImageType = ["DERIVED", "SECONDARY"]
        capture.SeriesDescription = "medimg, not for clinical use"
        capture.DerivationDescription = f"{title}. {WARNING}"
        capture.BurnedInAnnotation = "YES"
        whole = pydicom.Dataset()
        whole.ReferencedSOPClassUID = source.SOPClassUID
        whole.ReferencedSOPInstanceUID = source.SOPInstanceUID
        purpose = ("121322", "DCM", "Source Image for Image Processing Operation")
        whole.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept(*purpose)]
        capture.SourceImageSequence = [whole]
        _save(capture, out)


@contextmanager
def _source(path: str) -> Iterator[tuple[Any, pydicom.Dataset]]:
    """Yield highdicom and the header of an image; say what is missing in either."""
    try:
        import highdicom
    except ImportError as error:
        raise MedimgError(
            "this needs highdicom; install it: pip install 'medimg[dicom]'"
        ) from error
    try:
        yield highdicom, pydicom.dcmread(path, stop_before_pixels=True)
    except (pydicom.errors.InvalidDicomError, AttributeError, KeyError) as error:
        raise ImageReadError(
            f"{path}: not a DICOM file with patient and study, which its result needs ({error}); "
            "leave it out"
        ) from error


def _save(made: pydicom.Dataset, out: Path) -> None:
    with atomic_write(out) as file:
        made.save_as(file, enforce_file_format=True)

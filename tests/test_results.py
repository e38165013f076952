"""Results as DICOM: what they say, what they refer to, and who can read them."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from medimg import __version__, models
from medimg.__main__ import main
from medimg.commands.results import WARNING, write_capture, write_report
from medimg.errors import ImageReadError
from medimg.models import ModelInfo

hd = pytest.importorskip("highdicom")
SOURCE = sorted((Path(__file__).parents[1] / "data" / "dicom").rglob("*.dcm"))[0]
INFO = ModelInfo(
    "efficientnet_lite0", ("normal", "pneumonia"), threshold=0.31, weights_sha256="ab" * 32,
    threshold_rule="sensitivity at least 0.9",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("sr") / "report.dcm"
    write_report(str(SOURCE), out, info=INFO, scores=[0.8123], called="pneumonia")
    return out


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    out = tmp_path_factory.mktemp("sc") / "capture.dcm"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out.with_name("map.png"))
    picture = out.with_name("map.png")
    write_capture(str(SOURCE), out, picture=picture, title="Grad-CAM of pneumonia")
    return out, pixels


def items(dataset):
    """Yield (meaning of the name, item) of a content tree."""
    for item in dataset.get("ContentSequence", ()):
        name = item.get("ConceptNameCodeSequence")
        yield (name[0].CodeMeaning if name else ""), item
        yield from items(item)


def test_a_report_says_score_threshold_device_and_warning(report):
    made, source = pydicom.dcmread(report), pydicom.dcmread(SOURCE)
    found = list(items(made))
    score = next(item for name, item in found if name == "score of pneumonia")
    assert float(score.MeasuredValueSequence[0].NumericValue) == 0.8123
    texts = [item.get("TextValue", "") for _, item in found]
    assert WARNING in texts
    assert "Called pneumonia, threshold 0.31 (sensitivity at least 0.9)." in texts
    assert f"weights SHA-256 {'ab' * 32}" in texts
    assert f"medimg {__version__}, efficientnet_lite0" in texts
    for name in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert made[name] == source[name]
    assert made.SOPInstanceUID != source.SOPInstanceUID
    assert made.VerificationFlag == "UNVERIFIED"


def test_a_class_has_one_code_and_a_device_one_name(report, tmp_path):
    """A code that means another class in another report would be read as the same measurement."""
    bones = ModelInfo("efficientnet_lite0", ("normal", "fracture"), weights_sha256="cd" * 32)
    write_report(str(SOURCE), tmp_path / "b.dcm", info=bones, scores=[0.1], called="normal")
    write_report(str(SOURCE), tmp_path / "p.dcm", info=INFO, scores=[0.2], called="normal")
    codes, devices = [], []
    for path in (report, tmp_path / "b.dcm", tmp_path / "p.dcm"):
        for name, item in items(pydicom.dcmread(path)):
            if name.startswith("score of"):
                codes.append(item.ConceptNameCodeSequence[0].CodeValue)
            if name == "Device Observer UID":
                devices.append(item.UID)
    assert codes[0] == codes[2] != codes[1]
    assert devices[0] == devices[2] != devices[1]


def test_names_in_any_script_and_lossy_sources(tmp_path):
    source = pydicom.dcmread(SOURCE)
    source.LossyImageCompression, source.LossyImageCompressionRatio = "01", 12.5
    source.LossyImageCompressionMethod = "ISO_10918_1"
    source.save_as(tmp_path / "lossy.dcm")
    info = ModelInfo("efficientnet_lite0", ("正常", "肺炎"), weights_sha256="ab" * 32)
    write_report(
        str(tmp_path / "lossy.dcm"), tmp_path / "r.dcm", info=info, scores=[0.7], called="肺炎"
    )
    assert "score of 肺炎" in [name for name, _ in items(pydicom.dcmread(tmp_path / "r.dcm"))]
    Image.new("RGB", (8, 8)).save(tmp_path / "m.png")
    write_capture(
        str(tmp_path / "lossy.dcm"), tmp_path / "c.dcm", picture=tmp_path / "m.png", title="肺炎"
    )
    made = pydicom.dcmread(tmp_path / "c.dcm")
    assert (made.LossyImageCompression, made.LossyImageCompressionRatio) == ("01", 12.5)
    assert "肺炎" in made.DerivationDescription


@pytest.mark.parametrize(("name", "value"), [("PatientSex", "X"), ("PatientBirthDate", "1950")])
def test_an_odd_header_is_one_error(tmp_path, name, value):
    source = pydicom.dcmread(SOURCE)
    with pydicom.config.disable_value_validation():
        source[name].value = value
        source.save_as(tmp_path / "odd.dcm")
    with pytest.raises(ImageReadError, match=r"odd\.dcm: not a DICOM file with patient and study"):
        write_report(
            str(tmp_path / "odd.dcm"), tmp_path / "r.dcm", info=INFO, scores=[0.7], called="x"
        )


def test_a_report_refers_to_its_image(report):
    made, source = pydicom.dcmread(report), pydicom.dcmread(SOURCE)
    image = [item for _, item in items(made) if item.ValueType == "IMAGE"]
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in image] == [
        source.SOPInstanceUID
    ]
    evidence = made.CurrentRequestedProcedureEvidenceSequence[0]
    assert evidence.StudyInstanceUID == source.StudyInstanceUID


def test_a_result_names_the_frame_that_was_read(tmp_path):
    source, file = pydicom.dcmread(SOURCE), tmp_path / "two.dcm"
    source.decompress()
    pixels = source.pixel_array
    source.NumberOfFrames, source.PixelData = 2, np.stack([pixels, pixels // 2]).tobytes()
    source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    source.save_as(file)
    with pytest.raises(ImageReadError, match=r"two\.dcm: .* not represent a multi-frame"):
        write_report(str(file), tmp_path / "r.dcm", info=INFO, scores=[0.1], called="normal")
    source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = (
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    )
    source.save_as(file)
    write_report(str(file), tmp_path / "r.dcm", info=INFO, scores=[0.1], called="normal")
    Image.new("RGB", (8, 8)).save(tmp_path / "m.png")
    write_capture(str(file), tmp_path / "c.dcm", picture=tmp_path / "m.png", title="a map")
    found = items(pydicom.dcmread(tmp_path / "r.dcm"))
    (image,) = [item for _, item in found if item.ValueType == "IMAGE"]
    (of,) = pydicom.dcmread(tmp_path / "c.dcm").SourceImageSequence
    assert image.ReferencedSOPSequence[0].ReferencedFrameNumber == 1
    assert of.ReferencedFrameNumber == 1


def test_a_capture_keeps_each_pixel_and_refers_to_its_image(capture):
    out, pixels = capture
    made, source = pydicom.dcmread(out), pydicom.dcmread(SOURCE)
    np.testing.assert_array_equal(made.pixel_array, pixels)
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.StudyInstanceUID == source.StudyInstanceUID
    assert WARNING in made.DerivationDescription
    assert made.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert made.BodyPartExamined == source.BodyPartExamined
    assert made.get("Laterality") == source.get("Laterality")


def test_the_commands_write_both(tmp_path):
    model = models.build_model("efficientnet_lite0", classes=("normal", "pneumonia"))
    models.save_model(model, tmp_path / "model", sidecar={"image_size": 32})
    given = ["--model", str(tmp_path / "model.safetensors"), str(SOURCE)]
    assert main(["predict", *given, "--dicom-sr", str(tmp_path / "sr")]) == 0
    assert main(["explain", *given, "--out", str(tmp_path), "--dicom", str(tmp_path / "sc")]) == 0
    (report,), (capture,) = ((tmp_path / name).iterdir() for name in ("sr", "sc"))
    source = pydicom.dcmread(SOURCE)
    for made in map(pydicom.dcmread, (report, capture)):
        assert made.PatientID == source.PatientID
    weights = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert any(weights in item.get("TextValue", "") for _, item in items(pydicom.dcmread(report)))


def test_no_result_is_written_over_an_image(tmp_path, capsys):
    model = models.build_model("efficientnet_lite0", classes=("normal", "pneumonia"))
    models.save_model(model, tmp_path / "model", sidecar={"image_size": 32})
    given = ["--model", str(tmp_path / "model.safetensors"), str(tmp_path / "a.dcm")]
    for command, name in (
        (["explain", "--target", "normal", "--out", str(tmp_path / "o"), "--dicom"],
         "000_a_gradcam_normal.dcm"),
        (["predict", "--dicom-sr"], "000_a_report.dcm"),
    ):  # fmt: skip
        shutil.copy(SOURCE, tmp_path / name)
        (tmp_path / "a.dcm").unlink(missing_ok=True)
        (tmp_path / "a.dcm").hardlink_to(tmp_path / name)
        assert main([*command, str(tmp_path), *given]) == 2
        assert f"{name} is an input" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == SOURCE.read_bytes()


def test_other_files_are_refused_by_name(tmp_path):
    file = tmp_path / "a.png"
    Image.new("L", (9, 9)).save(file)
    with pytest.raises(ImageReadError, match=r"a\.png: not a DICOM file with patient"):
        write_report(str(file), tmp_path / "r.dcm", info=INFO, scores=[0.1], called="normal")
    assert not (tmp_path / "r.dcm").exists()


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_both(report, capture):
    told = subprocess.run(
        ["dsrdump", "+Pl", str(report)], capture_output=True, encoding="utf-8", check=True
    )
    assert "Not for clinical use" in told.stdout
    assert "score of pneumonia" in told.stdout
    assert "E:" not in told.stderr
    subprocess.run(["dcmdump", str(capture[0])], capture_output=True, check=True)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_both_are_valid_by_the_tables_of_the_standard(report, capture):
    for path, kind in ((report, "EnhancedSR"), (capture[0], "SCImage")):
        done = subprocess.run(["dciodvfy", "-new", path], capture_output=True, encoding="utf-8")
        assert kind in done.stderr
        assert "Error" not in done.stderr

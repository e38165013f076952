"""A folder from end to end: nothing left, stop and go on, refusals, pixels, the report."""

import csv
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date

import numpy as np
import pytest
from deid_files import COLUMNS, PLANTED, ROOT, ROWS, everything_under, plain, planted, save, spelled
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from medimg.deid import Box, DeidOptions, deidentify, dicomfile, run
from medimg.errors import DeidentifyError

OPTIONS = DeidOptions(secret="test secret")


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        save(planted(number), tmp_path / "Grunwald_Zoe" / f"MRN-778120_{number}.dcm")
    return tmp_path / "Grunwald_Zoe"


def go(source, out, options=OPTIONS):
    return deidentify(source, out, options=options, progress=False)


def outputs(out):
    return [dcmread(path) for path in sorted(out.rglob("*.dcm"))]


@pytest.mark.parametrize("dates", [False, True])
def test_no_planted_identifier_is_in_any_output_byte(folder, tmp_path, dates):
    chosen = DeidOptions(secret="s", retain_dates=dates)
    report = go(folder, tmp_path / "out", chosen)
    assert report.ok
    data = everything_under(tmp_path / "out").lower()
    kept = ("083157",) if dates else ()  # times of day stay with that option
    for text in PLANTED:
        if text not in kept:
            assert not any(form.lower() in data for form in spelled(text)), text
    assert ROOT.encode() not in data
    assert list(report.files["status"]) == ["written"] * 3


def test_an_element_that_the_profile_keeps_loses_a_known_name(tmp_path):
    ds = plain()
    ds.PatientName = "White^Long"  # words of the standard
    ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "long white"
    ds.InstanceNumber, ds.AcquisitionNumber = 1, 778120
    save(ds, tmp_path / "in" / "a.dcm")
    go(tmp_path / "in", tmp_path / "out")
    (written,) = outputs(tmp_path / "out")
    assert written.Manufacturer == "SIEMENS"
    assert written.InstanceNumber == 1
    assert "ManufacturerModelName" not in written
    assert "AcquisitionNumber" not in written  # the digits of the patient ID


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Łukasiewicz^Żaneta"),
        ("ISO_IR 144", "Люкceмбypг^Роза"),
        ("ISO_IR 126", "Διονυσιος^Αλεξ"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东="),
    ],
)
def test_names_in_other_scripts(tmp_path, charset, name):
    ds = plain()
    ds.SpecificCharacterSet = charset
    ds.PatientName = name
    ds.ImageComments = ds.Manufacturer = name.replace("^", " ")
    save(ds, tmp_path / "in" / "a.dcm")
    stored = dcmread(tmp_path / "in" / "a.dcm").get_item("Manufacturer").value.strip()
    assert go(tmp_path / "in", tmp_path / "out").ok
    data = everything_under(tmp_path / "out")
    assert stored not in data
    for part in name.replace("=", "^").split("^"):
        if part:
            assert part.encode("utf-8") not in data
            assert part.encode("utf-16-le") not in data


def test_one_patient_keeps_one_pseudonym_and_another_gets_another(tmp_path):
    save(plain(1), tmp_path / "in" / "a.dcm")
    other_study = plain(2, study="20220101")
    other_study.PatientName = "Gruenwald^Zoe"  # the same ID, the name written otherwise
    save(other_study, tmp_path / "in" / "b" / "b.dcm")
    save(plain(3, patient="MRN-900001"), tmp_path / "in" / "c.dcm")
    go(tmp_path / "in", tmp_path / "out")
    by_number = {int(ds.InstanceNumber): ds for ds in outputs(tmp_path / "out")}
    assert by_number[1].PatientID == by_number[2].PatientID != by_number[3].PatientID
    assert by_number[1].StudyInstanceUID == by_number[3].StudyInstanceUID
    assert len({ds.SOPInstanceUID for ds in by_number.values()}) == 3


def test_intervals_hold_over_files(tmp_path):
    save(plain(1, study="20210914"), tmp_path / "in" / "a.dcm")
    save(plain(2, study="20220301"), tmp_path / "in" / "b.dcm")
    go(tmp_path / "in", tmp_path / "out", DeidOptions(retain_dates=True, secret="s"))
    days = {
        int(ds.InstanceNumber): date.fromisoformat(ds.StudyDate) for ds in outputs(tmp_path / "out")
    }
    assert (days[2] - days[1]).days == 168  # 14 September 2021 to 1 March 2022
    assert 365 <= (date(2021, 9, 14) - days[1]).days <= 3650


def test_a_shifted_date_may_equal_another_original(tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.deid.options.Key.days", lambda self, identity: 168)
    save(plain(1, study="20210914"), tmp_path / "in" / "a.dcm")
    save(plain(2, study="20220301"), tmp_path / "in" / "b.dcm")
    report = go(tmp_path / "in", tmp_path / "out", DeidOptions(retain_dates=True, secret="s"))
    reasons = report.accepted.loc[report.accepted["kind"] == "date", "reason"]
    assert set(reasons) == {"a shifted date that equals another original date"}


def test_the_input_is_not_touched(folder, tmp_path):
    before = everything_under(folder)
    go(folder, tmp_path / "out")
    assert everything_under(folder) == before


@pytest.mark.parametrize("out", [".", "inside", ".."])
def test_folders_that_overlap_are_refused(folder, out):
    with pytest.raises(DeidentifyError, match="is, holds or lies in the input"):
        go(folder, folder / out)


def test_a_link_to_the_input_is_refused(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(DeidentifyError, match="is, holds or lies in the input"):
        go(folder, tmp_path / "link")


def test_an_output_folder_with_other_files_is_refused(folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DeidentifyError, match="move it away"):
        go(folder, tmp_path / "out")
    (tmp_path / "out" / "mine.txt").unlink()
    go(folder, tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DeidentifyError, match="move it away"):
        go(folder, tmp_path / "out")


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_stopped(folder, tmp_path, monkeypatch):
    go(folder, tmp_path / "whole")
    write, calls = dicomfile.write, []

    def stopping(dataset):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return write(dataset)

    monkeypatch.setattr(dicomfile, "write", stopping)
    with pytest.raises(KeyboardInterrupt):
        go(folder, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1
    monkeypatch.setattr(dicomfile, "write", write)
    report = go(folder, tmp_path / "out")
    assert list(report.files["status"]) == ["written"] * 3
    images = [
        {p.relative_to(d).as_posix(): p.read_bytes() for p in d.rglob("*.dcm")}
        for d in (tmp_path / "whole", tmp_path / "out")
    ]
    assert images[0] == images[1]


def test_half_of_a_file_that_a_killed_run_left_does_no_harm(folder, tmp_path):
    go(folder, tmp_path / "out")
    (tmp_path / "out.private" / "files.csv").write_bytes(b'4,"torn')
    (tmp_path / "out.private" / "part").write_bytes(b"half of Grunwald")
    assert list(go(folder, tmp_path / "out").files["status"]) == ["written"] * 3
    private = sorted(path.name for path in (tmp_path / "out.private").iterdir())
    assert private == ["files.csv", "lock"]


def test_what_this_program_did_not_write_stays(folder, tmp_path):
    go(folder, tmp_path / "out")
    mine = [tmp_path / "out" / name for name in (".htaccess", ".git/config", ".half.dcm.x1")]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine", encoding="utf-8")
    go(folder, tmp_path / "out")
    assert [path.read_text(encoding="utf-8") for path in mine] == ["mine"] * 3
    assert len(outputs(tmp_path / "out")) == 3


def test_a_file_that_is_refused_now_loses_its_earlier_copy(folder, tmp_path):
    go(folder, tmp_path / "out")
    victim = next(folder.iterdir())
    ds = dcmread(victim)
    ds.PixelData = ds.PixelData[:-20]
    ds.save_as(victim)
    assert sorted(go(folder, tmp_path / "out").files["status"]) == ["refused"] + ["written"] * 2
    assert len(outputs(tmp_path / "out")) == 2


def test_a_link_in_the_output_is_refused(folder, tmp_path):
    go(folder, tmp_path / "out")
    elsewhere = tmp_path / "elsewhere"
    (patient,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    patient.rename(elsewhere)
    patient.symlink_to(elsewhere)
    before = everything_under(elsewhere)
    with pytest.raises(DeidentifyError, match="move it away"):
        go(folder, tmp_path / "out")
    assert everything_under(elsewhere) == before


def test_a_second_run_at_once_is_refused(folder, tmp_path, monkeypatch):
    treat = run.Treatment.run

    def meanwhile(self, dataset, **kwargs):
        monkeypatch.setattr(run.Treatment, "run", treat)
        with pytest.raises(DeidentifyError, match="Another run is at work"):
            go(folder, tmp_path / "out")
        treat(self, dataset, **kwargs)

    monkeypatch.setattr(run.Treatment, "run", meanwhile)
    report = go(folder, tmp_path / "out")
    assert list(report.files["status"]) == ["written"] * 3


def test_a_full_disk_leaves_nothing_half(folder, tmp_path, monkeypatch):
    sync = os.fsync

    def full(handle):
        if len(list((tmp_path / "out").rglob("*.dcm"))) == 1:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        go(folder, tmp_path / "out")
    (whole,) = outputs(tmp_path / "out")
    assert whole.pixel_array.shape == (ROWS, COLUMNS)
    monkeypatch.undo()
    assert list(go(folder, tmp_path / "out").files["status"]) == ["written"] * 3


def test_folders_that_cannot_be_entered_are_counted_and_named(folder, tmp_path, monkeypatch):
    (folder / "closed").mkdir()
    (folder / "linked").symlink_to(tmp_path)
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    report = go(folder, tmp_path / "out")
    assert sorted(report.files.loc[report.files["status"] == "refused", "reason"]) == [
        "is a folder that cannot be opened",
        "is not a file, or is a link to a folder",
    ]
    with open(tmp_path / "out.private" / "files.csv", encoding="utf-8") as file:
        named = {row["input"] for row in csv.DictReader(file) if row["status"] == "refused"}
    assert named == {"closed", "linked"}


def test_issuers_and_placeholders_keep_people_apart(tmp_path):
    cases = (("7", "A"), ("7", "B"), ("ANONYMOUS", ""), ("anonymous", ""), ("0", ""), ("", ""))
    for number, (patient, issuer) in enumerate(cases, 1):
        ds = plain(number, patient=patient)
        ds.PatientName, ds.IssuerOfPatientID = "Anonymous", issuer
        ds.StudyInstanceUID = f"{ROOT}.1.{number}"
        save(ds, tmp_path / "in" / f"{number}.dcm")
    go(tmp_path / "in", tmp_path / "out")
    assert len({ds.PatientID for ds in outputs(tmp_path / "out")}) == len(cases)


def test_a_name_and_a_date_of_birth_stand_for_a_person_without_an_id(tmp_path):
    for number in (1, 2):
        ds = plain(number, patient="NONE")
        ds.StudyInstanceUID = f"{ROOT}.1.{number}"
        save(ds, tmp_path / "in" / f"{number}.dcm")
    go(tmp_path / "in", tmp_path / "out")
    assert len({ds.PatientID for ds in outputs(tmp_path / "out")}) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [("image_dfl.dcm", "is deflated"), ("MR_small_bigendian.dcm", "is in big-endian order")],
)
def test_deflated_and_big_endian_files_are_refused_with_the_way_out(tmp_path, name, why):
    (tmp_path / "in").mkdir()
    shutil.copy(get_testdata_file(name), tmp_path / "in")
    (reason,) = go(tmp_path / "in", tmp_path / "out").files["reason"]
    assert reason == f"{why}; write it in Explicit VR Little Endian (dcmconv +te) first"


def test_a_changed_output_and_changed_options_are_done_again(folder, tmp_path):
    go(folder, tmp_path / "out")
    victim = next((tmp_path / "out").rglob("*.dcm"))
    whole = victim.read_bytes()
    victim.write_bytes(b"tampered")
    go(folder, tmp_path / "out")
    assert victim.read_bytes() == whole
    go(folder, tmp_path / "out", DeidOptions(secret="test secret", retain_device=True))
    assert outputs(tmp_path / "out")[0].StationName == "LINDWURM"


def test_an_output_whose_input_is_gone_is_named_and_stays(folder, tmp_path):
    go(folder, tmp_path / "out")
    before = everything_under(tmp_path / "out")
    next(folder.iterdir()).unlink()
    with pytest.raises(DeidentifyError, match="no copy that this input and secret give"):
        go(folder, tmp_path / "out")
    assert everything_under(tmp_path / "out") == before


def test_the_drawn_secret_is_kept_private_and_another_is_refused(folder, tmp_path):
    first = go(folder, tmp_path / "out", DeidOptions())
    assert (tmp_path / "out.private" / "secret.key").stat().st_mode & 0o077 == 0
    second = go(folder, tmp_path / "out", DeidOptions())
    assert first.files["output"].tolist() == second.files["output"].tolist()
    with pytest.raises(DeidentifyError, match="this input and secret"):
        go(folder, tmp_path / "out")


def test_bad_files_are_refused_by_reason_and_not_copied(folder, tmp_path):
    (folder / "zero.dcm").touch()
    (folder / "text.dcm").write_text("Grunwald was here, not DICOM at all. " * 20, encoding="utf-8")
    cut = plain(7)
    cut.PixelData = cut.PixelData[:-20]
    save(cut, folder / "cut.dcm")
    document = plain(8)
    document.SOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"
    document.EncapsulatedDocument = b"%PDF Grunwald "
    save(document, folder / "document.dcm")
    report = go(folder, tmp_path / "out")
    assert report.ok
    refused = report.files[report.files["status"] == "refused"]
    assert sorted(refused["reason"]) == [
        "has truncated pixel data",
        "is an encapsulated document, which cannot be cleaned",
        "is cut short, or no DICOM object (no SOP class and instance UIDs)",
        "is cut short, or no DICOM object (no SOP class and instance UIDs)",
    ]
    assert len(outputs(tmp_path / "out")) == 3
    crosswalk = (tmp_path / "out.private" / "files.csv").read_text(encoding="utf-8")
    assert "cut.dcm,refused,has truncated pixel data" in crosswalk


def test_a_leak_fails_loudly_after_the_report_and_is_not_written(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    for number in (1, 2, 3):
        save(plain(number), folder / f"{number}.dcm")
    treat = run.Treatment.run

    def leaky(self, dataset, **kwargs):
        treat(self, dataset, **kwargs)
        if dataset.get("InstanceNumber") == 2:
            dataset.ImageComments = "seen by Dr. Fernandez"

    monkeypatch.setattr(run.Treatment, "run", leaky)
    with pytest.raises(DeidentifyError, match="FOUND in 1 copies"):
        go(folder, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is False
    assert "IDENTIFIERS FOUND in 1 copies, not written" in report["summary"]
    found = {(row["kind"], row["element"], row["count"]) for row in report["leaks"]}
    assert ("name", "ImageComments", 1) in found
    by_number = {row["number"]: row for row in report["hipaa"]}
    assert (by_number[1]["found"] > 0, by_number[1]["settled"]) == (True, "no")
    assert len(outputs(tmp_path / "out")) == 2
    monkeypatch.undo()
    assert list(go(folder, tmp_path / "out").files["status"]) == ["written"] * 3


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-16-le", "utf-16-be"])
def test_a_name_inside_the_pixels_is_a_leak(tmp_path, encoding):
    ds = plain()
    ds.BitsStored, ds.HighBit = 16, 15
    raw = bytearray(ds.PixelData)
    name = "GRÜNWALD".encode(encoding)
    raw[20 : 20 + len(name)] = name
    ds.PixelData = bytes(raw)
    save(ds, tmp_path / "in" / "a.dcm")
    with pytest.raises(DeidentifyError, match="FOUND in 1 copies"):
        go(tmp_path / "in", tmp_path / "out")
    leaks = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["leaks"]
    assert {(leak["kind"], leak["element"]) for leak in leaks} == {("name", "all bytes")}


def test_bytes_after_the_last_frame_are_cut(tmp_path):
    ds = plain()
    ds.PixelData = ds.PixelData + b"Grunwald, Zoe   "
    save(ds, tmp_path / "in" / "a.dcm")
    go(tmp_path / "in", tmp_path / "out")
    (written,) = outputs(tmp_path / "out")
    assert written.PixelData == plain().PixelData


def test_neither_report_nor_log_nor_warning_nor_repr_quotes_a_value(
    folder, tmp_path, caplog, recwarn, capsys
):
    odd = planted(9)
    odd["PatientBirthDate"]._value = "Tippfehler"  # a value that its VR forbids
    save(odd, folder / "odd.dcm")
    (folder / "text.dcm").write_text("Grunwald", encoding="utf-8")
    with caplog.at_level(logging.DEBUG):
        report = go(folder, tmp_path / "out")
    said = caplog.text + repr(report) + "".join(str(w.message) for w in recwarn)
    said += "".join(capsys.readouterr())
    said += "".join(
        (tmp_path / "out" / f"report.{kind}").read_text(encoding="utf-8")
        for kind in ("json", "html")
    )
    for text in PLANTED:
        assert text.lower() not in said.lower()
    assert "Grunwald" not in said


def test_the_report_covers_the_18_identifiers(folder, tmp_path):
    report = go(folder, tmp_path / "out")
    assert report.hipaa["number"].tolist() == list(range(1, 19))
    counted = report.hipaa.set_index("identifier")["values_in_input"]
    assert counted["Device identifiers and serial numbers"] == 2  # LINDWURM, SN-4477-X
    reasons = report.look_at.set_index("reason")["files"]
    assert reasons["text: not excluded (Burned In Annotation absent)"] == 3
    saved = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [row["number"] for row in saved["hipaa"]] == list(range(1, 19))


def test_a_picture_that_may_show_text_leaves_names_to_a_person(tmp_path):
    header, clean = "in the header", "yes"
    cases = (("CT", "YES", header), ("CT", "", header), ("CT", "NO", clean), ("US", "NO", header))
    for number, (modality, burned, settled) in enumerate(cases):
        ds = plain()
        ds.Modality, ds.BurnedInAnnotation = modality, burned
        save(ds, tmp_path / f"in{number}" / "a.dcm")
        report = go(tmp_path / f"in{number}", tmp_path / f"out{number}")
        by_number = report.hipaa.set_index("number")["settled"]
        assert by_number[[1, 3, 8]].eq(settled).all()
        assert by_number[16] == "yes"  # whole objects, refused whatever the picture shows
        (written,) = outputs(tmp_path / f"out{number}")
        assert written.PatientIdentityRemoved == ("NO" if burned == "YES" else "YES")


def test_a_head_series_is_flagged_for_its_face(tmp_path):
    for number, part, study in ((1, "HEAD", ""), (2, "", "MRI Brain w/o"), (3, "CHEST", "")):
        ds = plain(number)
        ds.BodyPartExamined, ds.StudyDescription, ds.BurnedInAnnotation = part, study, "NO"
        save(ds, tmp_path / "in" / f"{number}.dcm")
    report = go(tmp_path / "in", tmp_path / "out")
    assert report.files["look_at"].tolist() == [["face: head series"], ["face: head series"], []]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_box_is_blanked_where_the_rule_says(tmp_path, compressed):
    ds = plain()
    original = ds.pixel_array.copy()
    if compressed:
        ds.compress(RLELossless)
    save(ds, tmp_path / "in" / "a.dcm")
    other = plain(2)
    other.Modality = "US"
    save(other, tmp_path / "in" / "b.dcm")
    boxes = (Box(1, 3, 2, 7), Box(0, 6, 0, 10, where=(("Modality", "US"),)))
    go(tmp_path / "in", tmp_path / "out", DeidOptions(blank=boxes, secret="s"))
    expected = original.copy()
    expected[1:3, 2:7] = 100  # the darkest stored value of the image
    written, whole = sorted(outputs(tmp_path / "out"), key=lambda ds: ds.Modality == "US")
    assert (whole.pixel_array == 100).all()
    np.testing.assert_array_equal(written.pixel_array, expected)
    assert not written.file_meta.TransferSyntaxUID.is_compressed
    assert [c.CodeValue for c in written.DeidentificationMethodCodeSequence] == ["113100", "113101"]
    assert (written.BurnedInAnnotation, written.PatientIdentityRemoved) == ("NO", "YES")


def test_a_box_in_colour_and_in_monochrome1(tmp_path, rng):
    colour = plain(1)
    colour.SamplesPerPixel, colour.PhotometricInterpretation = 3, "RGB"
    colour.PlanarConfiguration = 1
    colour.BitsAllocated = colour.BitsStored = 8
    colour.HighBit = 7
    pixels = rng.integers(1, 255, (3, ROWS, COLUMNS), dtype=np.uint8)
    colour.PixelData = pixels.tobytes()
    inverted = plain(2)
    inverted.PhotometricInterpretation = "MONOCHROME1"
    save(colour, tmp_path / "in" / "1.dcm")
    save(inverted, tmp_path / "in" / "2.dcm")
    go(tmp_path / "in", tmp_path / "out", DeidOptions(blank=(Box(0, 2, 0, 3),), secret="s"))
    by_number = {int(ds.InstanceNumber): ds.pixel_array for ds in outputs(tmp_path / "out")}
    expected = pixels.transpose(1, 2, 0).copy()
    expected[:2, :3] = 0
    np.testing.assert_array_equal(by_number[1], expected)
    assert (by_number[2][:2, :3] == 100 + ROWS * COLUMNS - 1).all()


@pytest.mark.parametrize("box", [Box(ROWS, 99, 0, 3), Box(0, 2, COLUMNS, 99)])
def test_a_box_beside_the_pixels_is_no_reason_to_call_them_clean(tmp_path, box):
    """Rows and columns in the wrong order, or a smaller image: the text is still there."""
    save(plain(), tmp_path / "in" / "a.dcm")
    report = go(tmp_path / "in", tmp_path / "out", DeidOptions(blank=(box,), secret="s"))
    assert report.files["status"].tolist() == ["refused"]
    assert "no pixel in a box that is to be blanked" in report.files["reason"][0]
    assert outputs(tmp_path / "out") == []


def test_a_rule_that_no_file_fits_is_refused(tmp_path):
    save(plain(), tmp_path / "in" / "a.dcm")
    boxes = (Box.parse("0:2,0:3@Modality=*"), Box.parse("0:2,0:3@Modality=ZZ"))
    with pytest.raises(DeidentifyError, match=r"'ZZ'.*no file that can be read fits this rule"):
        go(tmp_path / "in", tmp_path / "out", DeidOptions(blank=boxes, secret="s"))
    assert outputs(tmp_path / "out") == []


def test_a_file_in_the_place_of_the_output_is_refused(tmp_path):
    save(plain(), tmp_path / "in" / "a.dcm")
    (tmp_path / "out").touch()
    with pytest.raises(DeidentifyError, match="is not a folder"):
        go(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_overlay_bits_in_the_pixels_are_cleared(tmp_path):
    ds = plain()
    ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") | 0x4000).astype("<u2").tobytes()
    ds.add_new(0x60000010, "US", ROWS)
    ds.add_new(0x60000102, "US", 14)
    save(ds, tmp_path / "in" / "a.dcm")
    go(tmp_path / "in", tmp_path / "out")
    (written,) = outputs(tmp_path / "out")
    np.testing.assert_array_equal(written.pixel_array, plain().pixel_array)


@pytest.mark.parametrize("text", ["", "1:2", "3:1,0:4", "0:a,0:4", "0:1,0:4@Modality"])
def test_a_box_that_makes_no_sense(text):
    with pytest.raises(DeidentifyError, match=r"[Bb]ox"):
        Box.parse(text)


@pytest.mark.parametrize("word", ["Modalityy", "modality", "0008,0060"])
def test_a_rule_names_an_element_of_dicom(word):
    with pytest.raises(DeidentifyError, match=r"no keyword of DICOM|not like"):
        Box.parse(f"0:1,0:4@{word}=DX")


def test_file_meta_and_preamble_are_fresh(folder, tmp_path):
    go(folder, tmp_path / "out")
    (path, *_) = sorted((tmp_path / "out").rglob("*.dcm"))
    assert path.read_bytes()[:128] == b"\0" * 128
    meta = dcmread(path).file_meta
    assert "SourceApplicationEntityTitle" not in meta
    assert meta.MediaStorageSOPInstanceUID == dcmread(path).SOPInstanceUID


def test_the_same_secret_gives_the_same_bytes_in_another_place(folder, tmp_path):
    go(folder, tmp_path / "a")
    go(folder, tmp_path / "b")
    sums = [
        [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(d.rglob("*.dcm"))]
        for d in (tmp_path / "a", tmp_path / "b")
    ]
    assert sums[0] == sums[1]


def test_a_run_killed_at_any_moment_is_finished_by_the_next(tmp_path):
    count = 40
    for number in range(count):
        save(planted(number, patient=f"MRN-77812{number % 4}"), tmp_path / "in" / f"{number}.dcm")
    before = everything_under(tmp_path / "in")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "medimg", "deidentify", str(tmp_path / "in"), str(out)]
    interrupted = 0
    for wanted in (1, 12, 24):  # files that are written when the signal comes
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.rglob("*.dcm"))) < wanted:
            time.sleep(0.001)
        process.kill()
        interrupted += process.wait() in (-signal.SIGTERM, -9, 1)  # 1: Windows
        for path in out.rglob("*.dcm"):
            assert dcmread(path).pixel_array.shape == (6, 10)
    assert interrupted > 1  # a busy machine may let one run end
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".dcm" for path in files) == count
    assert len(files) == count + 2  # and the two reports; nothing half-written is left
    assert everything_under(tmp_path / "in") == before
    if os.name == "posix":
        private = {p.name: p.stat().st_mode & 0o077 for p in (tmp_path / "out.private").iterdir()}
        assert private["secret.key"] == private["files.csv"] == 0


def test_the_private_folder_may_not_be_the_input(tmp_path):
    save(plain(), tmp_path / "out.private" / "a.dcm")
    before = everything_under(tmp_path)
    with pytest.raises(DeidentifyError, match="is, holds or lies in the input"):
        deidentify(tmp_path / "out.private", tmp_path / "out", progress=False)
    assert everything_under(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems store names as Unicode")
def test_a_file_name_that_is_no_utf8_is_no_reason_to_stop(tmp_path):
    save(plain(), tmp_path / "in" / "b\udce9.dcm")
    assert go(tmp_path / "in", tmp_path / "out").ok
    assert r"b\udce9.dcm,written" in (tmp_path / "out.private" / "files.csv").read_text(
        encoding="utf-8"
    )


def test_what_cannot_be_accounted_for_takes_the_none_out_of_the_sentence(folder, tmp_path):
    report = go(folder, tmp_path / "out", DeidOptions(retain_device=True, secret="s"))
    assert report.unaccounted.set_index("element")["bytes"].to_dict() == {
        "DeviceSerialNumber": 27,  # three files of nine
        "StationName": 24,
    }
    assert "none of" not in report.summary()
    assert "51 bytes in 2 elements could not be accounted for" in report.summary()
    assert "none of" in go(folder, tmp_path / "plain").summary()


def test_the_report_names_for_each_identifier_what_a_program_cannot_know(folder, tmp_path):
    table = go(folder, tmp_path / "out").hipaa
    assert table["cannot_know"].str.len().gt(10).all()
    assert table["found"].eq(0).all()

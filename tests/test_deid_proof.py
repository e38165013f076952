"""The proof itself: a name that gets past the profile is found, wherever and however it is written;
and a run that is killed at any moment is finished by the next one."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from deid_files import everything_under, item, plain, planted, save
from dicom_files import make_dicom
from pydicom import dcmread
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from medimg.deid import DeidOptions, deidentify, dicomfile
from medimg.deid.inventory import Identifier
from medimg.deid.scan import patterns
from medimg.deid.verify import _in_binary
from medimg.errors import DeidentifyError

OPTIONS = DeidOptions(secret="test secret")


def private(ds, name):
    ds.private_block(0x0019, "ACME", create=True).add_new(1, "LO", name)


def private_bytes(ds, name):
    ds.private_block(0x0019, "ACME", create=True).add_new(1, "UN", name.encode() + b"\0")


def nested(ds, name):
    inner = item(CodeMeaning=name)
    ds.DerivationCodeSequence = Sequence([item(PurposeOfReferenceCodeSequence=Sequence([inner]))])


def private_nested(ds, name):
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "SQ", Sequence([item(ImageComments=f"for {name}, please")]))


def comment(ds, name):
    ds.ImageComments = f"seen: {name}"


def pixels(ds, name):
    ds.PixelData = ds.PixelData[:8] + name.encode("latin-1") + ds.PixelData[8 + len(name) :]


def wide_block(ds, name):
    ds.add_new(0x00281201, "OW", name.encode("utf-16-le") + b"\0" * 10)


def trailer(ds, name):
    ds.add_new(0xFFFCFFFC, "OB", name.encode("latin-1") + b"\0" * (len(name) % 2))


PLACES = [private, private_bytes, nested, private_nested, comment, pixels, wide_block, trailer]
WAYS = ["Quackenbush^Ludwig", "QUACKENBUSH LUDWIG", "ludwig quackenbush", "Quackenbush, Ludwig",
        "quackenbush", "LUDWIG"]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_survives_fails_the_run(tmp_path, monkeypatch, place, way):
    ds = plain()
    ds.PatientName = "Quackenbush^Ludwig"
    save(ds, tmp_path / "in" / "a.dcm")
    write = dicomfile.write

    def leaky(dataset):  # whatever was removed or scrubbed before, the bytes hold it
        place(dataset, way)
        return write(dataset)

    monkeypatch.setattr(dicomfile, "write", leaky)
    with pytest.raises(DeidentifyError, match="found in 1 output"):
        deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False)
    assert not list((tmp_path / "out").rglob("*.dcm"))
    assert len(list((tmp_path / "out.private" / "leaking").iterdir())) == 1


@pytest.mark.parametrize(
    ("charset", "codec", "name"),
    [
        ("ISO_IR 192", "utf-8", "Łukasiewicz^Żaneta"),
        ("ISO_IR 192", "utf-16-le", "Łukasiewicz^Żaneta"),
        ("ISO_IR 101", "iso8859-2", "Łukasiewicz^Żaneta"),
        ("ISO_IR 148", "iso8859-9", "Yıldırım^Gülşen"),
        ("ISO_IR 127", "iso8859-6", "قباني^لنزار"),
        ("ISO_IR 138", "iso8859-8", "שרון^דבורה"),
        ("ISO_IR 166", "tis-620", "นามสกุล^ชื่อ"),
        (["", "ISO 2022 IR 87"], "iso2022_jp", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "euc_kr", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "gb18030", "Wang^XiaoDong=王^小东="),
    ],
)
def test_a_name_that_survives_in_its_own_script_fails_the_run(
    tmp_path, monkeypatch, charset, codec, name
):
    ds = plain()
    ds.SpecificCharacterSet, ds.PatientName = charset, name
    save(ds, tmp_path / "in" / "a.dcm")
    group = next(group for group in name.split("=") if not group.isascii())
    written = max(group.split("^"), key=len)  # one sign alone is not searched for, as is reported
    write = dicomfile.write

    def leaky(dataset):
        block = dataset.private_block(0x0019, "ACME", create=True)
        block.add_new(1, "UN", b"** " + written.encode(codec) + b" **")
        return write(dataset)

    monkeypatch.setattr(dicomfile, "write", leaky)
    with pytest.raises(DeidentifyError, match="found in 1 output"):
        deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False)


def test_a_name_of_short_parts_is_found_as_people_write_it(tmp_path):
    ds = plain()
    ds.PatientName = "Lee^Ann"
    ds.SoftwareVersions = ["4.1", "ANN LEE"]
    save(ds, tmp_path / "in" / "a.dcm")
    report = deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False)
    assert report.files["scrubbed"].tolist() == [["SoftwareVersions"]]
    assert b"ann lee" not in everything_under(tmp_path / "out").lower()


def test_a_short_name_in_a_comment_of_compressed_pixels_is_a_leak(tmp_path, rng):
    from test_images_faults import jpeg

    grey = rng.integers(0, 256, (16, 24), dtype=np.uint8)
    stream = jpeg(grey)
    text = b"for Meier, room 12"
    marked = stream[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + stream[2:]
    for name, frame in (("clean", stream), ("marked", marked)):
        folder = tmp_path / name
        folder.mkdir()
        make_dicom(folder / "a.dcm", grey, syntax=JPEGBaseline8Bit, frames=[frame],
                   PatientName="Meier^Eva", PatientID="47110815")  # fmt: skip
    assert deidentify(tmp_path / "clean", tmp_path / "a", options=OPTIONS, progress=False).ok
    with pytest.raises(DeidentifyError, match="found in 1 output"):
        deidentify(tmp_path / "marked", tmp_path / "b", options=OPTIONS, progress=False)


@pytest.mark.parametrize(
    ("text", "is_leak"),
    [("Quackenbush", True), ("山田太郎", True), ("Meier", False), ("abcdefgh", False),
     ("aaaabbbb", False), ("20210914", True), ("123456789", False)],
)  # fmt: skip
def test_what_counts_in_pixels_is_what_chance_does_not_make(text, is_leak):
    kind = "date" if text.isdigit() else "patient name"
    (first, *_) = sorted(
        (one for one in patterns([text], 0) if not one.wide), key=lambda one: one.data
    )
    assert (_in_binary(Identifier(kind, text), first) is None) == is_leak


def test_the_private_folder_may_not_be_the_input(tmp_path):
    save(plain(), tmp_path / "out.private" / "a.dcm")
    before = everything_under(tmp_path)
    with pytest.raises(DeidentifyError, match="is, holds or lies in the input"):
        deidentify(tmp_path / "out.private", tmp_path / "out", progress=False)
    assert everything_under(tmp_path) == before


def test_a_file_name_that_is_no_utf8_is_no_reason_to_stop(tmp_path):
    save(plain(), tmp_path / "in" / "b\udce9.dcm")
    assert deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False).ok
    assert r"b\udce9.dcm,written" in (tmp_path / "out.private" / "files.csv").read_text()


def test_compressed_pixels_that_end_early_are_refused_as_such(tmp_path):
    ds = plain()
    ds.compress(RLELossless)
    path = save(ds, tmp_path / "in" / "a.dcm")
    path.write_bytes(path.read_bytes()[:-8])  # the end marker of the pixel data
    report = deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False)
    assert report.files["reason"].tolist() == [
        "has pixel data that end early: the file is cut short"
    ]


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
        interrupted += process.wait() == -signal.SIGKILL
        for path in out.rglob("*.dcm"):  # only whole files bear their names
            if not path.name.startswith("."):
                assert dcmread(path).pixel_array.shape == (6, 10)
    assert interrupted > 1  # a busy machine may let one run end
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert sum(path.suffix == ".dcm" for path in files) == count
    assert len(files) == count + 2  # and the two reports; nothing half-written is left
    assert everything_under(tmp_path / "in") == before
    assert not any(os.stat(path).st_mode & 0o077 for path in (tmp_path / "out.private").iterdir()
                   if path.name != "secret.check")  # fmt: skip

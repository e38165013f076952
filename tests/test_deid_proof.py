"""The proof: an adversary finds nothing, and a name that gets past the profile is found."""

import adversary_deid
import pytest
from deid_files import plain, save
from pydicom import dcmread

from medimg.deid import DeidOptions, deidentify, dicomfile
from medimg.deid.proof import (
    Inventory,
    Verifier,
    _in_binary,
    date_spellings,
    name_spellings,
    number_spellings,
)
from medimg.errors import DeidentifyError

OPTIONS = DeidOptions(secret="test secret")


def test_an_adversary_finds_nothing(tmp_path):
    every = adversary_deid.attack(tmp_path)
    assert len({case.place for case in every}) >= 80
    assert len({case.kind for case in every}) == 10
    assert {case.place: case.found for case in every if case.found} == {}
    assert [case.place for case in every if case.same_pixels is False] == []
    refused = {case.place: case.status for case in every if case.status != "written"}
    ends = {"after the deflated data", "after the big-endian data"}
    assert set(refused) <= {"table's tail"} | ends


def test_the_same_files_with_nothing_hidden_raise_no_alarm(tmp_path):
    missing, said = adversary_deid.false_alarms(tmp_path)
    assert missing == 0, said


def test_the_adversary_sees_what_it_hides(tmp_path):
    for case in adversary_deid.cases(1)[::7]:
        adversary_deid.plant(case, tmp_path)
        adversary_deid.search(
            case, {"raw bytes": case.path.read_bytes(), "file name": case.path.name.encode()}
        )
        assert case.found or case.place == "after the deflated data"


def private(ds, name):
    ds.private_block(0x0019, "ACME", create=True).add_new(1, "LO", name)


def private_bytes(ds, name):
    ds.private_block(0x0019, "ACME", create=True).add_new(1, "UN", name.encode() + b"\0")


def comment(ds, name):
    ds.ImageComments = f"seen: {name}"


def pixels(ds, name):
    ds.PixelData = ds.PixelData[:8] + name.encode("latin-1") + ds.PixelData[8 + len(name) :]


def wide_block(ds, name):
    ds.add_new(0x00281201, "OW", name.encode("utf-16-le") + b"\0" * 10)


@pytest.mark.parametrize(
    "way",
    ["Quackenbush^Ludwig", "QUACKENBUSH LUDWIG", "ludwig quackenbush", "LudwigQuackenbush",
     "quackenbush", "LUDWIG"],
)  # fmt: skip
@pytest.mark.parametrize("place", [private, private_bytes, comment, pixels, wide_block])
def test_a_name_that_survives_fails_the_run(tmp_path, monkeypatch, place, way):
    ds = plain()
    ds.PatientName = "Quackenbush^Ludwig"
    save(ds, tmp_path / "in" / "a.dcm")
    write = dicomfile.write

    def leaky(dataset):  # whatever was removed before, the bytes hold it
        place(dataset, way)
        return write(dataset)

    monkeypatch.setattr(dicomfile, "write", leaky)
    with pytest.raises(DeidentifyError, match="FOUND in 1 copies"):
        deidentify(tmp_path / "in", tmp_path / "out", options=OPTIONS, progress=False)
    assert not list((tmp_path / "out").rglob("*.dcm"))


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
@pytest.mark.parametrize("around", ["** {} **", "前{}後"])
def test_a_name_that_survives_in_its_own_script_is_found(tmp_path, charset, codec, name, around):
    ds = plain()
    ds.SpecificCharacterSet, ds.PatientName = charset, name
    ds = dcmread(save(ds, tmp_path / "a.dcm"))
    inventory = Inventory(OPTIONS)
    inventory.add(ds, days=1)
    group = next(group for group in name.split("=") if not group.isascii())
    joined = group.replace("^", "")  # in the middle of a longer run, so between no escape sequences
    text = around.format(joined).encode(codec, "ignore")
    assert Verifier(inventory).find(text)


def test_names_dates_and_numbers_in_every_spelling_that_the_report_claims():
    assert {"LiWei", "Wei Li", "LI^WEI".title(), "Wei_Li"} <= name_spellings("Li^Wei")
    assert "Anna Maria Meier" in name_spellings("Meier^Anna^Maria")
    assert {"20210904", "04092021", "2021-9-4", "4.9.2021", "09/04/2021", "4-sep-2021", "04sep21",
            "september 4, 2021", "4/9/21"} <= date_spellings("20210904")  # fmt: skip
    assert {"MRN778120", "mrn 778120".upper(), "778120"} <= number_spellings("MRN-778120")
    assert "123456" in number_spellings("000123456")


@pytest.mark.parametrize(
    ("text", "is_leak"),
    [("Quackenbush", True), ("山田太郎", True), ("Meier", False), ("abcdefgh", False),
     ("aaaabbbb", False), ("20210914", True), ("21234567", False)],
)  # fmt: skip
def test_what_counts_in_pixels_is_what_chance_does_not_make(text, is_leak):
    assert (not _in_binary(text.encode("utf-8"))) == is_leak


@pytest.mark.parametrize(("text", "is_leak"), [("роза", False), ("розамунда", True)])
def test_pixels_of_soft_tissue_are_no_short_cyrillic_name_in_utf_16(text, is_leak):
    assert (not _in_binary(text.encode("utf-16-le"))) == is_leak


def test_the_root_of_new_uids_is_no_date(tmp_path):
    ds = plain()
    ds.StudyDate = "19900225"  # 2.25.1990, as the UID below begins
    inventory = Inventory(OPTIONS)
    inventory.add(ds, days=1)
    verifier = Verifier(inventory)
    assert not verifier.names("2.25.199012345678901234567890123456789012")
    assert verifier.names("born 2.25.1990")
    assert verifier.names("1990022508315712")


def test_a_number_that_equals_a_shifted_date_is_no_alarm(tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.deid.options.Key.days", lambda self, identity: 1)
    ds = plain()
    private(ds, "20210913")  # the study date, moved by a day
    save(ds, tmp_path / "in" / "a.dcm")
    options = DeidOptions(secret="s", retain_dates=True)
    report = deidentify(tmp_path / "in", tmp_path / "out", options=options, progress=False)
    assert "a shifted date that equals another original date" in set(report.accepted["reason"])


def test_a_private_text_that_equals_a_time_of_day_that_stays_is_no_alarm(tmp_path):
    ds = plain()
    ds.StudyTime = "101113"
    private(ds, "101113")
    save(ds, tmp_path / "in" / "a.dcm")
    options = DeidOptions(secret="s", retain_dates=True)
    assert deidentify(tmp_path / "in", tmp_path / "out", options=options, progress=False).ok


@pytest.mark.parametrize("dates", [False, True])
def test_private_dates_are_searched_in_every_spelling(dates):
    ds = plain()
    block = ds.private_block(0x0019, "ACME", create=True)
    block.add_new(1, "DA", "20190304")
    inventory = Inventory(DeidOptions(secret="s", retain_dates=dates))
    inventory.add(ds, days=1)
    verifier = Verifier(inventory)
    assert verifier.names("seen on 4.3.2019")


def test_fixed_vocabularies_are_no_identifiers(tmp_path):
    ds = plain()
    ds.RequestingService, ds.StudyDescription = "CT", "CHEST PA"
    ds.file_meta.SourceApplicationEntityTitle = "GDCM"
    inner = plain(2)
    del inner.PixelData
    ds.RequestAttributesSequence = [inner]
    inventory = Inventory(OPTIONS)
    inventory.add(ds, days=1)
    texts = {text for _, text in inventory.found}
    assert not texts & {"ISO_IR 100", "GDCM", "CHEST PA", "CT"}
    assert "Grünwald" in texts

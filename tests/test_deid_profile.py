"""The profile on one data set: nested, private, UIDs, dates, options."""

import pytest
from deid_files import CT, ROOT, item, plain, planted
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from medimg.deid import DeidOptions
from medimg.deid.keys import LETTERS, Key
from medimg.deid.profile import Treatment, shift, stamp
from medimg.deid.rules import CHARACTERISTICS, DEVICE, action_for, kept_tags

KEY = Key("a secret")


def treated(ds: Dataset, **options) -> Dataset:
    chosen = DeidOptions(**options)
    Treatment(KEY, chosen, days=400).run(ds)
    stamp(ds, pseudonym=KEY.patient("x"), codes=chosen.codes)
    return ds


def test_the_table_is_the_librarys():
    assert action_for(Tag(0x0010, 0x0010)).__name__ == "empty"
    assert action_for(Tag(0x0008, 0x103E)).__name__ == "delete"
    assert action_for(Tag(0x6002, 0x3000)).__name__ == "delete"  # repeating group
    assert action_for(Tag(0x0028, 0x0010)) is None


def test_nested_names_dates_uids_and_private_elements_go():
    ds = treated(planted())
    step = ds.DerivationCodeSequence[0].PurposeOfReferenceCodeSequence[0]
    assert "PerformedProcedureStepStartDate" not in step
    assert step.PersonName == "ANONYMIZED"
    assert step.ReferencedSOPInstanceUID == KEY.uid(f"{ROOT}.3.99")
    assert step.ReferencedSOPClassUID == CT
    assert not [e for e in ds.iterall() if e.tag.is_private]


def test_nested_text_beside_a_kept_sequence_stays():
    ds = treated(planted())
    assert ds.DerivationCodeSequence[0].CodeMeaning == "Segmentation"
    assert ds.BodyPartExamined == "CHEST"


def test_image_references_keep_their_class_and_point_to_the_new_uid():
    ds = treated(planted(1))
    reference = ds.SourceImageSequence[0]
    assert reference.ReferencedSOPClassUID == CT
    assert reference.ReferencedSOPInstanceUID == ds.SOPInstanceUID == KEY.uid(f"{ROOT}.3.1")


def test_uids_of_several_values_keep_their_number_and_order():
    ds = plain()
    ds.IrradiationEventUID = [f"{ROOT}.8", f"{ROOT}.9", f"{ROOT}.8"]
    first, second, third = treated(ds).IrradiationEventUID
    assert first == third == KEY.uid(f"{ROOT}.8")
    assert second == KEY.uid(f"{ROOT}.9") != first


def test_an_empty_uid_stays_empty():
    ds = plain()
    ds.FrameOfReferenceUID = ""
    assert treated(ds).FrameOfReferenceUID == ""


def test_keyed_uids_are_valid_and_differ_by_secret():
    new = KEY.uid(f"{ROOT}.1")
    assert new.startswith("2.25.")
    assert len(new) <= 64
    assert int(new[5:]) >> 76 & 0xF == 4  # a version-4 UUID
    assert new != Key("another secret").uid(f"{ROOT}.1")


def test_dates_go_by_type_and_leave_no_year_one_where_they_are_to_be_removed():
    ds = plain()
    ds.AdmittingDate = "20210913"  # X
    ds.InstanceCreationDate = "20210914"  # X/D
    treated(ds)
    assert "AdmittingDate" not in ds
    assert ds.StudyDate == ""  # Z
    assert ds.InstanceCreationDate == "19000101"
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"


def test_a_date_that_no_table_knows_goes_too():
    ds = plain()
    ds.add_new(0x00080001, "DA", "20210914")  # not a date in the dictionary, but one in the file
    treated(ds)
    assert 0x00080001 not in ds


def test_shifted_dates_keep_their_intervals_and_times():
    ds = plain()
    ds.AcquisitionDateTime = "20211001083157.25+0100"
    ds.DateOfLastCalibration = ["20210101", "20210301"]
    treated(ds, retain_dates=True)
    assert ds.StudyDate == "20200810"  # 400 days before 2021-09-14
    assert ds.AcquisitionDateTime == "20200827083157.25+0100"
    assert list(ds.DateOfLastCalibration) == ["20191128", "20200126"]
    assert ds.AcquisitionTime == "083157"
    assert ds.PatientBirthDate == ""
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("20240301", "20240229"),
        ("2024.03.01", "20240229"),
        ("20240101235959.9", "20231231235959.9"),
        ("2024", ""),
        ("20241399", ""),
        ("no date", ""),
        ("00010101", ""),
        ("", ""),
    ],
)
def test_shift(value, moved):
    assert shift(value, 1) == moved


def test_characteristics_stay_when_asked_but_no_age_over_89():
    gone = treated(plain())
    assert (gone.PatientSex, "PatientAge" in gone) == ("", False)
    kept = treated(plain(), retain_characteristics=True)
    assert (kept.PatientSex, kept.PatientAge) == ("F", "090Y")
    assert kept.PatientBirthDate == ""


def test_device_stays_when_asked_and_institution_does_not():
    kept = treated(planted(), retain_device=True)
    assert (kept.StationName, kept.DeviceSerialNumber) == ("LINDWURM", "SN-4477-X")
    assert kept.InstitutionName == "ANONYMIZED"
    assert treated(planted()).StationName == "ANONYMIZED"


def test_every_kept_keyword_is_in_the_dictionary():
    both = kept_tags(DeidOptions(retain_characteristics=True, retain_device=True))
    assert len(both) == len((f"{CHARACTERISTICS} {DEVICE}").split())
    assert all(action_for(Tag(tag)) is not None for tag in both)


def test_stamp_says_what_was_done():
    ds = treated(plain(), retain_dates=True, retain_device=True)
    assert ds.PatientIdentityRemoved == "YES"
    codes = [one.CodeValue for one in ds.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107", "113109"]
    assert {one.CodingSchemeDesignator for one in ds.DeidentificationMethodCodeSequence} == {"DCM"}
    assert ds.PatientID == ds.PatientName
    assert set(str(ds.PatientID)[3:].lower()) <= set(LETTERS)


def test_a_kind_of_value_that_the_library_does_not_know_is_removed():
    ds = plain()
    ds.SelectorUNValue = b"Lindwurm"
    ds.add_new(0x00400555, "SQ", Sequence([item(PatientName="Nachbar")]))  # X/Z: emptied
    ds.add_new(0x00420011, "OW", b"Lindwurm")  # D, of a VR that it cannot replace
    treated(ds)
    assert ds.SelectorUNValue == b"Anonymized"
    assert len(ds.AcquisitionContextSequence) == 0
    assert 0x00420011 not in ds


def test_overlay_and_trailing_padding_go():
    ds = treated(planted())
    assert not [e for e in ds if e.tag.group == 0x6000]
    assert 0xFFFCFFFC not in ds

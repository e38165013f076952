"""The profile on one data set: nested, private, UIDs, dates, options."""

import pytest
from deid_files import CT, ROOT, item, plain, planted
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from medimg.deid import DeidOptions
from medimg.deid.dicomfile import RULES, RefusedError
from medimg.deid.options import LETTERS, Key
from medimg.deid.profile import (
    ACTIONS,
    Treatment,
    action_for,
    is_standard,
    kept_tags,
    shift,
    stamp,
    years,
)

KEY = Key("a secret")


def treated(ds: Dataset, **options) -> Dataset:
    chosen = DeidOptions(**options)
    Treatment(KEY, chosen, days=400).run(ds)
    stamp(ds, pseudonym=KEY.patient("x"), codes=chosen.codes)
    return ds


def test_the_table_is_the_librarys():
    assert action_for(Tag(0x0010, 0x0010)) == "empty"
    assert action_for(Tag(0x0008, 0x103E)) == "delete"
    assert action_for(Tag(0x0028, 0x0010)) == ""
    names = {action.__name__ for action in ACTIONS.values()}
    assert names | {""} == set(RULES["actions"])  # what each comes to is known
    ds = plain()
    ds.add_new(0x60023000, "OW", b"Lindwurm")  # repeating group
    assert 0x60023000 not in treated(ds)


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
    assert len(both) == len(" ".join(RULES["keep"].values()).split())
    assert all(action_for(Tag(tag)) for tag in both)


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


@pytest.mark.parametrize("age", ["095Y", "95Y", "0095Y", "95", "95 years", "1140M", "4940W"])
def test_an_age_over_89_is_capped_in_every_spelling(age):
    ds = plain()
    ds["PatientAge"]._value = age
    treated(ds, retain_characteristics=True)
    assert ds.PatientAge in ("090Y", "")  # more than three digits are not an age


@pytest.mark.parametrize(
    ("age", "kept"),
    [("089Y", "089Y"), ("7Y", "007Y"), ("018M", "018M"), ("3", "003Y"), ("old", "")],
)
def test_other_ages_are_kept_as_the_standard_writes_them(age, kept):
    ds = plain()
    ds["PatientAge"]._value = age
    assert treated(ds, retain_characteristics=True).PatientAge == kept


def test_years_of_months_weeks_and_days():
    assert (years("024M"), years("052W"), years("365D")) == (2, 1, 1)


@pytest.mark.parametrize(
    "keyword",
    ["RetrieveURL", "RetrieveURI", "NTPSourceAddress", "DeviceID", "PixelDataProviderURL",
     "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest",
     "PatientBirthDateInAlternativeCalendar", "OwnerID", "ImageID", "TextValue"],
)  # fmt: skip
def test_standard_elements_outside_the_table_that_point_to_somebody_go(keyword):
    ds = plain()
    setattr(ds, keyword, "12345678")
    assert "1234" not in str(treated(ds).get(keyword))


def test_texts_outside_the_table_stay_when_they_are_words_of_the_standard():
    ds = plain()
    ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "SOMATOM Force"
    ds.ConvolutionKernel, ds.RescaleType, ds.WindowCenterWidthExplanation = "B30s", "HU", "LUNG"
    ds.SoftwareVersions, ds.FilterType, ds.SequenceName = "for Nachbar", "Fernandez", "*fl3d1"
    treated(ds)
    assert (ds.Manufacturer, ds.ManufacturerModelName) == ("SIEMENS", "SOMATOM Force")
    assert (ds.ConvolutionKernel, ds.RescaleType) == ("B30s", "HU")
    assert ds.WindowCenterWidthExplanation == "LUNG"
    assert "SoftwareVersions" not in ds
    assert "FilterType" not in ds


def test_one_value_of_an_image_type_is_replaced_at_its_place():
    ds = plain()
    ds.ImageType = ["ORIGINAL", "GRUNWALD", "AXIAL"]
    assert list(treated(ds).ImageType) == ["ORIGINAL", "OTHER", "AXIAL"]


@pytest.mark.parametrize(
    ("scheme", "value", "meaning", "expected"),
    [
        ("DCM", "113076", "Segmentation", ("113076", "Segmentation")),
        # the standard's own meaning replaces another
        (
            "SCT",
            "51185008",
            "Chest of Grunwald",
            ("51185008", "Thoracic structure (body structure)"),
        ),
        ("SRT", "T-D3000", "Chest", ("T-D3000", "Chest")),
        ("99HOME", "MRN778120", "Grunwald", ("REMOVED", "REMOVED")),
    ],
)
def test_a_code_stays_when_the_standard_lists_it(scheme, value, meaning, expected):
    ds = plain()
    code = item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    ds.AnatomicRegionSequence = Sequence([code])
    found = treated(ds).AnatomicRegionSequence[0]
    assert (found.CodeValue, found.CodeMeaning) == expected


def test_only_uids_of_the_registry_stay():
    ds = plain()
    ds.FrameOfReferenceUID = "1.2.840.10008.5.1.4.1.1.2.20210914.7"  # looks like the standard's
    ds.RelatedGeneralSOPClassUID = [CT, "1.3.46.670589.5.0.10"]
    treated(ds)
    assert ds.FrameOfReferenceUID.startswith("2.25.")
    assert ds.RelatedGeneralSOPClassUID[0] == CT
    assert ds.RelatedGeneralSOPClassUID[1].startswith("2.25.")


def test_numbers_that_are_none_and_values_beyond_their_number_go():
    ds = plain()
    ds.add_new(0x00280034, "IS", ["1", "1", "7"])  # aspect ratio: two
    ds["InstanceNumber"]._value = "12 Fernandez"
    ds.PixelSpacing = [0.5, 0.25]
    treated(ds)
    assert "PixelAspectRatio" not in ds
    assert "InstanceNumber" not in ds
    assert list(ds.PixelSpacing) == [0.5, 0.25]


def test_a_lookup_table_longer_than_it_states_is_refused():
    ds = plain()
    table = item(LUTDescriptor=[2, 0, 16], ModalityLUTType="HU")
    table.add_new(0x00283006, "OW", b"\1\0\2\0")
    ds.ModalityLUTSequence = Sequence([table])
    assert treated(ds).ModalityLUTSequence[0].LUTData == b"\1\0\2\0"
    table.add_new(0x00283006, "OW", b"\1\0\2\0Grunwald")
    with pytest.raises(RefusedError, match="beyond its entries"):
        treated(ds)


def test_pixels_icons_and_curves_below_go():
    ds = plain()
    small = item(Rows=1, Columns=8)
    small.add_new(0x7FE00010, "OB", b"Grunwald")
    ds.IconImageSequence, ds.ReferencedImageSequence = Sequence([small]), Sequence([small])
    ds.add_new(0x50003000, "OW", b"Grunwald")
    ds.add_new(0x00282000, "OB", b"Grunwald")  # colour profile
    treated(ds)
    assert "IconImageSequence" not in ds
    assert "PixelData" not in ds.ReferencedImageSequence[0]
    assert 0x50003000 not in ds
    assert 0x00282000 not in ds


def test_times_that_are_none_do_not_survive_shifting():
    ds = plain()
    ds["AcquisitionTime"]._value = "seen by Nachbar"
    ds.AcquisitionDateTime = "20210914"
    ds["AcquisitionDateTime"]._value = "20210914 Nachbar"
    treated(ds, retain_dates=True)
    assert ds.AcquisitionTime == ""
    assert ds.AcquisitionDateTime == ""


def test_device_texts_kept_by_option_are_counted_as_unaccounted():
    ds = planted()
    treatment = Treatment(KEY, DeidOptions(retain_device=True), days=400)
    treatment.run(ds)
    assert treatment.unaccounted == {"StationName": 8, "DeviceSerialNumber": 9}
    assert Treatment(KEY, DeidOptions(), days=400).unaccounted == {}


@pytest.mark.parametrize("text", ["YBR_FULL_422", "DERIVED", "CHEST", "GDCM", "GE MEDICAL SYSTEMS"])
def test_words_of_the_standard(text):
    assert is_standard(text)


@pytest.mark.parametrize(
    "text", ["王", "95", "14/09/21", "083157", "10.126.138.1", "Nachbar", "A-1 GRUNWALD"]
)
def test_what_is_no_word_of_the_standard(text):
    assert not is_standard(text)

"""Which element the profile acts on: the library's table, and the options' columns of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from dicomanonymizer.simpledicomanonymizer import initialize_actions
from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.tag import BaseTag

from medimg.deid.options import DeidOptions

Action = Callable[[Dataset, tuple[int, int]], None]

EDITION = "dicomfields_2026c"  # the newest edition of table E.1-1 that the library carries
DATES = frozenset({"DA", "DT", "TM"})
TEXTS = frozenset({"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
BIRTH = frozenset({0x00100030, 0x00100032, 0x00100033, 0x00100034})

# The library carries the Basic Profile's column of table E.1-1 only. These are the attributes that
# two of the options' columns mark K (keep). Left out: those marked C (clean by hand), and dates
# of calibration, which go the way of all dates.
CHARACTERISTICS = (
    "PatientSex PatientAge PatientSize PatientWeight EthnicGroup EthnicGroupCodeSequence "
    "PatientSexNeutered PregnancyStatus SmokingStatus"
)
DEVICE = (
    "CassetteID DetectorID DeviceDescription DeviceLabel DeviceSerialNumber DeviceUID GantryID "
    "GeneratorID LensMake LensModel LensSerialNumber LensSpecification "
    "ManufacturerDeviceClassUID ManufacturerDeviceIdentifier ModifyingDeviceID ModifyingSystem "
    "PerformedStationName PlateID ScheduledStationName SourceManufacturer SourceSerialNumber "
    "StationName TransducerIdentificationSequence TreatmentMachineName UDISequence "
    "UniqueDeviceIdentifier XRayDetectorID XRayDetectorLabel XRaySourceID"
)
# UIDs that name a class, a rule or a code system, not a thing.
CLASS_WORDS = ("ClassUID", "SOPClass", "TransferSyntax", "CodingScheme", "ContextUID",
               "ContextGroup", "MappingResource", "ExtensionCreator")  # fmt: skip


@cache
def _table() -> tuple[dict[tuple[int, int], Action], list[tuple[tuple[int, ...], Action]]]:
    """Return the library's single-tag rules and its rules for repeating groups."""
    every = initialize_actions(EDITION)
    single = {tag: action for tag, action in every.items() if len(tag) == 2}
    return single, [(tag, action) for tag, action in every.items() if len(tag) == 4]


def action_for(tag: BaseTag) -> Action | None:
    """Return the Basic Profile's action for a tag; None when the table does not hold it."""
    single, repeating = _table()
    found = single.get((tag.group, tag.element))
    if found is not None:
        return found
    for (group, element, group_mask, element_mask), action in repeating:
        if (tag.group & group_mask, tag.element & element_mask) == (group, element):
            return action
    return None


@cache
def kept_tags(options: DeidOptions) -> frozenset[int]:
    """Return the tags of the table that the options keep."""
    words = CHARACTERISTICS.split() if options.retain_characteristics else []
    words += DEVICE.split() if options.retain_device else []
    return frozenset(tag for word in words if (tag := tag_for_keyword(word)) is not None)


def is_foreign(tag: BaseTag) -> bool:
    """Whether a tag is private or not in the DICOM dictionary, so that no rule knows it."""
    return tag.is_private or not dictionary_has_tag(tag)


def names_a_class(keyword: str, uid: str) -> bool:
    """Whether a UID says what kind of thing it is, not which: such UIDs stay."""
    if uid in UID_dictionary or uid.startswith("1.2.840.10008."):
        return True
    return any(word in keyword for word in CLASS_WORDS) and keyword != "ManufacturerDeviceClassUID"

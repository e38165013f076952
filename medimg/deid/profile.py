"""Decide about every element of a data set: keep, replace or remove.

PS3.15 Annex E, table E.1-1, comes from dicom-anonymizer, with what each action does to a value. That
library looks at the top level only, leaves 0001-01-01 where a date is to go, draws UIDs at random,
and keeps everything outside the table. So this module walks every level itself, and outside the
table it keeps numbers, and texts that are made of the standard's own words; the rest is removed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from importlib.resources import files as package_files

from dicomanonymizer.simpledicomanonymizer import initialize_actions, replace
from pydicom import DataElement, Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VM, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping
from pydicom.tag import BaseTag

from medimg.deid.dicomfile import PIXELS, RefusedError
from medimg.deid.options import DeidOptions, Key

Action = Callable[[Dataset, tuple[int, int]], None]

EDITION = "dicomfields_2026c"  # the newest edition of table E.1-1 that the library carries
METHOD = "medimg.deid: PS3.15 Annex E Basic Profile"
MEANINGS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
}
DATES = frozenset({"DA", "DT", "TM"})
SHORT = frozenset({"CS", "LO", "SH"})
TEXTS = SHORT | {"AE", "AS", "LT", "PN", "ST", "UC", "UR", "UT"}
NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
# The library's year 1 is refused by validators and lies before what pandas can hold.
DUMMY_DATES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
TYPE_2 = frozenset({0x00400555})  # "X unless Z is required": Acquisition Context must be present
BIRTH = frozenset({0x00100030, 0x00100032, 0x00100033, 0x00100034})
CODES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119, 0x00080120})
# What an image cannot be shown without: lookup tables, each with the tag that states its length;
# packed tables, points of surfaces and spectra, which state none.
TABLES = {0x00281201: 0x00281101, 0x00281202: 0x00281102, 0x00281203: 0x00281103,
          0x00283006: 0x00283002}  # fmt: skip
ARRAYS = frozenset({0x00281221, 0x00281222, 0x00281223, 0x00660016, 0x00660040, 0x00660041,
                    0x00660042, 0x56000020})  # fmt: skip
# Pictures and signatures of other images, and what describes a person beyond the table.
NEVER = frozenset({0x00880200, 0xFFFAFFFA, 0x54000100, 0x7FE00001, 0x7FE00002, 0x00282000})
# Words in the name of an element whose text is a label of one thing, so that it points to it.
POINTING = re.compile(r"ID(s|Type)?$|Identif|Number|Order|Serial|Address|Owner|Birth|Death|Creator|"
                      r"Telephone|URL|Issuer|Authority|Operator|Lot|Stock")  # fmt: skip
# The library carries the Basic Profile's column of table E.1-1 only. These are the attributes that
# two of the options' columns mark K (keep). Left out: those marked C (clean by hand), and dates
# of calibration, which are treated as all dates are.
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
DAY = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)")
TIME = re.compile(r"(\d{0,6}(\.\d{1,6})?([+-]\d{4})?)\s*")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
AGE = re.compile(r"\D*0*(\d{1,4})\s*(?:([dwmy])\w*)?\W*", re.IGNORECASE)


@cache
def _table() -> tuple[dict[tuple[int, ...], Action], list[tuple[tuple[int, ...], Action]]]:
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


@cache
def vocabulary() -> frozenset[str]:
    """Return the words of the standard's names and defined terms, and of manufacturers."""
    names = [entry[2] for entry in DicomDictionary.values()]
    names += [entry[0] for entry in UID_dictionary.values()]
    words = {word for name in names for word in re.findall(r"[a-z]{2,}", name.lower())}
    ours = package_files("medimg.deid").joinpath("words.txt").read_text(encoding="utf-8")
    return frozenset(words | set(re.split(r"[\s_-]+", ours)))


def is_standard(text: str) -> bool:
    """Whether a text is made of words that the standard itself uses, and a few small numbers.

    Examples
    --------
    >>> is_standard("DERIVED"), is_standard("LightSpeed 16"), is_standard("YBR_FULL_422")
    (True, True, True)
    >>> is_standard("Head of Grunwald"), is_standard("10.20.30.40"), is_standard("95 years")
    (False, False, False)
    """
    text = text.strip()
    if not text.isascii() or not text.isprintable() or len(text) > 64:
        return False
    known = vocabulary()
    odd = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in known]
    small = all(
        (word.isdigit() and len(word) < 3 and int(word) < 90)
        or re.fullmatch(r"[a-z]{1,2}|[a-z]\d{1,2}[a-z]?", word)
        for word in odd
    )
    return small and sum(letter.isdigit() for word in odd for letter in word) < 5


def years_of(text: str) -> tuple[int, str] | None:
    """Return an age and its unit (D, W, M, Y), however written; None when it is not an age.

    Examples
    --------
    >>> years_of("095Y"), years_of("95 years"), years_of("1100M"), years_of("old")
    ((95, 'Y'), (95, 'Y'), (1100, 'M'), None)
    """
    match = AGE.fullmatch(text.strip())
    return (int(match[1]), (match[2] or "y").upper()) if match else None


def over_89(text: str) -> bool:
    """Whether a text is an age of 90 or more."""
    age = years_of(text)
    return age is not None and age[0] >= {"D": 32850, "W": 4680, "M": 1080, "Y": 90}[age[1]]


def values_of(element: DataElement) -> list[str]:
    """Return the values of an element as texts."""
    value = element.value
    many = value if isinstance(value, MultiValue | list | tuple) else [value]
    return ["" if one is None else str(one) for one in many]


@dataclass
class Treatment:
    """What one file's data set is treated with, and a count of what was done."""

    key: Key
    options: DeidOptions
    days: int
    done: Counter[str] = field(default_factory=Counter)
    unaccounted: Counter[str] = field(default_factory=Counter)

    def run(self, dataset: Dataset, *, top: bool = True, dummies: bool = False) -> None:
        """Treat every element of a data set, items of sequences included.

        Parameters
        ----------
        dataset : Dataset
            Changed in place.
        top : bool
            Whether it is the file's own data set, the only one that may hold pixels.
        dummies : bool
            Replace every text and number, as in a sequence that the table marks D.
        """
        known = known_code(dataset)
        for tag in list(dataset.keys()):
            why = _never(tag, top)
            if not why:
                try:
                    element = dataset[tag]
                except Exception:  # a value that cannot even be parsed cannot be cleaned either
                    why = "unreadable elements removed"
            if why:
                self._remove(dataset, tag, why)
            elif tag in PIXELS or (known and tag in CODES and not dummies):
                continue
            else:
                self._treat(dataset, element, dummies)
        if known and not dummies and not is_standard(str(dataset.get("CodeMeaning", ""))):
            dataset.CodeMeaning = known

    def _remove(self, dataset: Dataset, tag: BaseTag, why: str) -> None:
        del dataset[tag]
        self.done[why] += 1

    def _treat(self, dataset: Dataset, element: DataElement, dummies: bool) -> None:
        tag, action = element.tag, action_for(element.tag)
        name = "replace" if dummies else action.__name__ if action else ""
        if tag in kept_tags(self.options):
            self._keep(dataset, element)
        elif element.VR == "SQ":
            self._sequence(dataset, element, name)
        elif element.VR == "UI" and name != "delete":
            self._uids(element)
        elif element.VR in DATES:
            self._date(dataset, element, name)
        elif action is None and not dummies:
            self._outside(dataset, element)
        else:
            try:
                (action if action and not dummies else replace)(dataset, (tag.group, tag.element))
            except NotImplementedError:
                del dataset[tag]
            self.done["elements emptied, replaced or removed by the table"] += 1

    def _outside(self, dataset: Dataset, element: DataElement) -> None:
        """Keep an element that the table does not name only when its value is accounted for."""
        if element.tag in ARRAYS:
            self.unaccounted[element.keyword] += len(element.value)
            return
        if element.tag in TABLES:
            _refuse_longer(dataset, element)
            return
        if accounted(element):
            return
        if element.tag in CODES:
            element.value = "REMOVED"
            self.done["codes that are not the standard's replaced"] += 1
        elif element.VR == "CS" and isinstance(
            element.value, MultiValue
        ):  # its places have meanings
            element.value = [v if is_standard(v) else "OTHER" for v in values_of(element)]
            self.done["code words that are not the standard's replaced"] += 1
        else:
            self._remove(dataset, element.tag, "elements beyond the table removed")

    def _keep(self, dataset: Dataset, element: DataElement) -> None:
        self.done["elements kept by an option"] += 1
        texts = values_of(element)
        if element.VR == "SQ":
            for item in element.value:
                self.run(item, top=False)
        elif element.VR == "AS" or element.keyword == "PatientAge":
            age = years_of(texts[0])
            if age is None or age[0] > 999 or len(texts) > 1:
                del dataset[element.tag]
            else:
                element.value = "090Y" if over_89(texts[0]) else f"{age[0]:03}{age[1]}"
        elif element.keyword in CHARACTERISTICS.split() and not accounted(element, pointing=True):
            self._remove(dataset, element.tag, "elements beyond the table removed")
        elif element.VR not in NUMBERS and not all(map(is_standard, texts)):
            self.unaccounted[element.keyword] += sum(map(len, texts))

    def _sequence(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if name in ("", "replace", "delete_or_empty_or_replace_UID"):
            for item in element.value:
                self.run(item, top=False, dummies=name == "replace")
            return
        if name.startswith("delete") and element.tag not in TYPE_2:
            del dataset[element.tag]
        else:
            element.value = Sequence([])
        self.done["elements emptied, replaced or removed by the table"] += 1

    def _uids(self, element: DataElement) -> None:
        values = values_of(element)
        new = [v if v in UID_dictionary or not v else self.key.uid(v) for v in values]
        self.done["UIDs replaced"] += sum(a != b for a, b in zip(values, new, strict=True))
        element.value = new if len(new) > 1 else new[0]

    def _date(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if self.options.retain_dates and element.tag not in BIRTH:
            values = values_of(element)
            if element.VR == "TM":
                values = [v if TIME.fullmatch(v) else "" for v in values]
            else:
                values = [shift(value, self.days) for value in values]
            element.value = values if len(values) > 1 else values[0]
            self.done["dates shifted"] += element.VR != "TM"
            return
        self.done["dates and times removed"] += 1
        if name in ("", "delete"):
            del dataset[element.tag]
        else:
            empty = name in ("empty", "delete_or_empty")
            element.value = "" if empty else DUMMY_DATES[element.VR]


def _never(tag: BaseTag, top: bool) -> str:
    """Return why an element is removed unseen; "" when it is not."""
    if is_foreign(tag):
        return f"{'private' if tag.is_private else 'unknown'} elements removed"
    if 0x6000 <= tag.group <= 0x60FF or 0x5000 <= tag.group <= 0x50FF:
        return "overlay and curve elements removed"
    if tag.element == 0 or tag.group < 8 or tag == 0xFFFCFFFC:
        return "group lengths, commands and padding removed"
    if tag in NEVER or (tag in PIXELS and not top):
        return "icons, profiles, signatures and waveforms removed"
    return ""


def accounted(element: DataElement, *, pointing: bool = False) -> bool:
    """Whether a value outside the table is of a closed vocabulary, or a number that is one."""
    values, vr = values_of(element), element.VR
    most = dictionary_VM(element.tag).split("-")[-1]
    if most.isdigit() and len(values) > int(most):
        return False
    if element.tag == 0x00080005:
        return all(one in python_encoding for one in values)
    if vr in ("DS", "IS"):
        return all(len(v) <= 16 and NUMBER.fullmatch(v) for v in values if v)
    if vr in SHORT:
        points = vr != "CS" and not pointing and element.keyword != "StackID"
        points = points and POINTING.search(element.keyword) is not None
        return all(is_standard(one) and not points for one in values if one)
    return vr in NUMBERS or not any(values)


def _refuse_longer(dataset: Dataset, table: DataElement) -> None:
    """Raise RefusedError for a lookup table that is longer than its descriptor states."""
    described = dataset.get(TABLES[table.tag])
    entries, bits = (
        (int(described.value[0]) or 65536, int(described.value[2])) if described else (0, 8)
    )
    length = len(table.value) * (1 if isinstance(table.value, bytes) else 2)
    if length > 2 * entries or (bits <= 8 and length not in (entries + entries % 2, 2 * entries)):
        raise RefusedError("has a lookup table with bytes beyond its entries")


def known_code(dataset: Dataset) -> str:
    """Return the meaning of a coded entry of the standard's context groups; "" otherwise."""
    scheme, value = (str(dataset.get(k, "")) for k in ("CodingSchemeDesignator", "CodeValue"))
    if scheme in ("SRT", "SNM3", "99SDM"):
        scheme, value = "SCT", mapping["SRT"].get(value, "")
    return _meanings(scheme).get(value, "")


@cache
def _meanings(scheme: str) -> dict[str, str]:
    found = concepts.get(scheme, {}).values()
    return {code: meaning for entry in found for code, (meaning, _) in entry.items()}


def shift(value: str, days: int) -> str:
    """Return a DA or DT value moved back by whole days; "" when it does not name a day.

    Examples
    --------
    >>> shift("20240301", 1), shift("20240301120000.5+0100", 366), shift("2024", 1)
    ('20240229', '20230301120000.5+0100', '')
    """
    match = DAY.match(value.strip())
    rest = TIME.fullmatch(value.strip()[match.end() :]) if match else None
    if match is None or rest is None:
        return ""
    try:
        moved = date(*(int(part) for part in match.groups())) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}".rjust(8, "0") + rest[0]


def stamp(dataset: Dataset, *, pseudonym: str, codes: tuple[str, ...]) -> None:
    """Write the pseudonym, and what was done (PS3.15 E.1.1; codes of PS3.16 CID 7050)."""
    dataset.PatientName = dataset.PatientID = pseudonym
    if "113101" in codes:
        dataset.BurnedInAnnotation = "NO"  # PS3.15 E.3.1
    # it means that the attributes and the pixels are free of identity (PS3.3 C.7.1.1)
    legible = str(dataset.get("BurnedInAnnotation", "")).upper() == "YES"
    dataset.PatientIdentityRemoved = "NO" if legible else "YES"
    dataset.DeidentificationMethod = METHOD
    items = []
    for code in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = code, "DCM"
        item.CodeMeaning = MEANINGS[code]
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = Sequence(items)
    modified = "113107" in codes
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if modified else "REMOVED"

"""Apply PS3.15 Annex E to one data set, on top of dicom-anonymizer.

The library brings the table and what each action does to a value. It looks at the top level only,
leaves 0001-01-01 where a date is to go, draws UIDs at random, and stops at value representations
that it does not know. So this module walks every level itself and, for dates, UIDs and sequences,
does what the table says; everything else is the library's.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta

from dicomanonymizer.simpledicomanonymizer import replace_element
from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from medimg.deid.keys import Key
from medimg.deid.options import DeidOptions
from medimg.deid.rules import BIRTH, DATES, action_for, is_foreign, kept_tags, names_a_class

METHOD = "medimg.deid: PS3.15 Annex E Basic Profile"
MEANINGS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
}
# The library's year 1 is refused by validators and lies before what pandas can hold.
DUMMY_DATES = {"DA": "19000101", "DT": "19000101000000", "TM": "000000"}
TYPE_2 = frozenset({0x00400555})  # "X unless Z is required": Acquisition Context must be present
DAY = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)")


@dataclass
class Treatment:
    """What one file's data set is treated with, and a count of what was done."""

    key: Key
    options: DeidOptions
    days: int
    done: Counter[str] = field(default_factory=Counter)

    def run(self, dataset: Dataset) -> None:
        """Treat every element of a data set, items of sequences included."""
        for tag in list(dataset.keys()):
            try:
                element = dataset[tag]
            except Exception:  # a value that cannot even be parsed cannot be cleaned either
                self._remove(dataset, tag, "unreadable elements removed")
                continue
            if is_foreign(tag):
                kind = "private" if tag.is_private else "unknown"
                self._remove(dataset, tag, f"{kind} elements removed")
            elif 0x6000 <= tag.group <= 0x60FF or 0x5000 <= tag.group <= 0x50FF:
                self._remove(dataset, tag, "overlay and curve elements removed")
            elif tag == 0xFFFCFFFC:
                self._remove(dataset, tag, "trailing padding removed")
            else:
                self._treat(dataset, element)

    def _remove(self, dataset: Dataset, tag: BaseTag, why: str) -> None:
        del dataset[tag]
        self.done[why] += 1

    def _treat(self, dataset: Dataset, element: DataElement) -> None:
        action = action_for(element.tag)
        name = action.__name__ if action else ""
        if element.tag in kept_tags(self.options):
            self._keep(element)
        elif element.VR == "SQ":
            self._sequence(dataset, element, name)
        elif element.VR == "UI" and name != "delete":
            self._uids(element)
        elif element.VR in DATES:
            self._date(dataset, element, name)
        elif action is None:
            if element.VR == "PN":
                self._remove(dataset, element.tag, "names beyond the table removed")
        else:
            try:
                action(dataset, (element.tag.group, element.tag.element))
            except NotImplementedError:
                del dataset[element.tag]
            self.done["elements emptied, replaced or removed by the table"] += 1

    def _keep(self, element: DataElement) -> None:
        if element.VR == "SQ":
            for item in element.value:
                self.run(item)
        years = re.fullmatch(r"(\d{3})Y", str(element.value))
        if element.VR == "AS" and years and int(years[1]) > 89:
            element.value = "090Y"
        self.done["elements kept by an option"] += 1

    def _sequence(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if name in ("", "delete_or_empty_or_replace_UID"):
            for item in element.value:
                self.run(item)
            return
        if name == "replace":
            for item in element.value:
                self._dummies(item)
        elif name.startswith("delete") and element.tag not in TYPE_2:
            del dataset[element.tag]
        else:
            element.value = Sequence([])
        self.done["elements emptied, replaced or removed by the table"] += 1

    def _dummies(self, dataset: Dataset) -> None:
        """Replace all leaves of a sequence that is to hold dummies (D)."""
        for tag in list(dataset.keys()):
            element = dataset[tag]
            if element.VR == "SQ":
                for item in element.value:
                    self._dummies(item)
            elif element.VR == "UI":
                self._uids(element)
            elif element.VR in DATES:
                element.value = DUMMY_DATES[element.VR]
            else:
                try:
                    replace_element(element)
                except NotImplementedError:
                    del dataset[tag]

    def _uids(self, element: DataElement) -> None:
        keyword = keyword_for_tag(element.tag)
        many = isinstance(element.value, MultiValue)
        values = [str(value) for value in (element.value if many else [element.value])]
        if not any(values):
            return
        new = [v if names_a_class(keyword, v) or not v else self.key.uid(v) for v in values]
        self.done["UIDs replaced"] += sum(a != b for a, b in zip(values, new, strict=True))
        element.value = new if many else new[0]

    def _date(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if self.options.retain_dates and element.tag not in BIRTH:
            many = isinstance(element.value, MultiValue)
            values = [str(value) for value in (element.value if many else [element.value])]
            if element.VR != "TM":
                values = [shift(value, self.days) for value in values]
            element.value = values if many else values[0]
            self.done["dates shifted"] += element.VR != "TM"
            return
        self.done["dates and times removed"] += 1
        if name in ("", "delete"):
            del dataset[element.tag]
        elif name in ("empty", "delete_or_empty"):
            element.value = ""
        else:
            element.value = DUMMY_DATES[element.VR]


def shift(value: str, days: int) -> str:
    """Return a DA or DT value moved back by whole days; "" when it names no day.

    Examples
    --------
    >>> shift("20240301", 1), shift("20240301120000.5+0100", 366), shift("2024", 1)
    ('20240229', '20230301120000.5+0100', '')
    """
    match = DAY.match(value.strip())
    if match is None:
        return ""
    try:
        moved = date(*(int(part) for part in match.groups())) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}".rjust(8, "0") + value.strip()[match.end() :]


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

"""Decide about every element of a data set: keep, replace or remove.

PS3.15 Annex E, table E.1-1, comes from dicom-anonymizer, with what each action does to a value.
That library looks at the top level only, leaves 0001-01-01 where a date is to go, draws UIDs at
random, and keeps everything outside the table. So this module walks every level itself, and
outside the table it keeps numbers, and texts made of the standard's own words; the rest goes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Any

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

from medimg.deid.dicomfile import LIMIT, PIXELS, RULES, RefusedError, on_disk, package_text
from medimg.deid.options import DeidOptions, Key

Action = Callable[[Dataset, tuple[int, int]], None]
DATES = frozenset({"DA", "DT", "TM"})
SHORT = frozenset({"CS", "LO", "SH"})
TEXTS = SHORT | {"AE", "AS", "LT", "PN", "ST", "UC", "UR", "UT"}
NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
CODES, BIRTH = frozenset(RULES["elements"]["codes"]), frozenset(RULES["elements"]["birth"])
TABLES = {int(table, 16): describes for table, describes in RULES["tables"].items()}
# What the keyword of an element holds whose text points to one person or thing.
POINTING = re.compile(r"ID(s|Type)?$|Identif|Number|Order|Serial|Address|Owner|Birth|Death|Creator|"
                      r"Telephone|URL|Issuer|Authority|Operator|Lot|Stock")  # fmt: skip
DAY = re.compile(r"(\d{4})[.-]?(\d\d)[.-]?(\d\d)")
TIME = re.compile(r"\d{0,6}(\.\d{1,6})?([+-]\d{4})?\s*")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
AGE = re.compile(r"\D*0*(\d{1,3})\s*(?:([dwmy])\w*)?\W*", re.IGNORECASE)
BY_TABLE = "elements emptied, replaced or removed by the table"


@cache
def action_for(tag: BaseTag) -> Action | None:
    """Return the Basic Profile's action for a tag; None when the table does not hold it."""
    for rule, action in _table().items():
        mask = rule[2:] or (0xFFFF, 0xFFFF)
        if (tag.group & mask[0], tag.element & mask[1]) == rule[:2]:
            return action
    return None


@cache
def _table() -> dict[tuple[int, ...], Action]:
    return dict(initialize_actions(RULES["edition"]))


@cache
def kept_tags(options: DeidOptions) -> frozenset[int]:
    """Return the tags of the table that the options keep."""
    words = RULES["keep"]["characteristics"].split() * options.retain_characteristics
    words += RULES["keep"]["device"].split() * options.retain_device
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
    return frozenset(words | set(re.split(r"[\s_-]+", package_text("words.txt"))))


@cache
def is_standard(text: str) -> bool:
    """Whether a text is made of words that the standard itself uses, and a few small numbers.

    Examples
    --------
    >>> is_standard("DERIVED"), is_standard("LightSpeed 16"), is_standard("YBR_FULL_422")
    (True, True, True)
    >>> is_standard("Head of Grunwald"), is_standard("10.20.30.40"), is_standard("95 years")
    (False, False, False)
    """
    words = re.findall(r"[a-z0-9]+", text.lower())
    odd = [word for word in words if word not in vocabulary()]
    small = re.compile(r"[0-8]?\d|[a-z]{1,2}|[a-z]\d{1,2}[a-z]?")
    return (text.isascii() and text.strip().isprintable() and len(text) <= 64
            and all(small.fullmatch(word) for word in odd)
            and sum(letter.isdigit() for word in odd for letter in word) < 5)  # fmt: skip


def years(text: str) -> float | None:
    """Return an age in years, however it is written; None when it is not an age.

    Examples
    --------
    >>> years("095Y"), years("95 years"), years("95"), years("018M"), years("old")
    (95.0, 95.0, 95.0, 1.5, None)
    """
    match = AGE.fullmatch(text.strip())
    parts = {"D": 365.0, "W": 52.0, "M": 12.0, "Y": 1.0}
    return int(match[1]) / parts[(match[2] or "y").upper()] if match else None


def values_of(element: DataElement) -> list[str]:
    """Return the values of an element as texts."""
    value = element.value
    many = value if isinstance(value, MultiValue | list | tuple) else [value]
    return ["" if one is None else str(one) for one in many]


@dataclass
class Treatment:
    """What one file's data set is treated with, and a count of what was done.

    ``names`` tells whether a text holds a known identifier: no element may keep such a text.
    ``unaccounted`` counts the bytes of elements that were kept although their value is neither a
    number nor made of the standard's words.
    """

    key: Key
    options: DeidOptions
    days: int
    names: Callable[[str], bool] = lambda text: False
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
        meaning = "" if dummies else known_code(dataset)
        for tag in list(dataset.keys()):
            if why := _never(tag, top):
                self._remove(dataset, tag, why)
            elif tag not in PIXELS and on_disk(dataset, tag, over=LIMIT):
                self._remove(dataset, tag, "elements too large to be checked removed")
            elif tag not in PIXELS and not (meaning and tag in CODES):
                try:
                    element = dataset[tag]
                except Exception:  # a value that cannot even be parsed cannot be cleaned either
                    self._remove(dataset, tag, "unreadable elements removed")
                else:
                    self._treat(dataset, element, dummies)
        if meaning and not is_standard(str(dataset.get("CodeMeaning", ""))):
            dataset.CodeMeaning = meaning

    def _remove(self, dataset: Dataset, tag: BaseTag, why: str) -> None:
        del dataset[tag]
        self.done[why] += 1

    def _treat(self, dataset: Dataset, element: DataElement, dummies: bool) -> None:
        action = replace if dummies else action_for(element.tag)
        name = action.__name__ if action else ""
        if element.tag in kept_tags(self.options):
            self._keep(dataset, element)
        elif element.VR == "SQ":
            self._sequence(dataset, element, name)
        elif element.VR == "UI" and name != "delete":
            self._uids(element)
        elif element.VR in DATES:
            self._date(dataset, element, name)
        elif action is None:
            self._outside(dataset, element)
        else:
            self.done[BY_TABLE] += 1
            try:
                action(dataset, (element.tag.group, element.tag.element))
            except NotImplementedError:
                del dataset[element.tag]

    def _outside(self, dataset: Dataset, element: DataElement) -> None:
        """Keep an element that the table does not name only when its value is accounted for."""
        tag = element.tag
        if tag in TABLES:
            _refuse_longer(element, dataset.get(TABLES[tag]))
        elif tag in RULES["elements"]["unstated"]:
            self.unaccounted[element.keyword] += len(element.value)
        elif not accounted(element) or self._names(element):
            self.done["elements beyond the table removed or replaced"] += 1
            values = values_of(element)
            if tag in CODES:
                element.value = "REMOVED"
            elif element.VR == "CS" and len(values) > 1:  # the place of each has a meaning
                element.value = [one if is_standard(one) else "OTHER" for one in values]
            else:
                del dataset[tag]

    def _names(self, element: DataElement) -> bool:
        return element.VR not in NUMBERS and any(map(self.names, values_of(element)))

    def _keep(self, dataset: Dataset, element: DataElement) -> None:
        """Keep an element by an option: ages capped, characteristics checked, devices as is."""
        self.done["elements kept by an option"] += 1
        texts = values_of(element)
        if element.VR == "SQ":
            for item in element.value:
                self.run(item, top=False)
        elif element.keyword == "PatientAge":
            age = years(texts[0]) if len(texts) == 1 else None
            number, unit = re.sub(r"\D", "", texts[0]), re.sub(r"[^DWMY]", "", texts[0].upper())[:1]
            fresh = "090Y" if (age or 0) >= 90 else f"{int(number or 0):03}{unit or 'Y'}"
            element.value = fresh if age is not None else ""
        elif self._names(element) or not (
            element.keyword in RULES["keep"]["device"] or accounted(element)
        ):
            element.value = None
        elif not all(map(is_standard, texts)):
            self.unaccounted[element.keyword] += sum(map(len, texts))

    def _sequence(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if name in ("", "replace", "delete_or_empty_or_replace_UID"):
            for item in element.value:
                self.run(item, top=False, dummies=name == "replace")
        elif name.startswith("delete") and element.tag != 0x00400555:  # which is of type 2
            self._remove(dataset, element.tag, BY_TABLE)
        else:
            element.value = Sequence([])

    def _uids(self, element: DataElement) -> None:
        values = values_of(element)
        new = [v if v in UID_dictionary or not v else self.key.uid(v) for v in values]
        self.done["UIDs replaced"] += sum(a != b for a, b in zip(values, new, strict=True))
        element.value = new if len(new) > 1 else new[0]

    def _date(self, dataset: Dataset, element: DataElement, name: str) -> None:
        if self.options.retain_dates and element.tag not in BIRTH:
            values = values_of(element)
            if element.VR == "TM":
                values = [one if TIME.fullmatch(one) else "" for one in values]
            else:
                values = [shift(one, self.days) for one in values]
            element.value = values if len(values) > 1 else values[0]
            self.done["dates shifted"] += element.VR != "TM"
        elif name in ("", "delete"):
            self._remove(dataset, element.tag, "dates and times removed")
        else:
            self.done["dates and times removed"] += 1
            empty = name in ("empty", "delete_or_empty")
            element.value = "" if empty else RULES["dummies"][element.VR]


def _never(tag: BaseTag, top: bool) -> str:
    """Return why an element is removed unseen; "" when it is not."""
    if is_foreign(tag):
        return f"{'private' if tag.is_private else 'unknown'} elements removed"
    if tag.group >> 8 in (0x50, 0x60):
        return "overlay and curve elements removed"
    if tag.element == 0 or tag.group < 8 or tag == 0xFFFCFFFC:
        return "group lengths, commands and padding removed"
    if tag in RULES["elements"]["never"] or (tag in PIXELS and not top):
        return "icons, profiles, signatures and waveforms removed"
    return ""


def accounted(element: DataElement) -> bool:
    """Whether a value is of a closed vocabulary, or a number that is one."""
    values, vr = values_of(element), element.VR
    most = dictionary_VM(element.tag).split("-")[-1]
    if most.isdigit() and len(values) > int(most):
        return False
    if element.tag == 0x00080005:
        return all(one in python_encoding for one in values)
    if vr in ("DS", "IS"):
        return all(len(one) <= 16 and NUMBER.fullmatch(one) for one in values if one)
    if vr in SHORT:
        points = vr != "CS" and element.keyword != "StackID" and POINTING.search(element.keyword)
        return not any(values) or (not points and all(map(is_standard, values)))
    numbers = vr in NUMBERS or (vr.startswith("US or") and not isinstance(element.value, bytes))
    return numbers or not any(values)


def _refuse_longer(table: DataElement, describes: DataElement | None) -> None:
    """Raise RefusedError for a lookup table that is longer than its descriptor states."""
    entries, _, bits = [int(one) for one in describes.value] if describes else (1, 0, 8)
    length = len(table.value) * (1 if isinstance(table.value, bytes) else 2)
    words = 2 * (entries or 65536)
    if length > words or (bits <= 8 and length not in (words // 2 + entries % 2, words)):
        raise RefusedError("has a lookup table with bytes beyond its entries")


def known_code(dataset: Dataset) -> str:
    """Return the meaning of a coded entry of the standard's context groups; "" otherwise."""
    scheme, value = (str(dataset.get(k, "")) for k in ("CodingSchemeDesignator", "CodeValue"))
    if scheme in ("SRT", "SNM3", "99SDM"):
        scheme, value = "SCT", mapping["SRT"].get(value, "")
    return _meanings(scheme).get(value, "")


@cache
def _meanings(scheme: str) -> dict[str, str]:
    found: Any = concepts.get(scheme, {}).values()
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
    dataset.DeidentificationMethod = RULES["method"]
    dataset.DeidentificationMethodCodeSequence = Sequence()
    for code in codes:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = code, "DCM"
        item.CodeMeaning = RULES["meanings"][code]
        dataset.DeidentificationMethodCodeSequence.append(item)
    modified = "113107" in codes
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if modified else "REMOVED"

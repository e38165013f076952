"""Decide about every element of a data set: keep, replace or remove.

PS3.15 Annex E, table E.1-1, comes from dicom-anonymizer, with what each action does to a value.
That library looks at the top level only, leaves 0001-01-01 where a date is to go, draws UIDs at
random, and keeps everything outside the table. So this module walks every level itself, and
outside the table it keeps numbers, and texts made of the standard's own words; the rest goes.
"""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Any

from dicomanonymizer import simpledicomanonymizer as library
from pydicom import DataElement, Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VM, tag_for_keyword
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping
from pydicom.tag import BaseTag

from medimg.deid.dicomfile import PIXELS, RULES, package_text, refuse_if
from medimg.deid.options import DeidOptions, Key

DATES = frozenset({"DA", "DT", "TM"})
SHORT = frozenset({"CS", "LO", "SH"})
TEXTS = SHORT | {"AE", "AS", "LT", "PN", "ST", "UC", "UR", "UT"}
NUMBERS = frozenset({"AT", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"})
CODES, BIRTH, UNSTATED = (frozenset(RULES["elements"][x]) for x in ("codes", "birth", "unstated"))
ACTIONS = library.initialize_actions(RULES["edition"])
TABLES = {int(table, 16): describes for table, describes in RULES["tables"].items()}
# What the keyword of an element holds whose text points to one person or thing.
POINTING = re.compile(RULES["elements"]["pointing"])
DAY = re.compile(r"(\d{4})[.-]?(0[1-9]|1[0-2])[.-]?(\d\d)")
TIME = re.compile(r"\d{0,6}(\.\d{1,6})?([+-]\d{4})?\s*")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
AGE = re.compile(r"\D*0*(\d{1,3})\s*(?:([dwmy])\w*)?\W*", re.IGNORECASE)
SMALL = re.compile(r"[0-8]?\d|[a-z]{1,2}|[a-z]\d{1,2}[a-z]?")  # beside words of the standard
MEANINGS: dict[tuple[str, str], str] = {
    (scheme, code): meaning for scheme, names in dict[str, Any](concepts).items()
    for name in names.values() for code, (meaning, _) in name.items()
}  # fmt: skip
KEPT_UIDS = frozenset(UID_dictionary) | {""}
DUMMIES = {**RULES["dummies"], "OB": b"Anonymized", "UN": b"Anonymized"}


def action_for(tag: BaseTag) -> str:
    """Return the name of the Basic Profile's action; "" when the table does not hold the tag."""
    action = ACTIONS.get((tag.group, tag.element))
    return action.__name__ if action else ""


@cache
def kept_tags(options: DeidOptions) -> frozenset[int | None]:
    """Return the tags of the table that the options keep."""
    words = (words for option, words in RULES["keep"].items() if getattr(options, option))
    return frozenset(map(tag_for_keyword, " ".join(words).split()))


@cache
def vocabulary() -> frozenset[str]:
    """Return the words of the standard's names and defined terms, and of manufacturers."""
    names = [entry[2] for entry in DicomDictionary.values()]
    names += [entry[0] for entry in UID_dictionary.values()]
    words = re.findall(r"[a-z]{2,}", " ".join(names).lower())
    return frozenset([*words, *re.split(r"[\s_-]+", package_text("words.txt"))])


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
    odd = [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in vocabulary()]
    digits = sum(letter.isdigit() for letter in "".join(odd))
    plain = text.isascii() and text.strip().isprintable() and len(text) <= 64
    return plain and digits < 5 and all(SMALL.fullmatch(word) for word in odd)


def years(text: str) -> float | None:
    """Return an age in years, however it is written; None when it is not an age.

    Examples
    --------
    >>> years("095Y"), years("95 years"), years("95"), years("018M"), years("old")
    (95.0, 95.0, 95.0, 1.5, None)
    """
    match, parts = AGE.fullmatch(text.strip()), {"D": 365.0, "W": 52.0, "M": 12.0, "Y": 1.0}
    return int(match[1]) / parts[(match[2] or "y").upper()] if match else None


def capped(text: str) -> str:
    """Return an age as the standard writes it, 090Y from 90 years on; "" when it is not an age."""
    match, age = AGE.fullmatch(text.strip()), years(text) or 0
    unit = (match[2] or "Y").upper() if match else ""
    return "090Y" if age >= 90 else f"{int(match[1]):03}{unit}" if match else ""


def values_of(element: DataElement) -> list[str]:
    """Return the values of an element as texts."""
    values = element.value if element.VM > 1 else [element.value]
    texts = [one.decode("latin-1") if isinstance(one, bytes) else one for one in values]
    return ["" if one is None else str(one) for one in texts]


@dataclass
class Treatment:
    """What one file's data set is treated with.

    ``names`` tells whether a text holds a known identifier: no element may keep such a text.
    ``unaccounted`` counts the bytes of elements that were kept although their value is neither a
    number nor made of the standard's words.
    """

    key: Key
    options: DeidOptions
    days: int
    names: Callable[[str], bool] = lambda text: False
    unaccounted: Counter[str] = field(default_factory=Counter)

    def run(self, dataset: Dataset, *, top: bool = True) -> None:
        """Treat every element of a data set, items of sequences included.

        Parameters
        ----------
        dataset : Dataset
            Changed in place.
        top : bool
            Whether it is the file's own data set, the only one that may hold pixels.
        """
        meaning = known_code(dataset)
        for tag in list(dataset.keys()):
            stays = not _never(tag, top=top)
            if stays and not (tag in PIXELS or (meaning and tag in CODES)):
                stays = self._treat(dataset, dataset[tag], action_for(tag))
            if not stays:
                del dataset[tag]
        if meaning and not is_standard(str(dataset.get("CodeMeaning", ""))):
            dataset.CodeMeaning = meaning

    def _treat(self, dataset: Dataset, element: DataElement, action: str) -> bool:
        """Change an element in place; return whether it stays."""
        kept, vr = element.tag in kept_tags(self.options), element.VR
        outcome = RULES["actions"][action][vr == "SQ"]
        if outcome == "items" or (kept and vr == "SQ"):
            for item in element.value:
                self.run(item, top=False)
            return True
        values = values_of(element)
        if kept and element.keyword == "PatientAge":
            element.value = capped("\\".join(values))
            return True
        if kept or not (action or vr in DATES or vr == "UI"):
            return self._beyond(dataset, element)
        if vr == "UI" and action != "delete":
            element.value = [one if one in KEPT_UIDS else self.key.uid(one) for one in values]
            return True
        if vr in DATES and self.options.retain_dates and element.tag not in BIRTH:
            times = [one if TIME.fullmatch(one) else "" for one in values]
            element.value = times if vr == "TM" else [shift(one, self.days) for one in values]
            return True
        dummy = outcome == "dummy" and vr in DUMMIES
        element.value = DUMMIES[vr] if dummy else element.empty_value
        return dummy or outcome == "empty" or element.tag == 0x00400555  # of type 2

    def _beyond(self, dataset: Dataset, element: DataElement) -> bool:
        """Keep what an option keeps or the table does not name only when it is accounted for."""
        values, code = values_of(element), element.tag in CODES
        named = element.VR not in NUMBERS and any(map(self.names, values))
        device = element.tag in kept_tags(DeidOptions(retain_device=True))  # all in the table
        if element.tag in TABLES:
            _refuse_longer(element, dataset.get(TABLES[element.tag]))
        elif element.tag in UNSTATED:
            self.unaccounted[element.keyword] += len(element.value or b"")
        elif device and not named:
            self.unaccounted[element.keyword] += sum(len(x) for x in values if not is_standard(x))
        elif named or not accounted(element):
            placed = element.VR == "CS" and len(values) > 1  # the place of each has a meaning
            others = [one if is_standard(one) else "OTHER" for one in values]
            if code or placed:
                element.value = "REMOVED" if code else others
            return code or placed
        return True


def _never(tag: BaseTag, *, top: bool) -> bool:
    """Whether an element is removed unseen.

    Private and unknown ones, overlays and curves, group lengths, commands and padding, icons,
    profiles, signatures, waveforms, and pixels below the file's own data set.
    """
    unknown = tag.is_private or not dictionary_has_tag(tag) or tag.group >> 8 in (0x50, 0x60)
    padding = tag.element == 0 or tag.group < 8 or tag == 0xFFFCFFFC
    unseen = tag in RULES["elements"]["never"] or (tag in PIXELS and not top)
    return unknown or padding or unseen


def accounted(element: DataElement) -> bool:
    """Whether a value is of a closed vocabulary, or a number that is one."""
    values, vr, most = values_of(element), element.VR, dictionary_VM(element.tag).split("-")[-1]
    if most.isdigit() and len(values) > int(most):
        return False
    if element.tag == 0x00080005:
        return all(one in python_encoding for one in values)
    if vr in ("DS", "IS"):
        return all(len(one) <= 16 and NUMBER.fullmatch(one) for one in values if one)
    if vr in SHORT and any(values):
        points = vr != "CS" and element.keyword != "StackID" and POINTING.search(element.keyword)
        return not points and all(map(is_standard, values))
    numbers = vr in NUMBERS or (vr.startswith("US or") and not isinstance(element.value, bytes))
    return numbers or not any(values)


def _refuse_longer(table: DataElement, describes: DataElement | None) -> None:
    """Raise RefusedError for a lookup table that is longer than its descriptor states."""
    entries, _, bits = [int(one) for one in describes.value] if describes else (1, 0, 8)
    length = len(table.value) * (1 if isinstance(table.value, bytes) else 2)
    words = 2 * (entries or 65536)
    exact = length <= words if bits > 8 else length in (words // 2 + entries % 2, words)
    refuse_if(not exact, "has a lookup table with bytes beyond its entries")


def known_code(dataset: Dataset) -> str:
    """Return the meaning of a coded entry of the standard's context groups; "" otherwise."""
    scheme, value = (str(dataset.get(k, "")) for k in ("CodingSchemeDesignator", "CodeValue"))
    if scheme in ("SRT", "SNM3", "99SDM"):
        scheme, value = "SCT", mapping["SRT"].get(value, "")
    return MEANINGS.get((scheme, value), "")


def shift(value: str, days: int) -> str:
    """Return a DA or DT value moved back by whole days; "" when it does not name a day.

    Examples
    --------
    >>> shift("20240301", 1), shift("20240301120000.5+0100", 366), shift("2024", 1)
    ('20240229', '20230301120000.5+0100', '')
    """
    match = DAY.match(value.strip())
    rest = TIME.fullmatch(value.strip()[match.end() :]) if match else None
    with suppress(ValueError, OverflowError):
        if match and rest:
            moved = date(*(int(part) for part in match.groups())) - timedelta(days=days)
            return f"{moved:%Y%m%d}".rjust(8, "0") + rest[0]
    return ""


def stamp(dataset: Dataset, *, pseudonym: str, codes: tuple[str, ...]) -> None:
    """Write the pseudonym, and what was done (PS3.15 E.1.1; codes of PS3.16 CID 7050)."""
    dataset.PatientName = dataset.PatientID = pseudonym
    if "113101" in codes:
        dataset.BurnedInAnnotation = "NO"  # PS3.15 E.3.1
    # it means that the attributes and the pixels are free of identity (PS3.3 C.7.1.1)
    legible = str(dataset.get("BurnedInAnnotation", "")).upper() == "YES"
    dataset.PatientIdentityRemoved = "NO" if legible else "YES"
    dataset.DeidentificationMethod = RULES["method"]
    dataset.DeidentificationMethodCodeSequence = items = [Dataset() for _ in codes]
    for item, code in zip(items, codes, strict=True):
        meaning = RULES["meanings"][code]
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", meaning
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if "113107" in codes else "REMOVED"

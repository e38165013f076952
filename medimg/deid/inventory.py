"""Collect what identifies somebody in the input, so that its absence can be proven.

The inventory lives in memory only: it is never logged, written or shown.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from pydicom import DataElement, Dataset
from pydicom._dicom_dict import DicomDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag

from medimg.deid.dicomfile import PIXELS
from medimg.deid.options import DeidOptions
from medimg.deid.profile import DAY, shift
from medimg.deid.rules import (
    BIRTH,
    DATES,
    TEXTS,
    action_for,
    is_foreign,
    kept_tags,
    names_a_class,
)
from medimg.deid.scan import Scanner, patterns, spellings

LONGEST = 64  # characters of a long text that are searched for, line by line
CODES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080104, 0x00080119, 0x00080120})
# What stands where a name should: saying nothing, or written by an anonymiser, this library's too.
DUMMIES = frozenset(
    ["anonymized", "anonymised", "anonymous", "deidentified", "removed", "unknown", "none", "null"]
)
TRIVIAL_DATES = frozenset({"00010101", "19000101", "19700101", "00000000", "99991231", "10000101"})
WEAK = frozenset({"description", "private text", "code"})
DIGITS = re.compile(r"[\d.]+")
WORDS = frozenset(
    word.lower()
    for text in [entry[2] for entry in DicomDictionary.values()]
    + [entry[0] for entry in UID_dictionary.values()]
    + ["original primary secondary derived axial localizer monochrome palette lossless lossy"]
    for word in re.findall(r"[A-Za-z]{4,}", text)
)


@dataclass(frozen=True)
class Identifier:
    """One text that must not be found again, and what kind of thing it is."""

    kind: str
    text: str

    @property
    def is_number(self) -> bool:
        """Whether it is digits (and dots) only."""
        return DIGITS.fullmatch(self.text) is not None

    @property
    def is_word(self) -> bool:
        """Whether it is made of words that the DICOM standard itself uses."""
        words = re.findall(r"[^\W\d_]+", self.text.lower())
        return bool(words) and all(word in WORDS or len(word) < 4 for word in words)


def kind_of(element: DataElement, keyword: str) -> str:
    """Name the kind of an element's value, after its keyword and value representation."""
    if element.VR in DATES:
        return "time" if element.VR == "TM" else "date"
    if element.VR == "PN":
        return "patient name" if element.tag.group == 0x0010 else "other person's name"
    if element.VR in ("UI", "UR"):
        return "UID" if element.VR == "UI" else "web address"
    rules = (
        ("address or telephone", ("Address", "Telephone", "Telecom", "Residence")),
        ("accession or order number", ("Accession", "OrderNumber", "AdmissionID")),
        ("institution", ("Institution", "Department", "Organization", "Center", "Site")),
        ("device", ("Serial", "Device", "Station", "Detector", "AETitle", "Gantry", "Plate")),
        ("description", ("Description", "Comments", "Protocol", "Procedure", "Reason")),
        ("number or ID", ("ID", "Identi", "Number", "Physician", "Insurance")),
    )
    for kind, words in rules:
        if any(word in keyword for word in words):
            return kind
    return "code" if element.VR == "CS" else "description"


@dataclass
class Inventory:
    """All identifiers of the input, and what the search may meet without alarm."""

    options: DeidOptions
    found: Counter[Identifier] = field(default_factory=Counter)
    unsearched: Counter[str] = field(default_factory=Counter)
    kept: set[tuple[str, str]] = field(default_factory=set)
    shifted: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, *, days: int, inside: str = "") -> None:
        """Take in one file: its data set, file meta information, and all items."""
        meta = getattr(dataset, "file_meta", None)
        if meta is not None:
            self.add(meta, days=days)
        for tag in list(dataset.keys()):
            if tag in PIXELS:
                continue
            try:
                element = dataset[tag]
            except Exception:  # unreadable: the profile removes it
                continue
            keyword = keyword_for_tag(tag)
            if element.VR == "SQ":
                gone = inside or (keyword if action_for(tag) or tag.is_private else "")
                for item in element.value:
                    self.add(item, days=days, inside=gone or inside)
            else:
                self._element(element, keyword, inside, days)

    def _element(self, element: DataElement, keyword: str, inside: str, days: int) -> None:
        if element.VR not in TEXTS | DATES | {"UI", "UN", "OB"} or element.VR == "AS":
            return
        pieces = texts_of(element)
        if is_foreign(element.tag):
            self._note("private text", pieces)
            return
        if element.VR == "UI":
            new = [p for p in pieces if not names_a_class(keyword, p)]
            if element.tag not in kept_tags(self.options):
                self.uids.update(new)
                self._note("UID", new)
            return
        if self.options.retain_dates and element.VR in DATES and element.tag not in BIRTH:
            if element.VR == "TM":
                return
            self.shifted.update(shift(piece, days)[:8] for piece in pieces)
        coded = element.tag in CODES
        person = any(w in inside for w in ("Identification", "PatientID", "Physician"))
        listed = action_for(element.tag) is not None or (inside and not coded) or (coded and person)
        always = element.VR in DATES or element.VR == "PN" or element.tag.group == 2
        if element.tag in kept_tags(self.options) or not (listed or always):
            self.kept.update((keyword, piece.lower()) for piece in pieces)
        elif element.tag.group != 2 or element.VR == "AE":
            self._note(kind_of(element, keyword), pieces)

    def _note(self, kind: str, pieces: list[str]) -> None:
        for text in (part for piece in pieces for part in parts_of(kind, piece)):
            letters = "".join(letter for letter in text if letter.isalnum())
            enough = 4 if text.isascii() else 2  # two ideographs or so are four bytes
            if len(letters) < enough or len(set(letters)) == 1 or letters.lower() in DUMMIES:
                self.unsearched[kind] += 1
            else:
                self.found[Identifier(kind, text)] += 1

    def scanner(self) -> tuple[list[Identifier], Scanner]:
        """Return the identifiers, by number, and the search for all their spellings."""
        known = sorted(self.found, key=lambda one: (one.kind, one.text))
        wanted = set()
        for number, one in enumerate(known):
            if one.kind == "date":
                shapes = date_spellings(one.text)
            else:
                written = name_orders(one.text) if "name" in one.kind else {one.text}
                shapes = {shape for text in written for shape in spellings(text)}
            wanted |= patterns(shapes, number)
        return known, Scanner(wanted)


def texts_of(element: DataElement) -> list[str]:
    """Return the texts that an element holds, one a value and line, long ones cut."""
    value = element.value
    if isinstance(value, bytes):
        text = value.rstrip(b"\0 ").decode("latin-1")
        if not text.isprintable() or len(text) > 1024:
            return []
        value = text
    many = value if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    # Control characters part lines; in a damaged file they come from the next element's head.
    lines = [line for one in many for line in re.split(r"[\x00-\x1f\x7f\\]+", str(one or ""))]
    return [line.strip()[:LONGEST].strip() for line in lines if line.strip()]


def parts_of(kind: str, text: str) -> list[str]:
    """Split names into their parts, and leave out dates and times that say nothing."""
    if kind == "date":
        match = DAY.match(text)
        day = "".join(match.groups()) if match else text[:8]
        return [] if day in TRIVIAL_DATES else [day]
    if kind == "time":
        whole = text.split(".")[0][:6]
        return [] if len(whole) < 6 or whole.endswith("0000") else [whole]
    if "name" in kind:
        text = text.strip("^= ")
        parts = re.split(r"[\^=\s,;/-]+", text)
        return [text, *(part for part in parts if part and part != text)]
    return [text]


def name_orders(text: str) -> set[str]:
    """Return a name as people write it: family and given name in either order, any mark between.

    Their parts alone may be too short to be searched for.

    Examples
    --------
    >>> sorted(name_orders("Li^Wei"))[:4]
    ['Li Wei', 'Li, Wei', 'Li,Wei', 'Li-Wei']
    """
    ways = {text}
    for group in text.split("="):  # Latin, ideographic and phonetic spelling
        parts = [part.strip() for part in group.split("^") if part.strip()][:2]
        if len(parts) == 2:
            ways |= {mark.join(order) for mark in (" ", ", ", ",", "^", "_", "-", ".")
                     for order in (parts, parts[::-1])}  # fmt: skip
    return ways


def date_spellings(day: str) -> set[str]:
    """Return YYYYMMDD as people write it: with dashes, dots and slashes, in any order."""
    year, month, dom = day[:4], day[4:6], day[6:8]
    ways = {f"{year}{s}{month}{s}{dom}" for s in "-./"}
    ways |= {f"{dom}{s}{month}{s}{year}" for s in "-./"}
    return {day} | (ways | {f"{month}/{dom}/{year}"} if len(day) == 8 else set())

"""Collect what identifies somebody in the input, and search what was written for it.

The inventory lives in memory only: it is never logged, written or shown. A hit is explained or it
is a leak. Outside of pixels and numbers a copy holds words of the standard only, so that few hits
need an explanation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise, permutations

import ahocorasick
from pydicom import DataElement, Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from medimg.deid import dicomfile, profile
from medimg.deid.dicomfile import RULES
from medimg.deid.options import DeidOptions
from medimg.deid.profile import CODES, DATES, DAY, TEXTS, is_standard, values_of

LONGEST = 64  # characters of a long text that are searched for, line by line
NOBODY = frozenset(RULES["search"]["nobody"].split())
# Shorter ones occur in pixels by chance: a given run of 6 bytes once in 280 TB, of 4 once in 4 GB.
IN_PIXELS_LETTERS, IN_PIXELS_DIGITS = 6, 8
PUBLIC_UIDS = frozenset({*UID_dictionary, PYDICOM_IMPLEMENTATION_UID})
ENCODINGS = RULES["search"]["encodings"].split()
ESCAPES = re.compile(rb"\x1b[$(-/][()]?[@-Z]|[\x0e\x0f]")  # of ISO 2022
MEASURED = re.compile(r"[+-]?\d{1,5}|[+-]?\d*\.\d*(e[+-]?\d+)?", re.IGNORECASE)
NEVER, SHORT_NUMBER = re.compile("(?!)"), re.compile(rb"[\d.]{1,5}")
LONGER = "part of a longer word or number"
Identifier = tuple[str, str]  # its kind, and the text that must not be found again


def kind_of(element: DataElement) -> str:
    """Name the kind of an element's value, after its keyword and value representation."""
    by_vr = {"DA": "date", "DT": "date", "TM": "time", "UI": "UID", "AS": "age over 89",
             "PN": ("other person's name", "patient name")[element.tag.group == 16]}  # fmt: skip
    if profile.is_foreign(element.tag):
        return "private text"
    rules = (kind for kind, words in RULES["kinds"].items() if re.search(words, element.keyword))
    return by_vr.get(element.VR) or next(rules, "code" if element.VR == "CS" else "description")


@dataclass
class Inventory:
    """All identifiers of the input, dates made by shifting, and texts kept by an option."""

    options: DeidOptions
    found: Counter[Identifier] = field(default_factory=Counter)
    unsearched: Counter[str] = field(default_factory=Counter)
    shifted: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, *, days: int) -> None:
        """Take in one file: its data set, file meta information, and all items."""
        self._add(getattr(dataset, "file_meta", None) or Dataset(), days)
        self._add(dataset, days)

    def _add(self, dataset: Dataset, days: int) -> None:
        coded = CODES if profile.known_code(dataset) else frozenset[int]()
        skipped = dicomfile.PIXELS | {0x00080005} | coded
        for tag in list(dataset.keys()):
            try:
                unread = tag in skipped or dicomfile.on_disk(dataset, tag)
                element = None if unread else dataset[tag]
            except Exception:  # unreadable: the profile removes it
                continue
            if element is not None and element.VR == "SQ":
                for item in element.value:
                    self._add(item, days)
            elif element is not None and element.VR in TEXTS | DATES | {"UI", "UN", "OB"}:
                self._element(element, days)

    def _element(self, element: DataElement, days: int) -> None:
        pieces, kind = texts_of(element), kind_of(element)
        if element.VR == "AS":
            pieces = [str(int(age)) for one in pieces if (age := profile.years(one) or 0) >= 90]
        elif element.tag in profile.kept_tags(self.options):
            self.kept.update(pieces)
            return
        elif element.VR == "UI":
            pieces = [one for one in pieces if one not in PUBLIC_UIDS]
        elif element.VR not in DATES | {"PN"}:
            number = MEASURED if kind in ("private text", "description", "code") else NEVER
            pieces = [one for one in pieces if not (is_standard(one) or number.fullmatch(one))]
        elif self.options.retain_dates and element.VR in DATES and element.tag not in profile.BIRTH:
            self.shifted.update(profile.shift(one, days)[:8] for one in pieces)
            pieces = [] if kind == "time" else pieces
        for text in (part for piece in pieces for part in parts_of(kind, piece)):
            letters = "".join(letter for letter in text if letter.isalnum()).lower()
            enough = 4 if text.isascii() else 2  # two ideographs or so are four bytes
            says = len(letters) >= enough and len(set(letters)) > 1 and letters not in NOBODY
            if says or element.VR == "AS":
                self.found[kind, text] += 1
            else:
                self.unsearched[kind] += 1


def texts_of(element: DataElement) -> list[str]:
    """Return the texts that an element holds, one per value and line, long ones cut."""
    values = values_of(element)
    if isinstance(element.value, bytes):
        text = element.value.rstrip(b"\0 ").decode("latin-1")
        values = [text] if text.isprintable() and len(text) <= 1024 else []
    # Control characters part lines; in a damaged file they come from the next element's head.
    lines = [line for one in values for line in re.split(r"[\x00-\x1f\x7f\\]+", one)]
    return [line.strip()[:LONGEST].strip() for line in lines if line.strip()]


def parts_of(kind: str, text: str) -> list[str]:
    """Split names into their parts, and leave out dates and times that say nothing."""
    if kind == "date":
        days = ["".join(match) for match in DAY.findall(text)] or [text[:8]]  # both ends of a range
        return [day for day in days if day not in RULES["search"]["trivial"]]
    if kind == "time":
        whole = text.split(".")[0][:6]
        return [] if len(whole) < 6 or whole.endswith("0000") else [whole]
    text = text.strip("^= ")
    parts = re.split(r"[\^=\s,;/-]+", text) if "name" in kind else []
    return [text, *(part for part in parts if part not in ("", text) and not is_standard(part))]


def name_spellings(text: str) -> set[str]:
    """Return a name as people write it: its parts in any order, any mark or none between.

    Examples
    --------
    >>> sorted(name_spellings("Li^Wei"))[:4]
    ['Li Wei', 'Li, Wei', 'Li,Wei', 'Li-Wei']
    >>> {"WeiLi", "王伟"} <= name_spellings("Li^Wei=王^伟")
    True
    """
    ways = {text}
    for group in text.split("="):  # Latin, ideographic and phonetic spelling
        parts = [part.strip() for part in group.split("^") if part.strip()][:3]
        ways |= {mark.join(order) for many in range(2, len(parts) + 1)
                 for order in permutations(parts, many)
                 for mark in ("", " ", ", ", ",", "^", "_", "-", ".")}  # fmt: skip
    return ways


def date_spellings(day: str) -> set[str]:
    """Return YYYYMMDD as people write it, with and without leading zeros, in lower case.

    Examples
    --------
    >>> {"2021-9-14", "14/09/21", "14-sep-2021", "september 14, 2021"} <= date_spellings("20210914")
    True
    """
    if not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])\d\d", day):
        return {day}
    year, month, dom = day[:4], day[4:6], day[6:]
    name = RULES["search"]["months"].split()[int(month) - 1]
    days, years = {dom, str(int(dom))}, (year, year[2:])
    ways = {day, dom + month + year} | {f"{d}{name[:3]}{y}" for d in days for y in years}
    for d, m, s in ((d, m, s) for d in days for m in (month, str(int(month))) for s in "-./ "):
        ways |= {s.join(o) for y in years for o in ((year, m, d), (d, m, y), (m, d, y))}
        ways |= {s.join((d, word, y)) for y in years for word in (name, name[:3])}
        ways |= {f"{word} {d}, {year}" for word in (name, name[:3])}
    return ways


def number_spellings(text: str) -> set[str]:
    """Return a number or code with and without its prefix, marks and leading zeros.

    Examples
    --------
    >>> sorted(number_spellings("MRN-778120"))
    ['778120', 'MRN 778120', 'MRN-778120', 'MRN778120', 'MRN_778120']
    """
    groups = re.findall(r"[^\W\d_]+|\d+", text)
    ways = {text} | {mark.join(groups) for mark in ("", "-", " ", "_") if len(groups) < 6}
    digits = [*re.findall(r"\d+", text), "".join(re.findall(r"\d", text))]
    return ways | {form for one in digits for form in (one, one.lstrip("0")) if len(form) >= 6}


def spellings(kind: str, text: str) -> set[str]:
    """Return an identifier as it may be written, in lower case, with and without accents."""
    texts = {text}
    if kind == "age over 89":
        texts = {text.zfill(n) + mark + unit for n in (2, 3, 4) for mark in ("", " ", "-")
                 for unit in ("y", "year")}  # fmt: skip
    elif kind == "date":
        texts = date_spellings(text)
    elif kind == "time":
        texts |= {":".join(re.findall("..", text))}
    elif "name" in kind:
        texts = name_spellings(text)
    elif kind != "UID":
        texts = number_spellings(text)
    bare = {"".join(x for x in unicodedata.normalize("NFKD", one) if not unicodedata.combining(x))
            for one in texts}  # fmt: skip
    both = texts | bare
    return {form for one in both for form in (one.lower(), unicodedata.normalize("NFC", one))}


def patterns(kind: str, text: str) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes, of at least four, of all spellings in all encodings, and if it is UTF-16."""
    for one in spellings(kind, text):
        for shape in {one} if one.isascii() else {one, one.upper(), one.title()}:
            for encoding in ENCODINGS[: 3 if one.isascii() else None]:
                with suppress(UnicodeEncodeError):
                    data = ESCAPES.sub(b"", shape.encode(encoding)).lower()
                    if len(data) >= 4:
                        yield data, encoding.startswith("utf-16")


Hit = tuple[int, bytes, bool, str, str]  # offset, pattern, UTF-16, kind and text of an identifier


@dataclass
class Verdict:
    """What the search of one file found: (kind, place) and (kind, place, reason), counted."""

    leaks: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[tuple[str, str, str]] = field(default_factory=Counter)


class Verifier:
    """The search for all identifiers of an inventory, ready to be run over many files."""

    def __init__(self, inventory: Inventory) -> None:
        self._shifted = inventory.shifted
        wanted: dict[str, set[tuple[bytes, bool, str, str]]] = {}
        for kind, text in inventory.found:
            if kind == "device" and text in inventory.kept:  # an option keeps it
                continue
            for data, wide in patterns(kind, text):
                wanted.setdefault(data.decode("latin-1"), set()).add((data, wide, kind, text))
        self._machine, self._longest = ahocorasick.Automaton(), max(map(len, wanted), default=0)
        for word, owners in wanted.items():
            self._machine.add_word(word, owners)
        self._machine.make_automaton()

    def find(self, data: bytes) -> list[Hit]:
        """Return every hit in some bytes, ASCII case ignored."""
        hits: set[Hit] = set()
        for begin in range(0, len(data) if self._longest else 0, 1 << 22):
            part = data[begin : begin + (1 << 22) + self._longest].lower().decode("latin-1")
            for end, owners in self._machine.iter(part):
                hits |= {(begin + end + 1 - len(owner[0]), *owner) for owner in owners}
        return sorted(hits)

    def names(self, text: str) -> bool:
        """Whether a text holds an identifier."""
        data = text.encode("utf-8")
        return any(_stands_alone(data, hit) and not SHORT_NUMBER.fullmatch(hit[1])
                   for hit in self.find(data))  # fmt: skip

    def check(self, data: bytes, name: str) -> Verdict:
        """Judge the bytes of one file to be written, the texts in it, and its name."""
        verdict, dataset = Verdict(), dicomfile.read(BytesIO(data))
        texts = {"file name": [name]}
        for element in dataset.iterall():
            if element.VR in TEXTS | DATES | {"DS", "IS"}:
                texts.setdefault(element.keyword, []).extend(values_of(element))
        places = [("all bytes", data), *((place, "\n".join(some).encode("utf-8"))
                                         for place, some in texts.items())]  # fmt: skip
        for place, value in places:
            for hit in self.find(value):
                kind, text = hit[3:]
                reason = _in_binary(*hit[1:3]) if value is data else None
                if reason is None and not _stands_alone(value, hit):
                    reason = LONGER
                if reason is None and SHORT_NUMBER.fullmatch(hit[1]):
                    reason = "too short a number to tell from a measured one"
                if reason is None and kind == "date" and text in self._shifted:
                    reason = "a shifted date that equals another original date"
                if reason is None:
                    verdict.leaks[kind, place] += 1
                else:
                    verdict.accepted[kind, place, reason] += 1
        return verdict


def _in_binary(pattern: bytes, wide: bool) -> str | None:
    """Say why a hit among all bytes proves nothing, if it does; texts are searched once more."""
    data = pattern.replace(b"\0", b"") if wide else pattern
    if {b - a for a, b in pairwise(data)} <= {-1, 0, 1} or len(set(data)) < 4:
        return "as plain as a run of equal or neighbouring pixels"
    enough = IN_PIXELS_DIGITS if re.fullmatch(rb"[\d.]+", data) else IN_PIXELS_LETTERS
    return None if len(data) >= enough else "too short to tell from chance in pixels"


def _stands_alone(value: bytes, hit: Hit) -> bool:
    """Whether a hit is no part of a longer number or, when short, of a longer word."""
    offset, pattern, wide, kind, _ = hit
    before, after = value[max(offset - 1, 0) : offset], value[offset + len(pattern) :][:1]
    if kind == "UID" or (kind != "date" and re.fullmatch(rb"[\d.]+", pattern)):
        return not (before.isdigit() or before == b"." or after.isdigit() or after == b".")
    if kind in ("date", "time", "age over 89"):
        return not before.isdigit()
    return wide or len(pattern) >= 6 or not (before.isalnum() or after.isalnum())

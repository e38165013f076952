"""Collect what identifies somebody in the input, and search what was written for it.

The inventory lives in memory only: it is never logged, written or shown. A hit is explained or it
is a leak. Outside of pixels and numbers a copy holds words of the standard only, so that few hits
need an explanation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files as package_files
from io import BytesIO, StringIO
from itertools import pairwise, permutations

import ahocorasick
import pandas as pd
from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID_dictionary

from medimg.deid import dicomfile
from medimg.deid.options import DeidOptions
from medimg.deid.profile import (
    BIRTH,
    CODES,
    DATES,
    DAY,
    TEXTS,
    is_foreign,
    is_standard,
    kept_tags,
    known_code,
    over_89,
    shift,
    values_of,
    years_of,
)

LONGEST = 64  # characters of a long text that are searched for, line by line
# What stands where a name should: saying nothing, or written by an anonymiser, this library's too.
DUMMIES = frozenset(["anonymized", "anonymised", "anonymous", "anon", "deidentified", "removed", "unknown", "none", "null", "na", "test", "patient", "noname", "unnamed", "nobody", "xxx"])  # fmt: skip
TRIVIAL_DATES = frozenset({"00010101", "19000101", "19700101", "00000000", "99991231", "10000101"})
# Written here: what was done, and (in the file meta information) with which library.
OURS = frozenset({0x00120062, 0x00120063, 0x00280303, 0x00020013})
# Shorter ones occur in pixels by chance: a given run of 6 bytes once in 280 TB, of 4 once in 4 GB.
IN_PIXELS_LETTERS, IN_PIXELS_DIGITS = 6, 8
# Encodings of DICOM's character sets (PS3.3 C.12.1.1.2), and UTF-16, in which Windows programs
# leave text in binary blocks. ISO 2022 writes the same bytes between escape sequences.
ENCODINGS = ("utf-8", "latin-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6",
             "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-15", "tis-620", "shift_jis",
             "iso2022_jp_2", "iso2022_kr", "euc_jp", "euc_kr", "gb2312", "gb18030", "utf-16-le",
             "utf-16-be")  # fmt: skip
ESCAPES = re.compile(rb"\x1b[$(-/][()]?[@-Z]|\x1b\$[@AB]|[\x0e\x0f]")
MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"]  # fmt: skip
LONGER = "part of a longer word or number"


@dataclass(frozen=True)
class Identifier:
    """One text that must not be found again, and what kind of thing it is."""

    kind: str
    text: str

    @property
    def is_number(self) -> bool:
        """Whether it is digits (and dots) only."""
        return re.fullmatch(r"[\d.]+", self.text) is not None


@cache
def _kinds() -> list[tuple[str, list[str]]]:
    table = package_files("medimg.deid").joinpath("kinds.csv").read_text(encoding="utf-8")
    return [(kind, words.split()) for kind, words in pd.read_csv(StringIO(table)).to_numpy()]


def kind_of(element: DataElement) -> str:
    """Name the kind of an element's value, after its keyword and value representation."""
    if is_foreign(element.tag):
        return "private text"
    by_vr = {"DA": "date", "DT": "date", "TM": "time", "UI": "UID", "UR": "web address"}
    if element.VR in by_vr or element.VR == "PN":
        patient = element.tag.group == 0x0010
        return by_vr.get(element.VR) or ("patient name" if patient else "other person's name")
    for kind, words in _kinds():
        if any(word in element.keyword for word in words):
            return kind
    return "code" if element.VR == "CS" else "description"


@dataclass
class Inventory:
    """All identifiers of the input, and what the search may meet without alarm."""

    options: DeidOptions
    found: Counter[Identifier] = field(default_factory=Counter)
    unsearched: Counter[str] = field(default_factory=Counter)
    shifted: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, *, days: int) -> None:
        """Take in one file: its data set, file meta information, and all items."""
        meta = getattr(dataset, "file_meta", None)
        if meta is not None:
            self.add(meta, days=days)
        coded = CODES if known_code(dataset) else frozenset()
        for tag in list(dataset.keys()):
            raw = dataset.get_item(tag)
            if tag in dicomfile.PIXELS | coded or (raw is not None and _is_deferred(raw)):
                continue
            try:
                element = dataset[tag]
            except Exception:  # unreadable: the profile removes it
                continue
            if element.VR == "SQ":
                for item in element.value:
                    self.add(item, days=days)
            elif element.VR in TEXTS | DATES | {"UI", "UN", "OB"} and tag != 0x00080005:
                self._element(element, days)

    def _element(self, element: DataElement, days: int) -> None:
        pieces, kept = texts_of(element), element.tag in kept_tags(self.options)
        kind = kind_of(element)
        if element.VR == "AS":
            for age in filter(over_89, pieces):
                self.found[Identifier("age over 89", str(years_of(age)[0]))] += 1  # type: ignore[index]
            return
        if kept or (element.tag.group == 2 and element.VR not in ("AE", "OB", "UN", "SH")):
            return
        if element.VR == "UI":
            pieces = [one for one in pieces if one not in UID_dictionary]
        elif element.VR in DATES and self.options.retain_dates and element.tag not in BIRTH:
            self.shifted.update(shift(one, days)[:8] for one in pieces)
            if kind == "time":
                return
        elif element.VR not in DATES | {"PN"}:
            pieces = [one for one in pieces if not is_standard(one)]
        self._note(kind, pieces)

    def _note(self, kind: str, pieces: list[str]) -> None:
        for text in (part for piece in pieces for part in parts_of(kind, piece)):
            letters = "".join(letter for letter in text if letter.isalnum())
            enough = 4 if text.isascii() else 2  # two ideographs or so are four bytes
            if len(letters) < enough or len(set(letters)) == 1 or letters.lower() in DUMMIES:
                self.unsearched[kind] += 1
            else:
                self.found[Identifier(kind, text)] += 1


def _is_deferred(raw: object) -> bool:
    return getattr(raw, "value", b"") is None and getattr(raw, "length", 0) > 0


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
        return [day for day in days if day not in TRIVIAL_DATES]
    if kind == "time":
        whole = text.split(".")[0][:6]
        return [] if len(whole) < 6 or whole.endswith("0000") else [whole]
    if "name" in kind:
        text = text.strip("^= ")
        parts = [part for part in re.split(r"[\^=\s,;/-]+", text) if part and part != text]
        return [text, *(part for part in parts if not is_standard(part))]
    return [text]


def name_orders(text: str) -> set[str]:
    """Return a name as people write it: its parts in any order, any mark or none between.

    Examples
    --------
    >>> sorted(name_orders("Li^Wei"))[:4]
    ['Li Wei', 'Li, Wei', 'Li,Wei', 'Li-Wei']
    >>> "WeiLi" in name_orders("Li^Wei"), "王伟" in name_orders("Wang^Wei=王^伟")
    (True, True)
    """
    ways = {text}
    for group in text.split("="):  # Latin, ideographic and phonetic spelling
        parts = [part.strip() for part in group.split("^") if part.strip()][:3]
        for many in range(2, len(parts) + 1):
            ways |= {mark.join(order) for mark in ("", " ", ", ", ",", "^", "_", "-", ".")
                     for order in permutations(parts, many)}  # fmt: skip
    return ways


def date_spellings(day: str) -> set[str]:
    """Return YYYYMMDD as people write it, with and without leading zeros, months in English.

    Examples
    --------
    >>> {"2021-9-14", "14/09/21", "14-Sep-2021", "September 14, 2021"} <= date_spellings("20210914")
    True
    """
    if not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])\d\d", day):
        return {day}
    years, month, ways = (day[:4], day[2:4]), int(day[4:6]), {day, day[6:] + day[4:6] + day[:4]}
    name = MONTHS[month - 1]
    for dom in {day[6:8], str(int(day[6:8]))}:
        for s in ("-", ".", "/", " "):
            for mm in (day[4:6], str(month)):
                ways |= {f"{day[:4]}{s}{mm}{s}{dom}"}
                ways |= {f"{a}{s}{b}{s}{y}" for y in years for a, b in ((dom, mm), (mm, dom))}
            ways |= {f"{dom}{s}{m}{s}{y}" for m in (name, name[:3]) for y in years}
        ways |= {f"{m} {dom}, {day[:4]}" for m in (name, name[:3])}
        ways |= {f"{dom}{name[:3]}{y}" for y in years}
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
    ways |= {form for one in digits for form in (one, one.lstrip("0")) if len(form) >= 6}
    return ways


def spellings(one: Identifier) -> set[str]:
    """Return an identifier as it may be written: in either case, without accents."""
    if one.kind == "date":
        return date_spellings(one.text)
    if one.kind == "UID":
        return {one.text}
    if one.kind == "age over 89":
        return {
            f"{one.text.zfill(n)}{unit}"
            for n in (2, 3, 4)
            for unit in ("y", " y", "-y", "year", " year", "-year")
        }
    texts = {one.text}
    if one.kind == "time":
        texts |= {":".join(re.findall("..", one.text))}
    elif "name" in one.kind:
        texts = name_orders(one.text)
    else:
        texts |= number_spellings(one.text)
    shapes = set()
    for text in texts:
        plain = unicodedata.normalize("NFKD", text)
        bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
        shapes |= {text, unicodedata.normalize("NFC", text), bare}
    return {s for shape in shapes for s in (shape, shape.lower(), shape.upper(), shape.title())}


def patterns(texts: Iterable[str]) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes, of at least four, of texts in every encoding, and whether it is UTF-16."""
    for text in texts:
        for encoding in ENCODINGS[:1] + ENCODINGS[-2:] if text.isascii() else ENCODINGS:
            try:
                data = ESCAPES.sub(b"", text.encode(encoding)).lower()
            except UnicodeEncodeError:
                continue
            if len(data) >= 4:
                yield data, encoding.startswith("utf-16")


@dataclass
class Verdict:
    """What the search of one file found: (kind, element) and (kind, element, reason), counted."""

    leaks: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    places: list[tuple[Dataset, BaseTag, str, frozenset[int]]] = field(default_factory=list)
    dataset: Dataset | None = None


Hit = tuple[int, bytes, int, bool]  # offset, pattern, identifier, UTF-16


class Verifier:
    """The search for all identifiers of an inventory, ready to be run over many files."""

    def __init__(self, inventory: Inventory, new_uids: frozenset[str] | set[str]) -> None:
        self._inventory, self._new_uids = inventory, new_uids
        self._known = sorted(inventory.found, key=lambda one: (one.kind, one.text))
        wanted: dict[bytes, set[tuple[int, bool]]] = {}
        for number, one in enumerate(self._known):
            for data, wide in patterns(spellings(one)):
                wanted.setdefault(data, set()).add((number, wide))
        self._machine = ahocorasick.Automaton()
        for data, owners in wanted.items():
            self._machine.add_word(data.decode("latin-1"), (data, owners))
        self._longest = max(map(len, wanted), default=0)
        if wanted:
            self._machine.make_automaton()

    def find(self, data: bytes) -> list[Hit]:
        """Return every hit in some bytes, ASCII case ignored."""
        hits: set[Hit] = set()
        step = 1 << 22
        for begin in range(0, len(data) if self._longest else 0, step):
            part = data[begin : begin + step + self._longest].lower().decode("latin-1")
            for end, (pattern, owners) in self._machine.iter(part):
                place = begin + end + 1 - len(pattern)
                hits |= {(place, pattern, owner, wide) for owner, wide in owners}
        return sorted(hits)

    def check(self, data: bytes, name: str = "") -> Verdict:
        """Judge the bytes of one output file, and its name."""
        verdict = Verdict()
        for offset, pattern, owner, wide in self.find(name.encode()):
            if _stands_alone(name.encode(), offset, pattern, wide, self._known[owner]):
                verdict.leaks[self._known[owner].kind, "file name"] += 1
        total = Counter((hit[2], hit[1]) for hit in self.find(data))
        if not total:
            return verdict
        verdict.dataset = dicomfile.read(BytesIO(data))
        places = [
            *dicomfile.elements(verdict.dataset.file_meta),
            *dicomfile.elements(verdict.dataset),
        ]
        for dataset, tag, vr, value in places:
            hits = self.find(value)
            total.subtract((hit[2], hit[1]) for hit in hits)
            self._judge(verdict, dataset, tag, vr, value, hits)
        for (owner, pattern), count in total.items():
            if count > 0 and _in_binary(self._known[owner], pattern, False) is None:
                verdict.leaks[self._known[owner].kind, "bytes outside any element"] += count
        return verdict

    def _judge(
        self,
        verdict: Verdict,
        dataset: Dataset,
        tag: BaseTag,
        vr: str,
        value: bytes,
        hits: list[Hit],
    ) -> None:
        keyword = keyword_for_tag(tag) or "unknown element"
        leaked = set()
        for hit in hits:
            one = self._known[hit[2]]
            reason = self._reason(one, tag, vr, value, hit)
            if reason is None:
                verdict.leaks[one.kind, keyword] += 1
                leaked.add(value.count(b"\\", 0, hit[0]))
            elif reason:
                verdict.accepted[one.kind, "any" if reason == LONGER else keyword, reason] += 1
        if leaked and tag not in dicomfile.PIXELS and tag.group != 2:
            verdict.places.append((dataset, tag, vr, frozenset(leaked)))

    def _reason(self, one: Identifier, tag: BaseTag, vr: str, value: bytes, hit: Hit) -> str | None:
        """Say why a hit is no leak; "" when it needs no mention; None when it is one."""
        offset, pattern, _, wide = hit
        if vr not in TEXTS | DATES | {"DS", "IS", "UI"}:
            return _in_binary(one, pattern, wide)
        if not _stands_alone(value, offset, pattern, wide, one):
            return LONGER
        text = value.rstrip(b"\0 ").decode("latin-1")
        if vr == "UI":
            safe = self._new_uids | {PYDICOM_IMPLEMENTATION_UID}
            return "" if all(u in safe or u in UID_dictionary for u in text.split("\\")) else None
        if tag in OURS or (tag in CODES and is_standard(one.text)):
            return "a word of the standard"
        if vr in ("DS", "IS") and (len(pattern) < 6 or one.kind in ("private text", "description")):
            return "equals a measured number"
        if vr in ("DA", "DT") and one.kind == "date" and self._inventory.options.retain_dates:
            same = all(part[:8] in self._inventory.shifted for part in text.split("\\"))
            return "a shifted date that equals another original date" if same else None
        return None


def _in_binary(one: Identifier, pattern: bytes, wide: bool) -> str | None:
    """Judge a hit in pixels or another block of numbers."""
    data = pattern.replace(b"\0", b"") if wide else pattern
    steps = {b - a for a, b in pairwise(data)}
    if steps <= {-1, 0, 1} or len(set(data)) < 4:
        return "as plain as a run of equal or neighbouring pixels"
    enough = IN_PIXELS_DIGITS if data.isdigit() or one.is_number else IN_PIXELS_LETTERS
    return None if len(data) >= enough else "too short to tell from chance in pixels"


def _stands_alone(value: bytes, offset: int, pattern: bytes, wide: bool, one: Identifier) -> bool:
    """Whether a hit is no part of a longer number or, when short, of a longer word."""
    if wide:
        return True
    before = value[offset - 1 : offset] if offset else b""
    after = value[offset + len(pattern) :][:1]
    if one.kind == "UID" or (pattern.isdigit() and one.kind != "date"):
        return not (before.isdigit() or before == b"." or after.isdigit() or after == b".")
    if one.kind in ("date", "age over 89", "time"):
        return not before.isdigit()
    return len(pattern) >= 6 or not (before.isalnum() or after.isalnum())


def scrub(verdict: Verdict) -> list[str]:
    """Empty the values in which an identifier stood all the same; return their keywords."""
    keywords = []
    for dataset, tag, vr, leaked in verdict.places:
        keywords.append(keyword_for_tag(tag) or "unknown element")
        values = values_of(dataset[tag])
        if vr not in TEXTS | DATES | {"DS", "IS"}:
            del dataset[tag]
        elif 1 < len(values) > max(leaked):
            dataset[tag].value = ["" if n in leaked else one for n, one in enumerate(values)]
        else:
            dataset[tag].value = "REMOVED" if tag in CODES else None
    return sorted(set(keywords))

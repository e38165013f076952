"""Collect what identifies somebody in the input, and search what was written for it.

The inventory lives in memory only: it is never logged, written or shown. A hit is explained or it
is a leak. Outside of pixels and numbers a copy holds words of the standard only, so that few hits
need an explanation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise, permutations, product
from typing import Any

import ahocorasick
from pydicom import DataElement, Dataset
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from medimg.deid import dicomfile, profile
from medimg.deid.dicomfile import PIXELS, RULES, elements
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
SHORT_NUMBER = re.compile(rb"[\d.]{1,5}")
SEARCHED, UNSEARCHED = TEXTS | DATES | {"UI", "UN", "OB"}, PIXELS | {0x00080005}
Identifier = tuple[str, str]  # its kind, and the text that must not be found again


def kind_of(element: DataElement) -> str:
    """Name the kind of an element's value, after its value representation and keyword."""
    if element.VR == "PN" and element.tag.group == 0x0010:
        return "patient name"
    fits = (kind for kind, words in RULES["kinds"].items() if re.search(words, element.keyword))
    kind = RULES["kinds_by_vr"].get(element.VR) or next(fits, None)
    return kind or ("code" if element.VR == "CS" else "description")


@dataclass
class Inventory:
    """All identifiers of the input; days and times as copies hold them; texts kept by an option."""

    options: DeidOptions
    found: Counter[Identifier] = field(default_factory=Counter)
    unsearched: Counter[str] = field(default_factory=Counter)
    moved: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, *, days: int) -> None:
        """Take in one file: its data set, file meta information, and all items."""
        for owner, element in elements(dataset, most=1 << 16):
            fixed = element.tag in CODES and profile.known_code(owner)
            if element.VR in SEARCHED and element.tag not in UNSEARCHED and not fixed:
                self._element(element, days)

    def _element(self, element: DataElement, days: int) -> None:
        kind, texts = kind_of(element), texts_of(element)
        known = element.keyword and element.tag not in profile.BIRTH  # not private, nor of birth
        moved = self.options.retain_dates and known
        if element.tag in profile.kept_tags(self.options) and kind != "age over 89":
            self.kept.update(texts)
            return
        if moved and kind == "time":
            self.moved.update(text[:6] for text in texts)
            return
        if moved and kind == "date":
            self.moved.update(profile.shift(text, days)[:8] for text in texts)
        for text in (part for whole in texts for part in parts_of(kind, whole)):
            letters = "".join(filter(str.isalnum, text)).lower()
            enough = 4 if text.isascii() else 2  # two ideographs or so are four bytes
            says = len(letters) >= enough and len(set(letters)) > 1 and letters not in NOBODY
            if says or kind == "age over 89":
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
    """Return what of a text is searched for, names split into parts; nothing that says nothing."""
    if kind == "date":  # both ends of a range
        days = ["".join(match) for match in DAY.findall(text)] or [text[:8]]
        return [day for day in days if day not in RULES["search"]["trivial"]]
    if kind == "time":
        whole = text.split(".")[0][:6]
        return [] if len(whole) < 6 or whole.endswith("0000") else [whole]
    if kind == "age over 89":
        age = int(profile.years(text) or 0)
        return [str(age)] if age >= 90 else []
    if "name" in kind:
        text = text.strip("^= ")
        parts = re.split(r"[\^=\s,;/-]+", text)
        return [text, *(part for part in parts if part not in ("", text) and not is_standard(part))]
    measured = kind in ("private text", "description", "code") and MEASURED.fullmatch(text)
    says_nothing = text in PUBLIC_UIDS if kind == "UID" else is_standard(text) or measured
    return [] if says_nothing else [text.strip("^= ")]


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
        orders = (order for many in (2, 3) for order in permutations(parts, many))
        ways |= {mark.join(o) for o in orders for mark in ("", " ", ", ", ",", "^", "_", "-", ".")}
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
    ways, months = {day, dom + month + year}, (month, str(int(month)), name, name[:3])
    for d, m, y in product((dom, str(int(dom))), months, (year, year[2:])):
        ways |= {s.join(order) for s in "-./ " for order in ((y, m, d), (d, m, y), (m, d, y))}
        ways |= {f"{m} {d}, {y}", f"{d}{m}{y}"} if m.isalpha() else set()
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
        zeros, units = (0, 2, 3, 4), ("y", " y", "-y", "year", " year", "-year")
        texts = {text.zfill(n) + unit for n, unit in product(zeros, units)}
    elif kind == "time":
        texts |= {":".join(re.findall("..", text))}
    elif kind != "UID":
        texts = SPELLINGS.get(kind, number_spellings)(text)
    plain = [unicodedata.normalize("NFKD", one) for one in texts]
    texts |= {"".join(x for x in one if not unicodedata.combining(x)) for one in plain}
    lower = {one.lower() for one in texts}
    return lower | {unicodedata.normalize("NFC", one) for one in lower}


def patterns(kind: str, text: str) -> Iterator[bytes]:
    """Yield the bytes, of at least four, of all spellings in all encodings."""
    for one in spellings(kind, text):
        shapes = {one} if one.isascii() else {one, one.upper(), one.title()}
        for shape, encoding in product(shapes, ENCODINGS[: 3 if one.isascii() else None]):
            with suppress(UnicodeEncodeError):
                data = ESCAPES.sub(b"", shape.encode(encoding)).lower()
                yield from [data] * (len(data) >= 4)


SPELLINGS = {"date": date_spellings, "patient name": name_spellings,
             "other person's name": name_spellings}  # fmt: skip
Hit = tuple[int, bytes, str, str]  # offset, pattern, kind and text of an identifier


class Verifier:
    """The search for all identifiers of an inventory, ready to be run over many files."""

    def __init__(self, inventory: Inventory) -> None:
        self._moved, self._machine = inventory.moved, ahocorasick.Automaton()
        for kind, text in inventory.found:
            kept = kind == "device" and text in inventory.kept  # by an option
            for data in () if kept else patterns(kind, text):
                word = data.decode("latin-1")
                owners: set[Hit] = self._machine.get(word, set())
                self._machine.add_word(word, owners | {(0, data, kind, text)})
        self._machine.make_automaton()

    def find(self, data: bytes) -> list[Hit]:
        """Return every hit in some bytes, ASCII case ignored."""
        ends = self._machine.iter(data.lower().decode("latin-1")) if len(self._machine) else ()
        return sorted((end + 1 - len(owner[1]), *owner[1:]) for end, some in ends for owner in some)

    def names(self, text: str) -> bool:
        """Whether a text holds an identifier."""
        data = text.encode("utf-8")
        return any(not self._reason(data, hit) for hit in self.find(data))

    def check(self, data: bytes, name: str) -> tuple[Counter[Any], Counter[Any]]:
        """Search a file to be written: all its bytes, the texts in it, and its name.

        Returns
        -------
        leaks, accepted : Counter
            Hits by (kind, place), and those that prove nothing by (kind, place, reason).
        """
        texts = defaultdict(list, {"file name": [name]})
        for _, element in elements(dicomfile.read(BytesIO(data))):
            if element.VR in TEXTS | DATES | {"DS", "IS"}:
                texts[element.keyword] += values_of(element)
        places = {place: "\n".join(some).encode("utf-8") for place, some in texts.items()}
        leaks, accepted = Counter[Any](), Counter[Any]()
        for place, value in {"all bytes": data, **places}.items():
            for hit in self.find(value):
                in_binary = _in_binary(hit[1]) if value is data else ""
                if reason := in_binary or self._reason(value, hit):
                    accepted[hit[2], place, reason] += 1
                else:
                    leaks[hit[2], place] += 1
        return leaks, accepted

    def _reason(self, value: bytes, hit: Hit) -> str:
        """Say why a hit in a text proves nothing; "" when it is a leak."""
        number = hit[1].split(b".")[0].decode("latin-1")
        moved = number in self._moved
        return dicomfile.first({
            "part of a longer word or number": not _stands_alone(value, hit),
            "too short a number to tell from a measured one": SHORT_NUMBER.fullmatch(hit[1]),
            "a shifted date that equals another original date": moved and len(number) == 8,
            "a time of day that an option keeps": moved,
        })  # fmt: skip


def _in_binary(pattern: bytes) -> str:
    """Say why a hit among all bytes proves nothing, if it does; texts are searched once more."""
    data = re.sub(rb"[\0-\x1f]", b"", pattern)  # in UTF-16 all letters of a script share one byte
    enough = IN_PIXELS_DIGITS if re.fullmatch(rb"[\d.]+", data) else IN_PIXELS_LETTERS
    even = {b - a for a, b in pairwise(data)} <= {-1, 0, 1} or len(set(data)) < 4
    plain, short = "as plain as a run of equal or neighbouring pixels", len(data) < enough
    return plain if even else "too short to tell from chance in pixels" if short else ""


def _stands_alone(value: bytes, hit: Hit) -> bool:
    """Whether a hit is no part of a longer number or, when short, of a longer word."""
    offset, pattern, kind, _ = hit
    before, after = value[max(offset - 1, 0) : offset], value[offset + len(pattern) :][:17]
    if kind in ("date", "time", "age over 89"):  # digits may follow, but fewer than in a UID
        return not before.isdigit() and not (len(after) == 17 and after.isdigit())
    if kind == "UID" or re.fullmatch(rb"[\d.]+", pattern):
        return re.match(rb"[\d.]", before) is None and re.match(rb"[\d.]", after) is None
    return b"\0" in pattern or len(pattern) >= 6 or not (before.isalnum() or after[:1].isalnum())

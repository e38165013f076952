"""Collect what identifies somebody in the input, and search what was written for it.

The inventory lives in memory only: it is never logged, written or shown. A hit is explained or it
is a leak. Outside of pixels and numbers a copy holds words of the standard only, so that few hits
need an explanation.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise, permutations, product

import ahocorasick
from pydicom import DataElement, Dataset, dcmread
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from medimg.deid import profile
from medimg.deid.dicomfile import RULES, elements
from medimg.deid.options import DeidOptions
from medimg.deid.profile import BIRTH, CODES, DAY, TEXTS, is_standard, values_of

LONGEST = 64  # characters of a long text that are searched for, line by line
NOBODY = frozenset(RULES["search"]["nobody"].split())
# Shorter ones occur in pixels by chance: a given run of 6 bytes once in 280 TB, of 4 once in 4 GB.
IN_PIXELS_LETTERS, IN_PIXELS_DIGITS = 6, 8
PUBLIC_UIDS = frozenset({*UID_dictionary, PYDICOM_IMPLEMENTATION_UID})
ENCODINGS = RULES["search"]["encodings"].split()
ESCAPES = re.compile(rb"\x1b[$(-/][()]?[@-Z]|[\x0e\x0f]")  # of ISO 2022
MEASURED = re.compile(r"[+-]?\d{1,5}|[+-]?\d*\.\d*(e[+-]?\d+)?", re.IGNORECASE)
SHORT_NUMBER = re.compile(rb"[\d.]{1,5}")
SEARCHED = TEXTS | {"DA", "DT", "UI", "UN", "OB"}
Identifier = tuple[str, str]  # its kind, and the text that must not be found again


def kind_of(element: DataElement) -> str:
    """Name the kind of an element's value, after its value representation and keyword."""
    fits = (kind for kind, words in RULES["kinds"].items() if re.search(words, element.keyword))
    kind = RULES["kinds_by_vr"].get(element.VR) or next(fits, None)
    return kind or ("code" if element.VR == "CS" else "description")


@dataclass
class Inventory:
    """All identifiers of the input; days as copies hold them; texts kept by an option."""

    options: DeidOptions
    found: set[Identifier] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, *, days: int) -> None:
        """Take in one file: its data set, file meta information, and all items."""
        for owner, element in elements(dataset):
            coded = element.tag in CODES and profile.known_code(owner)
            if coded or element.tag == 0x00080005 or element.VR not in SEARCHED:
                continue
            kind, texts = kind_of(element), texts_of(element)
            if element.tag in profile.kept_tags(self.options) and kind != "age over 89":
                self.kept.update(texts)
                continue
            known = element.keyword and element.tag not in BIRTH  # not private, nor of birth
            if self.options.retain_dates and known and kind == "date":
                self.moved.update(profile.shift(text, days)[:8] for text in texts)
            parts = [part for text in texts for part in parts_of(kind, text)]
            self.found.update((kind, part) for part in parts if kind == "age over 89" or says(part))


def says(text: str) -> bool:
    """Whether a text is long enough to point to somebody, and no word for nobody.

    Examples
    --------
    >>> says("Grünwald"), says("王伟"), says("Li"), says("0000000"), says("ANONYMOUS")
    (True, True, False, False, False)
    """
    letters = "".join(filter(str.isalnum, text)).casefold()
    enough = 4 if text.isascii() else 2  # two ideographs or so are four bytes
    return len(letters) >= enough and len(set(letters)) > 1 and letters not in NOBODY


def texts_of(element: DataElement) -> list[str]:
    """Return the texts that an element holds, one per value and line, long ones cut."""
    values = values_of(element)
    if isinstance(element.value, bytes):
        text = values[0].rstrip("\0 ")
        values = [text] if text.isprintable() and len(text) <= 1024 else []
    # Control characters part lines; in a damaged file they come from the next element's head.
    lines = [line for one in values for line in re.split(r"[\x00-\x1f\x7f\\]+", one)]
    return [line.strip()[:LONGEST].strip() for line in lines if line.strip()]


def parts_of(kind: str, text: str) -> list[str]:
    """Return what of a text is searched for, names split into parts; nothing that says nothing."""
    if kind == "date":  # both ends of a range
        days = ["".join(match) for match in DAY.findall(text)]
        return [day for day in days if day not in RULES["search"]["trivial"]]
    if kind == "age over 89":
        age = int(profile.years(text) or 0)
        return [str(age)] if age >= 90 else []
    if kind == "name":
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


def age_spellings(years: str) -> set[str]:
    """Return an age as people write it, with its unit and up to four digits."""
    units = ("y", " y", "-y", "year", " year", "-year")
    return {years.zfill(digits) + unit for digits, unit in product((0, 2, 3, 4), units)}


SPELLINGS = {"date": date_spellings, "name": name_spellings, "age over 89": age_spellings}


def spellings(kind: str, text: str) -> set[str]:
    """Return an identifier as it may be written, in lower case, with and without accents."""
    texts = {text} if kind == "UID" else SPELLINGS.get(kind, number_spellings)(text)
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


Hit = tuple[int, bytes, str]  # offset, pattern, and kind of an identifier


class Verifier:
    """The search for all identifiers of an inventory, ready to be run over many files."""

    def __init__(self, inventory: Inventory) -> None:
        self._moved, self._machine = inventory.moved, ahocorasick.Automaton()
        for kind, text in inventory.found:
            # What an option keeps is not searched for.
            for data in () if kind == "device" and text in inventory.kept else patterns(kind, text):
                word = data.decode("latin-1")
                self._machine.add_word(word, self._machine.get(word, set()) | {(data, kind)})
        self._machine.make_automaton()

    def find(self, data: bytes) -> list[Hit]:
        """Return every hit in some bytes, ASCII case ignored."""
        ends = self._machine.iter(data.lower().decode("latin-1")) if len(self._machine) else ()
        return [(end + 1 - len(word), word, kind) for end, some in ends for word, kind in some]

    def names(self, text: str) -> bool:
        """Whether a text holds an identifier."""
        data = text.encode("utf-8")
        return any(not self._reason(data, hit) for hit in self.find(data))

    def check(self, data: bytes, name: str) -> Counter[tuple[str, str, str]]:
        """Search a file to be written: all its bytes, the texts in it, and its name.

        Returns
        -------
        Counter
            Hits by kind, place, and why they prove nothing: "" is a leak.
        """
        texts = defaultdict(list, {"file name": [name]})
        for _, element in elements(dcmread(BytesIO(data), force=True)):
            if element.VR in TEXTS | {"DA", "DT", "DS", "IS"}:  # TM holds a time or nothing
                texts[element.keyword] += values_of(element)
        places = {place: "\n".join(some).encode("utf-8") for place, some in texts.items()}
        hits = Counter((hit[2], "all bytes", _in_binary(hit[1]) or self._reason(data, hit))
                       for hit in self.find(data))  # fmt: skip
        for place, value in places.items():
            hits.update((hit[2], place, self._reason(value, hit)) for hit in self.find(value))
        return hits

    def _reason(self, value: bytes, hit: Hit) -> str:
        """Say why a hit in a text proves nothing; "" when it is a leak."""
        number = hit[1].split(b".")[0].decode("latin-1")
        if not _stands_alone(value, hit):
            return "part of a longer word or number"
        if SHORT_NUMBER.fullmatch(hit[1]):
            return "too short a number to tell from a measured one"
        return "a shifted date that equals another original date" * (number in self._moved)


def _in_binary(pattern: bytes) -> str:
    """Say why a hit among all bytes proves nothing, if it does; texts are searched once more."""
    data = re.sub(rb"[\0-\x1f]", b"", pattern)  # in UTF-16 all letters of a script share one byte
    enough = IN_PIXELS_DIGITS if re.fullmatch(rb"[\d.]+", data) else IN_PIXELS_LETTERS
    plain = {b - a for a, b in pairwise(data)} <= {-1, 0, 1} or len(set(data)) < 4
    return "too short or too plain to tell from pixels" * (plain or len(data) < enough)


def _stands_alone(value: bytes, hit: Hit) -> bool:
    """Whether a hit is no part of a longer number or, when short, of a longer word."""
    offset, pattern, kind = hit
    before, after = value[max(offset - 1, 0) : offset], value[offset + len(pattern) :][:17]
    if kind in ("date", "age over 89"):  # digits may follow, but fewer than in a UID
        return not before.isdigit() and not (len(after) == 17 and after.isdigit())
    if kind == "UID" or re.fullmatch(rb"[\d.]+", pattern):
        return re.match(rb"[\d.]", before) is None and re.match(rb"[\d.]", after) is None
    return b"\0" in pattern or len(pattern) >= 6 or not (before.isalnum() or after[:1].isalnum())

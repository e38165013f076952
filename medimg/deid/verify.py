"""Search the bytes of an output file for every identifier of the input, and judge each hit.

A file in which no pattern occurs is clean. Otherwise the hits are counted again element by element,
and every one must be explained: what no element explains is a leak.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise

from pydicom import Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from medimg.deid import dicomfile
from medimg.deid.inventory import CODES, WEAK, Identifier, Inventory
from medimg.deid.rules import TEXTS, names_a_class
from medimg.deid.scan import Pattern

# Written here: what was done, and (in the file meta information) with which library.
OURS = frozenset({0x00120062, 0x00120063, 0x00280303, 0x00020013})
# Shorter ones occur in pixels by chance: a given run of 6 bytes once in 280 TB, of 4 once in 4 GB.
IN_PIXELS_LETTERS, IN_PIXELS_DIGITS = 6, 8
# An item of encapsulated pixels in which a stream of JPEG, JPEG-LS or JPEG 2000 begins.
STREAM = re.compile(rb"\xfe\xff\x00\xe0....(?:\xff\xd8|\xff\x4f)", re.DOTALL)
COMMENTS = frozenset({0xFE, 0x64, *range(0xE0, 0xF0)})
DATA_BEGINS = frozenset({0xDA, 0x90})  # start of scan, start of tile
LONGER = "part of a longer word or number"
Place = tuple[Dataset, BaseTag, str]
Leak = tuple[Dataset, BaseTag, str, frozenset[int]]  # ... and which of its values


@dataclass
class Verdict:
    """What the search of one file found: (kind, element) and (kind, element, reason), counted."""

    leaks: Counter[tuple[str, str]] = field(default_factory=Counter)
    accepted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    places: list[Leak] = field(default_factory=list)
    dataset: Dataset | None = None


class Verifier:
    """The search for all identifiers of an inventory, ready to be run over many files."""

    def __init__(self, inventory: Inventory, generated: frozenset[str]) -> None:
        self._inventory = inventory
        self._generated = generated
        self._known, self._scanner = inventory.scanner()

    def check(self, data: bytes) -> Verdict:
        """Judge the bytes of one output file."""
        verdict = Verdict()
        total = Counter(self._count(data))
        if not total:
            return verdict
        try:
            verdict.dataset = dicomfile.read(BytesIO(data))
        except dicomfile.RefusedError:
            verdict.leaks.update((self._known[owner].kind, "bytes") for owner in total)
            return verdict
        meta = verdict.dataset.file_meta
        for dataset, tag, vr, value in [
            *dicomfile.elements(meta),
            *dicomfile.elements(verdict.dataset),
        ]:
            hits = list(self._scanner.find(value))
            for owner, count in Counter(self._owners(hits)).items():
                total[owner] -= count
            self._judge(verdict, (dataset, tag, vr), value, hits)
        for owner, count in total.items():
            if count > 0:
                verdict.leaks[self._known[owner].kind, "bytes outside any element"] += count
        return verdict

    def in_text(self, text: str) -> bool:
        """Whether a text, such as a file name, holds an identifier as a word of its own."""
        data = text.encode()
        return any(_stands_alone(data, o, p, self._known[p.owner]) for o, p in
                   self._scanner.find(data))  # fmt: skip

    def _count(self, data: bytes) -> dict[int, int]:
        return Counter(self._owners(self._scanner.find(data)))

    @staticmethod
    def _owners(hits: object) -> list[int]:
        """Return the owner of each hit; one for several spellings at one place."""
        return [owner for _, owner in {(offset, p.owner) for offset, p in hits}]  # type: ignore[attr-defined]

    def _judge(
        self, verdict: Verdict, place: Place, value: bytes, hits: list[tuple[int, Pattern]]
    ) -> None:
        tag = place[1]
        keyword = keyword_for_tag(tag) or "unknown element"
        leaked = set()
        for offset, pattern in hits:
            one = self._known[pattern.owner]
            reason = self._reason(one, place, value, offset, pattern)
            if reason is None:
                verdict.leaks[one.kind, keyword] += 1
                leaked.add(value.count(b"\\", 0, offset))
            elif reason:
                element = "any" if reason == LONGER else keyword
                verdict.accepted[one.kind, element, reason] += 1
        if leaked and tag not in dicomfile.PIXELS and tag.group != 2:
            verdict.places.append((*place, frozenset(leaked)))

    def _reason(
        self, one: Identifier, place: Place, value: bytes, offset: int, pattern: Pattern
    ) -> str | None:
        """Say why a hit is no leak; "" when it needs no mention; None when it is one."""
        _, tag, vr = place
        if vr not in TEXTS | {"DA", "DT", "TM", "DS", "IS", "UI", "UN"}:
            comment = _in_comment(value, offset) and _stands_alone(value, offset, pattern, one)
            return None if comment else _in_binary(one, pattern)
        if not _stands_alone(value, offset, pattern, one):
            return LONGER
        text = value.rstrip(b"\0 ").decode("latin-1")
        if vr == "UI":
            uids = text.split("\\")
            safe = all(u in self._generated or names_a_class(keyword_for_tag(tag), u)
                       or u == PYDICOM_IMPLEMENTATION_UID for u in uids)  # fmt: skip
            return "" if safe else None
        if tag in OURS or (tag in CODES and one.is_word):
            return "a word of the standard"
        if vr in ("DS", "IS"):
            return "equals a measured number" if one.is_number else None
        if vr in ("DA", "DT") and one.kind == "date" and self._inventory.options.retain_dates:
            same = all(part[:8] in self._inventory.shifted for part in text.split("\\"))
            return "a shifted date that equals another original date" if same else None
        if (vr == "CS" or tag in CODES) and (one.kind in WEAK or one.is_word):
            return "a code word"
        kept = (keyword_for_tag(tag), one.text.lower()) in self._inventory.kept
        return "the profile keeps this element" if kept and one.kind in WEAK else None


def _in_binary(one: Identifier, pattern: Pattern) -> str | None:
    """Judge a hit in pixels or another block of numbers."""
    data = pattern.data.replace(b"\0", b"") if pattern.wide else pattern.data
    steps = {b - a for a, b in pairwise(data)}
    if (len(steps) == 1 and steps <= {-1, 0, 1}) or len(set(data)) < 4:
        return "as plain as a run of equal or neighbouring pixels"
    enough = IN_PIXELS_DIGITS if one.is_number else IN_PIXELS_LETTERS
    return None if len(data) >= enough else "too short to tell from chance in pixels"


def _in_comment(value: bytes, offset: int) -> bool:
    """Whether a hit lies in a comment or application segment of a JPEG or JPEG 2000 stream.

    They come before the pixels (ITU-T T.81 B.2, T.800 A.9.2), and hold text.
    """
    for start in STREAM.finditer(value, 0, offset):
        at = start.end()
        while at <= offset and value[at : at + 1] == b"\xff" and value[at + 1] not in DATA_BEGINS:
            end = at + 2 + int.from_bytes(value[at + 2 : at + 4])
            if at < offset < end:
                return value[at + 1] in COMMENTS
            at = end
    return False


def _stands_alone(value: bytes, offset: int, pattern: Pattern, one: Identifier) -> bool:
    """Whether a hit is no part of a longer number or, when short, of a longer word."""
    if pattern.wide:
        return True
    before = value[offset - 1 : offset] if offset else b""
    after = value[offset + len(pattern.data) :][:1]
    if one.kind == "UID":
        return not (before.isdigit() or before == b"." or after.isdigit() or after == b".")
    if one.kind == "date":
        return not before.isdigit()
    if one.is_number:
        return not (before.isdigit() or before == b"." or after.isdigit())
    return len(one.text) >= 6 or not (before.isalnum() or after.isalnum())


def scrub(verdict: Verdict) -> list[str]:
    """Empty the values beyond the table in which an identifier stood; return their keywords."""
    keywords = []
    for dataset, tag, vr, leaked in verdict.places:
        keywords.append(keyword_for_tag(tag) or "unknown element")
        filler = "DEIDENTIFIED" if tag in CODES or vr == "CS" else ""
        if vr not in TEXTS | {"DA", "DT", "TM"}:
            del dataset[tag]
            continue
        values = dataset[tag].value
        if isinstance(values, MultiValue) and max(leaked) < len(values):
            kept = [filler if at in leaked else str(one) for at, one in enumerate(values)]
            dataset[tag].value = kept
        else:
            dataset[tag].value = filler
    return sorted(set(keywords))

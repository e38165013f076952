"""Find any of thousands of byte strings in megabytes, in milliseconds.

Every position's next four bytes are looked up in a table of which four bytes a pattern begins
with; only where the table says yes is the pattern compared.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

BITS = 20
CHUNK = 1 << 22
# Encodings that DICOM text of the world is stored in (PS3.3 C.12.1.1.2), and UTF-16, in which
# Windows programs leave text in binary blocks.
ENCODINGS = ("utf-8", "latin-1", "iso8859-2", "iso8859-3", "iso8859-4", "iso8859-5", "iso8859-6",
             "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-15", "tis-620", "shift_jis",
             "iso2022_jp", "iso2022_jp_2", "euc_kr", "gb18030", "utf-16-le",
             "utf-16-be")  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """Bytes to look for (lower case) and the number of the identifier that they stand for."""

    data: bytes
    owner: int
    wide: bool


def spellings(text: str, *, accents: bool = True) -> set[str]:
    """Return a text as it may be written: as given, in either case, without accents."""
    plain = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    shapes = {text, unicodedata.normalize("NFC", text)} | ({bare} if accents else set())
    return {s for shape in shapes for s in (shape, shape.lower(), shape.upper(), shape.title())}


def patterns(texts: Iterable[str], owner: int) -> set[Pattern]:
    """Return the patterns, of at least four bytes, for an identifier's spellings."""
    found = set()
    for text in texts:
        for encoding in ENCODINGS:
            try:
                data = text.encode(encoding).lower()
            except UnicodeEncodeError:
                continue
            if len(data) >= 4:
                found.add(Pattern(data, owner, encoding.startswith("utf-16")))
    return found


class Scanner:
    """A set of patterns, ready to be searched for (ASCII case ignored).

    Examples
    --------
    >>> scanner = Scanner(patterns(spellings("Müller"), owner=7))
    >>> [(offset, p.owner) for offset, p in scanner.find("from MÜLLER".encode("latin-1"))]
    [(5, 7)]
    """

    def __init__(self, wanted: Iterable[Pattern]) -> None:
        self._table = np.zeros(1 << BITS, dtype=bool)
        self._by_start: dict[bytes, list[Pattern]] = {}
        for pattern in wanted:
            self._by_start.setdefault(pattern.data[:4], []).append(pattern)
        starts = np.frombuffer(b"".join(self._by_start), dtype=np.uint8)
        self._table[self._hash(starts)[::4]] = True
        self._longest = max((len(p.data) for ps in self._by_start.values() for p in ps), default=0)

    @staticmethod
    def _hash(data: np.ndarray) -> np.ndarray:
        """Return a hash of the four bytes that begin at each position, (N - 3,) uint32."""
        if data.size < 4:
            return np.zeros(0, dtype=np.uint32)
        word = data[:-3].astype(np.uint32)
        for place in (1, 2, 3):
            word |= data[place : data.size - 3 + place].astype(np.uint32) << np.uint32(8 * place)
        return (word * np.uint32(2654435761)) >> np.uint32(32 - BITS)

    def find(self, data: bytes) -> Iterator[tuple[int, Pattern]]:
        """Yield (offset, pattern) for every occurrence."""
        if not self._by_start:
            return
        low = data.lower()
        for begin in range(0, len(low), CHUNK):
            part = np.frombuffer(low[begin : begin + CHUNK + 3], dtype=np.uint8)
            for place in np.flatnonzero(self._table[self._hash(part)]).tolist():
                offset = begin + place
                for pattern in self._by_start.get(low[offset : offset + 4], ()):
                    if low.startswith(pattern.data, offset):
                        yield offset, pattern

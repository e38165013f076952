"""What to keep, what to blank, and the key from which pseudonyms are derived."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass, field
from fnmatch import fnmatch

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from medimg.deid.dicomfile import RULES
from medimg.errors import DeidentifyError

# No vowel and no digit, so that no pseudonym can spell a name or look like a number or a date.
LETTERS = "bcdfghjklmnpqrstvwxz"
BOX = re.compile(r"(\d+):(\d+),(\d+):(\d+)(?:@((?:[^,=]+=[^,=]*,?)*))?")
RULE = re.compile(r"\s*([^,=]+?)\s*=\s*([^,=]*?)\s*(?:,|$)")


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels to blank, in the files that a rule picks.

    Give boxes only after looking at the images: a file that they pick is marked as free of
    burned-in text (Burned In Annotation NO, Clean Pixel Data Option; PS3.15 E.3.1).

    Parameters
    ----------
    row0, row1, col0, col1 : int
        Half-open, in pixels: rows row0 to row1 - 1, columns col0 to col1 - 1.
    where : tuple of (keyword, pattern) pairs
        Only in files of which every named element matches its pattern (``*`` and ``?`` as in a
        shell, case ignored). Empty: in all files.

    Raises
    ------
    DeidentifyError
        When the box is empty, begins before the first pixel, or its rule names no known element.

    Examples
    --------
    >>> Box.parse("0:40,0:640@Modality=US")
    Box(row0=0, row1=40, col0=0, col1=640, where=(('Modality', 'US'),))
    """

    row0: int
    row1: int
    col0: int
    col1: int
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.row0 < self.row1 and 0 <= self.col0 < self.col1):
            raise DeidentifyError(f"{self} holds no pixel; give 0 <= row0 < row1, 0 <= col0 < col1")
        for word in (word for word, _ in self.where if tag_for_keyword(word) is None):
            raise DeidentifyError(f'"{word}" is no keyword of DICOM; give one such as Modality.')

    @classmethod
    def parse(cls, text: str) -> Box:
        """Read ``"row0:row1,col0:col1"``, if wanted with ``@Keyword=pattern,...``."""
        match = BOX.fullmatch(text)
        if match is None:
            raise DeidentifyError(f'The box "{text}" is not like 0:40,0:640@Modality=US.')
        row0, row1, col0, col1 = map(int, match.groups()[:4])
        return cls(row0, row1, col0, col1, tuple(RULE.findall(match[5] or "")))

    def picks(self, dataset: Dataset) -> bool:
        """Whether the rule picks this file."""
        pairs = [(str(dataset.get(word, "")).lower(), rule.lower()) for word, rule in self.where]
        return all(fnmatch(value, rule) for value, rule in pairs)


@dataclass(frozen=True)
class DeidOptions:
    """How to de-identify: the Basic Profile, and what of it is relaxed.

    Parameters
    ----------
    retain_dates : bool
        Keep the intervals: all dates of a patient are moved back by one number of days (1 to 10
        years) that follows from the secret; times of day stay. Otherwise dates go.
    retain_characteristics : bool
        Keep sex, age (90 and over becomes 090Y), size, weight, ethnic group, smoking, pregnancy.
    retain_device : bool
        Keep station, serial numbers and other identity of the equipment.
    blank : tuple of Box
        Pixels to blank.
    secret : str or None
        What pseudonyms, UIDs and date offsets are derived from. The same secret gives the same
        pseudonyms in another run; anyone who has it can test guesses, so keep it from the
        recipients.
        None: one is drawn and kept in the folder ``<out_dir>.private``.

    References
    ----------
    DICOM PS3.15 Annex E, table E.1-1; PS3.16 CID 7050.

    Examples
    --------
    >>> DeidOptions(retain_dates=True, secret="s").codes
    ('113100', '113107')
    """

    retain_dates: bool = False
    retain_characteristics: bool = False
    retain_device: bool = False
    blank: tuple[Box, ...] = ()
    secret: str | None = field(default=None, repr=False)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of CID 7050 that hold for every file."""
        return ("113100", *(code for word, code in RULES["codes"].items() if getattr(self, word)))


class Key:
    """Pseudonyms, UIDs and date offsets, derived with HMAC-SHA256 from a secret.

    A keyed hash and not a plain one: hospital numbers are few enough to try them all, which
    needs the key.

    Examples
    --------
    >>> key = Key("a secret")
    >>> key.patient("0815") == key.patient("0815") != Key("another").patient("0815")
    True
    >>> key.uid("1.2.3")[:5], 365 <= key.days("0815") <= 3650
    ('2.25.', True)
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def _digest(self, label: str, text: str) -> bytes:
        return hmac.new(self._secret, f"{label}\0{text}".encode(), hashlib.sha256).digest()

    def letters(self, label: str, text: str, count: int) -> str:
        """Return ``count`` consonants (4.3 bits each)."""
        number = int.from_bytes(self._digest(label, text))
        return "".join(LETTERS[number // len(LETTERS) ** at % len(LETTERS)] for at in range(count))

    def patient(self, identity: str) -> str:
        """Return the pseudonym of a patient."""
        return "PT-" + self.letters("patient", identity, 12).upper()

    def uid(self, original: str) -> str:
        """Return the UID that stands for ``original`` everywhere (PS3.5 annex B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def days(self, identity: str) -> int:
        """Return by how many days all dates of a patient are moved back."""
        return 365 + int.from_bytes(self._digest("days", identity)[:8]) % (3650 - 365 + 1)

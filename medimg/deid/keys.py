"""Names that follow from a secret: the same input gives the same pseudonym, run after run."""

from __future__ import annotations

import hashlib
import hmac
import uuid

# No vowel and no digit, so that no pseudonym can spell a name or look like a number or a date.
LETTERS = "bcdfghjklmnpqrstvwxz"


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
        chosen = []
        for _ in range(count):
            number, digit = divmod(number, len(LETTERS))
            chosen.append(LETTERS[digit])
        return "".join(chosen)

    def patient(self, identity: str) -> str:
        """Return the pseudonym of a patient."""
        return "PT-" + self.letters("patient", identity, 12).upper()

    def uid(self, original: str) -> str:
        """Return the UID that stands for ``original`` everywhere (PS3.5 annex B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', original)[:16], version=4).int}"

    def days(self, identity: str) -> int:
        """Return by how many days all dates of a patient are moved back."""
        return 365 + int.from_bytes(self._digest("days", identity)[:8]) % (3650 - 365 + 1)

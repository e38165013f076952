"""Keep a reference answer without writing it down: a salted hash instead of the value."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Sealed:
    """The fingerprint of an exercise's right answer.

    It keeps an honest learner from reading the answer by accident. It is no secret: whoever tries
    all choices finds it.

    Parameters
    ----------
    digest : str
        What `seal` returned for the right answer.
    """

    digest: str

    def opens(self, name: str, keys: tuple[str, ...]) -> bool:
        """Say whether any of an answer's keys (see `Kind.keys`) fits this seal."""
        return any(seal(name, key) == self.digest for key in keys)


def seal(name: str, key: str) -> str:
    """Return the fingerprint of a right answer, salted with the exercise's name.

    Parameters
    ----------
    name : str
        The exercise's name, such as ``"01-window"``.
    key : str
        The answer's first key, as the kind makes it: ``Choice("a", "b").keys("b")[0]``.

    Returns
    -------
    str
        16 hexadecimal digits, to be written as ``expected=Sealed("...")``.

    Examples
    --------
    >>> Sealed(seal("00-demo", "b")).opens("00-demo", ("b",))
    True
    """
    return hashlib.sha256(f"{name}|{key}".encode()).hexdigest()[:16]

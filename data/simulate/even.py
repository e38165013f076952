"""Numbers spread evenly over a group, where chance would favour somebody.

With a few dozen patients in a class, free draws make one class darker, larger or older than the
next, and a network learns that. Here a range is cut into as many slices as a group has members,
each member gets one slice, and the number is drawn within it (a Latin hypercube). Groups with the
same range so have the same distribution by design.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


def even(groups: Sequence[Any] | pd.Series[Any], rng: np.random.Generator) -> Floats:
    """Return a number from 0 to 1 for each member, spread evenly over each group.

    Parameters
    ----------
    groups : sequence
        The group of each member.
    rng : Generator
        Says who gets which slice, and where in it the number lies.

    Examples
    --------
    >>> numbers = even(list("abab"), np.random.default_rng(0))
    >>> sorted(np.floor(2 * numbers[::2]).tolist())
    [0.0, 1.0]
    """
    codes = pd.factorize(np.asarray(groups))[0]
    shuffled = rng.permutation(len(codes))
    slices = np.empty(len(codes))
    slices[shuffled] = pd.Series(codes[shuffled]).groupby(codes[shuffled]).cumcount()
    return np.asarray((slices + rng.random(len(codes))) / np.bincount(codes)[codes])


class Even(np.random.Generator):
    """The draws of one member of a group; each is spread evenly over the group.

    Use it like any generator; each member of the group must ask for the same kind of numbers in
    the same order. Whole numbers (seeds) are free draws.

    Parameters
    ----------
    key : sequence of int
        Of the group.
    place, count : int
        Which member this is, from 0, and how many the group has.
    twin : int
        Twins have the same place in the same group: all but their whole numbers are equal.
    """

    def __init__(self, key: Sequence[int], place: int, count: int, twin: int = 0) -> None:
        super().__init__(np.random.PCG64([*key, place, twin]))
        self._key, self._place, self._count, self._asked = tuple(key), place, count, 0

    def random(self, size: Any = None, *_: Any, **__: Any) -> Any:
        """Return numbers from 0 to 1."""
        if size is not None:
            numbers = [self.random() for _ in range(int(np.prod(size)))]
            return np.reshape(numbers, size)
        self._asked += 1
        # The same stream for all members, so that no two of them get the same slice.
        stream = np.random.default_rng([*self._key, 2**31 + self._asked])
        return float(even(self._count * [0], stream)[self._place])

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Return numbers from `low` to `high`."""
        return low + (high - low) * self.random(size)

    def normal(self, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0, size: Any = None) -> Any:
        """Return normal numbers."""
        if size is None:
            size = np.broadcast_shapes(np.shape(loc), np.shape(scale)) or None
        # Rounded, since processors differ in the last digit of a logarithm.
        return np.asarray(loc) + np.asarray(scale) * np.round(ndtri(self.random(size)), 6)

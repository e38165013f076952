"""Whether the slices of a series lie one behind the other, evenly, and none is missing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medimg.errors import ImageReadError
from medimg.images.files import PathLike
from medimg.images.slices import Slice, Vector, shorten

_log = logging.getLogger(__name__)


def check_placement(folder: PathLike, slices: Sequence[Slice], strict: bool) -> tuple[int, ...]:
    """Return the slices, in their order, after which others are missing.

    Raises
    ------
    ImageReadError
        When two slices lie at one place, or some are missing or out of line and `strict` is set;
        else missing, uneven, shifted and sheared slices are logged as warnings.
    """
    _refuse_twins(folder, slices)
    places = np.array([item.along for item in slices])
    gaps = gaps_between(places)
    if gaps:
        _report_gaps(folder, slices, gaps, strict)
    elif len(places) > 2:
        steps = np.diff(places)
        if steps.max() - steps.min() > 0.1 * np.median(steps):
            _log.warning(
                "%s: neighbouring slices lie %.2f to %.2f mm apart; use Volume.places, or "
                "resampled(), before measuring", folder, steps.min(), steps.max(),
            )  # fmt: skip
    _report_sideways(folder, slices, strict)
    return gaps


def _refuse_twins(folder: PathLike, slices: Sequence[Slice]) -> None:
    for first, second in pairwise(slices):
        if second.along - first.along < 1e-3:
            raise ImageReadError(
                f"{folder}: two slices lie at the same place ({first.path.name} frame "
                f"{first.frame} and {second.path.name} frame {second.frame}); the folder holds a "
                "copy or several time points, so keep one of each."
            )


def gaps_between(places: Vector) -> tuple[int, ...]:
    """Return the slices after which one or more are missing, by the usual distance."""
    steps = np.diff(places)
    if len(steps) < 2:
        return ()
    usual = float(np.median(steps))
    return tuple(int(at) for at in np.flatnonzero(steps > 1.5 * usual))


def _report_gaps(
    folder: PathLike, slices: Sequence[Slice], gaps: tuple[int, ...], strict: bool
) -> None:
    first = gaps[0]
    words = (
        f"{folder}: slices are missing at {len(gaps)} place(s), the first between "
        f"{slices[first].path.name} at {slices[first].along:.1f} mm and "
        f"{slices[first + 1].path.name} at {slices[first + 1].along:.1f} mm"
    )
    if strict:
        raise ImageReadError(f"{words}; copy the whole series, or read it with strict=False.")
    _log.warning("%s; resampling would interpolate across", words)


def _report_sideways(folder: PathLike, slices: Sequence[Slice], strict: bool) -> None:
    """Say when slices are sheared, as by a tilted gantry, or some lie beside the others."""
    if len(slices) < 2:
        return
    normal, along = slices[0].normal, np.array([item.along for item in slices])
    positions = np.array([item.position for item in slices])
    aside = positions - positions[0]
    aside = aside - (aside @ normal)[:, None] * normal
    # A tilt moves every slice by the same amount a millimetre; the median is that of most.
    share = np.median(np.diff(aside, axis=0) / np.diff(along)[:, None], axis=0)
    off = aside - np.outer(along - along[0], share)
    off = np.linalg.norm(off - np.median(off, axis=0), axis=1)
    shear = float(np.linalg.norm(share) * (along[-1] - along[0]))
    if shear > 0.01 * (along[-1] - along[0]) + 0.1:
        _log.warning(
            "%s: the slices are shifted sideways by %.1f mm (a tilted gantry); "
            "the volume is sheared by as much", folder, shear,
        )  # fmt: skip
    odd = [item.path.name for item, gap in zip(slices, off, strict=True) if gap > 0.5]
    if odd:
        words = (
            f"{folder}: {len(odd)} slice(s) lie up to {off.max():.1f} mm beside the line of the "
            f"others, so they may be of another scan: {shorten(sorted(set(odd)))}"
        )
        if strict:
            raise ImageReadError(f"{words}; take them away, or read with strict=False.")
        _log.warning("%s", words)

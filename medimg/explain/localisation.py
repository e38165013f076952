"""Do maps point at the lesion? Three tests against true masks, each with its chance level."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medimg.errors import MetricsError
from medimg.explain.patients import Values, mean_by_patient, patient_codes
from medimg.metrics import Estimate, share_by_patient

Maps = npt.NDArray[Any]
Masks = npt.NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class Localisation:
    """A test of maps against masks, over the images that have a lesion.

    Attributes
    ----------
    test : str
        Its name.
    estimate : Estimate
        Mean over the images, with its interval by patient.
    chance : float
        What a map that knows nothing would get, from the lesions' areas.
    per_image : float64 array (M,)
        In the order of the images with a lesion.
    """

    test: str
    estimate: Estimate
    chance: float
    per_image: Values = field(compare=False)

    def __repr__(self) -> str:
        return f"{self.test} {self.estimate!r}, chance {self.chance:.3f}, n = {len(self.per_image)}"


def pointing_game(
    maps: Maps, masks: Masks, *, patient_ids: Sequence[str] | None = None
) -> Localisation:
    """Count how often the strongest place of the map lies inside the lesion.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map an image.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Whose image it is; intervals are by patient.

    Returns
    -------
    Localisation
        Wilson's interval. Chance is the lesions' mean share of the image.

    Raises
    ------
    MetricsError
        Shapes that differ, a NaN in a map, or no lesion at all.

    Notes
    -----
    Where several places tie for the strongest, their share inside the lesion counts; a map without
    any preference therefore gets chance, not a lucky or unlucky corner.

    Chance by area is a low bar where lesions fill much of both lungs: there, any map that knows
    where lungs lie hits. The game with the maps of other patients, ``np.roll(maps, 1, axis=0)``,
    shows how much that alone is worth.

    References
    ----------
    Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018.

    Examples
    --------
    >>> masks = np.zeros((2, 2, 5), bool)
    >>> masks[:, 0, :2] = True
    >>> maps = np.zeros((2, 2, 5))
    >>> maps[0, 0, 1] = maps[1, 1, 1] = 1.0  # one inside, one below
    >>> pointing_game(maps, masks)
    pointing game 0.500 (0.095 to 0.905), chance 0.200, n = 2
    """
    maps, masks, patients = _with_lesion(maps, masks, patient_ids)
    strongest = maps == maps.max(axis=1, keepdims=True)
    hits = (strongest & masks).sum(axis=1) / strongest.sum(axis=1)
    estimate = share_by_patient(hits, patients)
    return Localisation("pointing game", estimate, float(_area(masks).mean()), hits)


def iou_at_matched_area(
    maps: Maps,
    masks: Masks,
    *,
    patient_ids: Sequence[str] | None = None,
    rng: np.random.Generator | None = None,
) -> Localisation:
    """Cut each map so that it covers as many pixels as the lesion; return their overlap.

    The matched area takes the choice of a threshold away, on which the usual overlap depends.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map an image.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Whose image it is; intervals are by patient.
    rng : numpy.random.Generator, optional
        For the bootstrap; a fixed one by default.

    Returns
    -------
    Localisation
        Intersection over union. Chance is a / (2 - a) for a lesion of share a of the image: what
        a region of the same area gets that is laid anywhere.

    Raises
    ------
    MetricsError
        Shapes that differ, a NaN in a map, or no lesion at all.

    Examples
    --------
    >>> masks = np.array([[[True, True, False, False]]])
    >>> maps = np.array([[[0.1, 0.9, 0.8, 0.0]]])  # the two strongest: one in, one out
    >>> float(iou_at_matched_area(maps, masks).per_image[0].round(3))
    0.333
    """
    maps, masks, patients = _with_lesion(maps, masks, patient_ids)
    overlaps = np.array([_overlap(heat, mask) for heat, mask in zip(maps, masks, strict=True)])
    area = masks.sum(axis=1)
    iou = overlaps / (2 * area - overlaps)
    share = _area(masks)
    chance = float((share / (2 - share)).mean())
    return Localisation("IoU at matched area", mean_by_patient(iou, patients, rng=rng), chance, iou)


def energy_inside(
    maps: Maps,
    masks: Masks,
    *,
    patient_ids: Sequence[str] | None = None,
    rng: np.random.Generator | None = None,
) -> Localisation:
    """Return the share of the map's sum that lies inside the lesion.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map an image, not negative.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Whose image it is; intervals are by patient.
    rng : numpy.random.Generator, optional
        For the bootstrap; a fixed one by default.

    Returns
    -------
    Localisation
        Chance is the lesions' mean share of the image, which an even map gets; a map of zeros
        counts as even.

    Raises
    ------
    MetricsError
        Shapes that differ, a NaN or a negative value in a map, or no lesion at all.

    References
    ----------
    Wang et al., "Score-CAM", CVPR workshops 2020 (energy-based pointing game).

    Examples
    --------
    >>> masks = np.array([[[True, True, False, False]]])
    >>> energy_inside(np.array([[[3.0, 0.0, 1.0, 0.0]]]), masks).per_image
    array([0.75])
    """
    maps, masks, patients = _with_lesion(maps, masks, patient_ids)
    if maps.min() < 0:
        raise MetricsError(
            f"a map has the value {maps.min():.3g}; energy needs maps that are not negative: "
            "use numpy.maximum(maps, 0), or the absolute value."
        )
    total = maps.sum(axis=1)
    inside = (maps * masks).sum(axis=1)
    share = _area(masks)
    energy = np.where(total > 0, inside / np.where(total > 0, total, 1), share)
    estimate = mean_by_patient(energy, patients, rng=rng)
    return Localisation("energy inside", estimate, float(share.mean()), energy)


def _with_lesion(
    maps: Maps, masks: Masks, patient_ids: Sequence[str] | None
) -> tuple[Values, Masks, npt.NDArray[np.int64]]:
    """Check, then return maps and masks (M, H * W) of the images with a lesion, and patients."""
    maps, masks = np.asarray(maps), np.asarray(masks)
    if maps.ndim != 3 or maps.shape != masks.shape or masks.dtype != bool:
        raise MetricsError(
            f"maps {maps.shape} and masks {masks.shape} ({masks.dtype}): both must be (N, H, W), "
            "and the masks bool."
        )
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if bad.size:
        raise MetricsError(f"map {bad[0]} has a value that is not finite; make it again.")
    lesion = masks.any(axis=(1, 2))
    if not lesion.any():
        raise MetricsError("No mask shows a lesion; give masks of diseased images.")
    patients = patient_codes(patient_ids, len(maps))[lesion]
    codes = np.unique(patients, return_inverse=True)[1].astype(np.int64)
    flat = (int(lesion.sum()), -1)
    return maps[lesion].reshape(flat).astype(np.float64), masks[lesion].reshape(flat), codes


def _area(masks: Masks) -> Values:
    """Share of the image that each lesion covers."""
    share: Values = masks.mean(axis=1)
    return share


def _overlap(heat: Values, mask: Masks) -> float:
    """Pixels shared by the lesion and the map's strongest ones, as many as the lesion has.

    Pixels that tie at the cut are taken in part, so that an even map gets its expected overlap.
    """
    area = int(mask.sum())
    cut = np.partition(heat, -area)[-area]
    above, tied = heat > cut, heat == cut
    part = (area - above.sum()) / tied.sum()
    return float((above & mask).sum() + part * (tied & mask).sum())

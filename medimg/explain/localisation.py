"""Do maps point at the lesion? Three tests against true masks, each with its chance level."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from medimg.errors import MetricsError
from medimg.metrics import Estimate, mean_by_patient, patient_codes, share_by_patient

Values = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Patients = Sequence[Any] | npt.NDArray[Any] | None


@dataclass(frozen=True, repr=False)
class MapTest:
    """What a test says of some maps.

    Attributes
    ----------
    test : str
        Its name.
    estimate : Estimate
        Mean over the images, with its interval by patient.
    chance : float
        What a map that knows nothing would get.
    per_image : float64 array (M,)
        One value per image; tests against masks leave out the images without a lesion.
    """

    test: str
    estimate: Estimate
    chance: float
    per_image: Values = field(compare=False)

    def __repr__(self) -> str:
        return f"{self.test} {self.estimate!r}, chance {self.chance:.3f}, n = {len(self.per_image)}"


def pointing_game(maps: npt.ArrayLike, masks: Masks, *, patient_ids: Patients = None) -> MapTest:
    """Count how often the strongest place of the map lies inside the lesion.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map per image.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Patient of each image; intervals are by patient.

    Returns
    -------
    MapTest
        With Wilson's interval. Chance is the lesions' mean share of the image.

    Raises
    ------
    MetricsError
        Shapes that differ, a NaN in a map, or no lesion at all.

    Notes
    -----
    Where several places tie for the strongest, their share inside the lesion counts; a map without
    any preference therefore gets chance, not a lucky or unlucky corner.

    Chance by area is a low bar where lesions fill much of both lungs: there, any map that shows
    the lungs hits. The game with the maps of other patients, ``np.roll(maps, 1, axis=0)``, shows
    how much that alone is worth.

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
    heat, masks, patients = _with_lesion(maps, masks, patient_ids)
    strongest = heat == heat.max(axis=1, keepdims=True)
    hits = (strongest & masks).sum(axis=1) / strongest.sum(axis=1)
    return MapTest("pointing game", share_by_patient(hits, patients), float(masks.mean()), hits)


def iou_at_matched_area(
    maps: npt.ArrayLike, masks: Masks, *, patient_ids: Patients = None
) -> MapTest:
    """Cut each map so that it covers as many pixels as the lesion; return their overlap.

    The usual overlap depends on the choice of a threshold; matching the area removes that choice.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map per image.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Patient of each image; intervals are by patient.

    Returns
    -------
    MapTest
        Intersection over union. Chance is a / (2 - a) for a lesion of share a of the image: what
        a region of the same area gets at a place drawn at random.

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
    heat, masks, patients = _with_lesion(maps, masks, patient_ids)
    overlaps = np.array([_overlap(one, mask) for one, mask in zip(heat, masks, strict=True)])
    iou = overlaps / (2 * masks.sum(axis=1) - overlaps)
    share = masks.mean(axis=1)
    chance = float((share / (2 - share)).mean())
    return MapTest("IoU at matched area", mean_by_patient(iou, patients), chance, iou)


def energy_inside(maps: npt.ArrayLike, masks: Masks, *, patient_ids: Patients = None) -> MapTest:
    """Return the share of the map's sum that lies inside the lesion.

    Parameters
    ----------
    maps : float array (N, H, W)
        One map per image, not negative.
    masks : bool array (N, H, W)
        True lesion; images without one are left out.
    patient_ids : sequence of N str, optional
        Patient of each image; intervals are by patient.

    Returns
    -------
    MapTest
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
    heat, masks, patients = _with_lesion(maps, masks, patient_ids)
    if heat.min() < 0:
        raise MetricsError(
            f"a map has the value {heat.min():.3g}; energy needs maps that are not negative: "
            "use numpy.maximum(maps, 0), or the absolute value."
        )
    total, inside = heat.sum(axis=1), (heat * masks).sum(axis=1)
    share = masks.mean(axis=1)
    energy = np.where(total > 0, inside / np.where(total > 0, total, 1), share)
    return MapTest("energy inside", mean_by_patient(energy, patients), float(share.mean()), energy)


TESTS = (pointing_game, iou_at_matched_area, energy_inside)


def _with_lesion(
    maps: npt.ArrayLike, masks: Masks, patient_ids: Patients
) -> tuple[Values, Masks, npt.NDArray[np.int64]]:
    """Check, then return maps and masks (M, H * W) of the images with a lesion, and patients."""
    heat, masks = np.asarray(maps), np.asarray(masks)
    if heat.ndim != 3 or heat.shape != masks.shape or masks.dtype != bool:
        raise MetricsError(
            f"maps {heat.shape} and masks {masks.shape} ({masks.dtype}): both must be (N, H, W), "
            "and the masks bool."
        )
    bad = np.flatnonzero(~np.isfinite(heat).all(axis=(1, 2)))
    if bad.size:
        raise MetricsError(f"map {bad[0]} has a value that is not finite; make it again.")
    lesion = masks.any(axis=(1, 2))
    if not lesion.any():
        raise MetricsError("No mask shows a lesion; give masks of images with the disease.")
    flat, spots = (part[lesion].reshape(lesion.sum(), -1) for part in (heat, masks))
    return flat.astype(np.float64), spots, patient_codes(patient_ids, len(heat))[lesion]


def _overlap(heat: Values, mask: Masks) -> float:
    """Pixels shared by the lesion and the map's strongest ones, as many as the lesion has.

    Pixels that tie at the cut are taken in part, so that an even map gets its expected overlap.
    """
    area = int(mask.sum())
    cut = np.partition(heat, -area)[-area]
    above, tied = heat > cut, heat == cut
    part = (area - above.sum()) / tied.sum()
    return float((above & mask).sum() + part * (tied & mask).sum())

"""Every method against every test, and against maps that never saw the network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter, sobel
from torch import nn

from medimg.errors import MetricsError
from medimg.explain.faithfulness import road
from medimg.explain.inspection import check_images, unit_range
from medimg.explain.localisation import (
    energy_inside,
    iou_at_matched_area,
    pointing_game,
)
from medimg.explain.maps import explain
from medimg.explain.patients import mean_by_patient, patient_codes
from medimg.explain.sanity import agreement, randomise_weights
from medimg.metrics import Estimate

BASELINES = ("centre", "edges")
ROAD_IMAGES = 32
"""ROAD fills in removed pixels by a large linear system, about a second an image."""
Maps = npt.NDArray[np.float32]
Result = tuple[str, Estimate, float]
"""Name of the test, what the method got, and what chance gets."""


def baseline_maps(images: npt.NDArray[Any], *, kind: str) -> Maps:
    """Return maps that no network made: what an explanation has to beat.

    Parameters
    ----------
    images : uint8 or float32 array (N, H, W)
        The images.
    kind : {"centre", "edges"}
        A bell in the middle of every image, or the image's own blurred edges.

    Returns
    -------
    float32 array (N, H, W)
        In [0, 1].

    Raises
    ------
    MetricsError
        Another kind.

    Examples
    --------
    >>> baseline_maps(np.zeros((1, 3, 3), np.uint8), kind="centre")[0].round(1)
    array([[0. , 0.3, 0. ],
           [0.3, 1. , 0.3],
           [0. , 0.3, 0. ]], dtype=float32)
    """
    images = check_images(images)
    n, height, width = images.shape
    if kind == "centre":
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        return unit_range(np.tile(np.exp(-(x**2 + y**2)), (n, 1, 1)))
    if kind == "edges":
        values = images.astype(np.float32)
        edges = np.hypot(sobel(values, axis=1), sobel(values, axis=2))
        sigma = min(height, width) / 40
        return unit_range(gaussian_filter(edges, (0, sigma, sigma)))
    raise MetricsError(f"There is no baseline {kind!r}; choose one of {BASELINES}.")


def compare_methods(
    model: nn.Module,
    images: npt.NDArray[Any],
    masks: npt.NDArray[np.bool_],
    *,
    methods: Sequence[str] = ("gradcam", "hirescam", "layercam", "eigencam"),
    target: int = 1,
    patient_ids: Sequence[str] | None = None,
    others: Sequence[nn.Module] = (),
) -> pd.DataFrame:
    """Put every method to every test, on the images that have a lesion (ROAD: the first 32).

    Parameters
    ----------
    model : torch.nn.Module
        A trained network.
    images : uint8 or float32 array (N, H, W)
        Images of a test set.
    masks : bool array (N, H, W)
        True lesions; images without one are left out.
    methods : sequence of str
        As in :func:`explain`.
    target : int
        Class to explain, the disease.
    patient_ids : sequence of N str, optional
        Whose image it is; intervals are by patient.
    others : sequence of torch.nn.Module
        The same network trained from other seeds, for the agreement across seeds.

    Returns
    -------
    pandas.DataFrame
        One row a method and test: ``method, test, estimate`` (Estimate), ``value, low, high,
        chance``. Of the tests, pointing game, IoU at matched area, energy inside, ROAD and
        agreement across seeds should be high; the two of the network with randomised weights
        should be near chance. The methods ``centre`` and ``edges`` never saw the network.

    Raises
    ------
    MetricsError
        When no mask shows a lesion.
    """
    lesion = np.asarray(masks).any(axis=(1, 2))
    if not lesion.any():
        raise MetricsError("No mask shows a lesion; give masks of diseased images.")
    images, masks = check_images(images)[lesion], masks[lesion]
    who = None if patient_ids is None else np.asarray(patient_ids)[lesion].tolist()
    forgetful = randomise_weights(model)
    rows: list[tuple[str, str, Estimate, float]] = []
    for method in (*methods, *BASELINES):
        if method in BASELINES:
            maps, results = baseline_maps(images, kind=method), []
        else:
            maps, blind, *same = (
                explain(net, images, method=method, target=target)
                for net in (model, forgetful, *others)
            )
            results = _against_others(maps, blind, same, masks, who)
        for test in (pointing_game, iou_at_matched_area, energy_inside):
            found = test(maps, masks, patient_ids=who)
            rows.append((method, found.test, found.estimate, found.chance))
        few = slice(ROAD_IMAGES)
        faithful = road(
            model,
            images[few],
            maps[few],
            target=target,
            patient_ids=None if who is None else who[few],
        )
        rows.append((method, "ROAD", faithful.estimate, 0.0))
        rows += [(method, *result) for result in results]
    return _table(rows)


def _against_others(
    maps: Maps,
    blind: Maps,
    same: Sequence[Maps],
    masks: npt.NDArray[np.bool_],
    who: Sequence[str] | None,
) -> list[Result]:
    pointing = pointing_game(blind, masks, patient_ids=who)
    results = [
        ("pointing game, randomised", pointing.estimate, pointing.chance),
        ("agreement, randomised", agreement(maps, blind, patient_ids=who).estimate, 0.0),
    ]
    if same:
        each = np.mean([agreement(maps, other).per_image for other in same], axis=0)
        alike = mean_by_patient(each, patient_codes(who, len(maps)))
        results.append(("agreement across seeds", alike, 0.0))
    return results


def _table(rows: Sequence[tuple[str, str, Estimate, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": method,
                "test": test,
                "estimate": estimate,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "chance": chance,
            }
            for method, test, estimate, chance in rows
        ]
    )

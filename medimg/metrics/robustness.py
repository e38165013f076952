"""How fast the metrics fall when images get worse: noise, blur, contrast, rotation, exposure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medimg.errors import MetricsError
from medimg.metrics.binary import shares
from medimg.metrics.checks import Floats
from medimg.metrics.estimates import rows
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import auc
from medimg.metrics.thresholds import Threshold, as_threshold
from medimg.progress import tqdm

Images = NDArray[np.uint8]

STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = {
    "noise": (5.0, 10.0, 20.0, 40.0),
    "blur": (0.5, 1.0, 2.0, 4.0),
    "contrast": (0.8, 0.6, 0.4, 0.2),
    "rotation": (3.0, 7.0, 15.0, 30.0),
    "exposure": (0.9, 0.75, 0.5, 0.35),
}
"""Rising strengths; see `corrupt` for what the numbers mean."""

UNITS: Final[Mapping[str, str]] = {
    "noise": "SD, grey levels of 255",
    "blur": "SD, % of width",
    "contrast": "factor",
    "rotation": "degrees",
    "exposure": "gamma",
}


def corrupt(
    images: Images, kind: str, strength: float, *, rng: np.random.Generator | None = None
) -> Images:
    """Make images worse in one way.

    Parameters
    ----------
    images : uint8 array, (N, H, W)
        Left as they are.
    kind : {"noise", "blur", "contrast", "rotation", "exposure"}
        Noise: Gaussian, its standard deviation in grey levels. Blur: Gaussian, its standard
        deviation in per cent of the image's width, so that it means the same at any size.
        Contrast: factor about the image's own mean. Rotation: degrees, corners filled with the
        nearest edge. Exposure: gamma of the grey levels, below 1 brighter, above 1 darker.
    strength : float
        How much, in the unit of the kind.
    rng : numpy.random.Generator, optional
        For the noise; by default seeded with 0.

    Returns
    -------
    uint8 array, (N, H, W)
        The worse images.

    Raises
    ------
    MetricsError
        When images are not uint8 (N, H, W), or the kind is not known.

    Examples
    --------
    >>> corrupt(np.array([[[0, 100, 200]]], np.uint8), "contrast", 0.5)
    array([[[ 50, 100, 150]]], dtype=uint8)
    """
    if images.dtype != np.uint8 or images.ndim != 3:
        raise MetricsError(
            f"images are {images.dtype} of shape {images.shape}; expected uint8 (N, H, W)"
        )
    if kind not in STRENGTHS:
        raise MetricsError(f"corruption {kind!r} is not known; expected {', '.join(STRENGTHS)}")
    values: Floats = images.astype(np.float32)
    if kind == "noise":
        rng = np.random.default_rng(0) if rng is None else rng
        values = values + strength * rng.standard_normal(values.shape, dtype=np.float32)
    elif kind == "blur":
        sigma = strength / 100 * images.shape[2]
        values = ndimage.gaussian_filter(values, sigma=(0, sigma, sigma))
    elif kind == "contrast":
        mean = values.mean(axis=(1, 2), keepdims=True)
        values = mean + strength * (values - mean)
    elif kind == "rotation":
        values = ndimage.rotate(values, strength, axes=(2, 1), reshape=False, order=1,
                                mode="nearest")  # fmt: skip
    else:
        values = 255 * (values / 255) ** strength
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def robustness(
    predict_fn: Callable[[Images], NDArray[Any]],
    images: Images,
    y_true: ArrayLike,
    *,
    threshold: float | Threshold,
    patient_ids: Sequence[str] | None = None,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """Measure a two-class model on images made worse, step by step.

    Parameters
    ----------
    predict_fn : callable
        Takes uint8 images (N, H, W) and returns P(class 1), shape (N,).
    images : uint8 array, (N, H, W)
        The test set.
    y_true : array-like of int, (N,)
        The truth: 0 healthy, 1 diseased.
    threshold : float or Threshold
        The one in use; it is not chosen anew for worse images, as no one would at the bedside.
    patient_ids : sequence of N str, optional
        Whose image it is; intervals are by patient.
    strengths : mapping of str to sequence of float
        Kinds of `corrupt`, each with rising strengths.
    rng : numpy.random.Generator, optional
        For the noise; by default seeded with 0.

    Returns
    -------
    DataFrame
        One row a kind, level and metric: ``kind, level`` (0 is the untouched image), ``strength,
        unit, metric, value, low, high, reason``; metrics are AUC, sensitivity and specificity,
        with 95 % intervals.

    Raises
    ------
    MetricsError
        When the arrays do not match or a kind is not known.
    """
    unknown = [kind for kind in strengths if kind not in STRENGTHS]
    if unknown:
        raise MetricsError(
            f"corruption {unknown[0]!r} is not known; expected {', '.join(STRENGTHS)}"
        )
    cut = as_threshold(threshold).value
    ids = [str(i) for i in range(len(images))]
    rng = np.random.default_rng(0) if rng is None else rng

    def measured(worse: Images) -> list[list[Any]]:
        predictions = Predictions(ids, y_true, predict_fn(worse), patient_ids)
        part = shares(rows(predictions), cut)
        found = {"auc": auc(predictions), **{m: part[m] for m in ("sensitivity", "specificity")}}
        return [[m, e.value, e.low, e.high, e.reason] for m, e in found.items()]

    untouched = measured(images)
    table = []
    steps = [(kind, i + 1, s) for kind in strengths for i, s in enumerate(strengths[kind])]
    for kind in strengths:
        table += [[kind, 0, np.nan, UNITS[kind], *line] for line in untouched]
    for kind, step, strength in tqdm(steps, desc="robustness", leave=False):
        worse = corrupt(images, kind, strength, rng=rng)
        table += [[kind, step, strength, UNITS[kind], *line] for line in measured(worse)]
    names = ["kind", "level", "strength", "unit", "metric", "value", "low", "high", "reason"]
    return pd.DataFrame(table, columns=names).sort_values(
        ["kind", "level"], kind="stable", ignore_index=True
    )

"""The two-by-two table of a threshold, and every metric that is read from it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy.stats.contingency import relative_risk

from medimg.metrics.bootstrap import bootstrap_counts
from medimg.metrics.checks import Bools, Floats
from medimg.metrics.estimates import (
    Estimate,
    Rows,
    mover_difference,
    proportion,
    rows,
    undefined,
    wilson,
)
from medimg.metrics.predictions import Predictions

WHY_EMPTY: Final = {
    "sensitivity": "no positive image",
    "specificity": "no negative image",
    "ppv": "no image was called positive",
    "npv": "no image was called negative",
}


def cells(data: Rows, threshold: float) -> Floats:
    """Weight that each image adds to tp, fp, fn, tn: shape (N, 4)."""
    called = data.score >= threshold
    table = np.stack(
        [data.positive & called, ~data.positive & called, data.positive & ~called,
         ~data.positive & ~called], axis=1,
    )  # fmt: skip
    return table * data.weight[:, None]


def shares(data: Rows, threshold: float, *, level: float = 0.95) -> dict[str, Estimate]:
    """Sensitivity, specificity, PPV and NPV at a threshold, each with Wilson's interval."""
    return shares_of_calls(data, data.score >= threshold, level=level)


def shares_of_calls(data: Rows, called: Bools, *, level: float = 0.95) -> dict[str, Estimate]:
    """Sensitivity, specificity, PPV and NPV of the images that were called positive."""
    hit = called == data.positive
    groups = {
        "sensitivity": data.positive,
        "specificity": ~data.positive,
        "ppv": called,
        "npv": ~called,
    }
    return {
        name: proportion(hit, group, data.weight, data.cluster, level=level)
        if group.any()
        else undefined(WHY_EMPTY[name], level=level)
        for name, group in groups.items()
    }


def table_metrics(
    predictions: Predictions, threshold: float, *, level: float, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Every metric of the two-by-two table at a threshold."""
    data = rows(predictions)
    if len(data.score) == 0:
        nothing = undefined("every image has weight 0", level=level)
        names = ("prevalence", "accuracy", "balanced_accuracy", *WHY_EMPTY, "f1", "lr_positive",
                 "lr_negative", "mcc")  # fmt: skip
        return dict.fromkeys(names, nothing)
    part = shares(data, threshold, level=level)
    everyone = np.ones(len(data.score), dtype=bool)
    called = data.score >= threshold
    hit = called == data.positive
    counts = cells(data, threshold)

    def share(values: Bools) -> Estimate:
        return proportion(values, everyone, data.weight, data.cluster, level=level)

    return {
        "prevalence": share(data.positive),
        "accuracy": share(hit),
        "balanced_accuracy": _balanced(part, data, counts, level=level, rng=rng),
        **part,
        "f1": f1_of_calls(data, called, level=level),
        "lr_positive": _ratio(counts, data, positive=True, level=level, rng=rng),
        "lr_negative": _ratio(counts, data, positive=False, level=level, rng=rng),
        "mcc": _mcc(counts, data, level=level, rng=rng),
    }


def f1_of_calls(data: Rows, called: Bools, *, level: float = 0.95) -> Estimate:
    """F1 through the share TP / (TP + FP + FN), of which it is a rising function.

    So Wilson's interval of the share gives that of F1 ("Wilson indirect"; Lam, Gopal and Qian
    2023, arXiv:2309.14621), also where F1 is 0 or 1 and a bootstrap says nothing.
    """
    counted = data.positive | called
    if not counted.any():
        return undefined("no positive image and none called positive", level=level)
    j = proportion(data.positive & called, counted, data.weight, data.cluster, level=level)
    value, low, high = (2 * x / (1 + x) for x in (j.value, j.low, j.high))
    return Estimate(value, low, high, level, f"{j.method}, through TP/(TP+FP+FN)")


def _balanced(
    part: dict[str, Estimate], data: Rows, counts: Floats, *, level: float,
    rng: np.random.Generator,
) -> Estimate:  # fmt: skip
    """Mean of sensitivity and specificity: they are independent when no patient is in both."""
    se, sp = part["sensitivity"], part["specificity"]
    for estimate in (se, sp):
        if math.isnan(estimate.value):
            return estimate
    shared = np.intersect1d(data.cluster[data.positive], data.cluster[~data.positive])
    if len(shared):
        return bootstrap_counts(
            lambda c: (c[:, 0] / (c[:, 0] + c[:, 2]) + c[:, 3] / (c[:, 1] + c[:, 3])) / 2,
            counts, data.cluster, level=level, rng=rng,
        )  # fmt: skip
    sum_less_one = mover_difference(se, Estimate(1 - sp.value, 1 - sp.high, 1 - sp.low, level))
    value, low, high = (
        (x + 1) / 2 for x in (sum_less_one.value, sum_less_one.low, sum_less_one.high)
    )
    return Estimate(value, low, high, level, f"square-and-add of {se.method}")


def _ratio(
    counts: Floats, data: Rows, *, positive: bool, level: float, rng: np.random.Generator
) -> Estimate:
    """LR+ = P(called | diseased) / P(called | healthy); LR- the same for "not called".

    One image a patient: the log method (Simel, Samsa and Matchar 1991), by SciPy's relative risk.
    """
    tp, fp, fn, tn = (float(x) for x in counts.sum(axis=0))
    top, bottom = (tp, fp) if positive else (fn, tn)
    if tp + fn == 0 or fp + tn == 0:
        return undefined(f"no {'positive' if tp + fn == 0 else 'negative'} image", level=level)
    if bottom == 0:
        what = "false positive" if positive else "true negative"
        return undefined(f"no {what}, so that the ratio would divide by 0", level=level)
    if data.simple and top > 0:
        result = relative_risk(int(top), int(tp + fn), int(bottom), int(fp + tn))
        bounds = result.confidence_interval(level)
        return Estimate(result.relative_risk, bounds.low, bounds.high, level, "log method (Simel)")
    if data.simple:
        # No hit on top: the log is minus infinity. The ratio's upper bound then is that of the
        # numerator's Wilson interval over the denominator as observed.
        high = wilson(0, tp + fn, level=level).high / (bottom / (fp + tn))
        return Estimate(0.0, 0.0, high, level, "Wilson bound of the numerator")
    i, j, k, m = (0, 2, 1, 3) if positive else (2, 0, 3, 1)
    return bootstrap_counts(
        lambda c: (c[:, i] / (c[:, i] + c[:, j])) / (c[:, k] / (c[:, k] + c[:, m])),
        counts, data.cluster, level=level, rng=rng,
    )  # fmt: skip


def mcc_of_counts(c: Floats) -> Floats:
    """Matthews correlation coefficient of sums (B, 4) of tp, fp, fn, tn; NaN where undefined."""
    tp, fp, fn, tn = c.T
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    with np.errstate(divide="ignore", invalid="ignore"):
        value: Floats = np.where(product > 0, (tp * tn - fp * fn) / np.sqrt(product), np.nan)
    return value


def _mcc(counts: Floats, data: Rows, *, level: float, rng: np.random.Generator) -> Estimate:
    total = counts.sum(axis=0)
    if math.isnan(float(mcc_of_counts(total[None])[0])):
        return undefined("a row or column of the confusion matrix is empty", level=level)
    return bootstrap_counts(mcc_of_counts, counts, data.cluster, level=level, rng=rng)

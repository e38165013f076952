"""More than two classes: each against the rest, means over classes, agreement of grades."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from medimg.errors import MetricsError
from medimg.metrics.binary import f1_of_calls, shares_of_calls
from medimg.metrics.bootstrap import bootstrap_counts
from medimg.metrics.checks import Floats, check_level
from medimg.metrics.estimates import Estimate, clusters, proportion, rows, undefined
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import auc, auc_interval, auc_parts
from medimg.metrics.result import Evaluation, confusion_matrix


def evaluate_multiclass(
    predictions: Predictions, *, ordinal: bool, level: float, rng: np.random.Generator
) -> Evaluation:
    """Compute all metrics of K > 2 classes; the predicted class is the likeliest one.

    Means over classes are "macro" (each class counts alike) and "weighted" (by how many images
    truly are of that class). A mean is not defined when one of its classes is not: leaving that
    class out, as other tools do, would compare models on different classes.
    """
    weight, cluster, kept = clusters(predictions)
    truth, called = predictions.y_true[kept], predictions.predicted()[kept]
    matrix = confusion_matrix(predictions)
    size = len(predictions.classes)
    flat = np.zeros((len(truth), size * size))
    flat[np.arange(len(truth)), truth * size + called] = weight
    everyone = np.ones(len(truth), dtype=bool)
    estimates = {"accuracy": proportion(truth == called, everyone, weight, cluster, level=level)}
    for name, (statistic, reason) in _statistics(size, ordinal=ordinal).items():
        total = float(_safe(statistic, flat.sum(axis=0)[None])[0]) if len(flat) else math.nan
        if math.isnan(total):
            estimates[name] = undefined(_why(matrix, reason), level=level)
        else:
            estimates[name] = bootstrap_counts(statistic, flat, cluster, level=level, rng=rng)
    for name, average in (("auc_macro", "macro"), ("auc_weighted", "weighted")):
        estimates[name] = mean_auc(predictions, average=average, level=level)
    warnings = []
    smallest = int(matrix.to_numpy().sum(axis=1).min())
    if smallest < 30:
        warnings.append(f"only {smallest} images in the smallest class; read the intervals first")
    if predictions.patient_ids is None:
        warnings.append("patients are not known, so each image was taken as a patient of its own")
    return Evaluation(
        estimates, matrix, len(predictions), predictions.n_patients, None,
        one_against_rest(predictions, level=level), tuple(warnings),
    )  # fmt: skip


def one_against_rest(predictions: Predictions, *, level: float = 0.95) -> pd.DataFrame:
    """Metrics of each class against all others.

    Parameters
    ----------
    predictions : Predictions
        Of more than two classes; the likeliest class is the call.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    DataFrame
        One row a class and metric: ``class, n, metric, estimate`` (an `Estimate`), ``value, low,
        high, reason``; metrics are sensitivity, specificity, PPV, NPV, F1 and AUC.

    Raises
    ------
    MetricsError
        When the level is out of range.
    """
    check_level(level)
    called = predictions.predicted()
    table = []
    for k, name in enumerate(predictions.classes):
        alone = predictions.one_vs_rest(k)
        data = rows(alone)
        kept = np.ones(len(called), bool) if alone.weights is None else alone.weights > 0
        as_k = called[kept] == k
        found = shares_of_calls(data, as_k, level=level)
        found["f1"] = f1_of_calls(data, as_k, level=level)
        found["auc"] = auc(alone, level=level)
        n = int(data.positive.sum())
        table += [
            [name, n, metric, e, e.value, e.low, e.high, e.reason] for metric, e in found.items()
        ]
    return pd.DataFrame(
        table, columns=["class", "n", "metric", "estimate", "value", "low", "high", "reason"]
    )


def mean_auc(predictions: Predictions, *, average: str = "macro", level: float = 0.95) -> Estimate:
    """Mean of the one-against-rest AUCs, with DeLong's variance of the mean.

    What a patient adds to the error of the mean is the mean of what it adds to each AUC, so that
    the AUCs' dependence on the same images is accounted for. Class shares are taken as fixed.

    Parameters
    ----------
    predictions : Predictions
        Of more than two classes.
    average : {"macro", "weighted"}
        Each class counting alike, or by how many images truly are of it.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    Estimate
        In [0, 1], 0.5 by chance; not defined, with the reason, where a class is absent.

    Raises
    ------
    MetricsError
        When average or level are not known.

    References
    ----------
    DeLong ER, DeLong DM, Clarke-Pearson DL (1988) Biometrics 44:837-845.
    """
    check_level(level)
    if average not in ("macro", "weighted"):
        raise MetricsError(f"average {average!r} is not known; expected macro or weighted")
    weight, _, kept = clusters(predictions)
    size = len(predictions.classes)
    counts = np.bincount(predictions.y_true[kept], weights=weight, minlength=size)
    shares = counts / max(float(counts.sum()), 1e-300)
    if (shares == 0).any():
        absent = predictions.classes[int(np.argmin(shares))]
        return undefined(f"no image of class {absent!r}", level=level)
    parts = [auc_parts(rows(predictions.one_vs_rest(k))) for k in range(len(shares))]
    w = shares if average == "weighted" else np.full(len(shares), 1 / len(shares))
    value = float(np.dot(w, [v for v, _ in parts]))
    error = math.sqrt(float(np.sum(np.tensordot(w, np.stack([p for _, p in parts]), axes=1) ** 2)))
    if error < 1e-12:
        reason = "the AUCs show no variance, so that their mean has no DeLong interval"
        return Estimate(value, math.nan, math.nan, level, "DeLong", reason)
    return auc_interval(value, error, level=level, method=f"DeLong, {average} mean")


Statistic = Callable[[Floats], Floats]


def _statistics(size: int, *, ordinal: bool) -> dict[str, tuple[Statistic, str]]:
    """Functions from summed confusion matrices (B, K * K) to (B,), and what can undo each."""

    def square(c: Floats) -> Floats:
        return c.reshape(len(c), size, size)  # (B, true, predicted)

    def hits(c: Floats) -> Floats:
        return np.asarray(np.diagonal(square(c), axis1=1, axis2=2))

    def recalls(c: Floats) -> Floats:
        return np.asarray(hits(c) / square(c).sum(axis=2))

    def precisions(c: Floats) -> Floats:
        return np.asarray(hits(c) / square(c).sum(axis=1))

    def f1s(c: Floats) -> Floats:
        return np.asarray(2 * hits(c) / (square(c).sum(axis=1) + square(c).sum(axis=2)))

    def weighted(values: Statistic) -> Statistic:
        def mean(c: Floats) -> Floats:
            share = square(c).sum(axis=2)
            result: Floats = np.sum(values(c) * share, axis=1) / share.sum(axis=1)
            return result

        return mean

    def macro(values: Statistic) -> Statistic:
        return lambda c: np.mean(values(c), axis=1)

    no_truth, no_call, neither = "true", "predicted", "either"
    found: dict[str, tuple[Statistic, str]] = {
        "balanced_accuracy": (macro(recalls), no_truth),
        "recall_weighted": (weighted(recalls), no_truth),
        "precision_macro": (macro(precisions), no_call),
        "precision_weighted": (weighted(precisions), no_call),
        "f1_macro": (macro(f1s), neither),
        "f1_weighted": (weighted(f1s), neither),
        "mcc": (lambda c: _mcc(square(c)), "spread"),
        "kappa": (lambda c: _kappa(square(c), 0), "spread"),
    }
    if ordinal:
        found["kappa_quadratic"] = (lambda c: _kappa(square(c), 2), "spread")
    return found


def _safe(statistic: Statistic, counts: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistic(counts)


def _why(matrix: pd.DataFrame, kind: str) -> str:
    """Name the class that undoes a metric."""
    counts = matrix.to_numpy()
    true, called = counts.sum(axis=1), counts.sum(axis=0)
    if kind == "spread":
        return "all images are of one class, true or predicted"
    lacking = {"true": true, "predicted": called, "either": true + called}[kind] == 0
    name = str(matrix.index[int(np.argmax(lacking))])
    verb = {"true": "is of", "predicted": "was called", "either": "is of, or was called,"}[kind]
    return f"no image {verb} class {name!r}"


def _mcc(c: Floats) -> Floats:
    """Gorodkin's K-class correlation of matrices (B, K, K)."""
    n, right = c.sum(axis=(1, 2)), np.trace(c, axis1=1, axis2=2)
    true, called = c.sum(axis=2), c.sum(axis=1)
    spread = (n**2 - np.sum(true**2, axis=1)) * (n**2 - np.sum(called**2, axis=1))
    top = right * n - np.sum(true * called, axis=1)
    result: Floats = np.where(spread > 0, top / np.sqrt(np.maximum(spread, 0)), np.nan)
    return result


def _kappa(c: Floats, power: int) -> Floats:
    """Cohen's kappa of matrices (B, K, K); disagreement costs |i - j| to a power (0: always 1)."""
    k = np.arange(c.shape[1])
    cost = (k[:, None] != k).astype(float) if power == 0 else np.abs(k[:, None] - k) ** float(power)
    true, called = c.sum(axis=2), c.sum(axis=1)
    expected = true[:, :, None] * called[:, None, :] / true.sum(axis=1)[:, None, None]
    result: Floats = 1 - np.sum(cost * c, axis=(1, 2)) / np.sum(cost * expected, axis=(1, 2))
    return result

"""Decision curve: whether acting on the model does more good than treating all, or none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import ndtri

from medimg.errors import MetricsError
from medimg.metrics.checks import Bools, Floats, Ints, check_level
from medimg.metrics.estimates import rows
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import require_binary


def decision_curve(
    predictions: Predictions,
    *,
    thresholds: ArrayLike | None = None,
    prevalence: float | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit over threshold probabilities, by the dcurves package.

    Net benefit is TP/N - FP/N x t/(1-t): found patients, less false alarms at the rate at which a
    clinician who acts from risk t on would trade them. Scores must be calibrated for it to mean
    anything.

    Parameters
    ----------
    predictions : Predictions
        Of two classes, without weights; calibrated.
    thresholds : array-like, optional
        Threshold probabilities in (0, 1), in any order; by default 0.01 to 0.99.
    prevalence : float, optional
        In (0, 1): where the model will be used, if the test set was enriched; by default the test
        set's.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    DataFrame
        One row a threshold, rising: ``threshold, model, low, high, all, none``. The interval is the
        normal one by patient, given for the test set's own prevalence only (else NaN).

    Raises
    ------
    MetricsError
        When a threshold, the prevalence or the level is not between 0 and 1, when weights are
        given (dcurves has none) or when a class is missing.

    References
    ----------
    Vickers AJ, Elkin EB (2006) Med Decis Making 26:565-574.
    """
    from dcurves import dca  # slow to import, and needed here only

    require_binary(predictions)
    check_level(level)
    given = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, float)
    grid = np.unique(given)  # rising, each once, as dcurves returns them
    if len(grid) == 0 or not np.all((grid > 0) & (grid < 1)):
        raise MetricsError("thresholds of a decision curve must lie between 0 and 1, exclusive")
    if prevalence is not None and not 0 < prevalence < 1:
        raise MetricsError(f"prevalence is {prevalence}; expected a share between 0 and 1")
    data = rows(predictions)
    if not np.all(data.weight == 1):
        raise MetricsError("a decision curve takes no weights; leave them out of the predictions")
    if data.positive.all() or not data.positive.any():
        raise MetricsError("a decision curve needs images of both classes")
    table = pd.DataFrame({"truth": data.positive.astype(int), "model": data.score})
    found = dca(data=table, outcome="truth", modelnames=["model"], thresholds=grid.tolist(),
                prevalence=prevalence)  # fmt: skip
    wide = found.pivot_table(index="threshold", columns="model", values="net_benefit")
    result: pd.DataFrame = wide[["model", "all", "none"]].reset_index()
    result.columns.name = None
    half = np.full(len(grid), np.nan)
    if prevalence is None:
        half = float(ndtri(0.5 + level / 2)) * _errors(
            data.positive, data.score, data.cluster, grid
        )
    result.insert(2, "low", result["model"] - half)
    result.insert(3, "high", result["model"] + half)
    return result


def _errors(positive: Bools, score: Floats, cluster: Ints, grid: Floats) -> Floats:
    """Return the standard error of the net benefit, a mean over images, at each threshold."""
    n, patients = len(score), int(cluster.max()) + 1
    errors = np.empty(len(grid))
    for i, t in enumerate(grid):
        gain = (score >= t) * np.where(positive, 1.0, -t / (1 - t))
        by_patient = np.bincount(cluster, weights=gain - gain.mean(), minlength=patients)
        errors[i] = np.sqrt(np.sum(by_patient**2) * patients / max(patients - 1, 1)) / n
    return errors

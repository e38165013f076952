"""Calibration in two numbers: the intercept and slope of truth on the logit of the score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medimg.errors import MetricsError
from medimg.metrics.checks import Bools, Floats, check_level
from medimg.metrics.estimates import Estimate, rows, undefined
from medimg.metrics.predictions import Predictions
from medimg.metrics.ranking import require_binary
from medimg.metrics.temperature import TINY


@dataclass(frozen=True)
class CalibrationLine:
    """Intercept (0 is best; above 0 the scores are too low) and slope (1; below: too extreme)."""

    intercept: Estimate
    slope: Estimate


def calibration_line(predictions: Predictions, *, level: float = 0.95) -> CalibrationLine:
    """Fit logistic recalibration: logit P(y = 1) = a + b logit(score).

    The slope comes from that fit, the intercept ("calibration in the large") from one with b held
    at 1, as TRIPOD+AI asks. Intervals are by patient (sandwich variance).

    Parameters
    ----------
    predictions : Predictions
        Of two classes, without weights.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    CalibrationLine
        Intercept in log odds and slope; not defined, with the reason, where all images are of one
        class or of one patient, and no slope where scores are equal or separate the classes.

    Raises
    ------
    MetricsError
        With more than two classes, with weights, or a level out of range.

    References
    ----------
    Cox DR (1958) Biometrika 45:562-565. Van Calster B et al. (2019) BMC Med 17:230.
    """
    from statsmodels.genmod.families import Binomial  # slow to import, and needed here only
    from statsmodels.genmod.generalized_linear_model import GLM

    require_binary(predictions)
    check_level(level)
    data = rows(predictions)
    if not np.all(data.weight == 1):
        raise MetricsError("a calibration line takes no weights; leave them out of the predictions")
    y = data.positive.astype(float)
    for alone, what in ((y.min(initial=1) == y.max(initial=0), "class"),
                        (data.n_clusters == 1, "patient")):  # fmt: skip
        if alone:
            nothing = undefined(f"all images are of one {what}", level=level)
            return CalibrationLine(nothing, nothing)
    score = np.clip(data.score, TINY, 1 - TINY)
    x = np.log(score) - np.log1p(-score)
    one = np.ones((len(y), 1))
    found = []
    for design, offset in ((one, x), (np.column_stack([one, x]), None)):
        if np.linalg.matrix_rank(design) < design.shape[1]:
            found.append(undefined("all scores are equal", level=level))
            continue
        if design.shape[1] == 2 and _separated(x, data.positive):
            found.append(undefined("the classes are separated by the score", level=level))
            continue
        model = GLM(y, design, family=Binomial(), offset=offset)
        fit = model.fit(cov_type="cluster", cov_kwds={"groups": data.cluster})
        low, high = fit.conf_int(1 - level)[-1]
        method = "logistic regression, sandwich variance"
        found.append(Estimate(float(fit.params[-1]), float(low), float(high), level, method))
    return CalibrationLine(found[0], found[1])


def _separated(x: Floats, positive: Bools) -> bool:
    """Whether a cut splits the classes, so that the slope would run to infinity."""
    ill, well = x[positive], x[~positive]
    return bool(ill.min() >= well.max() or ill.max() <= well.min())

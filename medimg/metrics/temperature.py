"""Temperature scaling: one number, fitted on validation, that mends over- or underconfidence."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize_scalar

from medimg.errors import MetricsError
from medimg.metrics.checks import Bools, Floats
from medimg.metrics.estimates import clusters
from medimg.metrics.predictions import Predictions

log = logging.getLogger(__name__)

TINY = 1e-7
"""Scores are held this far from 0 and 1 where their logarithm is taken."""
BOUNDS = (0.05, 20.0)
"""Temperatures that are tried."""


@dataclass(frozen=True)
class Temperature:
    """One number that logits are divided by: above 1 it makes an overconfident model humbler.

    Attributes
    ----------
    value : float
        Above 0; 1 leaves the scores as they are.
    chosen_on : str
        The data that it was fitted on, in words.
    note : str
        Why these data say nothing of the temperature, so that it is 1; else empty.
    """

    value: float
    chosen_on: str
    note: str = ""
    ids: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def apply(self, predictions: Predictions) -> Predictions:
        """Return the predictions with tempered scores; ranks and, for K > 2, calls stay."""
        return predictions.with_scores(temper(predictions.y_score, self.value))


def temper(scores: Floats, temperature: float) -> Floats:
    """Divide logits by a temperature: scores (N,) or (N, K) in, the same shape out."""
    kept = np.clip(scores, TINY, 1 - TINY)
    if scores.ndim == 1:
        logit = (np.log(kept) - np.log1p(-kept)) / temperature
        return np.asarray(1 / (1 + np.exp(-logit)))
    power = np.log(kept) / temperature
    power = np.exp(power - power.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def log_loss(predictions: Predictions, *, temperature: float = 1.0) -> float:
    """Mean negative log of the score of the true class, after a temperature.

    Parameters
    ----------
    predictions : Predictions
        Of two classes or more; scores are held 1e-7 away from 0 and 1.
    temperature : float
        Above 0; logits are divided by it first.

    Returns
    -------
    float
        0 at best, in nats; weighted where the predictions have weights.

    Examples
    --------
    >>> round(log_loss(Predictions("ab", [0, 1], [0.2, 0.5])), 4)  # -(ln 0.8 + ln 0.5) / 2
    0.4581
    """
    weight, _, kept = clusters(predictions)
    scores, truth = temper(predictions.y_score[kept], temperature), predictions.y_true[kept]
    if scores.ndim == 1:
        true_score = np.where(truth == 1, scores, 1 - scores)
    else:
        true_score = scores[np.arange(len(truth)), truth]
    return float(np.average(-np.log(np.maximum(true_score, TINY**2)), weights=weight))


def fit_temperature(predictions: Predictions, *, chosen_on: str = "validation") -> Temperature:
    """Fit a temperature on validation predictions by the least log loss, within [0.05, 20].

    Where the scores separate the classes, ever smaller temperatures lose ever less, until all
    scores are 0 or 1 and no longer rank; where they are worse than chance, ever greater ones do.
    Such data say nothing of a temperature: then it is 1, and its `note` and the log say why.

    Parameters
    ----------
    predictions : Predictions
        Of the validation set, of two classes or more. Fitted on the test set, a temperature makes
        the test look better than it is.
    chosen_on : str
        Name of the data, for reports.

    Returns
    -------
    Temperature
        Its `apply` tempers the scores of other predictions.

    Raises
    ------
    MetricsError
        When the validation set holds one class only, which no temperature can be fitted to.

    References
    ----------
    Guo C et al. (2017) On calibration of modern neural networks. ICML.

    Examples
    --------
    >>> val = Predictions("abcdef", [0, 0, 1, 1, 1, 0], [.01, .02, .99, .98, .01, .03])
    >>> fit_temperature(val).value > 1  # sure of "e", and wrong: overconfident
    True
    """
    _, _, kept = clusters(predictions)
    present = np.unique(predictions.y_true[kept])
    if len(present) < 2:
        raise MetricsError(
            f"the {chosen_on} set holds images of {len(present)} class only; temperature scaling "
            "needs at least two"
        )
    low, high = (math.log(bound) for bound in BOUNDS)
    found = minimize_scalar(
        lambda log_t: log_loss(predictions, temperature=math.exp(log_t)),
        bounds=(low, high), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    note, value = "", math.exp(float(found.x))
    if _separated(predictions, kept):
        note = "the scores separate the classes"
    elif not low + 1e-3 < found.x < high - 1e-3:
        note = f"the log loss is smallest at {value:.3g}, the end of what was tried"
    if note:
        value = 1.0
        log.warning("no temperature can be fitted on the %s set, so it is 1: %s", chosen_on, note)
    return Temperature(
        value, f"{chosen_on} ({len(predictions)} images)", note, frozenset(predictions.ids.tolist())
    )


def _separated(predictions: Predictions, kept: Bools) -> bool:
    """Whether every image scores higher for its own class than any image of another class does."""
    truth, scores = predictions.y_true[kept], predictions.y_score[kept]
    table = np.column_stack([-scores, scores]) if scores.ndim == 1 else scores
    own = truth[:, None] == np.arange(table.shape[1])
    lowest = np.min(table, axis=0, where=own, initial=np.inf)
    return bool(np.all(lowest > np.max(table, axis=0, where=~own, initial=-np.inf)))

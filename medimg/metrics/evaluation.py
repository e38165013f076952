"""`evaluate`: all metrics of one set of predictions, with intervals, in one table.

Two classes, many classes and grades go the same way: shares by Wilson, areas by DeLong, and the
metrics of the whole confusion matrix by one bootstrap of its cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medimg.errors import MetricsError
from medimg.metrics.intervals import (
    Estimate,
    Measure,
    Rows,
    Statistic,
    bootstrap_all,
    codes_of,
    rows,
    share,
    undefined,
)
from medimg.metrics.predictions import (
    Bools,
    Floats,
    Predictions,
    check_level,
    count_text,
    require_binary,
)
from medimg.metrics.roc import area, average_precision, mean_area
from medimg.metrics.thresholds import Threshold, as_threshold

ALIASES: Final = {"recall": "sensitivity", "precision": "ppv", "ap": "average_precision",
                  "recall_macro": "balanced_accuracy"}  # fmt: skip
"""Second names of metrics, as machine learning has them."""


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """All metrics of one set of predictions.

    Attributes
    ----------
    estimates : dict of str to Estimate
        ``evaluation["sensitivity"]`` is short for one of them; "recall" and "precision" work too.
    confusion : DataFrame, (K, K)
        Rows are the true class, columns the predicted one.
    n_images, n_patients : int
        How many were tested; without known patients, each image counts as one.
    threshold : Threshold or None
        None with more than two classes: the likeliest class is the prediction.
    per_class : DataFrame or None
        With more than two classes, each class against the rest, one row per class and metric:
        ``class, n, metric, estimate, value, low, high, reason``.
    warnings : tuple of str
        What a reader should know before trusting the numbers.
    patients_known : bool
        Whether it is known which images are of the same patient.
    per_cut : DataFrame or None
        Of grades, each grade or worse against the grades below it: like `per_class`.
    """

    estimates: dict[str, Estimate]
    confusion: pd.DataFrame
    n_images: int
    n_patients: int
    threshold: Threshold | None = None
    per_class: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()
    patients_known: bool = True
    per_cut: pd.DataFrame | None = None

    def __getitem__(self, metric: str) -> Estimate:
        try:
            return self.estimates[ALIASES.get(metric, metric)]
        except KeyError:
            names = ", ".join(self.estimates)
            raise MetricsError(f"no metric {metric!r}; expected one of {names}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    @property
    def level(self) -> float:
        """Confidence level of the intervals, a share."""
        return next(iter(self.estimates.values())).level

    @property
    def count_text(self) -> str:
        """Numbers of images and patients in words, also where the patients are not known."""
        return count_text(self.n_images, self.n_patients, known=self.patients_known)

    @property
    def table(self) -> pd.DataFrame:
        """One row per metric: ``value, low, high, method, reason, also`` (its second name)."""
        columns = ["value", "low", "high", "method", "reason"]
        table = pd.DataFrame(
            [[getattr(e, c) for c in columns] for e in self.estimates.values()],
            columns=columns, index=pd.Index(list(self.estimates), name="metric"),
        )  # fmt: skip
        return table.assign(also=[also_called(name) for name in table.index])

    def __repr__(self) -> str:
        lines = [self.count_text]
        if self.threshold is not None:
            lines.append(f"threshold {self.threshold}")
        also = {name: also_called(name) for name in self.estimates}
        names = {name: f"{name} ({second})" if second else name for name, second in also.items()}
        width = max(len(name) for name in names.values())
        lines += [f"{names[name]:<{width}}  {e!r}" for name, e in self.estimates.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def also_called(metric: str) -> str:
    """Return the second name of a metric ("recall" for "sensitivity"), or ""."""
    return next((second for second, first in ALIASES.items() if first == metric), "")


def confusion_matrix(
    predictions: Predictions, *, threshold: float | Threshold = 0.5
) -> pd.DataFrame:
    """Count images by true class (rows) and predicted class (columns).

    Parameters
    ----------
    predictions : Predictions
        Of two classes or more.
    threshold : float or Threshold
        For two classes; with more the likeliest class is the call.

    Returns
    -------
    DataFrame of int64, (K, K)
        Index and columns are the names of the classes.

    Raises
    ------
    MetricsError
        When the threshold is out of range.

    Examples
    --------
    >>> confusion_matrix(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.6, 0.7, 0.2])).to_numpy()
    array([[1, 1],
           [1, 1]])
    """
    called = predictions.predicted(as_threshold(threshold).value)
    matrix = _cells(predictions, called).sum(axis=0).reshape(2 * (len(predictions.classes),))
    names = list(predictions.classes)
    return pd.DataFrame(
        matrix.astype(np.int64),
        index=pd.Index(names, name="true"), columns=pd.Index(names, name="predicted"),
    )  # fmt: skip


def evaluate(
    predictions: Predictions,
    *,
    threshold: float | Threshold | None = None,
    ordinal: bool = False,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Evaluation:
    """Compute every metric with its interval by patient.

    Parameters
    ----------
    predictions : Predictions
        Of the test set; two classes or more.
    threshold : float or Threshold
        For two classes; choose it on validation data with `choose_threshold`. A plain number is
        taken as given by hand; without one 0.5 is used, and the result warns of it.
    ordinal : bool
        With more than two classes: whether they are grades of severity, in rising order. Adds
        quadratic kappa and the mean absolute error in grades, and, in `per_cut`, each grade or
        worse against the grades below, by the summed probabilities (called from 0.5 on). For a
        threshold of its own evaluate ``predictions.at_least(grade)``.
    level : float
        Confidence level of all intervals, in (0, 1).
    rng : numpy.random.Generator, optional
        For the bootstraps; by default seeded with 0, so that a report repeats to the digit.

    Returns
    -------
    Evaluation
        Every metric as an `Estimate`, the confusion matrix, and what a reader should know before
        trusting them. A mean over classes is not defined where one of its classes is not: leaving
        that class out, as other tools do, would compare models on different classes.

    Raises
    ------
    MetricsError
        When the threshold or the level is out of range.

    Examples
    --------
    >>> test = Predictions("abcdefgh", [0, 0, 0, 0, 1, 1, 1, 1], [.1, .2, .3, .6, .4, .7, .8, .9])
    >>> result = evaluate(test, threshold=0.5)
    >>> result["sensitivity"], result["recall"].value
    (0.750 (0.301 to 0.954), 0.75)
    """
    check_level(level)
    binary = predictions.is_binary
    cut = as_threshold(0.5 if threshold is None else threshold) if binary else None
    called = predictions.predicted(cut.value if cut else 0.5)
    matrix = confusion_matrix(predictions, threshold=cut or 0.5)
    counted = _of_cells(predictions, called, matrix, ordinal=ordinal, level=level, rng=rng)
    codes = codes_of(predictions)
    everyone = np.ones(len(called), dtype=bool)
    size = int(codes.max()) + 1

    def whole(hit: Bools) -> Estimate:
        return share(hit, everyone, codes, size=size).interval(level)

    estimates = {"accuracy": whole(called == predictions.y_true)}
    per_class = per_cut = None
    if binary:
        data = rows(predictions)
        part = {name: m.interval(level) for name, m in shares(data, called == 1).items()}
        estimates = {"prevalence": whole(data.positive)} | estimates | part | counted
        estimates["auc"] = area(data).interval(level)
        estimates["average_precision"] = average_precision(predictions, level=level, rng=rng)
    else:
        f1 = [counted.pop(f"f1 of {k}") for k in range(len(predictions.classes))]
        alone = [predictions.one_vs_rest(k) for k in range(len(predictions.classes))]
        calls = [called == k for k in range(len(predictions.classes))]
        absent = _why(matrix, "true")
        areas = [area(rows(p)) for p in alone]
        per_class = _each("class", predictions.classes, alone, calls, areas, level=level, f1=f1)
        estimates |= counted | {"auc_macro": mean_area(areas, level=level, reason=absent)}
        if ordinal:
            cuts = [predictions.at_least(k) for k in range(1, len(predictions.classes))]
            names = [c.positive for c in cuts]
            summed = [c.y_score >= 0.5 for c in cuts]
            areas = [area(rows(c)) for c in cuts]
            per_cut = _each("cut", names, cuts, summed, areas, level=level)
    return Evaluation(
        estimates, matrix, len(predictions), predictions.n_patients, cut, per_class,
        _warnings(predictions, cut, matrix, given=threshold is not None),
        predictions.patients_known, per_cut,
    )  # fmt: skip


def rates(
    predictions: Predictions, *, threshold: float | Threshold, level: float = 0.95
) -> dict[str, Estimate]:
    """Sensitivity, specificity, PPV and NPV at a threshold, without the rest of `evaluate`.

    Parameters
    ----------
    predictions : Predictions
        Of two classes.
    threshold : float or Threshold
        An image is called positive when its score is at least the threshold.
    level : float
        Confidence level, in (0, 1).

    Returns
    -------
    dict of str to Estimate
        Keys "sensitivity", "specificity", "ppv", "npv"; each with Wilson's interval by patient.

    Raises
    ------
    MetricsError
        With more than two classes, or a threshold or level out of range.

    Examples
    --------
    >>> rates(Predictions("abcd", [0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9]), threshold=0.5)["ppv"]
    0.667 (0.208 to 0.939)
    """
    require_binary(predictions)
    check_level(level)
    data = rows(predictions)
    called = data.score >= as_threshold(threshold).value
    return {name: measure.interval(level) for name, measure in shares(data, called).items()}


def shares(data: Rows, called: Bools) -> dict[str, Measure]:
    """Sensitivity, specificity, PPV and NPV of the images that were called positive."""
    groups = {
        "sensitivity": (data.positive, "no positive image"),
        "specificity": (~data.positive, "no negative image"),
        "ppv": (called, "no image was called positive"),
        "npv": (~called, "no image was called negative"),
    }
    hit = called == data.positive
    return {
        name: share(hit, group, data.patient, size=data.size, reason=reason)
        for name, (group, reason) in groups.items()
    }


def _each(
    what: str,
    names: Sequence[str],
    alone: Sequence[Predictions],
    calls: Sequence[Bools],
    areas: Sequence[Measure],
    *,
    level: float,
    f1: Sequence[Estimate] = (),
) -> pd.DataFrame:
    """Tabulate the metrics of several two-class readings of the same images."""
    table = []
    for k, (name, one, called) in enumerate(zip(names, alone, calls, strict=True)):
        found = {m: e.interval(level) for m, e in shares(rows(one), called).items()}
        if f1:
            found["f1"] = f1[k]
        found["auc"] = areas[k].interval(level)
        n = int(one.y_true.sum())
        table += [
            [name, n, metric, e, e.value, e.low, e.high, e.reason] for metric, e in found.items()
        ]
    return pd.DataFrame(
        table, columns=[what, "n", "metric", "estimate", "value", "low", "high", "reason"]
    )


def _warnings(
    predictions: Predictions, cut: Threshold | None, matrix: pd.DataFrame, *, given: bool
) -> tuple[str, ...]:
    found = []
    if cut is not None:
        if not given:
            found.append("no threshold was given; 0.5 was used, which no validation data speak for")
        again = len(cut.ids.intersection(predictions.ids.tolist()))
        if again:
            found.append(
                f"{again} of these images were also used to choose the threshold, so sensitivity "
                "and specificity look better than they are"
            )
    smallest = int(matrix.to_numpy().sum(axis=1).min())
    if smallest < 30:
        which = "smaller" if cut is not None else "smallest"
        found.append(f"only {smallest} images in the {which} class; read the intervals first")
    if not predictions.patients_known:
        found.append("patients are not known, so each image was taken as a patient of its own")
    return tuple(found)


def _cells(predictions: Predictions, called: NDArray[Any]) -> Floats:
    """Return the cell of the confusion matrix of each image: shape (N, K * K), one 1 per row."""
    size = len(predictions.classes)
    cells = np.zeros((len(called), size * size))
    cells[np.arange(len(called)), predictions.y_true * size + called] = 1
    return cells


def _of_cells(
    predictions: Predictions, called: NDArray[Any], matrix: pd.DataFrame, *, ordinal: bool,
    level: float, rng: np.random.Generator | None,
) -> dict[str, Estimate]:  # fmt: skip
    """Metrics of the confusion matrix, bootstrapped; or why these data do not define them."""
    found = _statistics(len(predictions.classes), ordinal=ordinal)
    measured = bootstrap_all(
        {name: statistic for name, (statistic, _) in found.items()},
        _cells(predictions, called), codes_of(predictions), level=level, rng=rng,
    )  # fmt: skip
    return {
        name: undefined(_why(matrix, found[name][1]), level=level)
        if np.isnan(estimate.value) else estimate
        for name, estimate in measured.items()
    }  # fmt: skip


def _statistics(size: int, *, ordinal: bool) -> dict[str, tuple[Statistic, str]]:
    """Functions from summed confusion matrices (B, K * K) to (B,), and what can undo each."""

    def on_square(statistic: Statistic) -> Statistic:
        return lambda c: statistic(c.reshape(-1, size, size))  # (B, true, predicted)

    def f1_of(k: int) -> Statistic:
        return on_square(lambda c: _f1s(c)[:, k])

    found: dict[str, tuple[Statistic, str]] = {
        "balanced_accuracy": (on_square(lambda c: np.mean(_recalls(c), axis=1)), "true"),
        "kappa": (on_square(lambda c: _kappa(c, 0)), "spread"),
        "mcc": (on_square(_mcc), "spread"),
    }
    if size == 2:
        found |= {
            "f1": (f1_of(1), "f1"),
            "lr_positive": (on_square(lambda c: _ratio(c, 1)), "false positive"),
            "lr_negative": (on_square(lambda c: _ratio(c, 0)), "true negative"),
        }
        return found
    found["f1_macro"] = (on_square(lambda c: np.mean(_f1s(c), axis=1)), "either")
    if ordinal:
        found["kappa_quadratic"] = (on_square(lambda c: _kappa(c, 2)), "spread")
        found["mean_absolute_error"] = (on_square(_absolute_error), "")
    return found | {f"f1 of {k}": (f1_of(k), f"class {k}") for k in range(size)}


def _why(matrix: pd.DataFrame, kind: str) -> str:
    """Say what in the confusion matrix leaves a metric undefined, by the `kind` of its need."""
    counts = matrix.to_numpy()
    true, called = counts.sum(axis=1), counts.sum(axis=0)
    names = [str(name) for name in matrix.index]
    if kind == "spread":
        return "all images are of one class, or all are called one class"
    if kind == "f1":
        return "no positive image and none called positive"
    if kind in ("false positive", "true negative"):
        if 0 in true:
            return f"no {'negative' if true[0] == 0 else 'positive'} image"
        return f"no {kind}, so that the ratio would divide by 0"
    lacking = (true if kind == "true" else true + called) == 0
    k = int(kind.removeprefix("class ")) if kind.startswith("class ") else int(np.argmax(lacking))
    verb = "is of" if kind == "true" else "is of, or was called,"
    return f"no image {verb} class {names[k]!r}"


def _hits(c: Floats) -> Floats:
    return np.asarray(np.diagonal(c, axis1=1, axis2=2))


def _recalls(c: Floats) -> Floats:
    return np.asarray(_hits(c) / c.sum(axis=2))


def _f1s(c: Floats) -> Floats:
    return np.asarray(2 * _hits(c) / (c.sum(axis=1) + c.sum(axis=2)))


def _ratio(c: Floats, called: int) -> Floats:
    """LR+ = P(called | positive) / P(called | negative) for `called` 1; LR- for 0."""
    shares_called = c[:, :, called] / c.sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = shares_called[:, 1] / shares_called[:, 0]
    return np.where(np.isfinite(ratio), ratio, np.nan)


def _mcc(c: Floats) -> Floats:
    """Gorodkin's K-class correlation of matrices (B, K, K); Matthews' for two classes."""
    n, right = c.sum(axis=(1, 2)), np.trace(c, axis1=1, axis2=2)
    true, called = c.sum(axis=2), c.sum(axis=1)
    spread = (n**2 - np.sum(true**2, axis=1)) * (n**2 - np.sum(called**2, axis=1))
    top = right * n - np.sum(true * called, axis=1)
    return np.where(spread > 0, top / np.sqrt(np.maximum(spread, 0)), np.nan)


def _kappa(c: Floats, power: int) -> Floats:
    """Cohen's kappa of matrices (B, K, K); disagreement costs |i - j| to a power (0: always 1)."""
    k = np.arange(c.shape[1])
    cost = (k[:, None] != k).astype(float) if power == 0 else np.abs(k[:, None] - k) ** float(power)
    true, called = c.sum(axis=2), c.sum(axis=1)
    expected = true[:, :, None] * called[:, None, :] / true.sum(axis=1)[:, None, None]
    return np.asarray(
        1 - np.sum(cost * c, axis=(1, 2)) / np.sum(cost * expected, axis=(1, 2)), dtype=float
    )


def _absolute_error(c: Floats) -> Floats:
    """Mean distance of the called from the true grade, in grades."""
    k = np.arange(c.shape[1])
    return np.asarray(np.sum(np.abs(k[:, None] - k) * c, axis=(1, 2)) / c.sum(axis=(1, 2)))

"""`evaluate`: all metrics of one set of predictions, with intervals, in one table.

Two classes, many classes and grades go the same way: shares by Wilson, areas by DeLong, and the
metrics of the whole confusion matrix by one bootstrap of its cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix as count_pairs

from medimg.metrics import intervals, roc
from medimg.metrics.intervals import Estimate, Measure, share_by_patient, undefined
from medimg.metrics.predictions import Bools, Floats, Ints, Predictions, Rows
from medimg.metrics.roc import Threshold, as_threshold

ALIASES: Final = {"recall": "sensitivity", "precision": "ppv", "ap": "average_precision"}
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
        How many rows (images, unless they were aggregated) and patients were tested; without known
        patients, each row counts as one.
    threshold : Threshold or None
        None with more than two classes: the likeliest class is the prediction.
    per_class : DataFrame or None
        With more than two classes, each class against the rest, one row per class and metric:
        ``class, n, metric, estimate, value, low, high, reason``.
    warnings : tuple of str
        What a reader should know before trusting the numbers.
    count_text : str
        Numbers of images and patients in words, also where the patients are not known.
    per_cut : DataFrame or None
        Of grades, each grade or worse against the grades below it: like `per_class`.
    level : float
        Confidence level of the intervals, a share.
    """

    estimates: dict[str, Estimate]
    confusion: pd.DataFrame
    n_images: int
    n_patients: int
    threshold: Threshold | None = None
    per_class: pd.DataFrame | None = None
    warnings: tuple[str, ...] = ()
    count_text: str = ""
    per_cut: pd.DataFrame | None = None
    level: float = 0.95

    def __getitem__(self, metric: str) -> Estimate:
        return self.estimates[ALIASES.get(metric, metric)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    @property
    def table(self) -> pd.DataFrame:
        """One row per metric: ``value, low, high, method, reason``."""
        names = pd.Index(self.estimates, name="metric")
        return pd.DataFrame(map(asdict, self.estimates.values()), names).drop(columns="level")

    def __repr__(self) -> str:
        lines = [self.count_text]
        if self.threshold is not None:
            lines.append(f"threshold {self.threshold}")
        also = {first: f" ({second})" for second, first in ALIASES.items()}
        named = {name + also.get(name, ""): estimate for name, estimate in self.estimates.items()}
        width = max(map(len, named))
        lines += [f"{name:<{width}}  {estimate!r}" for name, estimate in named.items()]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


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
    called, names = predictions.predicted(as_threshold(threshold).value), predictions.classes
    cells = count_pairs(predictions.y_true, called, labels=range(len(names)))
    return pd.DataFrame(cells, pd.Index(names, name="true"), pd.Index(names, name="predicted"))


def evaluate(
    predictions: Predictions, *, threshold: float | Threshold | None = None, ordinal: bool = False,
    level: float = 0.95,
) -> Evaluation:  # fmt: skip
    """Compute every metric with its interval by patient.

    Parameters
    ----------
    predictions : Predictions
        Of the test set; two classes or more.
    threshold : float or Threshold
        For two classes; choose it on validation data with `choose_threshold`. A plain number is
        taken as given by hand; without one 0.5 is used, and the result says so.
    ordinal : bool
        With more than two classes: whether they are grades of severity, in rising order. Adds
        quadratic kappa and the mean absolute error in grades, and, in `per_cut`, each grade or
        worse against the grades below, by the summed probabilities (called from 0.5 on). For a
        threshold of its own evaluate ``predictions.at_least(grade)``.
    level : float
        Confidence level of all intervals, in (0, 1).

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
    cut = None
    if predictions.is_binary:
        default = Threshold(0.5, "by default: none was chosen on validation data")
        cut = default if threshold is None else as_threshold(threshold)
    called = predictions.predicted(cut.value if cut else 0.5)
    matrix = confusion_matrix(predictions, threshold=cut or 0.5)
    right = called == predictions.y_true
    estimates = {"accuracy": share_by_patient(right, predictions.patient_ids, level=level)}
    counted = _of_matrix(predictions, called, level, ordinal=ordinal)
    per_class = per_cut = None
    if cut:
        ill = share_by_patient(predictions.y_true, predictions.patient_ids, level=level)
        estimates = {"prevalence": ill} | estimates | rates(predictions, threshold=cut, level=level)
        estimates |= counted | {
            "auc": roc.auc(predictions, level=level),
            "average_precision": roc.average_precision(predictions, level=level),
        }
    else:
        classes = range(len(predictions.classes))
        alone = [predictions.one_vs_rest(k) for k in classes]
        per_class, macro = _each("class", alone, [called == k for k in classes], level)
        estimates |= counted | {"auc_macro": macro}
        if ordinal:
            cuts = [predictions.at_least(k) for k in classes[1:]]
            per_cut, _ = _each("cut", cuts, [one.y_score >= 0.5 for one in cuts], level)
    return Evaluation(
        estimates, matrix, len(predictions), predictions.n_patients, cut, per_class,
        _warnings(predictions, cut, matrix), predictions.count_text, per_cut, level,
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
    data = predictions.rows
    found = shares(data, data.score >= as_threshold(threshold).value)
    return {name: measure.interval(level) for name, measure in found.items()}


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
        name: intervals.share(hit, group, data.patient, size=data.size, reason=reason)
        for name, (group, reason) in groups.items()
    }


def _each(
    what: str, alone: Sequence[Predictions], calls: Sequence[Bools], level: float
) -> tuple[pd.DataFrame, Estimate]:
    """Tabulate the metrics of several two-class readings of the same images; the mean AUC."""
    table, areas = [], [roc.area(one.rows) for one in alone]
    for one, called, area in zip(alone, calls, areas, strict=True):
        found = {name: m.interval(level) for name, m in shares(one.rows, called).items()}
        found["f1"] = _of_matrix(one, called.astype(np.int64), level)["f1"]
        found["auc"] = area.interval(level)
        start = {what: one.positive, "n": int(one.y_true.sum())}
        table += [start | {"metric": m, "estimate": e} | asdict(e) for m, e in found.items()]
    absent = [f"no image is of class {one.positive!r}" for one in alone if not one.y_true.any()]
    mean = undefined(absent[0], level=level) if absent else roc.mean_area(areas, level=level)
    if min(len(np.unique(one.codes[one.y_true == 1])) for one in alone) == 1:
        words = "a class of one patient alone shows no variance"
        mean = replace(mean, low=np.nan, high=np.nan, reason=words)
    return pd.DataFrame(table).drop(columns=["level", "method"]), mean


def _warnings(
    predictions: Predictions, cut: Threshold | None, matrix: pd.DataFrame
) -> tuple[str, ...]:
    smallest, which = int(matrix.sum(axis=1).min()), "smaller" if cut else "smallest"
    unit, again = predictions.unit, len(cut.ids.intersection(predictions.ids)) if cut else 0
    found = {
        f"{again} of these {unit}s were also used to choose the threshold, so sensitivity and "
        "specificity look better than they are": again > 0,
        f"only {smallest} {unit}s in the {which} class; read the intervals first": smallest < 30,
        f"patients are not known, so each {unit} was taken as a patient of its own":
            not predictions.patients_known,
    }  # fmt: skip
    return tuple(words for words, holds in found.items() if holds)


def _of_matrix(
    predictions: Predictions, called: Ints, level: float, *, ordinal: bool = False
) -> dict[str, Estimate]:
    """Metrics of the confusion matrix, bootstrapped; or why these data do not define them."""
    size = len(predictions.classes)
    cells = np.eye(size**2)[predictions.y_true * size + called]  # (N, K * K), one 1 per row
    present = np.unique(predictions.y_true)

    def values(sums: Floats) -> Floats:
        found = np.stack([*_metrics(sums.reshape(-1, size, size), ordinal).values()], axis=1)
        # Without one of its classes a sample of patients says nothing about the metric.
        found[(sums.reshape(-1, size, size).sum(axis=2)[:, present] == 0).any(axis=1)] = np.nan
        return found

    # Each class has its own patients, so the number per class is what limits these metrics.
    limit = round(predictions.n_patients / size)
    found = intervals.bootstrap_sums(values, cells, predictions.codes, level, patients=limit)
    reasons = _reasons(cells.sum(axis=0).reshape(size, size), predictions.classes)
    return {
        name: undefined(reasons[name], level=level) if np.isnan(estimate.value) else estimate
        for name, estimate in zip(_metrics(np.ones((1, size, size)), ordinal), found, strict=True)
    }


def _metrics(c: Floats, ordinal: bool) -> dict[str, Floats]:
    """Compute metrics of confusion matrices (B, true, predicted); each is (B,)."""
    size, true, called = c.shape[1], c.sum(axis=2), c.sum(axis=1)
    n, hits = true.sum(axis=1), np.diagonal(c, axis1=1, axis2=2)
    away = np.abs(np.arange(size)[:, None] - np.arange(size)).astype(np.float64)

    def kappa(cost: Floats) -> Floats:
        """Cohen's kappa, when each disagreement has a cost."""
        chance = np.einsum("bi,ij,bj->b", true, cost, called) / n
        return np.asarray(1 - np.sum(cost * c, axis=(1, 2)) / chance)

    f1 = 2 * hits / (true + called)
    found = {
        "balanced_accuracy": np.mean(hits / true, axis=1),
        "kappa": kappa((away > 0).astype(np.float64)),
    }
    if size == 2:
        return found | {"f1": f1[:, 1]}
    found["f1_macro"] = f1.mean(axis=1)
    if ordinal:
        found["kappa_quadratic"] = kappa(away**2)
        found["mean_absolute_error"] = np.sum(away * c, axis=(1, 2)) / n
    return found


def _reasons(cells: Floats, names: Sequence[str]) -> dict[str, str]:
    """Say what in the confusion matrix would leave each metric undefined."""
    true, both = cells.sum(axis=1), cells.sum(axis=1) + cells.sum(axis=0)
    one = "all images are of one class, and all are called that class"
    idle = "no image is of, or was called, class"
    return {
        "balanced_accuracy": f"no image is of class {names[true.argmin()]!r}",
        "kappa": one, "kappa_quadratic": one,
        "f1": f"{idle} {names[1]!r}", "f1_macro": f"{idle} {names[both.argmin()]!r}",
    }  # fmt: skip

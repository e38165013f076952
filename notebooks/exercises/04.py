"""Exercises of notebook 4, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Made, Mistake, Number, Problem

Z = 1.959964
Called = NDArray[np.bool_]
Scores = Sequence[float]


def _of(group: Called, hit: Called) -> float:
    """Return the share of hits in a group; -1, which nobody answers, if the group is empty."""
    return float(np.mean(hit[group])) if group.any() else -1.0


def _pairs(tie: float) -> Callable[[Scores, Scores], float]:
    """Return a function for the share of pairs won, where a tie counts ``tie``."""

    def share(ill: Scores, healthy: Scores) -> float:
        won = [1.0 if i > h else tie if i == h else 0.0 for i in ill for h in healthy]
        return sum(won) / len(won)

    return share


def _one_partner_each(ill: Scores, healthy: Scores) -> float:
    won = [1.0 if i > h else 0.5 if i == h else 0.0 for i, h in zip(ill, healthy, strict=False)]
    return sum(won) / len(won)


def _ppv(prevalence: float, sensitivity: float, specificity: float) -> float:
    found, alarmed = prevalence * sensitivity, (1 - prevalence) * (1 - specificity)
    return found / (found + alarmed)


def _curve(answer: Any) -> tuple[Scores, Scores, bool]:
    """Look at a figure: the curve in it, and whether its axes have names."""
    ax = answer.figure.axes[0]
    if not ax.lines:
        raise Problem("There is no curve in this figure: `ax.plot(x, y)` draws one.")
    x, y = np.asarray(ax.lines[0].get_xydata(), dtype=float).T
    return x, y, bool(ax.get_xlabel() and ax.get_ylabel())


def _drawn(curve: Any, wanted: Callable[[Any], Any]) -> bool:
    return bool(np.allclose(curve[1], wanted(curve[0]), atol=0.002))


def _covers(curve: Any) -> bool:
    x = curve[0]
    return len(x) >= 10 and x.min() <= 5 and x.max() >= 200


def _scored(answer: Any) -> Any:
    """Look at predictions: ids, truth and scores."""
    if answer.y_score.ndim != 1 or len(answer.ids) != len(answer.y_true):
        raise Problem("This asks for one score per image.")
    return answer


def _beside(mine: Any, judge: Any) -> tuple[Any, Any]:
    """Return the scores of both, image by image."""
    order = np.argsort(mine.ids)
    return mine.y_score[order], judge.y_score[np.argsort(judge.ids)]


def _truth(mine: Any, judge: Any) -> Any:
    """Return the learner's labels in the order of `judge`."""
    label = dict(zip(mine.ids, mine.y_true, strict=True))
    return np.array([label[name] for name in judge.ids])


def _apart(mine: Any, judge: Any, *change: Callable[[Any], Any]) -> float:
    """Return the largest difference of the scores, after a change of either."""
    pair = list(_beside(mine, judge))
    for k, function in enumerate(change):
        pair[k] = function(pair[k])
    return float(np.abs(pair[0] - pair[1]).max())


EXERCISES = (
    Exercise(
        name="04-sensitivity",
        question="Of those with pneumonia, what share does the network find at a threshold of 0.5?",
        kind=Number(tolerance=0.004, low=0, high=1),
        expected=lambda y_true, called_positive: _of(y_true == 1, called_positive),
        right="The network finds this share of those with pneumonia and misses the others.",
        hints=(
            "Look at one row of the table only: the images with pneumonia.",
            "Divide the number found by the number of all images with pneumonia.",
        ),
        mistakes=(
            Mistake(
                "That is the PPV: of those *called* positive, how many have it. Divide by all "
                "with pneumonia instead.",
                like=lambda y_true, called_positive: _of(called_positive, y_true == 1),
            ),
            Mistake(
                "That is the specificity: it is about those without pneumonia. Use the other row.",
                like=lambda y_true, called_positive: _of(y_true == 0, ~called_positive),
            ),
            Mistake(
                "That is the accuracy, which counts everybody. Use only the row with pneumonia.",
                like=lambda y_true, called_positive: float(
                    np.mean(called_positive == (y_true == 1))
                ),
            ),
            Mistake(
                "That is the share with pneumonia that is *missed*. How many are found?",
                like=lambda y_true, called_positive: _of(y_true == 1, ~called_positive),
            ),
            Mistake(
                "You divided by everybody. The question is only about those with pneumonia.",
                like=lambda y_true, called_positive: float(
                    np.mean(called_positive & (y_true == 1))
                ),
            ),
        ),
    ),
    Exercise(
        name="04-pairs",
        question="In what share of all pairs does the person with pneumonia score higher?",
        kind=Function(
            cases=(
                ([0.8, 0.4, 0.6], [0.1, 0.5]),
                ([0.7, 0.3], [0.3, 0.2, 0.7, 0.9]),
                ([0.5], [0.5, 0.5, 0.1]),
            ),
            tolerance=1e-6,
        ),
        expected=_pairs(0.5),
        right="That is the AUC: no curve is needed, only pairs.",
        hints=(
            "For each score in the first list, go through all scores in the second, and count.",
            "A pair can be won (1), lost (0) or tied (one half).",
            "At the end, divide by the number of pairs, not of people.",
        ),
        mistakes=(
            Mistake(
                "Ties are counted as lost. A tie counts one half.",
                like=_pairs(0.0),
            ),
            Mistake(
                "Ties are counted as won. A tie counts one half.",
                like=_pairs(1.0),
            ),
            Mistake(
                "This is the share in which the person *without* it scores higher. Reverse the "
                "comparison.",
                like=lambda ill, healthy: _pairs(0.5)(healthy, ill),
            ),
            Mistake(
                "That is the number of pairs won. What *share* of all pairs is it?",
                like=lambda ill, healthy: _pairs(0.5)(ill, healthy) * len(ill) * len(healthy),
            ),
            Mistake(
                "Each score was compared with only one other. Compare every score with every "
                "other: use a loop inside a loop.",
                like=_one_partner_each,
            ),
        ),
    ),
    Exercise(
        name="04-all",
        question="Draw the lower end of Wilson's interval when all n of n are found.",
        kind=Made("the axes of your figure", look=_curve),
        expected=lambda curve: (
            _drawn(curve, lambda n: n / (n + Z**2)) and _covers(curve) and curve[2]
        ),
        right="Even a test that misses one person in ten finds all twenty in one study in eight.",
        hints=(
            "Use the function `wilson` from the cells above: it returns the two ends, the lower one "
            "first. It takes arrays, too.",
            "`n = np.arange(5, 201)`, then `wilson(n, n)[0]` is the lower end for each n.",
            "`ax.plot(n, lower)` draws it; `ax.set(xlabel=..., ylabel=...)` names the axes.",
        ),
        mistakes=(
            Mistake(
                "That is the upper end, which is 1 for all of them. Draw the lower one.",
                when=lambda value: _drawn(value, lambda n: 1 + 0 * n),
            ),
            Mistake(
                "That is the rule of three, a quick one-sided bound. Use `wilson`.",
                when=lambda value: _drawn(value, lambda n: 1 - 3 / n),
            ),
            Mistake(
                "That is the exact (Clopper-Pearson) interval, a little wider. Use `wilson`.",
                when=lambda value: _drawn(value, lambda n: 0.025 ** (1 / n)),
            ),
            Mistake(
                "The numbers are not the lower ends for n of n found.",
                when=lambda value: not _drawn(value, lambda n: n / (n + Z**2)),
            ),
            Mistake("Draw it from 5 to 200 patients.", when=lambda value: not _covers(value)),
            Mistake("Name both axes: of whom, and what?", when=lambda value: not value[2]),
        ),
    ),
    Exercise(
        name="04-ppv",
        question="What share of those called positive has the disease, at any prevalence?",
        kind=Function(
            cases=((0.5, 0.9, 0.8), (0.01, 0.9, 0.8), (0.2, 0.7, 0.95)),
            tolerance=1e-6,
        ),
        expected=_ppv,
        right="The same test has a different PPV in each place where it is used.",
        hints=(
            "There are four kinds of people. Which two kinds are called positive?",
            "Without the disease: 1 - prevalence. Of these, 1 - specificity get a false alarm.",
            "Divide those with the disease who are found by everybody who is called positive.",
        ),
        mistakes=(
            Mistake(
                "That is the NPV: it starts from those called negative. Start from those called "
                "positive.",
                like=lambda prevalence, se, sp: _ppv(1 - prevalence, sp, se),
            ),
            Mistake(
                "The prevalence is left out, as if half of the people had the disease. Multiply by "
                "prevalence for those with it and by 1 - prevalence for those without it.",
                like=lambda prevalence, se, sp: _ppv(0.5, se, sp),
            ),
            Mistake(
                "You used the specificity, the true negatives, in place of the false alarms. What "
                "share of people without the disease gets a false alarm?",
                like=lambda prevalence, se, sp: _ppv(prevalence, se, 1 - sp),
            ),
            Mistake(
                "That is the share of *everybody* who has the disease and is found. Divide by all "
                "who are called positive.",
                like=lambda prevalence, se, sp: prevalence * se,
            ),
            Mistake(
                "That is the sensitivity, which starts from people with the disease. Start from "
                "those called positive.",
                like=lambda prevalence, se, sp: se,
            ),
            Mistake(
                "Only people without the disease can get a false alarm. Multiply their share by "
                "1 - prevalence.",
                like=lambda prevalence, se, sp: prevalence * se / (prevalence * se + 1 - sp),
            ),
        ),
    ),
    Exercise(
        name="04-file",
        question="Make predictions of a file of scores that is wrong in several ways.",
        kind=Made("predictions: what `metrics.Predictions` returns", look=_scored),
        expected=lambda mine, judge: (
            set(mine.ids) == set(judge.ids)
            and np.allclose(*_beside(mine, judge), atol=0.006)
            and np.array_equal(_truth(mine, judge), judge.y_true)
        ),
        right="The AUC would have shown the swapped class. Nothing would have shown a wrong order "
        "but an AUC near 0.5: always join by name.",
        hints=(
            "Is a high score in this file given to images with pneumonia, or without?",
            '`received.drop_duplicates("image").set_index("image")` has one row per image; '
            "`.loc[judge.ids]` puts the rows in the order of `judge`.",
            "The scores are per cent, for *normal*.",
        ),
        mistakes=(
            Mistake(
                "These are not the images of `judge`: one of each, and no other.",
                when=lambda value, judge: set(value.ids) != set(judge.ids),
            ),
            Mistake(
                "Labels and images no longer belong together: the file has another order.",
                when=lambda value, judge: not np.array_equal(_truth(value, judge), judge.y_true),
            ),
            Mistake(
                "The scores are still those for *normal*: the AUC is below 0.5.",
                when=lambda value, judge: _apart(value, judge, lambda score: 1 - score) < 0.006,
            ),
            Mistake(
                "The scores are in the order of the file, not of `judge.ids`. Look each image up.",
                when=lambda value, judge: _apart(value, judge, np.sort, np.sort) < 0.006,
            ),
            Mistake(
                "The scores are not those of the file.",
                when=lambda value, judge: _apart(value, judge) > 0.006,
            ),
        ),
    ),
)

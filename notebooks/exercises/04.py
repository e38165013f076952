"""Exercises of notebook 4, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Mistake, Number

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
                "This is the share in which the *healthy* person scores higher. Reverse the comparison.",
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
        name="04-twenty",
        question="20 of 20 people with pneumonia were found: where does Wilson's 95 % interval begin?",
        kind=Number(tolerance=0.0015, low=0, high=1),
        expected=lambda: 20 / (20 + 1.959964**2),
        right="Even a test that misses one person in ten finds all twenty in one study in eight.",
        hints=(
            "Use the function `wilson` from the cells above.",
            "It returns two numbers, the ends of the interval. The first is the lower one.",
        ),
        mistakes=(
            Mistake(
                "That is the textbook formula, whose interval has no width when all are found. Use "
                "`wilson`.",
                like=lambda: 1.0,
            ),
            Mistake(
                "That is the rule of three, a quick one-sided bound. Use `wilson`.",
                like=lambda: 1 - 3 / 20,
            ),
            Mistake(
                "That is the exact (Clopper-Pearson) interval, which is a little wider than "
                "Wilson's. Use `wilson`.",
                like=lambda: 0.025 ** (1 / 20),
            ),
            Mistake(
                "That is the exact bound for one side. Wilson's interval has two sides: use "
                "`wilson`.",
                like=lambda: 0.05 ** (1 / 20),
            ),
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
        name="04-act",
        question="Nine unnecessary treatments rather than one miss: from which risk on does she act?",
        kind=Number(tolerance=0.002, low=0, high=1),
        expected=lambda: 1 / (1 + 9),
        right="Of ten people at this risk, one has pneumonia: exactly the trade-off that she accepts.",
        hints=(
            "Imagine ten people who all have exactly this risk. How many of them have pneumonia, if "
            "treating all ten is only just worth it?",
            "Nine are treated unnecessarily and one needs it: what share needs it?",
        ),
        mistakes=(
            Mistake(
                "That is the odds, one to nine. A risk compares the one with all ten.",
                like=lambda: 1 / 9,
            ),
            Mistake(
                "That is the other way round: she would treat only when pneumonia is nearly "
                "certain.",
                like=lambda: 0.9,
            ),
            Mistake(
                "At 0.5 both errors would be equally bad to her. They are not.",
                like=lambda: 0.5,
            ),
        ),
    ),
)

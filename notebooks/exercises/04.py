"""Exercises of notebook 4, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Mistake, Number

Called = NDArray[np.bool_]
Scores = Sequence[float]


def _of(group: Called, hit: Called) -> float:
    """Return the share of a group that is a hit; -1, which nobody answers, when it is empty."""
    return float(np.mean(hit[group])) if group.any() else -1.0


def _pairs(tie: float) -> Callable[[Scores, Scores], float]:
    """Return the share of pairs won, with a tie counting ``tie``."""

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
        question="Of the ill, which share does the network find at a threshold of 0.5?",
        kind=Number(tolerance=0.004, low=0, high=1),
        expected=lambda y_true, called_ill: _of(y_true == 1, called_ill),
        right="It finds this share of the ill; the others go home untreated.",
        hints=(
            "Look at one row of the table only: that of the ill.",
            "Put the ill who were found above the line, and all the ill below it.",
        ),
        mistakes=(
            Mistake(
                "That is the PPV: of those *called* ill, how many are. Divide by the ill instead.",
                like=lambda y_true, called_ill: _of(called_ill, y_true == 1),
            ),
            Mistake(
                "That is the specificity: it starts from the healthy. Take the row of the ill.",
                like=lambda y_true, called_ill: _of(y_true == 0, ~called_ill),
            ),
            Mistake(
                "That is the accuracy, which counts the healthy too. Take the row of the ill.",
                like=lambda y_true, called_ill: float(np.mean(called_ill == (y_true == 1))),
            ),
            Mistake(
                "That is the share of the ill that is *missed*. How many are found?",
                like=lambda y_true, called_ill: _of(y_true == 1, ~called_ill),
            ),
            Mistake(
                "You divided by everybody. The question is about the ill only.",
                like=lambda y_true, called_ill: float(np.mean(called_ill & (y_true == 1))),
            ),
        ),
    ),
    Exercise(
        name="04-pairs",
        question="Of all pairs of an ill and a healthy person, which share does the ill one win?",
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
            "Go through the ill; for each of them go through all the healthy, and count.",
            "Three things can happen to a pair: won, lost, or a tie, which counts one half.",
            "At the end divide by the number of pairs, not of people.",
        ),
        mistakes=(
            Mistake(
                "Ties are counted as lost. A tie says nothing either way: it counts one half.",
                like=_pairs(0.0),
            ),
            Mistake(
                "Ties are counted as won. A tie says nothing either way: it counts one half.",
                like=_pairs(1.0),
            ),
            Mistake(
                "These are the pairs that the *healthy* one wins. Turn the comparison round.",
                like=lambda ill, healthy: _pairs(0.5)(healthy, ill),
            ),
            Mistake(
                "That is how many pairs are won. Which *share* of all pairs is it?",
                like=lambda ill, healthy: _pairs(0.5)(ill, healthy) * len(ill) * len(healthy),
            ),
            Mistake(
                "Each ill person met one healthy person only. Everyone has to meet everyone: it "
                "takes a loop within a loop.",
                like=_one_partner_each,
            ),
        ),
    ),
    Exercise(
        name="04-twenty",
        question="All 20 of 20 ill people were found: where does Wilson's 95 % interval begin?",
        kind=Number(tolerance=0.0015, low=0, high=1),
        expected=lambda: 20 / (20 + 1.959964**2),
        right="A test that misses one ill person in ten finds twenty of twenty one time in eight.",
        hints=(
            "The function `wilson` from the cells above does the work.",
            "It returns two numbers, the ends of the interval. The first is the lower one.",
        ),
        mistakes=(
            Mistake(
                "That is the school formula, whose interval has no width when all are found. Use "
                "`wilson`.",
                like=lambda: 1.0,
            ),
            Mistake(
                "That is the rule of three, a quick bound for one side only. Use `wilson`.",
                like=lambda: 1 - 3 / 20,
            ),
            Mistake(
                "That is the exact (Clopper-Pearson) interval, a little more careful than "
                "Wilson's. Use `wilson`.",
                like=lambda: 0.025 ** (1 / 20),
            ),
            Mistake(
                "That is the exact bound for one side. Wilson's interval looks at both: use "
                "`wilson`.",
                like=lambda: 0.05 ** (1 / 20),
            ),
        ),
    ),
    Exercise(
        name="04-ppv",
        question="Of those called ill, which share is ill, at any prevalence?",
        kind=Function(
            cases=((0.5, 0.9, 0.8), (0.01, 0.9, 0.8), (0.2, 0.7, 0.95)),
            tolerance=1e-6,
        ),
        expected=_ppv,
        right="The same test, and a different answer in each place where it is used.",
        hints=(
            "Four kinds of people: which two kinds are called ill?",
            "The healthy are 1 - prevalence of everybody, and 1 - specificity of them are alarmed.",
            "Ill and found, divided by everybody who was called ill.",
        ),
        mistakes=(
            Mistake(
                "That is the NPV: it starts from those called healthy. Start from those called "
                "ill.",
                like=lambda prevalence, se, sp: _ppv(1 - prevalence, sp, se),
            ),
            Mistake(
                "The prevalence is left out, as if half of the people were ill. Weigh both kinds "
                "of people by how many there are.",
                like=lambda prevalence, se, sp: _ppv(0.5, se, sp),
            ),
            Mistake(
                "You took the healthy who are left in peace for those who are alarmed. Which "
                "share of the healthy is alarmed?",
                like=lambda prevalence, se, sp: _ppv(prevalence, se, 1 - sp),
            ),
            Mistake(
                "That is the share of *everybody* who is ill and found. Divide by all who were "
                "called ill.",
                like=lambda prevalence, se, sp: prevalence * se,
            ),
            Mistake(
                "That is the sensitivity, which starts from the ill. Start from those called ill.",
                like=lambda prevalence, se, sp: se,
            ),
            Mistake(
                "Only the healthy can be alarmed for nothing, and you counted everybody as "
                "healthy.",
                like=lambda prevalence, se, sp: prevalence * se / (prevalence * se + 1 - sp),
            ),
        ),
    ),
    Exercise(
        name="04-act",
        question="Nine needless treatments rather than one miss: from which risk on to act?",
        kind=Number(tolerance=0.002, low=0, high=1),
        expected=lambda: 1 / (1 + 9),
        right="Of ten people at this risk one is ill: exactly the trade that she accepts.",
        hints=(
            "Picture ten people who all have just this risk. How many of them are ill, if the "
            "trade is only just worth it?",
            "Nine treated for nothing and one who needed it: which share needed it?",
        ),
        mistakes=(
            Mistake(
                "That is the odds, one to nine. A risk compares the one with all ten.",
                like=lambda: 1 / 9,
            ),
            Mistake(
                "That is the other way round: at such a risk she would treat only the nearly "
                "certain.",
                like=lambda: 0.9,
            ),
            Mistake(
                "At one half she would hold both errors to be equally bad. She does not.",
                like=lambda: 0.5,
            ),
        ),
    ),
)

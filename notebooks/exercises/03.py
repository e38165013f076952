"""Exercises of notebook 3, fine-tune."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Mistake, Numbers, Whole

Three = NDArray[np.float64]


def _lazy(ill: int, films: int) -> list[float]:
    return [(films - ill) / films, 0.0, 1.0]


def _balanced(counts: Sequence[int]) -> list[float]:
    return [sum(counts) / (len(counts) * count) for count in counts]


def _kept(losses: Sequence[float], patience: int) -> int:
    best = 1
    for epoch, loss in enumerate(losses, start=1):
        if loss < losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best


def _lowest_of_all(losses: Sequence[float], patience: int) -> int:
    return losses.index(min(losses)) + 1


def _where_it_stopped(losses: Sequence[float], patience: int) -> int:
    return min(_kept(losses, patience) + patience, len(losses))


def _first_rise(losses: Sequence[float], patience: int) -> int:
    return _kept(losses, 1)


def _ties_gain(losses: Sequence[float], patience: int) -> int:
    best = 1
    for epoch, loss in enumerate(losses, start=1):
        if loss <= losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best


def _without_reset(losses: Sequence[float], patience: int) -> int:
    best, stale = 1, 0
    for epoch, loss in enumerate(losses[1:], start=2):
        if loss < losses[best - 1]:
            best = epoch
        else:
            stale += 1
        if stale >= patience:
            break
    return best


EXERCISES = (
    Exercise(
        name="03-dummy",
        question="What are the accuracy, sensitivity and specificity of calling all films normal?",
        kind=Numbers(length=3, tolerance=0.004),
        expected=_lazy,
        right="An accuracy to be proud of, and not one ill person found: never report it alone.",
        hints=(
            "On which of the films is the rule right?",
            "Sensitivity looks at the ill only: how many of them does the rule call ill?",
            "Specificity looks at the healthy only: how many of them are left in peace?",
        ),
        mistakes=(
            Mistake(
                "The last two are the wrong way round: *sensitivity* is about the ill, "
                "*specificity* about the healthy.",
                like=lambda ill, films: [(films - ill) / films, 1.0, 0.0],
            ),
            Mistake(
                "Your accuracy is the share of the ill. The rule is right on the others.",
                when=lambda value, ill, films: abs(float(value[0]) - ill / films) < 0.004,
            ),
            Mistake(
                "Fractions are asked, between 0 and 1, not percentages or counts.",
                when=lambda value: bool(np.max(value) > 1),
            ),
            Mistake(
                "Look at the sensitivity again: does this rule ever call an ill person ill?",
                when=lambda value: float(value[1]) > 0.004,
            ),
            Mistake(
                "Look at the specificity again: is a single healthy person alarmed?",
                when=lambda value: float(value[2]) < 0.996,
            ),
        ),
    ),
    Exercise(
        name="03-head",
        question="How many numbers are in a head from 512 features to three classes?",
        kind=Whole(),
        expected=lambda: 512 * 3 + 3,
        right="Against millions in the backbone: that is why a head can be learned from few films.",
        hints=(
            "Draw one class as a box, and a line to it from each feature.",
            "Do not forget the constant of each class.",
        ),
        mistakes=(
            Mistake(
                "The biases are missing: one more number for each class.",
                when=lambda value: value == 512 * 3,
            ),
            Mistake(
                "There is a bias for each class, not just one.", when=lambda value: value == 1537
            ),
            Mistake(
                "That is the head of one class. Each of the three has its own weights and bias.",
                when=lambda value: value in (512, 513),
            ),
            Mistake(
                "A bias belongs to a class, not to a feature.", when=lambda value: value == 2048
            ),
        ),
    ),
    Exercise(
        name="03-steps",
        question="How often do the weights change in 6 epochs of 200 films, 32 a batch?",
        kind=Whole(),
        expected=lambda: 6 * 7,
        right="The last batch of an epoch is smaller, and still makes a step.",
        hints=(
            "How many batches does one epoch need, so that every film is shown?",
            "Six full batches hold 192 films. What about the others?",
        ),
        mistakes=(
            Mistake(
                "Eight films an epoch were left over: they make a batch of their own.",
                when=lambda value: value == 36,
            ),
            Mistake("That is one epoch. There are six.", when=lambda value: value in (6, 7)),
            Mistake(
                "No batch mixes two epochs: round up within each epoch, then multiply.",
                when=lambda value: value in (37, 38),
            ),
            Mistake(
                "The weights change once a *batch*, not once a film.",
                when=lambda value: value == 1200,
            ),
        ),
    ),
    Exercise(
        name="03-weights",
        question="Which weight does each class get, so that all classes weigh the same in sum?",
        kind=Function(cases=(([30, 10],), ([5, 20, 75],), ([42, 28],)), tolerance=0.002),
        expected=_balanced,
        right="Weight times count is the same for each class, and the mean weight of a film is 1.",
        hints=(
            "Go through the counts; for each of them compute one number.",
            "`sum(counts)` is the number of films, `len(counts)` the number of classes.",
        ),
        mistakes=(
            Mistake(
                "The proportions are right, but divide by the number of classes as well: so the "
                "mean weight of a film stays 1, and the learning rate keeps its meaning.",
                like=lambda counts: [sum(counts) / count for count in counts],
            ),
            Mistake(
                "That gives the *common* class the large weight. Turn the fraction round.",
                like=lambda counts: [len(counts) * count / sum(counts) for count in counts],
            ),
            Mistake(
                "Those are the shares of the classes; the rare class needs the large number.",
                like=lambda counts: [count / sum(counts) for count in counts],
            ),
            Mistake(
                "The proportions are right, but the size depends on how many films there are: "
                "put the total above the line.",
                like=lambda counts: [1 / count for count in counts],
            ),
            Mistake(
                "The number of classes is not always two: take it from the list.",
                like=lambda counts: [sum(counts) / (2 * count) for count in counts],
            ),
        ),
    ),
    Exercise(
        name="03-stop",
        question="Which epoch's weights does early stopping keep?",
        kind=Function(
            cases=(
                ([0.70, 0.60, 0.50, 0.55, 0.56, 0.40], 2),
                ([0.70, 0.60, 0.65, 0.50, 0.55, 0.45], 2),
                ([0.60, 0.50, 0.50, 0.50, 0.70], 2),
                ([0.70, 0.72, 0.60, 0.61], 3),
                ([0.90, 0.80, 0.70], 1),
            ),
            tolerance=0.0,
        ),
        expected=_kept,
        right="It may miss a better epoch behind the hill: that is the price of not waiting.",
        hints=(
            "Remember two things while you go through the list: the best epoch, and where you are.",
            "`enumerate(losses, start=1)` gives the epoch and its loss.",
            "Stop when the present epoch is `patience` or more behind the best one.",
        ),
        mistakes=(
            Mistake(
                "That is the lowest loss of the whole list. The rule had stopped before it could "
                "see some of these epochs.",
                like=_lowest_of_all,
            ),
            Mistake(
                "That is the epoch in which training stopped. The weights that are kept are those "
                "of the best epoch before it.",
                like=_where_it_stopped,
            ),
            Mistake(
                "That stops at the first epoch without a gain. Wait for `patience` of them.",
                like=_first_rise,
            ),
            Mistake(
                "Epochs are counted from 1 here, positions in a list from 0.",
                like=lambda losses, patience: _kept(losses, patience) - 1,
            ),
            Mistake("An equal loss is no gain: compare with <, not <=.", like=_ties_gain),
            Mistake(
                "Epochs without a gain have to come *in a row*: after a gain, count anew.",
                like=_without_reset,
            ),
        ),
    ),
)

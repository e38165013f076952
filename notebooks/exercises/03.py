"""Exercises of notebook 3, fine-tune."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Mistake, Numbers, Whole

Three = NDArray[np.float64]


def _lazy(positives: int, images: int) -> list[float]:
    return [(images - positives) / images, 0.0, 1.0]


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
        question="What are the accuracy, sensitivity and specificity when every image is called normal?",
        kind=Numbers(length=3, tolerance=0.004),
        expected=_lazy,
        right="A high accuracy, and no pneumonia found: never report accuracy alone.",
        hints=(
            "For which images is the rule right?",
            "Sensitivity: of the images with pneumonia, how many does the rule call positive?",
            "Specificity: of the images without pneumonia, how many does the rule call normal?",
        ),
        mistakes=(
            Mistake(
                "The last two are the wrong way round: *sensitivity* is about images with pneumonia, "
                "*specificity* about images without.",
                like=lambda positives, images: [(images - positives) / images, 1.0, 0.0],
            ),
            Mistake(
                "Your accuracy is the share with pneumonia. The rule is right for the others.",
                when=lambda value, positives, images: (
                    abs(float(value[0]) - positives / images) < 0.004
                ),
            ),
            Mistake(
                "Give fractions between 0 and 1, not percentages or counts.",
                when=lambda value: bool(np.max(value) > 1),
            ),
            Mistake(
                "Check the sensitivity: does this rule ever call an image positive?",
                when=lambda value: float(value[1]) > 0.004,
            ),
            Mistake(
                "Check the specificity: does this rule ever give a false alarm?",
                when=lambda value: float(value[2]) < 0.996,
            ),
        ),
    ),
    Exercise(
        name="03-head",
        question="How many numbers are in a head with 512 features and three classes?",
        kind=Whole(),
        expected=lambda: 512 * 3 + 3,
        right="The backbone has millions. That is why a few images can be enough to train a head.",
        hints=(
            "Draw one class as a box, and a line from each feature to the box.",
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
        question="How many times do the weights change in 6 epochs of 200 images, 32 per batch?",
        kind=Whole(),
        expected=lambda: 6 * 7,
        right="The last batch of an epoch is smaller, but it is also one step.",
        hints=(
            "How many batches does one epoch need to show every image?",
            "Six full batches hold 192 images. What about the others?",
        ),
        mistakes=(
            Mistake(
                "Eight images per epoch are left over: they form one more batch.",
                when=lambda value: value == 36,
            ),
            Mistake("That is one epoch. There are six.", when=lambda value: value in (6, 7)),
            Mistake(
                "No batch mixes two epochs: round up for one epoch, then multiply.",
                when=lambda value: value in (37, 38),
            ),
            Mistake(
                "The weights change once per *batch*, not once per image.",
                when=lambda value: value == 1200,
            ),
        ),
    ),
    Exercise(
        name="03-weights",
        question="Which weight gives every class the same total weight?",
        kind=Function(cases=(([30, 10],), ([5, 20, 75],), ([42, 28],)), tolerance=0.002),
        expected=_balanced,
        right="Weight times count is the same for each class, and the mean weight of an image is 1.",
        hints=(
            "Loop over the counts and compute one number for each.",
            "`sum(counts)` is the number of images, `len(counts)` the number of classes.",
        ),
        mistakes=(
            Mistake(
                "The proportions are right, but divide by the number of classes as well: then the "
                "mean weight of an image is 1, and the learning rate keeps its meaning.",
                like=lambda counts: [sum(counts) / count for count in counts],
            ),
            Mistake(
                "That gives the *common* class the large weight. Invert the fraction.",
                like=lambda counts: [len(counts) * count / sum(counts) for count in counts],
            ),
            Mistake(
                "Those are the shares of the classes. The rare class needs the largest weight.",
                like=lambda counts: [count / sum(counts) for count in counts],
            ),
            Mistake(
                "The proportions are right, but the weights depend on the number of images: "
                "the numerator has to be the total.",
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
        right="It may miss a better epoch later: that is the price of stopping early.",
        hints=(
            "Keep two things as you go through the list: the best epoch and the current epoch.",
            "`enumerate(losses, start=1)` gives the epoch and its loss.",
            "Stop when the current epoch is `patience` or more epochs after the best one.",
        ),
        mistakes=(
            Mistake(
                "That is the lowest loss of the whole list. The rule stops before it sees some of "
                "these epochs.",
                like=_lowest_of_all,
            ),
            Mistake(
                "That is the epoch in which training stopped. The rule keeps the weights of the best "
                "epoch before it.",
                like=_where_it_stopped,
            ),
            Mistake(
                "That stops at the first epoch without an improvement. Wait for `patience` of them.",
                like=_first_rise,
            ),
            Mistake(
                "Epochs are counted from 1 here, positions in a list from 0.",
                like=lambda losses, patience: _kept(losses, patience) - 1,
            ),
            Mistake(
                "An equal loss is not an improvement: compare with <, not <=.", like=_ties_gain
            ),
            Mistake(
                "Count only epochs without improvement *in a row*: after an improvement, start again.",
                like=_without_reset,
            ),
        ),
    ),
)

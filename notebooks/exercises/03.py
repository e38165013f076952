"""Exercises of notebook 3, fine-tune."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Made, Mistake
from medimg.exercises.kinds import asked

Three = NDArray[np.float64]


def _three(answer: Any) -> Three:
    """Look at three numbers."""
    value: Three = np.asarray(answer, dtype=np.float64)
    if value.shape != (3,) or not np.isfinite(value).all():
        raise asked("a list of 3 finite numbers", answer)
    return value


def _near(value: Three, positives: int, images: int, others: Sequence[float]) -> bool:
    """Say whether the answer is the accuracy of calling every image normal, and two others."""
    return np.allclose(value, [(images - positives) / images, *others], rtol=0, atol=0.004)


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


def _trained(result: Any) -> dict[str, Any]:
    """Look at a training: how it was done, and that it was done."""
    return {**result.settings, "epochs trained": len(result.history)}


def _changed(result: dict[str, Any], first: Any) -> set[str]:
    """Return the names of the settings that differ."""
    before = {**first.settings, "epochs trained": result["epochs trained"]}
    return {name for name in result.keys() | before.keys() if result.get(name) != before.get(name)}


def _faster(result: dict[str, Any], first: Any) -> bool:
    return math.isclose(result["learning_rate"], 100 * first.settings["learning_rate"])


def _drawn(ax: Any, history: Any, name: str, shift: int = 0) -> bool:
    """Say whether a column of the history is drawn against the epoch."""
    wanted = np.column_stack([np.asarray(history.index) - shift, history[name]])
    lines = [np.asarray(line.get_xydata(), float) for line in ax.lines]
    return any(line.shape == wanted.shape and np.allclose(line, wanted) for line in lines)


def _marked(ax: Any, kept: int) -> bool:
    return any(set(np.asarray(line.get_xdata(), float)) == {float(kept)} for line in ax.lines)


def _named(ax: Any) -> bool:
    return bool(ax.get_xlabel() and ax.get_ylabel() and ax.get_legend())


EXERCISES = (
    Exercise(
        name="03-dummy",
        question="What are the accuracy, sensitivity and specificity when every image is called normal?",
        kind=Made("a list of 3 finite numbers", look=_three),
        expected=lambda value, positives, images: _near(value, positives, images, (0, 1)),
        right="A high accuracy, and no pneumonia found: never report accuracy alone.",
        hints=(
            "For which images is the rule right? Divide their number by the number of all images.",
            "Sensitivity: of the images with pneumonia, how many does the rule call positive?",
            "Specificity: of the images without pneumonia, how many does the rule call normal?",
        ),
        mistakes=(
            Mistake(
                "The last two are the wrong way round. *Sensitivity* is about images with pneumonia, "
                "*specificity* is about images without.",
                when=lambda value, positives, images: _near(value, positives, images, (1, 0)),
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
        name="03-rate",
        question="Train with a learning rate that is a hundred times higher.",
        kind=Made("a training: what `training.fit` returns", look=_trained),
        expected=lambda hasty, slow: (
            _changed(hasty, slow) == {"learning_rate"} and _faster(hasty, slow)
        ),
        right="Compare `hasty.history` with `theirs.history`. Large steps can overwrite what "
        "pretraining had learned; whether they help, only validation images can tell.",
        hints=(
            "`replace(bare, learning_rate=...)` copies the settings and changes one.",
            "The rate was 3e-5; a hundred times more is 3e-3. Build a new network first.",
        ),
        mistakes=(
            Mistake(
                "The learning rate is the same as before.",
                when=lambda value, slow: "learning_rate" not in _changed(value, slow),
            ),
            Mistake(
                "Something else was changed, too. Then nobody can tell which of the two it was.",
                when=lambda value, slow: len(_changed(value, slow)) > 1,
            ),
            Mistake(
                "The rate was changed, but not to a hundred times as much.",
                when=lambda value, slow: not _faster(value, slow),
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
            "Begin with an empty list. Loop over the counts, compute one number for each, and append it.",
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
        name="03-curves",
        question="Draw both losses against the epoch, and the epoch that was kept.",
        kind=Made("the axes of your figure", look=lambda answer: answer.figure.axes[0]),
        expected=lambda ax, history, kept: (
            all(_drawn(ax, history, name) for name in ("train_loss", "val_loss"))
            and _marked(ax, kept)
            and _named(ax)
        ),
        right="Read it from left to right: from which epoch on do the two curves go different ways?",
        hints=(
            "Begin with `figure, ax = plt.subplots()`. `watched.history` has a row for each epoch; its "
            "index is the epoch's number.",
            '`ax.plot(watched.history.index, watched.history["val_loss"], label="validation")` '
            "draws one curve.",
            "`ax.axvline(x)` draws a vertical line; `ax.set(xlabel=..., ylabel=...)` names the axes.",
        ),
        mistakes=(
            Mistake(
                "The epochs are counted from 1 in the table: give the index as x.",
                when=lambda value, history: _drawn(value, history, "val_loss", shift=1),
            ),
            Mistake(
                "One of the two losses is missing, or its numbers are not those of the table.",
                when=lambda value, history: (
                    not all(_drawn(value, history, name) for name in ("train_loss", "val_loss"))
                ),
            ),
            Mistake(
                "The vertical line at the epoch that was kept is missing, or is in another place.",
                when=lambda value, kept: not _marked(value, kept),
            ),
            Mistake(
                "Nobody can read a figure without names: label both axes, and add a legend.",
                when=lambda value: not _named(value),
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
        right="Early stopping may miss a better epoch that comes later. In return it saves time.",
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

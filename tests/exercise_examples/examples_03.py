from types import SimpleNamespace

import pandas as pd
from matplotlib.figure import Figure

HISTORY = pd.DataFrame(
    {"train_loss": [0.9, 0.5, 0.2], "val_loss": [0.8, 0.6, 0.7]},
    index=pd.RangeIndex(1, 4, name="epoch"),
)


def trained(**settings):
    before = {"learning_rate": 3e-5, "epochs": 1, "seed": 0}
    return SimpleNamespace(settings={**before, **settings}, history=[1])


def curves(x=(1, 2, 3), columns=("train_loss", "val_loss"), kept=2, ylabel="loss"):
    ax = Figure().subplots()
    for name in columns:
        ax.plot(x, HISTORY[name], label=name)
    if kept is not None:
        ax.axvline(kept)
    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.legend()
    return ax


def balanced(counts):
    return [sum(counts) / (len(counts) * count) for count in counts]


def kept_epoch(losses, patience):
    best = 1
    for epoch, loss in enumerate(losses, start=1):
        if loss < losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best


def kept_by_counting(losses, patience):
    best, stale = 0, 0
    for position in range(1, len(losses)):
        gained = losses[position] < losses[best]
        best, stale = (position, 0) if gained else (best, stale + 1)
        if stale == patience:
            break
    return best + 1


def without_reset(losses, patience):
    best, stale = 0, 0
    for position in range(1, len(losses)):
        if losses[position] < losses[best]:
            best = position
        else:
            stale += 1
        if stale == patience:
            break
    return best + 1


def last_of_equals(losses, patience):
    best = 1
    for epoch, loss in enumerate(losses, start=1):
        if loss <= losses[best - 1]:
            best = epoch
        elif epoch - best >= patience:
            break
    return best


EXAMPLES = {
    "03-dummy": {
        "context": {"positives": 12, "images": 400},
        "right": [[0.97, 0, 1], (388 / 400, 0.0, 1.0)],
        "wrong": [
            ([0.97, 1, 0], "wrong way round"),
            ([0.03, 0, 1], "share with pneumonia"),
            ([97, 0, 100], "not percentages"),
            ([0.97, 0.03, 1], "ever call an image positive"),
            ([0.97, 0, 0.97], "ever give a false alarm"),
        ],
    },
    "03-rate": {
        "context": {"slow": trained()},
        "right": [trained(learning_rate=3e-3), trained(learning_rate=0.003)],
        "wrong": [
            (trained(), "same as before"),
            (trained(learning_rate=3e-3, epochs=2), "Something else"),
            (trained(learning_rate=3e-4), "not to a hundred times"),
            (HISTORY, "a training"),
        ],
    },
    "03-weights": {
        "context": {},
        "right": [balanced],
        "wrong": [
            (lambda counts: [sum(counts) / c for c in counts], "number of classes as well"),
            (lambda counts: [len(counts) * c / sum(counts) for c in counts], "Invert the fraction"),
            (lambda counts: [c / sum(counts) for c in counts], "shares of the classes"),
            (lambda counts: [1 / c for c in counts], "has to be the total"),
            (lambda counts: [sum(counts) / (2 * c) for c in counts], "not always two"),
        ],
    },
    "03-curves": {
        "context": {"history": HISTORY, "kept": 2},
        "right": [curves(), curves().figure],
        "wrong": [
            (curves(x=(0, 1, 2)), "counted from 1"),
            (curves(columns=("val_loss",)), "One of the two losses"),
            (curves(kept=3), "vertical line"),
            (curves(kept=None), "vertical line"),
            (curves(ylabel=""), "label both axes"),
            (HISTORY, "the axes of your figure"),
        ],
    },
    "03-stop": {
        "context": {},
        "right": [kept_epoch, kept_by_counting],
        "wrong": [
            (lambda losses, patience: losses.index(min(losses)) + 1, "lowest loss of the whole"),
            (
                lambda losses, patience: min(kept_epoch(losses, patience) + patience, len(losses)),
                "training stopped",
            ),
            (lambda losses, patience: kept_epoch(losses, 1), "first epoch without an improvement"),
            (lambda losses, patience: kept_epoch(losses, patience) - 1, "counted from 1"),
            (last_of_equals, "not an improvement"),
            (without_reset, "in a row"),
        ],
    },
}

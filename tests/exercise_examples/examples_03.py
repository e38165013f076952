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
    "03-head": {
        "context": {},
        "right": [1539, 513 * 3],
        "wrong": [
            (1536, "biases are missing"),
            (1537, "a bias for each class"),
            (513, "head of one class"),
            (2048, "belongs to a class"),
        ],
    },
    "03-steps": {
        "context": {},
        "right": [42, 6 * 7],
        "wrong": [
            (36, "left over"),
            (7, "one epoch"),
            (38, "mixes two epochs"),
            (1200, "once per"),
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

import numpy as np


def gap(y_true, y_called, group):
    shares = []
    for g in (0, 1):
        ill = (y_true == 1) & (group == g)
        shares.append(np.sum(y_called[ill]) / np.sum(ill))
    return shares[1] - shares[0]


def swapped(y_true, y_called, group):
    return -gap(y_true, y_called, group)


def accuracy_gap(y_true, y_called, group):
    right = y_true == y_called
    return right[group == 1].mean() - right[group == 0].mean()


def ppv_gap(y_true, y_called, group):
    return (
        y_true[(y_called == 1) & (group == 1)].mean()
        - y_true[(y_called == 1) & (group == 0)].mean()
    )


def over_everyone(y_true, y_called, group):
    found = y_true * y_called
    return found[group == 1].mean() - found[group == 0].mean()


EXAMPLES = {
    "06-pointing": {
        "context": {},
        "right": [["a", "c", "e"], "a, C, e", {"e", "c", "a"}],
        "wrong": [
            (["a", "b", "c", "e"], "settings of the machine"),
            (["a", "c"], "Look again at the UID"),
            (["a", "e"], "implant"),
            (["c", "e"], "schedule knows"),
            (7, "list of letters"),
        ],
    },
    "06-gap": {
        "context": {},
        "right": [gap],
        "wrong": [
            (swapped, "wrong sign"),
            (accuracy_gap, "gap in accuracy"),
            (ppv_gap, "gap in PPV"),
            (over_everyone, "Divide by the number with the disease"),
            (0.25, "the function itself"),
        ],
    },
    "06-recruit": {
        "context": {},
        "right": [3825, 3825.0, 3813, 3837],
        "wrong": [
            (306, "how many patients in total"),
            (24.5, "multiplied by the prevalence"),
            (2738, "for a sensitivity of 0.90"),
            (333, "share without the disease"),
            ("3825", "without quotes"),
        ],
    },
    "06-validation": {
        "context": {},
        "right": ["b", "B"],
        "wrong": [("a", "Internal means"), ("c", "Prospective means"), ("external", "one of")],
    },
}

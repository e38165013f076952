import numpy as np

PATIENTS = np.repeat([f"g{n}" for n in range(10)], 3)


def leaked(patients, in_test):
    inside = {p for p, t in zip(patients, in_test, strict=True) if t}
    return len({p for p, t in zip(patients, in_test, strict=True) if not t} & inside)


def everybody(patients, in_test):
    return len({p for p, t in zip(patients, in_test, strict=True) if t})


def each_slice(patients, in_test):
    sides = {p: set() for p in patients}
    for patient, chosen in zip(patients, in_test, strict=True):
        sides[patient].add(chosen)
    return sum(len(sides[p]) == 2 for p in patients)


EXAMPLES = {
    "07-leaked": {
        "context": {},
        "right": [leaked],
        "wrong": [
            (everybody, "all patients in the test set"),
            (each_slice, "however many slices"),
        ],
    },
    "07-split": {
        "context": {"patients": PATIENTS},
        "right": [np.isin(PATIENTS, ["g3", "g7"]), np.isin(PATIENTS, ["g0"]).tolist()],
        "wrong": [
            (np.arange(30) < 7, "Some patients are on both sides"),
            (np.zeros(30, bool), "about a fifth of the patients should"),
            (np.zeros(8, bool), "one value for each slice"),
            (["g3", "g7"], "one True or False per slice"),
        ],
    },
    "07-designs": {
        "context": {},
        "right": [["a", "d"], "d, a"],
        "wrong": [
            (["a", "b", "d"], "In (b) whole patients"),
            (["c"], "In (c) the split came first"),
            (["a"], "There is a second one"),
        ],
    },
}

from types import SimpleNamespace


def turn(dial):
    internal, west = 0.8 + 0.1 * dial, 0.85 - 0.3 * dial
    return {"internal": SimpleNamespace(value=internal), "west": SimpleNamespace(value=west)}


EXAMPLES = {
    "10-dial": {
        "context": {"turn": turn},
        "right": [0.31, 0.3101],
        "wrong": [
            (-0.31, "the other way round"),
            (0.35, "dial at 1"),
            (-0.05, "dial at 0"),
            (0.89, "internal AUC alone"),
            (0.58, "AUC at west alone"),
        ],
    },
    "10-designs": {
        "context": {},
        "right": [["b", "d"], "d, b"],
        "wrong": [
            (["a", "b", "d"], "In (a) the test images"),
            (["c"], "In (c) the other hospital"),
            (["b"], "There is a second one"),
        ],
    },
}

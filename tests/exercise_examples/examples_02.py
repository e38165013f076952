EXAMPLES = {
    "02-plausible": {
        "context": {},
        "right": [["a", "b", "d"], {"d", "b", "a"}, ["A", "b", "d"]],
        "wrong": [
            (["a", "b", "c", "d"], "corrected when they are loaded"),
            (["b", "d"], "Think about the flip again"),
            (["a", "b"], "perfectly straight"),
        ],
    },
    "02-pixel": {
        "context": {},
        "right": [0.85, 0.851],
        "wrong": [
            (1.1, "distance from mid-grey"),
            (0.35, "again after the slope"),
            (0.95, "offset is missing"),
            (1.05, "pixel darker"),
        ],
    },
    "02-real": {
        "context": {},
        "right": ["c", "C"],
        "wrong": [
            ("a", "do not rule them out"),
            ("b", "may still exist"),
            ("d", "can be negative"),
        ],
    },
}

EXAMPLES = {
    "02-plausible": {
        "context": {},
        "right": [["a", "b", "d"], {"d", "b", "a"}, ["A", "b", "d"]],
        "wrong": [
            (["a", "b", "c", "d"], "set right when they are loaded"),
            (["b", "d"], "Think again of the flip"),
            (["a", "b"], "perfectly straight"),
        ],
    },
    "02-pixel": {
        "context": {},
        "right": [0.85, 0.851],
        "wrong": [
            (1.1, "turns about mid-grey"),
            (0.35, "put back after the slope"),
            (0.95, "offset is still missing"),
            (1.05, "it darkens"),
        ],
    },
    "02-real": {
        "context": {},
        "right": ["c", "C"],
        "wrong": [("a", "do not rule them out"), ("b", "not seen"), ("d", "can be negative")],
    },
}

EXAMPLES = {
    "05-weight": {
        "context": {},
        "right": [0.2, 0.201],
        "wrong": [(0.8, "LayerCAM"), (0.1, "channel's weight"), (0.4, "only the upper left")],
    },
    "05-chance": {
        "context": {},
        "right": [7.5],
        "wrong": [(0.26, "factor"), (0.133, "wrong way round"), (0.3, "own result")],
    },
    "05-proof": {
        "context": {},
        "right": ["c"],
        "wrong": [("a", "plausible map"), ("b", "same shortcut"), ("d", "Shuffling")],
    },
}

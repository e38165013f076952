EXAMPLES = {
    "00-ppv": {
        "context": {},
        "right": [72 / 102, 0.71, 0.706],
        "wrong": [
            (0.9, "That is the sensitivity"),
            (0.75, "That is the specificity"),
            (0.81, "That is the accuracy"),
            (0.36, "Divide by the people called positive, not by all"),
            (70.6, "fraction"),
        ],
    },
}

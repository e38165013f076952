from medimg.commands.launch import bill

GIVEN = {"instance": "ml.g5.2xlarge", "size": 320, "megapixels": 4}

EXAMPLES = {
    "11-bill": {
        "context": {"bill": bill},
        "right": [bill(40_000, **GIVEN).usd, round(bill(40_000, **GIVEN).usd, 2)],
        "wrong": [
            (bill(40_000, **GIVEN | {"size": 224}).usd, "images of 224 pixels"),
            (bill(40_000, **GIVEN | {"megapixels": 1}).usd, "files of one megapixel"),
            (sum(bill(40_000, **GIVEN).hours.values()), "number of hours"),
        ],
    },
    "11-cloud": {
        "context": {},
        "right": [["a", "c", "d"], "d, a, c"],
        "wrong": [
            (["a", "b", "c", "d"], "makes training faster"),
            (["c", "d"], "Without (a)"),
            (["a", "d"], "Without (c)"),
            (["a", "c"], "Without (d)"),
        ],
    },
}

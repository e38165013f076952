import numpy as np
from matplotlib.figure import Figure

from medimg.commands.launch import bill

GIVEN = {"instance": "ml.g5.2xlarge", "size": 320, "megapixels": 4}
MACHINES = {"8 processors": "ml.m5.2xlarge", "4 GPUs": "ml.g5.12xlarge"}
COUNTS = np.geomspace(1_000, 1_000_000, 7).round().astype(int)
REQUEST = {
    "TrainingJobName": "trial", "EnableInterContainerTrafficEncryption": True,
    "EnableNetworkIsolation": False, "RoleArn": "role",
    "StoppingCondition": {"MaxRuntimeInSeconds": 9_000, "MaxWaitTimeInSeconds": 9_900},
}  # fmt: skip
NAMED = REQUEST | {"TrainingJobName": "trial-anna-muster-1967"}
DAYS = dict.fromkeys(REQUEST["StoppingCondition"], 432_000)


def drawn(counts=COUNTS, scale="log", machines=MACHINES, of="usd"):
    """Draw the bill of some machines."""
    ax = Figure().subplots()
    for name, instance in machines.items():
        bills = [bill(int(count), instance=instance) for count in counts]
        y = [one.usd if of == "usd" else sum(one.hours.values()) for one in bills]
        ax.plot(counts, y, label=name)
    ax.set(xscale=scale, yscale=scale, xlabel="images", ylabel=of)
    ax.legend()
    return ax


def nameless():
    ax = drawn()
    ax.set_ylabel("")
    return ax


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
    "11-cross": {
        "context": {"bill": bill, "machines": MACHINES},
        "right": [drawn(), drawn().figure, drawn(COUNTS[::-1])],
        "wrong": [
            (drawn(of="hours"), "not the dollars"),
            (drawn(machines={"4 GPUs": "ml.g5.12xlarge"}), "One line is missing"),
            (drawn(COUNTS[:5]), "from 1,000 to 1,000,000"),
            (drawn(scale="linear"), "logarithmic"),
            (nameless(), "Name both axes"),
        ],
    },
    "11-request": {
        "context": {"request": REQUEST},
        "right": [REQUEST, REQUEST | {"TrainingJobName": "a", "EnableNetworkIsolation": True}],
        "wrong": [
            (REQUEST | {"StoppingCondition": DAYS}, "run for days"),
            (NAMED, "who the patient is"),
            (REQUEST | {"EnableInterContainerTrafficEncryption": False}, "still not encrypted"),
            (REQUEST | {"RoleArn": "other"}, "Another entry"),
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

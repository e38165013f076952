"""Exercises of notebook 11, scale and the cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medimg.exercises import Choices, Exercise, Made, Mistake, Number, Problem

Reckon = Callable[..., Any]


def _usd(bill: Reckon, **other: Any) -> float:
    given = {"instance": "ml.g5.2xlarge", "size": 320, "megapixels": 4} | other
    return float(bill(40_000, **given).usd)


def _lines(answer: Any) -> tuple[list[Any], bool, bool]:
    """Look at a figure: its lines, whether both axes are logarithmic, and whether all has a name."""
    ax = answer.figure.axes[0]
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in ax.lines]
    if not lines:
        raise Problem("There is no line in this figure: `ax.plot(x, y)` draws one.")
    logarithmic = ax.get_xscale() == ax.get_yscale() == "log"
    return lines, logarithmic, bool(ax.get_xlabel() and ax.get_ylabel() and ax.get_legend())


def _is_bill(line: Any, bill: Reckon, instance: str) -> bool:
    wanted = [bill(round(count), instance=instance).usd for count in line[:, 0]]
    return bool(np.allclose(line[:, 1], wanted, rtol=0.01))


def _both_bills(drawn: Any, bill: Reckon, machines: dict[str, str]) -> bool:
    return all(any(_is_bill(line, bill, name) for line in drawn[0]) for name in machines.values())


def _covers(drawn: Any) -> bool:
    x = np.concatenate([line[:, 0] for line in drawn[0]])
    return bool(min(map(len, drawn[0])) >= 5 and x.min() <= 1_001 and x.max() >= 999_000)


def _request(answer: Any) -> dict[str, Any]:
    """Look at a request: a dictionary with its entries."""
    if "StoppingCondition" not in answer:
        raise Problem("The request has lost its StoppingCondition, so nothing would end the job.")
    return dict(answer)


def _limited(mended: dict[str, Any], request: dict[str, Any]) -> bool:
    limits, allowed = mended["StoppingCondition"], request["StoppingCondition"]
    return limits.keys() == allowed.keys() and all(
        0 < limits[name] <= allowed[name] for name in allowed
    )


def _anonymous(mended: dict[str, Any]) -> bool:
    name = str(mended.get("TrainingJobName", "")).lower()
    return bool(name) and not any(part in name for part in ("anna", "muster", "1967"))


def _private(mended: dict[str, Any]) -> bool:
    return mended.get("EnableInterContainerTrafficEncryption") is True


def _others(mended: dict[str, Any], request: dict[str, Any]) -> bool:
    """Say whether the other entries are as they were; isolation may be switched on as well."""
    free = {
        "TrainingJobName",
        "StoppingCondition",
        "EnableInterContainerTrafficEncryption",
        "EnableNetworkIsolation",
    }
    return all(mended.get(name) == value for name, value in request.items() if name not in free)


EXERCISES = (
    Exercise(
        name="11-bill",
        question="What does one fit of 40,000 radiographs cost on the GPU machine?",
        kind=Number(tolerance=0.01, low=0, high=1000, unit="dollars"),
        expected=_usd,
        right="Decoding files of 4 megapixels is a large part of it. Ten trials cost ten times that.",
        hints=(
            "`bill` takes the number of images, and by name `instance`, `size` and `megapixels`.",
            "The result has `.usd`, dollars, and `.hours`, the hours of each part.",
        ),
        mistakes=(
            Mistake("That is for images of 224 pixels. Give `size=320`.",
                    like=lambda bill: _usd(bill, size=224)),
            Mistake("That is for files of one megapixel. Give `megapixels=4`.",
                    like=lambda bill: _usd(bill, megapixels=1.0)),
            Mistake("That is the number of hours. Take `.usd`.",
                    like=lambda bill: sum(bill(40_000, instance="ml.g5.2xlarge", size=320,
                                               megapixels=4).hours.values())),
        ),
    ),
    Exercise(
        name="11-cross",
        question="Draw dollars against images for both machines.",
        kind=Made("the axes of your figure", look=_lines),
        expected=lambda drawn, bill, machines: (
            _both_bills(drawn, bill, machines) and _covers(drawn) and drawn[1] and drawn[2]
        ),
        right="Where the lines cross, both cost the same. Hours are another question: the GPUs are "
        "faster before they are cheaper.",
        hints=(
            "`counts = np.geomspace(1_000, 1_000_000, 13).round().astype(int)` gives thirteen "
            "numbers, each the same factor above the one before it.",
            "`[bill(int(count), instance=instance).usd for count in counts]` is one line.",
            '`ax.plot(counts, dollars, label=machine)`, then `ax.set(xscale="log", yscale="log", '
            "xlabel=..., ylabel=...)` and `ax.legend()`.",
        ),
        mistakes=(
            Mistake("One line is missing, or is not the dollars of one fit: `bill(...).usd`.",
                    when=lambda value, bill, machines: not _both_bills(value, bill, machines)),
            Mistake("Draw it from 1,000 to 1,000,000 images, with some points between.",
                    when=lambda value: not _covers(value)),
            Mistake("Make both axes logarithmic: otherwise the small sets cannot be seen.",
                    when=lambda value: not value[1]),
            Mistake("Name both axes, and add a legend: which line is which machine?",
                    when=lambda value: not value[2]),
        ),
    ),
    Exercise(
        name="11-request",
        question="Mend three entries of a request.",
        kind=Made("the request, a dictionary", look=_request),
        expected=lambda mended, request: (
            _limited(mended, request) and _anonymous(mended) and _private(mended)
            and _others(mended, request)
        ),
        right="Read a request before you send it: Amazon checks its form, not what it may cost or "
        "reveal.",
        hints=(
            "Compare the two: `{k: mended[k] for k in mended if mended[k] != request[k]}`.",
            "`StoppingCondition` holds the limits in seconds, `TrainingJobName` the name. The third "
            "entry has *Encryption* in its name.",
        ),
        mistakes=(
            Mistake("The job could still run for days: look at `StoppingCondition`.",
                    when=lambda value, request: not _limited(value, request)),
            Mistake("The name of the job still tells who the patient is.",
                    when=lambda value: not _anonymous(value)),
            Mistake("The traffic between the machines is still not encrypted.",
                    when=lambda value: not _private(value)),
            Mistake("Another entry has changed, too. Change only the three.",
                    when=lambda value, request: not _others(value, request)),
        ),
    ),
    Exercise(
        name="11-cloud",
        question="Which are needed before images of patients go to a cloud?",
        kind=Choices("a", "b", "c", "d"),
        expected=lambda: frozenset("acd"),
        right="Permission, de-identification and the right place. Encryption comes on top of all three.",
        hints=(
            "Which of them would your data protection officer ask about?",
            "One of the four only makes the computation faster.",
        ),
        mistakes=(
            Mistake("(b) makes training faster; it protects nobody.",
                    when=lambda value: "b" in value),
            Mistake("Without (a) the provider may not hold the images, encrypted or not.",
                    when=lambda value: "a" not in value),
            Mistake("Without (c) every copy, log and mistake concerns a person who can be named.",
                    when=lambda value: "c" not in value),
            Mistake("Without (d) the images may lie where your agreement does not reach.",
                    when=lambda value: "d" not in value),
        ),
    ),
)  # fmt: skip

"""Exercises of notebook 6, ethics."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from medimg.exercises import Exercise, Function, Made, Mistake, Number, Problem
from medimg.exercises.kinds import asked

Ints = NDArray[np.int64]
Z = 1.959964
SENSITIVITY, HALF_WIDTH, PREVALENCE = 0.85, 0.04, 0.08


def _patients() -> tuple[tuple[Ints, Ints, Ints], ...]:
    """Three small sets of patients: truth, prediction and group."""
    return tuple(
        (np.array(y), np.array(called), np.array(group))
        for y, called, group in (
            ([1, 1, 1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0, 1, 0, 0, 0], [0] * 6 + [1] * 4),
            ([1, 1, 0, 1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 1, 1, 0, 1], [0, 0, 0, 1, 1, 1, 1, 0, 1]),
            ([1, 0, 1, 1, 0, 1, 1, 0], [1, 1, 0, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0, 0, 1]),
        )
    )


def _gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float(y_called[(y_true == 1) & (group == g)].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _swapped(y_true: Ints, y_called: Ints, group: Ints) -> float:
    return -_gap(y_true, y_called, group)


def _accuracy_gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float((y_true == y_called)[group == g].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _ppv_gap(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float(y_true[(y_called == 1) & (group == g)].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _over_everyone(y_true: Ints, y_called: Ints, group: Ints) -> float:
    shares = [float((y_called * y_true)[group == g].mean()) for g in (0, 1)]
    return shares[1] - shares[0]


def _positives_by_wilson(share: float = SENSITIVITY) -> int:
    """Fewest patients with disease for which Wilson's interval is narrow enough."""
    n = 1
    while True:
        inside = share * (1 - share) / n + Z**2 / (4 * n**2)
        if Z * math.sqrt(inside) / (1 + Z**2 / n) <= HALF_WIDTH:
            return n
        n += 1


def _recruited() -> int:
    return math.ceil(_positives_by_wilson() / PREVALENCE)


def _pixels(path: Any) -> Ints:
    return pydicom.dcmread(path).pixel_array


def _file(path: Any) -> tuple[bytes, Ints]:
    """Look at a DICOM file: its bytes, in small letters, and its pixels."""
    if not isinstance(path, str | os.PathLike):
        raise asked("the path of your file", path)
    try:
        return Path(path).read_bytes().lower(), _pixels(path)
    except Exception as problem:
        raise Problem(f"Your file cannot be read: {problem}") from None


def _left(content: bytes, patient: str, record: str) -> list[str]:
    """Return the parts of the name, and the number, that occur in a file's bytes."""
    parts = [part for part in (*patient.split("^"), record) if len(part) > 3]
    return [part for part in parts if part.lower().encode() in content]


def _two(answer: Any) -> tuple[Any, Any]:
    """Look at two predictions: their scores."""
    on_a, on_b = (np.asarray(one.y_score, dtype=float) for one in answer)
    return on_a, on_b


def _alike(pair: Any, others: Any) -> bool:
    return all(
        one.shape == other.y_score.shape and np.allclose(one, other.y_score, atol=1e-4)
        for one, other in zip(pair, others, strict=True)
    )


EXERCISES = (
    Exercise(
        name="06-leak",
        question="Find the leaks in a colleague's file, and write a copy without them.",
        kind=Made("the path of your file", look=_file),
        expected=lambda file, patient, record, original: (
            not _left(file[0], patient, record)
            and file[1].shape == _pixels(original).shape
            and np.array_equal(file[1], _pixels(original))
        ),
        right="Neither is left in any byte, and every pixel is as it was. How many places did the "
        "script miss?",
        hints=(
            "Print `element.tag`, `element.keyword` and `element.value` for each element of "
            "`dicom.iterall()`, and search these lines for the name and the number.",
            "Look in comments, in private elements (whose group is odd) and in sequences. One leak "
            "is written in small letters.",
            'Empty an element with `element.value = ""`, or delete it, then `dicom.save_as(path)`.',
        ),
        mistakes=(
            Mistake(
                "The record number is still in the file: look at the private elements, whose group "
                "is odd.",
                when=lambda value, record: record.lower().encode() in value[0],
            ),
            Mistake(
                "The family name is still in the file. Compare small and capital letters, and look "
                "inside the sequences.",
                when=lambda value, patient: patient.split("^")[0].lower().encode() in value[0],
            ),
            Mistake(
                "The given name is still in the file.",
                when=lambda value, patient, record: bool(_left(value[0], patient, record)),
            ),
            Mistake(
                "The pixels are not those of the original. Change the header only.",
                when=lambda value, original: not np.array_equal(value[1], _pixels(original)),
            ),
        ),
    ),
    Exercise(
        name="06-gap",
        question="What is the sensitivity in group 1 minus that in group 0?",
        kind=Function(cases=_patients(), tolerance=1e-6),
        expected=_gap,
        right="The usual formula, within each group. A report also needs the interval.",
        hints=(
            "Sensitivity counts only people with the disease, here those of one group.",
            "`(y_true == 1) & (group == 0)` selects the people with the disease in group 0; the "
            "mean of `y_called` there is the share that was found.",
        ),
        mistakes=(
            Mistake(
                "The size is right, but it has the wrong sign: compute group 1 *minus* group 0.",
                like=_swapped,
            ),
            Mistake(
                "That is the gap in accuracy: it also counts people without the disease.",
                like=_accuracy_gap,
            ),
            Mistake(
                "That is the gap in PPV, among positive predictions. Count people with disease.",
                like=_ppv_gap,
            ),
            Mistake(
                "You divide by everyone in the group. Divide by the number with the disease; "
                "otherwise a group with little disease looks bad for that reason alone.",
                like=_over_everyone,
            ),
        ),
    ),
    Exercise(
        name="06-quarter",
        question="Train with one in four patients from machine B.",
        kind=Made("two predictions: what `trained_with` returns", look=_two),
        expected=lambda pair, trained_with: _alike(pair, trained_with(0.25)),
        right="Put its AUC on B beside those of *1 in 10* and *half*. Is the order more than chance? "
        "`metrics.auc_difference` gives the interval of a difference.",
        hints=(
            "`trained_with(share)` trains with this share of the patients from B.",
            "One in four is a share of 0.25. `copies` stays 1.",
        ),
        mistakes=(
            Mistake(
                "That is one of the recipes above.",
                when=lambda value, trained: any(_alike(value, two) for two in trained.values()),
            ),
            Mistake(
                "A share lies between 0 and 1: this trained on B alone.",
                when=lambda value, trained_with: _alike(value, trained_with(25)),
            ),
            Mistake(
                "These are not the scores for one patient in four from B, without reweighting.",
                when=lambda value: True,
            ),
        ),
    ),
    Exercise(
        name="06-recruit",
        question="How many patients must the study recruit?",
        # Rounding at either step may move the answer by 1 / PREVALENCE patients.
        kind=Number(tolerance=13, low=1, unit="patients"),
        expected=_recruited,
        right="Thousands of patients, for one number at one hospital. Studies with a few dozen "
        "patients with disease have wide intervals.",
        hints=(
            "Two steps: first the number of patients with disease, then the number to recruit.",
            "Use `wilson_half_width(0.85, n)` for many n, as above, and take the smallest n "
            "whose interval is narrow enough.",
            "If 8 in 100 have the disease, you recruit 100 / 8 patients for each of them.",
        ),
        mistakes=(
            Mistake(
                "That is the number of patients *with the disease*. The study also recruits the "
                "others: how many patients in total?",
                when=lambda value: abs(value - _positives_by_wilson()) <= 5,
            ),
            Mistake(
                "You multiplied by the prevalence: the study would recruit fewer patients than the "
                "number with disease that it needs. Divide.",
                when=lambda value: abs(value - _positives_by_wilson() * PREVALENCE) <= 2,
            ),
            Mistake(
                "That is for a sensitivity of 0.90; 0.85 needs more patients.",
                when=lambda value: abs(value - _positives_by_wilson(0.9) / PREVALENCE) <= 20,
            ),
            Mistake(
                "You divided by the share without the disease. Sensitivity needs those with it.",
                when=lambda value: abs(value - _positives_by_wilson() / (1 - PREVALENCE)) <= 5,
            ),
        ),
    ),
)

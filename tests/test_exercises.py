"""The engine: right, wrong with the hint for that mistake, blank - and never a traceback."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from medimg import exercises
from medimg.exercises import (
    Choices,
    Exercise,
    Function,
    Made,
    Mistake,
    Number,
    Problem,
    engine,
)


def make(kind, expected, **options):
    return Exercise("99-x", "?", kind, expected, right="Because.", hints=("a", "b"), **options)


def sensitivity(y_true, y_pred):
    return (y_true & y_pred).sum() / y_true.sum()


def precision(y_true, y_pred):
    return (y_true & y_pred).sum() / y_pred.sum()


SENSITIVITY = make(
    Number(tolerance=0.005, low=0, high=1),
    sensitivity,
    mistakes=(
        Mistake("Divide by the sick.", like=precision),
        Mistake("A negative share?", when=lambda value: value < 0),
        Mistake("never", when=lambda value: 1 / 0),
    ),
)
DATA = {"y_true": np.array([1, 1, 1, 1, 0]), "y_pred": np.array([1, 0, 0, 0, 1])}
BLANKS = [..., None, "", " ... ", [], [...], (None, None), {"a": None}]
ODD = [
    "three", "0.25", math.nan, -math.inf, [], [1, 2, 3, 4, 5, 6, 7], ["a", 1], {}, {"a": 1}, set(),
    object(), abs, lambda: 1 / 0, lambda *a: None, lambda *a: "?", print, int, 1j, True, b"x",
    10**400, np.zeros((3, 2)), np.array([]), np.array(["a"]), np.array(None), np.full(3, np.nan),
    pd.Series([1, 2]), pd.DataFrame({"a": [1]}), pd.NA, torch.ones(2, 3),
    torch.ones(1, requires_grad=True),
]  # fmt: skip


class Hostile:
    """An object that cannot be looked at."""

    def __len__(self):
        raise RuntimeError("no length")

    def __array__(self, *args, **options):
        raise RuntimeError("no array")

    def __repr__(self):
        raise RuntimeError("no repr")


KINDS = [
    make(Number(), lambda: 1.0),
    make(Made("a count", look=lambda answer: answer.get("count")), lambda count: count == 1),
    make(Choices("a", "b"), lambda: frozenset("a")),
    make(Function(cases=((1,), (2,))), lambda n: n),
]


def test_right_answers_within_the_tolerance():
    for answer in (0.25, 0.254, np.float32(0.25), np.array([0.25]), torch.tensor(0.25)):
        assert SENSITIVITY.judge(answer, DATA).status == "right"
    assert SENSITIVITY.judge(0.256, DATA).status == "wrong"
    assert repr(SENSITIVITY.judge(0.25, DATA)) == "✓ Right. Because."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.5, "Divide by the sick."),
        (-0.3, "A negative share?"),
        (25, "25 looks like a percentage"),
        (180, "180 cannot be: the answer lies between 0 and 1"),
        (0.9, 'exercises.hint("99-x")'),
        ("0.25", "asks for a number; you gave '0.25'. Write it without quotes"),
        (math.nan, "not a finite number"),
        ([0.25, 0.5], "you gave [0.25, 0.5]"),
        (True, "you gave True"),
        (sensitivity, "Call it"),
    ],
)
def test_each_mistake_gets_its_hint(answer, words):
    outcome = SENSITIVITY.judge(answer, DATA)
    assert outcome.status == "wrong"
    assert words in outcome.text


@pytest.mark.parametrize("exercise", KINDS, ids=lambda item: type(item.kind).__name__)
def test_blanks_are_not_attempted(exercise):
    for blank in BLANKS:
        outcome = exercise.judge(blank, {})
        assert outcome.status == "blank"
        assert repr(outcome).startswith("○ Not attempted yet.")


@pytest.mark.parametrize("exercise", KINDS, ids=lambda item: type(item.kind).__name__)
def test_odd_answers_get_words_never_a_traceback(exercise, capsys):
    for answer in [*ODD, Hostile()]:
        outcome = exercise.judge(answer, {})
        assert outcome.status in {"right", "wrong", "blank"}
        assert len(outcome.text) > 5
        assert "Traceback" not in outcome._repr_html_()


def test_missing_or_changed_data_are_said_so():
    for context in ({}, {"y_true": None, "y_pred": ...}, {"y_true": "text", "y_pred": 3}):
        outcome = SENSITIVITY.judge(0.25, context)
        assert outcome.status == "unchecked"
        assert "run the cells above again" in outcome.text


def test_context_that_the_reference_does_not_name_is_left_aside():
    assert SENSITIVITY.judge(0.25, {**DATA, "other": 1}).status == "right"


def test_what_was_made_is_looked_at_and_judged_with_its_data():
    def look(answer):
        if not answer["rows"]:
            raise Problem("The table is empty.")
        return answer["rows"]

    table = make(
        Made("a table", look=look), lambda rows, wanted: rows == wanted,
        mistakes=(Mistake("Too many rows.", when=lambda rows, wanted: len(rows) > len(wanted)),),
    )  # fmt: skip
    data = {"wanted": [1, 2], "other": 0}
    assert table.judge({"rows": [1, 2]}, data).status == "right"
    assert table.judge({"rows": [1, 2, 3]}, data).text == "Too many rows."
    assert table.judge({"rows": [2, 1]}, data).text == '`exercises.hint("99-x")` gives a hint.'
    assert table.judge({"rows": []}, data).text == "The table is empty."
    assert "asks for a table; you gave [1]" in table.judge([1], data).text
    assert table.judge({"rows": [1]}, {}).status == "unchecked"
    assert table.judge(..., data).status == "blank"


def test_a_decimal_comma_is_told_from_a_list():
    assert "the decimal mark is a point: 0.71." in SENSITIVITY.judge((0, 71), DATA).text
    assert "decimal mark" not in SENSITIVITY.judge((0, 7, 1), DATA).text


def test_choices_in_any_order_and_case():
    exercise = make(Choices("a", "b", "c"), lambda: {"a", "c"})
    for answer in (["c", "A"], ("a", "c"), {"a", "c"}, "c, a", "A C"):
        assert exercise.judge(answer, {}).status == "right"
    assert exercise.judge(["a"], {}).status == "wrong"
    assert 'letters out of "a", "b", "c"; you gave \'d\'' in exercise.judge(["d"], {}).text
    one = make(Choices("a", "b"), lambda: {"b"})
    assert one.judge(" B) ", {}).status == "right"


def test_functions_are_called_on_cases():
    def scale(values):
        values -= values.min()  # alters its argument: the next case must not see it
        return values / values.max()

    def by_max(values):
        return values / values.max()

    case = np.array([1.0, 2.0, 3.0])
    exercise = make(
        Function(cases=((case,), (case,))), scale, mistakes=(Mistake("Minimum too.", like=by_max),)
    )
    assert exercise.judge(lambda v: (v - v.min()) / np.ptp(v), {}).status == "right"
    assert exercise.judge(by_max, {}).text == "Minimum too."
    assert exercise.judge(lambda v: None, {}).status == "blank"
    assert exercise.judge(lambda v: ..., {}).status == "blank"
    some = make(Function(cases=((0,), (1,))), lambda n: n)
    assert "Called with (0), your function gave None" in some.judge(lambda n: n or None, {}).text
    stopped = exercise.judge(lambda v: v.nope, {}).text
    assert "stopped with AttributeError" in stopped
    assert "array([1., 2., 3.])" in stopped
    assert "TypeError" in exercise.judge(lambda: 1, {}).text
    assert "without brackets" in exercise.judge(3, {}).text
    short = exercise.judge(lambda v: v[:2], {}).text
    assert short.startswith(
        "Called with (array([1., 2., 3.])), your function gave array([1., 2.]), "
    )
    assert "gave 'text', which" in exercise.judge(lambda v: "text", {}).text
    assert "0.5" not in short  # where it goes wrong, never what would be right
    assert "stopped with SystemExit" in exercise.judge(lambda v: sys.exit(1), {}).text
    assert case.tolist() == [1, 2, 3]


def test_what_learners_typed_is_escaped_on_the_page():
    page = make(Number(), lambda: 1).judge("<script>alert(1)</script>", {})._repr_html_()
    assert "<script>" not in page
    stressed = Exercise("99-x", "?", Number(), lambda: 1, "Those *called* ill; 2*3*4.", ("a",))
    assert "<em>called</em> ill; 2*3*4." in stressed.judge(1, {})._repr_html_()
    assert "<code>exercises.hint" in SENSITIVITY.judge(0.9, DATA)._repr_html_()


def test_hints_come_one_at_a_time(monkeypatch):
    monkeypatch.setattr(engine, "chapter", lambda number: (SENSITIVITY,))
    monkeypatch.setattr(engine, "_given", {})
    said = [repr(exercises.hint("99-x")) for _ in range(4)]
    assert said[:2] == ["Hint 1 of 2: a", "Hint 2 of 2: b"]
    assert said[2] == said[3]
    assert "notebooks/solutions" in said[2]
    assert exercises.check("99-x", 0.25, **DATA).status == "right"
    assert 'no exercise "99-y": restore the line' in exercises.check("99-y", 0.25).text


def test_a_hint_in_the_cell_of_the_check_keeps_its_verdict(monkeypatch):
    monkeypatch.setattr(engine, "chapter", lambda number: (SENSITIVITY,))
    monkeypatch.setattr(engine, "_given", {})
    monkeypatch.setattr(engine, "_said", {})
    exercises.check("99-x", 0.5, **DATA)
    assert repr(exercises.hint("99-x")) == "✗ Not yet. Divide by the sick.\nHint 1 of 2: a"


def test_without_a_checkout_one_sentence_says_where_the_texts_are(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "TEXTS", tmp_path / "nowhere")
    monkeypatch.setattr(engine, "chapter", engine.chapter.__wrapped__)  # nothing remembered
    for outcome in (exercises.check("01-window", 1), exercises.hint("01-window")):
        assert outcome.status == "unchecked"
        assert "run the notebook in a checkout" in outcome.text


@pytest.mark.parametrize("name", ["99-nothing", "", "../x-y", None, 3, "os.path-x", "é-x"])
def test_unknown_names_get_words(name):
    assert "There is no exercise" in exercises.check(name, 1).text
    assert "There is no exercise" in repr(exercises.hint(name))


def test_the_engine_needs_neither_torch_nor_matplotlib():
    code = "import sys, medimg.exercises; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], encoding="utf-8").split()
    assert not {"torch", "matplotlib", "pandas"} & set(loaded)

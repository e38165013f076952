"""Every declared exercise: solutions pass, blanks are blank, each common mistake gets its hint."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from medimg import exercises
from medimg.exercises import chapter
from medimg.exercises.engine import TEXTS

CHAPTERS = sorted(path.stem for path in TEXTS.glob("*.py"))
DECLARED = {item.name: item for number in CHAPTERS for item in chapter(number)}


def load_examples():
    found = {}
    for path in sorted((Path(__file__).parent / "exercise_examples").glob("examples_*.py")):
        spec = importlib.util.spec_from_file_location(f"of_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= module.EXAMPLES
    return found


EXAMPLES = load_examples()


def test_every_exercise_has_examples_and_every_example_an_exercise():
    assert set(EXAMPLES) == set(DECLARED)


def test_names_are_unique_and_begin_with_their_chapter():
    for number in CHAPTERS:
        names = [item.name for item in chapter(number)]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(rf"{number}-[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_solutions_pass(name):
    for answer in EXAMPLES[name]["right"]:
        outcome = exercises.check(name, answer, **EXAMPLES[name].get("context", {}))
        assert outcome.status == "right", outcome


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_two_common_wrong_answers_get_their_own_hint(name):
    said = set()
    for answer, words in EXAMPLES[name]["wrong"]:
        outcome = exercises.check(name, answer, **EXAMPLES[name].get("context", {}))
        assert outcome.status == "wrong", (answer, outcome)
        assert words in outcome.text, (answer, outcome)
        assert not outcome.text.startswith("`exercises.hint("), "no hint of its own"
        said.add(outcome.text)
    for more, answer, words in EXAMPLES[name].get(
        "other contexts", ()
    ):  # wrong for what is beside it
        outcome = exercises.check(name, answer, **EXAMPLES[name]["context"] | more)
        assert outcome.status == "wrong", (answer, outcome)
        assert words in outcome.text, (answer, outcome)
        said.add(outcome.text)
    assert len(said) >= 2


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_blanks_and_bad_input_get_words(name):
    context = EXAMPLES[name].get("context", {})
    for blank in (..., None, lambda *args, **options: None):
        outcome = exercises.check(name, blank, **context)
        assert outcome.status in ({"blank", "wrong"} if callable(blank) else {"blank"})
    odd_functions = (lambda *args: 1 / 0, lambda *args: "a", lambda *args: [1] * 9, sys.exit)
    for odd in ("three", math.nan, [1] * 7, {}, object(), np.zeros((3, 2)), *odd_functions):
        outcome = exercises.check(name, odd, **context)
        assert outcome.status in {"wrong", "blank"}, (odd, outcome)
        assert len(outcome.text) > 10
        assert "Traceback" not in repr(outcome)
    bad_data = dict.fromkeys(context)
    for answer in EXAMPLES[name]["right"]:
        assert exercises.check(name, answer, **bad_data).status in {"right", "unchecked", "wrong"}


@pytest.mark.parametrize("item", DECLARED.values(), ids=lambda item: item.name)
def test_declarations_are_complete(item):
    assert item.question.strip()
    assert item.right.strip()
    assert item.hints
    assert len(item.mistakes) >= 1
    texts = [item.right, *item.hints, *(mistake.hint for mistake in item.mistakes)]
    assert all(text == text.strip() and text[-1] in ".?!`)" for text in texts), texts

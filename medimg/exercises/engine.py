"""Check an answer, say what is wrong with it, and give hints one at a time.

An exercise is declared once, in ``notebooks/exercises/NN.py``; its name begins with NN.
"""

import functools
import html
import inspect
import re
import runpy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medimg.exercises.kinds import Kind, Problem, is_blank

TEXTS = Path(__file__).resolve().parents[2] / "notebooks" / "exercises"  # in a checkout
_MARKS = {"right": "✓ Right.", "wrong": "✗ Not yet.", "blank": "○ Not attempted yet.",
          "unchecked": "! Not checked.", "hint": ""}  # fmt: skip
_COLOURS = {"right": "#0072b2", "wrong": "#d55e00"}  # else grey


@dataclass(frozen=True)
class Outcome:
    """What is said: ``status`` is right, wrong, blank, unchecked or hint; ``text`` says why."""

    name: str
    status: str
    text: str

    def __repr__(self) -> str:
        return f"{_MARKS[self.status]} {self.text}".strip()

    def _repr_html_(self) -> str:
        # `code` and *stress* are shown; the rest is escaped: it may quote what the learner typed.
        text = html.escape(self.text, quote=False).replace("\n", "<br>")
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
        text = re.sub(r"(?<![\w*])\*(\w[^*<]*)\*(?![\w*])", r"<em>\1</em>", text)
        style = f"border-left: 4px solid {_COLOURS.get(self.status, '#767676')}; padding-left: 8px"
        return f'<div style="{style}"><b>{_MARKS[self.status]}</b> {text}</div>'


_given: dict[str, int] = {}  # how many hints each exercise has given in this session
_said: dict[str, Outcome] = {}  # what its last check said: a hint in the same cell repeats it


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that learners often give, and the hint that it deserves.

    Parameters
    ----------
    hint : str
        What to tell the learner: what the mistake is, never the answer.
    like : callable, optional
        Computes the mistaken answer, as ``Exercise.expected`` computes the right one.
    when : callable, optional
        ``when(value, **context) -> bool``: recognises the mistake.
    """

    hint: str
    like: Callable[..., Any] | None = None
    when: Callable[..., bool] | None = None

    def fits(self, value: Any, kind: Kind, context: dict[str, Any]) -> bool:
        """Say whether this is the mistake made; a test that itself fails is a no."""
        try:
            if self.like is not None:
                return kind.same(value, kind.resolve(self.like, _wanted(self.like, context)))
            return self.when is not None and bool(self.when(value, **_wanted(self.when, context)))
        except Exception:  # a hint may never stop the notebook
            return False


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is asked, what is right, and what to say to each wrong answer.

    Parameters
    ----------
    name : str
        ``"NN-word"``, where NN is the chapter.
    question : str
        What is asked, in one sentence.
    kind : Kind
        How to read and compare an answer: `Number`, `Choices`, `Function`...
    expected : callable
        Computes the right answer from the check's keyword arguments, so that it holds on every
        data set.
    right : str
        Said to a right answer: why it is right, what follows from it.
    hints : tuple of str
        From a nudge to nearly the answer.
    mistakes : tuple of Mistake
        Tried in order.
    """

    name: str
    question: str
    kind: Kind
    expected: Callable[..., Any]
    right: str
    hints: tuple[str, ...]
    mistakes: tuple[Mistake, ...] = field(default=())

    def judge(self, answer: Any, context: dict[str, Any]) -> Outcome:
        """Compare an answer with the reference; see `check`."""
        blank = Outcome(self.name, "blank", "Put your answer in place of `...` and run the cell.")
        if is_blank(answer):
            return blank
        try:
            value = self.kind.read(answer)
        except Exception as problem:  # also of an object so odd that it cannot be looked at
            odd = f"A {type(answer).__name__} cannot be read as an answer to this."
            words = str(problem) if isinstance(problem, Problem) else odd
            return Outcome(self.name, "wrong", words)
        if value is ...:
            return blank
        try:
            reference = self.kind.resolve(self.expected, _wanted(self.expected, context))
            right = self.kind.same(value, reference)
        except Exception:  # whatever is wrong with the data, the learner needs words
            text = "Its data are missing or changed: run the cells above again, in order."
            return Outcome(self.name, "unchecked", text)
        if right:
            return Outcome(self.name, "right", self.right)
        for mistake in self.mistakes:
            if mistake.fits(value, self.kind, context):
                return Outcome(self.name, "wrong", mistake.hint)
        more = f'`exercises.hint("{self.name}")` gives a hint.'
        return Outcome(self.name, "wrong", f"{self.kind.doubt(value, reference)} {more}".strip())


def _wanted(function: Callable[..., Any], context: dict[str, Any]) -> dict[str, Any]:
    """Keep those keyword arguments that a function names."""
    names = inspect.signature(function).parameters
    return {key: value for key, value in context.items() if key in names}


@functools.cache
def chapter(number: str) -> tuple[Exercise, ...]:
    """Return the exercises of a notebook, in order; none when there is no such notebook.

    Parameters
    ----------
    number : str
        Two digits, such as ``"01"``; ``"00"`` is the quickstart.

    Returns
    -------
    tuple of Exercise
        As ``notebooks/exercises/NN.py`` declares them.
    """
    path = TEXTS / f"{number}.py"
    if not re.fullmatch(r"[0-9]{2}", number) or not path.is_file():
        return ()
    return tuple(runpy.run_path(str(path))["EXERCISES"])


def find(name: object) -> Exercise | Outcome:
    """Return the exercise of that name, or an Outcome that says why there is none."""
    for item in chapter(str(name).partition("-")[0]):
        if item.name == name:
            return item
    where = "restore the line as it was, and run the notebook in a checkout of the course."
    return Outcome(str(name), "unchecked", f'There is no exercise "{name}": {where}')


def check(name: str, answer: Any, **context: Any) -> Outcome:
    """Check an answer to an exercise; it never raises.

    Parameters
    ----------
    name : str
        The exercise, such as ``"01-window"``.
    answer : object
        The learner's answer; ``...`` or None when nothing has been filled in.
    **context : object
        The data that the answer was computed from, where the exercise depends on them.

    Returns
    -------
    Outcome
        Shown as one line: right and why, wrong with a hint, or not attempted yet.

    Examples
    --------
    >>> check("99-nothing", 1)
    ! Not checked. There is no exercise "99-nothing": restore the line as it was, and run the
    notebook in a checkout of the course.
    """
    if isinstance(exercise := find(name), Outcome):
        return exercise
    _said[exercise.name] = exercise.judge(answer, context)
    return _said[exercise.name]


def hint(name: str) -> Outcome:
    """Give the next hint for an exercise, from a nudge to nearly the answer.

    Parameters
    ----------
    name : str
        The exercise, such as ``"01-window"``.

    Returns
    -------
    Outcome
        The hint below the last verdict. After the last hint, it says where the solution is.

    Examples
    --------
    >>> hint("99-nothing")
    ! Not checked. There is no exercise "99-nothing": restore the line as it was, and run the
    notebook in a checkout of the course.
    """
    if isinstance(exercise := find(name), Outcome):
        return exercise
    given, hints = _given.get(name, 0), exercise.hints
    _given[name] = given + 1
    text = "No more hints: the solution is in notebooks/solutions."
    if given < len(hints):
        text = f"Hint {given + 1} of {len(hints)}: {hints[given]}"
    said = _said.get(name)
    return replace(said, text=f"{said.text}\n{text}") if said else Outcome(name, "hint", text)

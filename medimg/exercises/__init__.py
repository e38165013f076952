"""Self-checks for the course's exercises: right, wrong with a hint, or not attempted yet.

``check(name, answer)`` looks at an answer and returns one line; ``hint(name)`` gives the next
hint. Neither raises: whatever a learner hands in, the reply is a helpful sentence. The questions,
answers and hints of notebook NN are in ``notebooks/exercises/NN.py``.
"""

from medimg.exercises.engine import Exercise, Mistake, Outcome, chapter, check, hint
from medimg.exercises.kinds import Choices, Function, Made, Number, Problem

__all__ = [
    "Choices", "Exercise", "Function", "Made", "Mistake", "Number", "Outcome",
    "Problem", "chapter", "check", "hint",
]  # fmt: skip

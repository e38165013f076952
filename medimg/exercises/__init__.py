"""Self-checks for the course's exercises: right, wrong with a hint, or not attempted yet.

``check(name, answer)`` looks at an answer and returns one line; ``hint(name)`` gives the next
hint. Neither raises: whatever a learner hands in, the reply is a helpful sentence.
"""

from medimg.exercises.engine import Exercise, Mistake, check, hint
from medimg.exercises.kinds import Choice, Choices, Number, Whole, YesNo
from medimg.exercises.many import Array, Function, Numbers
from medimg.exercises.outcomes import Outcome
from medimg.exercises.sealed import Sealed, seal

__all__ = [
    "Array",
    "Choice",
    "Choices",
    "Exercise",
    "Function",
    "Mistake",
    "Number",
    "Numbers",
    "Outcome",
    "Sealed",
    "Whole",
    "YesNo",
    "check",
    "hint",
    "seal",
]

"""The quiz as two pages: one with each answer's feedback folded away, one to hand out."""

from __future__ import annotations

from typing import Any

import yaml
from builder.layout import BuildError, Layout

HEAD = """\
# Quiz

Four to six questions per notebook, about five to eight minutes each time: before the notebook to see
what is known, or after it. Let everyone choose first (on the [sheet without answers](quiz-sheet.md)),
then open the answers and talk about the wrong ones: each has its own reply. Made from `quiz.yaml` by
`python notebooks/build.py --quiz`.
"""

SHEET = """\
# Quiz, to hand out

One answer to each question is right. Choose before you look anything up; a guess is welcome. Your
teacher has the [answers](quiz.md).
"""


def read_quiz(layout: Layout) -> dict[str, list[dict[str, Any]]]:
    """Read quiz.yaml and check that each question has one right answer, and feedback for all."""
    path = layout.root / "notebooks" / "instructor" / "quiz.yaml"
    quiz: dict[str, list[dict[str, Any]]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for notebook, questions in quiz.items():
        for entry in questions:
            answers = entry.get("answers", [])
            right = sum("right" in answer for answer in answers)
            whole = all(
                {*answer} in ({"right", "feedback"}, {"wrong", "feedback"}) for answer in answers
            )
            if set(entry) != {"question", "answers"} or right != 1 or len(answers) < 3 or not whole:
                raise BuildError(f"quiz.yaml, {notebook}: malformed question {entry}")
    return quiz


def quiz_page(layout: Layout, *, answers: bool = True) -> str:
    """Return quiz.md, or quiz-sheet.md without answers."""
    parts = [HEAD if answers else SHEET]
    for notebook, questions in read_quiz(layout).items():
        parts.append(f"## {notebook}\n")
        for number, entry in enumerate(questions, start=1):
            letters = dict(zip("abcdef", entry["answers"], strict=False))
            parts.append(f"**{number}. {entry['question']}**\n")
            options = [f"- {key}) {a.get('right') or a['wrong']}" for key, a in letters.items()]
            parts.append("\n".join(options) + "\n")
            if not answers:
                continue
            replies = [
                f"- {key}) {'**Right.**' if 'right' in a else 'No.'} {a['feedback']}"
                for key, a in letters.items()
            ]
            lines = ["<details><summary>Answers</summary>", "", *replies, "", "</details>", ""]
            parts.append("\n".join(lines))
    return "\n".join(parts)

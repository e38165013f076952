"""What a check or a hint says, as one line of text or of HTML."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

_MARKS = {"right": "✓ Right.", "wrong": "✗ Not yet.", "blank": "○ Not attempted yet.",
          "unchecked": "! Not checked."}  # fmt: skip
_COLOURS = {"right": "#0072b2", "wrong": "#d55e00", "blank": "#999999", "unchecked": "#999999"}


@dataclass(frozen=True)
class Outcome:
    """What a check says: ``status`` is right, wrong, blank or unchecked; ``text`` says why."""

    name: str
    status: str
    text: str

    def __repr__(self) -> str:
        return f"{_MARKS[self.status]} {self.text}".rstrip()

    def _repr_html_(self) -> str:
        # `code` and *stress* are shown; the rest is escaped: it may quote what the learner typed.
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.text, quote=False))
        text = re.sub(r"(?<![\w*])\*(\w[^*<]*)\*(?![\w*])", r"<em>\1</em>", text)
        style = f"border-left: 4px solid {_COLOURS[self.status]}; padding-left: 8px"
        return f'<div style="{style}"><b>{_MARKS[self.status]}</b> {text}</div>'


@dataclass(frozen=True)
class Hint:
    """One hint, shown as a line."""

    text: str

    def __repr__(self) -> str:
        return self.text

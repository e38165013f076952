"""Link each glossary term where a notebook first uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from builder.layout import BuildError

# What is never touched: code, maths, headings, images, links, HTML.
_PROTECTED = re.compile(
    r"```.*?```|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|^#{1,6} [^\n]*$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>",
    re.DOTALL | re.MULTILINE,
)
# An anchor of its own: GitHub, JupyterLab and Sphinx make different ones of the same heading.
_HEADING = re.compile(r'## (?:<a id="([\w-]+)"></a>)?(.+)$')
_MARKER = re.compile(r"\{\{glossary:([^}|]+)(?:\|([^}]+))?\}\}")


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def read_glossary(path: Path) -> dict[str, str]:
    """Map every term and every alias (the line ``Also: a, b.`` under a heading) to its anchor."""
    terms: dict[str, str] = {}
    anchor = ""
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        heading = _HEADING.match(line)
        if heading:
            anchor, names = heading[1] or slug(heading[2]), [heading[2].strip()]
        elif line.startswith("Also: ") and anchor:
            names = [alias.strip() for alias in line[6:].rstrip(". ").split(",")]
        else:
            continue
        for name in names:
            if terms.get(name, anchor) != anchor:
                raise BuildError(f"{path.name}: {name!r} is explained twice")
            terms[name] = anchor
    return terms


@dataclass
class Linker:
    """Links terms in one notebook, each once; ``page`` is the glossary as seen from there."""

    terms: dict[str, str]
    page: str
    linked: set[str] = field(default_factory=set)

    def __call__(self, text: str) -> str:
        text = _MARKER.sub(self._marker, text)
        parts, end = [], 0
        for protected in _PROTECTED.finditer(text):
            parts += [self._segment(text[end : protected.start()]), protected[0]]
            end = protected.end()
        return "".join([*parts, self._segment(text[end:])])

    def _marker(self, found: re.Match[str]) -> str:
        term, shown = found[1].strip(), (found[2] or found[1]).strip()
        anchors = {name.lower(): anchor for name, anchor in self.terms.items()}
        if term.lower() not in anchors:
            raise BuildError(f"the glossary does not explain {term!r}")
        return self._link(shown, anchors[term.lower()])

    def _link(self, shown: str, anchor: str) -> str:
        if anchor in self.linked:
            return shown
        self.linked.add(anchor)
        return f"[{shown}]({self.page}#{anchor})"

    def _segment(self, text: str) -> str:
        open_terms = {name: a for name, a in self.terms.items() if a not in self.linked}
        if not open_terms or not text.strip():
            return text
        longest = sorted(open_terms, key=len, reverse=True)
        pattern = "|".join(f"(?P<t{i}>{_pattern(name)})" for i, name in enumerate(longest))

        def replace(found: re.Match[str]) -> str:
            index = int((found.lastgroup or "t0")[1:])
            return self._link(found[0], open_terms[longest[index]])

        return re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", replace, text)


def _pattern(name: str) -> str:
    """Match a term, also where a line ends inside it, with or without plural s.

    Abbreviations (AUC) match only as they are written.
    """
    words = r"\s+".join(map(re.escape, name.split()))
    return f"{words}s?" if any(map(str.isupper, name)) else f"(?i:{words})s?"

"""Where sources and notebooks lie, and the names under which they go."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path


class BuildError(Exception):
    """A source breaks a rule; the message names the file, the cell and the way out."""


@dataclass(frozen=True)
class Layout:
    """The repository's folders, seen from its root."""

    root: Path

    @property
    def sources(self) -> Path:
        return self.root / "notebooks" / "source"

    @property
    def runtimes(self) -> Path:
        return self.root / "notebooks" / "runtimes.json"

    @property
    def glossary(self) -> Path:
        return self.root / "notebooks" / "glossary.md"

    @property
    def repository(self) -> str:
        """The ``owner/name`` for badges, taken from pyproject.toml, the one place that says it."""
        project = tomllib.loads((self.root / "pyproject.toml").read_text(encoding="utf-8"))[
            "project"
        ]
        found = re.search(r"github\.com/([\w.-]+/[\w.-]+)", project["urls"]["Repository"])
        if not found:
            raise BuildError("pyproject.toml: project.urls.Repository is not a GitHub address")
        return found[1]

    @property
    def site(self) -> str:
        """Where .github/workflows/pages.yml publishes the web site."""
        owner, _, name = self.repository.partition("/")
        return f"https://{owner}.github.io/{name}"

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.sources.glob("*.py"))

    def student(self, name: str) -> Path:
        folder = self.root if name == "quickstart" else self.root / "notebooks"
        return folder / f"{name}.ipynb"

    def solution(self, name: str) -> Path:
        return self.root / "notebooks" / "solutions" / f"{name}.ipynb"

    def link(self, target: str, start: Path) -> str:
        """Turn ``/from/the/root#part`` into a link relative to the notebook ``start``."""
        path, hash_mark, part = target.lstrip("/").partition("#")
        relative = os.path.relpath(self.root / path, start.parent)
        return Path(relative).as_posix() + hash_mark + part

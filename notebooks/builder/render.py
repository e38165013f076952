"""Make the student's and the solution notebook from one source in jupytext's percent format."""

from __future__ import annotations

import ast
import hashlib
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from builder.contract import badges, contract
from builder.glossary import Linker, read_glossary
from builder.layout import BuildError, Layout
from nbformat import NotebookNode

# What JupyterLab itself writes: any other kernel or language marks a notebook as changed when it is
# opened. (So does another version of Python, which no file can know beforehand.)
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": "3.11.7",
}
NBVAL_TAGS = {"nbval-check-output", "nbval-ignore-output", "nbval-skip", "raises-exception"}
SLIDE_TAGS = {"slide", "subslide", "fragment", "skip", "notes"}
TAGS = {"exercise", "headline", "hide-input", "setup"} | NBVAL_TAGS | SLIDE_TAGS

_REGION = re.compile(
    r"^(?P<indent>[ ]*)# solution: begin\n(?P<body>.*?)^[ ]*# solution: end\n?",
    re.DOTALL | re.MULTILINE,
)
_TABLE = re.compile(r"\{\{table:([\w/.]+)\}\}")
_ROOT_LINK = re.compile(r"(\]\()(/[^)\s]+)(\))")

# Colab opens a notebook without its repository; everywhere else this cell does nothing.
SETUP = """\
import sys

if "google.colab" in sys.modules:  # on Colab, fetch the course first; elsewhere it is here
    !git clone -q --depth 1 https://github.com/{repository} /content/medimg
    %pip install -q -e /content/medimg
    sys.path.insert(0, "/content/medimg")"""


def read_source(layout: Layout, name: str) -> list[NotebookNode]:
    """Read a source's cells and check their tags."""
    path = layout.sources / f"{name}.py"
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(notebook.cells, start=1):
        unknown = set(cell.metadata.get("tags", [])) - TAGS
        if unknown:
            raise BuildError(f"{path.name}, cell {number}: unknown tag {', '.join(unknown)}")
        if "exercise" in cell.metadata.get("tags", []) and not _REGION.search(cell.source + "\n"):
            raise BuildError(f"{path.name}, cell {number}: an exercise without a solution region")
    return list(notebook.cells)


def has_exercises(cells: list[NotebookNode]) -> bool:
    """Say whether a source has exercises, and so a solution notebook."""
    return any("exercise" in cell.metadata.get("tags", []) for cell in cells)


def blank(source: str) -> str:
    """Replace each solution region by its blank.

    The blank is what the region's ``# blank:`` lines say; without them, ``...`` inside a function
    and ``name = ...`` for every name that the region assigns at the cell's own level.
    """
    return _REGION.sub(_blank_region, source + "\n").rstrip("\n")


def solved(source: str) -> str:
    """Take out the markers and the ``# blank:`` lines, and keep the solution."""
    lines = [
        line
        for line in source.splitlines()
        if not re.match(r"\s*# (solution: (begin|end)|blank:)", line)
    ]
    return "\n".join(lines)


def _blank_region(region: re.Match[str]) -> str:
    indent, body = region["indent"], region["body"]
    said = re.findall(r"^[ ]*# blank: ?(.*)$", body, re.MULTILINE)
    if not said and indent:
        said = ["..."]
    if not said:
        names = []
        for statement in ast.parse(textwrap.dedent(body)).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        if not names:
            raise BuildError(f"no blank can be made of this region; add '# blank:'\n{body}")
        said = [f"{name} = ..." for name in dict.fromkeys(names)]
    return "".join(f"{indent}{line}\n" for line in said)


def render(layout: Layout, name: str, variant: str) -> NotebookNode:
    """Render a source as ``student``, ``solution`` or ``slides`` (student's, with notes)."""
    cells = read_source(layout, name)
    place = layout.solution(name) if variant == "solution" else layout.student(name)
    markdown = _Markdown(layout, name, cells, place, variant)
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": KERNEL, "language_info": LANGUAGE})
    seen: Counter[str] = Counter()
    for cell in [cells[0], _setup(layout), *cells[1:]]:
        tags = list(cell.metadata.get("tags", []))
        if "notes" in tags and variant != "slides":
            continue
        identity = _identity(name, cell.source, seen)
        if cell.cell_type == "markdown":
            text = markdown(cell.source)
            if variant == "solution" and cell is cells[0]:  # or two pages have one name
                text = re.sub(r"^# ", "# Solutions to ", text)
            node = nbformat.v4.new_markdown_cell(text, id=identity)
        else:
            source = solved(cell.source) if variant == "solution" else blank(cell.source)
            node = nbformat.v4.new_code_cell(source, id=identity)
            if "exercise" in tags and not NBVAL_TAGS & set(tags):
                tags.append("nbval-check-output")
        if tags:
            node.metadata["tags"] = tags
        if "hide-input" in tags:  # folded on the web site by the tag, in JupyterLab by this
            node.metadata["jupyter"] = {"source_hidden": True}
        notebook.cells.append(node)
    return notebook


class _Markdown:
    """Turns a source's Markdown into a notebook's: markers, links from the root, glossary."""

    def __init__(
        self, layout: Layout, name: str, cells: list[NotebookNode], place: Path, variant: str
    ) -> None:
        self.layout, self.place, self.name = layout, place, name
        page = layout.link("/notebooks/glossary.md", place)
        self.glossary = Linker(read_glossary(layout.glossary), page)
        other = layout.student(name) if variant == "solution" else layout.solution(name)
        link = layout.link(f"/{other.relative_to(layout.root).as_posix()}", place)
        solutions = (
            f"These are the solutions; the notebook to work in is [{name}]({link})."
            if variant == "solution"
            else f"Solutions: [{other.parent.name}/{other.name}]({link})."
        )
        self.markers: dict[str, Any] = {
            "{{badges}}": lambda: badges(layout, place),
            "{{contract}}": lambda: contract(layout, name, cells),
            "{{solutions}}": lambda: solutions,
        }

    def __call__(self, text: str) -> str:
        text = _TABLE.sub(self._table, self.glossary(text))
        for marker, value in self.markers.items():
            if marker in text:
                text = text.replace(marker, value())
        if "{{" in text:
            raise BuildError(f"{self.name}: unknown marker {text[text.index('{{') :][:40]!r}")
        return _ROOT_LINK.sub(lambda m: m[1] + self.layout.link(m[2], self.place) + m[3], text)

    def _table(self, found: re.Match[str]) -> str:
        """Return the table of a file of measured results, so that no result is typed by hand."""
        lines = (self.layout.root / found[1]).read_text(encoding="utf-8").splitlines()
        return "\n".join(line for line in lines if line.startswith("|"))


def _setup(layout: Layout) -> NotebookNode:
    source = SETUP.format(repository=layout.repository)
    return nbformat.v4.new_code_cell(source, metadata={"tags": ["setup"]})


def _identity(name: str, source: str, seen: Counter[str]) -> str:
    """Return a cell id that changes only with the cell, so that a diff shows what changed."""
    seen[source] += 1
    return hashlib.sha1(f"{name}|{seen[source]}|{source}".encode()).hexdigest()[:12]

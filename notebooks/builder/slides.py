"""Slides for teaching, from the same source: headings begin slides, notes are the speaker's."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from builder.layout import Layout
from builder.render import SLIDE_TAGS, render
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from traitlets.config import Config

from medimg.storage import atomic_write

HEIGHT = 860
# A slide that is taller than the screen is shown smaller, so that nobody has to scroll in a talk.
# Code wraps, or the end of a long line could not be seen.
FIT = """<style>.reveal .highlight pre { white-space: pre-wrap; overflow-wrap: anywhere; }</style>
<script>require(["%(reveal)s"], function (Reveal) {
  function fit() {
    const slide = Reveal.getCurrentSlide();
    for (let size = 1; size > 0.4; size -= 0.05) {
      slide.style.zoom = size;
      if (slide.scrollHeight * size <= %(height)d) break;
    }
    Reveal.layout();
  }
  Reveal.on("ready", fit);
  Reveal.on("slidechanged", fit);
  if (Reveal.isReady()) fit();
});</script>
"""
# Instead of MathJax, in a room without internet: the slide engine asks it to draw no formula.
NO_FORMULAS = "<script>window.MathJax = {Hub: {getAllJax: () => [], Rerender() {}}};</script>"


def slides(layout: Layout, name: str, folder: Path, *, offline: str = "") -> Path:
    """Write ``<name>.slides.html`` with the committed outputs; return its path.

    ``offline`` names a folder beside the page with reveal.js, requirejs and jquery as npm installs
    them; without it, the page takes them from the internet.
    """
    notebook = render(layout, name, "slides")
    committed = nbformat.read(layout.student(name), as_version=4)
    outputs = {cell.id: cell for cell in committed.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in outputs:
            cell.outputs = outputs[cell.id].outputs
            cell.execution_count = outputs[cell.id].execution_count
    notebook.cells = deck([part for cell in notebook.cells for part in parts(cell)])
    first = next(cell.source for cell in notebook.cells if cell.source.startswith("# "))
    notebook.metadata["title"] = first.splitlines()[0].removeprefix("# ")
    hide = Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"hide-input"}})
    exporter = SlidesExporter(
        config=hide, reveal_scroll=False, reveal_width="1200", reveal_height=str(HEIGHT)
    )
    if offline:
        exporter.reveal_url_prefix = f"{offline}/reveal.js"
        exporter.require_js_url = f"{offline}/requirejs/require.js"
        exporter.jquery_url = f"{offline}/jquery/dist/jquery.min.js"
    page, _ = exporter.from_notebook_node(notebook)
    fit = FIT % {"reveal": f"{exporter.reveal_url_prefix}/dist/reveal.js", "height": HEIGHT}
    page = page.replace("</body>", f"{fit}</body>", 1)
    if offline:
        page = page.replace("<head>", f"<head>{NO_FORMULAS}", 1)
    target = folder / f"{name}.slides.html"
    with atomic_write(target, "w") as file:
        file.write(page)
    return target


def deck(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Say where each slide begins, so that a title, a figure and the remark on it are together.

    The remark is the paragraph below a figure. A slide without a heading repeats the last one.
    """
    laid: list[NotebookNode] = []
    title, before, waiting = "", nbformat.v4.new_markdown_cell(), False

    def lay(cell: NotebookNode, kind: str) -> None:
        cell.metadata["slideshow"] = {"slide_type": kind}
        laid.append(cell)

    for cell in cells:
        kind = slide_type(cell, after_code=before.cell_type == "code")
        heading = re.match(r"#{1,3} (.+)", cell.source) if cell.cell_type == "markdown" else None
        if kind == "notes":
            lay(cell, kind)
            continue
        if heading:
            title = heading[1]
        elif kind == "subslide" and cell.cell_type == "markdown":
            remark, _, rest = cell.source.strip().partition("\n\n")
            if shows_figure(before) and not re.search(r":$|^[|*-]|^\d+\.", remark):
                lay(nbformat.v4.new_markdown_cell(remark), "-")
            else:
                rest = cell.source
            if not rest:
                before, waiting = cell, True
                continue
            cell.source = f"### {title}\n\n{rest}"
        elif waiting and kind == "-":
            lay(nbformat.v4.new_markdown_cell(f"### {title}"), "subslide")
        lay(cell, kind)
        before, waiting = cell, False
    return laid


def shows_figure(cell: NotebookNode) -> bool:
    """Say whether a cell draws."""
    shown = [output.get("data", {}) for output in cell.get("outputs", [])]
    return any("image/png" in data or "<img" in str(data.get("text/html")) for data in shown)


def parts(cell: NotebookNode) -> list[NotebookNode]:
    """Cut a text at its headings, so that each can begin a slide; leave code whole."""
    if cell.cell_type != "markdown":
        return [cell]
    texts = [text for text in re.split(r"(?m)^(?=#{2,3} )", cell.source) if text.strip()]
    return [nbformat.v4.new_markdown_cell(text, metadata=dict(cell.metadata)) for text in texts]


def slide_type(cell: NotebookNode, *, after_code: bool = False) -> str:
    """Return the slide type: the tag's, or by heading (## a slide, ### one below it).

    Text that follows code begins a slide below as well, so that each holds one step: what is done
    and why, the code, and what came of it.
    """
    tags = set(cell.metadata.get("tags", []))
    chosen = SLIDE_TAGS & tags
    if chosen:
        return str(min(chosen))
    if "setup" in tags:
        return "skip"
    heading = re.match(r"(#{1,3}) ", cell.source) if cell.cell_type == "markdown" else None
    if heading is None:
        return "subslide" if after_code and cell.cell_type == "markdown" else "-"
    return "subslide" if heading[1] == "###" else "slide"

"""Slides for teaching, from the same source: headings begin slides, notes are the speaker's."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from builder.layout import Layout
from builder.render import SLIDE_TAGS, render
from nbconvert import SlidesExporter
from nbformat import NotebookNode

from medimg.storage import atomic_write


def slides(layout: Layout, name: str, folder: Path) -> Path:
    """Write ``<name>.slides.html`` with the committed outputs; return its path."""
    notebook = render(layout, name, "slides")
    committed = nbformat.read(layout.student(name), as_version=4)
    outputs = {cell.id: cell for cell in committed.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        cell.metadata["slideshow"] = {"slide_type": slide_type(cell)}
        if cell.cell_type == "code" and cell.id in outputs:
            cell.outputs = outputs[cell.id].outputs
            cell.execution_count = outputs[cell.id].execution_count
    page, _ = SlidesExporter(reveal_scroll=True).from_notebook_node(notebook)
    target = folder / f"{name}.slides.html"
    with atomic_write(target, "w") as file:
        file.write(page)
    return target


def slide_type(cell: NotebookNode) -> str:
    """Return the slide type: the tag's, or by heading (## a slide, ### one below it)."""
    tags = set(cell.metadata.get("tags", []))
    chosen = SLIDE_TAGS & tags
    if chosen:
        return str(min(chosen))
    if "setup" in tags:
        return "skip"
    heading = re.match(r"(#{1,3}) ", cell.source) if cell.cell_type == "markdown" else None
    if heading is None:
        return "-"
    return "subslide" if heading[1] == "###" else "slide"

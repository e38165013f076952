"""Exported pages (`jupyter nbconvert --to html`): links that lead somewhere, and ink to be read.

A page is opened far from the folder of its notebook, where a link to a file leads nowhere. So each
goes to the course's web site, or, for what the site does not show, to the repository.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from builder.layout import Layout
import nbformat
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

COURSE = ["quickstart.ipynb", "notebooks/*.ipynb", "notebooks/solutions/*.ipynb",
          "notebooks/glossary.md", "notebooks/instructor/*.md", "data/README.md",
          "data/contact_sheet.png", "CHANGELOG.md"]  # fmt: skip
"""What the web site shows under ``course/``."""
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?(?=\))")
"""A link to a file, in Markdown: its path, and its part."""

# WCAG 2.1 asks for a contrast of 4.5, and for links that are told by more than their colour.
STYLE = """
body { --jp-mirror-editor-number-color: #006a00; --jp-mirror-editor-keyword-color: #006a00;
  --jp-mirror-editor-comment-color: #356b6b; --jp-mirror-editor-operator-color: #8a12d6; }
.jp-InputPrompt, .jp-OutputPrompt { color: #595959 !important; opacity: 1 !important; }
main .jp-RenderedHTMLCommon a:link, main .jp-RenderedHTMLCommon a:visited {
  text-decoration: underline; }
.jp-RenderedHTMLCommon { overflow-wrap: break-word; }
:focus-visible { outline: 3px solid #1a5fb4; outline-offset: 1px; }
main .highlight pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { .jp-OutputArea-output pre { white-space: pre-wrap;
  overflow-wrap: anywhere; } img { max-width: 100%; } }
"""

# nbconvert makes each cell and each output a stop of the Tab key, without a name. Only what scrolls
# sideways needs the keyboard, and a name to be announced by. An empty header cell is read as a
# column without a name, so it becomes a plain cell. Browsers guess which headers are of a row, and
# guess wrong beside an empty cell.
SCRIPT = """
for (const head of document.querySelectorAll("th")) {
  if (!head.textContent.trim()) {
    head.replaceWith(Object.assign(document.createElement("td"), {colSpan: head.colSpan}));
  }
}
for (const head of document.querySelectorAll("tbody th")) { head.scope = "row"; }
const stops = () => document.querySelectorAll("main div[tabindex]").forEach(box => {
  const scrolls = box.matches(".jp-OutputArea-output") && box.scrollWidth > box.clientWidth;
  box.tabIndex = scrolls ? 0 : -1;
  if (scrolls) { box.setAttribute("role", "group"); box.setAttribute("aria-label", "Wide output"); }
});
stops();
addEventListener("load", stops);
addEventListener("resize", stops);
"""


def address(layout: Layout, target: Path, part: str = "") -> str:
    """Return where a file of the repository is shown to the public."""
    place = target.relative_to(layout.root)
    if any(target in layout.root.glob(pattern) for pattern in COURSE):
        shown = place if place.suffix == ".png" else place.with_suffix(".html")
        return f"{layout.site}/course/{shown.as_posix()}{part}"
    kind = "tree" if target.is_dir() else "blob"
    return f"https://github.com/{layout.repository}/{kind}/main/{place.as_posix()}{part}"


class PublicPage(Preprocessor):
    """Turn a notebook into one that can be read anywhere, before nbconvert writes its page."""

    def preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        layout = Layout(Path(__file__).resolve().parents[2])
        folder = Path(resources.get("metadata", {}).get("path", "")).resolve()

        def public(found: re.Match[str]) -> str:
            target = (folder / found[1]).resolve()
            known = target.exists() and target.is_relative_to(layout.root)
            return address(layout, target, found[2] or "") if known else found[0]

        # The cell that fetches the course is for Colab alone.
        nb.cells = [c for c in nb.cells if "setup" not in c.metadata.get("tags", [])]
        for cell in nb.cells:
            if cell.cell_type == "markdown":
                cell.source = LINK.sub(public, cell.source)
                title = re.match(r"# (.+)", cell.source)
                if title:
                    nb.metadata.setdefault("title", title[1])
        # In the body, since nbconvert overwrites what a preprocessor puts into the head.
        ending = f"<style>{STYLE}</style>\n<script>{SCRIPT}</script>"
        nb.cells.append(nbformat.v4.new_markdown_cell(ending))
        return nb, resources

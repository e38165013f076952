"""Keep committed outputs small and clean: palette figures, no stderr, no widgets, no stray keys."""

from __future__ import annotations

import base64
import io
from typing import Any

from nbformat import NotebookNode
from PIL import Image

WIDGET = "application/vnd.jupyter.widget-view+json"


def clean(notebook: NotebookNode) -> list[str]:
    """Clean a notebook's outputs in place; return what a learner should not have to see."""
    complaints = []
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept: list[NotebookNode] = []
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                complaints.append(f"cell {number} wrote to stderr: {output.text.strip()[:200]}")
            elif output.output_type == "error":
                complaints.append(f"cell {number} stopped: {output.ename}: {output.evalue[:200]}")
                kept.append(output)
            elif WIDGET not in output.get("data", {}) or "text/html" in output.data:
                output.get("data", {}).pop(WIDGET, None)  # its picture stays, without a kernel
                kept.append(_tidy(output))
        cell.outputs = _joined(kept)
    return complaints


def _tidy(output: NotebookNode) -> NotebookNode:
    if output.output_type == "stream":
        return output
    alt = output.metadata.get("image/png", {}).get("alt")
    output.metadata = NotebookNode({"image/png": {"alt": alt}} if alt else {})
    if "image/png" in output.data:
        output.data["image/png"] = quantised(output.data["image/png"])
    return output


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring prints: how they are cut depends on timing."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last: Any = joined[-1] if joined else None
        if last and last.output_type == output.output_type == "stream" and last.name == output.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def quantised(encoded: str) -> str:
    """Return a PNG (base64) with a palette of 256 colours, where that makes it smaller."""
    raw = base64.b64decode(encoded)
    picture = Image.open(io.BytesIO(raw))
    if picture.mode == "P":
        return encoded
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture.convert("RGBA"))
    # Without dithering: flat areas stay flat, and a radiograph's greys are 256 at most anyway.
    small = white.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    if buffer.tell() >= len(raw):
        return encoded
    return base64.b64encode(buffer.getvalue()).decode()

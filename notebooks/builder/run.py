"""Execute a notebook where it lies, and measure what it takes."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from builder.contract import read_runtimes
from builder.layout import BuildError, Layout
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from medimg.storage import atomic_write

# Run last, in the notebook's own kernel: what it used, and on what.
PROBE = """\
import json, sys
try:
    import resource
    _unit = 1e6 if sys.platform == "darwin" else 1e3
    _peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _unit
except ImportError:  # Windows
    import psutil
    _peak = psutil.Process().memory_info().peak_wset / 1e6
_torch = sys.modules.get("torch")
_cuda = bool(_torch and _torch.cuda.is_available())
print(json.dumps({"peak_mb": round(_peak), "gpu": _torch.cuda.get_device_name() if _cuda else ""}))
"""


def execute(notebook: NotebookNode, folder: Path, *, timeout: int) -> dict[str, Any]:
    """Run all cells in place; return seconds (start of the kernel included), memory, device."""
    os.environ["TQDM_DISABLE"] = "1"  # the kernel inherits it: no half-drawn bars in outputs
    notebook.cells.append(nbformat.v4.new_code_cell(PROBE, id="probe"))
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
    )
    start = time.perf_counter()
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise BuildError(str(error)[-1500:]) from error
    probe = json.loads(notebook.cells.pop().outputs[0].text)
    return {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": probe["peak_mb"],
        "device": probe["gpu"] or "CPU",
        "cores": cores(),
        "date": datetime.now(UTC).date().isoformat(),
        "headline": headline(notebook),
    }


def cores() -> int:
    """Return how many cores the kernel may use: those allowed, unless OpenMP is held to fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, int(os.environ.get("OMP_NUM_THREADS") or 999))


def headline(notebook: NotebookNode) -> list[str]:
    """Collect what the cells tagged ``headline`` say: the numbers to compare between data sets."""
    said = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and "headline" in cell.metadata.get("tags", []):
            for output in cell.outputs:
                data = output.get("data", {})
                printed = output.get("text", "") if output.get("name") != "stderr" else ""
                said.append(printed or data.get("text/markdown") or data.get("text/plain") or "")
    return [text.strip() for text in said if text.strip()]


def record(layout: Layout, name: str, data: str, measured: dict[str, Any]) -> None:
    """Write a measurement to runtimes.json; one with fewer cores never replaces one with more."""
    runtimes = read_runtimes(layout)
    entry = runtimes.setdefault(name, {})
    key = f"{data} {'cpu' if measured['device'] == 'CPU' else 'gpu'}"
    if entry.get(key, {}).get("cores", 0) > measured["cores"]:
        return
    entry[key] = measured
    with atomic_write(layout.runtimes, "w") as file:
        file.write(json.dumps(runtimes, indent=1, sort_keys=True, ensure_ascii=False) + "\n")

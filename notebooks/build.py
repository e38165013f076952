"""Build the course's notebooks from `notebooks/source/*.py`.

python notebooks/build.py                       all; outputs kept where code is the same
python notebooks/build.py 01_load --execute     one, executed and measured (as is its solution)
python notebooks/build.py --execute --dataset kermany --data /path    on real films, to build/
python notebooks/build.py --check               do sources and notebooks agree? (runs nothing)
python notebooks/build.py --slides              slides for teaching, to build/slides/
python notebooks/build.py --quiz                instructor/quiz.md, quiz-sheet.md from quiz.yaml
python notebooks/build.py --table               what was measured, as a Markdown table
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import nbformat
from builder.contract import runtime_table
from builder.layout import BuildError, Layout
from builder.outputs import clean
from builder.quiz import quiz_page
from builder.render import has_exercises, read_source, render
from builder.run import execute, record
from builder.slides import slides
from nbformat import NotebookNode

from medimg.storage import atomic_write

ROOT = Path(__file__).resolve().parents[1]


def targets(layout: Layout, name: str) -> dict[str, Path]:
    """Return the notebooks that a source makes: variant -> path."""
    made = {"student": layout.student(name)}
    if has_exercises(read_source(layout, name)):
        made["solution"] = layout.solution(name)
    return made


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    with atomic_write(path, "w") as file:
        file.write(nbformat.writes(notebook) + "\n")


def keep_outputs(notebook: NotebookNode, path: Path) -> None:
    """Take over the outputs of those cells whose code has not changed."""
    if not path.exists():
        return
    old = {cell.id: cell for cell in nbformat.read(path, as_version=4).cells}
    for cell in notebook.cells:
        before = old.get(cell.id)
        if cell.cell_type == "code" and before is not None and before.source == cell.source:
            cell.outputs, cell.execution_count = before.outputs, before.execution_count


def differences(layout: Layout, name: str) -> list[str]:
    """Say where committed notebooks and their source differ, outputs aside."""
    found = []
    for variant, path in targets(layout, name).items():
        shown = path.relative_to(layout.root).as_posix()
        if not path.exists():
            found.append(f"{shown}: missing")
            continue
        wanted, committed = render(layout, name, variant), nbformat.read(path, as_version=4)
        if committed.metadata != wanted.metadata:
            found.append(f"{shown}: its metadata are not the build's")
        ours = [(c.id, c.cell_type, c.source, c.metadata) for c in wanted.cells]
        theirs = [(c.id, c.cell_type, c.source, c.metadata) for c in committed.cells]
        if len(ours) != len(theirs):
            found.append(f"{shown}: {len(theirs)} cells, the source makes {len(ours)}")
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
            if one != other:
                found.append(f"{shown}: cell {number} differs: {one[2][:60]!r}")
                break
    return found


def build(layout: Layout, name: str, args: argparse.Namespace) -> list[str]:
    """Build one source's notebooks; return complaints."""
    complaints: list[str] = []
    made: dict[str, tuple[NotebookNode, Path]] = {}
    for variant, path in targets(layout, name).items():
        if args.dataset != "sample" and variant == "solution":
            continue  # answers may need what only the sample has, such as both eyes of a person
        notebook = render(layout, name, variant)
        device = "CPU"
        key = name if variant == "student" else f"solutions/{name}"
        if args.execute:
            print(f"executing {key} ...", flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            measured = execute(notebook, path.parent, timeout=args.timeout)
            print(f"  {measured['seconds']} s, {measured['peak_mb']} MB, {measured['cores']} cores")
            device = measured["device"]
            record(layout, key, args.dataset, measured)
            complaints += [f"{key}: {text}" for text in clean(notebook)]
        else:
            keep_outputs(notebook, path)
        if args.dataset != "sample" or device != "CPU":
            # Real films never lie where git would see them; and what is committed was run on a CPU.
            folder = layout.root / "build" / f"{args.dataset}-{device}".replace(" ", "-")
            path = folder / f"{key.replace('/', '-')}.ipynb"
        made[variant] = notebook, path
    for variant, (notebook, path) in made.items():
        if args.execute:  # both heads show what has just been measured of the solution
            fresh = render(layout, name, variant)
            notebook.cells[0].source, notebook.metadata = fresh.cells[0].source, fresh.metadata
        write(notebook, path)
    return complaints


def choose(dataset: str) -> None:
    """Name the data set to the kernels; each notebook knows its own sample by itself."""
    os.environ.pop("MEDIMG_DATASET", None)
    if dataset != "sample":
        os.environ["MEDIMG_DATASET"] = dataset


def main() -> int:
    """Read the command line, build or check, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="sources, such as 01_load; all when left out")
    parser.add_argument("--execute", action="store_true", help="run the notebooks and measure")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument("--slides", action="store_true", help="write slides to build/slides/")
    parser.add_argument(
        "--offline", default="", help="slides: the folder with reveal.js beside them"
    )
    parser.add_argument("--table", action="store_true", help="print what was measured")
    parser.add_argument("--quiz", action="store_true", help="write the quiz's two pages")
    parser.add_argument("--dataset", default="sample", help="MEDIMG_DATASET for --execute")
    parser.add_argument("--data", help="MEDIMG_DATA for --execute: where real data lie")
    parser.add_argument("--timeout", type=int, default=600, help="seconds a cell may take")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    layout = Layout(args.root.resolve())
    choose(args.dataset)
    if args.data:
        os.environ["MEDIMG_DATA"] = args.data
    if args.table:
        print(runtime_table(layout))
        return 0
    if args.quiz:
        for page, answers in (("quiz.md", True), ("quiz-sheet.md", False)):
            with atomic_write(layout.root / "notebooks" / "instructor" / page, "w") as file:
                file.write(quiz_page(layout, answers=answers))
        return 0
    complaints: list[str] = []
    for name in [Path(name).stem for name in args.names] or layout.names():
        try:
            if args.check:
                complaints += differences(layout, name)
            elif args.slides:
                print(slides(layout, name, layout.root / "build" / "slides", offline=args.offline))
            else:
                complaints += build(layout, name, args)
        except (BuildError, OSError) as error:
            complaints.append(f"{name}: {error}")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

"""The committed notebooks: made from their sources, clean, small, checked, and worth reading."""

import ast
import base64
import html
import io
import json
import re
import sys
import tokenize
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import build as builder_cli  # noqa: E402
from builder.contract import read_runtimes  # noqa: E402
from builder.glossary import read_glossary, slug  # noqa: E402
from builder.layout import Layout  # noqa: E402
from builder.outputs import WIDGET  # noqa: E402
from builder.quiz import quiz_page, read_quiz  # noqa: E402

from medimg import sources  # noqa: E402
from medimg.exercises import chapter  # noqa: E402

LAYOUT = Layout(ROOT)
NAMES = LAYOUT.names()
PATHS = sorted(
    path
    for path in [*ROOT.glob("*.ipynb"), *ROOT.glob("notebooks/**/*.ipynb")]
    if ".ipynb_checkpoints" not in path.parts
)
each_name = pytest.mark.parametrize("name", NAMES)
each_notebook = pytest.mark.parametrize(
    "path", PATHS, ids=lambda path: path.relative_to(ROOT).as_posix()
)
COMPARED = {"text/plain", "text/html", "text/markdown"}
MAX_BYTES, MAX_CODE_LINES, MAX_WIDTH, MIN_COMPARED = 1_000_000, 12, 1_000, 0.40
MINUTES_AN_EXERCISE, MIN_TERMS = 15, 8
MAX_WORDS, MAX_WORDS_OF_A_CASE, MAX_CODE_OF_A_CASE = 3_000, 1_500, 100
CASES = [name for name in NAMES if re.match("07|08|09|10", name)]


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def outputs(path):
    return [(cell, output) for cell in code_cells(path) for output in cell.outputs]


def markdown(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


@each_name
def test_notebooks_agree_with_their_source(name):
    assert builder_cli.differences(LAYOUT, name) == []


@each_name
def test_a_set_of_many_classes_is_refused_before_anything_is_trained(name):
    """Notebooks on sets of their own ask `datasets.choose`, which falls back on the sample."""
    source = (LAYOUT.sources / f"{name}.py").read_text(encoding="utf-8")
    assert "datasets.load()" not in source
    before, asked, _ = source.partition("datasets.load(classes=2)")
    assert asked or "datasets.choose(" in source or name.endswith("11_scale")
    assert not (asked and re.search(r"training\.fit|build_model\(", before))


def test_no_notebook_lacks_a_source():
    made = {path for name in NAMES for path in builder_cli.targets(LAYOUT, name).values()}
    assert set(PATHS) == made


@each_notebook
def test_every_cell_was_executed_in_order_and_none_complained(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1)), "run: python notebooks/build.py --execute"
    for _, output in outputs(path):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


def test_no_two_notebooks_have_one_title():
    titles = [read(path).cells[0].source.partition("\n")[0] for path in PATHS]
    assert len(set(titles)) == len(titles)


@each_notebook
def test_enough_cells_are_compared_with_their_output(path):
    cells = code_cells(path)
    compared = [
        cell
        for cell in cells
        if "nbval-check-output" in tags(cell)
        and any(
            o.output_type == "stream" or COMPARED & set(o.get("data", {})) for o in cell.outputs
        )
    ]
    assert len(compared) / len(cells) >= MIN_COMPARED, f"{len(compared)} of {len(cells)}"


@each_notebook
def test_notebooks_are_small(path):
    assert path.stat().st_size < MAX_BYTES


@each_notebook
def test_metadata_hold_nothing_stray(path):
    notebook = read(path)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter"}
        folded = {"source_hidden": True} if "hide-input" in cell.metadata.get("tags", ()) else {}
        assert cell.metadata.get("jupyter", {}) == folded
    for _, output in outputs(path):
        for mime, kept in output.get("metadata", {}).items():
            assert (mime, set(kept)) == ("image/png", {"alt"})
        assert WIDGET not in output.get("data", {})


@each_notebook
def test_outputs_name_no_folder_of_a_machine_and_no_public_film(path):
    texts = json.dumps(
        [
            output.get("text", "")
            + re.sub(
                r"base64,[\w+/=]+",
                "",
                str({m: d for m, d in output.get("data", {}).items() if m != "image/png"}),
            )
            for _, output in outputs(path)
        ]
    )
    assert not re.search(r"(?<![\w.])/(home|root|work|opt|tmp|Users|content|mnt)/\w", texts)
    assert not re.search(r"[A-Z]:\\\\?[\w.]+\\", texts)
    # File names of the public chest sets: their films are not ours to show without their licence.
    assert not re.search(r"person\d+_(bacteria|virus)|(NORMAL2-)?IM-\d{4}-\d{4}", texts)


@each_notebook
def test_every_figure_states_its_finding(path):
    for cell, output in outputs(path):
        data = output.get("data", {})
        found = re.search(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)"',
                          "".join(data.get("text/html", "")))  # fmt: skip
        if not found and "image/png" not in data:
            continue
        alt, picture = found.groups() if found else (
            output.metadata.get("image/png", {}).get("alt", ""), data["image/png"]
        )  # fmt: skip
        alt = html.unescape(alt)
        assert len(alt.split()) >= 5, cell.source
        assert alt.rstrip().endswith((".", "?", "!")), alt
        raw = base64.b64decode(picture)
        width, height = (int.from_bytes(raw[k : k + 4]) for k in (16, 20))
        # On a phone a figure shrinks to some 350 pixels: from wider ones no label can be read.
        assert width <= MAX_WIDTH, f"{width} pixels wide\n{cell.source}"
        assert height <= 2 * MAX_WIDTH, cell.source


@each_notebook
def test_notebooks_open_and_close_alike(path):
    cells = read(path).cells
    head = cells[0].source
    wanted = ["# ", "studiolab.svg", "colab-badge.svg", "badge_logo.svg", "**You will be able to**"]
    wanted += ["**You need first:**", "**Time:**", "| Measured |", "| Run from start to end"]
    wanted += ["| Peak memory |", "**Cost:**"]
    places = [head.find(text) for text in wanted]
    assert -1 not in places, wanted[places.index(-1)]
    assert places == sorted(places)
    assert "not measured yet" not in head
    endings = re.findall(r"^## (.+)$", markdown(path), re.MULTILINE)[-3:]
    assert endings == ["Key points", "Further reading", "Next step"]
    reading, step = markdown(path).split("## Further reading")[1].split("## Next step")
    assert len(set(re.findall(r"\]\((https://[^)]+)\)", reading))) >= 3
    assert re.search(r"\.ipynb\)", step)
    points = markdown(path).split("## Key points")[1].split("## Further reading")[0]
    assert len(re.findall(r"^- ", points, re.MULTILINE)) >= 4


@each_notebook
def test_every_link_to_a_file_resolves(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", markdown(path)):
        if re.match(r"https?://|mailto:", target):
            assert target.startswith("https://") or "purl" in target, target
            continue
        relative, _, part = target.partition("#")
        file = (path.parent / relative).resolve() if relative else path
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        if part:
            text = markdown(file) if file.suffix == ".ipynb" else file.read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (?:<a id=.*</a>)?(.+)$", text, re.MULTILINE)
            anchors = set(re.findall(r'<a id="([\w-]+)">', text))
            assert part in anchors | {slug(heading) for heading in headings}, target


def words(path):
    """Count the words of a notebook's prose, the targets of its links aside."""
    return len(re.findall(r"\w+", re.sub(r"\]\([^)]*\)", "]", markdown(path))))


@each_name
def test_notebooks_are_read_in_one_sitting(name):
    limit = MAX_WORDS_OF_A_CASE if name in CASES else MAX_WORDS
    assert words(LAYOUT.student(name)) <= limit


def lines_of_code(source):
    """Count the lines that hold a token: no docstring, comment or blank line."""
    texts = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr))
    texts = [node for node in texts if isinstance(node.value, ast.Constant)]
    said = {line for node in texts for line in range(node.lineno, node.end_lineno + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    shown = (t for t in tokens if t.string.strip() and t.type != tokenize.COMMENT)
    return len({line for t in shown for line in range(t.start[0], t.end[0] + 1)} - said)


@pytest.mark.parametrize("name", CASES)
def test_a_use_case_shows_little_code(name):
    assert len(CASES) == 4
    visible = [c for c in code_cells(LAYOUT.student(name)) if not tags(c) & {"hide-input", "setup"}]
    assert sum(lines_of_code(cell.source) for cell in visible) <= MAX_CODE_OF_A_CASE


SETS = [*sources.SETS, "brain-mri", "kermany", "covid"]
FIT = {
    "07_brain_tumour": ["brain-cheng", "brain-mri"],
    "08_retinopathy": ["idrid", "retinamnist"],
    "09_fracture": ["fracatlas"],
    "10_covid": ["covid", "covidgr", "covid-hannover"],
}


@pytest.mark.parametrize("wanted", SETS)
@pytest.mark.parametrize("name", CASES)
def test_the_first_cell_says_which_sets_fit(monkeypatch, caplog, name, wanted):
    monkeypatch.setenv("MEDIMG_DATASET", wanted)
    first = next(c for c in code_cells(LAYOUT.student(name)) if "setup" not in tags(c))
    known = {}
    exec(first.source, known)
    chosen = known[re.search(r"^(\w+) = datasets\.choose", first.source, re.MULTILINE)[1]]
    if wanted in FIT[name]:
        assert (chosen, caplog.messages) == (wanted, [])
    else:
        fits = " or ".join(FIT[name])
        told = f"{wanted} does not fit this notebook, which can work on {fits}; it uses {chosen}."
        assert caplog.messages == [f"MEDIMG_DATASET={told}"]
        assert chosen.startswith("sample_")


@each_notebook
def test_cells_are_short_and_prose_outweighs_code(path):
    for cell in code_cells(path):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= MAX_CODE_LINES, cell.source
        assert max(map(len, lines)) <= 100, cell.source
    prose = words(path)
    code = sum(len(re.findall(r"\w+", cell.source)) for cell in code_cells(path))
    assert prose >= code, f"{prose} words of prose, {code} of code"


@each_name
def test_exercises_are_declared_used_and_answered_as_they_should(name):
    solution = "solution" in builder_cli.targets(LAYOUT, name)
    used = re.findall(
        r'exercises\.check\(\s*"([^"]+)"',
        (LAYOUT.sources / f"{name}.py").read_text(encoding="utf-8"),
    )
    number = "00" if name == "quickstart" else name.partition("_")[0]
    assert used == [item.name for item in chapter(number)]
    marks = {LAYOUT.student(name): "○ Not attempted yet."}
    if solution:
        marks[LAYOUT.solution(name)] = "✓ Right."
    for path, mark in marks.items():
        cells = [cell for cell in code_cells(path) if "exercise" in tags(cell)]
        assert len(cells) == len(used)
        for cell in cells:
            assert cell.outputs[-1].data["text/plain"].startswith(mark), cell.source


@each_name
def test_an_exercise_comes_about_every_quarter_of_an_hour(name):
    path = LAYOUT.student(name)
    minutes = int(re.search(r"about (\d+) minutes to read", read(path).cells[0].source)[1])
    exercises = [k for k, cell in enumerate(read(path).cells) if "exercise" in tags(cell)]
    assert len(exercises) >= round(minutes / MINUTES_AN_EXERCISE)
    for place in exercises:  # its question stands right above it, under a heading of its own
        assert re.search(r"^### Exercise: ", read(path).cells[place - 1].source, re.MULTILINE)


@each_notebook
def test_terms_are_linked_to_the_glossary(path):
    terms = set(re.findall(r"glossary\.md#([\w-]+)", markdown(path)))
    assert len(terms) >= MIN_TERMS, terms


def test_every_term_of_the_glossary_is_used_somewhere():
    used = {term for path in PATHS for term in re.findall(r"glossary\.md#([\w-]+)", markdown(path))}
    assert set(read_glossary(LAYOUT.glossary).values()) <= used


@pytest.mark.skipif(not NAMES, reason="no sources yet")
def test_every_notebook_was_measured_on_two_cores_within_its_time():
    runtimes = read_runtimes(LAYOUT)
    for path in PATHS:
        key = f"{'solutions/' if path.parent.name == 'solutions' else ''}{path.stem}"
        figures = runtimes[key]["sample cpu"]
        assert figures["cores"] >= 2, key
        assert figures["seconds"] <= 120, key


def test_the_glossary_is_in_order_and_explains_each_term_once():
    text = LAYOUT.glossary.read_text(encoding="utf-8")
    headings = re.findall(r'^## <a id="[\w-]+"></a>(.+)$', text, re.MULTILINE)
    assert headings == sorted(headings, key=str.casefold)
    assert len(read_glossary(LAYOUT.glossary)) >= len(headings) == len(set(headings))
    entries = re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]
    assert all(len(entry.split()) >= 8 for entry in entries)


def test_the_quiz_is_whole_and_its_page_is_made_from_it():
    quiz = read_quiz(LAYOUT)
    assert all(len(questions) >= 4 for questions in quiz.values())
    assert set(NAMES) <= set(quiz)
    asked = [entry["question"] for questions in quiz.values() for entry in questions]
    assert len(set(asked)) == len(asked)
    for entry in (entry for questions in quiz.values() for entry in questions):
        replies = [answer["feedback"] for answer in entry["answers"]]
        assert len(set(replies)) == len(replies)
        assert all(len(reply.split()) >= 4 for reply in replies), replies
    folder = LAYOUT.root / "notebooks" / "instructor"
    sheet = quiz_page(LAYOUT, answers=False)
    for name, made in (("quiz.md", quiz_page(LAYOUT)), ("quiz-sheet.md", sheet)):
        page = (folder / name).read_text(encoding="utf-8")
        assert page == made, "run: python notebooks/build.py --quiz"
    for entry in (entry for questions in quiz.values() for entry in questions):
        assert entry["question"] in sheet
        assert not any(answer["feedback"] in sheet for answer in entry["answers"])


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("**/*.md")), ids=lambda p: p.name)
def test_links_in_the_instructors_pages_resolve(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (path.parent / target.partition("#")[0]).exists(), target


@each_name
def test_instructors_find_notes_and_a_place_in_the_plans(name):
    folder = ROOT / "notebooks" / "instructor"
    title = "Quickstart" if name == "quickstart" else f"{int(name[:2])}. "
    assert re.search(
        rf"^## {re.escape(title)}", (folder / "notes.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert f"{name}.ipynb" in (folder / "README.md").read_text(encoding="utf-8")

"""The build itself: blanks, links, ids, outputs kept and cleaned, slides, measurements."""

import base64
import io
import re
import sys
from argparse import Namespace
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

import build as builder_cli  # noqa: E402
from builder.contract import contract, read_runtimes, runtime_table  # noqa: E402
from builder.glossary import Linker, read_glossary, slug  # noqa: E402
from builder.layout import BuildError, Layout  # noqa: E402
from builder.outputs import WIDGET, clean, quantised  # noqa: E402
from builder.quiz import quiz_page, read_quiz  # noqa: E402
from builder.render import blank, read_source, render, solved  # noqa: E402
from builder.run import record  # noqa: E402
from builder.slides import deck, slide_type, slides  # noqa: E402

SOURCE = """\
# %% [markdown]
# # 9. Demo
#
# {{badges}}
#
# - read an AUC and a window; see [the card](/data/README.md#what)
#
# {{contract}}
#
# {{solutions}}

# %% tags=["nbval-check-output"]
1 + 1

# %% tags=["exercise"]
# solution: begin
parts = [1, 2]
answer = sum(parts)
# solution: end
exercises.check("09-sum", answer)

# %% [markdown] tags=["notes"]
# Ask the class.

# %% [markdown]
# ## Key points
#
# Another AUC.
"""
ARGS = Namespace(execute=False, dataset="sample", timeout=60)


@pytest.fixture
def layout(tmp_path):
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    (tmp_path / "notebooks" / "source" / "09_demo.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[project.urls]\nRepository = "https://github.com/me/course#readme"',
        encoding="utf-8",
    )
    (tmp_path / "notebooks" / "glossary.md").write_text(
        "# Glossary\n\n## AUC\nAlso: AUROC.\n\nArea.\n\n## window\n\nA range of grey.\n",
        encoding="utf-8",
    )
    return Layout(tmp_path)


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def test_student_gets_blanks_and_the_solution_keeps_its_code(layout):
    student, solution = (render(layout, "09_demo", variant) for variant in ("student", "solution"))
    assert sources(student)[3] == 'parts = ...\nanswer = ...\nexercises.check("09-sum", answer)'
    assert sources(solution)[3] == (
        'parts = [1, 2]\nanswer = sum(parts)\nexercises.check("09-sum", answer)'
    )
    assert [cell.id for cell in student.cells] == [cell.id for cell in solution.cells]
    assert student.cells[3].metadata["tags"] == ["exercise", "nbval-check-output"]
    assert "Ask the class." not in "".join(sources(student) + sources(solution))


def test_links_follow_the_notebook_to_its_folder(layout):
    student, solution = (
        render(layout, "09_demo", variant).cells[0].source for variant in ("student", "solution")
    )
    assert "an [AUC](glossary.md#auc) and a [window](glossary.md#window)" in student
    assert "[the card](../data/README.md#what)" in student
    assert "[solutions/09_demo.ipynb](solutions/09_demo.ipynb)" in student
    assert "[AUC](../glossary.md#auc)" in solution
    assert "[the card](../../data/README.md#what)" in solution
    assert "[09_demo](../09_demo.ipynb)" in solution
    assert solution.startswith("# Solutions to ")
    assert "import/github/me/course/blob/main/notebooks/09_demo.ipynb" in student
    assert "me/course/main?urlpath=lab/tree/notebooks%2F09_demo.ipynb" in student
    assert sources(render(layout, "09_demo", "student"))[-1].endswith("Another AUC.")
    assert layout.link("/data/README.md", layout.student("quickstart")) == "data/README.md"


def test_blank_inside_a_function_and_by_the_authors_word():
    inside = "def f(x):\n    # solution: begin\n    return x\n    # solution: end\n\n\nf(1)"
    assert blank(inside) == "def f(x):\n    ...\n\n\nf(1)"
    assert solved(inside) == "def f(x):\n    return x\n\n\nf(1)"
    said = "# solution: begin\n# blank: picks = [...]\npicks = ['a']\n# solution: end\npicks"
    assert blank(said) == "picks = [...]\npicks"
    assert solved(said) == "picks = ['a']\npicks"
    with pytest.raises(BuildError, match="add '# blank:'"):
        blank("# solution: begin\nprint(1)\n# solution: end")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('tags=["exercise"]', 'tags=["Exercise"]', "cell 3: unknown tag Exercise"),
        ("# solution: begin\n", "", "cell 3: an exercise without a solution region"),
        ("{{badges}}", "{{badge}}", "unknown marker '{{badge}}"),
        ("{{badges}}", "{{glossary:ROC}}", "does not explain 'ROC'"),
    ],
)
def test_a_broken_rule_is_named(layout, old, new, words):
    path = layout.sources / "09_demo.py"
    path.write_text(SOURCE.replace(old, new), encoding="utf-8")
    with pytest.raises(BuildError, match=words):
        render(layout, "09_demo", "student")


def test_each_term_is_linked_once_and_never_in_code_headings_or_links():
    terms = {"AUC": "auc", "window": "window", "window width": "window"}
    linker = Linker(terms, "g.md")
    text = "# AUC\n`AUC` [AUC](x) $AUC$ auc AUCs\n\n```\nwindow\n```\nWindow width, window"
    assert linker(text) == (
        "# AUC\n`AUC` [AUC](x) $AUC$ auc [AUCs](g.md#auc)\n\n"
        "```\nwindow\n```\n[Window width](g.md#window), window"
    )
    assert Linker(terms, "g.md")("{{glossary:auc|the area}} AUC") == "[the area](g.md#auc) AUC"
    broken = Linker({"ground truth": "ground-truth"}, "g.md")("a ground\ntruth, a ground truth")
    assert broken == "a [ground\ntruth](g.md#ground-truth), a ground truth"
    assert slug("PPV (positive, predictive)") == "ppv-positive-predictive"


def test_a_term_explained_twice_is_refused(layout):
    layout.glossary.write_text("## AUC\nAlso: area.\n\n## area\n\nx\n", encoding="utf-8")
    with pytest.raises(BuildError, match="'area' is explained twice"):
        read_glossary(layout.glossary)


def test_outputs_stay_with_unchanged_code_and_check_finds_what_changed(layout):
    assert "missing" in builder_cli.differences(layout, "09_demo")[0]
    builder_cli.build(layout, "09_demo", ARGS)
    assert builder_cli.differences(layout, "09_demo") == []
    path = layout.student("09_demo")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    notebook.cells[2].execution_count = 7
    builder_cli.write(notebook, path)
    source = layout.sources / "09_demo.py"
    source.write_text(SOURCE.replace("sum(parts)", "parts[0] + parts[1]"), encoding="utf-8")
    assert builder_cli.differences(layout, "09_demo")[0].startswith(
        "notebooks/solutions/09_demo.ipynb: cell 4 differs"
    ) or builder_cli.differences(layout, "09_demo")[0].startswith("notebooks/09_demo.ipynb: cell 4")
    builder_cli.build(layout, "09_demo", ARGS)
    kept = nbformat.read(path, as_version=4).cells[2]
    assert (kept.outputs[0].text, kept.execution_count) == ("2\n", 7)
    source.write_text(SOURCE.replace("1 + 1", "1 + 2"), encoding="utf-8")
    builder_cli.build(layout, "09_demo", ARGS)
    assert nbformat.read(path, as_version=4).cells[2].outputs == []


def test_execution_measures_reports_stderr_and_fills_the_head(layout):
    source = layout.sources / "09_demo.py"
    source.write_text(
        '# %% [markdown]\n# # 9\n# {{contract}}\n\n# %% tags=["headline"]\nimport sys\n\n'
        'print("AUC", 1)\nprint("loud", file=sys.stderr)\n',
        encoding="utf-8",
    )
    complaints = builder_cli.build(layout, "09_demo", Namespace(**{**vars(ARGS), "execute": True}))
    assert complaints == ["09_demo: cell 3 wrote to stderr: loud"]
    figures = read_runtimes(layout)["09_demo"]["sample cpu"]
    assert figures["headline"] == ["AUC 1"]
    assert figures["peak_mb"] > 10
    made = nbformat.read(layout.student("09_demo"), as_version=4)
    assert "not measured yet" not in made.cells[0].source
    assert [cell.get("execution_count") for cell in made.cells] == [None, 1, 2]
    assert builder_cli.differences(layout, "09_demo") == []
    source.write_text("# %% [markdown]\n# # 9\n\n# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(BuildError, match="ZeroDivisionError"):
        builder_cli.build(layout, "09_demo", Namespace(**{**vars(ARGS), "execute": True}))


def test_a_measurement_on_fewer_cores_replaces_none_on_more(layout):
    figures = {"seconds": 100.4, "peak_mb": 1230, "device": "CPU", "cores": 2, "headline": []}
    record(layout, "09_demo", "sample", figures)
    record(layout, "09_demo", "sample", {**figures, "cores": 1, "seconds": 200})
    record(layout, "09_demo", "sample", {**figures, "device": "A GPU", "seconds": 20})
    record(layout, "09_demo", "kermany", {**figures, "device": "A GPU", "seconds": 61})
    said = contract(layout, "09_demo", read_source(layout, "09_demo"))
    assert "| Measured | 2 CPU cores | A GPU |" in said
    assert "| Run from start to end, on the sample | 1.7 min | 20 s |" in said
    assert "| Peak memory | 1.2 GB | 1.2 GB |" in said
    assert "(`MEDIMG_DATASET=kermany`) | not measured yet | 61 s |" in said
    assert "and an exercise of about 4 minutes.\n" in said
    assert "| 09_demo | kermany, A GPU | 61 s | 1.2 GB |  |" in runtime_table(layout)


def test_the_head_shows_the_run_with_the_exercises_solved(layout):
    figures = {"seconds": 11, "peak_mb": 900, "device": "CPU", "cores": 2, "headline": []}
    record(layout, "09_demo", "sample", figures)
    record(layout, "solutions/09_demo", "sample", {**figures, "seconds": 33})
    said = contract(layout, "09_demo", read_source(layout, "09_demo"))
    assert "| Run from start to end, on the sample | 33 s |" in said
    (layout.sources / "09_demo.py").write_text(
        "# %% [markdown]\n# # 9\n# {{contract}}\n\n# %% [markdown]\n# ### Exercise: wait\n\n"
        '# %% tags=["exercise"]\n# solution: begin\n# blank: waited = ...\nimport time\n\n'
        "waited = time.sleep(2)\n# solution: end\n",
        encoding="utf-8",
    )
    builder_cli.build(layout, "09_demo", Namespace(**{**vars(ARGS), "execute": True}))
    assert builder_cli.differences(layout, "09_demo") == []  # the student's head too


def test_figures_shrink_to_a_palette_and_keep_their_greys(rng):
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :], 90, axis=0)
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([grey] * 3)).save(buffer, "PNG", compress_level=0)
    small = quantised(base64.b64encode(buffer.getvalue()).decode())
    assert len(small) < buffer.tell()
    back = np.asarray(Image.open(io.BytesIO(base64.b64decode(small))).convert("L"))
    assert np.abs(back.astype(int) - grey).max() <= 1
    assert quantised(small) == small


def test_cleaning_leaves_alt_text_and_joins_prints():
    new = nbformat.v4.new_output
    png = base64.b64encode(_png()).decode()
    outputs = [
        new("stream", name="stdout", text="a\n"),
        new("stream", name="stderr", text="Warning\n"),
        new("stream", name="stdout", text="b\n"),
        new("display_data", {WIDGET: {}, "text/plain": "interactive(...)"}),
        new("display_data", {"image/png": png}, metadata={"image/png": {"alt": "A.", "width": 9}}),
        new("display_data", {WIDGET: {}, "text/html": "<img>", "text/plain": "It rises."}),
    ]
    cell = nbformat.v4.new_code_cell(
        "x", outputs=outputs, metadata={"execution": {"started": "now"}}
    )
    complaints = clean(nbformat.v4.new_notebook(cells=[cell]))
    assert complaints == ["cell 1 wrote to stderr: Warning"]
    assert cell.metadata == {}
    assert [output.output_type for output in cell.outputs] == [
        "stream",
        "display_data",
        "display_data",
    ]
    assert cell.outputs[0].text == "a\nb\n"
    assert cell.outputs[1].metadata == {"image/png": {"alt": "A."}}
    assert cell.outputs[2].data == {"text/html": "<img>", "text/plain": "It rises."}


def _png():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def test_slides_come_from_headings_tags_and_notes(layout):
    new = nbformat.v4.new_markdown_cell
    assert slide_type(new("# Title")) == slide_type(new("## Part")) == "slide"
    assert slide_type(new("### Exercise")) == "subslide"
    assert slide_type(new("text")) == "-"
    assert slide_type(new("text"), after_code=True) == "subslide"
    assert slide_type(nbformat.v4.new_code_cell("1"), after_code=True) == "-"
    assert slide_type(new("## Part", metadata={"tags": ["skip"]})) == "skip"
    assert slide_type(nbformat.v4.new_code_cell("1", metadata={"tags": ["setup"]})) == "skip"
    builder_cli.build(layout, "09_demo", ARGS)
    page = slides(layout, "09_demo", layout.root / "build").read_text(encoding="utf-8")
    assert '<aside class="notes">' in page
    assert "Ask the class." in page
    assert "parts = [1, 2]" not in page
    assert "cdnjs.cloudflare.com/ajax/libs/require.js" in page
    page = slides(layout, "09_demo", layout.root / "build", offline="modules").read_text(
        encoding="utf-8"
    )
    assert 'src="modules/requirejs/require.js"' in page
    assert page.count("modules/reveal.js/dist/reveal.js") == 2  # the talk, and what makes it fit
    assert "var scroll = true" not in page  # nobody scrolls in a talk
    title = re.search(r"<title>(.*?)</title>", page)[1]
    source = (layout.sources / "09_demo.py").read_text(encoding="utf-8")
    heading = re.search(r"(?m)^# # (.+)$", source)
    assert title.startswith(heading[1])
    assert "window.MathJax = " in page


def test_a_slide_holds_a_title_a_figure_and_the_remark_on_it():
    text, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    picture = nbformat.v4.new_output("display_data", {"text/html": '<img alt="Two." src="">'})
    cells = [
        text("## Part"), code("draw()", outputs=[picture]), text("Two peaks.\n\nNow count them."),
        code("count()", outputs=[picture]), text("Both are high."), code("print(1)"),
        text("After a print, a slide.\n\nMore."), code("draw()", outputs=[picture]),
        text("Three things:\n\n- one"), text("Say this.", metadata={"tags": ["notes"]}),
    ]  # fmt: skip
    laid = [(c.metadata["slideshow"]["slide_type"], c.source) for c in deck(cells)]
    assert laid == [
        ("slide", "## Part"), ("-", "draw()"), ("-", "Two peaks."),
        ("subslide", "### Part\n\nNow count them."), ("-", "count()"), ("-", "Both are high."),
        ("subslide", "### Part"), ("-", "print(1)"),
        ("subslide", "### Part\n\nAfter a print, a slide.\n\nMore."), ("-", "draw()"),
        ("subslide", "### Part\n\nThree things:\n\n- one"), ("notes", "Say this."),
    ]  # fmt: skip


QUIZ = """\
09_demo:
  - question: Who?
    answers:
      - {wrong: He., feedback: Not he.}
      - {right: She., feedback: "She, indeed."}
      - {wrong: They., feedback: Not they.}
"""


def test_the_quiz_page_folds_the_replies_away_and_refuses_two_right_answers(layout):
    (layout.root / "notebooks" / "instructor").mkdir()
    path = layout.root / "notebooks" / "instructor" / "quiz.yaml"
    path.write_text(QUIZ, encoding="utf-8")
    page = quiz_page(layout)
    assert "- b) She." in page.partition("<details>")[0]
    assert "- b) **Right.** She, indeed." in page.partition("<details>")[2]
    path.write_text(QUIZ.replace("wrong: He.", "right: He."), encoding="utf-8")
    with pytest.raises(BuildError, match="malformed question"):
        read_quiz(layout)

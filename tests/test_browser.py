"""Pages, report, widgets and an exercise in a real browser: links, texts, widths, keyboard.

Needs playwright and Chromium: Debian's, Chrome, or the one that MEDIMG_CHROMIUM names. The
accessibility check also needs axe-core: `pip install axe-playwright-python` brings it, or set
MEDIMG_AXE to another axe.min.js. What is missing is said in pytest's list of skipped tests.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urljoin

import nbformat
import numpy as np
import pytest

from medimg import datasets, metrics, reports

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
ROOT = Path(__file__).parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("MEDIMG_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
_package = importlib.util.find_spec("axe_playwright_python")
_axe = Path(_package.origin).parent if _package and _package.origin else Path()
AXE = Path(os.environ.get("MEDIMG_AXE", _axe / "axe.min.js"))
WIDTHS, SCHEMES = (400, 1280), ("light", "dark")
NOTEBOOKS = [
    "quickstart.ipynb",
    *sorted(f"notebooks/{one.name}" for one in ROOT.glob("notebooks/*.ipynb")),
]
SITE = {
    "site home": "index.html",
    "site quickstart": "course/quickstart.html",
    "site notebook": "course/notebooks/06_ethics.html",
    "site widget": "course/notebooks/04_evaluate.html",
    "site glossary": "course/notebooks/glossary.html",
    "site reference": "course/api/metrics.html",
    "site solution": "course/notebooks/solutions/01_load.html",
    "site teaching": "course/notebooks/instructor/running.html",
}
PAGES = (*SITE, "exported page", "report")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
each_page = pytest.mark.parametrize("name", PAGES)
# A page of each kind in every view; the others narrow in the dark and wide in the light.
each_view = pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        (name, width, scheme)
        for name in PAGES
        for width in WIDTHS
        for scheme in SCHEMES
        if name in ("site quickstart", "exported page", "report")
        or (width == min(WIDTHS)) == (scheme == "dark")
    ],
)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        chromium = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return a function that makes a page, once, and returns its path."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def site():
        pytest.importorskip("sphinx", reason="the site needs the extra [docs]")
        command = [sys.executable, "-m", "sphinx", "-q", "-d", f"{folder}/doctrees"]
        subprocess.run([*command, str(ROOT / "docs"), f"{folder}/site"], check=True, timeout=900)
        return folder / "site"

    def exported():
        command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html"]
        command += [
            "--config",
            str(ROOT / "notebooks" / "page.py"),
            "--output-dir",
            str(folder),
            str(ROOT / "quickstart.ipynb"),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return folder / "quickstart.html"

    def report():
        table = datasets.load("sample")
        rng, truth = (
            np.random.default_rng(0),
            (table["label"] == "pneumonia").to_numpy().astype(int),
        )
        scores = 0.4 * truth + 0.6 * rng.random(len(truth))
        found = metrics.Predictions(
            table["image_id"], truth, scores, table["patient_id"], ("normal", "pneumonia")
        )
        return reports.write_report(found, folder / "report", threshold=0.5, studies=table).html

    def page(name):
        kind = "site" if name.startswith("site") else name
        if kind not in made:
            made[kind] = {"site": site, "exported page": exported, "report": report}[kind]()
        return made[kind] / SITE[name] if name in SITE else made[kind]

    return page


def opened(browser, path, width=1280, scheme="light"):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    page.goto(Path(path).as_uri(), wait_until="load")
    settle(page)
    return page


def settle(page):
    """Wait until all colours have faded in: half-way, a text has a contrast that nobody chose."""
    page.wait_for_function("document.getAnimations().every(a => !(a instanceof CSSTransition))")


@each_page
def test_every_link_to_a_file_or_a_heading_works(browser, pages, name):
    page = opened(browser, pages(name))
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")
    ids = set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
    assert links or name == "report"
    dead = []
    for link in links:
        full, _, anchor = urljoin(page.url, link).partition("#")
        if not full.startswith("file:"):
            assert re.match(r"https://|mailto:|data:|http://purl", full), link
        elif full == page.url.partition("#")[0]:
            dead += [link] if anchor and unquote(anchor) not in ids else []
        elif name != "exported page" and not Path(unquote(full.removeprefix("file://"))).exists():
            dead.append(link)
    page.context.close()
    assert not dead


@each_page
def test_every_image_says_what_it_shows(browser, pages, name):
    page = opened(browser, pages(name))
    without = page.eval_on_selector_all(
        "img", "all => all.filter(i => !(i.getAttribute('alt') || '').trim()).map(i => i.outerHTML)"
    )
    page.context.close()
    assert not [image[:100] for image in without]


@each_view
def test_no_page_scrolls_sideways(browser, pages, name, width, scheme):
    page = opened(browser, pages(name), width, scheme)
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    page.context.close()
    assert wide <= 0, f"{wide} pixels too wide"


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_of_the_whole_site_scrolls_sideways(browser, pages, width):
    home = pages("site home")
    page, wide = opened(browser, home, width), {}
    for path in sorted(home.parent.rglob("*.html")):
        page.goto(path.as_uri(), wait_until="load")
        over = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        if over > 0:
            wide[path.name] = over
    page.context.close()
    assert not wide


@each_page
def test_the_headings_of_a_page_are_its_outline(browser, pages, name):
    page = opened(browser, pages(name))
    levels = page.eval_on_selector_all(
        "h1, h2, h3, h4, h5, h6",
        "all => all.filter(h => h.checkVisibility()).map(h => +h.tagName[1])",
    )
    page.context.close()
    assert levels.count(1) == 1
    jumps = [(a, b) for a, b in pairwise(levels) if b > a + 1]
    assert not jumps


@each_page
def test_a_screen_reader_finds_one_main_part_and_a_name_for_all_it_can_use(browser, pages, name):
    page = opened(browser, pages(name))
    assert page.evaluate("document.documentElement.lang") == "en"
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    page.context.close()
    said = [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node["ignored"]
    ]
    assert [role for role, _ in said].count("main") == 1
    used = {"link", "button", "image", "DisclosureTriangle", "searchbox", "columnheader"}
    assert not [role for role, text in said if role in used and not text]


@pytest.mark.parametrize("name", ["site quickstart", "exported page"])
def test_a_table_reads_out_its_rows_by_their_headers(browser, pages, name):
    page = opened(browser, pages(name))
    first = page.locator("table", has_text="val_auc").locator("tbody tr").first
    said = first.aria_snapshot()
    page.context.close()
    assert 'rowheader "1"' in said, said


@each_page
@pytest.mark.parametrize("width", WIDTHS)
def test_the_tab_key_stops_only_where_it_is_seen_and_named(browser, pages, name, width):
    page = opened(browser, pages(name), width)
    page.add_style_tag(content="* { transition: none !important; }")
    wrong, stops = [], 0
    for stops in range(400):  # noqa: B007 - counted
        page.keyboard.press("Tab")
        stop = page.evaluate(
            """() => { const at = document.activeElement, style = getComputedStyle(at);
            const name = at.ariaLabel || at.innerText || at.querySelector("img")?.alt || "";
            return {last: at === document.body, name: name.trim(), tag: at.outerHTML.slice(0, 80),
              named: at.matches("a, button, summary, input, [role][aria-label]"),
              seen: style.outlineStyle !== "none" && style.outlineWidth !== "0px"}; }"""
        )
        if stop["last"]:
            break
        if not (stop["name"] and stop["named"] and stop["seen"]):
            wrong.append(stop)
    page.context.close()
    assert stops or name == "report"
    assert not wrong, wrong[:3]


WITH_CODE = ["site notebook", "site teaching", "site reference", "exported page"]


@pytest.mark.parametrize("name", WITH_CODE)
def test_code_wraps_on_a_narrow_screen(browser, pages, name):
    page = opened(browser, pages(name), 400)
    code = page.locator("article div:not(.output) > .highlight pre, .jp-InputArea pre")
    assert code.count()
    wide = code.evaluate_all(
        "all => all.filter(code => code.scrollWidth > code.clientWidth).map(c => c.innerText)"
    )
    page.context.close()
    assert not wide


def test_an_answer_can_be_read_in_the_dark(browser, pages):
    page = opened(browser, pages("site quickstart"), scheme="dark")
    ground, code = page.locator(".cell_output", has_text="Not attempted").first.evaluate(
        """box => { const shown = box.querySelector(".text_html"), code = box.querySelector("code");
        return [getComputedStyle(shown).backgroundColor, getComputedStyle(code).color]; }"""
    )
    page.context.close()
    assert ground == "rgba(0, 0, 0, 0)"  # the page's own dark ground
    assert min(map(int, re.findall(r"\d+", code)[:3])) > 128


def test_grey_values_are_the_same_in_the_dark(browser, pages):
    page = opened(browser, pages("site quickstart"), scheme="dark")
    looks = page.eval_on_selector_all(
        "article img[src^='data:'], article img[src*='_images']",
        """all => all.map(image => getComputedStyle(image))
        .map(style => [style.filter, style.padding, style.backgroundColor].join())""",
    )
    page.context.close()
    assert set(looks) == {"none,0px,rgba(0, 0, 0, 0)"}


def test_a_table_in_an_output_is_a_table(pages):
    site = pages("site home").parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert "pointing game" in texts["05_explain.html"]
    assert not [name for name, text in texts.items() if "|—" in text]


def test_a_line_of_code_is_one_line_on_a_wide_screen(browser, pages):
    page = opened(browser, pages("site notebook"))
    lines = page.eval_on_selector_all(
        ".cell_input pre",
        """all => all.filter(code => code.checkVisibility()).map(code => [
        code.innerText.trimEnd().split("\\n").length,
        Math.round((code.clientHeight - 2 * parseFloat(getComputedStyle(code).paddingTop))
                   / parseFloat(getComputedStyle(code).lineHeight))])""",
    )
    page.context.close()
    assert len(lines) > 20
    assert [shown for _, shown in lines] == [written for written, _ in lines]


def test_no_two_pages_in_the_side_bar_have_one_name(browser, pages):
    page = opened(browser, pages("site home"))
    names = page.locator(".bd-sidebar a.reference.internal").all_text_contents()
    page.context.close()
    assert len(names) > 30
    assert sorted(set(names)) == sorted(names)


def test_a_folded_cell_says_that_it_folds_code(browser, pages):
    page = opened(browser, pages("site notebook"))
    folds = page.locator(".cell details summary")
    assert folds.count()
    assert "Show code cell source" in folds.first.aria_snapshot()
    folds.first.focus()
    page.keyboard.press("Enter")
    page.locator(".cell details[open]").wait_for()
    page.context.close()


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: see the head of this file")
@each_view
def test_axe_finds_nothing_serious(browser, pages, name, width, scheme):
    page = opened(browser, pages(name), width, scheme)
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(result => result.violations)")
    page.context.close()
    grave = [
        f"{one['id']} ({one['impact']}), {len(one['nodes'])} places: {one['nodes'][0]['html'][:90]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not grave, "\n".join(grave)


CELLS = {
    "sliders": """\
import numpy as np
from medimg import metrics, widgets
rng = np.random.default_rng(0)
scores = np.linspace(0.02, 0.98, 20)
p = metrics.Predictions(range(20), [0, 1] * 10, scores, classes=("normal", "pneumonia"))
widgets.threshold_explorer(p)""",
    "window": "widgets.window_explorer(rng.normal(0, 300, (30, 40)), centre=40, width=400)",
    "reading": "widgets.reading_study(rng.integers(0, 256, (20, 24, 32), dtype=np.uint8), p, "
    "count=4, rng=rng)",
    "reading again": "widgets.reading_study(rng.integers(0, 256, (20, 24, 32), dtype=np.uint8), p, "
    "count=4, rng=rng)",
    "right": "from medimg import exercises\nexercises.check('00-ppv', 72 / 102)",
    "wrong": "exercises.check('00-ppv', 0.9)",
    "blank": "exercises.check('00-ppv', ...)",
    "hint": "exercises.check('00-ppv', 0.9)\nexercises.hint('00-ppv')",
}


@dataclass
class Jupyter:
    """A server of notebooks, for JupyterLab and Notebook 7."""

    address: str

    def open(self, browser, name, place="JupyterLab"):
        page = browser.new_context(viewport={"width": 1280, "height": 2400}).new_page()
        page.set_default_timeout(240_000)
        # A workspace of its own: a shared one opens the notebooks of before again.
        lab = f"lab/workspaces/{Path(name).stem}/tree"
        page.goto(f"{self.address}/{lab if place == 'JupyterLab' else 'notebooks'}/{name}")
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        choose = page.get_by_role("button", name="Select", exact=True)
        page.wait_for_timeout(2000)
        if choose.is_visible():  # at times it asks which kernel is meant, and waits
            choose.click()
        return page

    def run(self, browser, name):
        """Open a notebook in JupyterLab, and begin to run all its cells."""
        page = self.open(browser, name)
        choose = page.get_by_role("button", name="Select", exact=True)
        begun = page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
        for _ in range(20):  # cells that are run before the kernel is there are never run
            page.wait_for_timeout(3000)
            if choose.is_visible():
                choose.click()
            if begun.count():
                break
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_text("Run All Cells", exact=True).click()
        return page


@contextmanager
def jupyter(folder):
    """Serve a folder's notebooks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", f"--port={port}", "--allow-root",
               "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]  # fmt: skip
    settings = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    with tempfile.TemporaryDirectory() as workspaces, subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**settings, "PYTHONPATH": str(ROOT), "JUPYTERLAB_WORKSPACES_DIR": workspaces},
    ) as server:  # fmt: skip
        try:
            for _ in range(120):
                try:
                    json.load(urllib.request.urlopen(f"{address}/api", timeout=5))
                    break
                except OSError:
                    time.sleep(1)
            yield Jupyter(address)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """Open a notebook of all widgets and one exercise in JupyterLab, run it, return the page."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
    # Without a language JupyterLab asks which kernel is meant.
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=about)
    nbformat.write(notebook, folder / "all.ipynb")
    with jupyter(folder) as server:
        page = server.run(browser, "all.ipynb")
        page.get_by_text("Hint 1 of").wait_for()
        yield page


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Serve a copy of the course (JupyterLab saves what it runs); return its folder and server."""
    folder = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "data"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("quickstart.ipynb", "README.md"):
        shutil.copy(ROOT / name, folder)
    with jupyter(folder) as server:
        yield folder, server


each_notebook = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name != "quickstart.ipynb" and "MEDIMG_ALL_IN_LAB" not in os.environ,
                reason="set MEDIMG_ALL_IN_LAB=1 for every notebook in JupyterLab (15 minutes)",
            ),
        )
        for name in NOTEBOOKS
    ],
)


@each_notebook
def test_opening_a_notebook_does_not_mark_it_as_changed(browser, course, name):
    folder, server = course
    notebook = nbformat.read(folder / name, as_version=4)
    notebook.metadata.language_info.version = platform.python_version()  # JupyterLab sees to it
    nbformat.write(notebook, folder / name)
    page = server.open(browser, name)
    page.wait_for_timeout(3000)
    assert page.locator(".lm-TabBar-tab.jp-mod-current").count()
    changed = page.locator(".jp-mod-dirty").count()
    page.context.close()
    assert not changed


@pytest.mark.parametrize("place", ["JupyterLab", "Notebook 7"])
def test_a_link_to_the_glossary_opens_it(browser, course, place):
    _, server = course
    page = server.open(browser, "quickstart.ipynb", place)
    link = page.locator(".jp-Notebook a", has_text=re.compile("^AUC$")).first
    if place == "JupyterLab":  # rendered, and scrolled to the entry
        link.click()
        entry = page.locator(".jp-MarkdownViewer h2", has_text="AUC").first
        page.wait_for_function("entry => entry.getBoundingClientRect().top < 200",
                               arg=entry.element_handle())  # fmt: skip
        page.wait_for_timeout(1000)
        assert 0 <= entry.bounding_box()["y"] < 200
    else:  # Notebook 7 opens any Markdown as text, from its top
        with page.context.expect_page() as opening:
            link.click()
        opening.value.locator(".cm-line", has_text='<a id="auc"></a>AUC').wait_for()
    page.context.close()


@each_notebook
def test_a_notebook_runs_in_jupyterlab_to_its_end(browser, course, name):
    folder, server = course
    notebook = nbformat.read(folder / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    nbformat.write(notebook, folder / name)
    page, last = server.run(browser, name), time.monotonic() + 600
    while True:
        page.wait_for_timeout(3000)
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        cells = nbformat.read(folder / name, as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
        wrong = [out for cell in code for out in cell.outputs if out.output_type == "error"]
        missing = sum(cell.execution_count is None for cell in code)
        if wrong or not missing or time.monotonic() > last:
            break
    bars = page.locator(".widget-hprogress .progress-bar")
    unfinished = bars.count() - page.locator(".progress-bar-success").count()
    some = bars.count()
    page.context.close()
    assert not wrong, wrong[0].evalue
    assert not missing, f"{missing} cells were not run"
    assert not unfinished, f"{unfinished} of {some} progress bars do not end green"
    assert some or name != "quickstart.ipynb"


def test_an_exercise_answers_right_wrong_blank_and_hint(lab):
    text = lab.locator(".jp-Notebook").inner_text()
    assert "✓ Right. It finds nine of ten people" in text
    assert "✗ Not yet. That is the sensitivity" in text
    assert "○ Not attempted yet." in text
    hinted = lab.locator(".jp-OutputArea", has_text="Hint 1 of").last.inner_text()
    assert "That is the sensitivity" in hinted  # the verdict stays above the hint


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("threshold (%)", "80", "Threshold 80 %"),
        ("centre (HU)", "100", "A window from -100 to 300"),
    ],
)
def test_a_slider_can_be_set_from_the_keyboard(lab, label, value, said):
    field = lab.get_by_label(label)
    field.focus()
    lab.keyboard.press("Control+a")
    lab.keyboard.type(value)
    lab.keyboard.press("Enter")
    lab.get_by_text(said).first.wait_for()


@pytest.mark.parametrize("label", ["threshold (%)", "prevalence (%)", "centre (HU)", "width (HU)"])
def test_a_slider_follows_the_mouse(lab, label):
    field = lab.get_by_label(label)
    box = lab.locator(".widget-hbox", has=field).last
    before, said = float(field.input_value()), box.locator("xpath=..").get_by_role("alert")
    words = said.inner_text()
    handle = box.locator(".noUi-handle").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    lab.mouse.move(x, y)
    lab.mouse.down()
    lab.mouse.move(x + (20 if x < 700 else -20), y, steps=4)
    lab.mouse.up()
    said.filter(has_not_text=words).wait_for()
    assert float(field.input_value()) != before


def reading(lab, number):
    """Return a reading study of the notebook."""
    button = lab.get_by_role("button", name="1 surely not")
    return lab.locator(".widget-vbox", has=button).nth(number)


def test_images_can_be_read_with_the_keyboard_alone(lab):
    study = reading(lab, 0)
    study.get_by_role("button", name="1 surely not").focus()
    for number in range(1, 9):
        shown = f"Image {(number - 1) % 4 + 1} of 4"
        asked = study.get_by_role("alert").filter(has_text=shown)
        asked.wait_for()
        assert ("network's score" in asked.inner_text()) == (number > 4)
        if number % 2:
            for _ in range(4):
                lab.keyboard.press("Tab")
        lab.keyboard.press("Enter")
        if number % 2:
            for _ in range(4):
                lab.keyboard.press("Shift+Tab")
    study.get_by_role("alert").filter(has_text="Agreement with the network").wait_for()


def test_images_can_be_read_with_the_mouse(lab):
    study, pictures = reading(lab, 1), set()
    for number in range(1, 9):
        study.get_by_role("alert").filter(has_text=f"Image {(number - 1) % 4 + 1} of 4").wait_for()
        pictures.add(study.get_by_role("img").get_attribute("src"))
        study.get_by_role("button", name=f"{1 + number % 5} ").click()
    study.get_by_role("alert").filter(has_text="Agreement with the network").wait_for()
    assert len(pictures) > 1


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: see the head of this file")
def test_axe_finds_nothing_serious_in_the_widgets(lab):
    lab.evaluate(AXE.read_text(encoding="utf-8"))
    settle(lab)
    # ipywidgets gives the handle of a slider no name; the labelled field beside it does the same.
    found = lab.evaluate(
        """axe.run({include: ['.jp-OutputArea-output .jupyter-widgets'], exclude: ['.noUi-handle']})
        .then(result => result.violations)"""
    )
    assert lab.locator(".jp-OutputArea-output .jupyter-widgets").count()
    grave = [
        f"{one['id']}, {len(one['nodes'])} places: {one['nodes'][0]['html'][:90]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not grave, "\n".join(grave)

"""The web site, built from the committed notebooks: no dead link, no picture without a text."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("sphinx", reason="the site needs the extra [docs]")

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

from builder.glossary import slug  # noqa: E402
from builder.layout import Layout  # noqa: E402
from builder.pages import COURSE, LINK, address  # noqa: E402

LAYOUT = Layout(ROOT)
READ = [
    ROOT / "README.md",
    *sorted(path for one in COURSE for path in ROOT.glob(one) if path.suffix != ".png"),
]


class Page(HTMLParser):
    """A page's links, ids, headings and pictures."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.titles, self.without_text = [], set(), {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
            self.titles[found["href"]] = found.get("title")
        if tag == "img" and not (found.get("alt") or "").strip():
            self.without_text.append(found.get("src", "")[:60])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", f"{folder}/doctrees",
         str(ROOT / "docs"), f"{folder}/html"],
        capture_output=True, encoding="utf-8", check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
    }


def test_every_notebook_has_a_page(pages):
    notebooks = [ROOT / "quickstart.ipynb", *(ROOT / "notebooks").glob("**/[0-9q]*.ipynb")]
    for path in notebooks:
        place = path.relative_to(ROOT).with_suffix(".html").as_posix()
        assert f"course/{place}" in pages


def test_no_link_inside_the_site_is_dead(pages, site):
    dead = []
    for name, page in pages.items():
        for link in page.links:
            target, _, anchor = unquote(link).partition("#")
            if "://" in link or link.startswith("mailto:"):
                continue
            place = os.path.normpath(site / Path(name).parent / target) if target else site / name
            there = pages.get(Path(place).relative_to(site).as_posix())
            if not Path(place).is_file() or (anchor and there and anchor not in there.ids):
                dead.append(f"{name} -> {link}")
    assert not dead


@cache
def text_of(path):
    """Return the Markdown of a file or a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def parts_of(path, where):
    """Return the anchors that a file has where it is read."""
    text = text_of(path)
    heads = [re.sub(r"<[^>]*>|`", "", head) for head in re.findall(r"(?m)^#+ (.+)$", text)]
    kept = where.startswith("JupyterLab")  # it keeps capitals and signs; GitHub does not
    made = (head.replace(" ", "-") if kept else slug(head) for head in heads)
    return set(re.findall(r'<a id="([\w-]+)">', text)) | set(made)


def site_page(path):
    return f"course/{path.relative_to(ROOT).with_suffix('.html').as_posix()}"


def links_of(path, where, pages):
    """Return the links of a file to files, and to parts of them, where it is read."""
    if where == "site":
        links = [unquote(link) for link in pages[site_page(path)].links]
        cut = [re.match(r"([^#]*)(.*)", link) for link in links if not re.match(r"\w+:", link)]
        return [found.groups() for found in cut]
    inside = re.findall(r"\]\((#[^)\s]+)\)", text_of(path))
    return LINK.findall(text_of(path)) + [("", part) for part in inside]


def leads_somewhere(path, where, link, part, pages, site):
    """Say whether a link of a file works where the file is read."""
    target = (path.parent / link).resolve() if link else path
    if where == "site":
        place = os.path.normpath(Path(site_page(path)).parent / link) if link else site_page(path)
    elif not target.exists() or not target.is_relative_to(ROOT):
        return False
    elif where == "exported page" and (shown := address(LAYOUT, target)).startswith(LAYOUT.site):
        place = shown.removeprefix(f"{LAYOUT.site}/")
    else:
        return not part or part[1:] in parts_of(target, where)
    anchors = pages[place].ids if place in pages else ()
    return (site / place).is_file() and (not part[1:] or part[1:] in anchors)


def test_links_work_wherever_the_course_is_read(pages, site):
    """None is dead; `pytest -s` shows the table of how many there are, and how many to a part.

    Notebook 7 shows notebooks with JupyterLab's code; `test_browser.py` follows a link in both.
    """
    dead, table = [], [f"\n{'read in':24} {'files':>6} {'links':>6} {'to a part':>10} {'dead':>5}"]
    for where in ("JupyterLab, Notebook 7", "GitHub", "exported page", "site"):
        read = [path for path in READ if where != "exported page" or path.suffix == ".ipynb"]
        if where == "site":
            read.remove(ROOT / "README.md")
        found = [(path, *link) for path in read for link in links_of(path, where, pages)]
        wrong = [
            (path, link, part)
            for path, link, part in found
            if not leads_somewhere(path, where, link, part, pages, site)
        ]
        dead += [f"{where}: {path.relative_to(ROOT)} -> {link}{part}" for path, link, part in wrong]
        in_part = sum(bool(part) for _, _, part in found)
        table.append(f"{where:24} {len(read):6} {len(found):6} {in_part:10} {len(wrong):5}")
    print(*table, sep="\n")  # noqa: T201 - the table is the result
    assert not dead


def test_every_picture_has_a_text(pages):
    without = {name: page.without_text for name, page in pages.items() if page.without_text}
    assert not without


def test_a_term_shows_its_definition(pages):
    titles = pages["course/quickstart.html"].titles
    assert titles["notebooks/glossary.html#auc"].startswith("The probability that")


def test_the_cell_that_fetches_the_course_is_left_out(pages):
    for path in (ROOT / "docs" / "course").rglob("*.ipynb"):
        assert "google.colab" not in path.read_text(encoding="utf-8")

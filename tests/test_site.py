"""The web site, built from the committed notebooks: no dead link, no picture without a text."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

pytest.importorskip("sphinx", reason="the site needs the extra [docs]")

ROOT = Path(__file__).parents[1]


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


def test_every_picture_has_a_text(pages):
    without = {name: page.without_text for name, page in pages.items() if page.without_text}
    assert not without


def test_a_term_shows_its_definition(pages):
    titles = pages["course/quickstart.html"].titles
    assert titles["notebooks/glossary.html#auc"].startswith("The probability that")


def test_the_cell_that_fetches_the_course_is_left_out(pages):
    for path in (ROOT / "docs" / "course").rglob("*.ipynb"):
        assert "google.colab" not in path.read_text(encoding="utf-8")

"""Exported pages (README's first command): links lead somewhere public, pictures have a text."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbconvert import HTMLExporter
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))

from builder.layout import Layout  # noqa: E402
from builder.pages import address  # noqa: E402

LAYOUT = Layout(ROOT)
NOTEBOOKS = [LAYOUT.student(name) for name in LAYOUT.names()]

LONGEST_TEXT = 250  # of a picture: it is read out in one breath, and cannot be skimmed


class Page(HTMLParser):
    """A page's links, its pictures without a text, and its landmarks and title."""

    def __init__(self, text):
        super().__init__()
        self.links, self.mute, self.tags, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.texts.append(found.get("alt") or "")
        if tag == "img" and not (found.get("alt") or "").strip():
            self.mute.append(found.get("src", "")[:60])


def export(path):
    """Write a page as README's first command does, from the committed outputs."""
    settings = Config()
    settings.HTMLExporter.preprocessors = ["builder.pages.PublicPage"]
    return HTMLExporter(config=settings).from_filename(str(path))[0]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_exported_page_can_be_read_anywhere(path):
    text = export(path)
    page = Page(text)
    assert "google.colab" not in text
    assert not page.mute
    assert [text for text in page.texts if len(text) > LONGEST_TEXT] == []
    assert page.tags.count("main") == 1
    heading = re.search(r"<title>(.*?)</title>", text)[1]
    assert heading != path.stem
    assert len(heading) > 10
    local = [link for link in page.links if not re.match(r"https?:|#|mailto:", link)]
    assert local == []
    site, host = LAYOUT.site, f"https://github.com/{LAYOUT.repository}/blob/main/"
    ours = [link.partition("#")[0] for link in page.links if link.startswith((site, host))]
    assert ours
    for link in ours:
        place = link.removeprefix(f"{site}/course/").removeprefix(host)
        stem = ROOT / place.removesuffix(".html")
        assert any(p.exists() for p in (stem, Path(f"{stem}.ipynb"), Path(f"{stem}.md"))), link


def test_the_address_of_a_file_says_who_shows_it():
    site, host = LAYOUT.site, f"https://github.com/{LAYOUT.repository}"
    shown = address(LAYOUT, ROOT / "notebooks" / "glossary.md", "#auc")
    assert shown == f"{site}/course/notebooks/glossary.html#auc"
    assert address(LAYOUT, ROOT / "README.md") == f"{host}/blob/main/README.md"
    assert address(LAYOUT, ROOT / "medimg") == f"{host}/tree/main/medimg"


def test_the_readme_exports_with_these_settings():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"jupyter nbconvert .*", readme)
    assert len(commands) == 2
    assert all("--config notebooks/page.py" in command for command in commands)
    assert "builder.pages.PublicPage" in (ROOT / "notebooks/page.py").read_text(encoding="utf-8")

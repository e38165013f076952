"""The web site: the committed notebooks, glossary, teachers' pages and API, as one book.

`python -m sphinx -W docs build/site` builds it offline. The pages are the files of the repository;
they are copied beside this file before each build, so that links between them stay as they are.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes

import medimg

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))
from builder.layout import Layout  # noqa: E402
from builder.pages import COURSE, LINK, address  # noqa: E402

project, author, release = "medimg", "The medimg authors", medimg.__version__
copyright = "the medimg authors"  # Sphinx reads this name
extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx.ext.viewcode"]
exclude_patterns = ["course/notebooks/source", "course/notebooks/builder"]
language = "en"

nb_execution_mode = "off"  # the notebooks are committed executed, and the tests execute them again
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # an output in Markdown may hold a table
myst_enable_extensions = ["dollarmath", "html_image"]
myst_heading_anchors = 3
# A committed output of a type that pages cannot show has a second type that they can.
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_typehints = "none"  # numpydoc's "Parameters" already give the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

html_theme = "sphinx_book_theme"
html_title = "medimg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_copyright = False
html_theme_options = {
    "repository_url": f"https://github.com/{Layout(ROOT).repository}",
    "repository_branch": "main",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},  # it has no parts to list
    "navigation_with_keys": False,
}

# What the site shows of the library.
LIBRARY = {
    "images": "read any medical image, or say why not",
    "deid": "de-identify DICOM, and prove it",
    "sources": "fetch public data",
    "augment": "change images in ways that could have happened",
    "models": "networks",
    "metrics": "measure like a clinical paper",
    "datasets": "folders and tables of images",
    "training": "train and predict",
    "explain": "heat maps, and tests of them",
    "plots": "figures",
    "widgets": "sliders",
    "reports": "report, model card, checklists",
    "exercises": "exercises that check themselves",
    "runtime": "device and precision",
    "errors": "one family of errors",
}
# What has a page of its own (the error), or cannot be shown (a type's short name).
_HIDDEN = {"images": "ImageReadError", "widgets": "Drawn"}
_MODULE = """\
# {name}: {about}

```{{eval-rst}}
.. automodule:: medimg.{name}
   :members:
   :exclude-members: {hidden}
   {imported}
```
"""


def copy_course(app):
    """Lay the course's files beside this one; a link to a file not laid there leads to the host."""
    target = Path(app.srcdir) / "course"
    shutil.rmtree(target, ignore_errors=True)
    paths = [path for pattern in COURSE for path in sorted(ROOT.glob(pattern))]
    for path in paths:
        place = target / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            shutil.copy(path, place)
            continue

        def relink(found, folder=path.parent):
            linked = (folder / found[1]).resolve()
            if linked in paths or not linked.exists():  # Sphinx warns of a link to nothing
                return found[0]
            return address(Layout(ROOT), linked, found[2] or "")

        text = LINK.sub(relink, path.read_text(encoding="utf-8"))
        if path.suffix == ".ipynb":  # the cell that fetches the course is for Colab alone
            notebook = json.loads(text)
            cells = notebook["cells"]
            notebook["cells"] = [c for c in cells if "setup" not in c["metadata"].get("tags", [])]
            text = json.dumps(notebook)
        # An <a> that is no link is read as one without a name.
        text = re.sub(r'<a (id="[^"]*")></a>', r"<span \1></span>", text)
        place.write_text(text, encoding="utf-8")
    for name, about in LIBRARY.items():
        # A package shows what its folder's modules define; the errors have a page of their own.
        package = (ROOT / "medimg" / name).is_dir()
        imported = ":imported-members:" if package else ""
        place = target / "api" / f"{name}.md"
        place.parent.mkdir(exist_ok=True)
        hidden = _HIDDEN.get(name, "")
        text = _MODULE.format(name=name, about=about, hidden=hidden, imported=imported)
        place.write_text(text, encoding="utf-8")


def add_course_table(app, docname, source):
    """Put the README's table of notebooks into the landing page."""
    if docname == "index":
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        rows = re.search(r"(?<=\|---\|---\|\n)(\| \[quickstart\].*?)\n\n", readme, re.DOTALL)[1]
        source[0] = source[0].replace("{{ course }}", rows.replace("](", "](course/"))


def add_definitions(app, doctree, docname):
    """Give each link to a glossary entry the entry's first sentence, shown on hover."""
    terms = app.env.get_doctree("course/notebooks/glossary").findall(nodes.section)
    said = {}
    for term in terms:
        texts = [part.astext() for part in term.findall(nodes.paragraph)]
        defined = next((text for text in texts if not text.startswith("Also: ")), "")
        said |= {name: re.split(r"(?<=\.)\s", defined)[0] for name in term["ids"]}
    for link in doctree.findall(nodes.reference):
        page, _, anchor = link.get("refuri", "").partition("#")
        if page.endswith("glossary.html") and anchor in said:
            link["reftitle"] = said[anchor]


def setup(app):
    """Join the steps above to the build."""
    app.connect("builder-inited", copy_course)
    app.connect("source-read", add_course_table)
    app.connect("doctree-resolved", add_definitions)

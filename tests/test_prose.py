"""The course is in plain, idiomatic English: no phrase that reads as if translated comes back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "notebooks" / "glossary.md",
    *sorted((ROOT / "notebooks" / "instructor").glob("*.*")),
    *sorted((ROOT / "notebooks" / "source").glob("*.py")),
    *sorted((ROOT / "notebooks" / "exercises").glob("*.py")),
    *sorted((ROOT / "medimg").rglob("*.py")),  # docstrings, and what errors say
    *sorted((ROOT / "medimg").rglob("*.csv")),
]
FAULTS = {
    r"\bwhoever\b": "anyone who",
    r"\bshall\b": "will, or must",
    r"\b(the|for|of) (ill|sick)\b(?! (people|patient))": "people with the disease",
    r"\bill (people|person|image|film|patient)s?\b": "people with the disease",
    r"\bthe healthy\b(?! (class|images?|people|one|lung|eye|side))": "people without the disease",
    r"\bin peace\b": "correctly called negative",
    r"\bdear(er|est)\b": "more expensive",
    r"(?<!there )\bis no (DICOM|image|file|PNG|proof|number|map|address)\b": "is not a",
    r"\b(one|a) (file|row|image|line|patch) (a|an) (slice|image|patient|person|file)\b": "per",
    r"\bby heart\b|\bsplendid\b|\balibi\b|\bconvict(s|ed)?\b|\bleash\b|\bcrime\b": "plain words",
    r"\bgo(es)? on with\b": "continue with",
    r"\ball the same\b": "nevertheless",
    r"\bfor want of\b": "for lack of",
    r"\bblown up\b": "enlarged",
    r"\bis asked for\b|\bare asked\b": "give",
}
# A screen reader lists the links of a page without the sentences around them.
LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\([^)\s]+\)")
NAMES = {"uv"}  # what is called so
EMPTY = {"here", "how", "this", "that", "link", "page", "site", "more", "see", "read more", "one"}
EMPTY |= {"source", "report", "table", "guidance", "audit", "full one"}


def leads_nowhere(text):
    """Say whether the text of a link, read alone, does not tell where it leads."""
    said = " ".join(re.sub(r"[#*`]|^\W+|\W+$", " ", text).split()).lower()
    return said in EMPTY or (said not in NAMES and len(re.findall(r"[^\W\d_]", said)) < 3)


@pytest.mark.parametrize("fault", FAULTS, ids=FAULTS.values())
def test_no_phrase_reads_as_if_translated(fault):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for hit in re.finditer(fault, text, re.IGNORECASE):
            line = text.count("\n", 0, hit.start()) + 1
            found.append(f"{page.relative_to(ROOT)}:{line}: {hit[0]!r}; say {FAULTS[fault]!r}")
    assert not found, "\n".join(found)


def test_the_text_of_a_link_says_where_it_leads():
    found = []
    for page in (page for page in PAGES if page.suffix != ".csv"):
        text = page.read_text(encoding="utf-8")
        for hit in LINK.finditer(text):
            if leads_nowhere(hit[1]):
                line = text.count("\n", 0, hit.start()) + 1
                found.append(f"{page.relative_to(ROOT)}:{line}: {hit[0]!r}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["4", "how", "Here", "892.2050", "*this*", "", "the\n# table"])
def test_a_link_named_by_a_bare_number_or_an_empty_word_is_found(text):
    assert leads_nowhere(text) is (text != "the\n# table")


@pytest.mark.parametrize("text", ["notebook 4", "uv", "MIT", "Self 2013", "45 CFR 164.514"])
def test_a_link_with_a_name_passes(text):
    assert not leads_nowhere(text)

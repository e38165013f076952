"""The course is in plain, idiomatic English: no phrase that reads as if translated comes back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "data" / "README.md",
    ROOT / "docs" / "index.md",
    ROOT / "notebooks" / "glossary.md",
    *sorted((ROOT / "notebooks" / "instructor").glob("*.*")),
    *sorted((ROOT / "notebooks" / "source").glob("*.py")),
    *sorted((ROOT / "notebooks" / "exercises").glob("*.py")),
]
FAULTS = {
    r"\bwhoever\b": "anyone who",
    r"\bshall\b": "will, or must",
    r"\b(the|for|of) (ill|sick)\b(?! (people|patient))": "people with the disease",
    r"\bill (people|person|image|film|patient)s?\b": "people with the disease",
    r"\bthe healthy\b(?! (class|images?|people|one|lung|eye|side))": "people without the disease",
    r"\bin peace\b": "correctly called negative",
    r"\bdear(er|est)\b": "more expensive",
    r"\bis no (DICOM|image|file|PNG|proof)\b": "is not a",
    r"\b(one|a) (file|row|image|line|patch) (a|an) (slice|image|patient|person|file)\b": "per",
    r"\bby heart\b|\bsplendid\b|\balibi\b|\bconvict(s|ed)?\b|\bleash\b|\bcrime\b": "plain words",
    r"\bgo(es)? on with\b": "continue with",
    r"\ball the same\b": "nevertheless",
    r"\bfor want of\b": "for lack of",
    r"\bblown up\b": "enlarged",
    r"\bis asked for\b|\bare asked\b": "give",
}


@pytest.mark.parametrize("fault", FAULTS, ids=FAULTS.values())
def test_no_phrase_reads_as_if_translated(fault):
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for hit in re.finditer(fault, text, re.IGNORECASE):
            line = text.count("\n", 0, hit.start()) + 1
            found.append(f"{page.relative_to(ROOT)}:{line}: {hit[0]!r}; say {FAULTS[fault]!r}")
    assert not found, "\n".join(found)

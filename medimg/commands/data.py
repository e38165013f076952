"""Commands on data: fetch, scan, de-identify; and the study table that arguments name."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg import datasets, deid, images, sources
from medimg.datasets.layouts import BRAIN_MRI_URL, KERMANY_URL
from medimg.errors import DeidentifyError
from medimg.storage import atomic_write


def fetch(args: argparse.Namespace) -> None:
    """Download a public data set, or say where to get one that needs an account."""
    root = datasets.data_root(args.root)
    if args.name != "pneumoniamnist":
        url = {"kermany": KERMANY_URL, "brain-mri": BRAIN_MRI_URL}[args.name]
        print(f"Get {args.name} from {url} and unpack it into {root}; then `--data {args.name}`.")
        datasets.load(args.name, root=root)
        print("It is there already, and laid out as expected.")
        return
    source = sources.pneumoniamnist(args.size)
    folder = sources.fetch_pneumoniamnist(root, size=args.size)
    print(f"{folder}\nLicence: {source.licence}. Please cite: {source.citation}.")


def scan(args: argparse.Namespace) -> None:
    """List every file of a folder: what it is, whether it can be read, and if not, why."""
    table = images.scan(args.folder)
    unreadable = table[~table["readable"]]
    print(f"{len(table)} files, {len(unreadable)} of them no readable images")
    for row in unreadable.itertuples():
        print(f"  {row.path}: {row.reason}".encode("utf-8", "backslashreplace").decode())
    if args.out:
        save_table(table, Path(args.out))


def deidentify(args: argparse.Namespace) -> None:
    """Copy a folder of DICOM files without the patients' identity, and prove it."""
    options = deid.DeidOptions(
        retain_dates=args.retain_dates,
        retain_characteristics=args.retain_characteristics,
        retain_device=args.retain_device,
        blank=tuple(deid.Box.parse(text) for text in args.blank),
    )
    report = deid.deidentify(args.input, args.output, options=options)
    print(report)
    refused = int((report.files["status"] == "refused").sum())
    if refused == len(report.files):
        raise DeidentifyError(
            f"none of the {refused} files of {args.input} could be de-identified; "
            f"see {Path(args.output) / 'report.html'}"
        )


def save_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_write(path) as file:  # a file name may be no UTF-8: its bytes are kept
        file.write(table.to_csv(index=False).encode("utf-8", "surrogateescape"))


def named_studies(args: argparse.Namespace, default: Path | None = None) -> pd.DataFrame:
    """Load the table that the arguments name, take from it what they say, and print its summary."""
    studies = datasets.load(
        args.data or default, root=args.root, patient_pattern=args.patient_pattern,
        **table_options(args),
    )  # fmt: skip
    few, test = getattr(args, "draw", None), getattr(args, "draw_test", None)
    if few is not None or test is not None:
        studies = take_few(studies, few, test, np.random.default_rng(args.seed))
    if not args.allow_duplicates and (args.data or default is None):
        datasets.check_duplicates(studies)
    print_summary(studies, as_json=args.json)
    return studies


def table_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments say of columns, findings and classes, for `datasets.load`."""
    given = {"path": args.path_column, "label": args.label_column,
             "patient": args.patient_column, "split": args.split_column}  # fmt: skip
    return {
        "columns": {role: column for role, column in given.items() if column} or None,
        "image_dir": args.image_dir,
        "positive": args.positive,
        "uncertain": args.uncertain,
        "classes": [name.strip() for name in args.classes.split(",")] if args.classes else None,
    }


def print_summary(studies: pd.DataFrame, *, as_json: bool) -> None:
    """Print what a table holds: a text for people, or one line of JSON for programs."""
    found = datasets.summary(studies)
    text = json.dumps(found.to_dict()) if as_json else str(found)
    print(text.encode("utf-8", "backslashreplace").decode())


def take_few(
    studies: pd.DataFrame, images: int | None, test: int | None, rng: np.random.Generator
) -> pd.DataFrame:
    """Make a small experiment of a large set: few images to learn from, others to test on.

    As many of each class are taken from train and val; a fifth of their patients becomes the new
    val. Where the test split is too small, the test takes patients of train and val that were not
    taken to learn from.
    """
    notes = dict(studies.attrs)
    learn, held_out = studies[studies["split"] != "test"], studies[studies["split"] == "test"]
    if images is not None:
        learn = learn.assign(split="train")
        learn = datasets.subsample(learn, {"train": images}, rng=rng, balanced=True)
        learn = datasets.split_by_patient(learn, rng=rng, fractions=(0.8, 0.2, 0.0))
    if test is not None:
        if images is not None and len(held_out) < test:
            unused = ~studies["patient_id"].isin(learn["patient_id"])
            held_out = studies[unused].assign(split="test")
        held_out = datasets.subsample(held_out, {"test": test}, rng=rng)
    taken = pd.concat([learn, held_out], ignore_index=True)
    taken.attrs = notes
    return datasets.check_studies(taken)

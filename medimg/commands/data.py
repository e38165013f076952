"""Commands on data: fetch, scan, de-identify; and the study table that arguments name."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from medimg import datasets, deid, images, sources
from medimg.datasets.catalogue import BRAIN_MRI_URL, KERMANY_URL
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
    """Load the table that the arguments name, and draw from it if they say so."""
    studies = datasets.load(
        args.data or default, root=args.root, patient_pattern=args.patient_pattern
    )
    few, test = getattr(args, "draw", None), getattr(args, "draw_test", None)
    if few is None and test is None:
        return studies
    rng = np.random.default_rng(args.seed)
    return datasets.draw_few(studies, images=few, test=test, rng=rng)

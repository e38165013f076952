"""Commands on data: fetch, scan, de-identify; and the study table that arguments name."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from medimg import datasets, deid, images, sources
from medimg.commands.checks import check_new
from medimg.errors import DeidentifyError
from medimg.tables import visible, write_table


def fetch(args: argparse.Namespace) -> None:
    """Download a public data set, or say where to get one that needs an account."""
    root = sources.data_root(args.root)
    if args.name not in sources.SETS:
        datasets.load(args.name, root=root)  # or its error says where to get it
        print(f"{args.name} is there, and laid out as expected; use it with --data {args.name}.")
        return
    print(sources.about(args.name), flush=True)  # before the download begins
    print(f"{sources.fetch(args.name, root)}; SOURCE.json there: what was left out")
    print(f"Use it with --data {args.name}, or MEDIMG_DATASET={args.name}; MEDIMG_DATA={root}.")


def scan(args: argparse.Namespace) -> None:
    """List every file of a folder: what it is, whether it can be read, and if not, why."""
    check_new(args.out)
    table = images.scan(args.folder)
    unreadable = table[~table["readable"]]
    print(f"{len(table)} files, {len(unreadable)} of them not readable as images")
    for path, reason in unreadable[["path", "reason"]].to_numpy():
        print(f"  {visible(path)}: {visible(reason)}")
    if args.out:
        write_table(table, args.out)


def deidentify(args: argparse.Namespace) -> None:
    """Copy a folder of DICOM files without the patients' identity, and prove it."""
    options = deid.DeidOptions(
        blank=tuple(map(deid.Box.parse, args.blank or ())), retain_dates=args.retain_dates,
        retain_characteristics=args.retain_characteristics, retain_device=args.retain_device,
    )  # fmt: skip
    report = deid.deidentify(args.input, args.output, options=options)
    print(report)
    if (report.files["status"] == "refused").all():
        raise DeidentifyError(f"no file was de-identified; see {Path(args.output) / 'report.html'}")


def named_studies(args: argparse.Namespace, default: Path | None = None) -> pd.DataFrame:
    """Load the table that the arguments name, and print its summary.

    The summary is a text for people, or one line of JSON for programs.
    """
    given = vars(args) | {"classes": args.classes and [n.strip() for n in args.classes.split(",")]}
    roles = {role: given[f"{role}_column"] for role in ("path", "label", "patient", "split")}
    given["columns"] = {role: column for role, column in roles.items() if column}
    told = ("root", "patient_pattern", "columns", "image_dir", "positive", "uncertain", "classes",
            "unsplit")  # fmt: skip
    given["unsplit"] = given.get("split")  # evaluate: who gives no splits has all of them measured
    studies = datasets.load(args.data or default, **{name: given[name] for name in told})
    if not args.allow_duplicates and (args.data or default is None):
        datasets.check_duplicates(studies)
    found = datasets.summary(studies)
    print(json.dumps(asdict(found)) if args.json else visible(found, lines=True))
    return studies

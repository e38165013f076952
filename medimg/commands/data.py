"""Commands on data: fetch, scan, de-identify; and the study table that arguments name."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from medimg import datasets, deid, images, sources
from medimg.commands.checks import check_outputs, check_table
from medimg.datasets.layouts import SETS
from medimg.errors import DeidentifyError
from medimg.tables import visible, write_table


def fetch(args: argparse.Namespace) -> None:
    """Download a public data set, or say where to get one that needs an account."""
    root = sources.data_root(args.root)
    if args.name not in sources.SETS:
        url = SETS.loc[args.name, "url"]
        print(f"Get {args.name} from {url} and unpack it into {root}; then `--data {args.name}`.")
        datasets.load(args.name, root=root)
        print("It is there already, and laid out as expected.")
        return
    print(sources.about(args.name), flush=True)  # before the download begins
    folder = sources.fetch(args.name, root)
    left_out = json.loads((folder / "SOURCE.json").read_text(encoding="utf-8")).get("left_out", [])
    told = f"; left out: {len(left_out)} files, see SOURCE.json there" if left_out else ""
    here = f" MEDIMG_DATA={root}" if args.root else ""
    print(f"{folder}{told}\nUse it with MEDIMG_DATASET={args.name}{here}, or --data {args.name}.")


def scan(args: argparse.Namespace) -> None:
    """List every file of a folder: what it is, whether it can be read, and if not, why."""
    if args.out:
        check_table(Path(args.out), "path,readable,reason")
    table = images.scan(args.folder)
    if args.out:
        check_outputs([Path(args.out)], table.loc[table["readable"], "path"])
        write_table(table, args.out)
    unreadable = table[~table["readable"]]
    print(f"{len(table)} files, {len(unreadable)} of them not readable as images")
    for path, reason in unreadable[["path", "reason"]].to_numpy():
        print(f"  {visible(path)}: {visible(reason)}")


def deidentify(args: argparse.Namespace) -> None:
    """Copy a folder of DICOM files without the patients' identity, and prove it."""
    options = deid.DeidOptions(
        blank=tuple(map(deid.Box.parse, args.blank or ())), retain_dates=args.retain_dates,
        retain_characteristics=args.retain_characteristics, retain_device=args.retain_device,
    )  # fmt: skip
    report = deid.deidentify(args.input, args.output, options=options)
    print(report)
    refused = int((report.files["status"] == "refused").sum())
    if refused == len(report.files):
        raise DeidentifyError(
            f"none of the {refused} files of {args.input} could be de-identified; "
            f"see {Path(args.output) / 'report.html'}"
        )


def named_studies(args: argparse.Namespace, default: Path | None = None) -> pd.DataFrame:
    """Load the table that the arguments name, take from it what they say, and print its summary.

    The summary is a text for people, or one line of JSON for programs.
    """
    given = vars(args)
    columns = {role: given[f"{role}_column"] for role in ("path", "label", "patient", "split")}
    options = ("root", "patient_pattern", "image_dir", "positive", "uncertain", "classes")
    studies = datasets.load(
        args.data or default, columns={role: name for role, name in columns.items() if name},
        **{name: given[name] for name in options},
    )  # fmt: skip
    few, test = given.get("draw"), given.get("draw_test")
    if few is not None or test is not None:
        studies = take_few(studies, few, test, np.random.default_rng(args.seed))
    if not args.allow_duplicates and (args.data or default is None):
        datasets.check_duplicates(studies)
    found = datasets.summary(studies)
    text = json.dumps(asdict(found)) if args.json else str(found)
    print("\n".join(map(visible, text.splitlines())))
    return studies


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

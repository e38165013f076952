"""Make the sample again: `python data/simulate all --out data`, or one part of it.

The parts: ``xray``, ``ct``, ``mr``, ``retina``, ``covid``, ``fracture`` and ``brain`` (the images
and their study tables), ``cards`` (the counts in README.md, and croissant.json) and ``sheet`` (the
contact sheets).
``all`` makes all sets.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a folder: make `simulate` importable by its name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from simulate import brain, cards, covid, ct, fracture, mr, retina, sheet
from simulate.sample import make_sample, write_sums

from medimg.errors import MedimgError

PARTS = ("xray", "ct", "mr", "retina", "covid", "fracture", "brain", "all", "cards", "sheet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0 when done, 2 when something must be put right (one line on stderr says what).
    """
    parser = argparse.ArgumentParser(prog="python data/simulate", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", default="data", help="folder to write to (default: data)")
    parser.add_argument("--normal", type=int, default=60, help="healthy films (xray)")
    parser.add_argument("--pneumonia", type=int, default=40, help="films with disease (xray)")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(arguments)
    try:
        make(options)
    except (MedimgError, OSError) as error:  # a disk may fill up at any file
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    return 0


def make(options: argparse.Namespace) -> None:
    """Make the part that was asked for."""
    if options.part == "cards":
        cards.write_cards(options.out)
    elif options.part == "sheet":
        for folder in ("", "brain", "fracture"):
            if not folder or (Path(options.out) / folder).is_dir():
                sheet.contact_sheet(options.out, folder)
    if options.part in ("xray", "all"):
        make_sample(
            options.out, normal=options.normal, pneumonia=options.pneumonia, seed=options.seed
        )
    for module in (ct, mr, retina, covid, fracture, brain):
        if options.part in (module.__name__.rpartition(".")[2], "all"):
            module.make_sample(options.out, seed=options.seed)
    write_sums(options.out)


if __name__ == "__main__":
    sys.exit(main())

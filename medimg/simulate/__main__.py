"""Make the sample again: `python -m medimg.simulate xray|ct|mr|all --out data`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from medimg.errors import MedimgError
from medimg.simulate.sample import make_sample, write_sums


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
    parser = argparse.ArgumentParser(prog="python -m medimg.simulate", description=__doc__)
    parser.add_argument("part", choices=("xray", "ct", "mr", "all"))
    parser.add_argument("--out", default="data", help="folder to write to (default: data)")
    parser.add_argument("--normal", type=int, default=60, help="healthy films (xray)")
    parser.add_argument("--pneumonia", type=int, default=40, help="films with disease (xray)")
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(arguments)
    try:
        if options.part in ("xray", "all"):
            make_sample(
                options.out, normal=options.normal, pneumonia=options.pneumonia, seed=options.seed
            )
        for part in ("ct", "mr"):
            if options.part in (part, "all"):
                module = importlib.import_module(f"medimg.simulate.{part}")
                module.make_sample(options.out, seed=options.seed)
        write_sums(options.out)
    except (MedimgError, OSError) as error:  # a disk may fill up at any file
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

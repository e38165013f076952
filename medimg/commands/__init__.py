"""What each command of the command line does: reading, calling the library, writing."""

import argparse
from collections.abc import Callable

from medimg.commands.data import deidentify, fetch, scan
from medimg.commands.networks import fit
from medimg.commands.use import evaluate, explain, predict

Command = Callable[[argparse.Namespace], None]

__all__ = ["Command", "deidentify", "evaluate", "explain", "fetch", "fit", "predict", "scan"]

"""The command line: ``python -m medimg COMMAND``; the commands are listed in `_COMMANDS`."""

import argparse
import importlib
import io
import logging
import sys
import tomllib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from medimg import __version__
from medimg.errors import MedimgError
from medimg.tables import visible

log = logging.getLogger(__name__)


def _text(value: str) -> str:
    """Take a name or path that is neither empty nor impossible."""
    if not value.strip() or "\0" in value:
        raise argparse.ArgumentTypeError(f"{value!r} is not a name or path")
    return value


def _file(value: str) -> str:
    """Take the path of a file, which has a name."""
    if not Path(_text(value)).name:
        raise argparse.ArgumentTypeError(f"{value!r} is not the path of a file")
    return value


def _number(low: float, high: float) -> Callable[[str], float]:
    """Take a number in a range, ends included; a whole one if the ends are."""

    def number(value: str) -> float:
        if not low <= (found := type(low)(value)) <= high:
            raise argparse.ArgumentTypeError(f"{value} is not a number from {low} to {high:,}")
        return found

    return number


class _Parser(argparse.ArgumentParser):
    """A parser that checks what it takes, and whose complaints are one line, like every other."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.register("type", None, _text)
        self.register("type", "file", _file)

    def error(self, message: str) -> NoReturn:
        raise MedimgError(f"{message}; see `{self.prog} --help`")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its commands and options stand in ``options.toml``."""
    top = _Parser(prog="medimg", description="Classify medical images, measure, explain.")
    top.add_argument("--version", action="version", version=f"medimg {__version__}")
    parts = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    parts.type = str  # what follows the command is checked, and named, by the command's own parser
    table = tomllib.loads((Path(__file__).parent / "commands/options.toml").read_text("utf-8"))
    for command, told in table["commands"].items():
        part = parts.add_parser(command, help=told["about"], description=told["about"])
        part.set_defaults(module=told["module"])
        for how in map(dict, table["options"]):
            if command in how.pop("of").split():
                if "range" in how:
                    how["type"] = _number(*how.pop("range"))
                part.add_argument(how.pop("name"), **how)
    return top


class _OneLine(logging.Formatter):
    """Log lines in which a file name can neither break the line nor the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(record.getMessage())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0 when done, 2 when the input must be put right (one line on stderr says how), 130 when
        stopped from the keyboard.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("timm", "highdicom", "botocore"):  # they tell each file that they open
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may know few letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        given = parser().parse_args(argv)
        if given.command == "launch":
            given.fit_settings = parser().parse_args(["fit", *given.fit])
        module = importlib.import_module(f"medimg.commands.{given.module}")  # torch takes seconds
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: log.warning("%s", message)
            getattr(module, given.command)(given)
    except (MedimgError, OSError) as error:
        print(f"medimg: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medimg: stopped; files that were finished are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The command line: ``python -m medimg COMMAND``; the commands are listed in `_COMMANDS`."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
import tomllib
import warnings
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from medimg import __version__
from medimg.errors import MedimgError
from medimg.tables import visible

log = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like every other."""

    def error(self, message: str) -> NoReturn:
        raise MedimgError(f"{message}; see `{self.prog} --help`")


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


def _names(value: str) -> list[str]:
    """Take names with commas between them."""
    return [name.strip() for name in _text(value).split(",")]


def _number(kind: type, low: float, high: float, expected: str) -> Callable[[str], Any]:
    """Take a number in a range, ends included."""

    def number(value: str) -> Any:
        try:
            found = kind(value)
        except ValueError:
            found = None
        if found is None or not low <= found <= high:
            raise argparse.ArgumentTypeError(f"{value!r} is not {expected}")
        return found

    return number


_TAKES: dict[str, Callable[[str], Any]] = {
    "text": _text, "file": _file, "names": _names,
    "share": _number(float, sys.float_info.min, 1, "a share above 0 and up to 1, such as 0.95"),
}  # fmt: skip


def _add(parser: argparse.ArgumentParser, name: str, **how: Any) -> None:
    """Add an option or argument as ``options.toml`` describes it."""
    if how.get("default"):
        how["help"] += " (default: %(default)s)"
    if "range" in how:
        low, high = how.pop("range")
        what = "a whole number" if isinstance(low, int) else "a number"
        how["type"] = _number(type(low), low, high, f"{what} from {low} to {high:,}")
    elif how.get("action") != "store_true":
        how["type"] = _TAKES[how.get("type", "text")]
    parser.add_argument(name, **how)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; its commands and options stand in ``options.toml``."""
    top = _Parser(
        prog="medimg", description="Classify medical images, measure the result, explain it."
    )
    top.add_argument("--version", action="version", version=f"medimg {__version__}")
    parts = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    described = files("medimg.commands").joinpath("options.toml")
    table = tomllib.loads(described.read_text(encoding="utf-8"))
    for command, told in table["commands"].items():
        part = parts.add_parser(command, help=told["about"], description=told["about"])
        part.set_defaults(module=told["module"])
        for option in table["options"]:
            if command in option["of"].split():
                _add(part, **{key: value for key, value in option.items() if key != "of"})
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
    for chatty in ("timm", "highdicom"):  # they tell each file that they open or copy from
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

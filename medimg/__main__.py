"""The command line: ``python -m medimg fetch|fit|evaluate|predict|explain|scan|deidentify``."""

from __future__ import annotations

import argparse
import io
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from medimg import __version__, commands
from medimg.errors import MedimgError
from medimg.tables import visible

log = logging.getLogger(__name__)

_DATA_HELP = (
    "sample, sample_ct, sample_mr, pneumoniamnist, kermany, brain-mri, a folder laid out as "
    "ROOT/{split}/{class}/* or ROOT/{class}/*, or a CSV study table"
)
_SET = "$MEDIMG_DATASET, else sample"
_IMAGES = "DICOM, NIfTI, PNG, JPEG or TIFF files, or folders of them"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, like every other."""

    def error(self, message: str) -> NoReturn:
        raise MedimgError(f"{message}; see `{self.prog} --help`")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that says the default of an option where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default not in (None, False, [])
        return super()._get_help_string(action) if told else action.help


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


def _whole(low: int, high: int) -> Callable[[str], int]:
    """Take a whole number in a range, ends included."""

    def whole(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"{value!r} is not a whole number from {low} to {high:,}"
            )
        return number

    return whole


def _share(value: str) -> float:
    """Take a share above 0."""
    try:
        share = float(value)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(
            f"{value!r} is not a share above 0 and up to 1, such as 0.95"
        )
    return share


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = _Parser(
        prog="medimg", description="Classify medical images, measure the result, explain it."
    )
    top.add_argument("--version", action="version", version=f"medimg {__version__}")
    parts = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (_fetch, _fit, _evaluate, _predict, _explain, _scan, _deidentify):
        add(parts)
    return top


def _command(parts: argparse._SubParsersAction, run: commands.Command) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    """Add a command named and described as the function that it runs."""
    about = (run.__doc__ or "").partition("\n")[0]
    part: argparse.ArgumentParser = parts.add_parser(
        run.__name__, help=about, description=about, formatter_class=_Help
    )
    part.set_defaults(run=run)
    return part


def _option(part: argparse.ArgumentParser, name: str, meaning: str, **how: Any) -> None:
    """Add an option or argument; what it takes is text unless it says otherwise."""
    if how.get("action") != "store_true":
        how.setdefault("type", _text)
    part.add_argument(name, help=meaning, **how)


def _flag(part: argparse.ArgumentParser, name: str, meaning: str) -> None:
    part.add_argument(name, help=meaning, action="store_true")


def _data(part: argparse.ArgumentParser, *, default: str) -> None:
    """Add what names the data, and what a table or its labels may need to be read as meant."""
    _option(part, "--data", f"{_DATA_HELP} (default: {default})", metavar="NAME|PATH")
    _option(part, "--root", "where real data lie (else $MEDIMG_DATA)", metavar="FOLDER")
    _option(part, "--patient-pattern", "finds the patient in a file name of a folder",
            metavar="REGEX")  # fmt: skip
    for role in ("path", "label", "patient", "split"):
        _option(part, f"--{role}-column", f"the column of a table that holds the {role}",
                metavar="NAME")  # fmt: skip
    _option(part, "--image-dir", "where the images of a table lie", metavar="FOLDER")
    _option(part, "--positive", "one finding or class against the rest", metavar="FINDING")
    _option(part, "--uncertain", "what labels of -1 become",
            choices=["ignore", "positive", "negative"])  # fmt: skip
    _option(part, "--classes", "all classes: the healthy one first, grades rising",
            metavar="A,B,...")  # fmt: skip
    _flag(part, "--allow-duplicates", "go on if equal files are in two splits or have two labels")
    _flag(part, "--json", "print results as JSON, one object per line")
    _flag(part, "--ordinal", "the classes are grades, from the lowest to the highest")


def _fetch(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.fetch)
    part.add_argument("name", choices=["pneumoniamnist", "kermany", "brain-mri"])
    _option(part, "--size", "of pneumoniamnist: 28, 64, 128, 224", type=_whole(1, 10_000),
            default=224)  # fmt: skip
    _option(part, "--root", "where to keep it (else $MEDIMG_DATA)", metavar="FOLDER")


def _fit(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.fit)
    _data(part, default=_SET)
    _option(part, "--out", "where to write", metavar="FOLDER", default="runs/latest")
    _option(part, "--model", "the network", default="efficientnet_lite0")
    _option(part, "--weights", "pretrained weights from a local file", metavar="FILE")
    _option(part, "--head", "how the network pools", choices=["linear", "attention"],
            default="linear")  # fmt: skip
    _option(part, "--size", "side of the images in pixels", type=_whole(8, 4096), default=224)
    _option(part, "--channels", "1 for grey, 3 for colour", type=int, choices=[1, 3], default=1)
    _flag(part, "--keep-aspect", "pad to a square instead of changing the shape")
    _flag(part, "--stretch", "stretch each file from its lowest to its highest value")
    _option(part, "--strategy", "what trains when (default: by the number of images)")
    _option(part, "--epochs", "at most (default: by the number of images)", type=_whole(1, 10_000))
    _option(part, "--seed", "for everything random", type=_whole(0, 2**32 - 1), default=0)
    _option(part, "--draw", "train and validate on N images in all, equal classes",
            type=_whole(2, 10**9), metavar="N")  # fmt: skip
    _option(part, "--draw-test", "keep N images for the test", type=_whole(1, 10**9), metavar="N")
    _option(part, "--sensitivity", "choose the threshold that reaches this sensitivity",
            type=_share, metavar="SHARE")  # fmt: skip
    _option(part, "--by", "whose scores the threshold is for", choices=["image", "patient"],
            default="image")  # fmt: skip
    _option(part, "--cache", "keep decoded images here", metavar="FOLDER")
    _flag(part, "--resume", "go on where the last run stopped")


def _evaluate(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.evaluate)
    _data(part, default=f"the studies.csv that fit wrote beside the model; without one {_SET}")
    _model(part)
    _option(part, "--split", "which images", choices=["train", "val", "test"], default="test")
    _option(part, "--out", "where to write", metavar="FOLDER", default="runs/latest/evaluation")
    _option(part, "--by", "measure images or patients (default: as fit chose the threshold)",
            choices=["image", "patient"])  # fmt: skip
    _flag(part, "--tta", "average over small changes of the image")


def _predict(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.predict)
    _model(part)
    _option(part, "images", _IMAGES, nargs="+", metavar="IMAGE")
    _option(part, "--out", "write the table here as CSV, too", type=_file, metavar="FILE")
    _flag(part, "--json", "print the table as JSON")


def _explain(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.explain)
    _model(part)
    _option(part, "images", _IMAGES, nargs="+", metavar="IMAGE")
    _option(part, "--method", "gradcam, gradcam++, hirescam, ...", default="gradcam")
    _option(part, "--target", "the class to explain (default: the one that the network calls)",
            metavar="CLASS")  # fmt: skip
    _option(part, "--out", "where to write", metavar="FOLDER", default="runs/latest/explanations")


def _model(part: argparse.ArgumentParser) -> None:
    _option(part, "--model", "as fit wrote it", type=_file, metavar="FILE",
            default="runs/latest/model.safetensors")  # fmt: skip


def _scan(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.scan)
    _option(part, "folder", "where to look", metavar="FOLDER")
    _option(part, "--out", "write the table here as CSV", type=_file, metavar="FILE")


def _deidentify(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.deidentify)
    _option(part, "input", "a folder of DICOM files; it is only read", metavar="IN")
    _option(part, "output", "a folder for the de-identified copies", metavar="OUT")
    _flag(part, "--retain-dates", "shift dates, by patient")
    _flag(part, "--retain-characteristics", "keep age, sex, ...")
    _flag(part, "--retain-device", "keep the scanner's identity")
    _option(part, "--blank", "rows and columns to blank: 0:40,0:640 or 0:40,0:640@Modality=US",
            action="append", default=[], metavar="BOX")  # fmt: skip


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
    logging.getLogger("timm").setLevel(logging.WARNING)  # it tells each file that it opens
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may know few letters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments = parser().parse_args(argv)
        run: commands.Command = arguments.run
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: log.warning("%s", message)
            run(arguments)
    except (MedimgError, OSError) as error:
        print(f"medimg: {visible(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medimg: stopped; files that were finished are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

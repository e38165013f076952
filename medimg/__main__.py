"""The command line: ``python -m medimg COMMAND``; the commands are listed in `_COMMANDS`."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
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


def _whole(low: int, high: int) -> Callable[[str], Any]:
    return _number(int, low, high, f"a whole number from {low} to {high:,}")


_share = _number(float, sys.float_info.min, 1, "a share above 0 and up to 1, such as 0.95")


def _option(name: str, meaning: str, **how: Any) -> tuple[str, dict[str, Any]]:
    """Describe an option or argument; what it takes is text unless it says otherwise."""
    told = " (default: %(default)s)" if how.get("default") else ""
    return name, {"help": meaning + told, "type": _text, **how}


def _flag(name: str, meaning: str) -> tuple[str, dict[str, Any]]:
    return name, {"help": meaning, "action": "store_true"}


# What several commands take -----------------------------------------------------------------------
_MODEL = _option("--model", "as fit wrote it", type=_file, metavar="FILE",
                 default="runs/latest/model.safetensors")  # fmt: skip
_IMAGES = _option("images", "DICOM, NIfTI, PNG, JPEG or TIFF files, or folders of them", nargs="+",
                  metavar="IMAGE")  # fmt: skip
_DATA = (
    _option("--root", "where real data lie (else $MEDIMG_DATA)", metavar="FOLDER"),
    _option("--patient-pattern", "finds the patient in a file name of a folder", metavar="REGEX"),
    *(_option(f"--{role}-column", f"the column of a table that holds the {role}", metavar="NAME")
      for role in ("path", "label", "patient", "split")),
    _option("--image-dir", "where the images of a table lie", metavar="FOLDER"),
    _option("--positive", "one finding or class against the rest", metavar="FINDING"),
    _option("--uncertain", "what labels of -1 become", choices=["ignore", "positive", "negative"]),
    _option("--classes", "all classes: the healthy one first, grades rising", type=_names,
            metavar="A,B,..."),
    _flag("--allow-duplicates", "go on if equal files are in two splits or have two labels"),
    _flag("--json", "print results as JSON, one object per line"),
    _flag("--ordinal", "the classes are grades, from the lowest to the highest"),
)  # fmt: skip


def _data(default: str) -> tuple[str, dict[str, Any]]:
    return _option("--data", "sample, sample_ct, sample_mr, pneumoniamnist, kermany, brain-mri, a "
                   "folder laid out as ROOT/{split}/{class}/* or ROOT/{class}/*, or a CSV study "
                   f"table (default: {default})", metavar="NAME|PATH")  # fmt: skip


def _out(where: str) -> tuple[str, dict[str, Any]]:
    return _option("--out", "where to write", metavar="FOLDER", default=where)


def _table(meaning: str) -> tuple[str, dict[str, Any]]:
    return _option("--out", meaning, type=_file, metavar="FILE")


_COMMANDS = {
    "fetch": ("data", "Download a public data set, or say where to get one that needs an "
              "account.", (
        ("name", {"choices": ["pneumoniamnist", "kermany", "brain-mri"]}),
        _option("--size", "of pneumoniamnist: 28, 64, 128, 224", type=_whole(1, 10_000),
                default=224),
        _option("--root", "where to keep it (else $MEDIMG_DATA)", metavar="FOLDER"),
    )),
    "fit": ("networks", "Fine-tune a network on a data set, and keep it with a threshold chosen on "
            "validation.", (
        _data("$MEDIMG_DATASET, else sample"), *_DATA, _out("runs/latest"),
        _option("--model", "the network", default="efficientnet_lite0"),
        _option("--weights", "pretrained weights from a local file", metavar="FILE"),
        _option("--head", "how the network pools", choices=["linear", "attention"],
                default="linear"),
        _option("--size", "side of the images in pixels", type=_whole(8, 4096), default=224,
                dest="image_size", metavar="SIZE"),
        _option("--channels", "1 for grey, 3 for colour", type=int, choices=[1, 3], default=1),
        _flag("--keep-aspect", "pad to a square instead of changing the shape"),
        _flag("--stretch", "stretch each file from its lowest to its highest value"),
        _option("--strategy", "what trains when (default: by the number of images)"),
        _option("--epochs", "at most (default: by the number of images)", type=_whole(1, 10_000)),
        _option("--seed", "for everything random", type=_whole(0, 2**32 - 1), default=0),
        _option("--draw", "train and validate on N images in all, equal classes",
                type=_whole(2, 10**9), metavar="N"),
        _option("--draw-test", "keep N images for the test", type=_whole(1, 10**9), metavar="N"),
        _option("--sensitivity", "choose the threshold that reaches this sensitivity",
                type=_share, metavar="SHARE"),
        _option("--by", "whose scores the threshold is for", choices=["image", "patient"],
                default="image"),
        _option("--cache", "keep decoded images here", metavar="FOLDER"),
        _flag("--resume", "go on where the last run stopped"),
    )),
    "evaluate": ("networks", "Measure a network on a split: predictions.csv, report.json and a "
                 "report.html to print.", (
        _data("the studies.csv that fit wrote beside the model; without one $MEDIMG_DATASET, else "
              "sample"), *_DATA, _MODEL,
        _option("--split", "which images", choices=["train", "val", "test"], default="test"),
        _out("runs/latest/evaluation"),
        _option("--by", "measure images or patients (default: as fit chose the threshold)",
                choices=["image", "patient"]),
        _flag("--tta", "average over small changes of the image"),
    )),
    "predict": ("networks", "Score images of your own, files or whole folders, with a kept "
                "network.", (
        _MODEL, _IMAGES, _table("write the table here as CSV, too"),
        _flag("--json", "print the table as JSON"),
        _option("--dicom-sr", "write a DICOM structured report of each image here, too",
                metavar="FOLDER"),
    )),
    "explain": ("networks", "Draw where a kept network looked in images of your own, for the class "
                "that it calls.", (
        _MODEL, _IMAGES,
        _option("--method", "gradcam, gradcam++, hirescam, ...", default="gradcam"),
        _option("--target", "the class to explain (default: the one that the network calls)",
                metavar="CLASS"),
        _out("runs/latest/explanations"),
        _option("--dicom", "write each picture here as a DICOM secondary capture, too",
                metavar="FOLDER"),
    )),
    "scan": ("data", "List every file of a folder: what it is, whether it can be read, and if not, "
             "why.", (
        _option("folder", "where to look", metavar="FOLDER"),
        _table("write the table here as CSV"),
    )),
    "deidentify": ("data", "Copy a folder of DICOM files without the patients' identity, and prove "
                   "it.", (
        _option("input", "a folder of DICOM files; it is only read", metavar="IN"),
        _option("output", "a folder for the de-identified copies", metavar="OUT"),
        _flag("--retain-dates", "shift dates, by patient"),
        _flag("--retain-characteristics", "keep age, sex, ..."),
        _flag("--retain-device", "keep the scanner's identity"),
        _option("--blank", "rows and columns to blank: 0:40,0:640 or 0:40,0:640@Modality=US",
                action="append", default=[], metavar="BOX"),
    )),
    "launch": ("launch", "Train on Amazon SageMaker: the bill first, then the job; bring its "
               "result back.", (
        _option("--data", "a folder, which is sent, or s3://BUCKET/PREFIX"),
        _option("--images", "how many there are (default: counted)", type=_whole(1, 10**9)),
        _option("--megapixels", "of an image as it is stored", default=1.0,
                type=_number(float, 0.001, 1000, "a number of megapixels")),
        _option("--instance", "the machine", default="ml.g5.xlarge"),
        _option("--count", "of machines", type=_whole(1, 100), default=1),
        _option("--max-usd", "refuse a higher bill, and end the job when it is spent", default=10.0,
                type=_number(float, 0.5, 10**6, "dollars, from 0.5")),
        _option("--usd-per-hour", "price of the machine in your region",
                type=_number(float, 0.001, 10**4, "dollars")),
        _option("--region", "of bucket and job (else $AWS_REGION)"),
        _option("--bucket", "NAME or s3://NAME/PREFIX, for all that the job reads and writes"),
        _option("--role", "ARN of the role that the job takes"),
        _option("--kms-key", "encrypt with this key (else with Amazon's)"),
        _option("--name", "of the job (default: by date and time)"),
        _option("--tag", "KEY=VALUE, for your accounts", action="append", default=[]),
        _option("--image", "a container of your own that has all packages"),
        _option("--wheels", "a folder of packages to install without a network"),
        _flag("--on-demand", "no spot machine: dearer, never interrupted"),
        _flag("--dry-run", "print bill and request, and send nothing"),
        _flag("--wait", "print the job's log until it ends; Ctrl-C stops the job"),
        _option("--fetch-result", "bring network, card and report of this job back",
                metavar="JOB"),
        _option("--remove", "delete all that this job left in its bucket", metavar="JOB"),
        _out("runs/latest"),
        ("fit", {"nargs": "*", "metavar": "-- OPTION", "help": "options of `medimg fit`"}),
    )),
}  # fmt: skip
"""Each command: its module, what it does, and its options and arguments."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = _Parser(
        prog="medimg", description="Classify medical images, measure the result, explain it."
    )
    top.add_argument("--version", action="version", version=f"medimg {__version__}")
    parts = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for command, (module, about, options) in _COMMANDS.items():
        part = parts.add_parser(command, help=about, description=about)
        part.set_defaults(module=module)
        for name, how in options:
            part.add_argument(name, **how)
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
    logging.getLogger("timm").setLevel(logging.WARNING)  # it tells each file that it opens
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

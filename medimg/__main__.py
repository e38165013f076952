"""The command line: ``python -m medimg fetch|fit|evaluate|predict|explain|scan|deidentify``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from medimg import __version__, commands
from medimg.errors import MedimgError

_DATA_HELP = (
    "sample, sample_ct, sample_mr, pneumoniamnist, kermany, brain-mri, a folder laid out as "
    "ROOT/{split}/{class}/* or ROOT/{class}/*, or a CSV study table"
)
_SET = "$MEDIMG_DATASET, else sample"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="medimg", description="Classify medical images, measure the result, explain it."
    )
    top.add_argument("--version", action="version", version=f"medimg {__version__}")
    parts = top.add_subparsers(required=True, metavar="COMMAND")
    for add in (_fetch, _fit, _evaluate, _predict, _explain, _scan, _deidentify):
        add(parts)
    return top


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that says the default of an option where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default is not None and action.default is not False
        return super()._get_help_string(action) if told else action.help


def _command(parts: argparse._SubParsersAction, run: commands.Command) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    """Add a command named and described as the function that it runs."""
    about = (run.__doc__ or "").partition("\n")[0]
    part: argparse.ArgumentParser = parts.add_parser(
        run.__name__, help=about, description=about,
        formatter_class=_Help,
    )  # fmt: skip
    part.set_defaults(run=run)
    return part


def _data(part: argparse.ArgumentParser, *, default: str) -> None:
    part.add_argument("--data", metavar="NAME|PATH", help=f"{_DATA_HELP} (default: {default})")
    part.add_argument("--root", metavar="FOLDER", help="where real data lie (else $MEDIMG_DATA)")
    part.add_argument(
        "--patient-pattern", metavar="REGEX", help="finds the patient in a file name of a folder"
    )
    _table(part)


def _table(part: argparse.ArgumentParser) -> None:
    """Add what a table or its labels may need to be read as meant."""
    for role in ("path", "label", "patient", "split"):
        part.add_argument(
            f"--{role}-column", metavar="NAME", help=f"the column of a table that holds the {role}"
        )
    part.add_argument("--image-dir", metavar="FOLDER", help="where the images of a table lie")
    part.add_argument("--positive", metavar="FINDING", help="one finding or class against the rest")
    part.add_argument(
        "--uncertain", choices=["ignore", "positive", "negative"], help="what labels of -1 become"
    )
    part.add_argument(
        "--classes", metavar="A,B,...", help="all classes: the healthy one first, grades rising"
    )
    part.add_argument(
        "--allow-duplicates", action="store_true",
        help="go on if equal files are in two splits or have two labels",
    )  # fmt: skip
    part.add_argument("--json", action="store_true", help="print the summary of the data as JSON")


def _fetch(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.fetch)
    part.add_argument("name", choices=["pneumoniamnist", "kermany", "brain-mri"])
    part.add_argument("--size", type=int, default=224, help="of pneumoniamnist: 28, 64, 128, 224")
    part.add_argument("--root", metavar="FOLDER", help="where to keep it (else $MEDIMG_DATA)")


def _fit(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.fit)
    _data(part, default=_SET)
    part.add_argument("--out", metavar="FOLDER", default="runs/latest", help="where to write")
    part.add_argument("--model", default="efficientnet_lite0", help="the network")
    part.add_argument("--weights", metavar="FILE", help="pretrained weights from a local file")
    part.add_argument("--head", choices=["linear", "attention"], default="linear")
    part.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    part.add_argument(
        "--keep-aspect", action="store_true", help="pad to a square instead of changing the shape"
    )
    part.add_argument("--strategy", help="what trains when (default: by the number of images)")
    part.add_argument("--epochs", type=int, help="at most (default: by the number of images)")
    part.add_argument("--seed", type=int, default=0)
    part.add_argument(
        "--draw", type=int, metavar="N", help="train and validate on N images in all, equal classes"
    )
    part.add_argument("--draw-test", type=int, metavar="N", help="keep N images for the test")
    part.add_argument(
        "--sensitivity", type=float, metavar="S", help="threshold that keeps it (default: Youden)"
    )
    part.add_argument("--cache", metavar="FOLDER", help="keep the decoded images here")
    part.add_argument("--resume", action="store_true", help="go on with a run that broke off")


def _evaluate(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.evaluate)
    _data(part, default=f"the studies.csv that fit wrote beside the model; without one {_SET}")
    _model(part)
    part.add_argument("--split", choices=["train", "val", "test"], default="test")
    part.add_argument("--out", metavar="FOLDER", default="runs/latest/evaluation")
    part.add_argument("--tta", action="store_true", help="average over small changes of the image")


def _predict(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.predict)
    _model(part)
    part.add_argument("images", nargs="+", metavar="IMAGE", help="DICOM, PNG, JPEG or TIFF files")
    part.add_argument("--out", metavar="FILE", help="write the table here as CSV, too")


def _explain(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.explain)
    _model(part)
    part.add_argument("images", nargs="+", metavar="IMAGE", help="DICOM, PNG, JPEG or TIFF files")
    part.add_argument("--method", default="gradcam", help="gradcam, gradcam++, hirescam, ...")
    part.add_argument(
        "--target", metavar="CLASS", help="class to explain; the called one if not given"
    )
    part.add_argument("--out", metavar="FOLDER", default="runs/latest/explanations")


def _model(part: argparse.ArgumentParser) -> None:
    part.add_argument(
        "--model", metavar="FILE", default="runs/latest/model.safetensors", help="as fit wrote it"
    )


def _scan(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.scan)
    part.add_argument("folder", metavar="FOLDER")
    part.add_argument("--out", metavar="FILE", help="write the table here as CSV")


def _deidentify(parts: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    part = _command(parts, commands.deidentify)
    part.add_argument("input", metavar="IN", help="a folder of DICOM files; it is only read")
    part.add_argument("output", metavar="OUT", help="a folder for the de-identified copies")
    part.add_argument("--retain-dates", action="store_true", help="shift dates, by patient")
    part.add_argument("--retain-characteristics", action="store_true", help="keep age, sex, ...")
    part.add_argument("--retain-device", action="store_true", help="keep the scanner's identity")
    part.add_argument(
        "--blank", action="append", default=[], metavar="BOX",
        help="rows and columns to blank: 0:40,0:640 or 0:40,0:640@Modality=US",
    )  # fmt: skip


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
    arguments = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        run: commands.Command = arguments.run
        run(arguments)
    except (MedimgError, OSError) as error:
        print(f"medimg: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medimg: stopped; files that were finished are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Keep the input apart from the output, and the output free of what nobody vouches for."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from medimg.errors import DeidentifyError

REPORTS = ("report.json", "report.html")


def checked_folders(source: Path, target: Path) -> tuple[Path, Path]:
    """Return both folders resolved, links followed.

    Raises
    ------
    DeidentifyError
        When there is no input, or one folder is or lies in the other.
    """
    if not source.is_dir():
        raise DeidentifyError(f'The input "{source}" is no folder; give a folder of DICOM files.')
    source, target = source.resolve(), target.resolve()
    if target.exists() and not target.is_dir():
        raise DeidentifyError(f'The output "{target}" is a file; give a folder.')
    private = target.with_name(f"{target.name}.private")  # the journal's folder
    mixed = source == target or source in target.parents or target in source.parents
    if mixed or private == source or private in source.parents:
        raise DeidentifyError(
            f'The output folder "{target}" is, holds or lies in the input folder, which would mix '
            "originals with copies; give a folder elsewhere."
        )
    return source, target


def refuse_foreign(target: Path, ours: Set[str]) -> None:
    """Stop when the output folder holds what no run of ours would write."""
    for path in sorted(target.rglob("*") if target.exists() else ()):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in ours and not path.name.startswith("."):
            raise DeidentifyError(
                f'The output folder "{target}" holds files from elsewhere, which cannot be '
                "vouched for; move them away or give another folder."
            )


def remove_stale(target: Path, wanted: Set[str]) -> None:
    """Remove outputs whose input is gone or changed, and what a killed run left half-written."""
    for path in sorted(target.rglob("*") if target.exists() else ()):
        if path.is_file() and path.relative_to(target).as_posix() not in wanted:
            path.unlink()
    target.mkdir(parents=True, exist_ok=True)

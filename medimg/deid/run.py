"""De-identify a folder: take stock, treat and prove each file, write it, report."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import Dataset

from medimg.deid import dicomfile, pixels
from medimg.deid.options import DeidOptions, Key
from medimg.deid.profile import Treatment, stamp
from medimg.deid.proof import NOBODY, Inventory, Verdict, Verifier
from medimg.deid.report import DeidReport, hipaa_table
from medimg.errors import DeidentifyError
from medimg.progress import tqdm
from medimg.storage import atomic_write, sha256

logger = logging.getLogger(__name__)
REPORTS = ("report.json", "report.html")
SHOWN = ("number", "status", "reason", "output", "look_at", "pixels")
COLUMNS = ("number", "input", "status", "reason", "output", "sha256", "key", "details")
DETAILS = ("pixels", "done", "unaccounted")


@dataclass
class InputFile:
    """One input file, and what became of it."""

    number: int
    path: Path
    input: str
    status: str = "planned"
    reason: str = ""
    output: str = ""
    sha256: str = ""
    key: str = ""
    identity: str = ""
    look_at: list[str] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    unaccounted: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str) -> None:
        """Note that the file is not copied, and why."""
        self.status, self.reason, self.output = "refused", reason, ""

    @property
    def row(self) -> list[object]:
        """The file's row of the private table."""
        details = json.dumps({name: getattr(self, name) for name in DETAILS})
        return [*(getattr(self, name) for name in COLUMNS[:-1]), details]


def deidentify(
    in_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    options: DeidOptions | None = None,
    progress: bool = True,
) -> DeidReport:
    """Write a copy of a folder of DICOM files without the patients, and prove it.

    The Basic Application Confidentiality Profile of PS3.15 Annex E, with options, and beyond it: a
    copy holds numbers, words of the standard and samples of pixels, and nothing else. What cannot
    be cleaned or read is refused and not copied. The input is never written to. A run that was
    stopped goes on when it is started again. Every byte of a copy is searched for every
    identifier of the whole input before it is written; a copy in which one is found is not written.

    ``<out_dir>`` gets ``<pseudonym>/<name>.dcm``, ``report.json`` and ``report.html``;
    ``<out_dir>.private`` gets the secret and the table of which file became which: never share it.

    Parameters
    ----------
    in_dir, out_dir : path-like
        Neither may lie within the other. ``out_dir`` is new, empty, or of an earlier run; hidden
        files in it are left alone.
    options : DeidOptions, optional
        The plain Basic Profile when left out.
    progress : bool
        Show progress bars.

    Returns
    -------
    DeidReport
        What was done, what was refused and why, what a person must look at.

    Raises
    ------
    DeidentifyError
        When the folders will not do, another run is at work in them, or an identifier is found in a
        copy (after the report has been written).
    OSError
        When the disk is full or a folder cannot be written; what is there is whole, and the next
        run goes on.

    References
    ----------
    DICOM PS3.15 Annex E; 45 CFR 164.514(b)(2).

    Examples
    --------
    >>> deidentify("no/folder", "out")
    Traceback (most recent call last):
    medimg.errors.DeidentifyError: The input "no/folder" is not a folder; give one of DICOM files.
    """
    source, target = _checked_folders(Path(in_dir), Path(out_dir))
    options = options or DeidOptions()
    files = list(_listed(source))
    if not files:
        raise DeidentifyError(f'The input folder "{in_dir}" holds no file; give another.')
    private = target.with_name(f"{target.name}.private")
    with dicomfile.quietly(), _alone(private, target):
        crosswalk, inventory = _Crosswalk(private, target, options), Inventory(options)
        for file in _bar(files, "taking stock", progress):
            _take_stock(file, crosswalk, inventory)
        crosswalk.begin(files)
        verifier, verdicts = Verifier(inventory), {}
        for file in _bar(files, "de-identifying and proving", progress):
            verdicts[file.number] = _one(file, crosswalk, verifier)
            crosswalk.add(file)
        report = _report(options, inventory, files, verdicts)
        crosswalk.end(files, report)
    if not report.ok:
        raise DeidentifyError(
            f"Identifiers of the input were found in {report.leaks['output'].nunique()} copies, "
            f'which were not written; read "{target / "report.html"}".'
        )
    return report


def _checked_folders(source: Path, target: Path) -> tuple[Path, Path]:
    """Return both folders resolved, links followed."""
    if not source.is_dir():
        raise DeidentifyError(f'The input "{source}" is not a folder; give one of DICOM files.')
    source, target = source.resolve(), target.resolve()
    if target.exists() and not target.is_dir():
        raise DeidentifyError(f'The output "{target}" is a file; give a folder.')
    private = target.with_name(f"{target.name}.private")
    within = {source, *source.parents} & {target, private} or source in target.parents
    if within:
        raise DeidentifyError(
            f'The output folder "{target}" is, holds or lies in the input folder, which would mix '
            "originals with copies; give a folder elsewhere."
        )
    return source, target


def _listed(source: Path) -> Iterator[InputFile]:
    """Yield every file below a folder, and as refused every folder that cannot be entered."""
    found: dict[Path, str] = {}

    def closed(error: OSError) -> None:
        found[Path(error.filename)] = "is a folder that cannot be opened"

    for place, folders, names in os.walk(source, onerror=closed):
        for path in (Path(place, name) for name in [*names, *folders]):
            if path.is_symlink() and path.is_dir():
                found[path] = "is a link to a folder, which is not followed"
            elif path.name in names:
                found[path] = "" if path.is_file() else "is not an ordinary file"
    for number, path in enumerate(sorted(found), 1):
        name = path.relative_to(source).as_posix().encode("utf-8", "backslashreplace").decode()
        file = InputFile(number, path, name)
        if found[path]:
            file.refuse(found[path])
        yield file


@contextmanager
def _alone(private: Path, target: Path) -> Iterator[None]:
    """Hold a lock on the private folder, which a killed process gives up as well."""
    if not private.exists() and target.exists() and any(target.iterdir()):
        raise _foreign(target)
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(private / "lock", "a", encoding="utf-8") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeidentifyError(
                f'Another run is at work on "{target}"; wait for its end, or give another folder.'
            ) from None
        yield


def _foreign(target: Path) -> DeidentifyError:
    return DeidentifyError(
        f'The output folder "{target}" holds files from elsewhere, which cannot be vouched for; '
        "move them away or give another folder."
    )


class _Crosswalk:
    """The private folder: the secret, and ``files.csv``, which says which file became which.

    A row is added for each finished file, so that a stopped run goes on where it was. Nothing
    that no row names is ever removed from the output.
    """

    def __init__(self, folder: Path, target: Path, options: DeidOptions) -> None:
        self.folder, self.target, self.options = folder, target, options
        for left in folder.glob(".part.*"):  # of a run that was killed while it wrote
            left.unlink()
        self.key = Key(self._secret(options.secret))
        self._path, self.rows = folder / "files.csv", dict[str, dict[str, str]]()
        if self._path.exists():
            with open(self._path, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if row["output"] and row["details"]:  # a torn last row has none
                        self.rows[row["output"]] = row

    def _secret(self, given: str | None) -> str:
        path, mark = self.folder / "secret.key", self.folder / "secret.check"
        if given is not None:
            path.unlink(missing_ok=True)  # the caller keeps it; a second copy would only be a risk
        elif not path.exists():
            self.write(path, secrets.token_hex(32).encode())
        given = path.read_text(encoding="utf-8") if given is None else given
        check = Key(given).letters("check", "", 20)
        if mark.exists() and mark.read_text(encoding="utf-8") != check:
            raise DeidentifyError(
                f'The folder "{self.folder}" was made with another secret, so that pseudonyms '
                "would not match; give that secret, or a new output folder."
            )
        self.write(mark, check.encode())
        return given

    def write(self, path: Path, data: bytes) -> None:
        """Write a file here and then move it, so that the output never holds half of one."""
        part = self.folder / "part"
        with atomic_write(part) as file:
            file.write(data)
        os.chmod(part, 0o600 if path.parent == self.folder else part.stat().st_mode)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)

    def begin(self, files: list[InputFile]) -> None:
        """Stop when the output holds what no run of ours would write; note what is planned."""
        ours = {file.output for file in files} | set(self.rows) | set(REPORTS)
        for place, folders, names in os.walk(self.target):
            folders[:] = [one for one in folders if not one.startswith(".")]
            for path in (Path(place, name) for name in [*folders, *names]):
                name = path.relative_to(self.target).as_posix()
                strange = path.is_symlink() or (path.name in names and name not in ours)
                if strange and not path.name.startswith("."):
                    raise _foreign(self.target)
        self.target.mkdir(parents=True, exist_ok=True)
        self._table(*([row[name] for name in COLUMNS] for row in self.rows.values()),
                    *(file.row for file in files if file.output not in self.rows))  # fmt: skip

    def _table(self, *rows: Iterable[object]) -> None:
        with open(self.folder / "part", "w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([COLUMNS, *rows])
        self.write(self._path, (self.folder / "part").read_bytes())

    def add(self, file: InputFile) -> None:
        """Append the row of a finished file."""
        with open(self._path, "a", encoding="utf-8", newline="") as out:
            csv.writer(out).writerow(file.row)

    def end(self, files: list[InputFile], report: DeidReport) -> None:
        """Remove copies whose input is gone, write the reports, and the table in order."""
        for name in set(self.rows) - {f.output for f in files if f.status in ("written", "kept")}:
            (self.target / name).unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                (self.target / name).parent.rmdir()
        for name in REPORTS:
            report.save(self.folder / name)
            os.replace(self.folder / name, self.target / name)
        self._table(*(file.row for file in files))


def _bar(files: list[InputFile], title: str, progress: bool) -> Iterable[InputFile]:
    return tqdm(files, desc=title) if progress else files


def _identity(dataset: Dataset) -> str:
    """Return what makes two files one patient's: ID and issuer, else name and birth date."""

    def told(*keywords: str) -> str:
        """Return values, case ignored; "" when the first stands for nobody."""
        values = [str(dataset.get(word, "") or "").strip().casefold() for word in keywords]
        letters = "".join(letter for letter in values[0] if letter.isalnum())
        return "\0".join(values) if len(set(letters)) > 1 and letters not in NOBODY else ""

    born = told("PatientBirthDate") and told("PatientName", "PatientBirthDate")
    study = dataset.get("StudyInstanceUID") or dataset.get("SOPInstanceUID", "")
    return f"{told('PatientID', 'IssuerOfPatientID') or born or study}"


def _take_stock(file: InputFile, crosswalk: _Crosswalk, inventory: Inventory) -> None:
    """Give a file its names and add its identifiers; refuse it when it cannot be read."""
    key = crosswalk.key
    try:
        if file.status == "refused":
            return
        own = f"{file.input}\0{sha256(file.path)}"
        dataset = dicomfile.read(file.path)
        file.identity = _identity(dataset)
        inventory.add(dataset, days=key.days(file.identity))
        file.look_at = list(pixels.risks(dataset))
    except dicomfile.RefusedError as refusal:
        file.refuse(str(refusal))
    except Exception as error:  # one bad file never stops a run; its message may quote a value
        file.refuse(f"cannot be read ({type(error).__name__})")
    else:
        file.output = f"{key.patient(file.identity)}/{key.letters('name', own, 16)}.dcm"
        file.key = key.letters("file", f"{own}\0{crosswalk.options.fingerprint}", 24)


def _one(file: InputFile, crosswalk: _Crosswalk, verifier: Verifier) -> Verdict:
    """Say what became of a file: done by an earlier run, written now, refused or leaking."""
    if file.status == "refused":
        return Verdict()
    known, path = crosswalk.rows.get(file.output, {}), crosswalk.target / file.output
    try:
        if known.get("key") == file.key and path.is_file() and sha256(path) == known["sha256"]:
            vars(file).update(json.loads(known["details"]), status="kept")
            data = path.read_bytes()
        else:
            file.status, data = "written", _treated(file, crosswalk, verifier)
        verdict = verifier.check(data, file.output)
    except dicomfile.RefusedError as refusal:
        file.refuse(str(refusal))
        return Verdict()
    except Exception as error:  # as above
        logger.warning("file %d refused: %s", file.number, type(error).__name__)
        file.refuse(f"cannot be de-identified ({type(error).__name__})")
        return Verdict()
    file.sha256 = hashlib.sha256(data).hexdigest()
    if verdict.leaks:
        file.status = "leaking"
    elif file.status == "written":
        crosswalk.write(path, data)
    return verdict


def _treated(file: InputFile, crosswalk: _Crosswalk, verifier: Verifier) -> bytes:
    """De-identify one file in memory."""
    options, key = crosswalk.options, crosswalk.key
    dataset = dicomfile.read(file.path)
    pixels.refuse_what_cannot_be_cleaned(dataset)
    file.pixels = pixels.clean(dataset, options.blank)
    treatment = Treatment(key, options, key.days(file.identity), verifier.names)
    treatment.run(dataset)
    codes = [*options.codes, *["113101"] * any("box" in text for text in file.pixels)]
    stamp(dataset, pseudonym=key.patient(file.identity), codes=tuple(sorted(codes)))
    file.done, file.unaccounted = dict(treatment.done), dict(treatment.unaccounted)
    return dicomfile.write(dataset)


def _report(
    options: DeidOptions, inventory: Inventory, files: list[InputFile], verdicts: dict[int, Verdict]
) -> DeidReport:
    """Return the report, without a value of the input."""

    def summed(counts: Iterable[Counter[Any] | dict[Any, int]], *names: str) -> pd.DataFrame:
        """Return how many files hold each key, and the sum of its counts."""
        total, held = Counter[Any](), Counter[Any]()
        for one in counts:
            total.update(one)
            held.update(one.keys())
        keys = sorted(total)
        rows = [(*([key] if isinstance(key, str) else key), held[key], total[key]) for key in keys]
        return pd.DataFrame(rows, columns=[*names])

    leaks = [(file.output, *what, count) for file in files
             for what, count in verdicts[file.number].leaks.items()]  # fmt: skip
    counts, missed = Counter(kind for kind, _ in inventory.found), inventory.unsearched
    found = Counter(kind for _, kind, _, _ in leaks)
    rows = [(kind, counts[kind], missed[kind]) for kind in sorted(counts | missed)]
    legible = any(pixels.may_show_text(file.look_at) for file in files if file.output)
    accepted = [verdict.accepted for verdict in verdicts.values()]
    return DeidReport(
        options,
        pd.DataFrame([[getattr(file, name) for name in SHOWN] for file in files], columns=[*SHOWN]),
        pd.DataFrame(leaks, columns=["output", "kind", "element", "count"]),
        summed([file.unaccounted for file in files], "element", "files", "bytes"),
        summed(accepted, "kind", "element", "reason", "files", "count"),
        pd.DataFrame(rows, columns=["kind", "searched", "not_searched"]),
        summed([file.done for file in files], "what", "files", "count"),
        hipaa_table(options, counts, found, legible=legible),
    )

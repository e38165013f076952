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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from pydicom import Dataset

from medimg.deid import dicomfile, pixels
from medimg.deid.options import DeidOptions, Key
from medimg.deid.profile import Treatment, stamp
from medimg.deid.proof import DUMMIES, Inventory, Verdict, Verifier, scrub
from medimg.deid.report import DeidReport, hipaa_table
from medimg.errors import DeidentifyError
from medimg.progress import tqdm
from medimg.storage import atomic_write, sha256

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)
REPORTS = ("report.json", "report.html")
COLUMNS = ("number", "input", "status", "reason", "output", "sha256", "key", "details")


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
    scrubbed: list[str] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    unaccounted: dict[str, int] = field(default_factory=dict)

    def refuse(self, reason: str) -> None:
        """Note that the file is not copied."""
        self.status, self.reason, self.output = "refused", reason, ""


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
    >>> deidentify("no/such/folder", "out")
    Traceback (most recent call last):
    medimg.errors.DeidentifyError: The input "no/such/folder" is not a folder; give a folder ...
    """
    source, target = _checked_folders(Path(in_dir), Path(out_dir))
    options = options or DeidOptions()
    files = list(_listed(source))
    if not files:
        raise DeidentifyError(f'The input folder "{in_dir}" holds no file; give another.')
    private = target.with_name(f"{target.name}.private")
    with dicomfile.quietly(), _alone(private, target):
        crosswalk = _Crosswalk(private, target, options)
        inventory = Inventory(options)
        new_uids: set[str] = set()
        for file in _bar(files, "taking stock", progress):
            _take_stock(file, crosswalk, inventory)
        new_uids = {crosswalk.key.uid(one.text) for one in inventory.found if one.kind == "UID"}
        crosswalk.begin(files)
        verifier, verdicts = Verifier(inventory, new_uids), {}
        for file in _bar(files, "de-identifying and proving", progress):
            if file.status == "planned":
                verdicts[file.number] = _one(file, crosswalk, verifier)
                crosswalk.add(file)
        report = DeidReport(options, **_tables(options, inventory, files, verdicts))
        crosswalk.end(files, report)
    if not report.ok:
        raise DeidentifyError(
            f"Identifiers of the input were found in {len(set(report.leaks['output']))} copies, "
            f'which were not written; read "{target / "report.html"}".'
        )
    return report


def _checked_folders(source: Path, target: Path) -> tuple[Path, Path]:
    """Return both folders resolved, links followed."""
    if not source.is_dir():
        raise DeidentifyError(
            f'The input "{source}" is not a folder; give a folder of DICOM files.'
        )
    source, target = source.resolve(), target.resolve()
    if target.exists() and not target.is_dir():
        raise DeidentifyError(f'The output "{target}" is a file; give a folder.')
    private = target.with_name(f"{target.name}.private")
    mixed = source == target or source in target.parents or target in source.parents
    if mixed or private == source or private in source.parents:
        raise DeidentifyError(
            f'The output folder "{target}" is, holds or lies in the input folder, which would mix '
            "originals with copies; give a folder elsewhere."
        )
    return source, target


def _listed(source: Path) -> Iterator[InputFile]:
    """Yield every file below a folder, and every folder that cannot be entered."""
    skipped: list[tuple[str, str]] = []
    paths = []
    walk = os.walk(source, onerror=lambda e: skipped.append((str(e.filename), "cannot be opened")))
    for place, folders, names in walk:
        paths += [Path(place, name) for name in names]
        links = [os.path.join(place, one) for one in folders if Path(place, one).is_symlink()]
        skipped += [(one, "is a link to a folder, which is not followed") for one in links]
    every = [(path, "") for path in sorted(paths)] + [(Path(p), why) for p, why in sorted(skipped)]
    for number, (path, why) in enumerate(every, 1):
        name = path.relative_to(source).as_posix().encode("utf-8", "backslashreplace").decode()
        file = InputFile(number, path, name)
        if why or not path.is_file():
            file.refuse(why or "is not an ordinary file")
        yield file


@contextmanager
def _alone(private: Path, target: Path) -> Iterator[None]:
    """Hold a lock on the private folder, which a killed process gives up as well."""
    if not private.exists() and target.exists() and any(target.iterdir()):
        raise DeidentifyError(
            f'The output folder "{target}" holds files from elsewhere, which cannot be '
            "vouched for; give a new or empty folder."
        )
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(private / "lock", "a", encoding="utf-8") as file:
        try:
            if sys.platform == "win32":
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DeidentifyError(
                f'Another run is at work on "{target}"; wait for its end, or give another folder.'
            ) from None
        yield


class _Crosswalk:
    """The private folder: the secret, and ``files.csv``, which says which file became which.

    A row is added for each finished file, so that a stopped run goes on where it was. Nothing
    that such a row does not name is ever removed from the output.
    """

    def __init__(self, folder: Path, target: Path, options: DeidOptions) -> None:
        self.folder, self.target, self.options = folder, target, options
        for left in folder.glob(".part.*"):  # of a run that was killed while it wrote
            left.unlink()
        self.key = Key(self._secret(options.secret))
        self._path = folder / "files.csv"
        self.rows: dict[str, dict[str, str]] = {}
        if self._path.exists():
            with open(self._path, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    if row.get("output") and row.get("details"):  # a torn last row has none
                        self.rows[row["output"]] = row

    def _secret(self, given: str | None) -> str:
        path, mark = self.folder / "secret.key", self.folder / "secret.check"
        if given is None:
            if not path.exists():
                self._write(path, secrets.token_hex(32))
            given = path.read_text(encoding="utf-8")
        elif path.exists():
            path.unlink()  # the caller keeps the secret; a second copy would only be a risk
        check = Key(given).letters("check", "", 20)
        if mark.exists() and mark.read_text(encoding="utf-8") != check:
            raise DeidentifyError(
                f'The folder "{self.folder}" was made with another secret, so that pseudonyms '
                "would not match; give that secret, or a new output folder."
            )
        self._write(mark, check)
        return given

    def _write(self, path: Path, data: bytes | str) -> None:
        """Write a file here and then move it, so that the output never holds half of one."""
        part = self.folder / "part"
        with atomic_write(part, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
        if path.parent == self.folder:
            os.chmod(part, 0o600)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, path)

    def begin(self, files: list[InputFile]) -> None:
        """Stop when the output holds what no run of ours would write; note what is planned."""
        ours = {file.output for file in files} | set(self.rows) | set(REPORTS)
        for place, folders, names in os.walk(self.target):
            folders[:] = [one for one in folders if not one.startswith(".")]
            links = [one for one in folders if Path(place, one).is_symlink()]
            for name in [*links, *(one for one in names if not one.startswith("."))]:
                path = Path(place, name)
                if path.relative_to(self.target).as_posix() not in ours or path.is_symlink():
                    raise DeidentifyError(
                        f'The output folder "{self.target}" holds files from elsewhere, which '
                        "cannot be vouched for; move them away or give another folder."
                    )
        self.target.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path, "w") as out:
            os.chmod(out.name, 0o600)
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            writer.writerows([row.get(name, "") for name in COLUMNS] for row in self.rows.values())
            writer.writerows(_row(file) for file in files if file.output not in self.rows)
        os.chmod(self._path, 0o600)

    def add(self, file: InputFile) -> None:
        """Append the row of a finished file."""
        with open(self._path, "a", encoding="utf-8", newline="") as out:
            csv.writer(out).writerow(_row(file))

    def write_copy(self, name: str, data: bytes) -> None:
        """Write one copy, whole or not at all."""
        self._write(self.target / name, data)

    def remove_copy(self, name: str) -> None:
        """Remove a copy that a row of ours names."""
        path = self.target / name
        if path.is_file():
            path.unlink()
        with suppress(OSError):
            path.parent.rmdir()

    def end(self, files: list[InputFile], report: DeidReport) -> None:
        """Remove copies whose input is gone, write the reports, and the table in order."""
        for name in set(self.rows) - {file.output for file in files if file.status != "leaking"}:
            self.remove_copy(name)
        for name in REPORTS:
            report.save(self.folder / name)
            os.replace(self.folder / name, self.target / name)
        with atomic_write(self._path, "w") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            writer.writerows(_row(file) for file in files)
        os.chmod(self._path, 0o600)


def _row(file: InputFile) -> list[object]:
    record = asdict(file)
    names = ("pixels", "scrubbed", "done", "unaccounted")
    record["details"] = json.dumps({name: record[name] for name in names})
    return [record[name] for name in COLUMNS]


def _bar(files: list[InputFile], title: str, progress: bool) -> Iterable[InputFile]:
    return tqdm(files, desc=title) if progress else files


def _identity(dataset: Dataset) -> str:
    """Return what makes two files one patient's: ID and issuer, else name and birth date."""

    def told(keyword: str) -> str:
        return str(dataset.get(keyword, "") or "").strip().casefold()

    def somebody(text: str) -> bool:
        letters = "".join(letter for letter in text if letter.isalnum())
        return len(set(letters)) > 1 and letters not in DUMMIES

    if somebody(told("PatientID")):
        return f"id\0{told('PatientID')}\0{told('IssuerOfPatientID')}"
    if somebody(told("PatientName")) and somebody(told("PatientBirthDate")):
        return f"name\0{told('PatientName')}\0{told('PatientBirthDate')}"
    return f"study\0{told('StudyInstanceUID') or told('SOPInstanceUID')}"


def _take_stock(file: InputFile, crosswalk: _Crosswalk, inventory: Inventory) -> None:
    """Give a file its names and add its identifiers; refuse it when it cannot be read."""
    if file.status == "refused":
        return
    key = crosswalk.key
    try:
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
    known, path = crosswalk.rows.get(file.output, {}), crosswalk.target / file.output
    try:
        if known.get("key") == file.key and path.is_file() and sha256(path) == known["sha256"]:
            vars(file).update(json.loads(known["details"]), status="kept", sha256=known["sha256"])
            verdict = verifier.check(path.read_bytes(), file.output)
        else:
            data, verdict = _treated(file, crosswalk, verifier)
            if not verdict.leaks:
                crosswalk.write_copy(file.output, data)
                file.status, file.sha256 = "written", hashlib.sha256(data).hexdigest()
    except OSError:
        raise  # the disk, not the file
    except dicomfile.RefusedError as refusal:
        file.refuse(str(refusal))
        return Verdict()
    except Exception as error:  # as above
        logger.warning("file %d refused: %s", file.number, type(error).__name__)
        file.refuse(f"cannot be de-identified ({type(error).__name__})")
        return Verdict()
    if verdict.leaks:
        file.status = "leaking"
    return verdict


def _treated(file: InputFile, crosswalk: _Crosswalk, verifier: Verifier) -> tuple[bytes, Verdict]:
    """De-identify one file in memory, and search what would be written."""
    options, key = crosswalk.options, crosswalk.key
    dataset = dicomfile.read(file.path)
    pixels.refuse_what_cannot_be_cleaned(dataset)
    file.pixels = list(pixels.clean(dataset, options.blank))
    treatment = Treatment(key, options, key.days(file.identity))
    treatment.run(dataset)
    blanked = ("113101",) if any("box" in text for text in file.pixels) else ()
    stamp(
        dataset,
        pseudonym=key.patient(file.identity),
        codes=tuple(sorted((*options.codes, *blanked))),
    )
    data = dicomfile.write(dataset)
    verdict = verifier.check(data, file.output)
    if verdict.places and verdict.dataset is not None:
        file.scrubbed = scrub(verdict)
        data = dicomfile.write(verdict.dataset)
        verdict = verifier.check(data, file.output)
    file.done, file.unaccounted = dict(treatment.done), dict(treatment.unaccounted)
    return data, verdict


def _tables(
    options: DeidOptions,
    inventory: Inventory,
    files: list[InputFile],
    verdicts: Mapping[int, Verdict],
) -> dict[str, pd.DataFrame]:
    """Return the tables of a `DeidReport` by name, without a value of the input."""
    columns = ["number", "status", "reason", "output", "look_at", "pixels", "scrubbed"]
    by_number = {file.number: file for file in files}
    leaks = [(by_number[n].output, kind, element, count) for n, verdict in verdicts.items()
             for (kind, element), count in verdict.leaks.items()]  # fmt: skip
    accepted: Counter[tuple[str, str, str]] = Counter()
    seen_in: Counter[tuple[str, str, str]] = Counter()
    done: Counter[str] = Counter()
    odd, odd_in, found = Counter[str](), Counter[str](), Counter[str]()
    for verdict in verdicts.values():
        accepted.update(verdict.accepted)
        seen_in.update(verdict.accepted.keys())
    for _, kind, _, count in leaks:
        found[kind] += count
    for file in files:
        done.update(file.done)
        odd.update(file.unaccounted)
        odd_in.update(file.unaccounted.keys())
    counts = Counter(one.kind for one in inventory.found)
    kinds = sorted(counts | inventory.unsearched)
    legible = any(pixels.may_show_text(file.look_at) for file in files if file.output)
    why = "kept by an option as free text, or a block of numbers whose length nothing states"
    tables = {
        "files": ([[getattr(file, name) for name in columns] for file in files], columns),
        "leaks": (leaks, ["output", "kind", "element", "count"]),
        "unaccounted": ([(e, odd_in[e], size, why) for e, size in sorted(odd.items())],
                        ["element", "files", "bytes", "why"]),
        "accepted": ([(*what, seen_in[what], n) for what, n in sorted(accepted.items())],
                     ["kind", "element", "reason", "files", "count"]),
        "searched": ([(kind, counts[kind], inventory.unsearched[kind]) for kind in kinds],
                     ["kind", "searched", "not_searched"]),
        "done": (sorted(done.items()), ["what", "count"]),
    }  # fmt: skip
    made = {name: pd.DataFrame(rows, columns=names) for name, (rows, names) in tables.items()}
    return {**made, "hipaa": hipaa_table(options, counts, found=found, text_in_pixels=legible)}

"""De-identify a folder: take stock, treat and prove each file, write it, report."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from pydicom import Dataset

from medimg.deid import dicomfile, pixels
from medimg.deid.dicomfile import RULES, PathLike, package_text
from medimg.deid.options import DeidOptions, Key
from medimg.deid.profile import Treatment, stamp
from medimg.deid.proof import NOBODY, Inventory, Verifier
from medimg.errors import DeidentifyError
from medimg.progress import tqdm
from medimg.storage import atomic_write

REPORTS = ("report.json", "report.html")
COLUMNS = ["number", "input", "status", "reason", "output"]
SHOWN = ["number", "status", "reason", "output", "look_at", "pixels"]
# What is counted by file and summed in the report: the columns of the table, the count last.
COUNTED = {"done": ["what", "count"], "unaccounted": ["element", "bytes"],
           "accepted": ["kind", "element", "reason", "count"]}  # fmt: skip


@dataclass
class InputFile:
    """One input file, and what became of it."""

    number: int
    path: Path
    input: str
    reason: str = ""
    status: str = "planned"
    output: str = ""
    identity: str = ""
    look_at: list[str] = field(default_factory=list)
    pixels: list[str] = field(default_factory=list)
    counts: dict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))


Step = Callable[[InputFile], bytes | None]  # gives the bytes to write, if there are any


def hipaa_table(
    options: DeidOptions, counts: Mapping[str, int], found: Mapping[str, int], *, legible: bool
) -> pd.DataFrame:
    """Return a row for each identifier of 45 CFR 164.514(b)(2)(i).

    Parameters
    ----------
    options : DeidOptions
        What was retained.
    counts, found : mapping
        By kind: distinct values of the input that were searched for, and hits without explanation.
    legible : bool
        Whether the pixels of some output may show text, which can be any identifier.

    Returns
    -------
    DataFrame
        Columns ``number, identifier, in_dicom, done, values_in_input, found, settled,
        cannot_know``; ``settled`` is "yes", "in the header" (a person must still read the pixels),
        "no" or "a person decides".

    References
    ----------
    .. [1] 45 CFR 164.514(b)(2)(i)(A) to (R).

    Examples
    --------
    >>> table = hipaa_table(DeidOptions(), {"patient name": 3}, {}, legible=False)
    >>> len(table), int(table.values_in_input[0]), table.settled[0]
    (18, 3, 'yes')
    """
    kept = {name: getattr(options, name) for name in RULES["hipaa"]}
    words = {name: RULES["hipaa"][name][holds] for name, holds in kept.items()}
    header = "in the header" if legible else "yes"
    settled = {"yes": "yes", "person": "a person decides", "header": header}
    settled |= {name: "no" if holds else header for name, holds in kept.items()}
    table = pd.read_csv(io.StringIO(package_text("hipaa.csv")), keep_default_na=False)
    kinds = table.pop("kinds").str.split("|")
    for at, (name, by_kind) in enumerate((("values_in_input", counts), ("found", found)), 4):
        table.insert(at, name, [sum(by_kind.get(kind, 0) for kind in row) for row in kinds])
    table["done"] = [text.format(**words) for text in table["done"]]
    table["settled"] = table["settled"].map(settled).where(table["found"] == 0, "no")
    return table


@dataclass(frozen=True)
class DeidReport:
    """The outcome of a de-identification; holds no value of the input.

    Attributes
    ----------
    options : DeidOptions
        What was asked for.
    files : DataFrame
        A row per input file: ``number, status, reason, output, look_at, pixels``.
        ``status`` is "written", "kept" (done by an earlier run), "refused" or "leaking".
    leaks : DataFrame
        ``output, kind, element, count``: identifiers of the input found in what was to be written.
        Such copies are not in the output folder.
    unaccounted : DataFrame
        ``element, files, bytes``: what copies hold that a program cannot account for.
    accepted : DataFrame
        ``kind, element, reason, files, count``: hits that are no leak, and why.
    searched : DataFrame
        ``kind, searched, not_searched``: distinct values searched for; values left out.
    done : DataFrame
        ``what, files, count``: elements treated.
    hipaa : DataFrame
        The 18 identifiers, see `hipaa_table`.
    """

    options: DeidOptions
    files: pd.DataFrame
    leaks: pd.DataFrame
    unaccounted: pd.DataFrame
    accepted: pd.DataFrame
    searched: pd.DataFrame
    done: pd.DataFrame
    hipaa: pd.DataFrame

    @classmethod
    def of(cls, options: DeidOptions, files: list[InputFile], inventory: Inventory) -> DeidReport:
        """Return the report on treated files and on what was searched for."""
        leaks = [(f.output, *what, n) for f in files for what, n in f.counts["leaks"].items()]
        counts, missed = Counter(kind for kind, _ in inventory.found), inventory.unsearched
        searched = [(kind, counts[kind], missed[kind]) for kind in sorted(counts | missed)]
        legible = any("text: " in " ".join(file.look_at) for file in files if file.output)
        return cls(
            options,
            pd.DataFrame([vars(file) for file in files], columns=SHOWN),
            pd.DataFrame(leaks, columns=["output", "kind", "element", "count"]),
            searched=pd.DataFrame(searched, columns=["kind", "searched", "not_searched"]),
            hipaa=hipaa_table(options, counts, Counter(one[1] for one in leaks), legible=legible),
            **{name: _summed([file.counts[name] for file in files], names)
               for name, names in COUNTED.items()},
        )  # fmt: skip

    @property
    def ok(self) -> bool:
        """Whether no identifier was found in any copy."""
        return len(self.leaks) == 0

    @property
    def look_at(self) -> pd.DataFrame:
        """A row for each reason to look at pixels: ``reason, files``."""
        reasons = self.files.loc[self.files["output"] != "", "look_at"].explode().dropna()
        counts = reasons.value_counts().sort_index()
        return counts.rename_axis("reason").reset_index(name="files")

    def summary(self) -> str:
        """Return the outcome in one line."""
        status = Counter(self.files["status"])
        flagged = int((self.files["look_at"].map(len).gt(0) & (self.files["output"] != "")).sum())
        known, odd = int(self.searched["searched"].sum()), self.unaccounted
        proof = f"none of {known} known identifiers found in their bytes"
        if len(odd):
            proof = f"no hit for {known} known identifiers, but {int(odd['bytes'].sum())} bytes in "
            proof += f"{len(odd)} elements could not be accounted for: a person must read them"
        if not self.ok:
            proof = f"IDENTIFIERS FOUND in {self.leaks['output'].nunique()} copies, not written"
        return (
            f"{status['written'] + status['kept']} of {len(self.files)} files de-identified "
            f"({status['kept']} by an earlier run), {status['refused']} refused and not copied; "
            f"{proof}; a person must look at {flagged}."
        )

    def __repr__(self) -> str:
        return f"DeidReport({self.summary()})"

    def save(self, path: PathLike) -> None:
        """Write the report as ``.json`` or ``.html``, after the path's suffix.

        Raises
        ------
        ValueError
            For another suffix.
        """
        suffix = Path(path).suffix
        if suffix == ".json":
            names = [*(one.name for one in fields(self) if one.name != "options"), "look_at"]
            tables = {name: getattr(self, name).to_dict(orient="records") for name in names}
            head = {"ok": self.ok, "summary": self.summary(), "codes": list(self.options.codes)}
            text = json.dumps({**head, **tables}, indent=1, default=int)
        elif suffix == ".html":
            page = jinja2.Environment(autoescape=True).from_string(package_text("report.html"))
            text = page.render(report=self, meanings=RULES["meanings"])
        else:
            raise ValueError(f'A report is saved as .json or .html, not "{suffix}".')
        with atomic_write(path, "w") as file:
            file.write(text)


def _summed(counts: list[Counter[Any]], names: list[str]) -> pd.DataFrame:
    """Return how many files hold each key, and the sum of its counts."""
    pairs = [pair for one in counts for pair in one.items()]
    rows = [(*(key if isinstance(key, tuple) else [key]), count) for key, count in pairs]
    groups = pd.DataFrame(rows, columns=names).groupby(names[:-1])[names[-1]]
    return pd.DataFrame({"files": groups.size(), names[-1]: groups.sum()}).reset_index()


def deidentify(
    in_dir: PathLike,
    out_dir: PathLike,
    *,
    options: DeidOptions | None = None,
    progress: bool = True,
) -> DeidReport:
    """Write a copy of a folder of DICOM files without the patients, and prove it.

    The Basic Application Confidentiality Profile of PS3.15 Annex E, with options, and beyond it: a
    copy holds numbers, words of the standard and samples of pixels, and nothing else. What cannot
    be cleaned or read is refused and not copied. The input is never written to. A run that was
    stopped is started again; what it wrote is kept. Every byte of a copy is searched for every
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
    source, target, private = _checked_folders(Path(in_dir), Path(out_dir))
    files = list(_listed(source))
    if not files:
        raise DeidentifyError(f'The input folder "{in_dir}" holds no file; give another.')
    with dicomfile.quietly(), _alone(private):
        run = _Run(target, private, options or DeidOptions())
        run.each(files, "read", run.take_stock, progress)
        run.note(files)
        run.verifier = Verifier(run.inventory)
        run.each(files, "de-identified", run.copy, progress)
        report = run.end(files)
    if not report.ok:
        found = f"Identifiers of the input were found in {report.leaks['output'].nunique()} copies"
        raise DeidentifyError(f'{found}, which were not written; read "{target / REPORTS[1]}".')
    return report


def _checked_folders(source: Path, target: Path) -> tuple[Path, Path, Path]:
    """Return both folders resolved, links followed, and the private one."""
    if not source.is_dir():
        raise DeidentifyError(f'The input "{source}" is not a folder; give one of DICOM files.')
    source, target = source.resolve(), target.resolve()
    private = target.with_name(f"{target.name}.private")
    if target.exists() and not target.is_dir():
        raise DeidentifyError(f'The output "{target}" is a file; give a folder.')
    if {source, *source.parents} & {target, private} or source in target.parents:
        raise DeidentifyError(f'"{target}" is, holds or lies in the input folder; give another.')
    return source, target, private


def _listed(source: Path) -> Iterator[InputFile]:
    """Yield every file below a folder, and as refused every folder that is not entered."""
    closed: list[OSError] = []
    found: dict[Path, str] = {}
    for place, folders, names in os.walk(source, onerror=closed.append):
        for path in (Path(place, name) for name in [*folders, *names]):
            if path.is_symlink() and path.is_dir():
                found[path] = "is a link to a folder, which is not followed"
            elif not path.is_dir():
                found[path] = "" if path.is_file() else "is not an ordinary file"
    found |= {Path(error.filename): "is a folder that cannot be opened" for error in closed}
    for number, path in enumerate(sorted(found), 1):
        name = path.relative_to(source).as_posix().encode("utf-8", "backslashreplace").decode()
        yield InputFile(number, path, name, found[path], "refused" if found[path] else "planned")


@contextmanager
def _alone(private: Path) -> Iterator[None]:
    """Hold a lock on the private folder, which a killed process gives up as well."""
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with closing(sqlite3.connect(private / "lock", timeout=0)) as lock:  # works on every system
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            said = f'Another run is at work in "{private}"; wait for its end.'
            raise DeidentifyError(said) from None
        yield


class _Run:
    """A run on an output and its private folder: the secret, and which file became which.

    Pseudonyms and names follow from the secret, so that a stopped run writes the same files when it
    is started again. ``files.csv`` names an output before it is written: nothing else is removed.
    """

    verifier: Verifier

    def __init__(self, target: Path, private: Path, options: DeidOptions) -> None:
        self.target, self.private, self.options = target, private, options
        self.inventory, self.ours = Inventory(options), set(REPORTS)
        for left in private.glob(".part.*"):  # of a run that was killed while it wrote
            left.unlink()
        with suppress(FileNotFoundError), open(private / "files.csv", encoding="utf-8") as file:
            self.ours |= {row["output"] for row in csv.DictReader(file) if row["output"]}
        for path in target.rglob("*"):
            name = path.relative_to(target)
            strange = path.is_symlink() or not (path.is_dir() or name.as_posix() in self.ours)
            if strange and not any(part.startswith(".") for part in name.parts):
                held = f'The output folder "{target}" holds files from elsewhere'
                raise DeidentifyError(f"{held}; move them away, or give another folder.")
        target.mkdir(exist_ok=True)
        self.key = self._key(options.secret)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file in private and then move it, so that the output never holds half of one."""
        part = self.private / "part"
        with atomic_write(part) as file:
            file.write(data)
        if path.parent == self.private:
            part.chmod(0o600)
        path.parent.mkdir(exist_ok=True)
        part.replace(path)

    def _key(self, secret: str | None) -> Key:
        """Return the key of the given secret, or of one that is drawn once and kept."""
        kept, mark = self.private / "secret.key", self.private / "secret.check"
        if secret is None and not kept.exists():
            self.write(kept, secrets.token_hex(32).encode())
        key = Key(kept.read_text(encoding="utf-8") if secret is None else secret)
        check = key.letters("check", "", 20).encode()
        if mark.exists() and mark.read_bytes() != check:
            made = f'The folder "{self.private}" was made with another secret'
            raise DeidentifyError(f"{made}; give that one, or a new output folder.")
        if secret is not None:
            kept.unlink(missing_ok=True)  # the caller keeps it; a second copy would only be a risk
        self.write(mark, check)
        return key

    def each(self, files: list[InputFile], how: str, step: Step, progress: bool) -> None:
        """Take a step with each file that is not refused, and write what it gives, if it does.

        A file with which the step fails is refused, and the others go on; a full disk stops all.
        """
        left = [file for file in files if not file.reason]
        for file in tqdm(left, desc=f"files {how}") if progress else left:
            data = None
            try:
                with dicomfile.refusing(f"cannot be {how}"):
                    data = step(file)
            except dicomfile.RefusedError as refusal:
                file.reason, file.status, file.output = str(refusal), "refused", ""
            if data is not None:
                self.write(self.target / file.output, data)

    def take_stock(self, file: InputFile) -> None:
        """Give a file its names and add its identifiers; refuse it when it cannot be read."""
        dataset = dicomfile.read(file.path)
        file.identity = _identity(dataset)
        self.inventory.add(dataset, days=self.key.days(file.identity))
        file.look_at = pixels.risks(dataset)
        own = f"{file.input}\0{dataset.get('SOPInstanceUID', '')}"
        name = self.key.letters("name", own, 16)
        file.output = f"{self.key.patient(file.identity)}/{name}.dcm"

    def note(self, files: list[InputFile]) -> None:
        """Write the table: outputs to come or done, then those that only earlier runs wrote."""
        earlier = sorted(self.ours - {file.output for file in files} - {*REPORTS})
        rows = [*map(vars, files), *({"output": name} for name in earlier)]
        table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
        self.write(self.private / "files.csv", table.to_csv(index=False).encode())

    def copy(self, file: InputFile) -> bytes | None:
        """Return a proven copy of a file; None when it leaks, or stands in the output already."""
        dataset = dicomfile.read(file.path)
        pixels.refuse_what_cannot_be_cleaned(dataset)
        file.pixels = pixels.clean(dataset, self.options.blank)
        days, names = self.key.days(file.identity), self.verifier.names
        Treatment(self.key, self.options, days, names, file.counts).run(dataset)
        blanked = ["113101"] * any("box" in text for text in file.pixels)
        codes = tuple(sorted([*self.options.codes, *blanked]))
        stamp(dataset, pseudonym=self.key.patient(file.identity), codes=codes)
        data, path = dicomfile.write(dataset), self.target / file.output
        file.counts["leaks"], file.counts["accepted"] = self.verifier.check(data, file.output)
        same = path.is_file() and path.read_bytes() == data
        file.status = "leaking" if file.counts["leaks"] else "kept" if same else "written"
        return data if file.status == "written" else None

    def end(self, files: list[InputFile]) -> DeidReport:
        """Remove copies whose input is gone; write reports and the table; return the report."""
        done = {file.output for file in files if file.status in ("written", "kept")}
        for path in (self.target / name for name in self.ours - done - {*REPORTS}):
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                path.parent.rmdir()
        report = DeidReport.of(self.options, files, self.inventory)
        for name in REPORTS:
            report.save(self.private / name)
            (self.private / name).replace(self.target / name)
        self.ours.clear()
        self.note(files)
        return report


def _identity(dataset: Dataset) -> str:
    """Return what makes two files one patient's: ID and issuer, else name and birth date."""

    def told(*keywords: str) -> str:
        """Return values, case ignored; "" when the first stands for nobody."""
        values = [str(dataset.get(word, "") or "").strip().casefold() for word in keywords]
        letters = "".join(filter(str.isalnum, values[0]))
        return "\0".join(values) if len(set(letters)) > 1 and letters not in NOBODY else ""

    born = told("PatientBirthDate") and told("PatientName", "PatientBirthDate")
    study = dataset.get("StudyInstanceUID") or dataset.get("SOPInstanceUID", "")
    return f"{told('PatientID', 'IssuerOfPatientID') or born or study}"

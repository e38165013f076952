"""De-identify a folder: take stock, treat and prove each file, write it, report."""

import io
import json
import os
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

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

REPORTS = ("report.json", "report.html")
COLUMNS = ["number", "input", "status", "reason", "output"]
SHOWN = ["number", "status", "reason", "output", "look_at"]


@dataclass
class InputFile:
    """One input file, and what became of it."""

    number: int
    path: Path
    input: str
    reason: str = ""
    status: str = "refused"  # until it is copied
    output: str = ""
    identity: str = ""
    look_at: list[str] = field(default_factory=list)


def hipaa_table(
    options: DeidOptions, known: Counter[str], leaking: Counter[str], *, legible: bool
) -> pd.DataFrame:
    """Return a row for each identifier of 45 CFR 164.514(b)(2)(i).

    Parameters
    ----------
    options : DeidOptions
        What was retained.
    known, leaking : Counter
        By kind: distinct values of the input that were searched for; places of hits without
        explanation.
    legible : bool
        Whether the pixels of some output may show text, which can be any identifier.

    Returns
    -------
    DataFrame
        Columns ``number, identifier, in_dicom, done, settled, cannot_know, values_in_input,
        found``; ``settled`` is "yes", "in the header" (a person must still read the pixels),
        "no" or "a person decides".

    References
    ----------
    .. [1] 45 CFR 164.514(b)(2)(i)(A) to (R).

    Examples
    --------
    >>> table = hipaa_table(DeidOptions(), Counter(name=3), Counter(), legible=False)
    >>> len(table), int(table.values_in_input[0]), table.settled[0]
    (18, 3, 'yes')
    """
    header = "in the header" if legible else "yes"
    settled, words = {"yes": "yes", "person": "a person decides", "header": header}, {}
    for name, (gone, kept) in RULES["hipaa"].items():
        settled[name], words[name] = ("no", kept) if getattr(options, name) else (header, gone)
    table = pd.read_csv(io.StringIO(package_text("hipaa.csv")), keep_default_na=False)
    kinds = table.pop("kinds").str.split("|")
    table["values_in_input"] = [sum(known[kind] for kind in row) for row in kinds]
    table["found"] = [sum(leaking[kind] for kind in row) for row in kinds]
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
        A row per input file: ``number, status, reason, output, look_at``.
        ``status`` is "written", "refused" or "leaking".
    leaks : DataFrame
        ``kind, element, count``: identifiers of the input found in what was to be written. Such
        copies are not in the output folder.
    unaccounted : DataFrame
        ``element, bytes``: what copies hold that a program cannot account for.
    accepted : DataFrame
        ``kind, element, reason, count``: hits that identify nobody, and why.
    searched : DataFrame
        ``kind, searched``: distinct values searched for.
    hipaa : DataFrame
        The 18 identifiers, see `hipaa_table`.
    look_at : DataFrame
        ``reason, files``: why a person must look at pixels.
    """

    options: DeidOptions
    files: pd.DataFrame
    leaks: pd.DataFrame
    unaccounted: pd.DataFrame
    accepted: pd.DataFrame
    searched: pd.DataFrame
    hipaa: pd.DataFrame
    look_at: pd.DataFrame

    @property
    def ok(self) -> bool:
        """Whether no identifier was found in any copy."""
        return len(self.leaks) == 0

    def summary(self) -> str:
        """Return the outcome in one line."""
        status = Counter(self.files["status"])
        flagged = int(self.files["look_at"].map(len).gt(0).sum())
        known, odd = int(self.searched["searched"].sum()), self.unaccounted
        proof = f"none of {known} known identifiers found in their bytes"
        if len(odd):
            proof = f"no hit for {known} known identifiers, but {int(odd['bytes'].sum())} bytes in "
            proof += f"{len(odd)} elements could not be accounted for: a person must read them"
        if not self.ok:
            proof = f"IDENTIFIERS FOUND in {status['leaking']} copies, not written"
        return (
            f"{status['written']} of {len(self.files)} files de-identified, {status['refused']} "
            f"refused and not copied; {proof}; a person must look at {flagged}."
        )

    def __repr__(self) -> str:
        return f"DeidReport({self.summary()})"

    def pages(self) -> dict[str, str]:
        """Return the report for programs and for people, by the names of their files."""
        tables = {one.name: getattr(self, one.name).to_dict("records") for one in fields(self)[1:]}
        head = {"ok": self.ok, "summary": self.summary(), "codes": self.options.codes}
        template = jinja2.Environment(autoescape=True).from_string(package_text("report.html"))
        page = template.render(report=self, meanings=RULES["meanings"])
        return {REPORTS[0]: json.dumps(head | tables, indent=1, default=int), REPORTS[1]: page}


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
    stopped is started again and writes the same files. Every byte of a copy is searched for every
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
    private.mkdir(parents=True, exist_ok=True, mode=0o700)
    with dicomfile.quietly(), closing(sqlite3.connect(private / "lock", timeout=0)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")  # until the process ends, however it ends
        except sqlite3.OperationalError:
            raise DeidentifyError(f'Another run is at work in "{private}"; wait.') from None
        run = _Run(source, target, private, options or DeidOptions())
        run.each("read", run.take_stock, progress)
        for box in run.idle if any(not file.reason for file in run.files) else ():
            raise DeidentifyError(f"{box}: no file that can be read fits this rule; correct it.")
        run.refuse_strangers()
        run.verifier = Verifier(run.inventory)
        run.each("de-identified", run.copy, progress)
        report = run.end()
    if not report.ok:
        raise DeidentifyError(f'{report.summary()} Read "{target / REPORTS[1]}".')
    return report


def _checked_folders(source: Path, target: Path) -> tuple[Path, Path, Path]:
    """Return both folders resolved, links followed, and the private one."""
    if not source.is_dir():
        raise DeidentifyError(f'The input "{source}" is not a folder; give one of DICOM files.')
    source, target = source.resolve(), target.resolve()
    private = target.with_name(f"{target.name}.private")
    if target.exists() and not target.is_dir():
        raise DeidentifyError(f'"{target}" is not a folder; give another.')
    if {source, *source.parents} & {target, private} or source in target.parents:
        raise DeidentifyError(f'"{target}" is, holds or lies in the input folder; give another.')
    return source, target, private


def _listed(source: Path) -> Iterator[InputFile]:
    """Yield every file below a folder, and every folder that is not entered, with the reason."""
    closed: list[OSError] = []
    found: dict[Path, str] = {}
    for place, folders, names in os.walk(source, onerror=closed.append):
        for path in (Path(place, name) for name in [*folders, *names]):
            if path.is_symlink() or not path.is_dir():
                found[path] = "" if path.is_file() else "is not a file, or is a link to a folder"
    found |= {Path(error.filename): "is a folder that cannot be opened" for error in closed}
    for number, path in enumerate(sorted(found), 1):
        name = path.relative_to(source).as_posix().encode("utf-8", "backslashreplace").decode()
        yield InputFile(number, path, name, found[path])


class _Run:
    """A run on an output and its private folder: the secret, and which file became which.

    Pseudonyms and names follow from the secret and the input alone. So a stopped run writes the
    same files when it is started again, and any other file in the output is not of this run.
    """

    verifier: Verifier

    def __init__(self, source: Path, target: Path, private: Path, options: DeidOptions) -> None:
        self.target, self.private, self.options = target, private, options
        self.files, self.inventory = list(_listed(source)), Inventory(options)
        self.idle = {box for box in options.blank if box.where}  # until a file fits the rule
        self.hits, self.unaccounted = Counter[tuple[str, str, str]](), Counter[str]()
        drawn = private / "secret.key"
        if not options.secret and not drawn.exists():
            self.write(drawn, secrets.token_hex(32))
        self.key = Key(options.secret or drawn.read_text(encoding="utf-8"))

    def write(self, path: Path, data: bytes | str) -> None:
        """Write a file in private and then move it, so that the output never holds half of one."""
        part = self.private / "part"
        with open(part, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
            file.flush()
            os.fsync(file.fileno())
        if path.parent == self.private:
            part.chmod(0o600)
        path.parent.mkdir(exist_ok=True)
        part.replace(path)

    def each(self, how: str, step: Callable[[InputFile], bytes | None], progress: bool) -> None:
        """Take a step with each file that is not refused, and write what it gives, if it does.

        A file with which the step fails is refused, and the others continue; a full disk stops all.
        """
        left = [file for file in self.files if not file.reason]
        for file in tqdm(left, desc=f"files {how}") if progress else left:
            data = None
            try:
                with dicomfile.refusing(f"cannot be {how}"):
                    data = step(file)
            except dicomfile.RefusedError as refusal:
                file.reason = str(refusal)
            if data is not None:
                self.write(self.target / file.output, data)

    def take_stock(self, file: InputFile) -> None:
        """Give a file its names and add its identifiers; refuse it when it cannot be read."""
        dataset = dicomfile.read(file.path)
        file.identity = _identity(dataset)
        self.idle -= {box for box in self.idle if box.picks(dataset)}
        self.inventory.add(dataset, days=self.key.days(file.identity))
        file.look_at = pixels.risks(dataset)
        name = self.key.letters("name", f"{file.input}\0{dataset.get('SOPInstanceUID', '')}", 16)
        file.output = f"{self.key.patient(file.identity)}/{name}.dcm"

    def refuse_strangers(self) -> None:
        """Refuse an output folder with files that this run would not write, save hidden ones."""
        ours = {*REPORTS, *(file.output for file in self.files)}
        for path in self.target.rglob("*"):
            name = path.relative_to(self.target)
            strange = path.is_symlink() or not (path.is_dir() or name.as_posix() in ours)
            if strange and not any(part.startswith(".") for part in name.parts):
                said = f'"{path}" is no copy that this input and secret give'
                raise DeidentifyError(f"{said}; move it away, or give another output folder.")
        self.target.mkdir(exist_ok=True)

    def copy(self, file: InputFile) -> bytes | None:
        """Return a proven copy of a file; None when it leaks."""
        dataset = dicomfile.read(file.path)
        pixels.refuse_what_cannot_be_cleaned(dataset)
        blanked = pixels.clean(dataset, self.options.blank)
        days, names = self.key.days(file.identity), self.verifier.names
        Treatment(self.key, self.options, days, names, self.unaccounted).run(dataset)
        codes = tuple(sorted([*self.options.codes, *["113101"] * blanked]))
        stamp(dataset, pseudonym=self.key.patient(file.identity), codes=codes)
        data = dicomfile.write(dataset)
        hits = self.verifier.check(data, file.output)
        self.hits.update(hits)
        file.status = "written" if all(reason for _, _, reason in hits) else "leaking"
        return data if file.status == "written" else None

    def end(self) -> DeidReport:
        """Remove earlier copies of refused files, and write reports and the table of files."""
        for file in self.files:
            if file.output and file.status != "written":
                (self.target / file.output).unlink(missing_ok=True)
                file.output, file.look_at = "", []
        report = self.report()
        for name, text in report.pages().items():
            self.write(self.target / name, text)
        table = pd.DataFrame([vars(file) for file in self.files], columns=COLUMNS)
        self.write(self.private / "files.csv", table.to_csv(index=False))
        return report

    def report(self) -> DeidReport:
        """Return the report on what was treated and on what was searched for."""
        known = Counter(kind for kind, _ in self.inventory.found)
        rows = [(*key, count) for key, count in sorted(self.hits.items())]
        hits = pd.DataFrame(rows, columns=["kind", "element", "reason", "count"])
        leaks = hits[hits["reason"] == ""].drop(columns="reason")
        look_at = Counter(reason for file in self.files for reason in file.look_at)
        legible = any(reason.startswith("text: ") for reason in look_at)
        return DeidReport(
            self.options,
            pd.DataFrame([vars(file) for file in self.files], columns=SHOWN),
            leaks,
            pd.DataFrame(sorted((+self.unaccounted).items()), columns=["element", "bytes"]),
            hits[hits["reason"] != ""],
            pd.DataFrame(sorted(known.items()), columns=["kind", "searched"]),
            hipaa_table(self.options, known, Counter(leaks["kind"]), legible=legible),
            pd.DataFrame(sorted(look_at.items()), columns=["reason", "files"]),
        )


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

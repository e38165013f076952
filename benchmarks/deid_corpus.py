"""De-identify a folder of DICOM files and print what came of it.

    python benchmarks/deid_corpus.py FOLDER [--retain-dates]

Beside the report's own counts: are the pixels of every output the same as the input's, does a plain
search find any name, number, date or UID of the input in any byte of the output, and, where
dciodvfy (Debian: dicom3tools) is installed, how many errors of conformance did the copy gain.
"""

import argparse
import csv
import re
import shutil
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from pydicom import dcmread
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID

from medimg.deid import DeidOptions, deidentify
from medimg.errors import DeidentifyError

NUMBERS = ("AccessionNumber", "StudyID", "AdmissionID", "DeviceSerialNumber")


def pixels(path: Path) -> np.ndarray | None:
    """Return the decoded pixels; None when pydicom cannot."""
    try:
        return dcmread(path, force=True).pixel_array
    except Exception:  # any decoder may fail in any way; input and output are compared
        return None


def compare(before: Path, after: Path) -> str:
    old, new = pixels(before), pixels(after)
    if old is None:
        return "not decodable before either" if new is None else "decodable only afterwards"
    if new is None:
        return "NOT DECODABLE ANY MORE"
    return "same pixels" if np.array_equal(old, new) else "OTHER PIXELS"


def errors(path: Path) -> Counter[str]:
    """Return dciodvfy's errors, without the values that it quotes."""
    out = subprocess.run(["dciodvfy", str(path)], capture_output=True, timeout=60, check=False)
    lines = (out.stderr + out.stdout).decode("latin-1").splitlines()
    return Counter(line.split(" = ")[0] for line in lines if line.startswith("Error"))


def identifying(path: Path) -> set[tuple[str, bytes]]:
    """Return (keyword, bytes) of the values of a file that name somebody, of six bytes or more.

    Not what copies hold as dummies, words of the standard or the writer's own UID ("Anonymized", a
    patient called "perfusion patient"), nor what equal pixels spell, such as 11111111.
    """
    found = set()
    for element in dcmread(path, force=True).iterall():
        personal = element.tag.group == 0x0010 and element.VR in ("LO", "SH", "LT", "DA")
        a_thing = element.VR == "UI" and not str(element.value).startswith("1.2.840.10008.")
        if not (personal or a_thing or element.VR == "PN" or element.keyword in NUMBERS):
            continue
        for text in re.split(r"[\^=\\]", str(element.value)):
            text = text.strip().lower()
            ours = (
                text in ("anonymized", "perfusion", "patient")
                or text == PYDICOM_IMPLEMENTATION_UID[:-2]
            )
            if len(text) >= 6 and len(set(text)) > 3 and not ours:
                found.add((element.keyword, text.encode("utf-8")))
    return found


def still_there(pairs: list[tuple[Path, Path]]) -> tuple[int, Counter[str]]:
    """Search all bytes of all copies for all values, by a plain search that is not medimg's."""
    wanted = set().union(*(identifying(before) for before, _ in pairs))
    whole = b"\n".join(after.read_bytes().lower() for _, after in pairs)
    return len(wanted), Counter(key for key, text in wanted if text in whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--retain-dates", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's remarks on odd values in the corpus
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        start = time.perf_counter()
        try:
            report = deidentify(
                arguments.folder, out, options=DeidOptions(retain_dates=arguments.retain_dates)
            )
        except DeidentifyError as error:
            print(f"FAILED: {error}")
            print(
                (out / "report.json").read_text(encoding="utf-8")
                if (out / "report.json").exists()
                else ""
            )
            raise SystemExit(2) from None
        seconds = time.perf_counter() - start
        print(report.summary())
        print(f"{1000 * seconds / len(report.files):.0f} ms a file\n")
        with open(Path(scratch) / "out.private" / "files.csv", encoding="utf-8") as file:
            pairs = [
                (arguments.folder / row["input"], out / row["output"])
                for row in csv.DictReader(file)
                if row["output"]
            ]
        table = Counter(compare(before, after) for before, after in pairs)
        print(pd.Series(table, name="files").to_string(), "\n")
        searched, found = still_there(pairs)
        print(f"plain search for {searched} names, numbers, dates and UIDs: {dict(found)} found\n")
        if shutil.which("dciodvfy"):
            gained: Counter[str] = Counter()
            for before, after in pairs:
                gained.update((errors(after) - errors(before)).keys())
            print("Errors of conformance that copies gained (dciodvfy), files:")
            print(
                "\n".join(f"{n:5d}  {text}" for text, n in gained.most_common(25)) or "none", "\n"
            )
        for title in ("look_at", "searched", "accepted"):
            print(getattr(report, title).to_string(index=False), "\n")
        refused = report.files.loc[report.files["status"] == "refused", "reason"].value_counts()
        print(refused.to_string() if len(refused) else "none refused")


if __name__ == "__main__":
    main()

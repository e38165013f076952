"""De-identify a thousand small files, kill the run again and again, and finish it.

    python benchmarks/deid_killed.py [--files 1000] [--kills 5]

Each file is pydicom's CT_small.dcm with names, numbers and dates of an invented patient planted in
it. `python -m medimg deidentify` gets SIGKILL at random moments; after each, every output that
bears its name must be a whole file. The last run must end well, with the input unchanged, nothing
but whole files and reports in the output, and, by a search that shares no code with medimg, no
planted text in any byte of it.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from tqdm.auto import tqdm

KILLED = -9 if os.name == "posix" else 1  # the status of a process that was killed
FAMILIES = ("Quackenbush", "Lindqvist", "Okonkwo-Beier", "Żółkiewski", "Brøndsted", "Featherstone")
GIVEN = ("Walburga", "Theodosius", "Ngozi", "Świętosława", "Ingebjørg", "Ebenezer")


def plant(folder: Path, count: int) -> set[str]:
    """Write the files; return every text that may not be found again."""
    texts: set[str] = set()
    for number in tqdm(range(count), desc="planting"):
        ds = dcmread(get_testdata_file("CT_small.dcm"))
        patient = number // 4  # four files each
        family, given = FAMILIES[patient % 6] + chr(97 + patient // 36), GIVEN[patient // 6 % 6]
        mine = {
            "PatientID": f"MRN-{700_000 + 7 * patient}",
            "AccessionNumber": f"ACC{31 * number + 10**6}",
            "InstitutionName": f"Sankt Hildegard {patient % 9}",
            "PatientAddress": "Rosengasse 12b",
            "PatientBirthDate": f"19{20 + patient % 60}0{1 + patient % 9}17",
            "StudyDate": "20190823",
            "DeviceSerialNumber": f"SN-{number % 7}-8812x",
            "PatientComments": f"son of {family}",
            "SOPInstanceUID": f"1.2.826.0.1.3680043.9.{number}.1",
        }
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in mine.items():
            setattr(ds, keyword, value)
        ds.PatientName = f"{family}^{given}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        inner = Dataset()
        inner.PatientName, inner.CodeMeaning = ds.PatientName, f"seen by {given}"
        block = ds.private_block(0x0033, "MEDIMG BENCHMARK", create=True)
        block.add_new(1, "LO", f"{given} {family}".upper())
        block.add_new(2, "SQ", Sequence([inner]))
        block.add_new(3, "UN", f"{family}, {given}".encode("utf-16-le"))
        ds.save_as(folder / f"{number:04}_{family}.dcm")
        texts |= {family, given} | {v for key, v in mine.items() if key != "PatientComments"}
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "in", Path(scratch) / "out"
        source.mkdir()
        texts = plant(source, options.files)
        before = {path.name: digest(path) for path in source.iterdir()}
        command = [sys.executable, "-m", "medimg", "deidentify", str(source), str(out)]
        for turn in range(options.kills):
            wanted = rng.randrange(options.files * turn // options.kills,
                                   options.files * (turn + 1) // options.kills)  # fmt: skip
            print(killed(command, out, wanted, rng.random() / 50))
        print(at_once(command))
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        print(f"last run: status {done.returncode}, {time.perf_counter() - begun:.1f} s")
        begun, used = time.perf_counter(), os.times().children_user
        subprocess.run([*command[:-1], str(out) + "2"], capture_output=True, check=True)
        used = os.times().children_user - used
        print(f"one run from the start: {time.perf_counter() - begun:.1f} s, {used:.1f} s of CPU "
              f"time, largest memory of a run {largest_memory()}")  # fmt: skip
        print(done.stdout.strip().splitlines()[0] if done.stdout else done.stderr[-600:])
        files = [path for path in out.rglob("*") if path.is_file()]
        images = [path for path in files if path.suffix == ".dcm" and whole(path)]
        leaks = search(files, texts)
        unchanged = before == {path.name: digest(path) for path in source.iterdir()}
        print(f"{len(images)} whole images, {len(files) - len(images)} other files in the output")
        print(f"{len(texts)} planted texts searched for in all their bytes, found: {len(leaks)}")
        print(f"input unchanged: {unchanged}")
        good = done.returncode == 0 and len(images) == options.files and not leaks and unchanged
        sys.exit(not good)


def at_once(command: list[str]) -> str:
    """Start two runs on the same folders; one must be refused in one line."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    pair = [subprocess.Popen(command, **pipes) for _ in range(2)]
    said = [process.communicate()[1] for process in pair]
    refused = sum("Another run is at work" in text for text in said)
    return f"two runs at once: statuses {[p.returncode for p in pair]}, refused {refused}"


def largest_memory() -> str:
    """Return the largest resident memory of a process that ended; not measured on Windows."""
    try:
        import resource
    except ImportError:
        return "not measured"
    return f"{resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB"


def killed(command: list[str], out: Path, wanted: int, late: float) -> str:
    """Run until so many outputs are there and a moment longer; kill; look at what is left."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(named(out)) < wanted:
        time.sleep(0.005)
    time.sleep(late)
    process.kill()
    status = process.wait()
    left = named(out)
    torn = [path for path in left if not whole(path)]
    return (
        f"{'killed' if status == KILLED else f'ended with {status}'} at {wanted} files: "
        f"{len(left)} outputs there, {len(torn)} of them torn"
    )


def named(out: Path) -> list[Path]:
    return [path for path in out.rglob("*.dcm") if not path.name.startswith(".")]


def whole(path: Path) -> bool:
    try:
        return dcmread(path).pixel_array.shape == (128, 128)
    except Exception:  # torn in any way
        return False


def search(files: list[Path], texts: set[str]) -> list[tuple[str, str]]:
    """Return each text found in a file's bytes, in any case and encoding, or in its name."""
    needles = {
        form.encode(code, "ignore").lower(): text
        for text in texts
        for form in (text, text.upper(), text.lower())
        for code in ("utf-8", "latin-1", "iso8859-2", "utf-16-le", "utf-16-be")
    }
    needles = {needle: text for needle, text in needles.items() if len(needle) >= 4}
    found = []
    for path in tqdm(files, desc="searching"):
        data = path.read_bytes().lower() + b"\n" + str(path).encode().lower()
        found += [(path.name, text) for needle, text in needles.items() if needle in data]
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()

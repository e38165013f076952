"""Give the de-identifier files that are small on the disk and large in memory, one run each.

    python benchmarks/deid_bombs.py

A deflated data set of 2 GB; the same in a box to blank; run lengths of a huge image; a JPEG and a
JPEG 2000 that state 65,500 pixels a side, with a comment to remove; a JPEG of thousands of scans; a
mask of 2^24 frames; a private element of 3 GB that takes no room on the disk. For each: what became
of it, seconds of processor time for the file, and the largest memory.
"""

import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

RUN = """
import resource, sys, time
from medimg.deid import Box, DeidOptions, deidentify
from medimg.deid import run
took, steps = [], run._Run
def timed(work):
    def inner(*arguments):
        begun = time.process_time()
        try:
            return work(*arguments)
        finally:  # a file that is refused takes its time, too
            took.append(time.process_time() - begun)
    return inner
steps.take_stock, steps.copy = timed(steps.take_stock), timed(steps.copy)
options = DeidOptions(blank=(Box(0, 1, 0, 1),) if sys.argv[3] == "box" else ())
report = deidentify(sys.argv[1], sys.argv[2], options=options, progress=False)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
status, reason = report.files.loc[0, ["status", "reason"]]
print(f"{sum(took):5.2f} s {memory:6.0f} MB  {status} {reason}")
"""


def base(syntax: str, frame: bytes, rows: int, columns: int, bits: int = 8):
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored = rows, columns, bits, bits
    ds.HighBit, ds.PixelRepresentation, ds.file_meta.TransferSyntaxUID = bits - 1, 0, syntax
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)]) if frame else b"\0\0"
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", bool(frame)
    return ds


def deflated(path: Path) -> None:
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    ds.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = [packer.compress(b"\0" * (1 << 24)) for _ in range(128)] + [packer.flush()]
    path.write_bytes(data[: 144 + int.from_bytes(data[140:144], "little")] + b"".join(zeros))


def jpeg(
    path: Path, *, scans: int = 1, side: int = 64, syntax: str = "1.2.840.10008.1.2.4.50"
) -> None:
    stream = bytes(imagecodecs.jpeg_encode(np.zeros((64, 64), np.uint8)))
    at = stream.index(b"\xff\xc0")
    size = side.to_bytes(2)
    stream = stream[: at + 5] + size + size + stream[at + 9 :]
    scan = stream[stream.index(b"\xff\xda") : -2]
    stream = stream[:2] + b"\xff\xfe\0\x06name" + stream[2:-2] + scan * (scans - 1) + b"\xff\xd9"
    base(syntax, stream, side, side).save_as(path)


def jpeg2000(path: Path) -> None:
    stream = bytearray(
        imagecodecs.jpeg2k_encode(np.zeros((64, 64), np.uint8), level=0, codecformat="j2k")
    )
    for at in (8, 12, 24, 28):
        stream[at : at + 4] = (65500).to_bytes(4)
    base("1.2.840.10008.1.2.4.90", bytes(stream), 65500, 65500).save_as(path)


def run_lengths(path: Path) -> None:
    frame = np.array([1, 64, *[0] * 14], "<u4").tobytes() + b"\x81\0" * 1000
    base("1.2.840.10008.1.2.5", frame, 65500, 65500).save_as(path)


def mask(path: Path) -> None:
    ds = base("1.2.840.10008.1.2.1", b"", 8, 8, bits=1)
    ds.NumberOfFrames = 1 << 24
    ds.save_as(path)


def sparse(path: Path) -> None:
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.save_as(path)
    with open(path, "r+b") as file:
        file.seek(0, 2)
        file.write(b"\xff\x7f\x10\x00OB\0\0" + (3 << 30).to_bytes(4, "little"))
        file.truncate(file.tell() + (3 << 30))


def main() -> None:
    bombs = {
        "deflated, 2 GB": deflated, "deflated, with a box": deflated,
        "JPEG, 65,500 pixels a side": lambda path: jpeg(path, side=65500),
        "JPEG of 5,000 scans": lambda path: jpeg(path, scans=5000), "JPEG 2000": jpeg2000,
        "run lengths": run_lengths, "mask of 2^24 frames": mask, "private element of 3 GB": sparse,
    }  # fmt: skip
    for name, make in bombs.items():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "in"
            folder.mkdir()
            make(folder / "a.dcm")
            size = (folder / "a.dcm").stat().st_blocks / 2048
            command = [sys.executable, "-c", RUN, str(folder), str(Path(scratch) / "out"),
                       "box" if "box" in name else ""]  # fmt: skip
            done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
            said = done.stdout.strip() or done.stderr.strip().splitlines()[-1]
            print(f"{name:28} {size:5.1f} MB on the disk: {said}")


if __name__ == "__main__":
    main()

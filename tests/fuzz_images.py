"""Damage small image files of every kind, and see that each gives an image or ImageReadError.

    python tests/fuzz_images.py [MUTATIONS] [SEED]

A child process does the reading, so that a crash of a decoder is seen and counted too. It fails on
any other exception, a wrong shape or range, 2 s of computing or 1 GB of memory for one file.
`fuzz_seeds` makes the whole files; the table at the end says what became of each kind.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bombs import peak
from fuzz_seeds import seeds

from medimg.images import ImageReadError, is_image_file, read_header, read_image, read_values

SECONDS, MEGABYTES = 2.0, 1024
# Bytes that mean something to a parser: items, lengths, tags, markers.
TOKENS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0", b"\xff\xd9",
          b"\x7f\xff\xff\xff", b"SQ\0\0", b"UN", b"OW", b"\x28\x00\x10\x00", b"\xe0\x7f\x10\x00",
          b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"IHDR", b"II*\0")  # fmt: skip


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` damaged in one to four ways."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        kind, at = rng.integers(7), int(rng.integers(max(len(out), 1)))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del out[at:]
        elif kind == 2:  # a length field, or anything that looks like one
            width = int(rng.choice([2, 4]))
            out[at : at + width] = rng.integers(0, 256, width, dtype=np.uint8).tobytes()
        elif kind == 3:  # two tags change places
            other = int(rng.integers(max(len(out), 1)))
            out[at : at + 4], out[other : other + 4] = out[other : other + 4], out[at : at + 4]
        elif kind == 4:
            token = TOKENS[int(rng.integers(len(TOKENS)))]
            out[at : at + len(token)] = token
        elif kind == 5:
            out[at:at] = out[at : at + int(rng.integers(1, 64))]
        else:
            del out[at : at + int(rng.integers(1, 16))]
    return bytes(out)


def case(files: list[tuple[str, bytes]], seed: int, number: int) -> bytes:
    """Return mutation `number` of a run with `seed`; the files take turns."""
    damaged = mutate(files[number % len(files)][1], np.random.default_rng([seed, number]))
    return summed(damaged) if number // len(files) % 4 > 1 else damaged


def summed(data: bytes) -> bytes:
    """Put the checksums of a PNG right, so that what is damaged reaches the decoder."""
    out, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4])
        if end + 4 <= len(out):
            out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(out)


def read(target: Path, number: int) -> str:
    """Read a damaged file in every way there is; return "image" or "refused"."""
    is_image_file(target)
    for look in (read_header, read_values):
        with contextlib.suppress(ImageReadError):
            look(target)
    colour = number // 64 % 2 == 1  # every kind has its turn at both
    try:
        image = read_image(target, colour=colour)
    except ImageReadError as error:
        if "not enough memory" in str(error):
            raise
        return "refused"
    if image.ndim != (3 if colour else 2) or not np.isfinite(image).all():
        raise AssertionError("not a finite (H, W) or (H, W, 3) image")
    if image.min() < 0 or image.max() > 1:
        raise AssertionError("values outside 0 to 1")
    return "image"


def child(first: int, last: int, seed: int, folder: Path) -> None:
    """Read the mutations `first` to `last - 1`, noting each before it is read."""
    logging.disable(logging.CRITICAL)
    files = seeds(folder)
    target, note = folder / "case.dcm", folder / "number"
    start = peak()
    for number in range(first, last):
        note.write_text(str(number), encoding="utf-8")
        target.write_bytes(case(files, seed, number))
        faulthandler.dump_traceback_later(60, exit=True)
        begun = time.process_time()
        outcome = read(target, number)
        seconds = time.process_time() - begun
        if seconds > SECONDS:
            raise TimeoutError(f"case {number} took {seconds:.1f} s")
        grown = peak() - start
        if grown > MEGABYTES:
            raise MemoryError(f"case {number} took {grown:.0f} MB")
        sys.stdout.write(f"{outcome}\t{files[number % len(files)][0]}\t{seconds}\t{grown}\n")


@dataclass
class Outcome:
    """What became of the mutations: how often for each kind and outcome, failures, extremes."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: float = 0.0

    def take(self, lines: str) -> None:
        """Add what a child printed."""
        for line in lines.splitlines():
            outcome, kind, seconds, grown = line.split("\t")
            self.counts[kind, outcome] += 1
            self.seconds = max(self.seconds, float(seconds))
            self.megabytes = max(self.megabytes, float(grown))

    def total(self, outcome: str) -> int:
        """Return how many mutations had an outcome."""
        return sum(count for (_, what), count in self.counts.items() if what == outcome)


def fuzz(mutations: int, seed: int = 0, first: int = 0) -> Outcome:
    """Read so many mutations; a child that dies is noted, and another goes on after its case."""
    found, last = Outcome(), first + mutations
    with tempfile.TemporaryDirectory() as name:
        while first < last:
            command = [sys.executable, __file__, "child", str(first), str(last), str(seed), name]
            done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
            found.take(done.stdout)
            if done.returncode == 0:
                break
            number = int((Path(name) / "number").read_text(encoding="utf-8"))
            found.failures.append(f"case {number}, status {done.returncode}: {done.stderr[-600:]}")
            first = number + 1
    return found


def report(found: Outcome) -> str:
    """Return a table of kinds, then the failures, then the totals."""
    kinds = dict.fromkeys(kind for kind, _ in found.counts)
    lines = [f"{'kind':28} {'image':>7} {'refused':>8}"]
    lines += [
        f"{kind:28} {found.counts[kind, 'image']:7} {found.counts[kind, 'refused']:8}"
        for kind in kinds
    ]
    lines += found.failures
    lines.append(
        f"{sum(found.counts.values()) + len(found.failures)} mutations of {len(kinds)} files: "
        f"{found.total('image')} images, {found.total('refused')} refused, "
        f"{len(found.failures)} failures; at most {found.seconds:.2f} s a file, "
        f"and memory grew by {found.megabytes:.0f} MB in all"
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*map(int, sys.argv[2:5]), Path(sys.argv[5]))
    else:
        total = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
        result = fuzz(total, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
        sys.stdout.write(report(result))
        sys.exit(bool(result.failures))

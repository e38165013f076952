"""Films for the engine's benchmarks: a folder that the user names, else the sample."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg import datasets

# The child's number where the name tells it, else the whole name.
PATIENT = r"person\d+|IM-\d+|^(?!.*(?:person\d|IM-\d)).+"


@dataclass(frozen=True)
class Films:
    """Paths, labels and patients of films to learn from and films of other patients to judge on."""

    train: list[str]
    train_labels: list[int]
    val: list[str]
    val_labels: list[int]


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="a folder ROOT/{class}/*; default: the sample")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser


def table(data: Path | None):
    """Return the study table, the patient read from the file name where it is told there."""
    if data is None:
        return datasets.load("sample")
    return datasets.from_folder(data, patient_pattern=PATIENT)


def split(studies, train: int, val: int, seed: int):
    """Return rows to learn from and rows of other patients, at random; with repeats if too few."""
    rng = np.random.default_rng(seed)
    patients = rng.permutation(studies["patient_id"].unique())
    share = val / (train + val)
    aside = set(patients[: max(1, round(share * len(patients)))])
    away = studies["patient_id"].isin(aside).to_numpy()
    learn, judge = rng.permutation(np.flatnonzero(~away)), rng.permutation(np.flatnonzero(away))
    return np.resize(learn, train), np.resize(judge, val)


def films(data: Path | None, train: int, val: int, seed: int) -> Films:
    studies = table(data)
    healthy = datasets.class_names(studies)[0]
    learn, judge = split(studies, train, val, seed)
    labels = (studies["label"] != healthy).astype(int).to_numpy()
    paths = studies["path"].astype(str).to_numpy()
    return Films(
        paths[learn].tolist(), labels[learn].tolist(), paths[judge].tolist(), labels[judge].tolist()
    )


def arrays(data: Path | None, *, size: int, train: int, val: int, seed: int):
    """Return two ImageSets decoded at a size."""
    studies = table(data)
    learn, judge = split(studies, train, val, seed)
    if "split" in studies:
        studies = studies.assign(split="")
    whole = datasets.decode(studies, size=size, progress=False)
    return whole.subset(learn), whole.subset(judge)


def peak_memory() -> int:
    """Return the most bytes that this process has held so far, on any system."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def machine() -> str:
    """Name the processor and the number of cores."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        match = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8"))
        name = match[1] if match else name
    return f"{name}, {os.cpu_count()} cores"

"""The engine against what a user would pick instead: speed, memory, time to the same AUC.

Same network (EfficientNet-Lite0, ImageNet weights), same films, same batch, same machine, one run,
one after the other, each in a process of its own. Packages that are not installed are left out.

    python benchmarks/engine_vs_peers.py --data ROOT [--train 512 --val 1000]

Beside images a second of the clock stand images a second of processor time (worker processes
included), which other work on the machine hardly changes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from engine_films import arguments, films, machine
from engine_peers import CONTESTANTS
from sklearn.metrics import roc_auc_score


def tree_memory(pid: int) -> int:
    """Return the bytes that a process and its children hold (shared pages counted once)."""
    import psutil

    total = 0
    try:
        process = psutil.Process(pid)
        for part in [process, *process.children(recursive=True)]:
            held = part.memory_full_info()
            total += getattr(held, "pss", held.uss)  # only Linux shares out what is shared
    except psutil.Error:
        pass
    return total


def processor_seconds() -> float:
    """Return what this process and its finished children have used (on Windows, it alone)."""
    import psutil

    used = psutil.Process().cpu_times()
    return used.user + used.system + used.children_user + used.children_system


class Watch:
    """Sample the memory of this process and its workers while a block runs."""

    def __enter__(self) -> Watch:
        self.peak, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()
        self.start, self.used = time.perf_counter(), processor_seconds()
        return self

    def _sample(self) -> None:
        while not self.done.wait(0.25):
            self.peak = max(self.peak, tree_memory(os.getpid()))

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        self.used = processor_seconds() - self.used
        self.done.set()
        self.thread.join()


def measure(args) -> dict[str, float]:
    """Run one contestant in this process."""
    torch.set_num_threads(args.threads)
    chosen = films(args.data, args.train, args.val, args.seed)
    made = CONTESTANTS[args.only](chosen, size=args.size, batch=args.batch, seed=args.seed)
    with Watch() as train:
        made.epoch()
    with Watch() as infer:
        found = made.judge()
    bare = args.only == "bare tuned step"
    counted = [n // args.batch * args.batch if bare else n for n in (args.train, args.val)]
    return {
        "prepare s": made.prepared,
        "train images/s": counted[0] / train.seconds,
        "train images/CPU s": counted[0] / train.used,
        "train MB": train.peak / 2**20,
        "inference images/s": counted[1] / infer.seconds,
        "inference images/CPU s": counted[1] / infer.used,
        "inference MB": infer.peak / 2**20,
        "AUC after 1 epoch": float("nan") if bare else roc_auc_score(chosen.val_labels, found),
        "seconds to it": made.prepared + train.seconds,
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--val", type=int, default=1000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", choices=list(CONTESTANTS), help="one row, as JSON")
    parser.add_argument("--json", type=Path, help="keep the rows there")
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args)))
        return
    print(f"{args.train} films trained, {args.val} judged, {args.size} px, batch {args.batch};")
    print(f"{machine()}, {args.threads} threads, torch {torch.__version__}")
    rows = {}
    for name in CONTESTANTS:
        done = subprocess.run(
            [sys.executable, *sys.argv, "--only", name],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"TQDM_DISABLE": "1"},
        )
        if done.returncode:
            print(f"{name}: left out ({done.stderr.strip().splitlines()[-1]})")
            continue
        rows[name] = json.loads(done.stdout.strip().splitlines()[-1])
        shown = "  ".join(f"{key} {value:.4g}" for key, value in rows[name].items())
        print(f"{name:22s} {shown}", flush=True)
    if "medimg" in rows:
        ratios(rows)
    if args.json:
        args.json.write_text(
            json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8"
        )


def ratios(rows: dict[str, dict[str, float]]) -> None:
    ours = rows["medimg"]
    for name, row in rows.items():
        if name == "medimg":
            continue
        ratio = {key: ours[key] / row[key] for key in ours if "images" in key or "MB" in key}
        shown = ", ".join(f"{key} {value:.2f}x" for key, value in ratio.items())
        print(f"medimg / {name:22s} {shown}")


if __name__ == "__main__":
    main()

"""Kill -9 a training run at ten random moments; the final weights must equal an unbroken run's.

python benchmarks/engine_resume.py [--data ROOT]
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from engine_films import arguments, arrays, machine

from medimg import models, storage, training


def child(args) -> None:
    torch.set_num_threads(args.threads)
    train, val = arrays(args.data, size=64, train=96, val=48, seed=args.seed)
    settings = training.FitSettings(epochs=8, batch_size=16, patience=99, seed=args.seed)
    model = models.build_model()
    (args.out / "started").touch()
    result = training.fit(model, train, val, settings=settings, out_dir=args.out, resume=True)
    models.save_model(result.model, args.out / "model")


def start(args, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    (out / "started").unlink(missing_ok=True)
    command = [sys.executable, *sys.argv, "--out", str(out)]
    return subprocess.Popen(command, env=os.environ | {"TQDM_DISABLE": "1"})


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out:
        child(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        process = start(args, whole)
        began = time.perf_counter()
        wait_for(whole / "started", process)
        trained = time.perf_counter()
        assert process.wait() == 0
        duration = time.perf_counter() - trained
        print(f"unbroken: {duration:.1f} s of training after {trained - began:.1f} s; {machine()}")
        rng, kills = random.Random(args.seed), 0
        while kills < args.kills:
            process = start(args, broken)
            wait_for(broken / "started", process)
            moment = rng.uniform(0, 0.2 * duration)
            try:
                process.wait(moment)
                break  # it ended before it could be killed
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                print(f"kill {kills:2d} after {moment:5.2f} s of training", flush=True)
        assert start(args, broken).wait() == 0
        sums = [storage.sha256(part / "model.safetensors") for part in (whole, broken)]
        print(f"{kills} kills; SHA-256 of the weights {sums[0][:16]} and {sums[1][:16]}")
        print("final weights equal" if sums[0] == sums[1] else "FINAL WEIGHTS DIFFER")
        sys.exit(sums[0] != sums[1])


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        if process.poll() is not None:
            raise SystemExit("the child ended before it began to train")
        time.sleep(0.05)


if __name__ == "__main__":
    main()

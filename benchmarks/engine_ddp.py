"""One process and several under torchrun: the same network, the same metrics, and the seconds.

The same weights must be judged alike to the last digit. Trained weights agree as far as rounding
lets them: half a batch sums in another order than a whole one, and AdamW's first steps turn the
sign of a small gradient into a whole step, most of all in bfloat16. ``--float32`` shows which part
is rounding. Seconds are of the clock: of the epochs that train, and of the whole command, whose
start is not divided. More processes than cores cannot be quicker.

    python benchmarks/engine_ddp.py [--data ROOT] [--float32] [--processes 1 2 4] [--films 130]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from engine_films import arguments, arrays, machine

from medimg import models, runtime, training
from medimg.runtime import pick_precision

BATCH = 26


def child(args) -> None:
    torch.set_num_threads(1)
    if args.float32:
        os.environ["MEDIMG_PRECISION"] = "float32"
    with runtime.process_group():
        train, val = arrays(args.data, size=96, train=args.films, val=77, seed=args.seed)
        settings = training.FitSettings(
            epochs=3,
            batch_size=BATCH,
            patience=9,
            freeze_norms=True,
            ema=0.0,
            seed=args.seed,
            learning_rate=args.rate,
        )
        model = models.build_model(dropout=0.0)
        judged = training.validation_metrics(
            training.run_model(models.build_model(), val.images, shared=True), val.labels
        )
        result = training.fit(model, train, val, settings=settings, out_dir=args.out)
        if runtime.is_main():
            seconds = result.history.pop("seconds")  # of the first epoch: to solve the head
            history = result.history
            found = {
                "processes": runtime.world()[1],
                "judged": judged,
                "seconds": float(seconds.iloc[1:].sum()),
                "history": json.loads(history.to_json(orient="records", double_precision=15)),
                "files": sorted(path.name for path in args.out.iterdir()),
            }
            (args.out / "found.json").write_text(json.dumps(found), encoding="utf-8")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=3e-5, help="learning rate")
    parser.add_argument("--float32", action="store_true", help="no half precision")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--films", type=int, default=130, help="to train on")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out:
        child(args)
        return
    number = "float32" if args.float32 else pick_precision(torch.device("cpu")).name
    print(f"{args.films} films trained, batches of {BATCH}, 77 judged; gloo, {number}; {machine()}")
    results = []
    for processes in args.processes:
        with tempfile.TemporaryDirectory() as out:
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, *launch, str(processes), *sys.argv, "--out", out],
                check=True,
                env=os.environ | {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"},
            )
            whole = time.perf_counter() - begin
            found = json.loads((Path(out) / "found.json").read_text(encoding="utf-8"))
        results.append(found)
        last = found["history"][-1]
        seconds = f"two epochs {found['seconds']:.1f} s, all {whole:.1f} s"
        print(f"{found['processes']} processes: {seconds}; files {found['files']}")
        print(f"   same weights judged: {found['judged']}")
        print(f"   after training: val_auc {last['val_auc']:.6f}, val_loss {last['val_loss']:.6f}")
    one = results[0]
    for other in results[1:]:
        gap = max(abs(one["judged"][key] - other["judged"][key]) for key in one["judged"])
        loss = [
            abs(a["val_loss"] - b["val_loss"])
            for a, b in zip(one["history"], other["history"], strict=True)
        ]
        print(f"{other['processes']} processes against {one['processes']}:")
        print(f"   largest difference when the same weights are judged: {gap:.2e}")
        print(f"   difference of val_loss after each epoch: {', '.join(f'{x:.1e}' for x in loss)}")


if __name__ == "__main__":
    main()

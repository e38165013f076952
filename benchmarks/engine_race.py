"""Time to the same validation AUC, everything counted from the first file that is opened.

Each contestant trains epoch after epoch and is judged after each on 400 films of other patients;
the target is the best that the torchvision tutorial reaches. The engine does what `training.fit`
does by default: its recipe starts from a linear probe on frozen features.

    python benchmarks/engine_race.py --data ROOT
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import torch
from engine_films import arguments, films, machine
from engine_peers import CONTESTANTS, Contestant, engine_by_recipe
from sklearn.metrics import roc_auc_score

RACERS = {
    "torchvision tutorial": CONTESTANTS["torchvision tutorial"],
    "fastai": CONTESTANTS["fastai"],
    "MONAI": CONTESTANTS["MONAI"],
    "medimg": engine_by_recipe,
}


def race(args) -> list[tuple[float, float]]:
    """Return (seconds spent, AUC) after each epoch; judging is not counted."""
    torch.set_num_threads(args.threads)
    chosen = films(args.data, args.train, args.val, args.seed)
    start, idle, found = time.perf_counter(), 0.0, []
    made: Contestant = RACERS[args.only](chosen, size=224, batch=32, seed=args.seed)
    for _ in range(args.epochs):
        made.epoch()
        pause = time.perf_counter()
        auc = roc_auc_score(chosen.val_labels, made.judge())
        idle += time.perf_counter() - pause
        found.append((time.perf_counter() - start - idle, float(auc)))
        if auc >= args.target:
            break
    return found


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=512)
    parser.add_argument("--val", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--target", type=float, default=1.1)
    parser.add_argument("--only", choices=list(RACERS))
    args = parser.parse_args()
    if args.only:
        print(json.dumps(race(args)))
        return
    print(f"{args.train} films trained, {args.val} judged, 224 px, batch 32; {machine()}")
    target = None
    for name in RACERS:
        extra = [] if target is None else ["--target", str(target)]
        done = subprocess.run(
            [sys.executable, *sys.argv, "--only", name, *extra],
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"TQDM_DISABLE": "1"},
        )
        if done.returncode:
            print(f"{name}: left out ({done.stderr.strip().splitlines()[-1]})")
            continue
        course = json.loads(done.stdout.strip().splitlines()[-1])
        if target is None:
            target = max(auc for _, auc in course)
            print(f"target: AUC {target:.4f}")
        spent = next((seconds for seconds, auc in course if auc >= target), None)
        reached = "not reached" if spent is None else f"reached after {spent:.0f} s"
        shown = ", ".join(f"{auc:.4f} at {seconds:.0f} s" for seconds, auc in course)
        print(f"{name:22s} {reached}: {shown}", flush=True)


if __name__ == "__main__":
    main()

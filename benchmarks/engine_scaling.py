"""Cost as the work grows: images in the set, pixels in an image.

Times `fit` for as many steps as say something (at most ``--steps``) and gives the epoch that this
speed makes, so that the table takes minutes, not hours.

    python benchmarks/engine_scaling.py [--data ROOT]
"""

from __future__ import annotations

import time

import torch
from engine_films import arguments, arrays, machine, peak_memory

from medimg import models, training


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--counts", type=int, nargs="+", default=[500, 1000, 2000, 5000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224, 320])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"EfficientNet-Lite0, batch 32; {machine()}, {args.threads} threads")
    print("  px  images  decode s  train img/s  epoch s  inference img/s  probe s  peak MB")
    for size in args.sizes:
        for count in args.counts:
            if size != 224 and count != args.counts[0]:
                continue  # pixels at one count, counts at one size
            row(args, size, count)


def row(args, size: int, count: int) -> None:
    start = time.perf_counter()
    whole, _ = arrays(args.data, size=size, train=count, val=32, seed=args.seed)
    decoded = time.perf_counter() - start
    part = whole.subset(range(min(count, 32 * args.steps)))
    settings = training.FitSettings(strategy="all", epochs=1, seed=args.seed, monitor="loss")
    result = training.fit(models.build_model(), part, settings=settings)
    speed = len(part) / float(result.history["seconds"].iloc[0])
    start = time.perf_counter()
    training.predict_logits(result.model, part.images)
    inference = len(part) / (time.perf_counter() - start)
    features = torch.randn(count, 1280, generator=torch.Generator().manual_seed(0)).numpy()
    start = time.perf_counter()
    training.linear_probe(features, whole.labels)
    probe = time.perf_counter() - start
    peak = peak_memory() / 2**20
    print(
        f"{size:4d}  {count:6d}  {decoded:8.1f}  {speed:11.1f}  {count / speed:7.0f}  "
        f"{inference:15.1f}  {probe:7.1f}  {peak:7.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()

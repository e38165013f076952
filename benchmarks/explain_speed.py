"""Grad-CAM maps a second: a batch by `explain` against pytorch-grad-cam image by image.

python benchmarks/explain_speed.py --threads 2
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from engine_films import machine
from pytorch_grad_cam import GradCAM

from medimg.explain import Target, explain
from medimg.models import build_model, target_layer


def seconds(run: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - started)
    return statistics.median(times), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}, {options.threads} threads; {options.images} films of 224 x 224\n")
    print("| network | maps by | ms a map | times as fast | largest difference |")
    print("|---|---|---|---|---|")
    films = np.random.default_rng(0).integers(0, 256, (options.images, 224, 224), dtype=np.uint8)
    for name in ("efficientnet_lite0", "resnet18"):
        model = build_model(name, pretrained=False).eval()

        def one_by_one(model: torch.nn.Module = model) -> np.ndarray:
            cam = GradCAM(model, [target_layer(model)])
            inputs = torch.from_numpy(films / np.float32(255))[:, None]
            maps = [cam(x[None], [Target(1)])[0] for x in inputs]
            cam.activations_and_grads.release()
            return np.stack(maps)

        slow, theirs = seconds(one_by_one, options.repeats)
        each = 1000 * slow / len(films)
        print(f"| {name} | pytorch-grad-cam, image by image | {each:.1f} | 1 | |", flush=True)
        for size in options.batches:
            fast, ours = seconds(
                lambda model=model, size=size: explain(model, films, target=1, batch_size=size),
                options.repeats,
            )
            gap = np.abs(ours - theirs).max()
            print(
                f"| {name} | explain, batches of {size} | {1000 * fast / len(films):.1f} | "
                f"{slow / fast:.1f} | {gap:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

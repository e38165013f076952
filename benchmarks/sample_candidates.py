"""What carries a network from simulated films to real ones? Every candidate in one table.

    python benchmarks/sample_candidates.py ROOT --make child     (then adult, wider, others)
    python benchmarks/sample_candidates.py ROOT --candidate NAME ... --seeds 0 [--sets all]
    python benchmarks/sample_candidates.py ROOT --table --sets nih adults part all

ROOT holds kermany/ and covid/; CLAHE needs scikit-image. The first line makes the films or decodes
the real ones; the second trains what the candidates need and scores films; the third prints the AUC
of all that was scored (with --candidate also the intervals, by patient).

The protocol, fixed before any network was trained:

- **Learn** on 1,600 simulated films by the recipe of `fit` for large sets, with fewer epochs and
  pixels (`--epochs`, `--size`: the same for every candidate), one thread, nothing validated.
- **Choose** without the real children. The yardstick is the AUC of the adults of the NIH (350 films
  normal, 350 with pneumonia) if each of three runs of the recipe is above chance there, interval
  included. If not, it is that of the 343 simulated adults which the package ships, another cohort
  than the children learned from, each film under two of the fourteen changes of
  `engine_headline.py` and all in one list. (A network that learned from simulated adults cannot be
  chosen by it.)
- Every candidate starts with seed 0, against the recipe with seed 0. Those with a higher yardstick
  go on to seeds 1 and 2, at most the three best of those that need a training of their own. Chosen
  is the highest mean of three seeds; the recipe is among them.
- **Judge** on the 5,216 real films: all of them for the recipe and the chosen candidate, a fixed
  draw of 1,304 (`part`) for the others, looked at after the choice.

Added after the first figures of the NIH were seen: three times the rate. Added after the real films
were looked at: the same with aligned batch-norm statistics, and, at 224 pixels, with four views;
the recipe at three times the rate. So these take no part in the choice.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from engine_candidates import (
    clahe,
    percentiles,
    resized,
    statistics_of,
    with_statistics,
    without_blank,
)
from engine_headline import changes, equalised
from sample_films import kermany, pixels
from scipy import ndimage
from simulate.body import make_body
from simulate.disease import LungSpace
from simulate.plan import plan
from simulate.settings import settings
from simulate.study import take
from simulate.volume import load_ct
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from medimg import datasets, metrics, models, training
from medimg.training import optim

Films = np.ndarray  # uint8 (N, H, W)
SEEDS = (0, 1, 2)
SETS = ("nih", "adults", "part", "rest")
CLASSES = ("normal", "pneumonia")


# --- films ----------------------------------------------------------------------------------------


def simulated(cohort: str, count: int, seed: int) -> tuple[Films, np.ndarray]:
    """Return simulated films and their labels; "wider" are children of greater variety."""
    table = plan(normal=count // 2, pneumonia=count // 2, seed=seed)
    if cohort == "adult":
        table["size"] = [tuple(round(v * 224 / 416) for v in s) for s in table["size"]]
    else:
        table["cohort"], table["size"] = "child", [(224, 224)] * count
    body = make_body(load_ct(), plane_mm=5.0)
    space, films = LungSpace(body), []
    for row in table.to_dict("records"):
        given = settings(row, body.lungs)
        film = take(body, space, **(wider(given, row) if cohort == "wider" else given)).image
        grey = torch.from_numpy(np.clip(film * 255, 0, 255).round()[None, None])
        films.append(functional.interpolate(grey, (224, 224), mode="bilinear", antialias=True))
    labels = (table["label"] == "pneumonia").to_numpy().astype(np.int64)
    return torch.cat(films)[:, 0].round().numpy().astype(np.uint8), labels


def wider(given: dict, row: dict) -> dict:
    """Return settings farther from the middle: build, framing, technique and display."""
    rng = np.random.default_rng(int(row["seed"]) + 1)
    build, pose, exposure = given["build"], given["pose"], given["exposure"]
    scale = {k: getattr(build, k) * np.exp(rng.uniform(-0.2, 0.2))
             for k in ("width", "height", "depth", "heart", "bone", "density")}  # fmt: skip
    frame = np.exp(rng.uniform(-0.15, 0.15, 2))
    return given | {
        "build": replace(build, **scale),
        "pose": replace(pose, field=(pose.field[0] * frame[0], pose.field[1] * frame[1])),
        "exposure": replace(
            exposure, scatter=rng.uniform(0.1, 1.2), photons=10 ** rng.uniform(4.4, 5.8),
            blur=rng.uniform(0.3, 2.0), sharpen=rng.uniform(0.2, 3.0),
            equalise=rng.uniform(0, 0.6), tone=tuple(1.6 * t for t in exposure.tone),
            black=rng.uniform(0, 0.25), middle=rng.uniform(0.3, 0.7),
            white=rng.uniform(0.75, 1.1),
        ),
    }  # fmt: skip


def changed(films: Films, labels: np.ndarray, copies: int = 2) -> tuple[Films, np.ndarray]:
    """Return each film under so many changes drawn at random, all in one list."""
    every, out = list(changes(0).values()), np.concatenate([films] * copies)
    which = np.random.default_rng(0).integers(len(every), size=len(out))
    for k, change in enumerate(every):
        out[which == k] = change(out[which == k])
    return out, np.concatenate([labels] * copies)


SIMULATED = {"child": (1600, 12), "adult": (800, 13), "wider": (800, 14)}  # films and seed


def make(kind: str, root: Path, out: Path) -> None:
    """Make one kind of films, or decode the others, once."""
    out.mkdir(parents=True, exist_ok=True)
    if kind in SIMULATED:
        films, labels = simulated(kind, *SIMULATED[kind])
        np.savez(out / f"{kind}.npz", films=films, labels=labels)
        return
    shipped = pd.concat([datasets.load("sample"), datasets.load("sample_covid")])
    films, labels = changed(pixels(shipped), (shipped["label"] != "normal").to_numpy().astype(int))
    np.savez(out / "adults.npz", films=films, labels=labels)
    table = datasets.load(root / "covid" / "studies.csv")
    table = table[(table["source"] == "nih") & table["label"].isin(CLASSES)]
    people, labels = table["patient_id"].to_numpy(str), (table["label"] != "normal").to_numpy()
    np.savez(out / "nih.npz", films=pixels(table), labels=labels.astype(int), patients=people)
    films, labels, patients = kermany(root / "kermany")
    order = np.random.default_rng(0).permutation(len(films))
    for name, rows in (("part", order[:1304]), ("rest", order[1304:])):
        people = np.array(patients)[rows]
        np.savez(out / f"{name}.npz", films=films[rows], labels=labels[rows], patients=people)


# --- more varied display and noise, while training ------------------------------------------------


def display(films: Tensor) -> Tensor:
    """Change tone, window, slow brightness, resolution and quantum noise, and burn in marks."""
    count, _, side, _ = films.shape

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1)

    # A smooth rising curve of grey levels through seven knots, between a new black and a new white.
    steps = torch.exp(0.7 * torch.randn(count, 6)).cumsum(1)
    knots = functional.pad(steps / steps[:, -1:], (1, 0))
    at = (films.flatten(1) * 6).clamp(0, 5.999)
    low = knots.gather(1, at.long())
    films = (low + (at - at.floor()) * (knots.gather(1, at.long() + 1) - low)).view(films.shape)
    black = uniform(-0.1, 0.2)
    films = black + (uniform(0.75, 1.15) - black) * films
    slow = functional.interpolate(functional.avg_pool2d(films, side // 8), side, mode="bilinear")
    films = films - uniform(-0.2, 0.6) * (slow - slow.mean(dim=(2, 3), keepdim=True))
    if torch.rand(()) < 0.3:
        small = functional.interpolate(films, scale_factor=float(torch.rand(()) * 0.5 + 0.4))
        films = functional.interpolate(small, (side, side), mode="bilinear")
    films = films + uniform(0, 0.06) * films.clamp(min=0) ** 0.5 * torch.randn(films.shape)
    for film in (films[k] for k in range(count) if torch.rand(()) < 0.4):
        high, wide = (int(n) for n in torch.randint(side // 40, side // 10, (2,)))
        top, left = (int(n) for n in torch.randint(0, side - side // 10, (2,)))
        letters = functional.interpolate((torch.rand(1, 1, 5, 8) < 0.5).float(), (high, wide))
        place = film[:, top : top + high, left : left + wide]
        place.copy_(torch.maximum(place, letters[0] * 0.95))
    return films.clamp(0, 1)


def convolutions(films: Tensor) -> Tensor:
    """Blend half of the films with a random convolution of themselves (Xu et al., ICLR 2021)."""
    count, side = len(films), 2 * int(torch.randint(1, 4, ())) + 1
    kernels = torch.randn(count, 1, side, side)
    kernels = kernels * kernels.sum(dim=(2, 3), keepdim=True).sign()  # dense stays bright
    found = functional.conv2d(films.transpose(0, 1), kernels, padding=side // 2, groups=count)
    found = found.transpose(0, 1).float()  # autocast may have rounded it
    spread, centre = torch.std_mean(found, dim=(2, 3), keepdim=True)
    aim, level = torch.std_mean(films, dim=(2, 3), keepdim=True)
    found = (found - centre) / (spread + 1e-6) * aim + level
    share = torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5)
    return torch.lerp(films, found, share).clamp(0, 1)


def styles(features: Tensor) -> Tensor:
    """Mix the mean and deviation of each channel between films (MixStyle, ICLR 2021)."""
    if torch.rand(()) < 0.5:
        return features
    spread, centre = torch.std_mean(features, dim=(2, 3), keepdim=True)
    other = torch.randperm(len(features))
    own = torch.distributions.Beta(0.1, 0.1).sample((len(features), 1, 1, 1)).to(features.dtype)
    plain = (features - centre) / (spread + 1e-6)
    return plain * torch.lerp(spread[other], spread, own) + torch.lerp(centre[other], centre, own)


def hooked(model: models.MedicalNet, vary: Sequence[str]) -> None:
    """Let a network vary what it sees, in training only."""
    before = [{"display": display, "convolutions": convolutions}[v] for v in vary if v != "styles"]

    def seen(module, inputs):
        films = inputs[0]
        for change in before if module.training else ():
            films = change(films)
        return (films,)

    model.register_forward_pre_hook(seen)
    for block in model.backbone.blocks[:2] if "styles" in vary else ():
        block.register_forward_hook(lambda m, _, out: styles(out) if m.training else out)


# --- networks -------------------------------------------------------------------------------------


def last_blocks(epochs: int, stages: int) -> np.ndarray:
    """Solve the head, then train it with the last two blocks and the last convolution."""
    rates = optim.head_then_all(epochs, stages)
    rates[1:, : stages - 3] = 0
    return rates


@dataclass(frozen=True)
class Run:
    """How a network is trained where it differs from the recipe."""

    films: tuple[str, ...] = ("child",)  # if more than one, as many of each
    before: str = "as they are"
    vary: tuple[str, ...] = ()
    strategy: Callable = optim.head_then_all
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class Candidate:
    """A training and what is made of it."""

    run: str = "recipe"
    share: float = 1.0  # of the way from the pretrained network with its solved head
    epoch: int = -1
    see: str = "as they are"


RUNS = {
    "recipe": Run(),
    "display": Run(vary=("display",)),
    "convolutions": Run(vary=("convolutions",)),
    "styles": Run(vary=("styles",)),
    "half adults": Run(films=("child", "adult")),
    "half wider": Run(films=("child", "wider")),
    "equalised": Run(before="equalised"),
    "last blocks": Run(strategy=last_blocks),
    "small rate": Run(learning_rate=3e-5),
    "large rate": Run(learning_rate=3e-4),
    "all of it": Run(films=("child", "wider"), vary=("display", "convolutions", "styles")),
    "all of it, faster": Run(
        films=("child", "wider"), vary=("display", "convolutions", "styles"), learning_rate=3e-4
    ),
}
SEE: dict[str, Callable[[Films], Films]] = {
    "as they are": lambda x: x,
    "equalised": equalised,
    "clahe": clahe,
    "percentiles": percentiles,
    "blank borders": without_blank,
    "blurred": lambda x: np.stack([ndimage.gaussian_filter(f, 1.5) for f in x]),
}
CANDIDATES = {
    "the recipe": Candidate(),
    "head solved, nothing else trained": Candidate(epoch=0),
    "stopped after the first epoch of steps": Candidate(epoch=1),
    **{f"weights averaged with the pretrained network, share {s}": Candidate(share=s)
       for s in (0.3, 0.5, 0.7)},
    "films judged equalised": Candidate(see="equalised"),
    "films judged by CLAHE": Candidate(see="clahe"),
    "films judged from the 1st to the 99th percentile": Candidate(see="percentiles"),
    "films judged without blank borders": Candidate(see="blank borders"),
    "films judged blurred": Candidate(see="blurred"),
    "films judged at 0.7 of the side": Candidate(see="smaller"),
    "four views averaged, as `fit` does": Candidate(see="four views"),
    "batch-norm statistics aligned": Candidate(see="aligned"),
    "trained with varied display and noise": Candidate("display"),
    "trained with random convolutions": Candidate("convolutions"),
    "trained with mixed styles": Candidate("styles"),
    "800 children and 800 adults": Candidate("half adults"),
    "800 children and 800 of greater variety": Candidate("half wider"),
    "trained and judged equalised": Candidate("equalised", see="equalised"),
    "only the last blocks trained": Candidate("last blocks"),
    "a third of the rate": Candidate("small rate"),
    "three times the rate": Candidate("large rate"),
    "varied films, display, convolutions and styles": Candidate("all of it"),
    "the same, averaged with the pretrained network": Candidate("all of it", share=0.5),
    "the same, trained at three times the rate": Candidate("all of it, faster"),
    "both, batch-norm statistics aligned": Candidate("all of it, faster", see="aligned"),
    "both, four views averaged": Candidate("all of it, faster", see="four views"),
}  # fmt: skip


class Work:
    """Where things are kept, and at which size and length networks are trained."""

    def __init__(self, out: Path, size: int, epochs: int) -> None:
        self.films, self.out = out / "films", out / f"{size}-{epochs}"
        self.size, self.epochs = size, epochs

    def load(self, which: str):
        """Return the films of a set with what is known of them."""
        return np.load(self.films / f"{which}.npz")

    def learned_from(self, run: Run) -> datasets.ImageSet:
        """Return the 1,600 films of a training."""
        parts, each = [self.load(name) for name in run.films], 1600 // len(run.films)
        films = SEE[run.before](np.concatenate([part["films"][:each] for part in parts]))
        labels = np.concatenate([part["labels"][:each] for part in parts])
        ids, split = np.arange(len(labels)).astype(str), np.full(len(labels), "train")
        return datasets.ImageSet(resized(films, self.size), labels, ids, ids, split, CLASSES)

    def trained(self, name: str, seed: int) -> list[dict]:
        """Return the weights of the solved head, after the first epoch of steps, and the last."""
        folder = self.out / f"{name} {seed}".replace(" ", "-")
        if (folder / "weights.pt").exists():
            return torch.load(folder / "weights.pt", weights_only=True)
        folder.mkdir(parents=True, exist_ok=True)
        run, kept, start = RUNS[name], [], time.perf_counter()
        recipe = training.recipe(1600, seed=seed)
        given = replace(recipe, epochs=self.epochs, learning_rate=run.learning_rate)
        model = models.build_model("efficientnet_lite0", classes=CLASSES)
        hooked(model, run.vary)

        def keep(history: pd.DataFrame) -> None:
            state = torch.load(folder / "checkpoint.pt", weights_only=True)
            kept.append(state["progress"]["best_weights"])

        with patch.dict(optim.STRATEGIES, head_then_all=run.strategy):
            films = self.learned_from(run)
            training.fit(model, films, settings=given, out_dir=folder, on_epoch=keep)
        torch.save([kept[0], kept[1], kept[-1]], folder / "weights.pt")
        (folder / "checkpoint.pt").unlink()
        print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", flush=True)
        return [kept[0], kept[1], kept[-1]]

    def network(self, candidate: Candidate, seeds: Sequence[int]) -> models.MedicalNet:
        """Return the network of a candidate; of several seeds, the mean of their weights."""
        runs = [self.trained(candidate.run, seed) for seed in seeds]
        model, state = models.build_model("efficientnet_lite0", classes=CLASSES), {}
        for key, value in runs[0][-1].items():
            start, end = (torch.stack([run[k][key].double() for run in runs]).mean(0)
                          for k in (0, candidate.epoch))  # fmt: skip
            state[key] = torch.lerp(start, end, candidate.share).to(value.dtype)
        model.load_state_dict(state)
        return model.eval()

    def kept(self, name: str, seeds: Sequence[int], which: str) -> Path:
        """Return where the scores of a set are kept."""
        words = re.sub(r"\W+", "-", f"{name} {'-'.join(map(str, seeds))} {which}")
        return self.out / "scores" / f"{words}.npy"

    def score(self, name: str, seeds: Sequence[int], which: str) -> None:
        """Keep the log-odds of a set of films, unless they are kept already."""
        file, candidate = self.kept(name, seeds, which), CANDIDATES[name]
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        model, films, logits = self.network(candidate, seeds), self.load(which)["films"], []
        size = round(self.size * (0.7 if candidate.see == "smaller" else 1) / 8) * 8
        change = SEE.get(candidate.see, SEE["as they are"])
        if candidate.see == "aligned":
            known = statistics_of(model, self.learned_from(RUNS[candidate.run]).images)
            model = with_statistics(model, resized(films[:512], size), known)
        for start in range(0, len(films), 256):
            seen = resized(change(films[start : start + 256]), size)
            logits.append(training.predict_logits(model, seen, tta=candidate.see == "four views"))
        np.save(file, np.diff(np.concatenate(logits))[:, 0])

    def odds(self, name: str, seeds: Sequence[int], which: str) -> np.ndarray | None:
        """Return the log-odds of a set, or None if they were not scored."""
        if which == "all":
            parts = [self.odds(name, seeds, part) for part in ("part", "rest")]
            return None if any(p is None for p in parts) else np.concatenate(parts)
        file = self.kept(name, seeds, which)
        return np.load(file) if file.exists() else None


def rows(work: Work) -> Iterator[tuple[str, Callable[[str], list[np.ndarray]]]]:
    """Yield the name of each candidate with a function from a set to its log-odds in each run."""

    def runs(name: str, which: str) -> list[np.ndarray]:
        found = [work.odds(name, (seed,), which) for seed in SEEDS]
        return [odds for odds in found if odds is not None]

    for name in CANDIDATES:
        yield name, partial(runs, name)
        yield (
            f"{name}: scores of three runs averaged",
            lambda which, name=name: (
                [np.mean(runs(name, which), axis=0)] if len(runs(name, which)) == len(SEEDS) else []
            ),
        )
        yield (
            f"{name}: weights of three runs averaged",
            lambda which, name=name: [
                odds for odds in [work.odds(name, SEEDS, which)] if odds is not None
            ],
        )


def table(work: Work, sets: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table, in Markdown: the AUC of all that was scored."""
    truth = {which: work.load(which)["labels"] for which in SETS}
    truth["all"] = np.concatenate([truth["part"], truth["rest"]])
    yield "| candidate | " + " | ".join(sets) + " |"
    yield "|---" * (len(sets) + 1) + "|"
    for title, odds in rows(work):
        cells = [spread([roc_auc_score(truth[w], o) for o in odds(w)]) for w in sets]
        if any(cells):
            yield f"| {title} | " + " | ".join(cells) + " |"


def spread(areas: Sequence[float]) -> str:
    """Write the mean, the standard deviation and each value."""
    each = ", ".join(f"{a:.3f}" for a in areas)
    if len(areas) < 2:
        return each
    return f"{np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f} ({each})"


def intervals(work: Work, name: str, sets: Sequence[str]) -> Iterator[str]:
    """Yield the AUC of each run of a candidate with its interval by patient."""
    for which in (one for one in sets if one != "adults"):  # simulated: no patients
        parts = [work.load(part) for part in (("part", "rest") if which == "all" else (which,))]
        truth, people = (np.concatenate([p[k] for p in parts]) for k in ("labels", "patients"))
        for seed in SEEDS:
            odds = work.odds(name, (seed,), which)
            if odds is not None:
                shares = 1 / (1 + np.exp(-odds.astype(float)))
                ids = [str(k) for k in range(len(truth))]
                area = metrics.auc(metrics.Predictions(ids, truth, shares, people, CLASSES))
                yield f"{name}, seed {seed}, {which}: AUC {area!r}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("root", type=Path)
    options.add_argument("--out", type=Path, default=Path("runs/sample_candidates"))
    options.add_argument("--size", type=int, default=160)
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--make", choices=[*SIMULATED, "others"], help="make or decode films")
    options.add_argument("--candidate", nargs="+", default=[], help="train and score these")
    options.add_argument("--seeds", nargs="+", type=int, default=[0])
    options.add_argument("--mean", action="store_true", help="of the seeds' weights, one network")
    options.add_argument("--sets", nargs="+", choices=[*SETS, "all"], default=["nih", "adults"])
    options.add_argument("--table", action="store_true", help="of what was scored: the AUC")
    given = options.parse_args()
    torch.set_num_threads(1)
    work = Work(given.out, given.size, given.epochs)
    if given.make:
        make(given.make, given.root, work.films)
    if given.table:
        print("\n".join(table(work, given.sets)))
    groups = [tuple(given.seeds)] if given.mean else [(seed,) for seed in given.seeds]
    for name in given.candidate:
        if given.table:
            print("\n".join(intervals(work, name, given.sets)))
            continue
        for seeds in groups:
            for which in SETS if "all" in given.sets else given.sets:
                work.score(name, seeds, which)


if __name__ == "__main__":
    main()

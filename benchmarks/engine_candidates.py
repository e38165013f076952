"""What makes the recipe of `fit` steadier on films from elsewhere? Every candidate in one table.

    python benchmarks/engine_candidates.py --root ROOT [--out OUT] [--json FILE] [--only NAME ...]

ROOT holds kermany/ and covid/; CLAHE needs scikit-image.

The protocol, fixed before anything was judged:

- **Learn** on a share of the patients of the training split (by default a quarter), by the recipe
  of `fit` for large sets (`training.recipe`), one thread. No validation while training: the recipe
  keeps the last weights. The threshold is Youden's on half of the validation patients, for every
  candidate anew on its own scores.
- **Judge** on films on which nothing was trained or chosen: (1) all of the left-out patients; (2)
  120 of them under each of the thirteen changes of `engine_headline.py`; (3) its strata (thirds by
  brightness and by sharpness, and the third that looks like the other class); (4) from elsewhere:
  adults of the NIH, 350 films normal and 350 with pneumonia; (5) the same normal films against
  Hannover's of COVID-19 (another source, so only reported, never decided on). The published test
  films take no part.
- **Compare** with the recipe of the same seed, judged on one view of each film, so that every
  candidate changes one thing. (`fit` averages four views by default: that is one of the rows.)
  Intervals: 95 %, 2,000 samples of patients, of the candidate and of its difference. Accuracy is at
  the published mix of classes.
- **A candidate is better** if (a) neither its AUC from elsewhere nor the accuracy of its worst
  change is lower, and the interval of one of the two differences lies above 0; (b) neither the AUC
  nor the accuracy on the left-out patients has a difference whose interval lies below 0; (c) what
  rose is above the best of the three seeds of the recipe. Whatever needs no other training and
  passes must pass with the other two seeds as well. Else no candidate is better.

Trainings: the recipe with seeds 0, 1, 2; stronger changes with histograms; 336 instead of 224
pixels (the children's films have 224, so that only the adults' gain detail). All others change what
is done with the networks of the recipe: see `candidates`.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from engine_films import machine
from engine_headline import PREVALENCE, Films, changes, equalised, strata
from scipy import ndimage
from skimage.exposure import equalize_adapthist
from torch.nn import functional

from medimg import augment, datasets, metrics, models, training

Sets = dict[str, Films]
Scores = dict[str, np.ndarray]  # log-odds of each set
SEEDS = (0, 1, 2)
STRONGER = replace(augment.Augment.harsh(), equalize=1.0, gamma=0.8, blur=2.0, noise=0.06,
                   zoom=(0.8, 1.35), border=0.12)  # fmt: skip
BASE = "the recipe, one view"
TEMPERED, CAUTIOUS = "temperature per third of sharpness", "threshold for the worst third"


# --- the films -----------------------------------------------------------------------------------


def share_of(studies: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return the films of a random share of the patients."""
    patients = np.random.default_rng(0).permutation(studies["patient_id"].unique())
    return studies[studies["patient_id"].isin(patients[: round(share * len(patients))])]


class World:
    """All films, their truth and patients, and the sets that are judged."""

    def __init__(self, root: Path, share: float, changed: int) -> None:
        studies = datasets.load("kermany", root=root)
        split = {name: studies[studies["split"] == name] for name in ("train", "val", "test")}
        self.train = datasets.decode(share_of(split["train"], share), progress=False)
        self.val = datasets.decode(share_of(split["val"], 0.5), progress=False)
        self.test = datasets.decode(split["test"], progress=False)
        rows = np.sort(np.random.default_rng(0).permutation(len(self.test))[:changed])
        self.part = self.test.subset(rows)
        table = datasets.load(root / "covid" / "studies.csv")
        nih = (table["source"] == "nih") & table["label"].isin(["normal", "pneumonia"])
        kept = table[nih | (table["source"] == "hannover")].reset_index(drop=True)
        self.table = kept.assign(ill=(kept["label"] != "normal").astype(int))
        self.strata = strata(self.test)

    def sets(self, size: int = 224) -> Sets:
        """Return what is judged; the adults' films are larger than the children's, who have 224."""
        found = {"validation": self.val.images, "left out": self.test.images}
        found |= {f"change: {name}": change(self.part.images)
                  for name, change in changes(0).items()}  # fmt: skip
        found["elsewhere"] = datasets.decode(self.table, size=size, progress=False).images
        return found


def resized(films: Films, size: int) -> Films:
    if films.shape[1:] == (size, size):
        return films
    wide = torch.from_numpy(films[:, None].astype(np.float32))
    grown = functional.interpolate(wide, (size, size), mode="bilinear", antialias=True)
    return grown[:, 0].round().clamp(0, 255).numpy().astype(np.uint8)


# --- what may be done to a film before it is scored ----------------------------------------------


def clahe(films: Films) -> Films:
    return np.stack([(equalize_adapthist(f) * 255).astype(np.uint8) for f in films])


def percentiles(films: Films) -> Films:
    low, high = np.percentile(films, (1, 99), axis=(1, 2), keepdims=True)
    return np.clip((films - low) / np.maximum(high - low, 1) * 255, 0, 255).astype(np.uint8)


def without_blank(films: Films) -> Films:
    """Cut off rows and columns at the edges of which 90 % are black, and resize what is left."""
    out = []
    for film in films:
        lit = film > 12
        box = []
        for axis in (1, 0):
            some = np.flatnonzero(lit.mean(axis=axis) > 0.1)
            box.append(slice(some[0], some[-1] + 1) if len(some) > 100 else slice(None))
        out.append(resized(film[tuple(box)][None], films.shape[1])[0])
    return np.stack(out)


# --- batch-norm statistics of the films to be judged ---------------------------------------------


@torch.inference_mode()
def statistics_of(model: models.MedicalNet, films: Films, put: Callable | None = None):
    """Run 96 films through a network and return the mean and deviation that each batch norm meets.

    With `put` each batch norm is changed before it acts, so that later ones meet what follows.
    """
    rows = np.random.default_rng(0).permutation(len(films))[:96]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def look(norm, inputs):
        x = inputs[0].float()
        met = (x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3)) + 1e-6)
        if put is not None:
            put(norm, met, len(found))
        found.append(met)

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    model.eval()(torch.from_numpy(films[rows, None].astype(np.float32) / 255))
    for hook in hooks:
        hook.remove()
    return found


def with_statistics(model: models.MedicalNet, films: Films, known: list | None):
    """Return a copy whose batch norms know other statistics.

    Without `known` they are the films' own. With `known`, of the training films, each batch norm
    gives the films' mean and deviation the place that those of the training films had.
    """
    changed = copy.deepcopy(model)

    def put(norm, met, k):
        mean, deviation = met
        if known is None:
            norm.running_mean.copy_(mean), norm.running_var.copy_(deviation**2)
        else:
            ratio = deviation / known[k][1]
            norm.running_mean.copy_(mean - (known[k][0] - norm.running_mean) * ratio)
            norm.running_var.mul_(ratio**2)

    statistics_of(changed, films, put)
    return changed


# --- networks ------------------------------------------------------------------------------------

RUNS: dict[str, dict] = {
    **{f"recipe {seed}": {"seed": seed} for seed in SEEDS},
    "stronger 0": {"seed": 0, "augment": STRONGER},
    "larger 0": {"seed": 0, "size": 336},
}


def train(name: str, world: World, out: Path) -> Path:
    """Train a run once; keep its weights of each epoch, averaged (EMA) and not, and the time."""
    folder = out / name.replace(" ", "-")
    if (folder / "seconds.txt").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    change = dict(RUNS[name])
    size, seed = change.pop("size", 224), change.pop("seed")
    data = replace(world.train, images=resized(world.train.images, size))
    settings = replace(training.recipe(2000, seed=seed), **change)
    kept = []

    def keep(history: pd.DataFrame) -> None:
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        kept.append({"ema": state["progress"]["best_weights"], "raw": state["model"]})
        print(f"{name}: epoch {len(history)}, {history['seconds'].iloc[-1]:.0f} s", flush=True)

    model = models.build_model("efficientnet_lite0", classes=data.classes)
    start = time.perf_counter()
    training.fit(model, data, settings=settings, out_dir=folder, on_epoch=keep)
    seconds = time.perf_counter() - start
    torch.save(kept[-3:], folder / "weights.pt")
    (folder / "checkpoint.pt").unlink()
    (folder / "seconds.txt").write_text(f"{seconds:.0f}", encoding="utf-8")
    return folder


def network(folders: list[Path], classes, kinds: list[tuple[int, str]]) -> models.MedicalNet:
    """Return a network whose weights are the mean of those of epochs (-1 is the last) and runs."""
    model = models.build_model("efficientnet_lite0", classes=classes)
    states = [torch.load(f / "weights.pt", weights_only=True)[k][kind]
              for f in folders for k, kind in kinds]  # fmt: skip
    mean = {key: torch.stack([s[key].double() for s in states]).mean(0).to(value.dtype)
            for key, value in states[0].items()}  # fmt: skip
    model.load_state_dict(mean)
    return model.eval()


def log_odds(model: models.MedicalNet, films: Films) -> np.ndarray:
    logits = training.predict_logits(model, films)
    return (logits[:, 1] - logits[:, 0]).astype(np.float64)


def viewed(films: Films, degrees: float, zoom: float, *, flip: bool = False) -> Films:
    """Return one view of the films, as `predict_logits(..., tta=True)` makes it."""
    out = []
    for part in np.array_split(films, max(1, len(films) // 64)):
        batch = torch.from_numpy(part[:, None].astype(np.float32) / 255)
        seen = augment.apply(batch, augment.fixed_view(len(batch), degrees=degrees, zoom=zoom))
        out.append((seen[:, 0] * 255).round().numpy().astype(np.uint8))
    found = np.concatenate(out)
    return np.ascontiguousarray(found[:, :, ::-1]) if flip else found


# --- scores: one function for each way of scoring all sets, kept on disk -------------------------


def needed(run: str) -> list[str]:
    return [f"recipe {seed}" for seed in SEEDS] if run == "recipes" else [run]


def kept(out: Path, name: str) -> Path:
    return out / f"scores-{name}.npz".replace(" ", "-").replace(":", "")


def scored(name: str, world: World, out: Path) -> dict[str, np.ndarray]:
    """Return the log-odds of a way of scoring, on every set; from disk if they were made before."""
    file = kept(out, name)
    if file.exists():
        return dict(np.load(file))
    way, run = name.split(": ")
    runs = needed(run)
    folders = [train(r, world, out) for r in runs]
    size = 336 if way == "at 336" else RUNS[runs[0]].get("size", 224)
    kinds = {"no ema": [(-1, "raw")], "last three": [(k, "ema") for k in (-3, -2, -1)]}
    model = network(folders, world.train.classes, kinds.get(way, [(-1, "ema")]))
    before = BEFORE.get(way, lambda films: films)
    known = statistics_of(model, world.train.images) if way == "aligned statistics" else None
    start, found, count = time.perf_counter(), {}, 0
    for key, films in world.sets(size).items():
        seen, judge = resized(before(films), size), model
        if way.endswith("statistics"):
            judge = with_statistics(model, seen, known)
        found[key], count = log_odds(judge, seen), count + len(films)
    found["milliseconds"] = np.array(1000 * (time.perf_counter() - start) / count)
    np.savez(file, **found)
    print(f"{name}: {count} films, {float(found['milliseconds']):.0f} ms a film", flush=True)
    return found


BEFORE: dict[str, Callable[[Films], Films]] = {
    "equalised": equalised,
    "clahe": clahe,
    "percentiles": percentiles,
    "blank borders": without_blank,
    "view zoomed": lambda x: viewed(x, 0.0, 1.1),
    "view left": lambda x: viewed(x, -6.0, 1.05),
    "view right": lambda x: viewed(x, 6.0, 1.05),
    "view flipped": lambda x: viewed(x, 0.0, 1.0, flip=True),
}
FOUR = ("plain", "view zoomed", "view left", "view right")


# --- candidates: from kept scores to scores ------------------------------------------------------


class Judge:
    """Thresholds, figures and intervals by patient, of log-odds on every set."""

    def __init__(self, world: World, draws: int = 2000) -> None:
        self.world, rng = world, np.random.default_rng(0)
        sets = world.sets()
        brightness = {k: x.mean(axis=(1, 2)) for k, x in sets.items()}
        sharpness = {k: np.array([ndimage.laplace(f.astype(np.float32) / 255).std() for f in x])
                     for k, x in sets.items()}  # fmt: skip
        self.thirds = {name: self._thirds(value) for name, value in
                       (("brightness", brightness), ("sharpness", sharpness))}  # fmt: skip
        self.draws = {"left out": _drawn(world.test.patients, draws, rng),
                      "elsewhere": _drawn(world.table["patient_id"], draws, rng)}  # fmt: skip

    def _thirds(self, value: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        edges = np.quantile(value["validation"], (1 / 3, 2 / 3))
        return {key: np.searchsorted(edges, found) for key, found in value.items()}

    def tempered(self, odds: Scores) -> Scores:
        """Divide by a temperature for each third of the validation films by sharpness."""
        out, third, val = (
            {k: v.copy() for k, v in odds.items()},
            self.thirds["sharpness"],
            self.world.val,
        )
        for k in range(3):
            rows = third["validation"] == k
            shares = 1 / (1 + np.exp(-odds["validation"][rows]))
            of = metrics.Predictions(val.ids[rows], val.labels[rows], shares, val.patients[rows])
            heat = metrics.fit_temperature(of)
            for key in third:
                out[key][third[key] == k] /= heat
        return out

    def youden(self, odds: Scores) -> float:
        """Return the threshold that `fit` chooses, on the validation films."""
        val, shares = self.world.val, 1 / (1 + np.exp(-odds["validation"]))
        of = metrics.Predictions(val.ids, val.labels, shares, val.patients, val.classes)
        cut = metrics.choose_threshold(of).value
        return float(np.log(cut / (1 - cut)))

    def cautious(self, odds: Scores) -> float:
        """Return the threshold whose worst third of the validation films is best."""
        score, truth = odds["validation"], self.world.val.labels
        masks = [self.thirds[name]["validation"] == k for name in self.thirds for k in range(3)]
        tried = np.sort(score)
        worst = [min(_accuracy((score >= cut)[m], truth[m]) for m in masks) for cut in tried]
        best = np.flatnonzero(np.max(worst) == worst)
        return float(tried[best[len(best) // 2]])

    def figures(self, odds: Scores, cut: float) -> dict[str, np.ndarray]:
        """Return each figure, of the films as they are and then of each draw of patients."""
        world, found = self.world, {}
        truth, weights = world.test.labels, self.draws["left out"]
        right = (odds["left out"] >= cut).astype(int)
        found["AUC, left out"] = _areas(odds["left out"], truth, weights)
        found["accuracy, left out"] = _accuracies(right, truth, weights)
        each = {f"stratum: {name}": _accuracies(right[m], truth[m], weights[:, m])
                for name, m in world.strata.items()}  # fmt: skip
        found["worst stratum"] = np.min(list(each.values()), axis=0)
        part, mine = world.part.labels, weights[:, np.isin(world.test.ids, world.part.ids)]
        for key in odds:
            if key.startswith("change: ") and key != "change: as they are":
                each[key] = _accuracies((odds[key] >= cut).astype(int), part, mine)
        changed = [v for k, v in each.items() if k.startswith("change")]
        found["worst change"] = np.nanmin(changed, axis=0)
        ill, draws = world.table["ill"].to_numpy(), self.draws["elsewhere"]
        for name, left in (("NIH", "hannover"), ("Hannover", "nih")):
            other = (world.table["source"] == left).to_numpy() & (ill == 1)
            score, true, mine = odds["elsewhere"][~other], ill[~other], draws[:, ~other]
            found[f"AUC, {name}"] = _areas(score, true, mine)
            found[f"balanced accuracy, {name}"] = _accuracies(
                (score >= cut).astype(int), true, mine, share=0.5)  # fmt: skip
        return found | each


def _drawn(patients, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each film is drawn: once each, then in `draws` samples of patients."""
    codes = pd.factorize(np.asarray(patients))[0]
    count = codes.max() + 1
    times = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.vstack([np.ones(len(codes)), times[:, codes]])


def _accuracy(called: np.ndarray, truth: np.ndarray) -> float:
    return float(
        PREVALENCE * called[truth == 1].mean() + (1 - PREVALENCE) * (~called[truth == 0]).mean()
    )


def _accuracies(called, truth, weights, share: float = PREVALENCE) -> np.ndarray:
    ill, well = weights * (truth == 1), weights * (truth == 0)
    with np.errstate(invalid="ignore"):
        return share * (ill @ called) / ill.sum(1) + (1 - share) * (well @ (1 - called)) / well.sum(
            1
        )


def _areas(score, truth, weights) -> np.ndarray:
    """Return the area under the ROC curve for each row of weights; ties count one half."""
    well = np.flatnonzero(truth == 0)
    well = well[np.argsort(score[well])]
    below = np.hstack([np.zeros((len(weights), 1)), weights[:, well].cumsum(1)])
    sides = [np.searchsorted(score[well], score[truth == 1], side) for side in ("left", "right")]
    ill = weights[:, truth == 1]
    wins = (ill * (below[:, sides[0]] + below[:, sides[1]]) / 2).sum(1)
    return wins / (ill.sum(1) * below[:, -1])


def mean_of(parts: list[Scores]) -> Scores:
    return {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}


def ways(seed: int) -> dict[str, list[str]]:
    """Return the scores that each candidate averages, as a way of scoring and a training."""
    run = f": recipe {seed}"
    one = {
        "weights of the last step, not their moving average": "no ema",
        "weights of the last three epochs averaged": "last three",
        "batch-norm statistics of the films judged": "own statistics",
        "batch-norm statistics aligned with those in training": "aligned statistics",
        "films equalised": "equalised",
        "films by CLAHE": "clahe",
        "grey levels from the 1st to the 99th percentile": "percentiles",
        "blank borders cut off": "blank borders",
        "judged at 336 pixels, trained at 224": "at 336",
    }
    return {
        BASE: ["plain" + run],
        "four views averaged, as `fit` does": [way + run for way in FOUR],
        "the film and its mirror image averaged": ["plain" + run, "view flipped" + run],
        "scores of three runs averaged": [f"plain: recipe {s}" for s in SEEDS],
        "weights of three runs averaged": ["plain: recipes"],
        **{name: [way + run] for name, way in one.items()},
        "trained with stronger changes and histograms": ["plain: stronger 0"],
        "the same, films equalised": ["equalised: stronger 0"],
        "trained and judged at 336 pixels": ["plain: larger 0"],
    }


def candidates(
    get: Callable[[str], Scores], judge: Judge, seed: int, only: Sequence[str]
) -> dict[str, tuple[Scores, float]]:
    """Return the scores and the threshold of candidates, the recipe of a seed changed."""
    base = get(f"plain: recipe {seed}")
    pairs = {BASE: (base, judge.youden(base))}
    for name in only:
        if name == CAUTIOUS:
            pairs[name] = (base, judge.cautious(base))
        else:
            parts = ways(seed).get(name, [])
            odds = judge.tempered(base) if name == TEMPERED else mean_of([get(n) for n in parts])
            pairs[name] = (odds, judge.youden(odds))
    return pairs


def cost(names: list[str], out: Path) -> str:
    """Return the minutes that a candidate trained for and the milliseconds of a film."""
    runs = {run for name in names for run in needed(name.split(": ")[1])}
    trained = sum(
        int((out / run.replace(" ", "-") / "seconds.txt").read_text(encoding="utf-8"))
        for run in runs
    )
    each = sum(float(np.load(kept(out, name))["milliseconds"]) for name in names)
    return f"{trained / 60:.0f} min, {each:.0f} ms"


DECIDE = ("AUC, NIH", "worst change")
KEEP = ("AUC, left out", "accuracy, left out")
SHOWN = (*KEEP, "worst stratum", "worst change", "AUC, NIH", "balanced accuracy, NIH",
         "AUC, Hannover")  # fmt: skip


def interval(values: np.ndarray) -> list[float]:
    """Return the value and its 95 % interval."""
    return [float(values[0]), *np.nanpercentile(values[1:], (2.5, 97.5)).tolist()]


def compared(
    judge: Judge, get: Callable[[str], Scores], seed: int, only: Sequence[str]
) -> dict[str, dict]:
    """Return figures, differences from the recipe and the rule's parts (a) and (b)."""
    pairs = candidates(get, judge, seed, only)
    base = judge.figures(*pairs[BASE])
    rows = {}
    for name, pair in pairs.items():
        mine = judge.figures(*pair)
        row = {key: interval(value)[: 1 if ": " in key else 3] for key, value in mine.items()}
        less = {key: interval(mine[key] - base[key]) for key in (*DECIDE, *KEEP, "worst stratum")}
        steady = all(less[k][0] >= 0 for k in DECIDE) and any(less[k][1] > 0 for k in DECIDE)
        rows[name] = {"figures": row, "difference": less, "threshold": pair[1],
                      "a": steady, "b": all(less[k][2] >= 0 for k in KEEP)}  # fmt: skip
    return rows


def best_of(runs: dict) -> dict[str, float]:
    """Return the best that a seed of the recipe reached, of the figures that decide."""
    return {k: max(row["figures"][k][0] for row in runs.values()) for k in DECIDE}


def wanted(row: dict, best: dict[str, float]) -> str:
    """Return which parts of the rule a candidate fails, or that it passes."""
    rose = [k for k in DECIDE if row["difference"][k][1] > 0]
    high = bool(rose) and all(row["figures"][k][0] > best[k] for k in rose)
    failed = [part for part, holds in (("a", row["a"]), ("b", row["b"]), ("c", high)) if not holds]
    return "fails " + ", ".join(failed) if failed else "passes"


def table(found: dict) -> list[str]:
    """Return the rows of a table of one seed's candidates, in Markdown."""
    rows = found["candidates"]["0"]
    best = best_of(found["recipe"])
    lines = [
        "| candidate | " + " | ".join(SHOWN) + " | cost | rule |",
        "|---" * (len(SHOWN) + 3) + "|",
    ]
    plain = {f"the recipe, seed {seed}": row for seed, row in found["recipe"].items()}
    for name, row in (plain | rows).items():
        if name == BASE:
            continue
        cells = ["{:.3f} ({:.3f} to {:.3f})".format(*row["figures"][k]) for k in SHOWN]
        cells.append(row.get("cost", rows[BASE]["cost"]))
        rule = "" if name in plain else wanted(row, best)
        lines.append(f"| {name} | " + " | ".join([*cells, rule]) + " |")
    keys = (*DECIDE, "worst stratum", *KEEP)
    for seed, others in found["candidates"].items():
        lines += ["", f"Differences from the recipe of seed {seed}:", ""]
        lines += ["| candidate | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
        for name, row in others.items():
            cells = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*row["difference"][k]) for k in keys]
            lines += [f"| {name} | " + " | ".join(cells) + " |"] if name != BASE else []
    return lines


def worst(row: dict, what: str) -> str:
    """Name the change or the stratum with the lowest accuracy."""
    each = {k: v[0] for k, v in row["figures"].items() if k.startswith(what)}
    each.pop("change: as they are", None)
    return min(each, key=each.__getitem__).removeprefix(what)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="holds kermany/ and covid/")
    parser.add_argument("--out", type=Path, default=Path("runs/candidates"))
    parser.add_argument("--share", type=float, default=0.25, help="of the training patients")
    parser.add_argument("--changed", type=int, default=120, help="films judged under each change")
    parser.add_argument("--only", nargs="+", default=[], help="only these trainings and scorings")
    parser.add_argument("--json", type=Path, help="keep the numbers there")
    args = parser.parse_args()
    world = World(args.root, args.share, args.changed)
    for name in args.only:
        (train if name in RUNS else scored)(name, world, args.out)
    if args.only:
        return

    def get(name: str) -> Scores:
        return scored(name, world, args.out)

    judge = Judge(world)
    sizes = {"trained on": world.train, "threshold": world.val, "left out": world.test,
             "changed": world.part, "elsewhere": world.table}  # fmt: skip
    found = {"machine": machine(), "films": {name: len(part) for name, part in sizes.items()}}
    found["recipe"] = {}
    for seed in SEEDS:
        odds = get(f"plain: recipe {seed}")
        values = judge.figures(odds, judge.youden(odds))
        shown = {key: interval(values[key]) for key in SHOWN}
        price = cost([f"plain: recipe {seed}"], args.out)
        found["recipe"][str(seed)] = {"figures": shown, "cost": price}
    every = [name for name in ways(0) if name != BASE] + [TEMPERED, CAUTIOUS]
    first = compared(judge, get, 0, every)
    found["candidates"] = {"0": first}
    best = best_of(found["recipe"])
    again = [name for name in every if wanted(first[name], best) == "passes"
             and ways(0).get(name) != ways(1).get(name, [])]  # fmt: skip
    for seed in SEEDS[1:]:
        found["candidates"][str(seed)] = compared(judge, get, seed, again)
    for name, names in ways(0).items():
        found["candidates"]["0"][name]["cost"] = cost(names, args.out)
    print("\n".join(table(found)))
    for name, row in found["candidates"]["0"].items():
        print(f"{name}: worst under {worst(row, 'change: ')}, in {worst(row, 'stratum: ')}")
    if args.json:
        args.json.write_text(json.dumps(_short(found)) + "\n", encoding="utf-8")


def _short(value):
    """Round all numbers in nested lists and dictionaries."""
    if isinstance(value, dict):
        return {key: _short(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()

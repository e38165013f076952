"""Class imbalance: nothing, class weights, balanced sampler, focal loss, moving the threshold.

One healthy film in ten in training; heads solved exactly on frozen features (computed once, so that
all rows see the same), mean over seeds. What moves with each is where the decision falls; the order
of the films (AUC) hardly changes, and the table shows it.

    python benchmarks/engine_imbalance.py [--data ROOT]
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from engine_films import arguments, arrays, machine

from medimg import models, training

ROWS = {
    "nothing": {},
    "class weights": {"class_weights": "balanced"},
    "balanced sampler": {"sampler": "balanced"},
    "focal loss": {"loss": "focal"},
    "focal loss + class weights": {"loss": "focal", "class_weights": "balanced"},
}


def rates(score: np.ndarray, truth: np.ndarray, cut: float) -> dict[str, float]:
    ill = score >= cut
    sensitivity, specificity = ill[truth == 1].mean(), (~ill[truth == 0]).mean()
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced accuracy": (sensitivity + specificity) / 2,
    }


def moved(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the cut of the best balanced accuracy (Youden), chosen on validation films."""
    cuts = np.unique(score)
    gains = [(score[truth == 1] >= c).mean() - (score[truth == 0] >= c).mean() for c in cuts]
    best = int(np.argmax(gains))
    return float((cuts[best] + cuts[max(best - 1, 0)]) / 2)


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    whole, judged = arrays(args.data, size=args.size, train=900, val=450, seed=args.seed)
    model = models.build_model()
    features = training.extract_features(model, whole.images)
    for_judging = training.extract_features(model, judged.images)
    rows = []
    for seed in range(args.seeds):
        rng = np.random.default_rng(seed)
        healthy = rng.permutation(np.flatnonzero(whole.labels == 0))
        ill = rng.permutation(np.flatnonzero(whole.labels == 1))
        n_ill, few = 400, 44
        train = np.concatenate([healthy[:few], ill[:n_ill]])
        val = np.concatenate([healthy[few : 2 * few], ill[n_ill : n_ill + n_ill // 4]])
        for name, change in ROWS.items():
            score_val, score = fitted(model, features, whole.labels, train, val, for_judging,
                                      seed, change)  # fmt: skip
            auc = training.validation_metrics(np.stack([-score, score], 1), judged.labels)["auc"]
            rows.append({"remedy": name, "AUC": auc, **rates(score, judged.labels, 0.5)})
            if name == "nothing":
                cut = moved(score_val, whole.labels[val])
                rows.append(
                    {"remedy": "moved threshold", "AUC": auc, **rates(score, judged.labels, cut)}
                )
    table = pd.DataFrame(rows).groupby("remedy", sort=False)
    print(f"44 healthy and 400 ill films trained, {len(judged)} judged; {machine()}")
    print(table.mean().round(3).to_string())
    print("spread over seeds:")
    print(table.std().round(3).to_string())


def fitted(model, features, labels, train, val, judged, seed, change):
    """Solve a regularised linear head exactly; return P(ill) of validation and judged films."""
    from medimg.training.optim import class_weights

    settings = replace(training.FitSettings(seed=seed), **change)
    order = training.epoch_order(labels[train], 1, seed=seed, sampler=settings.sampler)
    centre, spread = features[train].mean(0), features[train].std(0) + 1e-6
    x = torch.from_numpy((features[train][order] - centre) / spread)
    y = torch.from_numpy(labels[train][order])
    weights = class_weights(labels[train], 2, settings.class_weights)
    loss = training.make_loss(settings.loss, weights=weights, smoothing=0.0)
    head = torch.nn.Linear(x.shape[1], 2)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    solver = torch.optim.LBFGS(head.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        # scikit-learn's C = 0.01, for two logits
        total = loss(head(x), y).mean() + (head.weight**2).sum() / (0.01 * len(x))
        total.backward()
        return total

    solver.step(closure)

    def score(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = head(torch.from_numpy((values - centre) / spread)).numpy()
        return training.probabilities(logits)

    return score(features[val]), score(judged)


if __name__ == "__main__":
    main()

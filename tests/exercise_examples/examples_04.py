import numpy as np
from matplotlib.figure import Figure

from medimg.metrics import Predictions
from medimg.metrics import wilson as interval

Y_TRUE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
CALLED = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)


JUDGE = Predictions(list("abcde"), [0, 1, 0, 1, 0], [0.2, 0.9, 0.4, 0.6, 0.1], list("ppqrs"))


def wilson(hits, n):
    return np.array([interval(int(k), int(m)).low for k, m in zip(hits, n, strict=True)])


def drawn(curve, last=200, label="found"):
    n = np.arange(5, last + 1)
    ax = Figure().subplots()
    ax.plot(n, curve(n))
    ax.set(xlabel="patients", ylabel=label)
    return ax


def pairs(ill, healthy):
    ill, healthy = np.asarray(ill)[:, None], np.asarray(healthy)
    return np.mean((ill > healthy) + 0.5 * (ill == healthy))


def pairs_without_ties(ill, healthy):
    return np.mean(np.asarray(ill)[:, None] > np.asarray(healthy))


def pairs_with_ties_won(ill, healthy):
    return np.mean(np.asarray(ill)[:, None] >= np.asarray(healthy))


def pairs_in_step(ill, healthy):
    won = [(i > h) + 0.5 * (i == h) for i, h in zip(ill, healthy, strict=False)]
    return sum(won) / len(won)


def ppv(prevalence, sensitivity, specificity):
    called = prevalence * sensitivity + (1 - prevalence) * (1 - specificity)
    return prevalence * sensitivity / called


def npv(prevalence, sensitivity, specificity):
    cleared = prevalence * (1 - sensitivity) + (1 - prevalence) * specificity
    return (1 - prevalence) * specificity / cleared


def bayes_with_specificity(prevalence, sensitivity, specificity):
    called = prevalence * sensitivity + (1 - prevalence) * specificity
    return prevalence * sensitivity / called


EXAMPLES = {
    "04-sensitivity": {
        "context": {"y_true": Y_TRUE, "called_positive": CALLED},
        "right": [0.75, 3 / 4],
        "wrong": [
            (0.6, "That is the PPV"),
            (4 / 6, "That is the specificity"),
            (0.7, "That is the accuracy"),
            (0.25, "missed"),
            (0.3, "divided by everybody"),
            (75, "fraction"),
        ],
    },
    "04-pairs": {
        "context": {},
        "right": [pairs],
        "wrong": [
            (pairs_without_ties, "counted as lost"),
            (pairs_with_ties_won, "counted as won"),
            (lambda ill, healthy: pairs(healthy, ill), "Reverse the comparison"),
            (lambda ill, healthy: pairs(ill, healthy) * len(ill) * len(healthy), "share"),
            (pairs_in_step, "loop inside a loop"),
            (0.75, "the function itself"),
        ],
    },
    "04-all": {
        "context": {},
        "right": [drawn(lambda n: wilson(n, n)), drawn(lambda n: wilson(n, n)).figure],
        "wrong": [
            (drawn(lambda n: 1 + 0 * n), "upper end"),
            (drawn(lambda n: 1 - 3 / n), "rule of three"),
            (drawn(lambda n: 0.025 ** (1 / n)), "Clopper-Pearson"),
            (drawn(lambda n: 1 - 1 / n), "not the lower ends"),
            (drawn(lambda n: wilson(n, n), last=20), "from 5 to 200"),
            (drawn(lambda n: wilson(n, n), label=""), "Name both axes"),
            (Figure(), "the axes of your figure"),
            (0.84, "the axes of your figure"),
        ],
    },
    "04-ppv": {
        "context": {},
        "right": [ppv],
        "wrong": [
            (npv, "That is the NPV"),
            (lambda p, se, sp: se / (se + 1 - sp), "prevalence is left out"),
            (bayes_with_specificity, "in place of the false alarms"),
            (lambda p, se, sp: p * se, "share of *everybody*"),
            (lambda p, se, sp: se, "That is the sensitivity"),
            (lambda p, se, sp: p * se / (p * se + 1 - sp), "Only people without the disease"),
        ],
    },
    "04-file": {
        "context": {"judge": JUDGE},
        "right": [JUDGE, JUDGE.subset(np.array([3, 1, 0, 2, 4]))],
        "wrong": [
            (JUDGE.with_scores(1 - JUDGE.y_score), "those for *normal*"),
            (JUDGE.with_scores(np.roll(JUDGE.y_score, 1)), "in the order of the file"),
            (JUDGE.with_scores(JUDGE.y_score / 2), "not those of the file"),
            (
                Predictions(np.roll(JUDGE.ids, 1), JUDGE.y_true, JUDGE.y_score),
                "no longer belong together",
            ),
            (JUDGE.subset(JUDGE.y_score > 0.2), "one of each"),
            (JUDGE.y_score, "predictions: what"),
        ],
    },
}

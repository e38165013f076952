import numpy as np

Y_TRUE = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
CALLED = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], dtype=bool)


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
    "04-twenty": {
        "context": {},
        "right": [0.84, 0.839, 0.8388875],
        "wrong": [
            (1.0, "textbook formula"),
            (0.85, "rule of three"),
            (0.8316, "Clopper-Pearson"),
            (0.861, "one side"),
            (84, "fraction"),
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
    "04-act": {
        "context": {},
        "right": [0.1, 1 / 10],
        "wrong": [(1 / 9, "odds"), (0.11, "odds"), (0.9, "other way round"), (0.5, "equally bad")],
    },
}

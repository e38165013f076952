def decide(scores, quality, threshold):
    return max(scores) >= threshold or "ungradable" in quality


def no_quality(scores, quality, threshold):
    return max(scores) >= threshold


def mean(scores, quality, threshold):
    return sum(scores) / len(scores) >= threshold or "ungradable" in quality


def above(scores, quality, threshold):
    return max(scores) > threshold or "ungradable" in quality


EXAMPLES = {
    "08-decide": {
        "context": {},
        "right": [decide],
        "wrong": [
            (no_quality, "quality is not used yet"),
            (mean, "healthy eye hide"),
            (above, "use >="),
        ],
    },
    "08-ppv": {
        "context": {},
        "right": [0.51, 0.5102],
        "wrong": [
            (0.872, "That is the sensitivity"),
            (0.745, "prevalence of the trial"),
            (0.985, "That is the NPV"),
            (0.0965, "1 - specificity"),
        ],
    },
}

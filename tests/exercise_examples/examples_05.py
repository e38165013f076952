from types import SimpleNamespace

import numpy as np
from matplotlib.figure import Figure

RNG = np.random.default_rng(0)
MAPS = RNG.random((5, 6, 8))
LESIONS = np.zeros((5, 6, 8), bool)
for row, size in ((0, 2), (1, 3), (3, 5)):
    LESIONS[row, 1 : 1 + size, 2 : 2 + size] = True
COVERED = np.array([4, 9, 20]) / 48  # the last is cut off: 4 by 5
COVERED[2] = 25 / 48
INSIDE = np.array([MAPS[k][LESIONS[k]].sum() / MAPS[k].sum() for k in (0, 1, 3)])


def dots(x, y, label="share"):
    ax = Figure().subplots()
    ax.scatter(x, y)
    ax.plot([0, 1], [0, 1])
    ax.set(xlabel="share of the image", ylabel=label)
    return ax


FILMS = SimpleNamespace(
    images=RNG.integers(1, 255, (6, 20, 30), dtype=np.uint8), labels=np.array([0, 1, 0, 1, 1, 0])
)


def marked(which, width=2, value=255):
    images = FILMS.images.copy()
    images[which, :, :width] = value
    return images


def judge(tainted, swapped):
    return [0.95, 0.2 if tainted.max() == 255 else 0.8]  # follows a white mark only


WITH, WITHOUT = FILMS.labels == 1, FILMS.labels == 0
WEIGHTS = RNG.random((2, 10, 10))  # the class token and 3 x 3 patches
TO_CLASS = WEIGHTS[:, 0, 1:].reshape(-1, 3, 3)

EXAMPLES = {
    "05-attention": {
        "context": {"weights": WEIGHTS},
        "right": [TO_CLASS, TO_CLASS.tolist()],
        "wrong": [
            (WEIGHTS[:, 1:, 0].reshape(-1, 3, 3), "the other way round"),
            (np.swapaxes(TO_CLASS, 1, 2), "swapped"),
            (TO_CLASS / 2, "not the weights of the last block"),
        ],
    },
    "05-size": {
        "context": {"maps": MAPS, "lesions": LESIONS},
        "right": [dots(COVERED, INSIDE), dots(COVERED[::-1], INSIDE[::-1]).figure],
        "wrong": [
            (dots(INSIDE, COVERED), "swapped"),
            (dots(RNG.random(5), RNG.random(5)), "without a lesion"),
            (dots(COVERED, INSIDE * 48), "sum over the whole image"),
            (dots(COVERED, INSIDE, label=""), "Name both axes"),
            (Figure().subplots(), "no dots"),
            (COVERED, "the axes of your figure"),
        ],
    },
    "05-break": {
        "context": {"films": FILMS, "judge": judge},
        "right": [[marked(WITH), marked(WITHOUT)], (marked(WITH, 3), marked(WITHOUT, 3))],
        "wrong": [
            ([marked(WITHOUT), marked(WITH)], "no others"),
            ([marked(WITH), marked(WITH)], "no others"),
            ([marked(WITH, 9), marked(WITHOUT, 9)], "a tenth"),
            ([marked(WITH, value=0), marked(WITHOUT, value=0)], "does not follow"),
            ([marked(WITH), ...], "still missing"),
            ([marked(WITH) / 255, marked(WITHOUT)], "uint8"),
            (marked(WITH)[0], "a list of two arrays"),
        ],
    },
}

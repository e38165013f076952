"""Exercises of notebook 5, explain."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.exercises import Exercise, Made, Mistake, Problem

Array = NDArray[Any]


def _dots(answer: Any) -> tuple[Array, bool]:
    """Look at a figure: its dots, and whether its axes have names."""
    ax = answer.figure.axes[0]
    drawn = [np.asarray(dots.get_offsets(), dtype=float) for dots in ax.collections]
    drawn += [np.asarray(line.get_xydata(), dtype=float) for line in ax.lines]
    drawn = [dots for dots in drawn if len(dots) > 2]
    if not drawn:
        raise Problem("There are no dots in this figure: `ax.scatter(x, y)` draws them.")
    return drawn[0], bool(ax.get_xlabel() and ax.get_ylabel())


def _wanted(maps: Array, lesions: Array) -> Array:
    """Return each lesion's share of the image, and of the map's sum."""
    some = lesions.any(axis=(1, 2))
    total = maps[some].sum(axis=(1, 2))
    inside = (maps * lesions)[some].sum(axis=(1, 2)) / np.where(total > 0, total, 1)
    return np.column_stack([lesions[some].mean(axis=(1, 2)), inside])


def _match(dots: Array, wanted: Array) -> bool:
    """Compare two clouds of dots, in any order; a blank map has no share."""
    if dots.shape != wanted.shape:
        return False
    pair = [np.nan_to_num(one).round(3) for one in (dots, wanted)]
    pair = [one[np.lexsort(one.T)] for one in pair]
    return bool(np.allclose(*pair, atol=0.003))


def _pair(answer: Any) -> tuple[Array, Array]:
    """Look at two arrays of images."""
    if any(part is ... for part in answer):
        raise Problem("One of the two arrays is still missing.")
    mine, swapped = answer
    if not (mine.dtype == swapped.dtype == np.uint8 and mine.shape == swapped.shape):
        raise Problem("Give two arrays of uint8 that have the shape of `films.images`.")
    return mine, swapped


def _marked(images: Array, films: Any) -> Array:
    """Return which images are not as they were."""
    return (images != films.images).any(axis=(1, 2))


def _right_ones(pair: Any, films: Any) -> bool:
    return all(
        np.array_equal(_marked(one, films), films.labels == k)
        for one, k in zip(pair, (1, 0), strict=True)
    )


def _area(pair: Any, films: Any) -> float:
    """Return the largest share of an image that was changed."""
    return max(float((one != films.images).mean(axis=(1, 2)).max()) for one in pair)


_seen: dict[bytes, list[float]] = {}  # what a pair of arrays came to: a training takes seconds


def _aucs(pair: Any, judge: Any) -> list[float]:
    key = pair[0].tobytes() + pair[1].tobytes()
    if key not in _seen:
        _seen.clear()
        _seen[key] = judge(*pair)
    return _seen[key]


def _fall(pair: Any, judge: Any) -> float:
    """Return by how much the AUC falls when the mark is swapped."""
    first, second = _aucs(pair, judge)
    return first - second


def _patches(answer: Any) -> Array:
    """Look at one number per patch of each image."""
    value = np.asarray(answer, dtype=float)
    if value.ndim != 3 or value.shape[1] != value.shape[2]:
        raise Problem("Give an array (images, 10, 10): leave the class token out, then `reshape`.")
    return value


def _last(weights: Any, row: bool = True) -> Array:
    """Return what the class token takes from each patch, or what each patch takes from it."""
    given = np.asarray(weights, dtype=float)
    found = given[:, 0, 1:] if row else given[:, 1:, 0]
    side = round(found.shape[1] ** 0.5)
    return found.reshape(-1, side, side)


def _close(one: Array, other: Array) -> bool:
    return bool(one.shape == other.shape and np.allclose(one, other, atol=1e-5))


EXERCISES = (
    Exercise(
        name="05-attention",
        question="How strongly does the class token attend to each patch in the last block?",
        kind=Made("an array (images, 10, 10)", look=_patches),
        expected=lambda maps, weights: _close(maps, _last(weights)),
        right="One block is not the whole network: rollout follows all of them. Neither knows a class.",
        hints=(
            "`weights[:, 0]` is the row of the class token: what it takes from each of 101 tokens.",
            "The first of the 101 is the class token itself: `weights[:, 0, 1:]` leaves it out.",
            "`.reshape(-1, 10, 10)` puts the 100 patches where they lie in the image.",
        ),
        mistakes=(
            Mistake(
                "That is the other way round: what each patch takes from the class token. *To* comes "
                "first.",
                when=lambda value, weights: _close(value, _last(weights, row=False)),
            ),
            Mistake(
                "Rows and columns of the patches are swapped.",
                when=lambda value, weights: _close(
                    np.swapaxes(value, 1, 2), _last(weights)
                ) and not _close(value, _last(weights)),
            ),
            Mistake(
                "These are not the weights of the last block. `weights` holds them, the mean of the "
                "heads.",
                when=lambda value, weights: not _close(value, _last(weights)),
            ),
        ),
    ),
    Exercise(
        name="05-size",
        question="Draw each lesion's share of the image against its share of the map.",
        kind=Made("the axes of your figure", look=_dots),
        expected=lambda drawn, maps, lesions: _match(drawn[0], _wanted(maps, lesions)) and drawn[1],
        right="Dots above the diagonal: the map favours the lesion. How many lie near it?",
        hints=(
            "`lesioned = truth.any(axis=(1, 2))` says which images have a lesion.",
            "A mask is True or False: its mean over rows and columns is the share that it covers.",
            "`(everyone * truth).sum(axis=(1, 2))` is the part of each map's sum inside the lesion. "
            "Divide it by the whole sum.",
        ),
        mistakes=(
            Mistake(
                "Across and up are swapped: the share of the image goes across.",
                when=lambda value, maps, lesions: _match(
                    value[0][:, ::-1], _wanted(maps, lesions)
                ),
            ),
            Mistake(
                "Images without a lesion have no share to draw. Leave them out.",
                when=lambda value, maps, lesions: (
                    len(value[0]) == len(maps) > len(_wanted(maps, lesions))
                ),
            ),
            Mistake(
                "The shares of the image are right. Divide the map's sum inside the lesion by its "
                "sum over the whole image.",
                when=lambda value, maps, lesions: np.allclose(
                    np.sort(value[0][:, 0]), np.sort(_wanted(maps, lesions)[:, 0]), atol=0.003
                ) and not _match(value[0], _wanted(maps, lesions)),
            ),
            Mistake(
                "Name both axes: a share of what?",
                when=lambda value, maps, lesions: _match(value[0], _wanted(maps, lesions)),
            ),
        ),
    ),
    Exercise(
        name="05-break",
        question="Build a shortcut of your own that breaks a model.",
        kind=Made("a list of two arrays: `mine` and `swapped`", look=_pair),
        expected=lambda pair, films, judge: (
            _right_ones(pair, films) and _area(pair, films) <= 0.1 and _fall(pair, judge) >= 0.3
        ),
        right="With your mark the test looks good, and with it swapped the AUC falls by 0.3 or more. "
        "Nothing in the first number shows that: print `judge(mine, swapped)`.",
        hints=(
            "Write a function that takes a list of True and False, and marks those images.",
            "`changed[which, :, :8] = 255` makes the first eight columns of the chosen images white.",
            "Regular patterns with strong edges are easy for a network that was trained on "
            "photographs. Repeat yours along a border.",
        ),
        mistakes=(
            Mistake(
                "In `mine` mark all images with pneumonia and no others, in `swapped` all those "
                "without it and no others.",
                when=lambda value, films: not _right_ones(value, films),
            ),
            Mistake(
                "More than a tenth of an image was changed: a radiologist would mind.",
                when=lambda value, films: _area(value, films) > 0.1,
            ),
            Mistake(
                "The network does not follow your mark enough: with the mark swapped, the AUC falls "
                "by less than 0.3. Make it easier to see: larger, stronger, with more edges.",
                when=lambda value, judge: _fall(value, judge) < 0.3,
            ),
        ),
    ),
)  # fmt: skip

"""Corruptions: that they grow with their strength, by hand, and what they refuse."""

import numpy as np
import pytest

from medimg.augment import corrupt
from medimg.augment.corruptions import STRENGTHS
from medimg.errors import TrainingError


def images(rng, n=24):
    """Images of 20 x 30 with a bright patch, off the centre, in the second half."""
    made = rng.integers(60, 120, (n, 20, 30)).astype(np.uint8)
    made[n // 2 :, 3:8, 20:27] += 90
    return made


@pytest.mark.parametrize("kind", list(STRENGTHS))
def test_corruptions_keep_the_form_and_grow(rng, kind):
    clean = images(rng)
    before = clean.copy()
    change = []
    for strength in STRENGTHS[kind]:
        worse = corrupt(clean, kind, strength)
        assert worse.shape == clean.shape
        assert worse.dtype == np.uint8
        change.append(np.abs(worse.astype(float) - clean).mean())
    assert change == sorted(change)
    assert change[0] < change[-1]
    np.testing.assert_array_equal(clean, before)
    np.testing.assert_array_equal(corrupt(clean, kind, 1.5), corrupt(clean, kind, 1.5))


def test_corruptions_by_hand():
    row = np.array([[[0, 64, 255]]], np.uint8)
    assert corrupt(row, "exposure", 0.5).ravel().tolist() == [
        0,
        round(255 * (64 / 255) ** 0.5),
        255,
    ]
    assert corrupt(row, "contrast", 0.0).ravel().tolist() == [106, 106, 106]
    assert corrupt(row, "exposure", 1.0).ravel().tolist() == [0, 64, 255]
    dot = np.zeros((1, 5, 7), np.uint8)
    dot[0, 2, 5] = 200
    turned = corrupt(dot, "rotation", 90)
    assert np.unravel_index(turned.argmax(), turned.shape) in [(0, 0, 3), (0, 4, 3)]
    noisy = corrupt(np.full((1, 200, 300), 128, np.uint8), "noise", 10)
    assert noisy.std() == pytest.approx(10, rel=0.02)


def test_bad_images_and_kinds_are_refused(rng):
    with pytest.raises(TrainingError, match=r"float64 of shape \(2, 3\); expected uint8"):
        corrupt(np.zeros((2, 3)), "noise", 1)
    with pytest.raises(TrainingError, match="corruption 'fog' is not known"):
        corrupt(images(rng), "fog", 1)

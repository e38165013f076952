"""Sliders: the first figure stands by itself, and each move says the right thing."""

import numpy as np
import pytest

from medimg.errors import ImageReadError, MetricsError
from medimg.metrics import Predictions
from medimg.widgets import threshold_explorer, window_explorer


@pytest.fixture
def shown(monkeypatch):
    said = []
    monkeypatch.setattr("medimg.widgets.show", lambda figure, *, alt: said.append(alt))
    return said


def test_window_explorer_counts_what_it_cuts_off(shown):
    values = np.repeat([[-1000.0, -500.0, 0.0, 1000.0, np.nan]], 7, axis=0)
    box = window_explorer(values, centre=0, width=1000)
    centre, width, picture, words = box.children
    # -500 lies on the lower edge and is black; padding does not count
    expected = "A window from -500 to 500 HU leaves 50 % of the pixels black and 25 % white."
    assert shown == [expected]
    assert words.value == expected
    before = picture.value
    assert bytes(before).startswith(b"\x89PNG")
    width.value = 2400
    assert words.value.startswith("A window from -1200 to 1200 HU leaves 0 %")
    assert picture.value != before
    centre.value = 1000
    assert words.value.startswith("A window from -200 to 2200 HU leaves 50 %")
    assert len(shown) == 1


def test_window_explorer_starts_with_all_values(shown):
    window_explorer(np.arange(12.0).reshape(3, 4), unit="stored value")
    assert "from 0 to 11 stored value" in shown[0]


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.zeros((2, 3, 4)), np.full((3, 4), np.nan)])
def test_window_explorer_refuses(values):
    with pytest.raises(ImageReadError, match=r"have no window to move"):
        window_explorer(values)


def test_threshold_explorer_counts_people(shown):
    scores = [0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.7, 0.9]
    truth = [0, 0, 0, 0, 1, 1, 1, 1]
    predictions = Predictions(list("abcdefgh"), truth, scores, classes=("normal", "pneumonia"))
    box = threshold_explorer(predictions, prevalence=0.2)
    threshold, percent, picture, words = box.children
    # at 0.5: sensitivity 3/4, specificity 3/4; of 1,000 people 200 are ill
    assert "finds 150 and misses 50" in words.value
    assert "alarms 200 of the 800 healthy" in words.value
    assert shown == [words.value]
    before = picture.value
    threshold.value = 0.85
    assert "finds 50 and misses 150" in words.value
    assert "alarms 0 of the 800 healthy" in words.value
    assert picture.value != before
    percent.value = 10
    assert "100 have the disease" in words.value


def test_threshold_explorer_starts_at_the_prevalence_of_the_images(shown):
    predictions = Predictions(list("abcd"), [0, 0, 0, 1], [0.1, 0.2, 0.3, 0.8])
    threshold_explorer(predictions)
    assert "prevalence 25 %" in shown[0]


def test_threshold_explorer_refuses():
    one = Predictions(["a", "b"], [1, 1], [0.2, 0.4])
    with pytest.raises(MetricsError, match=r"images of both classes"):
        threshold_explorer(one)
    three = Predictions(["a", "b"], [1, 2], [[0.2, 0.4, 0.4], [0.2, 0.4, 0.4]])
    with pytest.raises(MetricsError, match=r"one_vs_rest"):
        threshold_explorer(three)

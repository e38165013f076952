"""Sliders: the picture follows each move, says the right thing, and stays without a kernel."""

import re

import numpy as np
import pytest

from medimg import datasets
from medimg import images as medimg_images
from medimg.errors import ImageReadError, MetricsError
from medimg.metrics import Predictions
from medimg.widgets import SURE, reading_study, threshold_explorer, window_explorer


def images(box):
    """Return the pictures of an explorer: each has a text and its own data."""
    return re.findall(r'<img alt="([^"]+)" src="data:image/png;base64,[^"]+"', box.picture.value)


def test_window_explorer_counts_what_it_cuts_off():
    values = np.repeat([[-1000.0, -500.0, 0.0, 1000.0, np.nan]], 7, axis=0)
    box = window_explorer(values, centre=0, width=1000)
    # -500 lies on the lower edge and is black; padding does not count
    expected = "A window from -500 to 500 HU leaves 50 % of the pixels black and 25 % white."
    assert box.sentence == expected
    assert box.words.value == f'<p role="alert">{expected}</p>'
    assert images(box) == [expected]
    before = box.picture.value
    box.fields["width"].value = 2400
    assert box.children[1].children[1].value == 2400  # the slider beside it
    assert box.sentence.startswith("A window from -1200 to 1200 HU leaves 0 %")
    assert box.picture.value != before
    box.children[0].children[1].value = 1000
    assert box.fields["centre"].value == 1000
    assert box.sentence.startswith("A window from -200 to 2200 HU leaves 50 %")


def test_window_explorer_names_the_unit():
    box = window_explorer(np.arange(12.0).reshape(3, 4), centre=5, width=4, unit="stored value")
    assert "from 3 to 7 stored value" in box.sentence


def test_window_explorer_takes_a_slice_of_the_ct_sample():
    table = datasets.load("sample_ct")
    values = medimg_images.read_values(table["path"].iloc[0])
    box = window_explorer(values, centre=40, width=400)
    assert "A window from -160 to 240 HU leaves" in box.words.value
    box.fields["centre"].value, box.fields["width"].value = -600, 1500
    assert "A window from -1350 to 150 HU leaves" in box.words.value


def test_every_control_has_a_name_with_its_unit():
    p = Predictions(list("abcd"), [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8])
    for box, names in (
        (threshold_explorer(p), ["threshold (%)", "prevalence (%)"]),
        (
            window_explorer(np.arange(12.0).reshape(3, 4), centre=5, width=4),
            ["centre (HU)", "width (HU)"],
        ),
    ):
        assert [field.description for field in box.fields.values()] == names
        assert [row.children[0] for row in box.children[:2]] == list(box.fields.values())


def test_an_explorer_shows_its_picture_once_also_without_a_kernel(monkeypatch):
    said = []
    monkeypatch.setattr("IPython.display.publish_display_data", said.append)
    box = threshold_explorer(Predictions(list("abcd"), [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.8]))
    assert said == []
    shown = box._repr_mimebundle_()
    assert shown["text/html"] == box.picture.value  # a live notebook prefers the widget
    assert "application/vnd.jupyter.widget-view+json" in shown
    assert shown["text/plain"] == box.sentence


@pytest.mark.parametrize("values", [np.zeros((3, 4)), np.zeros((2, 3, 4)), np.full((3, 4), np.nan)])
def test_window_explorer_refuses(values):
    with pytest.raises(ImageReadError, match=r"have no window to move"):
        window_explorer(values, centre=0, width=1)


def test_threshold_explorer_counts_people():
    scores = [0.1, 0.2, 0.3, 0.8, 0.4, 0.6, 0.7, 0.9]
    truth = [0, 0, 0, 0, 1, 1, 1, 1]
    predictions = Predictions(list("abcdefgh"), truth, scores, classes=("normal", "<$ill$>"))
    box = threshold_explorer(predictions, prevalence=0.2)
    # at 0.5: sensitivity 3/4, specificity 3/4; of 1,000 people 200 are ill
    assert box.sentence.startswith("Threshold 50 %, prevalence 20 %: ")
    assert "finds 150 and misses 50" in box.words.value
    assert "flags 200 of the 800 others" in box.words.value
    before = box.picture.value
    box.fields["threshold"].value = 85
    assert "finds 50 and misses 150" in box.words.value
    assert "flags 0 of the 800 others" in box.words.value
    assert box.picture.value != before
    box.fields["prevalence"].value = 10
    assert "100 have the disease" in box.words.value


def test_threshold_explorer_starts_at_the_prevalence_of_the_images():
    predictions = Predictions(list("abcd"), [0, 0, 0, 1], [0.1, 0.2, 0.3, 0.8])
    assert "prevalence 25 %" in threshold_explorer(predictions).words.value


def test_threshold_explorer_refuses():
    one = Predictions(["a", "b"], [1, 1], [0.2, 0.4])
    with pytest.raises(MetricsError, match=r"images of both classes"):
        threshold_explorer(one)
    three = Predictions(["a", "b"], [1, 2], [[0.2, 0.4, 0.4], [0.2, 0.4, 0.4]])
    with pytest.raises(MetricsError, match=r"one_vs_rest"):
        threshold_explorer(three)


NETWORK = Predictions(
    [f"x{k}" for k in range(12)], [0, 1] * 6,
    [0.1, 0.9, 0.2, 0.8, 0.7, 0.6, 0.3, 0.4, 0.1, 0.9, 0.2, 0.7],
    [f"p{k // 2}" for k in range(12)], ("normal", "<$flu$>"),
)  # fmt: skip
# wrong on x4 (a false alarm) and x7 (missed)
SCANS = np.random.default_rng(1).integers(0, 256, (12, 20, 30), dtype=np.uint8)


def study(count=12):
    return reading_study(SCANS, NETWORK, count=count, rng=np.random.default_rng(0))


def read(box, alone, helped):
    """Answer both rounds; `alone` and `helped` give the confidence (1 to 5) of an image."""
    names = [*box.network.ids, *box.network.ids[::-1]]
    for k, name in enumerate(names):
        chosen = (alone if k < len(box.network) else helped)(name)
        box.buttons[chosen - 1].click()


def test_a_reading_study_asks_twice_and_shows_the_score_in_the_second_round_only():
    box = study()
    assert sorted(box.network.ids) == sorted(NETWORK.ids)
    assert [button.description for button in box.buttons] == list(SURE)
    assert "Image 1 of 12: do you see &lt;$flu$&gt;?" in box.words.value
    for _ in range(12):
        assert "score" not in box.sentence
        assert images(box)
        box.buttons[2].click()
    assert box.sentence.startswith("Image 1 of 12")
    assert box.sentence.endswith(f"The network's score is {box.network.y_score[-1]:.2f}.")
    assert not any(button.disabled for button in box.buttons)


def test_a_reading_study_counts_who_followed_whom():
    box = study()
    truth = dict(zip(NETWORK.ids, NETWORK.y_true, strict=True))
    network = dict(zip(NETWORK.ids, NETWORK.predicted(0.5), strict=True))
    mine = truth | {"x0": 1, "x2": 1}  # alone, two false alarms of one's own
    read(box, lambda name: 5 if mine[name] else 1, lambda name: 4 if network[name] else 2)
    assert all(button.disabled for button in box.buttons)
    assert "it was wrong and you, alone, were right: 2; you followed it on 2." in box.sentence
    assert "it was right and you were wrong: 2; you followed it on 2." in box.sentence
    # alone: 8 of 12 agree; the network calls 6 positive, the reader 8
    chance = (6 * 8 + 6 * 4) / 144
    assert f"alone {(8 / 12 - chance) / (1 - chance):.2f} (" in box.sentence
    assert "with its score 1.00 (no interval: every bootstrap sample" in box.sentence
    assert "not defined" not in box.sentence


def test_a_reader_who_ignores_the_network_is_not_led_astray():
    box = study()
    truth = dict(zip(NETWORK.ids, NETWORK.y_true, strict=True))
    read(box, lambda name: 5 if truth[name] else 1, lambda name: 5 if truth[name] else 1)
    assert "were right: 2; you followed it on 0." in box.sentence


def test_a_reading_study_takes_as_many_of_each_class_and_is_a_sheet_on_a_page():
    box = study(count=6)
    assert sorted(box.network.y_true) == [0, 0, 0, 1, 1, 1]
    page = box._repr_mimebundle_()["text/html"]
    assert 'alt="6 images to read, numbered."' in page
    listed = re.findall(r"<li>(.*?); the network&#x27;s score|<li>(.*?); the network's score", page)
    assert [a or b for a, b in listed] == [
        {0: "normal", 1: "&lt;$flu$&gt;"}[label] for label in box.network.y_true
    ]


@pytest.mark.parametrize(
    ("scans", "network"),
    [(SCANS[:3], NETWORK), (SCANS[:2], NETWORK.subset([0, 2])),
     (SCANS[:2], Predictions("ab", [0, 1], [[0.2, 0.4, 0.4], [0.2, 0.4, 0.4]]))],
)  # fmt: skip
def test_a_reading_study_refuses(scans, network):
    with pytest.raises(MetricsError, match=r"one image per prediction"):
        reading_study(scans, network, rng=np.random.default_rng(0))

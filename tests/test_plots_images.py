"""Figures of images: what is drawn, and what a notebook gets."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from medimg import plots


def test_plot_image_keeps_the_grey_levels(rng):
    for image, top in ((rng.random((5, 7)), 1), (np.zeros((5, 7), np.uint8), 255)):
        drawn = plots.plot_image(image).images[0]
        assert drawn.get_clim() == (0, top)
        assert drawn.get_array().shape == (5, 7)


def test_plot_grid_leaves_empty_places_empty(rng):
    figure = plots.plot_grid(rng.random((7, 4, 5)), titles=list("abcdefg"), columns=3)
    assert [len(ax.images) for ax in figure.axes] == [1] * 7 + [0, 0]
    assert figure.axes[6].get_title() == "g"


def test_plot_histogram_counts_finite_values():
    ax = plots.plot_histogram(np.array([[0.0, 1.0, np.nan]]), unit="HU", bins=2, label="lung")
    assert ax.get_xlabel() == "pixel value (HU)"
    assert ax.dataLim.height == 1


def test_plot_split_stacks_the_classes():
    ax = plots.plot_split(
        np.array([[40, 30], [9, 6]]), splits=["train", "test"], classes=["normal", "pneumonia"]
    )
    assert [bar.get_x() for bar in ax.patches] == [0, 0, 40, 9]
    assert [bar.get_width() for bar in ax.patches] == [40, 9, 30, 6]


def test_show_publishes_a_small_picture_with_its_text(monkeypatch):
    published = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, metadata: published.append(
            (data, metadata)
        ),
    )  # fmt: skip
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3])
    plots.show(figure, alt="The line rises.", colours=8)
    ((data, metadata),) = published
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.mode == "P"
    assert len(picture.getcolors()) <= 8
    assert data["text/plain"] == "The line rises."
    assert metadata == {"image/png": {"alt": "The line rises."}}
    assert not plt.fignum_exists(figure.number)


def test_show_needs_the_finding():
    with pytest.raises(TypeError, match="alt"):
        plots.show(plt.figure())

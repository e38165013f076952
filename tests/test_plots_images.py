"""Figures of images: what is drawn, and what a notebook gets."""

import base64
import io
from xml.etree import ElementTree

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


@pytest.fixture
def published(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.publish_display_data", found.append)
    return found


def _line():
    figure, ax = plt.subplots()
    ax.plot([1, 2, 3])
    return figure


@pytest.mark.parametrize(
    "alt", ["The line rises.", 'Of 5 < 6 & "7" it\'s $more$.', "é Δ ≥ \u202e", "odd \udcff byte"]
)
def test_show_publishes_a_small_picture_whose_text_reaches_readers(published, alt):
    figure = _line()
    plots.show(figure, alt=alt, colours=8)
    ((data,),) = [published]
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/plain"] == alt
    (tag,) = ElementTree.fromstring(f"<p>{data['text/html'].replace('>', '/>')}</p>")
    assert tag.tag == "img"
    assert tag.get("alt") == alt.replace("\udcff", r"\udcff")
    kind, _, code = tag.get("src").partition(",")
    assert kind == "data:image/png;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(code)))
    assert picture.mode == "P"
    assert len(picture.getcolors()) <= 8
    assert int(tag.get("width")) == picture.width
    assert "max-width: 100%" in tag.get("style")
    assert not plt.fignum_exists(figure.number)


def test_the_same_figure_gives_the_same_bytes(published):
    for _ in range(2):
        plots.show(_line(), alt="The line rises.")
    assert published[0] == published[1]


def test_a_title_is_no_formula(rng):
    figure = plots.plot_grid(rng.random((2, 4, 5)), titles=["$x$", "$\\bad$"], columns=2)
    figure.canvas.draw()
    assert figure.axes[0].get_title() == r"\$x\$"


def test_plot_image_shows_colour(rng):
    assert plots.plot_image(rng.random((5, 7, 3))).images[0].get_array().shape == (5, 7, 3)


def test_show_needs_the_finding():
    with pytest.raises(TypeError, match="alt"):
        plots.show(plt.figure())

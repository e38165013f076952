"""What the figures of explanations draw."""

import numpy as np
import pytest

from medimg.plots import plot_map, plot_map_grid

H, W = 12, 20


@pytest.fixture
def film(rng) -> np.ndarray:
    return rng.integers(0, 256, (H, W), dtype=np.uint8)


@pytest.fixture
def heat() -> np.ndarray:
    heat = np.zeros((H, W), np.float32)
    heat[2:6, 3:9] = 1
    return heat


def test_map_is_opaque_where_it_is_strong_and_clear_where_it_is_not(film, heat):
    ax = plot_map(film, heat)
    over = ax.images[1].get_array()
    assert over.shape == (H, W, 4)
    np.testing.assert_allclose(over[3, 4, 3], 0.75)
    assert over[10, 15, 3] == 0
    assert ax.images[0].get_clim() == (0, 255)


def test_strength_is_lightness(film):
    ramp = np.tile(np.linspace(0, 1, W, dtype=np.float32), (H, 1))
    red, green, blue = np.moveaxis(np.asarray(plot_map(film, ramp).images[1].get_array()), -1, 0)[
        :3
    ]
    lightness = 0.2126 * red[0] ** 2.2 + 0.7152 * green[0] ** 2.2 + 0.0722 * blue[0] ** 2.2
    assert (np.diff(lightness) > 0).all()


def test_lesion_outline_lies_on_the_lesion(film, heat):
    mask = np.zeros((H, W), bool)
    mask[7:10, 12:18] = True
    ax = plot_map(film, heat, mask=mask)
    outline = ax.collections[-1].get_paths()[0].vertices
    np.testing.assert_allclose([outline.min(0), outline.max(0)], [[11.5, 6.5], [17.5, 9.5]])
    (legend,) = plot_map_grid(film[None], {"cam": heat[None]}, masks=mask[None]).legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["map at half its height (white)", "true lesion"]


def test_empty_map_and_empty_mask_are_just_the_film(film):
    ax = plot_map(film, np.zeros((H, W)), mask=np.zeros((H, W), bool))
    assert not ax.collections


def test_float_images_span_zero_to_one(film):
    assert plot_map(film / 255).images[0].get_clim() == (0, 1)


def test_wrong_shapes(film, heat):
    with pytest.raises(ValueError, match=r"the map is \(20, 12\) and the image \(12, 20\)"):
        plot_map(film, heat.T)
    with pytest.raises(ValueError, match=r"the mask is"):
        plot_map(film, heat, mask=np.zeros((2, 2), bool))


def test_grid_has_a_row_an_image_and_a_column_a_method(film, heat):
    maps = {"Grad-CAM": np.stack([heat] * 3), "edges": np.stack([heat] * 3)}
    figure = plot_map_grid(np.stack([film] * 3), maps, titles=["a", "b", "c"])
    assert len(figure.axes) == 9
    assert [ax.get_title() for ax in figure.axes[:3]] == ["image", "Grad-CAM", "edges"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["map at half its height (white)"]
    masked = plot_map_grid(np.stack([film]), {}, masks=np.ones((1, H, W), bool))
    assert [text.get_text() for text in masked.legends[0].get_texts()] == ["true lesion"]
    assert masked.axes[0].get_title() == "image, true lesion"


def test_the_explained_class_is_named(film, heat):
    assert plot_map(film, heat, title="a.png", target="ill").get_title() == (
        "a.png\nmap for the class ill"
    )
    assert plot_map(film, heat, target="$x$").get_title() == r"map for the class \$x\$"
    grid = plot_map_grid(film[None], {"Grad-CAM": heat[None]}, target="ill")
    assert grid.get_suptitle() == "maps for the class ill"


def test_a_map_lies_over_a_colour_image(film, heat):
    ax = plot_map(np.dstack([film] * 3), heat)
    assert ax.images[0].get_array().shape == (H, W, 3)
    assert ax.images[1].get_array().shape == (H, W, 4)

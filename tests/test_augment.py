"""Each change of a batch against a result that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from medimg.augment import (
    Augment,
    apply,
    augment,
    check_images,
    draw_parameters,
    equalized,
    fixed_view,
)
from medimg.errors import TrainingError


def seed(number=0):
    return torch.Generator().manual_seed(number)


@pytest.fixture
def batch(rng):
    return torch.from_numpy(rng.random((3, 1, 12, 20), dtype=np.float32))


def only(**settings):
    return replace(Augment.none(), **settings)


def test_none_returns_the_very_values(batch):
    assert torch.equal(augment(batch, Augment.none(), generator=seed()), batch)


def test_same_seed_same_batch_and_range_is_kept(batch):
    first = augment(batch, Augment.strong(), generator=seed(1))
    assert torch.equal(first, augment(batch, Augment.strong(), generator=seed(1)))
    assert not torch.equal(first, augment(batch, Augment.strong(), generator=seed(2)))
    assert first.shape == batch.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_flip_mirrors_columns(batch):
    flipped = augment(batch, only(flip=1.0), generator=seed())
    torch.testing.assert_close(flipped, batch.flip(-1), atol=1e-5, rtol=0)


def test_half_turn_turns_both_axes(batch):
    turned = apply(batch, fixed_view(3, degrees=180))
    torch.testing.assert_close(turned, batch.flip(-1).flip(-2), atol=1e-5, rtol=0)


def test_quarter_turn_keeps_pixels_square():
    image = torch.zeros(1, 1, 11, 21)
    image[0, 0, 5, 14] = 1.0  # four pixels right of the centre
    turned = apply(image, fixed_view(1, degrees=90))
    place = divmod(int(turned.argmax()), 21)
    assert turned.max().item() == pytest.approx(1.0, abs=1e-4)
    assert place in {(1, 10), (9, 10)}  # four pixels above or below it


def test_zoom_two_shows_the_middle_half():
    ramp = torch.linspace(0, 1, 16).expand(1, 1, 8, 16).contiguous()
    zoomed = apply(ramp, fixed_view(1, zoom=2.0))
    step = 1 / 15
    assert zoomed[0, 0, 4, 8].item() == pytest.approx(0.5 + 0.25 * step, abs=1e-5)
    assert (zoomed[0, 0, 4, 9] - zoomed[0, 0, 4, 8]).item() == pytest.approx(step / 2, abs=1e-5)


def test_brightness_and_contrast_by_hand():
    flat = torch.full((1, 1, 4, 5), 0.6)
    draw = draw_parameters(1, Augment.none(), generator=seed())
    changed = apply(flat, replace(draw, slope=torch.tensor([1.5]), offset=torch.tensor([0.1])))
    torch.testing.assert_close(changed, torch.full_like(flat, 0.1 * 1.5 + 0.5 + 0.1))


def test_gamma_by_hand():
    flat = torch.full((1, 1, 4, 5), 0.5)
    draw = draw_parameters(1, Augment.none(), generator=seed())
    changed = apply(flat, replace(draw, exponent=torch.tensor([2.0])))
    torch.testing.assert_close(changed, torch.full_like(flat, 0.25))


def test_blur_is_a_gaussian_of_that_width(rng):
    image = torch.from_numpy(rng.random((2, 1, 24, 30), dtype=np.float32))
    draw = replace(
        draw_parameters(2, Augment.none(), generator=seed()), blur=torch.tensor([0.0, 1.3])
    )
    blurred = apply(image, draw)
    assert torch.equal(blurred[0], image[0])
    expected = ndimage.gaussian_filter(image[1, 0].numpy(), 1.3, mode="mirror", radius=4)
    np.testing.assert_allclose(blurred[1, 0].numpy(), expected, atol=1e-5)


def test_stretch_keeps_the_area_and_moves_points_apart():
    draw = draw_parameters(200, only(stretch=0.6), generator=seed())
    across, down = draw.matrix[:, 0, 0], draw.matrix[:, 1, 1]
    torch.testing.assert_close(across * down, torch.ones(200))
    ratio = torch.log(across / down)  # of height over width as they are seen
    assert 0.55 < ratio.abs().max() <= 0.6
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, :, 4], image[0, 0, 4, :] = 1.0, 1.0
    taller = replace(fixed_view(1), matrix=torch.tensor([[[2.0, 0, 0], [0, 0.5, 0]]]))
    seen = apply(image, taller)[0, 0]
    column, row = seen.sum(dim=0).argmax(), seen.sum(dim=1)[:16].argmax()
    assert column in (9, 10)  # twice as near to the centre, at 15.5
    assert row == 0  # twice as far from it: out of the film


def test_sharpen_adds_what_a_blur_takes_away(rng):
    image = torch.from_numpy(rng.random((1, 1, 24, 30), dtype=np.float32)) * 0.2 + 0.4
    sharp = apply(image, replace(fixed_view(1), sharpen=torch.tensor([1.5])))
    soft = ndimage.gaussian_filter(image[0, 0].numpy(), 1.0, truncate=3, mode="mirror")
    expected = image[0, 0].numpy() + 1.5 * (image[0, 0].numpy() - soft)
    np.testing.assert_allclose(sharp[0, 0].numpy(), expected, atol=1e-4)


def test_new_changes_leave_the_draws_of_old_settings_alone():
    old = draw_parameters(3, Augment.strong(), generator=seed(2))
    new = draw_parameters(3, replace(Augment.strong(), stretch=0.3, sharpen=1.0), generator=seed(2))
    assert torch.equal(old.noise, new.noise)
    assert old.seed == new.seed
    assert not torch.equal(old.matrix, new.matrix)


def test_blur_wider_than_the_image_is_left_out():
    tiny = torch.rand(1, 1, 3, 3, generator=seed())
    draw = replace(draw_parameters(1, Augment.none(), generator=seed()), blur=torch.tensor([2.0]))
    assert torch.equal(apply(tiny, draw), tiny)


def test_noise_has_the_drawn_deviation():
    flat = torch.full((1, 1, 200, 250), 0.5)
    draw = replace(draw_parameters(1, Augment.none(), generator=seed()), noise=torch.tensor([0.05]))
    noisy = apply(flat, draw)
    assert float(noisy.std()) == pytest.approx(0.05, rel=0.02)
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.001)


def test_border_blanks_the_drawn_strips():
    flat = torch.ones(1, 1, 11, 21)
    draw = draw_parameters(1, Augment.none(), generator=seed())
    blanked = apply(flat, replace(draw, border=torch.tensor([[0.25, 0.0, 0.0, 0.1]])))
    expected = torch.ones(11, 21)
    expected[:3] = 0  # rows at 0, 0.1, 0.2
    expected[:, 19:] = 0  # columns at 0.95 and 1
    assert torch.equal(blanked[0, 0], expected)


def test_equalized_ranks_match_the_empirical_distribution(rng):
    levels = rng.integers(0, 256, (2, 1, 9, 7))
    ranks = equalized(torch.from_numpy(levels.astype(np.float32) / 255))
    for image, found in zip(levels, ranks.numpy(), strict=True):
        expected = (image.ravel()[:, None] >= image.ravel()[None, :]).mean(axis=1)
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)


def test_equalize_blends_between_the_two(batch):
    draw = replace(
        draw_parameters(3, Augment.none(), generator=seed()), blend=torch.tensor([0.0, 0.5, 1.0])
    )
    mixed = apply(batch, draw)
    assert torch.equal(mixed[0], batch[0])
    torch.testing.assert_close(mixed[1], (batch[1] + equalized(batch[1:2])[0]) / 2)
    torch.testing.assert_close(mixed[2], equalized(batch[2:3])[0])


def test_part_of_a_draw_changes_its_images_alike(batch):
    settings = replace(Augment.strong(), noise=0.0)
    draw = draw_parameters(3, settings, generator=seed(4))
    whole = apply(batch, draw)
    torch.testing.assert_close(apply(batch[1:3], draw.part(1, 3)), whole[1:3], atol=1e-6, rtol=0)


def test_drawn_numbers_stay_inside_the_settings():
    draw = draw_parameters(500, Augment(zoom=(0.8, 1.25), flip=0.5, contrast=0.3), generator=seed())
    determinant = torch.linalg.det(draw.matrix[:, :, :2]).abs()
    assert determinant.min() >= 1 / 1.25**2 - 1e-5
    assert determinant.max() <= 1 / 0.8**2 + 1e-5
    assert (draw.slope - 1).abs().max() <= 0.3
    mirrored = (torch.linalg.det(draw.matrix[:, :, :2]) < 0).float().mean()
    assert 0.4 < mirrored < 0.6


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"zoom": (1.2, 0.8)}, "zoom"),
        ({"rotate": -1}, "rotate"),
        ({"flip": 1.5}, "probability"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"zoom": (0.5, float("inf"))}, "zoom"),
    ],
)
def test_settings_refuse_impossible_values(wrong, says):
    with pytest.raises(TrainingError, match=says):
        Augment(**wrong)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        torch.zeros(2, 4, 4),
        torch.zeros(2, 4, 5, 3),  # channels last
        torch.zeros(2, 2, 4, 5),
    ],
)
def test_another_type_or_shape_is_refused(bad):
    with pytest.raises(TrainingError, match="float batch"):
        augment(bad, Augment(), generator=seed())


def test_grey_in_three_channels_is_changed_as_in_one(batch):
    settings = replace(Augment.strong(), noise=0.0, equalize=1.0)
    drawn = draw_parameters(3, settings, generator=seed(5))
    blur, sharpen = torch.tensor([0.0, 0.7, 1.2]), torch.tensor([1.0, 0.0, 0.5])
    drawn = replace(drawn, blur=blur, sharpen=sharpen)
    colour = apply(batch.expand(-1, 3, -1, -1), drawn)
    torch.testing.assert_close(colour, apply(batch, drawn).expand(-1, 3, -1, -1))


def test_colours_are_moved_together_and_stay_apart(rng):
    colour = torch.from_numpy(rng.random((2, 3, 12, 20), dtype=np.float32))
    drawn = draw_parameters(2, only(rotate=20, blur=1.0, contrast=0.4), generator=seed(1))
    changed = apply(colour, replace(drawn, blur=torch.tensor([0.8, 1.1])))
    for channel in range(3):  # these changes do not mix channels
        alone = apply(colour[:, [channel]], replace(drawn, blur=torch.tensor([0.8, 1.1])))
        torch.testing.assert_close(changed[:, [channel]], alone)
    noisy = apply(colour * 0 + 0.5, replace(fixed_view(2), noise=torch.tensor([0.1, 0.1])))
    assert not torch.equal(noisy[:, 0], noisy[:, 1])  # noise is of each sensor element


def test_equalizing_keeps_the_order_of_the_channels(rng):
    colour = torch.from_numpy(rng.integers(0, 256, (1, 3, 9, 7)).astype(np.float32)) / 255
    levels, ranks = colour.flatten(), equalized(colour).flatten()
    order = levels.argsort()
    assert (ranks[order].diff() >= 0).all()  # one rising curve for all three: no change of hue


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((2, 3)), r"float64 of shape \(2, 3\); expected uint8"),
        (np.zeros((2, 3, 4)), r"float64 of shape \(2, 3, 4\)"),
        (np.zeros((2, 3, 4, 1), np.uint8), r"shape \(2, 3, 4, 1\)"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"expected uint8 \(N, H, W\) or \(N, H, W, 3\)"),
        (np.zeros((2, 0, 4), np.uint8), r"shape \(2, 0, 4\)"),
    ],
)
def test_bad_images_are_refused(images, says):
    with pytest.raises(TrainingError, match=says):
        check_images(images)

"""Tests of maps, on maps and masks whose answers are known by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.stats import spearmanr
from statsmodels.stats.proportion import proportion_confint
from torch import nn

from medimg.errors import MetricsError, ModelError, TrainingError
from medimg.explain import (
    agreement,
    cascade_randomisation,
    compare_methods,
    energy_inside,
    iou_at_matched_area,
    plant_marker,
    pointing_game,
    randomise_weights,
    road,
)
from medimg.explain.sanity import baseline_maps, weight_groups

H, W = 10, 15


@pytest.fixture
def masks() -> np.ndarray:
    """Three lesions of 6, 10 and 0 pixels: the last image is healthy."""
    masks = np.zeros((3, H, W), bool)
    masks[0, 2:4, 5:8] = True
    masks[1, 7:9, 1:6] = True
    return masks


def test_pointing_game_counts_hits(masks):
    maps = np.zeros((3, H, W))
    maps[0, 3, 7] = 0.3  # inside
    maps[1, 6, 1] = 0.9  # one row above the lesion
    result = pointing_game(maps, masks)
    np.testing.assert_array_equal(result.per_image, [1, 0])
    assert result.chance == pytest.approx((6 + 10) / 2 / 150)
    low, high = proportion_confint(1, 2, method="wilson")
    assert (result.estimate.value, result.estimate.low, result.estimate.high) == pytest.approx(
        (0.5, low, high)
    )


def test_even_map_gets_chance_in_every_test(masks):
    for level in (0.0, 0.7):
        even = np.full((3, H, W), level)
        for test in (pointing_game, iou_at_matched_area, energy_inside):
            if test is iou_at_matched_area:
                # the expected overlap is area^2 / pixels
                areas = np.array([6, 10])
                expected = areas**2 / 150 / (2 * areas - areas**2 / 150)
            else:
                expected = np.array([6, 10]) / 150
            result = test(even, masks)
            np.testing.assert_allclose(result.per_image, expected, rtol=1e-12)
            assert result.estimate.value == pytest.approx(result.chance, rel=1e-12)


def test_the_mask_itself_is_the_best_map(masks):
    for test in (pointing_game, iou_at_matched_area, energy_inside):
        np.testing.assert_array_equal(test(masks.astype(float), masks).per_image, [1, 1])


def test_ties_for_the_strongest_place_count_in_part(masks):
    maps = np.zeros((3, H, W))
    maps[0, 3, 6:10] = 1  # two of four inside
    maps[1, 7, 5] = 1
    np.testing.assert_array_equal(pointing_game(maps, masks).per_image, [0.5, 1])


def test_iou_at_matched_area_by_hand(masks, rng):
    maps = rng.random((3, H, W))
    expected = []
    for heat, mask in zip(maps[:2], masks[:2], strict=True):
        order = np.argsort(-heat.ravel())[: mask.sum()]
        cut = np.zeros(heat.size, bool)
        cut[order] = True
        both = (cut & mask.ravel()).sum()
        expected.append(both / (cut | mask.ravel()).sum())
    np.testing.assert_allclose(iou_at_matched_area(maps, masks).per_image, expected)


def test_iou_does_not_depend_on_the_scale_of_the_map(masks, rng):
    maps = rng.random((3, H, W))
    a = iou_at_matched_area(maps, masks).per_image
    np.testing.assert_array_equal(a, iou_at_matched_area(maps**5, masks).per_image)


def test_energy_by_hand(masks):
    maps = np.zeros((3, H, W))
    maps[0, 2, 5], maps[0, 0, 0] = 3, 1
    maps[1, 0, 0] = 2
    np.testing.assert_array_equal(energy_inside(maps, masks).per_image, [0.75, 0])


def test_intervals_are_by_patient():
    masks = np.zeros((8, 2, 3), bool)
    masks[:, 0, 0] = True
    maps = np.zeros((8, 2, 3))
    maps[:4, 0, 0] = maps[4:, 1, 1] = 1
    alone = pointing_game(maps, masks).estimate
    twins = pointing_game(maps, masks, patient_ids=list("aabbccdd")).estimate
    assert alone.value == twins.value == 0.5
    assert twins.high - twins.low > alone.high - alone.low
    wide = energy_inside(maps, masks, patient_ids=list("aaaabbbb")).estimate
    assert (wide.low, wide.high) == (0, 1)


def test_random_maps_point_at_chance(rng):
    n = 4000
    masks = np.zeros((n, 6, 9), bool)
    masks[:, 1:4, 2:5] = True
    result = pointing_game(rng.random((n, 6, 9)), masks)
    assert result.estimate.low < 9 / 54 < result.estimate.high


@pytest.mark.parametrize("test", [pointing_game, iou_at_matched_area, energy_inside])
def test_bad_maps(test, masks):
    maps = np.zeros((3, H, W))
    with pytest.raises(MetricsError, match=r"both must be \(N, H, W\)"):
        test(maps[:2], masks)
    with pytest.raises(MetricsError, match=r"masks bool"):
        test(maps, masks.astype(int))
    with pytest.raises(MetricsError, match=r"No mask shows a lesion"):
        test(maps[2:], masks[2:])
    maps[1, 0, 0] = np.nan
    with pytest.raises(MetricsError, match=r"map 1 has a value that is not finite"):
        test(maps, masks)
    with pytest.raises(MetricsError, match="patient_id has 2 rows for 3 images"):
        test(np.zeros((3, H, W)), masks, patient_ids=["a", "b"])
    with pytest.raises(MetricsError, match=r"row 1 .*its patient_id is missing"):
        test(np.zeros((3, H, W)), masks, patient_ids=["a", np.nan, None])


def test_energy_refuses_negative_maps(masks):
    with pytest.raises(MetricsError, match=r"value -1"):
        energy_inside(np.full((3, H, W), -1.0), masks)


class Corner(nn.Module):
    """P(sick) rises with the brightness of the lower right quarter, and of nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        odds = self.gain * (x[:, 0, 12:, 16:].mean((1, 2)) - 0.5)
        return torch.stack([-odds / 2, odds / 2], 1)


def corner_films(n: int, rng: np.random.Generator) -> np.ndarray:
    films = rng.integers(60, 80, (n, 24, 32)).astype(np.uint8)
    films[:, 13:23, 17:31] = 240
    return films


def test_road_rewards_the_true_map_and_punishes_its_opposite(rng):
    films = corner_films(3, rng)
    true = np.zeros(films.shape, np.float32)
    true[:, 12:, 16:] = 1
    good = road(Corner(), films, true, target=1)
    bad = road(Corner(), films, 1 - true, target=1)
    even = road(Corner(), films, np.zeros_like(true), target=1)
    assert good.estimate.value > 0.2
    assert bad.estimate.value < -0.2
    assert abs(even.estimate.value) < 0.05
    assert good.per_image.shape == (3,)
    # about class 0 the same removals say the opposite
    other = road(Corner(), films, true, target=0)
    np.testing.assert_allclose(other.per_image, -good.per_image, atol=1e-6)


def test_road_by_hand(rng):
    """Half the mean difference of the probability when the least and the most important go."""
    films = corner_films(1, rng)
    heat = rng.random((1, 24, 32)).astype(np.float32)
    found = road(Corner(), films, heat, target=1, seed=3)
    rank = heat[0].ravel().argsort().argsort().reshape(24, 32) / heat[0].size
    fill, net, image = NoisyLinearImputer(), Corner(), torch.from_numpy(films[0] / np.float32(255))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        kept = [rank < 1 - f for f in (0.1, 0.3, 0.5)] + [rank >= f for f in (0.1, 0.3, 0.5)]
        p = [net(fill(image[None], torch.from_numpy(k.astype("f4")))[None]).softmax(1)[0, 1]
             for k in kept]  # fmt: skip
    assert found.per_image[0] == pytest.approx(float(sum(p[3:]) - sum(p[:3])) / 6, abs=1e-5)


def test_road_fills_each_channel_from_its_own_neighbours(rng):
    class Red(Corner):
        def forward(self, x):
            return super().forward(x[:, :1])

    films = corner_films(2, rng)
    colour = np.stack([films, 255 - films, films // 2], axis=-1)
    true = np.zeros(films.shape, np.float32)
    true[:, 12:, 16:] = 1
    grey = road(Corner(), films, true, target=1)
    np.testing.assert_allclose(road(Red(), colour, true, target=1).per_image, grey.per_image,
                               atol=0.02)  # fmt: skip


def test_road_is_repeatable_and_leaves_the_global_seed_alone(rng):
    films, maps = corner_films(2, rng), rng.random((2, 24, 32)).astype(np.float32)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a = road(Corner(), films, maps, target=1)
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(a.per_image, road(Corner(), films, maps, target=1).per_image)


def test_road_leaves_the_network_as_it_was_after_an_error(rng):
    net = small_net().train()
    net[2].eval()
    net[6].bias.requires_grad_(False)
    films = corner_films(2, rng)
    with pytest.raises(ModelError, match="target 5 is not a class"):
        road(net, films, np.zeros(films.shape, np.float32), target=5)
    assert [m.training for m in net] == [True, True, False, True, True, True, True]
    assert [p.requires_grad for p in net.parameters()] == [True] * 5 + [False]


def test_road_refuses(rng):
    films = corner_films(2, rng)
    with pytest.raises(MetricsError, match=r"do not belong to images"):
        road(Corner(), films, np.zeros((2, 4, 4), np.float32), target=1)
    with pytest.raises(TrainingError, match=r"expected uint8"):
        road(Corner(), films / 255, np.zeros(films.shape, np.float32), target=1)


def test_agreement_is_spearman(rng):
    a, b = rng.integers(0, 5, (2, 3, 7, 4)).astype(float)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(agreement(a, b).per_image, expected, rtol=1e-12)


def test_agreement_with_an_even_map_is_zero(rng):
    even = np.zeros((2, 3, 4))
    np.testing.assert_array_equal(agreement(rng.random((2, 3, 4)), even).per_image, 0)
    with pytest.raises(MetricsError, match=r"alike"):
        agreement(np.zeros((1, 2, 3)), np.zeros((1, 3, 2)))


def small_net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 2),
        )


def test_weight_groups_go_from_the_output_down():
    net = small_net()
    assert weight_groups(net, 3) == weight_groups(net, 9) == [["6"], ["2"], ["0"]]
    assert weight_groups(net, 2) == weight_groups(net, 1) == [["6"], ["2", "0"]]
    assert weight_groups(nn.Linear(2, 2), 3) == [[""]]


def test_randomise_weights_keeps_the_original_and_the_values():
    net = small_net()
    before = [p.clone() for p in net.parameters()]
    other = randomise_weights(net, modules=["2"], seed=1)
    for a, b in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(other[0].weight, net[0].weight)
    assert not torch.equal(other[2].weight, net[2].weight)
    torch.testing.assert_close(
        other[2].weight.flatten().sort().values, net[2].weight.flatten().sort().values
    )
    again = randomise_weights(net, modules=["2"], seed=1)
    torch.testing.assert_close(again[2].weight, other[2].weight)


def test_cascade_starts_whole_and_ends_random(rng, monkeypatch):
    net = small_net()
    films = rng.integers(0, 256, (3, 12, 16), dtype=np.uint8)
    masks = np.zeros((3, 12, 16), bool)
    masks[:, 4:8, 5:9] = True
    monkeypatch.setattr("medimg.explain.maps._layer_of", lambda model: model[3])
    table = cascade_randomisation(net, films, masks=masks, target=1, groups=3)
    assert table["down_to"].tolist() == ["", "6", "2", "0"]
    assert table["agreement"][0].value == pytest.approx(1)
    assert table["agreement"][3].value < 0.9
    assert set(table) == {"down_to", "agreement", "pointing"}


def test_compare_methods_asks_about_a_class_by_name_or_one_per_image(rng):
    net, films = small_net(), rng.integers(0, 256, (4, 12, 16), dtype=np.uint8)
    net.classes = ("normal", "pneumonia")
    masks = np.zeros((4, 12, 16), bool)
    masks[1:, 4:8, 5:9] = True
    settings = {"methods": ["occlusion"], "patient_ids": list("abcd")}
    for given, same in (
        ("pneumonia", 1),
        (["normal", "pneumonia", "normal", "normal"], [9, 1, 0, 0]),
    ):
        pd.testing.assert_frame_equal(
            compare_methods(net, films, masks, target=given, **settings),
            compare_methods(net, films, masks, target=same, **settings),
        )  # the first film has no lesion, so its class is not asked


def test_compare_methods_is_one_row_a_method_and_test(rng, monkeypatch):
    monkeypatch.setattr("medimg.explain.maps._layer_of", lambda model: model[3])
    films = rng.integers(0, 256, (4, 12, 16), dtype=np.uint8)
    masks = np.zeros((4, 12, 16), bool)
    masks[1:, 4:8, 5:9] = True
    table = compare_methods(small_net(), films, masks, target=1, methods=["gradcam", "layercam"])
    assert isinstance(table, pd.DataFrame)
    counts = table.groupby("method", sort=False).size().to_dict()
    assert counts == {"gradcam": 6, "layercam": 6, "centre": 4, "edges": 4}
    assert set(table) == {"method", "test", "estimate", "chance"}
    chance = table[table["test"] == "pointing game"]["chance"]
    np.testing.assert_allclose(chance, 16 / 192)
    with pytest.raises(MetricsError, match=r"No mask"):
        compare_methods(small_net(), films, masks & False, target=1)


def test_baseline_maps(rng):
    films = np.zeros((2, 40, 60), np.uint8)
    films[:, :, 30:] = 200
    edges = baseline_maps(films, kind="edges")
    assert set(edges[0].argmax(1)) <= {29, 30}
    centre = baseline_maps(films, kind="centre")
    np.testing.assert_array_equal(centre[0], centre[0, ::-1, ::-1])
    assert centre[0, 19:21, 29:31].min() > 0.99
    colour = np.zeros((2, 40, 60, 3), np.uint8)
    colour[:, :, 30:, 1] = 200
    np.testing.assert_allclose(baseline_maps(colour, kind="edges"), edges, atol=1e-5)


def test_marker_is_planted_where_it_says_and_nowhere_else(rng):
    films = rng.integers(0, 100, (6, 80, 60), dtype=np.uint8)
    before, which = films.copy(), np.array([True, False] * 3)
    for kind, bright in (("letter", 245), ("electrode", 235)):
        planted = plant_marker(films, which, kind=kind, rng=rng)
        np.testing.assert_array_equal(films, before)
        np.testing.assert_array_equal(planted.marks.any((1, 2)), which)
        changed = planted.images != films
        assert not (changed & ~planted.marks).any()
        assert all((planted.images[i][planted.marks[i]] == bright).any() for i in (0, 2, 4))
        y, x = np.argwhere(planted.marks[0]).mean(0) / films.shape[1:]
        expected = (0.09, 0.88) if kind == "letter" else (0.42, 0.32)
        assert abs(y - expected[0]) < 0.05
        assert abs(x - expected[1]) < 0.07
    assert not np.array_equal(planted.marks[0], planted.marks[2])  # shifted


def test_marker_is_white_in_colour_films(rng):
    films = rng.integers(0, 100, (3, 80, 60, 3), dtype=np.uint8)
    for kind, bright in (("letter", 245), ("electrode", 235)):
        planted = plant_marker(films, np.ones(3, bool), kind=kind, rng=rng)
        assert planted.marks.shape == (3, 80, 60)
        assert ((planted.images == bright).all(axis=3) & planted.marks).any(axis=(1, 2)).all()
        np.testing.assert_array_equal(planted.images[~planted.marks], films[~planted.marks])


def test_marker_stays_inside_the_image(rng):
    films = np.zeros((3, 40, 30), np.uint8)
    planted = plant_marker(films, np.ones(3, bool), size=0.9, rng=rng)
    assert (planted.marks.sum((1, 2)) == 27 * 16).all()


def test_marker_refuses(rng):
    films = np.zeros((3, 40, 30), np.uint8)
    with pytest.raises(TrainingError, match=r"expected uint8"):
        plant_marker(films / 255, [True] * 3, rng=rng)
    with pytest.raises(MetricsError, match=r"must be 3 of True or False"):
        plant_marker(films, [0, 1, 1], rng=rng)

"""A network that learns a planted letter: the AUC is perfect, the tests of its maps are not."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from torch import nn

from medimg.explain import energy_inside, explain, plant_marker, pointing_game

H, W, N = 48, 40, 60


def films(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cloudy films; the sick have a faint lesion in the lower half."""
    rng = np.random.default_rng(seed)
    clouds = gaussian_filter(rng.normal(size=(N, H, W)), (0, 2, 2))
    images = 90 + 25 * clouds / clouds.std()
    labels = np.arange(N) % 2
    masks = np.zeros((N, H, W), bool)
    for i in np.flatnonzero(labels):
        y, x = rng.integers(26, 38), rng.integers(4, 28)
        masks[i, y : y + 8, x : x + 8] = True
    images[masks] += 12
    return np.clip(images, 0, 255).astype(np.uint8), labels, masks


def odds(net: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        logits = net(torch.from_numpy(images / np.float32(255))[:, None])
    return (logits[:, 1] - logits[:, 0]).numpy()


@pytest.fixture(scope="module")
def learned() -> nn.Sequential:
    """Train on films whose sick all carry the letter."""
    images, labels, _ = films(1)
    marked = plant_marker(images, labels == 1, size=0.2, rng=np.random.default_rng(2)).images
    x, y = torch.from_numpy(marked / np.float32(255))[:, None], torch.from_numpy(labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
        )  # fmt: skip
        optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
        for _ in range(80):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
    return net.eval()


def test_auc_hides_what_the_maps_reveal(learned):
    images, labels, masks = films(3)
    planted = plant_marker(images, labels == 1, size=0.2, rng=np.random.default_rng(4))
    assert roc_auc_score(labels, odds(learned, planted.images)) > 0.99
    maps = explain(learned, planted.images, target=1, layer=learned[4])
    at_mark = pointing_game(maps, planted.marks)
    at_lesion = pointing_game(maps, masks)
    assert at_mark.estimate.low > 10 * at_mark.chance
    assert at_lesion.estimate.low < at_lesion.chance
    assert (
        energy_inside(maps, planted.marks).estimate.value
        > 3 * energy_inside(maps, masks).estimate.value
    )


def test_without_the_letter_nothing_was_learned(learned):
    images, labels, _ = films(3)
    assert roc_auc_score(labels, odds(learned, images)) < 0.75
    swapped = plant_marker(images, labels == 0, size=0.2, rng=np.random.default_rng(4))
    assert roc_auc_score(labels, odds(learned, swapped.images)) < 0.05

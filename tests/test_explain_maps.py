"""Maps against pytorch-grad-cam by itself, against arithmetic, and what they leave behind."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from torch import nn
from torchvision.models import VisionTransformer

from medimg.errors import ModelError
from medimg.explain import METHODS, ClassScore, explain, inspecting, occlusion_maps
from medimg.explain.attention import attention_maps, rollout
from medimg.explain.cams import class_activation_maps
from medimg.models import LinearHead, MedicalNet, build_model
from medimg.models.transformer import attention_matrices, split_vit

H, W = 24, 18


class Tiny(nn.Module):
    """Convolutions with batch normalisation, then a mean and one linear layer."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6))
        self.second = nn.Sequential(nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(5, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x)).mean((2, 3)))


@pytest.fixture
def net() -> Tiny:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny()


@pytest.fixture
def films(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, H, W), dtype=np.uint8)


LIBRARY = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "scorecam": ScoreCAM,
}


@pytest.mark.parametrize("method", LIBRARY)
@pytest.mark.parametrize("score", ["logit", "log_odds"])
def test_same_maps_as_pytorch_grad_cam_image_by_image(net, films, method, score):
    ours = explain(net, films, method=method, target=2, score=score, layer=net.second, batch_size=3)
    net.eval()
    cam = LIBRARY[method](net, [net.second])
    for i, film in enumerate(films):
        x = torch.from_numpy(film / np.float32(255))[None, None]
        theirs = cam(x, [ClassScore(2, score)])[0]
        np.testing.assert_allclose(ours[i], theirs, atol=5e-6)
    assert ours.max() > 0.99


def test_gradcam_by_hand(net, films):
    maps = explain(net, films[:1], target=1, score="logit", layer=net.second)
    with torch.no_grad():
        x = torch.from_numpy(films[:1] / np.float32(255))[:, None]
        features = net.eval().second(net.first(x))
    # the head averages, so the gradient of a logit is its weight over the number of places
    small = torch.einsum("c,chw->hw", net.head.weight[1].detach(), features[0]).clamp(min=0)
    large = nn.functional.interpolate(small[None, None], size=(H, W), mode="bilinear")[0, 0]
    expected = (large - large.min()) / (large.max() - large.min())
    np.testing.assert_allclose(maps[0], expected, atol=1e-5)


def test_hirescam_is_gradcam_behind_a_mean_and_a_linear_layer(net, films):
    maps = [
        explain(net, films, method=m, target=1, layer=net.second) for m in ("gradcam", "hirescam")
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_log_odds_do_not_see_what_no_prediction_sees(net, films):
    common = torch.randn(5, generator=torch.Generator().manual_seed(1))
    by_odds = explain(net, films, target=0, layer=net.second)
    by_logit = explain(net, films, target=0, score="logit", layer=net.second)
    x = torch.from_numpy(films / np.float32(255))[:, None]
    with torch.no_grad():
        p = net.eval()(x).softmax(1)
        net.head.weight += common
        torch.testing.assert_close(net(x).softmax(1), p)
    again = explain(net, films, target=0, layer=net.second)
    np.testing.assert_allclose(again, by_odds, atol=1e-5)
    again = explain(net, films, target=0, score="logit", layer=net.second)
    assert np.abs(again - by_logit).max() > 0.1


def test_default_target_is_each_images_prediction(net, films):
    with torch.no_grad():
        classes = net.eval()(torch.from_numpy(films / np.float32(255))[:, None]).argmax(1).numpy()
    for method in ("gradcam", "occlusion"):
        maps = explain(net, films, method=method, layer=net.second, batch_size=2)
        named = explain(net, films, method=method, target=classes, layer=net.second)
        np.testing.assert_allclose(maps, named, atol=1e-6)


def test_bytes_and_fractions_give_the_same_map(net, films):
    a = explain(net, films, target=1, layer=net.second)
    b = explain(net, films / 255, target=1, layer=net.second)
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_eigencam_sign_does_not_follow_the_sign_of_the_component(net, films):
    maps = explain(net, films, method="eigencam", layer=net.second)
    with torch.no_grad():
        features = net.eval().second(net.first(torch.from_numpy(films / np.float32(255))[:, None]))
    for heat, feature in zip(maps, features.flatten(2).transpose(1, 2).numpy(), strict=True):
        centred = feature - feature.mean(0)
        projection = centred @ np.linalg.svd(centred)[2][0]
        extreme = np.abs(projection).argmax()
        y, x = np.unravel_index(extreme, (H // 2, W // 2))
        assert heat[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].max() > 0.8


def test_scorecam_of_few_channels_takes_those_that_vary_most(net, films, monkeypatch):
    monkeypatch.setattr("medimg.explain.cams._BriefScoreCAM.channels", 2)
    few = explain(net, films, method="scorecam", target=1, layer=net.second)
    assert few.max() > 0.99
    monkeypatch.setattr("medimg.explain.cams._BriefScoreCAM.channels", 5)
    every = explain(net, films, method="scorecam", target=1, layer=net.second)
    assert np.abs(every - few).max() > 1e-3


def state(model: nn.Module) -> list[object]:
    return [
        *[(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        *[(p.requires_grad, id(p.grad)) for p in model.parameters()],
        *[p.detach().contiguous().sum().item() for p in model.parameters()],
        *[b.contiguous().sum().item() for b in model.buffers()],
    ]


@pytest.fixture
def unusual(net: Tiny) -> Tiny:
    """A network in mixed modes, part frozen, with gradients waiting for an optimiser step."""
    net(torch.rand(4, 1, H, W)).sum().backward()
    net.train()
    net.first[1].eval()
    net.head.bias.requires_grad_(False)
    return net


@pytest.mark.parametrize("method", [m for m in METHODS if m not in {"attention", "rollout"}])
def test_model_comes_back_as_it_was(unusual, films, method):
    if method == "integrated_gradients":
        pytest.importorskip("captum")
    before = state(unusual)
    explain(unusual, films, method=method, target=1, layer=unusual.second)
    assert state(unusual) == before


@pytest.mark.parametrize("method", [m for m in METHODS if m not in {"attention", "rollout"}])
def test_model_comes_back_as_it_was_after_an_error(unusual, films, method):
    if method == "integrated_gradients":
        pytest.importorskip("captum")
    before = state(unusual)

    class Broken(nn.Module):
        def forward(self, x):
            raise IndexError("broken on purpose")

    unusual.head, head = Broken(), unusual.head
    with pytest.raises(IndexError, match="on purpose"):
        explain(unusual, films, method=method, target=1, layer=unusual.second)
    unusual.head = head
    assert state(unusual) == before


def test_attention_network_comes_back_as_it_was_after_an_error(rng):
    net = build_model("resnet18", pretrained=False, head="attention").train()
    before = state(net)
    with pytest.raises(ModelError, match=r"has no self-attention"):
        explain(net, rng.random((1, 64, 64)), method="rollout")
    net.head.score, score = nn.Linear(1, 1), net.head.score
    with pytest.raises(RuntimeError):
        explain(net, rng.random((1, 64, 64)), method="attention")
    net.head.score = score
    assert state(net) == before


def test_class_that_is_not_there_leaves_nothing_behind(unusual, films):
    before = state(unusual)
    with pytest.raises(ModelError, match=r"target 3 is not a class of this model, which has 3"):
        explain(unusual, films, target=3, layer=unusual.second)
    assert state(unusual) == before


def test_works_inside_no_grad_and_inference_mode(net, films):
    expected = explain(net, films, target=1, layer=net.second)
    with torch.no_grad():
        np.testing.assert_array_equal(explain(net, films, target=1, layer=net.second), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(explain(net, films, target=1, layer=net.second), expected)


def test_nothing_before_the_layer_is_in_the_graph(net, films):
    seen = []
    hook = net.second.register_forward_pre_hook(lambda m, x: seen.append(x[0].requires_grad))
    explain(net, films, target=1, layer=net.second)
    hook.remove()
    assert seen == [False]


def test_dropout_and_batch_normalisation_rest(net, films):
    mean = net.first[1].running_mean.clone()
    with inspecting(net):
        net(torch.rand(4, 1, H, W))
    torch.testing.assert_close(net.first[1].running_mean, mean)


def test_occlusion_finds_the_only_place_that_counts():
    net = nn.Sequential(nn.Flatten(), nn.Linear(H * W, 2, bias=False))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight[1, 5 * W + 12] = 3.0
    film = torch.zeros(1, 1, H, W)
    film[0, 0, 5, 12] = 1.0
    heat = occlusion_maps(net, film, [ClassScore(1)], patch=4, stride=1)[0]
    assert np.unravel_index(heat.argmax(), heat.shape) == (5, 12)
    assert heat[5, 12] == 1.0
    # a pixel at Chebyshev distance d shares (4 - |dy|) (4 - |dx|) of its 16 patches with it
    assert heat[7, 13] == pytest.approx(2 * 3 / 16)
    assert heat[12, 12] == 0


def test_occlusion_refuses_a_stride_with_gaps(net):
    with pytest.raises(ModelError, match=r"patch 3 and stride 4"):
        occlusion_maps(net, torch.rand(1, 1, H, W), [ClassScore(1)], patch=3, stride=4)


def test_integrated_gradients_of_a_linear_network_are_its_terms():
    pytest.importorskip("captum")
    from medimg.explain import integrated_gradients

    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2, bias=False))
    film = torch.tensor([[[[0.2, 0.4, 0.6], [0.1, 0.9, 0.5]]]])
    heat = integrated_gradients(net, film, [ClassScore(1, "logit")], blur=0)[0]
    terms = (net[1].weight[1].detach().view(2, 3) * film[0, 0]).abs().numpy()
    expected = (terms - terms.min()) / (terms.max() - terms.min())
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_integrated_gradients_without_captum(net, films, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(ModelError, match=r"pip install 'medimg\[explain\]'"):
        explain(net, films, method="integrated_gradients")


def test_rollout_by_hand():
    first = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    second = torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    expected = ((second + torch.eye(2)) / 2) @ ((first + torch.eye(2)) / 2)
    total = rollout(torch.stack([first, second])[:, None])
    torch.testing.assert_close(total[0], expected)
    torch.testing.assert_close(total.sum(-1), torch.ones(1, 2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"shape \(4, 5\); expected \(N, H, W\)"),
        (np.zeros((1, 4, 5), np.int16), r"images are int16; expected uint8"),
        (np.stack([np.ones((4, 5)), np.full((4, 5), 2.0)]), r"image 1 has values from 2 to 2;"),
        (np.full((1, 4, 5), np.nan), r"image 0 has values from nan to nan; .* none missing"),
    ],
)
def test_bad_images(net, images, message):
    with pytest.raises(ModelError, match=message):
        explain(net, images, layer=net.second)


def test_bad_arguments(net, films):
    with pytest.raises(ModelError, match=r"no method 'gradcan'; choose one of: gradcam"):
        explain(net, films, method="gradcan")
    with pytest.raises(ModelError, match=r"index or 5 of them, not int64 of shape \(2,\)"):
        explain(net, films, target=[0, 1], layer=net.second)
    with pytest.raises(ModelError, match=r"name it: layer="):
        explain(net, films)
    with pytest.raises(ModelError, match=r"batch_size is 0"):
        explain(net, films, layer=net.second, batch_size=0)
    with pytest.raises(ModelError, match=r"has no attention"):
        explain(net, films, method="attention")
    with pytest.raises(ModelError, match=r"which is no map"):
        explain(net, films, layer=net.head)


def test_no_images_no_maps(net):
    assert explain(net, np.zeros((0, H, W), np.uint8), layer=net.second).shape == (0, H, W)


def test_medicalnet_needs_no_layer(rng):
    net = build_model("resnet18", pretrained=False, head="attention")
    films = rng.integers(0, 256, (2, 64, 96), dtype=np.uint8)
    maps = explain(net, films, target=1)
    np.testing.assert_array_equal(maps, explain(net, films, target=1, layer=net.backbone[-1]))
    attention = explain(net, films, method="attention")
    assert attention.shape == (2, 64, 96)
    with torch.no_grad():
        small = net.eval().attention(torch.from_numpy(films / np.float32(255))[:, None])
    y, x = np.unravel_index(small[0].numpy().argmax(), small.shape[1:])
    assert attention[0, 32 * y + 16, 32 * x + 16] > 0.9


def test_linear_head_says_that_it_has_no_attention(films):
    with pytest.raises(ModelError, match=r"head='attention'"):
        attention_maps(build_model("resnet18", pretrained=False), torch.rand(1, 1, 32, 32))


def test_transformer_tokens_become_a_map():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Identity()
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            tokens = x[:, 0].unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2)).flatten(1)  # (B, 9)
            tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1)
            return self.head(self.mix(tokens[..., None].expand(-1, -1, 4)).mean(1))

    net, film = Tokens(), torch.zeros(1, 1, 12, 12)
    film[0, 0, 4:8, 8:12] = 1  # the patch in the middle row, last column
    with torch.no_grad():
        net.head.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    heat = class_activation_maps(net, film, [ClassScore(1)], layer=net.mix)[0]
    assert heat[5:7, 10:].min() > 0.7
    assert heat[:2].max() == 0
    for a, b in pairwise([heat[6, 5], heat[6, 8], heat[6, 10]]):
        assert a <= b


def test_vision_transformer(rng):
    vit = VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=8, mlp_dim=16)
    half = (0.5, 0.5, 0.5)
    stages = nn.Sequential(*split_vit(vit))
    net = MedicalNet(stages, LinearHead(8, 2), name="vit", mean=half, std=half)
    nn.init.normal_(net.head.linear.weight)
    films = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    before = state(net)
    maps = explain(net, films, target=1)
    by_name = explain(net, films, target=1, layer=vit.encoder.layers[-1].ln_1)
    np.testing.assert_array_equal(maps, by_name)
    assert maps.max() > 0.99
    rolled = explain(net, films, method="rollout")
    assert state(net) == before
    batch = torch.from_numpy(films / np.float32(255))[:, None]
    attention = attention_matrices(net.backbone, net.eval().normalize(batch))
    total = np.eye(17)
    for block in attention[:, 1].mean(1).detach().numpy():
        total = (block + np.eye(17)) / 2 @ total
    y, x = divmod(int(total[0, 1:].argmax()), 4)
    assert rolled[1, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].max() == 1

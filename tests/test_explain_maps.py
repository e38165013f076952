"""Maps against pytorch-grad-cam by itself, against arithmetic, and what they leave behind."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, ScoreCAM
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from medimg.errors import ModelError, TrainingError
from medimg.explain import METHODS, Target, explain, frozen_eval
from medimg.explain.maps import (
    attention_maps,
    class_activation_maps,
    integrated_gradients,
    occlusion_maps,
)
from medimg.models import build_model, target_layer

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


def tensor(films: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(films / np.float32(255))[:, None]


@pytest.mark.parametrize("method", LIBRARY)
def test_same_maps_as_pytorch_grad_cam_image_by_image(net, films, method):
    ours = explain(net, films, method=method, target=2, layer=net.second, batch_size=3)
    net.eval()
    cam = LIBRARY[method](net, [net.second])
    for ours_of, x in zip(ours, tensor(films), strict=True):
        theirs = cam(x[None], [Target(2)])[0]
        np.testing.assert_allclose(ours_of, theirs, atol=5e-6)
    assert ours.max() > 0.99


def test_gradcam_by_hand(films):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tiny(classes=2)
    net.head.weight.data = torch.tensor([[0.1, -0.3, 0.2, 0.0, 0.4], [0.5, 0.4, -0.2, 0.3, 0.1]])
    maps = explain(net, films[:1], target=1, layer=net.second)
    with torch.no_grad():
        features = net.eval().second(net.first(tensor(films[:1])))
    # the head averages, and the log-odds of two classes are the difference of their logits: the
    # gradient is the difference of their weights over the number of places
    difference = (net.head.weight[1] - net.head.weight[0]).detach()
    small = torch.einsum("c,chw->hw", difference, features[0]).clamp(min=0)
    large = nn.functional.interpolate(small[None, None], size=(H, W), mode="bilinear")[0, 0]
    expected = (large - large.min()) / (large.max() - large.min())
    np.testing.assert_allclose(maps[0], expected, atol=1e-5)


def test_target_is_log_odds():
    logits = torch.tensor([[0.3, -1.2, 2.0], [5.0, 0.0, -3.0]], dtype=torch.float64)
    p = logits.softmax(1)
    for index in range(3):
        expected = torch.log(p[:, index] / (1 - p[:, index]))
        torch.testing.assert_close(Target(index)(logits), expected)
        torch.testing.assert_close(Target(index)(logits[1]), expected[1])


def test_hirescam_is_gradcam_behind_a_mean_and_a_linear_layer(net, films):
    maps = [
        explain(net, films, method=m, target=1, layer=net.second) for m in ("gradcam", "hirescam")
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_log_odds_do_not_see_what_no_prediction_sees(net, films):
    common = torch.randn(5, generator=torch.Generator().manual_seed(1))
    before = explain(net, films, target=0, layer=net.second)
    cam = GradCAM(net.eval(), [net.second])
    x = tensor(films)
    by_logit = cam(x, [lambda logits: logits[0]] * len(x))
    with torch.no_grad():
        p = net(x).softmax(1)
        net.head.weight += common
        torch.testing.assert_close(net(x).softmax(1), p)
    again = explain(net, films, target=0, layer=net.second)
    np.testing.assert_allclose(again, before, atol=1e-5)
    assert np.abs(cam(x, [lambda logits: logits[0]] * len(x)) - by_logit).max() > 0.1


class Named(Tiny):
    """Two classes that have names."""

    classes = ("normal", "pneumonia")

    def __init__(self) -> None:
        super().__init__(classes=2)


def test_target_by_name(films):
    net = Named()
    by_name = explain(net, films, target="pneumonia", layer=net.second)
    np.testing.assert_array_equal(by_name, explain(net, films, target=1, layer=net.second))
    each = ["normal", "pneumonia", "normal", "normal", "pneumonia"]
    called = np.array([0, 1, 0, 0, 1])
    np.testing.assert_array_equal(explain(net, films, target=each, layer=net.second),
                                  explain(net, films, target=called, layer=net.second))  # fmt: skip
    with pytest.raises(ModelError, match=r"'fracture' is not .*; expected normal or pneumonia\."):
        explain(net, films, target="fracture", layer=net.second)
    with pytest.raises(ModelError, match=r"1.5 is not a class"):
        explain(net, films, target=1.5, layer=net.second)
    with pytest.raises(ModelError, match=r"True is not a class"):
        explain(net, films, target=True, layer=net.second)
    with pytest.raises(ModelError, match=r"None is not a class of this model; expected normal"):
        explain(net, films, layer=net.second)  # which class is for the caller to say


def test_methods_without_a_class_need_none(net, films):
    maps = explain(net, films, method="eigencam", layer=net.second)
    again = explain(net, films, method="eigencam", target=1, layer=net.second)
    np.testing.assert_array_equal(maps, again)


def test_colour_films_give_the_maps_of_their_channels(net, films):
    """A network that looks at one channel makes the maps of that channel."""
    colour = np.stack([films, films[::-1], 255 - films], axis=-1)
    grey = nn.Sequential(First(), net)
    for method in ("gradcam", "layercam", "eigencam", "scorecam", "occlusion",
                   "integrated_gradients"):  # fmt: skip
        ours = explain(grey, colour, method=method, target=1, layer=net.second)
        expected = explain(net, films, method=method, target=1, layer=net.second)
        assert ours.shape == (5, H, W)
        np.testing.assert_allclose(ours, expected, atol=1e-4)


class First(nn.Module):
    def forward(self, x):
        return x[:, :1]


def test_a_colour_that_counts_is_found():
    class Red(nn.Module):
        def forward(self, x):
            red = x[:, 0].mean((1, 2)) - x[:, 1:].mean((1, 2, 3))
            return torch.stack([-30 * red, 30 * red], 1)

    films = np.full((1, H, W, 3), 90, np.uint8)
    films[0, 4:8, 10:14, 0] = 250  # red
    films[0, 16:20, 2:6] = 250  # white
    heat = explain(Red(), films, method="occlusion", target=1)[0]
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 4 <= y < 8
    assert 10 <= x < 14


def test_weights_that_are_not_finite_are_refused(net, films):
    with torch.no_grad():
        net.head.weight[0, 0] = float("nan")
    for method in ("gradcam", "occlusion", "scorecam"):
        with pytest.raises(ModelError, match="output is not finite"):
            explain(net, films, method=method, target=1, layer=net.second)


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
    before = state(unusual)
    explain(unusual, films, method=method, target=1, layer=unusual.second)
    assert state(unusual) == before


@pytest.mark.parametrize("method", [m for m in METHODS if m not in {"attention", "rollout"}])
def test_model_comes_back_as_it_was_after_an_error(unusual, films, method):
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
    net = build_model("efficientnet_lite0", pretrained=False, head="attention").train()
    before = state(net)
    films = rng.integers(0, 256, (1, 64, 64), dtype=np.uint8)
    with pytest.raises(ModelError, match=r"has no self-attention"):
        explain(net, films, method="rollout")
    net.head.score, score = nn.Linear(1, 1), net.head.score
    with pytest.raises(RuntimeError):
        explain(net, films, method="attention")
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
    with frozen_eval(net):
        net(torch.rand(4, 1, H, W))
    torch.testing.assert_close(net.first[1].running_mean, mean)


def test_occlusion_finds_the_only_place_that_counts():
    net = nn.Sequential(nn.Flatten(), nn.Linear(H * W, 2, bias=False))
    with torch.no_grad():
        net[1].weight.zero_()
        net[1].weight[1, 5 * W + 12] = 3.0
    film = torch.zeros(1, 1, H, W)
    film[0, 0, 5, 12] = 1.0
    heat = occlusion_maps(net, film, [Target(1)])[0]  # patches of 18 // 6 = 3 pixels, 1 apart
    assert np.unravel_index(heat.argmax(), heat.shape) == (5, 12)
    assert heat[5, 12] == 1.0
    # a pixel at distance (dy, dx) shares (3 - |dy|) (3 - |dx|) of its 9 patches with it
    assert heat[7, 13] == pytest.approx(1 * 2 / 9)
    assert heat[12, 12] == 0


@pytest.mark.parametrize("shape", [(24, 18), (5, 40), (13, 13), (1, 1)])
def test_occlusion_covers_every_pixel(shape):
    class Sum(nn.Module):
        def forward(self, x):
            score = x.sum((1, 2, 3))
            return torch.stack([-score, score], 1)

    rng = np.random.default_rng(0)
    heat = occlusion_maps(Sum(), torch.from_numpy(rng.random((1, 1, *shape))), [Target(1)])
    assert heat.shape == (1, *shape)
    assert np.isfinite(heat).all()


def linear(weights: torch.Tensor) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False))
    with torch.no_grad():
        net[1].weight[0].zero_()
        net[1].weight[1] = weights.flatten()
    return net


def test_integrated_gradients_of_a_linear_network_are_its_terms():
    film = torch.tensor([[[[0.2, 0.4, 0.6], [0.1, 0.9, 0.5]]]])
    weights = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.5, -1.0]])
    heat = integrated_gradients(linear(weights), film, [Target(1)])[0]
    terms = (weights * film[0, 0]).abs().numpy()
    expected = (terms - terms.min()) / (terms.max() - terms.min())
    np.testing.assert_allclose(heat, expected, atol=1e-5)


def test_integrated_gradients_of_a_square_by_hand():
    """Of x^2 the gradient along the line from 0 averages to x, so a pixel's share is x^2."""

    class Square(nn.Module):
        def forward(self, x):
            return torch.stack([0 * x.sum((1, 2, 3)), (x**2).sum((1, 2, 3))], 1)

    film = torch.tensor([[[[0.2, 0.4], [0.6, 1.0]]]])
    heat = integrated_gradients(Square(), film, [Target(1)])[0]
    share = film[0, 0].numpy() ** 2
    np.testing.assert_allclose(heat, (share - 0.04) / (1 - 0.04), atol=1e-5)


def test_integrated_gradients_are_those_of_captum(net, films):
    attribution = pytest.importorskip("captum.attr")
    x = tensor(films[:2])
    net.eval()
    integrate = attribution.IntegratedGradients(lambda batch: Target(2)(net(batch)))
    shares = integrate.attribute(x, n_steps=24, method="gausslegendre").abs().sum(1)
    low, high = shares.amin((1, 2), keepdim=True), shares.amax((1, 2), keepdim=True)
    expected = ((shares - low) / (high - low)).detach().numpy()
    heat = integrated_gradients(net, x, [Target(2)] * 2)  # 0.18 pixels of blur: none
    np.testing.assert_allclose(heat, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"shape \(4, 5\); expected uint8 \(N, H, W\)"),
        (np.zeros((1, 4, 5), np.int16), r"images are int16 of shape \(1, 4, 5\); expected uint8"),
        (np.zeros((1, 4, 5)), r"images are float64 .* values in \[0, 1\] times 255"),
        (np.zeros((1, 4, 5, 4), np.uint8), r"shape \(1, 4, 5, 4\)"),
    ],
)
def test_bad_images(net, images, message):
    with pytest.raises(TrainingError, match=message):
        explain(net, images, target=1, layer=net.second)


def test_bad_arguments(net, films):
    with pytest.raises(ModelError, match=r"no method 'gradcan'; choose one of: gradcam"):
        explain(net, films, method="gradcan")
    with pytest.raises(ModelError, match=r"has shape \(2,\); give a class, or 5"):
        explain(net, films, target=[0, 1], layer=net.second)
    with pytest.raises(ModelError, match=r"name it: layer="):
        explain(net, films, target=1)
    with pytest.raises(ModelError, match=r"batch_size is 0"):
        explain(net, films, target=1, layer=net.second, batch_size=0)
    with pytest.raises(ModelError, match=r"has no attention"):
        explain(net, films, method="attention")
    with pytest.raises(ModelError, match=r"which is not a map"):
        explain(net, films, target=1, layer=net.head)


def test_no_images_no_maps(net):
    maps = explain(net, np.zeros((0, H, W), np.uint8), target=1, layer=net.second)
    assert maps.shape == (0, H, W)


def test_medicalnet_needs_no_layer(rng):
    classes = ["normal", "pneumonia"]
    net = build_model("efficientnet_lite0", classes=classes, pretrained=False, head="attention")
    films = rng.integers(0, 256, (2, 64, 96), dtype=np.uint8)
    maps = explain(net, films, target="pneumonia")
    np.testing.assert_array_equal(maps, explain(net, films, target=1, layer=target_layer(net)))
    attention = explain(net, films, method="attention")
    assert attention.shape == (2, 64, 96)
    with torch.no_grad():
        small = net.eval().attention(tensor(films))
    y, x = np.unravel_index(small[0].numpy().argmax(), small.shape[1:])
    assert attention[0, 32 * y + 16, 32 * x + 16] > 0.9


def test_linear_head_says_that_it_has_no_attention():
    with pytest.raises(ModelError, match=r"head='attention'"):
        attention_maps(build_model(pretrained=False), torch.rand(1, 1, 32, 32))


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
    heat = class_activation_maps(net, film, [Target(1)], "gradcam", net.mix)[0]
    assert heat[5:7, 10:].min() > 0.7
    assert heat[:2].max() == 0
    for a, b in pairwise([heat[6, 5], heat[6, 8], heat[6, 10]]):
        assert a <= b


@pytest.fixture
def vit() -> VisionTransformer:
    """Four blocks on sixteen patches of grey films."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = VisionTransformer(
            img_size=32, patch_size=8, in_chans=1, num_classes=2, embed_dim=16, depth=4, num_heads=2
        )
        for block in net.blocks:  # as they begin, attention is all but even
            nn.init.normal_(block.attn.qkv.weight, std=0.6)
        nn.init.normal_(net.head.weight)
    return net


def test_vision_transformer(vit, rng):
    films = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    before = state(vit)
    maps = explain(vit, films, target=1, layer=vit.blocks[-1].norm1)
    assert maps.max() > 0.99
    assert state(vit) == before


def test_rollout_by_hand(vit, rng):
    films = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    before = state(vit)
    fused = [block.attn.fused_attn for block in vit.blocks]
    rolled = explain(vit, films, method="rollout")
    assert state(vit) == before  # timm's own tool would leave its hooks
    assert [block.attn.fused_attn for block in vit.blocks] == fused
    inputs = []
    hooks = [block.attn.register_forward_pre_hook(lambda m, x: inputs.append((m, x[0])))
             for block in vit.blocks]  # fmt: skip
    with torch.no_grad():
        vit.eval()(tensor(films))
        total = np.eye(17)
        for attention, x in inputs:  # query and key by hand, of the second film
            q, k, _ = attention.qkv(x).reshape(2, 17, 3, 2, 8).permute(2, 0, 3, 1, 4)
            weights = ((q @ k.transpose(-2, -1)) * 8**-0.5).softmax(-1)[1].mean(0).numpy()
            total = (weights + np.eye(17)) / 2 @ total
    for hook in hooks:
        hook.remove()
    np.testing.assert_allclose(total.sum(1), 1, atol=1e-5)
    patches = torch.from_numpy(total[0, 1:].reshape(1, 1, 4, 4)).float()
    large = nn.functional.interpolate(patches, size=(32, 32), mode="bilinear")[0, 0].numpy()
    expected = (large - large.min()) / (large.max() - large.min())
    np.testing.assert_allclose(rolled[1], expected, atol=1e-4)

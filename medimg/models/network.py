"""One shape for every network: normalise, backbone, head."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from medimg.errors import ModelError


class LinearHead(nn.Module):
    """Dropout and one linear layer on the pooled features.

    Parameters
    ----------
    channels : int
        Features of the backbone, C.
    classes : int
        Outputs, K.
    dropout : float
        Share of features set to zero in training.
    """

    wants_map = False

    def __init__(self, channels: int, classes: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) features -> (B, K) logits."""
        return cast(Tensor, self.linear(self.dropout(features)))


class AttentionHead(nn.Module):
    """Gated attention over the places of the feature map, then dropout and one linear layer.

    Every place is scored by ``w . (tanh(V f) * sigmoid(U f))``; the scores' softmax weighs the
    places' features, and the weights themselves can be shown.

    Parameters
    ----------
    channels : int
        Features of the backbone, C.
    classes : int
        Outputs, K.
    dropout : float
        Share of pooled features set to zero in training.
    hidden : int
        Width of the two gates.

    References
    ----------
    Ilse, Tomczak, Welling, "Attention-based deep multiple instance learning", ICML 2018.
    """

    wants_map = True

    def __init__(
        self, channels: int, classes: int, *, dropout: float = 0.2, hidden: int = 128
    ) -> None:
        super().__init__()
        self.value = nn.Linear(channels, hidden)
        self.gate = nn.Linear(channels, hidden)
        self.score = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels, classes)

    def weights(self, feature_map: Tensor) -> Tensor:
        """(B, C, h, w) feature map -> (B, h, w) weights that sum to one."""
        places = feature_map.flatten(2).transpose(1, 2)  # (B, h*w, C)
        gated = torch.tanh(self.value(places)) * torch.sigmoid(self.gate(places))
        weights = torch.softmax(self.score(gated)[..., 0], dim=1)  # (B, h*w)
        return weights.view(len(feature_map), *feature_map.shape[2:])

    def forward(self, feature_map: Tensor) -> Tensor:
        """(B, C, h, w) feature map -> (B, K) logits."""
        pooled = (feature_map * self.weights(feature_map)[:, None]).sum(dim=(2, 3))  # (B, C)
        return cast(Tensor, self.linear(self.dropout(pooled)))


class MedicalNet(nn.Module):
    """A backbone with a new head, for grey or colour images in [0, 1].

    Parameters
    ----------
    backbone : nn.Module
        A timm network, or one with its methods and parts.
    head : LinearHead or AttentionHead
        From features to logits.
    name : str
        The backbone's name in `build_model`.
    mean, std : tuple of float
        The three-channel normalisation that the backbone was pretrained with.
    channels : {1, 3}
        Channels of the images: 1 for grey, 3 for colour.
    classes : sequence of str, optional
        Names of the outputs, the healthy class first; "class 0", "class 1", ... by default.

    Attributes
    ----------
    classes : tuple of str
        Names of the outputs.
    num_classes : int
        Number of outputs, K.
    """

    def __init__(
        self, backbone: nn.Module, head: LinearHead | AttentionHead, *, name: str,
        mean: tuple[float, ...], std: tuple[float, ...], channels: int = 1,
        classes: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.backbone: Any = backbone
        self.head = head
        self.name, self.channels = name, channels
        self.num_classes = head.linear.out_features
        self.classes = unnamed(self.num_classes) if classes is None else tuple(classes)
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def stages(self) -> dict[str, nn.Module]:
        """Return the backbone's parts by name, "stem" and "stage1" onwards, input first."""
        parts = map(nn.ModuleList, _parts(self.backbone))
        return {f"stage{i}" if i else "stem": part for i, part in enumerate(parts)}

    def normalize(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, 3, H, W) as in pretraining.

        A single channel is repeated by broadcasting against the three means. A network for grey
        images refuses colour ones.
        """
        if images.ndim != 4 or images.shape[1] not in (1, self.channels):
            raise ModelError(
                f"{self.name} takes images (B, {self.channels}, H, W) in [0, 1], got "
                f"{tuple(images.shape)}; add the missing axis, or build with channels=3 for colour"
            )
        return (images - self.mean) / self.std

    def _trunk(self, images: Tensor) -> Tensor:
        some = images if len(images) else images.new_zeros(1, *images.shape[1:])
        trunk = self.backbone.forward_features(self.normalize(some))
        return cast(Tensor, trunk)[: len(images)]  # transformers need an image

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, C, h, w), before pooling."""
        trunk = self._trunk(images)
        if trunk.ndim == 4:
            return trunk
        size = self.backbone.patch_embed.dynamic_feat_size(images.shape[2:])
        tokens = trunk[:, self.backbone.num_prefix_tokens :]  # (B, h*w, C), row by row
        return torch.unflatten(tokens.transpose(1, 2), 2, size)

    def embed(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, C) pooled features (a transformer's class token)."""
        return cast(Tensor, self.backbone.forward_head(self._trunk(images), pre_logits=True))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) in [0, 1] -> (B, K) logits."""
        features = self.feature_map(images) if self.head.wants_map else self.embed(images)
        return cast(Tensor, self.head(features))

    def attention(self, images: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, h, w) weights of the attention head, summing to one.

        Raises
        ------
        ModelError
            When the head is not an attention head.
        """
        if not isinstance(self.head, AttentionHead):
            raise ModelError(
                f"this {self.name} has a linear head without attention; "
                "build it with build_model(..., head='attention')"
            )
        return self.head.weights(self.feature_map(images))


def unnamed(count: int) -> tuple[str, ...]:
    """Return the names of classes that nobody named.

    Examples
    --------
    >>> unnamed(2)
    ('class 0', 'class 1')
    """
    return tuple(f"class {k}" for k in range(count))


def _parts(whole: Any) -> list[list[nn.Module]]:
    """Return what learns in the stem and in each stage, in the order of the data."""
    if hasattr(whole, "features"):  # DenseNet
        f = whole.features
        blocks = [f.denseblock1, f.denseblock2, f.denseblock3, f.denseblock4]
        after = [f.transition1, f.transition2, f.transition3, f.norm5]
        return [[f.conv0, f.norm0], *map(list, zip(blocks, after, strict=True))]
    if hasattr(whole, "layer1"):  # ResNet
        layers = [whole.layer1, whole.layer2, whole.layer3, whole.layer4]
        return [[whole.conv1, whole.bn1], *([layer] for layer in layers)]
    if hasattr(whole, "stages"):  # ConvNeXt, whose last norm lies behind the pooling
        return [[whole.stem], *([stage] for stage in whole.stages), [whole.head]]
    if hasattr(whole, "patch_embed"):  # vision transformer
        first = [nn.ParameterList([whole.cls_token, whole.pos_embed]), whole.patch_embed]
        return [first, *([block] for block in whole.blocks), [whole.norm]]
    first, last = [whole.conv_stem, whole.bn1], [whole.conv_head, whole.bn2]  # EfficientNet
    return [first, *([block] for block in whole.blocks), last]


def target_layer(model: MedicalNet) -> nn.Module:
    """Return the layer that class activation maps should look at.

    Parameters
    ----------
    model : MedicalNet

    Returns
    -------
    nn.Module
        The layer of a convolutional network that puts out the feature map (B, C, h, w); in a
        transformer the first normalisation of the last block, (B, 1 + h*w, C).
    """
    whole = model.backbone
    if hasattr(whole, "patch_embed"):
        return cast(nn.Module, whole.blocks[-1].norm1)
    if hasattr(whole, "stages"):
        return cast(nn.Module, whole.stages[-1])
    return _parts(whole)[-1][-1]

"""What this machine can do, and a small network, for tests that need them."""

import pytest
import torch
from torch import nn

from medimg import runtime

# A processor, or the library that computes its convolutions, may lack bfloat16.
needs_bfloat16 = pytest.mark.skipif(
    bool(runtime._failure(torch.device("cpu"), torch.bfloat16)), reason="no bfloat16 here"
)


class Small(nn.Module):
    """A backbone with the methods and parts of timm's ConvNeXt: a stem and one stage."""

    def __init__(self, stem, stage):
        super().__init__()
        self.stem, self.stages, self.head = stem, nn.Sequential(stage), nn.Identity()

    def forward_features(self, images):
        return self.stages(self.stem(images))

    def forward_head(self, feature_map, *, pre_logits):
        assert pre_logits
        return feature_map.mean(dim=(2, 3))

"""What this machine can do, for tests that need it."""

import pytest
import torch

from medimg import runtime

# A processor, or the library that computes its convolutions, may lack bfloat16.
needs_bfloat16 = pytest.mark.skipif(
    bool(runtime._failure(torch.device("cpu"), "bfloat16")), reason="no bfloat16 here"
)

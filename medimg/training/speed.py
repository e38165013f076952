"""What makes networks quicker and changes no result beyond rounding.

Replace `autocast` by an empty context, `fold` by a copy in evaluation mode and `place` by
``model.to(device)``, and training and prediction give the same, only later.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from medimg.runtime import Precision


def place(model: nn.Module, device: torch.device, precision: Precision) -> None:
    """Move a network to a device, in the memory layout that convolutions read fastest there."""
    model.to(device).to(memory_format=precision.memory_format)


@contextmanager
def autocast(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run the block's matrix products in the chosen precision.

    On a CPU, depthwise convolutions are computed in bfloat16 like the rest, but their gradients
    in float32: oneDNN's bfloat16 kernels for these are several times slower than its float32 ones
    (EfficientNet-Lite0 trains 1.8 times as fast for it; ``benchmarks/results/engine_vs_peers.md``).

    Parameters
    ----------
    device : torch.device
        Where the block computes.
    precision : Precision
        From `medimg.runtime.pick_precision`.

    Examples
    --------
    >>> with autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)):
    ...     print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    torch.bfloat16
    """
    enabled = precision.dtype is not None
    with torch.autocast(device.type, dtype=precision.dtype, enabled=enabled):
        if device.type == "cpu" and precision.dtype is torch.bfloat16:
            with _DepthwiseGradients():
                yield
        else:
            yield


class _DepthwiseGradients(TorchFunctionMode):
    """Send depthwise convolutions that have something to learn to `_Depthwise`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.conv2d:
            return _convolve(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    depthwise = groups > 1 and weight.shape[1] == 1
    learns = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
    if depthwise and learns and not isinstance(padding, str):
        found: Tensor = _Depthwise.apply(
            input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups
        )
        return found
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _pair(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


class _Depthwise(torch.autograd.Function):
    """A convolution forward in bfloat16 and backward in float32."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *layout: Any
    ) -> Tensor:
        half = images.bfloat16()
        ctx.save_for_backward(half, weight)
        ctx.layout = layout
        ctx.dtypes = (images.dtype, None if bias is None else bias.dtype)
        small = None if bias is None else bias.bfloat16()
        return torch.conv2d(half, weight.bfloat16(), small, *layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        half, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.layout
        of_images, of_bias = ctx.dtypes
        wanted = [*ctx.needs_input_grad[:2], of_bias is not None and ctx.needs_input_grad[2]]
        images_grad, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
            gradient.float(), half.float(), weight.float(), [len(weight)],
            stride, padding, dilation, False, [0, 0], groups, wanted,
        )  # fmt: skip
        return (
            None if images_grad is None else images_grad.to(of_images),
            None if weight_grad is None else weight_grad.to(weight.dtype),
            None if bias_grad is None else bias_grad.to(of_bias),
            *[None] * 4,
        )


def fold(model: nn.Module, device: torch.device, precision: Precision) -> Any:
    """Return a copy for inference on a device, its batch norms folded into the convolutions.

    On a CPU a ReLU6 after them is folded too: by itself it costs about as much as its convolution,
    since it reads and writes all of memory once more.

    Parameters
    ----------
    model : MedicalNet
        Not changed.
    device : torch.device
        Where the copy goes.
    precision : Precision
        What it will compute in.

    Returns
    -------
    MedicalNet
        In evaluation mode and in the memory layout of ``precision``.
    """
    quick = copy.deepcopy(model).eval()
    clip = device.type == "cpu" and _can_clip()
    for module in list(quick.modules()):
        _fold_children(module, precision.dtype or torch.float32, clip=clip)
    place(quick, device, precision)
    return quick


def _fold_children(module: nn.Module, dtype: torch.dtype, *, clip: bool) -> None:
    for (first, conv), (second, norm) in itertools.pairwise(list(module.named_children())):
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)):
            continue
        fused = fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = fused.weight, fused.bias
        activation = getattr(norm, "act", nn.Identity())  # timm's norms activate
        plain = type(conv) is nn.Conv2d and conv.padding_mode == "zeros"
        if clip and plain and type(activation) is nn.ReLU6 and not isinstance(conv.padding, str):
            setattr(module, first, _ClippedConvolution(conv, dtype))
            activation = nn.Identity()
        setattr(module, second, activation)


class _ClippedConvolution(nn.Module):
    """A convolution and its ReLU6 in one pass over memory."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", conv.weight.detach().to(dtype))
        self.register_buffer("bias", None if conv.bias is None else conv.bias.detach().to(dtype))
        self.conv = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def forward(self, images: Tensor) -> Tensor:
        weight, bias = self.get_buffer("weight"), self._buffers["bias"]
        return _clipped_convolution(images.to(weight.dtype), weight, bias, *self.conv)


def _clipped_convolution(
    images: Tensor, weight: Tensor, bias: Tensor | None, *layout: Any
) -> Tensor:
    found: Tensor = torch.ops.mkldnn._convolution_pointwise(
        images, weight, bias, *layout, "hardtanh", [0.0, 6.0], ""
    )
    return found


@functools.cache
def _can_clip() -> bool:
    """Try the operator, which torch's own compiler uses: it is private, and not in every build."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    image, weight = torch.full((1, 1, 1, 2), 5.0), torch.tensor([[[[2.0]]]])
    image[..., 1] = -1.0
    try:
        found = _clipped_convolution(image, weight, None, (0, 0), (1, 1), (1, 1), 1)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return found.flatten().tolist() == [6.0, 0.0]

"""Half precision for a forward pass, with depthwise convolutions that CPUs also learn from fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from medimg.runtime import Precision


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
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        groups: int,
    ) -> Tensor:
        half = images.bfloat16()
        ctx.save_for_backward(half, weight)
        ctx.layout = (stride, padding, dilation, groups)
        ctx.dtypes = (images.dtype, None if bias is None else bias.dtype)
        small = None if bias is None else bias.bfloat16()
        return torch.conv2d(half, weight.bfloat16(), small, stride, padding, dilation, groups)

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

"""What makes networks quicker and changes no result beyond rounding.

Replace `autocast` by an empty context, `fold` by a copy in evaluation mode and `place` by
``model.to(device)``, leave out `return_memory`, and training and prediction give the same, only
later and in more memory.
"""

import copy
import ctypes
import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from medimg.runtime import Precision


def place(model: nn.Module, device: torch.device) -> None:
    """Move a network to a device, in the memory layout that convolutions read fastest there."""
    model.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        _keep_freed_memory()


@functools.cache
def _keep_freed_memory() -> None:
    """Tell glibc to keep what a layer frees for the next layer, up to 512 MB.

    By default it hands large blocks back to the system, and every layer then waits for each of its
    4 KB pages to be fetched and zeroed anew: a quarter of the time of prediction and of training.
    """
    with suppress(TypeError, AttributeError, OSError):  # only glibc has mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks are cut from the heap, too
        mallopt(-1, 2**29)  # M_TRIM_THRESHOLD: free bytes at its end that the heap keeps


def return_memory() -> None:
    """Hand what glibc keeps free back to the system, when a training no longer needs it."""
    with suppress(TypeError, AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


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
    dtype = precision.dtype
    both = device.type == "cpu" and dtype is torch.bfloat16
    gradients = _DepthwiseGradients() if both else nullcontext()
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None), gradients:
        yield


class _DepthwiseGradients(TorchFunctionMode):
    """Send depthwise convolutions that have something to learn to `_Depthwise`."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is torch.conv2d and len(args) == 7 and torch.is_grad_enabled():
            images, weight, _, _, padding, _, groups = args  # as a module of torch or timm gives
            learns = images.requires_grad or weight.requires_grad
            if groups > 1 and weight.shape[1] == 1 and isinstance(padding, tuple) and learns:
                return _Depthwise.apply(*args)
        return func(*args, **(kwargs or {}))


class _Depthwise(torch.autograd.Function):
    """A convolution forward in bfloat16 and backward in float32."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, *layout: Any
    ) -> Tensor:
        half, small = images.bfloat16(), None if bias is None else bias.bfloat16()
        ctx.save_for_backward(half, weight)
        ctx.layout = layout
        return torch.conv2d(half, weight.bfloat16(), small, *layout)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        half, weight = ctx.saved_tensors
        *layout, groups = ctx.layout
        inward, sums = torch.empty_like(half), list[Any]()
        n = max(1, half.numel() // 2**22)  # pieces: float32 copies of the whole batch are large
        for back, seen, into in zip(*(x.chunk(n) for x in (gradient, half, inward)), strict=True):
            found, *some = torch.ops.aten.convolution_backward(
                back.float(), seen.float(), weight.float(), [len(weight)], *layout,
                False, [0, 0], groups, [True, *ctx.needs_input_grad[1:3]],
            )  # fmt: skip
            into.copy_(found)
            sums.append(some)
        totals = [None if part[0] is None else sum(part) for part in zip(*sums, strict=True)]
        return (inward, *totals, None, None, None, None)


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
        In evaluation mode and in the memory layout that is quickest.
    """
    quick = copy.deepcopy(model).eval()
    clip = device.type == "cpu" and _can_clip()
    for module in list(quick.modules()):
        _fold_children(module, precision.dtype or torch.float32, clip=clip)
    place(quick, device)
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
        self.weight = nn.Buffer(conv.weight.detach().to(dtype))
        self.bias = nn.Buffer(cast(Tensor, conv.bias).detach().to(dtype))
        self.layout = (conv.padding, conv.stride, conv.dilation, conv.groups)

    def forward(self, images: Tensor) -> Tensor:
        weight = self.weight
        return cast(Tensor, _clipped(images.to(weight.dtype), weight, self.bias, *self.layout))


def _clipped(*convolution: Any) -> Any:
    return torch.ops.mkldnn._convolution_pointwise(*convolution, "hardtanh", [0.0, 6.0], "")


@functools.cache
def _can_clip() -> bool:
    """Try the operator, which torch's own compiler uses: it is private, and not in every build."""
    image, weight = torch.tensor([[[[9.0, -9.0]]]]), torch.ones(1, 1, 1, 1)
    with suppress(AttributeError, RuntimeError):
        found = _clipped(image, weight, None, (0, 0), (1, 1), (1, 1), 1)
        return bool(found.flatten().tolist() == [6.0, 0.0])
    return False

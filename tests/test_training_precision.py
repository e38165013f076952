"""Half precision: depthwise convolutions against float64, and what must stay as it is."""

import contextlib
import copy

import pytest
import torch
from machine import needs_bfloat16

from medimg import training
from medimg.runtime import Precision

pytestmark = needs_bfloat16


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_are_those_of_float64_to_the_rounding_of_bfloat16(bias, stride):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(8, 8, 5, stride=stride, padding=2, groups=8, bias=bias)
    images = torch.rand(2, 8, 16, 16, requires_grad=True)
    exact = copy.deepcopy(conv).double()
    wanted = exact(wide := images.detach().double().requires_grad_())
    wanted.square().sum().backward()

    with training.autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)):
        found = conv(images)
    found.float().square().sum().backward()

    assert found.dtype is torch.bfloat16
    pairs = [(found, wanted), (images.grad, wide.grad)]
    pairs += [(p.grad, q.grad) for p, q in zip(conv.parameters(), exact.parameters(), strict=True)]
    for mine, true in pairs:
        torch.testing.assert_close(
            mine.double(), true.detach(), rtol=0.02, atol=0.02 * float(true.detach().abs().max())
        )


def test_depthwise_gradients_are_nearer_the_truth_than_bfloat16_alone():
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False)
    images = torch.rand(8, 64, 32, 32)
    gradients = []
    for context in (
        contextlib.nullcontext(),
        training.autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)),
        torch.autocast("cpu", torch.bfloat16),
    ):
        conv.zero_grad()
        with context:
            result = conv(images)
        result.float().sigmoid().sum().backward()
        gradients.append(conv.weight.grad.clone())
    exact, ours, plain = gradients
    assert (ours - exact).norm() <= (plain - exact).norm()


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_a_batch_in_pieces_are_those_of_the_whole(bias):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=64, bias=bias)
    images = torch.rand(9, 64, 128, 128, requires_grad=True)  # more than two pieces of 2**22 values
    parts, whole = [], []
    for rows, gradients in ((slice(0, 2), parts), (slice(2, 9), parts), (slice(0, 9), whole)):
        conv.zero_grad()
        with training.autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)):
            result = conv(images[rows])
        images.grad = None
        result.float().sigmoid().sum().backward()
        gradients.append([images.grad[rows], *(p.grad.clone() for p in conv.parameters())])
    assert torch.equal(torch.cat([parts[0][0], parts[1][0]]), whole[0][0])
    for first, second, both in zip(parts[0][1:], parts[1][1:], whole[0][1:], strict=True):
        torch.testing.assert_close(first + second, both, rtol=1e-4, atol=1e-2)


def test_a_frozen_depthwise_convolution_gets_no_gradient_and_passes_one_on():
    conv = torch.nn.Conv2d(4, 4, 3, groups=4, padding=1).requires_grad_(False)
    images = torch.rand(1, 4, 8, 8, requires_grad=True)
    with training.autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)):
        conv(images).float().sum().backward()
    assert conv.weight.grad is None
    assert images.grad is not None
    assert images.grad.dtype is torch.float32
    assert float(images.grad.abs().sum()) > 0


def test_autocast_leaves_other_convolutions_and_float32_alone():
    images, conv = torch.rand(1, 4, 8, 8), torch.nn.Conv2d(4, 4, 3, groups=4, padding="same")
    with training.autocast(torch.device("cpu"), Precision()):
        assert conv(images).dtype is torch.float32
    with training.autocast(torch.device("cpu"), Precision("bfloat16", torch.bfloat16)):
        result = conv(images)
        assert torch.nn.Conv2d(4, 2, 3)(images).dtype is torch.bfloat16
    assert result.dtype is torch.bfloat16
    assert "Depthwise" not in result.grad_fn.name()
    with torch.autocast("cpu", torch.bfloat16):
        assert "Depthwise" not in torch.nn.Conv2d(4, 4, 3, groups=4)(images).grad_fn.name()

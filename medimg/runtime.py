"""Where to compute, at which precision, from which seed, and beside how many other processes."""

from __future__ import annotations

import functools
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import distributed

from medimg.errors import PrecisionError, TrainingError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precision:
    """The number type of the forward pass and the layout of images in memory.

    Attributes
    ----------
    name : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    dtype : torch.dtype or None
        What autocast converts to; None means no autocast.
    channels_last : bool
        Whether the channels of a pixel lie side by side, which convolutions on CPUs and tensor
        cores read fastest.
    """

    name: str = "float32"
    dtype: torch.dtype | None = None
    channels_last: bool = True

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def needs_scaler(self) -> bool:
        """Whether gradients must be scaled so that small ones do not vanish (float16 only)."""
        return self.dtype is torch.float16


def pick_device() -> torch.device:
    """Return the GPU of this process if there is one, else the CPU.

    Under ``torchrun`` each process gets the GPU of its local rank. Apple's MPS is passed over:
    its results are not repeatable.

    Returns
    -------
    torch.device

    Examples
    --------
    >>> pick_device().type in {"cpu", "cuda"}
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def pick_precision(device: torch.device) -> Precision:
    """Choose the fastest precision that works on a device, and say so in the log, once per choice.

    Half precision where the hardware multiplies it (any CUDA card; a CPU with AVX512-BF16 or AMX)
    and a small convolution in it succeeds; float32 elsewhere, because emulated bfloat16 is several
    times slower. The environment variable ``MEDIMG_PRECISION`` overrides the choice: ``float32``,
    ``bfloat16``, ``float16`` or ``auto`` (the default).

    Parameters
    ----------
    device : torch.device

    Returns
    -------
    Precision

    Raises
    ------
    PrecisionError
        When ``MEDIMG_PRECISION`` is none of these words, or names a precision in which the device
        cannot compute a convolution.

    Examples
    --------
    >>> pick_precision(torch.device("cpu")).channels_last
    True
    """
    asked = os.environ.get("MEDIMG_PRECISION", "").strip().lower() or "auto"
    if asked not in ("auto", *_DTYPES):
        raise PrecisionError(
            f"MEDIMG_PRECISION is {os.environ['MEDIMG_PRECISION']!r}; expected auto, "
            f"{', '.join(_DTYPES)}: set one of these, or unset it"
        )
    name = _fastest(device) if asked == "auto" else asked
    failure = _failure(device, name)
    if failure and asked != "auto":
        raise PrecisionError(
            f"MEDIMG_PRECISION is {asked}, but {device} cannot compute a convolution in it "
            f"({failure}): set it to float32 or auto"
        )
    reason = f" (a convolution in {name} failed: {failure})" if failure else ""
    chosen = "float32" if failure else name
    _say_once(f"computing on {device} in {chosen}, channels last{reason}")
    return Precision(chosen, _DTYPES[chosen])


_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _fastest(device: torch.device) -> str:
    """Name the precision that a device says it multiplies fastest."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return "bfloat16" if native else "float16"
    return "bfloat16" if device.type == "cpu" and _cpu_claims_bfloat16() else "float32"


def _cpu_claims_bfloat16() -> bool:
    """Ask torch whether this CPU has bfloat16 dot products (the names are private: tolerate)."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    found = (getattr(torch.cpu, name, None) for name in probes)
    return any(bool(probe()) for probe in found if probe is not None)


@functools.cache
def _failure(device: torch.device, name: str) -> str:
    """Return why small convolutions in a precision fail on a device, or nothing if they work.

    A CPU may claim bfloat16 while oneDNN, which computes the convolutions, refuses it.
    """
    dtype = _DTYPES[name]
    if dtype is None:
        return ""
    mkldnn = device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
            for groups in (1, 8):  # ordinary and depthwise
                images = torch.ones(2, 8, 8, 8, device=device, dtype=dtype, requires_grad=True)
                weight = torch.ones(8, 8 // groups, 3, 3, device=device, dtype=dtype)
                result = torch.conv2d(images, weight.requires_grad_(), padding=1, groups=groups)
                torch.autograd.grad(result.sum(), (images, weight))
                if mkldnn:  # conv2d goes round what oneDNN lacks, slowly and in silence
                    plain, one = (images.detach(), weight.detach(), None), [1, 1]
                    torch.mkldnn_convolution(*plain, one, one, one, groups)
    except (RuntimeError, NotImplementedError) as error:
        return str(error).strip().partition("\n")[0]
    return ""


@functools.cache
def _say_once(message: str) -> None:
    log.info(message)


@contextmanager
def seeded(seed: int, *more: int) -> Iterator[None]:
    """Run a block from a fixed state of torch's generators and put the old state back after it.

    Parameters
    ----------
    seed : int
        The experiment's seed.
    *more : int
        Further numbers that tell blocks of one experiment apart, such as the epoch.

    Examples
    --------
    >>> with seeded(0, 3):
    ...     first = torch.rand(1)
    >>> with seeded(0, 3):
    ...     print(bool(first == torch.rand(1)))
    True
    """
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(mix(seed, *more))
        yield


def mix(*numbers: int) -> int:
    """Fold several whole numbers into one seed, so that (0, 1) and (1, 0) differ.

    Parameters
    ----------
    *numbers : int
        Of any size; 64 bits of each count.

    Returns
    -------
    int
        From 0 to below 2**63.

    Examples
    --------
    >>> mix(0, 1) == mix(1, 0)
    False
    """
    state = 0x9E3779B97F4A7C15
    for number in numbers:  # SplitMix64, one round a number
        state = (state + (number & 0xFFFFFFFFFFFFFFFF) + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state >> 1


def world() -> tuple[int, int]:
    """Return this process's rank and the number of processes.

    Returns
    -------
    tuple of int
        Rank and number; (0, 1) without torchrun.

    Examples
    --------
    >>> world()
    (0, 1)
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def is_main() -> bool:
    """Return whether this process is the one that writes files and prints.

    Returns
    -------
    bool
        True in the process of rank 0, and without torchrun.
    """
    return world()[0] == 0


def check_processes() -> int:
    """Read how many processes torchrun started, and refuse variables that are wrong.

    Returns
    -------
    int
        1 without torchrun.

    Raises
    ------
    TrainingError
        When a variable of torchrun is not a whole number, or is missing.
    """
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        if not os.environ.get(name, "1").isdecimal():
            raise TrainingError(
                f"the environment variable {name} is {os.environ[name]!r}; torchrun sets it to a "
                "whole number: unset it, or start with torchrun"
            )
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and "RANK" not in os.environ:
        raise TrainingError("WORLD_SIZE is set and RANK is not; start with torchrun, or unset it")
    return size


@contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes when ``torchrun`` started this one; do nothing otherwise.

    nccl joins GPUs, gloo CPUs.

    Raises
    ------
    TrainingError
        When torchrun's variables are not whole numbers, or not all there.
    """
    if distributed.is_initialized() or check_processes() < 2:
        yield
        return
    if sys.platform == "win32":  # torch is built without libuv there, but some versions ask for it
        os.environ.setdefault("USE_LIBUV", "0")
    if gpu := torch.cuda.is_available():
        torch.cuda.set_device(pick_device())
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def versions() -> dict[str, str]:
    """Return the versions that decide what a trained network computes.

    Returns
    -------
    dict of str
        Of Python and of each package that is installed.

    Examples
    --------
    >>> sorted(versions())[:2]
    ['medimg', 'numpy']
    """
    found = {"python": platform.python_version()}
    for package in ("medimg", "numpy", "torch", "torchvision", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

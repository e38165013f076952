"""Where to compute, at which precision, from which seed, and beside how many other processes."""

import functools
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import distributed

from medimg.errors import PrecisionError, TrainingError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precision:
    """The number type of the forward pass.

    Attributes
    ----------
    name : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    dtype : torch.dtype or None
        What autocast converts to; None means no autocast.
    """

    name: str = "float32"
    dtype: torch.dtype | None = None


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
    >>> pick_precision(torch.device("cpu")).name in {"float32", "bfloat16"}
    True
    """
    return _pick(device, os.environ.get("MEDIMG_PRECISION", "").strip().lower() or "auto")


_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@functools.cache
def _pick(device: torch.device, asked: str) -> Precision:
    if asked not in ("auto", *_DTYPES):
        raise PrecisionError(f"MEDIMG_PRECISION is {asked!r}; set auto or {', '.join(_DTYPES)}")
    name = _fastest(device) if asked == "auto" else asked
    failure = _failure(device, _DTYPES[name])
    if failure and asked != "auto":
        raise PrecisionError(
            f"MEDIMG_PRECISION is {asked}, but {device} cannot compute a convolution in it "
            f"({failure}): set it to float32 or auto"
        )
    reason = f" (a convolution in {name} failed: {failure})" if failure else ""
    chosen = "float32" if failure else name
    log.info("computing on %s in %s%s", device, chosen, reason)
    return Precision(chosen, _DTYPES[chosen])


def _fastest(device: torch.device) -> str:
    """Name the precision that a device says it multiplies fastest."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: they may be gone
    return "bfloat16" if any(getattr(torch.cpu, name, bool)() for name in probes) else "float32"


def _failure(device: torch.device, dtype: torch.dtype | None) -> str:
    """Return why small convolutions in a precision fail on a device, or nothing if they work.

    A CPU may claim bfloat16 while oneDNN, which computes the convolutions, refuses it.
    """
    if dtype is None:
        return ""
    mkldnn = device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    try:
        with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
            for groups in (1, 8):  # ordinary and depthwise
                images = torch.ones(2, 8, 8, 8, device=device, dtype=dtype, requires_grad=True)
                weight = torch.ones(8, 8 // groups, 3, 3, device=device, dtype=dtype)
                torch.conv2d(images, weight, padding=1, groups=groups).sum().backward()  # type: ignore[no-untyped-call]
                if mkldnn:  # conv2d goes round what oneDNN lacks, slowly and in silence
                    one = [1, 1]  # padding, stride, dilation
                    torch.mkldnn_convolution(images.detach(), weight, None, one, one, one, groups)
    except RuntimeError as error:
        return str(error).strip().partition("\n")[0]
    return ""


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
    names = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    given = {name: os.environ[name] for name in names if name in os.environ}
    size, needs = given.get("WORLD_SIZE", "1"), ("RANK", "MASTER_ADDR", "MASTER_PORT")
    whole = all(map(str.isdecimal, given.values())) and given.get("LOCAL_WORLD_SIZE") != "0"
    if not whole or (size != "1" and not all(name in os.environ for name in needs)):
        raise TrainingError(
            f"{given} is not what torchrun sets, with {', '.join(needs)}: unset these, or use it"
        )
    return int(size)


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
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found

"""Several processes that train one network: who am I, and how results come together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from medimg.errors import TrainingError
from medimg.runtime import pick_device


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
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
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


def wrap(model: nn.Module) -> nn.Module:
    """Return the network whose backward pass averages gradients over all processes."""
    return model if world()[1] == 1 else DistributedDataParallel(model)


@torch.no_grad()
def sync_buffers(model: nn.Module) -> None:
    """Give every process the first one's running statistics, so that all judge alike."""
    if world()[1] > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def gather_rows(local: Tensor, total: int) -> Tensor:
    """Put together rows that were dealt out as ``rows[rank::processes]``, each exactly once.

    Parameters
    ----------
    local : Tensor
        (about total / processes, ...) of this process, on the CPU.
    total : int
        Rows of all processes together.

    Returns
    -------
    Tensor
        (total, ...) in the original order, the same in every process.
    """
    if (size := world()[1]) == 1:
        return local
    parts: list[Any] = [None] * size
    distributed.all_gather_object(parts, local.numpy())
    whole = torch.empty((total, *local.shape[1:]), dtype=local.dtype)
    for rank, part in enumerate(parts):
        whole[rank::size] = torch.from_numpy(part)
    return whole

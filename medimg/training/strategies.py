"""Named strategies of transfer learning: which part trains in which epoch, and how fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from medimg.errors import TrainingError
from medimg.training.types import Network

Rates = NDArray[np.float64]  # (epochs, stages + 1), the head last; 0 is frozen


def frozen(epochs: int, stages: int) -> Rates:
    """Train the head alone, ten times as fast, on features that never change.

    `fit` solves a linear head exactly instead (`linear_probe`) unless told not to.
    """
    rates = np.zeros((epochs, stages + 1))
    rates[:, -1] = 10.0
    return rates


def head_then_all(epochs: int, stages: int) -> Rates:
    """Train the head alone for an epoch, ten times as fast, then everything.

    A random head would tear at the pretrained features; a fitted one lets them be refined. `fit`
    solves a linear head exactly in that epoch (`linear_probe`) unless told not to.

    References
    ----------
    Kumar et al., "Fine-tuning can distort pretrained features and underperform out of
    distribution", ICLR 2022.
    """
    rates = np.ones((epochs, stages + 1))
    rates[0, :-1] = 0.0
    rates[0, -1] = 10.0
    return rates


def gradual(epochs: int, stages: int) -> Rates:
    """Unfreeze from the head backwards, evenly over the first two thirds of the epochs.

    References
    ----------
    Howard, Ruder, "Universal language model fine-tuning for text classification", ACL 2018.
    """
    open_after = np.maximum(1, np.ceil(2 / 3 * epochs))
    reach = (np.arange(epochs) / open_after * (stages + 1)).astype(int)  # stages open, from the end
    position = np.arange(stages + 1)
    rates: Rates = (position[None, :] >= stages - reach[:, None]).astype(np.float64)
    rates[-1] = 1.0
    return rates


def discriminative(epochs: int, stages: int) -> Rates:
    """Train everything, each stage 1.6 times slower than the next: edges need little change.

    References
    ----------
    Howard, Ruder, "Universal language model fine-tuning for text classification", ACL 2018.
    """
    rates: Rates = np.tile(np.power(1.6, -np.arange(stages, -1, -1.0)), (epochs, 1))
    return rates


def all_at_once(epochs: int, stages: int) -> Rates:
    """Train everything at one rate from the start."""
    return np.ones((epochs, stages + 1))


STRATEGIES: dict[str, Callable[[int, int], Rates]] = {
    "frozen": frozen,
    "head_then_all": head_then_all,
    "gradual": gradual,
    "discriminative": discriminative,
    "all": all_at_once,
}


def plan(strategy: str, stages: Sequence[str], *, epochs: int) -> pd.DataFrame:
    """Return what trains when, and at what multiple of the learning rate.

    Parameters
    ----------
    strategy : str
        One of ``STRATEGIES``.
    stages : sequence of str
        The backbone's stages, from input to output (``model.stages()``).
    epochs : int
        Length of the run.

    Returns
    -------
    DataFrame
        One row an epoch (index ``epoch``, from 1), one column a stage and ``head``; 0 is frozen.

    Raises
    ------
    TrainingError
        When the strategy is unknown.

    Examples
    --------
    >>> plan("head_then_all", ["stem", "stage1"], epochs=3)
           stem  stage1  head
    epoch
    1       0.0     0.0  10.0
    2       1.0     1.0   1.0
    3       1.0     1.0   1.0
    """
    if strategy not in STRATEGIES:
        raise TrainingError(
            f"no strategy is called {strategy!r}; choose one of {', '.join(STRATEGIES)}"
        )
    rates = STRATEGIES[strategy](epochs, len(stages))
    index = pd.RangeIndex(1, epochs + 1, name="epoch")
    return pd.DataFrame(rates, index=index, columns=[*stages, "head"])


def set_trainable(model: Network, rates: Mapping[str, float], *, freeze_norms: bool) -> None:
    """Put a row of the plan into force: gradients on or off, frozen parts in evaluation mode."""
    model.train()
    for name, part in [*model.stages().items(), ("head", model.head)]:
        on = rates[name] > 0
        part.requires_grad_(on)
        part.train(on)
    if freeze_norms:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

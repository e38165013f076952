"""What decides a training run, and what comes out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from operator import index
from typing import Any

import numpy as np
import pandas as pd

from medimg.augment import Augment
from medimg.errors import TrainingError
from medimg.models import MedicalNet
from medimg.training.optim import STRATEGIES

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "strategy": tuple(STRATEGIES),
    "schedule": ("cosine", "constant"),
    "loss": ("cross_entropy", "focal"),
    "sampler": ("balanced", None),
    "monitor": ("auc", "loss", "last"),
}
_RULES: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("epochs", "batch_size", "patience"), lambda v: index(v) >= 1, "a whole number, 1 or more"),
    (("seed",), lambda v: 0 <= index(v) < 2**32, "a whole number from 0 to 4294967295"),
    (("ema", "label_smoothing", "warmup"), lambda v: 0 <= v < 1, "a number, 0 up to below 1"),
    (("learning_rate", "weight_decay", "min_delta", "C"), lambda v: 0 <= v < math.inf,
     "a finite number, 0 or more"),
    (("sizes",), lambda v: isinstance(v, tuple) and all(0 < share <= 1 for share in v),
     "a tuple of shares of the side above 0 up to 1"),
    (("class_weights",), lambda v: v in (None, "balanced") or all(0 < w < math.inf for w in v),
     "'balanced', a number above 0 for each class, or None"),
)  # fmt: skip
FEW = 150
"""Below so many training images, solve the head (`fit_head`) instead of training the network.

Too few images are left for validation to tell whether fine-tuning helped, and the regularised
head alone is as good (``benchmarks/small_sets.py``).
"""


@dataclass(frozen=True)
class FitSettings:
    """How to train. The same settings, data and seed on the same machine give the same weights.

    Attributes
    ----------
    strategy : {"head", "head_then_all", "gradual", "discriminative", "all"}
        Which part trains when; see `plan`. "head" learns from features that are computed once, so
        ``augment``, ``sizes`` and ``freeze_norms`` do not apply.
    epochs : int
        Largest number of passes over the training images.
    batch_size : int
        Images per step, over all processes together.
    learning_rate : float
        Learning rate of the whole network at the schedule's top; a strategy may give a part more
        or less.
    schedule : {"cosine", "constant"}
        How the rate falls after the warm-up.
    warmup : float
        Share of all steps over which the rate rises from zero.
    weight_decay : float
        Pull on weights (not on norms and biases) towards zero, decoupled (AdamW).
    label_smoothing : float
        Share of each label that is spread over all classes.
    ema : float
        Decay of the exponential moving average of the weights; 0 is off. The averaged weights are
        validated and kept.
    loss : {"cross_entropy", "focal"}
        Focal loss (torchvision's) gives more weight to images that are still misjudged.
    class_weights : "balanced", tuple of float or None
        Weight of each class in the loss.
    sampler : {"balanced", None}
        Whether each class is drawn equally often.
    augment : Augment
        How much batches are changed.
    sizes : tuple of float
        Shares of the images' side to train at, small to large, for an equal part of the epochs
        each: ``(0.7, 1.0)`` trains the first half at half the cost. Empty is full size throughout.
    monitor : {"auc", "loss", "last"}
        The validation metric that early stopping watches; with "last" there is none, and the last
        weights are kept: where nearly every validation image is right, a choice would be chance.
    patience : int
        Epochs without improvement before stopping.
    min_delta : float
        The smallest change that counts as an improvement.
    freeze_norms : bool
        Whether batch norms keep their pretrained statistics. The solved head was fitted with
        these; and statistics of augmented images would not suit images as they are.
    C : float
        Inverse strength of regularisation (scikit-learn's C) of the logistic regression that
        gives a linear head its first weights in "head_then_all"; 0 trains that epoch by steps.
    tta : bool
        Whether the command line calibrates and keeps the network for scores that are averaged
        over several views of an image (test-time augmentation).
    seed : int
        Seed for shuffling, augmentation and dropout.

    Raises
    ------
    TrainingError
        When a value is outside its range.

    Examples
    --------
    >>> FitSettings(epochs=3).strategy
    'head_then_all'
    """

    strategy: str = "head_then_all"
    epochs: int = 6
    batch_size: int = 32
    learning_rate: float = 3e-4
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    ema: float = 0.98
    loss: str = "cross_entropy"
    class_weights: str | tuple[float, ...] | None = None
    sampler: str | None = None
    augment: Augment = field(default_factory=Augment)
    sizes: tuple[float, ...] = ()
    monitor: str = "auc"
    patience: int = 3
    min_delta: float = 0.001
    freeze_norms: bool = False
    C: float = 0.001
    tta: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # what a checkpoint and a card can hold
            plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
            plain = tuple(plain) if isinstance(plain, list) else plain
            object.__setattr__(self, name, plain)  # the class is frozen
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(f"{name} is {getattr(self, name)!r}; choose one of {allowed}")
        for names, holds, expected in _RULES:
            for name in names:
                value = getattr(self, name)
                with suppress(TypeError):  # not a number at all
                    if holds(value):
                        continue
                raise TrainingError(f"{name} is {value!r}; give {expected}")

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers, for a sidecar or a checkpoint."""
        return dict(json.loads(json.dumps(asdict(self))))


def recipe(count: int, *, seed: int = 0) -> FitSettings:
    """Return settings that suit the number of training images.

    Parameters
    ----------
    count : int
        Training images.
    seed : int
        Passed on.

    Returns
    -------
    FitSettings

    Raises
    ------
    TrainingError
        When ``count`` is below 2.

    Examples
    --------
    >>> recipe(70).freeze_norms, recipe(5000).augment == Augment.harsh()
    (True, True)
    """
    if count < 2:
        raise TrainingError(f"{count} training images cannot train a network; give at least 2")
    both = FitSettings(learning_rate=1e-4, freeze_norms=True, seed=seed)
    if count < 500:
        return replace(both, epochs=10, batch_size=16, monitor="loss", min_delta=0.0, C=0.01)
    # With thousands of images nearly all validation images are right after an epoch: what is left
    # to gain lies in images from elsewhere (benchmarks/engine_headline.py).
    many = replace(both, epochs=7, augment=Augment.harsh(), sizes=(0.7, 0.85, 1.0), ema=0.99)
    return replace(many, class_weights="balanced", monitor="last", tta=True)


@dataclass(frozen=True)
class FitResult:
    """A trained network and how it came about.

    Attributes
    ----------
    model : MedicalNet
        With the best weights, in evaluation mode.
    history : DataFrame
        One row per epoch (index ``epoch``, from 1): losses, validation metrics, seconds. A solved
        head has one row.
    best_epoch : int
        Epoch whose weights these are; from 1.
    fingerprint : str
        Fingerprint of the training images and labels.
    settings : dict
        How it was trained, as plain values for a model card.
    """

    model: MedicalNet = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    best_epoch: int
    fingerprint: str
    settings: dict[str, Any] = field(repr=False)

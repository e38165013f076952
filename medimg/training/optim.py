"""What decides a training run: what trains when and how fast, settings, recipe, and the loss."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel
from torchvision.ops import sigmoid_focal_loss

from medimg.augment import Augment
from medimg.errors import TrainingError
from medimg.models import MedicalNet

ClassWeights = str | Sequence[float] | None  # "balanced", a number for each class, or all alike
Rates = NDArray[np.float64]  # (epochs, stages + 1), the head last; 0 is frozen


def head_alone(epochs: int, stages: int) -> Rates:
    """Train the head alone, ten times as fast, on features that never change.

    `medimg.training.fit_head` solves a linear head exactly instead.
    """
    return np.tile([0.0] * stages + [10.0], (epochs, 1))


def head_then_all(epochs: int, stages: int) -> Rates:
    """Train the head alone for an epoch, ten times as fast, then everything.

    The large gradients of an untrained head would damage the pretrained features. `fit` solves a
    linear head exactly in that epoch (`linear_probe`), unless ``FitSettings.C`` is 0.

    References
    ----------
    Kumar et al., "Fine-tuning can distort pretrained features and underperform out of
    distribution", ICLR 2022.
    """
    return np.concatenate([head_alone(1, stages), all_at_once(epochs - 1, stages)])


def gradual(epochs: int, stages: int) -> Rates:
    """Unfreeze from the head backwards, evenly over the first two thirds of the epochs.

    References
    ----------
    Howard, Ruder, "Universal language model fine-tuning for text classification", ACL 2018.
    """
    open_after = np.maximum(1, np.ceil(2 / 3 * epochs))
    reach = (np.arange(epochs) / open_after * (stages + 1)).astype(int)  # stages open, from the end
    rates: Rates = (np.arange(stages + 1) >= stages - reach[:, None]).astype(np.float64)
    rates[-1] = 1.0
    return rates


def discriminative(epochs: int, stages: int) -> Rates:
    """Train everything, each stage 1.6 times slower than the next: edges need little change.

    References
    ----------
    Howard, Ruder, "Universal language model fine-tuning for text classification", ACL 2018.
    """
    return np.tile(1.6 ** np.arange(-stages, 1.0), (epochs, 1))


def all_at_once(epochs: int, stages: int) -> Rates:
    """Train everything at one rate from the start."""
    return np.ones((epochs, stages + 1))


STRATEGIES: dict[str, Callable[[int, int], Rates]] = {
    "head": head_alone, "head_then_all": head_then_all, "gradual": gradual,
    "discriminative": discriminative, "all": all_at_once,
}  # fmt: skip


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
        One row per epoch (index ``epoch``, from 1), one column per stage and ``head``; 0 is frozen.

    Examples
    --------
    >>> plan("head_then_all", ["stem", "stage1"], epochs=3)
           stem  stage1  head
    epoch
    1       0.0     0.0  10.0
    2       1.0     1.0   1.0
    3       1.0     1.0   1.0
    """
    rates = STRATEGIES[strategy](epochs, len(stages))
    index = pd.RangeIndex(1, epochs + 1, name="epoch")
    return pd.DataFrame(rates, index=index, columns=[*stages, "head"])


_CHOICES: dict[str, tuple[str | bool | None, ...]] = {
    "strategy": tuple(STRATEGIES), "schedule": ("cosine", "constant"),
    "loss": ("cross_entropy", "focal"), "sampler": ("balanced", None),
    "monitor": ("auc", "loss", "last"), "tta": (True, False), "freeze_norms": (True, False),
}  # fmt: skip
_RANGES: dict[str, tuple[Any, float, float]] = {  # type, least, and what it stays below
    "epochs": (int, 1, math.inf), "batch_size": (int, 1, math.inf), "patience": (int, 1, math.inf),
    "seed": (int, 0, 2**32), "ema": (float, 0, 1), "label_smoothing": (float, 0, 1),
    "warmup": (float, 0, 1), "learning_rate": (float, 0, math.inf),
    "weight_decay": (float, 0, math.inf), "min_delta": (float, 0, math.inf),
    "C": (float, 0, math.inf), "sizes": (float, 0.1, 1.001),
}  # fmt: skip
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
        if not isinstance(self.augment, Augment):
            raise TrainingError(f"augment is {self.augment!r}; give an Augment, such as Augment()")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(f"{name} is {getattr(self, name)!r}; choose one of {allowed}")
        for name, (kind, least, below) in _RANGES.items():
            value: Any = getattr(self, name)
            for number in np.ravel(np.asarray(value, object)).tolist():
                if not isinstance(number, int | kind) or not least <= number < below:
                    raise TrainingError(
                        f"{name} is {value!r}; give {kind.__name__} from {least} to below {below}"
                    )

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

    Examples
    --------
    >>> recipe(70).freeze_norms, recipe(5000).augment == Augment.harsh()
    (True, True)
    """
    both = FitSettings(learning_rate=1e-4, freeze_norms=True, seed=seed)
    if count < 500:
        return replace(both, epochs=10, batch_size=16, monitor="loss", min_delta=0.0, C=0.01)
    # With thousands of images nearly all validation images are right after an epoch: what is left
    # to gain lies in images from elsewhere (benchmarks/engine_headline.py).
    many = replace(both, epochs=7, augment=Augment.harsh(), sizes=(0.7, 0.85, 1.0), ema=0.99)
    return replace(many, class_weights="balanced", monitor="last", tta=True)


def set_trainable(model: MedicalNet, rates: Mapping[str, float], *, freeze_norms: bool) -> None:
    """Put a row of the plan into force: gradients on or off, frozen parts in evaluation mode."""
    model.train()
    for name, part in [*model.stages().items(), ("head", model.head)]:
        part.requires_grad_(rates[name] > 0).train(rates[name] > 0)
    for module in model.modules():
        if freeze_norms and isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    for parameter in model.parameters():  # made anew in each step, they would fragment the memory
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None


def make_optimizer(model: MedicalNet, *, weight_decay: float) -> torch.optim.AdamW:
    """AdamW with two groups per stage: weights, which decay, and norms and biases, which do not.

    Parameters
    ----------
    model : MedicalNet
        Its stages and head name the groups.
    weight_decay : float
        For the weights.

    Returns
    -------
    torch.optim.AdamW
        Each group has ``stage`` beside the usual entries; the rates are set at every step.
    """
    groups: list[dict[str, Any]] = []
    for name, part in [*model.stages().items(), ("head", model.head)]:
        weights = [p for p in part.parameters() if p.ndim > 1]
        others = [p for p in part.parameters() if p.ndim <= 1]
        groups.append({"params": weights, "weight_decay": weight_decay, "stage": name})
        groups.append({"params": others, "weight_decay": 0.0, "stage": name})
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rates: Mapping[str, float], rate: float) -> None:
    """Give every group the step's learning rate times its stage's multiple."""
    for group in optimizer.param_groups:
        group["lr"] = rate * float(rates[group["stage"]])


def schedule(step: int, total: int, kind: str, warmup: float) -> float:
    """Return the share of the learning rate at a step: a pure function, nothing to restore.

    Parameters
    ----------
    step, total : int
        Steps done before this one, and in the whole run.
    kind : {"cosine", "constant"}
        What follows the linear rise over the warm-up.
    warmup : float
        Share of the run.

    Returns
    -------
    float
        In [0, 1].

    Examples
    --------
    >>> [round(schedule(s, 10, "cosine", 0.2), 2) for s in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    top = round(warmup * total)
    if step < top:
        return (step + 1) / top
    fall = (step - top) / max(1, total - top)
    return 1.0 if kind == "constant" else (1 + math.cos(math.pi * fall)) / 2


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a network's weights and running statistics.

    Parameters
    ----------
    model : nn.Module
        Copied as it is.
    decay : float
        Weight of the past; lower in the first steps, so that the start is soon forgotten.

    Returns
    -------
    AveragedModel
        torch's; the first ``update_parameters`` copies the network, later ones move towards it.
    """

    @torch.no_grad()
    def blend(averaged: Any, current: Any, count: Any) -> None:
        recent = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, recent)
        else:  # counts of batches
            torch._foreach_copy_(averaged, current)

    return AveragedModel(model, multi_avg_fn=blend, use_buffers=True)


def make_loss(
    kind: str, *, weights: Tensor | None, smoothing: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of each image: (B, K) logits, (B,) labels -> (B,).

    Parameters
    ----------
    kind : {"cross_entropy", "focal"}
        Focal is torchvision's, on the log-odds of the true class against all others, which makes
        it the softmax focal loss for any number of classes (gamma 2; no smoothing).
    weights : Tensor or None
        (K,), the weight of each class, on the logits' device.
    smoothing : float
        Share of each label spread over all classes.

    Returns
    -------
    callable
        Of float logits (B, K) and int64 labels (B,), the losses (B,).

    References
    ----------
    Lin et al., "Focal loss for dense object detection", ICCV 2017.

    Examples
    --------
    >>> loss = make_loss("cross_entropy", weights=None, smoothing=0.0)
    >>> loss(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    """

    def focal(logits: Tensor, labels: Tensor) -> Tensor:
        true = functional.one_hot(labels, logits.shape[1]).bool()
        odds = logits[true] - logits.masked_fill(true, -torch.inf).logsumexp(dim=1)
        losses = sigmoid_focal_loss(odds, torch.ones_like(odds), alpha=-1, gamma=2)
        return losses if weights is None else losses * weights[labels]

    given: Any = {"weight": weights, "label_smoothing": smoothing, "reduction": "none"}
    return focal if kind == "focal" else partial(functional.cross_entropy, **given)


def class_weights(labels: NDArray[Any], classes: int, how: ClassWeights) -> Tensor | None:
    """Return the weight of each class in the loss, float32 (K,), or None for equal weights.

    "balanced" is N / (K * count), so that every class has the same total weight.

    Examples
    --------
    >>> class_weights(np.array([0, 0, 0, 1]), 2, "balanced")
    tensor([0.6667, 2.0000])
    """
    if how is None:
        return None
    if isinstance(how, str) and how == "balanced":
        how = tuple(len(labels) / (classes * np.bincount(labels, minlength=classes).clip(1)))
    if len(how) != classes or not all(isinstance(w, int | float) and w > 0 for w in how):
        raise TrainingError(f"class_weights is {how!r}; give 'balanced' or {classes} numbers > 0")
    return torch.tensor(how, dtype=torch.float32)

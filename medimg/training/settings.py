"""Everything that decides a training run, in one frozen dataclass."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from medimg.augment import Augment
from medimg.errors import TrainingError

_CHOICES: dict[str, tuple[object, ...]] = {
    "strategy": ("frozen", "head_then_all", "gradual", "discriminative", "all"),
    "schedule": ("cosine", "one_cycle", "constant"),
    "loss": ("cross_entropy", "focal"),
    "sampler": ("balanced", None),
    "monitor": ("auc", "loss", "last"),
}
_RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("epochs", "batch_size", "patience"), lambda v: v >= 1, "1 or more"),
    (("ema", "label_smoothing", "warmup"), lambda v: 0 <= v < 1, "0 up to below 1"),
    (
        ("learning_rate", "weight_decay", "min_gain", "probe_strength"),
        lambda v: v >= 0,
        "0 or more",
    ),
    (("sizes",), lambda v: 0 < v <= 1, "a tuple of shares of the side above 0 up to 1"),
)


@dataclass(frozen=True)
class FitSettings:
    """How to train. The same settings, data and seed on the same machine give the same weights.

    Where a linear head is solved instead of trained (see `fit`), ``probe_strength``,
    ``class_weights`` and ``sampler`` decide, and the other settings are not used.

    Attributes
    ----------
    strategy : {"frozen", "head_then_all", "gradual", "discriminative", "all"}
        Which part trains when; see `plan`.
    epochs : int
        Passes over the training images, at most.
    batch_size : int
        Images a step, over all processes together.
    learning_rate : float
        Of the whole network at the schedule's top; a strategy may give a part more or less.
    schedule : {"cosine", "one_cycle", "constant"}
        How the rate falls after the warm-up.
    warmup : float
        Share of all steps over which the rate rises from zero.
    weight_decay : float
        Pull on weights (not on norms and biases) towards zero, decoupled (AdamW).
    label_smoothing : float
        Share of each label that is spread over all classes.
    ema : float
        Decay of the moving average of the weights; 0 is off. The averaged weights are judged,
        and kept.
    loss : {"cross_entropy", "focal"}
        Focal loss (torchvision's) turns the attention to the hard examples.
    class_weights : "balanced", tuple of float or None
        Weight of each class in the loss.
    sampler : {"balanced", None}
        Whether each class is drawn equally often.
    augment : Augment
        How far batches are changed.
    sizes : tuple of float
        Shares of the images' side to train at, small to large, an equal part of the epochs each:
        ``(0.7, 1.0)`` trains the first half at half the cost. Empty is full size throughout.
    monitor : {"auc", "loss", "last"}
        The validation metric that decides; with "last" none does, and the last weights are kept:
        where nearly every validation image is right, what is left to choose by is chance.
    patience : int
        Epochs without a gain before stopping.
    min_gain : float
        The least that counts as a gain.
    freeze_norms : bool
        Whether batch norms keep their pretrained statistics. The probe was solved with these;
        and statistics of changed images would not suit images as they are.
    probe_strength : float
        scikit-learn's C of the linear probe that starts the head; 0 leaves the head random.
    tta : bool
        Whether the command line calibrates and keeps the network for scores that are averaged
        over several views of an image (test-time augmentation).
    seed : int
        Of the order, the augmentation and the dropout.

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
    min_gain: float = 0.001
    freeze_norms: bool = False
    probe_strength: float = 0.001
    tta: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        put = object.__setattr__  # the class is frozen
        for name in ("sizes", "class_weights"):
            if isinstance(getattr(self, name), list):
                put(self, name, tuple(getattr(self, name)))
        for name in ("epochs", "batch_size", "patience", "seed"):
            put(self, name, _whole(name, getattr(self, name)))
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise TrainingError(f"{name} is {getattr(self, name)!r}; choose one of {allowed}")
        for names, holds, expected in _RANGES:
            for name in names:
                value = getattr(self, name)
                if not _holds(holds, value, many=name == "sizes"):
                    raise TrainingError(f"{name} is {value!r}; give {expected}")
        if not _are_weights(self.class_weights):
            raise TrainingError(
                f"class_weights is {self.class_weights!r}; give 'balanced', a number above 0 for "
                "each class, or None"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers, for a sidecar or a checkpoint."""
        plain = asdict(self)
        return {key: _plain(value) for key, value in plain.items()}


def _whole(name: str, value: Any) -> int:
    """Return a whole number as an int, whichever type it came in."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise TrainingError(f"{name} is {value!r}; give a whole number") from error


def _are_weights(value: Any) -> bool:
    """Whether this says how much each class weighs."""
    if value is None or isinstance(value, str):
        return value in (None, "balanced")
    return _holds(lambda v: 0 < v < math.inf, value, many=True)


def _holds(rule: Callable[[float], bool], value: Any, *, many: bool) -> bool:
    """Whether a number, or each of a tuple of them, keeps the rule."""
    if isinstance(value, tuple) is not many:
        return False
    try:
        return all(map(rule, value if many else (value,)))
    except TypeError:  # no number at all
        return False


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def recipe(count: int, *, seed: int = 0, fixed_size: bool = False) -> FitSettings:
    """Return settings that suit the number of training images.

    Parameters
    ----------
    count : int
        Training images.
    seed : int
        Passed on.
    fixed_size : bool
        Whether the network takes images of one size only, as a vision transformer does, so that
        it cannot begin with smaller ones.

    Returns
    -------
    FitSettings

    Raises
    ------
    TrainingError
        When ``count`` is below 2.

    Examples
    --------
    >>> recipe(70).strategy, recipe(5000).strategy
    ('frozen', 'head_then_all')
    """
    if count < 2:
        raise TrainingError(f"{count} training images cannot train a network; give at least 2")
    if count < 500:
        few = FitSettings(
            epochs=10,
            batch_size=16,
            learning_rate=1e-4,
            freeze_norms=True,
            monitor="loss",
            min_gain=0.0,
            probe_strength=0.01,
            seed=seed,
        )
        # With some tens of images, too few are left for validation to tell whether fine-tuning
        # helped, and the regularised head alone is as good (benchmarks/small_sets.py).
        return replace(few, strategy="frozen") if count < 150 else few
    # Thousands of images tell nearly all validation images right after an epoch: what is left to
    # gain lies in images from elsewhere (benchmarks/engine_headline.py).
    return FitSettings(
        epochs=7,
        augment=Augment.harsh(),
        sizes=() if fixed_size else (0.7, 0.85, 1.0),
        ema=0.99,
        learning_rate=1e-4,
        freeze_norms=True,
        class_weights="balanced",
        monitor="last",
        tta=True,
        seed=seed,
    )

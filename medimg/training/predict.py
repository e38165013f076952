"""Run a network over many images: logits, probabilities, features, and the head solved on them."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, distributed, nn
from torch.nn import functional

from medimg.augment import apply, check_images, fixed_view
from medimg.datasets import ImageSet
from medimg.errors import TrainingError
from medimg.metrics import Predictions
from medimg.models import MedicalNet
from medimg.progress import tqdm
from medimg.runtime import Precision, is_main, pick_device, pick_precision, world
from medimg.training import optim
from medimg.training.data import make_batch
from medimg.training.speed import autocast, fold

BATCH = {"cpu": 8, "cuda": 64}  # no more than what a CPU's caches hold; a GPU wants to be filled
VIEWS = ((0.0, 1.0), (0.0, 1.1), (-6.0, 1.05), (6.0, 1.05))  # (degrees, zoom); the first is plain


@torch.inference_mode()
def run_model(
    model: nn.Module, images: NDArray[Any], *, output: str = "logits",
    batch_size: int | None = None, tta: bool = False, shared: bool = False,
    precision: Precision | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Run a network over an array, batch by batch.

    Parameters
    ----------
    model : MedicalNet, or its head
        Not changed.
    images : ndarray
        uint8 (N, H, W) or (N, H, W, 3); or float features (N, ...) for a head.
    output : {"logits", "pooled", "map"}
        What to return of each image: (K,), (C,) or (C, h, w).
    batch_size : int, optional
        Images at once; by default `BATCH` of the device.
    tta : bool
        Whether to average over four views of each image (test-time augmentation).
    shared : bool
        Whether the processes of `process_group` deal the rows out and all get all results.
    precision : Precision, optional
        By default what the hardware computes fastest.

    Returns
    -------
    ndarray
        float32 (N, ...).

    Raises
    ------
    TrainingError
        When the network cannot take these images.

    Examples
    --------
    >>> run_model(nn.Linear(3, 2), np.ones((5, 3), np.float32)).shape
    (5, 2)
    """
    names = {"logits": "forward", "pooled": "embed", "map": "feature_map"}
    if output not in names:
        raise TrainingError(f"output is {output!r}; choose one of {', '.join(names)}")
    pictures = images.dtype == np.uint8  # features are no pictures: not in [0, 1], no views
    if pictures:
        check_images(images)
    device = pick_device()
    precision, batch_size = precision or pick_precision(device), batch_size or BATCH[device.type]
    call = getattr(fold(model, device, precision), names[output])
    views = VIEWS if tta and pictures else VIEWS[:1]
    rank, processes = world() if shared else (0, 1)
    rows = np.array_split(np.arange(len(images)), processes)[rank]
    found: list[Tensor] = []
    starts = range(0, max(1, len(rows)), batch_size)  # of no images one empty batch: (0, K)
    for start in tqdm(starts, desc=output, leave=False, delay=2) if is_main() else starts:
        batch = make_batch(images, rows[start : start + batch_size], device)
        total = torch.zeros(())
        for degrees, zoom in views:
            view = fixed_view(len(batch), degrees=degrees, zoom=zoom)
            seen = apply(batch, view) if pictures else batch
            with autocast(device, precision):
                total = total + call(seen).float().cpu() / len(views)
        found.append(total)
    whole = gather_rows(torch.cat(found)) if shared else torch.cat(found)
    return np.ascontiguousarray(whole.numpy())  # feature maps come channels last


def gather_rows(local: Tensor) -> Tensor:
    """Put together the rows of all processes, in the order of the processes.

    Parameters
    ----------
    local : Tensor
        (n, ...) of this process, on the CPU.

    Returns
    -------
    Tensor
        (N, ...), the same in every process.
    """
    parts: list[Any] = [local] * world()[1]
    if len(parts) > 1:
        distributed.all_gather_object(parts, local)
    return torch.cat(parts)


def predict_logits(
    model: MedicalNet, images: NDArray[np.uint8], *, batch_size: int | None = None,
    tta: bool = False,
) -> NDArray[np.float32]:  # fmt: skip
    """Return the logits of images, before temperature and softmax.

    Parameters
    ----------
    model : MedicalNet
        Left as it is.
    images : ndarray
        uint8 (N, H, W) or (N, H, W, 3).
    batch_size : int, optional
        Images at once; by default what suits the device.
    tta : bool
        Whether to average over four views (test-time augmentation): steadier, four times slower.

    Returns
    -------
    ndarray
        float32 (N, K).

    Raises
    ------
    TrainingError
        When the network cannot take these images, or an output is not a number.
    """
    logits = run_model(model, images, batch_size=batch_size, tta=tta)
    if len(bad := np.flatnonzero(~np.isfinite(logits).all(axis=1))):
        raise TrainingError(
            f"the network's output is not a finite number for {len(bad)} of {len(logits)} images "
            f"(the first is row {bad[0]}); its weights are damaged: train again"
        )
    return logits


def predict(
    model: MedicalNet, images: ImageSet, *, batch_size: int | None = None, tta: bool = False,
    temperature: float = 1.0,
) -> Predictions:  # fmt: skip
    """Return the probabilities of a set of images, with their names and true labels.

    Parameters
    ----------
    model : MedicalNet
        Left as it is.
    images : ImageSet
        What to predict.
    batch_size, tta
        As for `predict_logits`.
    temperature : float
        Logits are divided by it before softmax; above 1 makes the network less sure.

    Returns
    -------
    Predictions
        ``y_score`` is P(disease) (N,) for two classes, else (N, K).
    """
    logits = predict_logits(model, images.images, batch_size=batch_size, tta=tta)
    return Predictions(
        ids=np.asarray(images.ids), y_true=np.asarray(images.labels),
        y_score=probabilities(logits, temperature=temperature),
        patient_ids=images.patient_ids, classes=tuple(images.classes),
    )  # fmt: skip


def probabilities(
    logits: NDArray[np.floating[Any]], *, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Turn logits into probabilities: softmax with a temperature.

    Parameters
    ----------
    logits : ndarray of float, shape (N, K)
        From `predict_logits`.
    temperature : float
        Divides the logits; above 1 it makes the probabilities more cautious.

    Returns
    -------
    ndarray of float64, shape (N,) or (N, K)
        P(class 1) of two classes, else the probability of each.

    Raises
    ------
    TrainingError
        When the logits have another shape, or the temperature is below 1e-6.

    Examples
    --------
    >>> probabilities(np.array([[0.0, 0.0], [0.0, 2.0]]), temperature=2.0).round(3)
    array([0.5  , 0.731])
    """
    if np.ndim(logits) != 2:
        raise TrainingError(
            f"the logits have shape {np.shape(logits)}; expected (N, K), as predict_logits returns"
        )
    # A negative one would reverse every answer, and one near 0 make logits infinite.
    if not 1e-6 <= temperature < math.inf:
        raise TrainingError(f"temperature is {temperature}; give a number from 1e-6 on")
    scaled = torch.from_numpy(np.asarray(logits, dtype=np.float64)) / temperature
    shares = torch.softmax(scaled, dim=1).numpy()
    return cast("NDArray[np.float64]", shares[:, 1] if shares.shape[1] == 2 else shares)


def validation_metrics(
    logits: NDArray[np.floating[Any]], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Return loss, AUC and accuracy of logits: what early stopping looks at.

    Parameters
    ----------
    logits : ndarray
        (N, K).
    labels : ndarray
        int64 (N,).

    Returns
    -------
    dict
        ``loss`` (mean cross-entropy, nats), ``auc`` (for more than two classes the mean over each
        class against the rest; NaN with one class only) and ``accuracy`` of the largest logit.

    Examples
    --------
    >>> validation_metrics(np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))["auc"]
    1.0
    """
    wide = torch.from_numpy(np.asarray(logits, dtype=np.float64))
    loss = float(functional.cross_entropy(wide, torch.from_numpy(np.array(labels))))
    ranks = torch.softmax(wide, dim=1).numpy()
    kept = [k for k in np.unique(labels) if 0 < (labels == k).sum() < len(labels)]
    if wide.shape[1] == 2:
        ranks = (wide - wide[:, [1, 0]]).numpy()  # finer than the probability, which saturates
        kept = kept[1:]
    each = [roc_auc_score(labels == k, ranks[:, k]) for k in kept]
    auc = float(np.mean(each)) if each else math.nan
    return {"loss": loss, "auc": auc, "accuracy": float((logits.argmax(axis=1) == labels).mean())}


def extract_features(
    model: MedicalNet, images: NDArray[np.uint8], *, kind: str = "pooled"
) -> NDArray[np.float32]:  # fmt: skip
    """Run the backbone once over all images.

    Parameters
    ----------
    model : MedicalNet
        Its head is not used.
    images : ndarray
        uint8 (N, H, W) or (N, H, W, 3).
    kind : {"pooled", "map"}
        Pooled features (N, C), or feature maps (N, C, h, w) for an attention head.

    Returns
    -------
    ndarray
        float32.

    Raises
    ------
    TrainingError
        When the kind is unknown, or the network cannot take these images.
    """
    return run_model(model, images, output=kind, shared=True)


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features as they are: ``features @ weight.T + bias`` are logits.

    Attributes
    ----------
    weight : ndarray
        float32 (K, C).
    bias : ndarray
        float32 (K,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C) features -> (N, K) logits."""
        return cast("NDArray[np.float32]", features @ self.weight.T + self.bias)

    def load_into(self, head: Any) -> None:
        """Give a linear head these weights."""
        weight, bias = torch.from_numpy(self.weight), torch.from_numpy(self.bias)
        head.linear.load_state_dict({"weight": weight, "bias": bias})


def linear_probe(
    features: NDArray[np.floating[Any]], labels: NDArray[np.int64], *, num_classes: int = 2,
    C: float = 0.001, class_weights: optim.ClassWeights = None,
) -> Probe:  # fmt: skip
    """Fit a regularised logistic regression to frozen features.

    Parameters
    ----------
    features : ndarray
        float32 (N, D).
    labels : ndarray
        int64 (N,), from 0 to K - 1.
    num_classes : int
        Number of outputs, K; classes without an example keep a logit of minus 10.
    C : float
        Inverse strength of regularisation on standardised features, as in scikit-learn: smaller is
        more regularised. The default suits some tens to some thousands of images and a thousand
        features.
    class_weights : "balanced", sequence of float or None
        Weight of each class in the loss: "balanced" gives each the same total weight.

    Returns
    -------
    Probe

    Raises
    ------
    TrainingError
        When labels are not numbers of the K classes or there is one class only, a feature is not
        finite, there is not one weight per class, or C is not above 0.

    Examples
    --------
    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [5.0, 1.0], [6.0, 1.0]], np.float32)
    >>> linear_probe(x, np.array([0, 0, 1, 1])).logits(x).argmax(axis=1).tolist()
    [0, 0, 1, 1]
    """
    labels, wide = np.asarray(labels), np.asarray(features, dtype=np.float64)
    if wide.ndim != 2 or labels.shape != wide.shape[:1] or not np.isfinite(wide).all():
        raise TrainingError(
            f"features {wide.shape} and labels {labels.shape} cannot be fitted; expected finite "
            "numbers (N, D) and whole numbers (N,)"
        )
    if not C > 0:
        raise TrainingError(f"C is {C}; give a number above 0")
    present = np.unique(labels)
    whole = labels.dtype.kind in "iu" and len(present) > 1
    if not whole or present[0] < 0 or present[-1] >= num_classes:
        raise TrainingError(
            f"the labels are {', '.join(map(str, present[:5]))}; expected two or more of the whole "
            f"numbers from 0 to {num_classes - 1} (num_classes={num_classes})"
        )
    centre, spread = wide.mean(axis=0), wide.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    weighting: Any = class_weights
    each = optim.class_weights(labels, num_classes, class_weights)  # refuses what are none
    if each is not None and not isinstance(class_weights, str):
        weighting = {k: float(each[k]) for k in present}
    regression = LogisticRegression(C=C, max_iter=2000, tol=1e-6, class_weight=weighting)  # type: ignore[no-untyped-call]
    regression.fit((wide - centre) / spread, labels)
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(present) == 2:  # one row for the second class: split it evenly over both logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight = np.zeros((num_classes, wide.shape[1]), np.float32)
    bias = np.full(num_classes, -10.0, np.float32)
    weight[present] = coefficients / spread
    bias[present] = intercepts - (coefficients / spread) @ centre
    return Probe(weight, bias)

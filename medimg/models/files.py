"""Weights as safetensors with a JSON sidecar: nothing in them is ever executed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from medimg.errors import ModelError
from medimg.models.backbones import build_model
from medimg.models.network import AttentionHead, MedicalNet
from medimg.runtime import versions
from medimg.storage import atomic_write


@dataclass(frozen=True)
class ModelInfo:
    """What a file of weights does not say itself.

    Attributes
    ----------
    name, head : str
        As given to `build_model`.
    classes : tuple of str
        The outputs, healthy first.
    image_size : int
        Side of the images that it was trained on, in pixels.
    keep_aspect : bool
        Whether those were padded to squares instead of stretched.
    mean, std : tuple of float
        Normalisation of the three channels; the network applies it itself.
    threshold : float
        From this P(disease) on, an image is called diseased.
    threshold_rule : str
        How the threshold was chosen, and on what.
    temperature : float
        Logits are divided by it before softmax.
    tta : bool
        Whether threshold and temperature belong to scores averaged over several views of an
        image (test-time augmentation), so that it must be scored in the same way.
    data_fingerprint : str
        Of the training images and labels.
    settings, metrics : dict
        How it was trained, what it reached on validation.
    versions : dict
        Of Python and the packages that trained it.
    weights_sha256 : str
        Sum of the file of weights that the card was written with; empty in cards of before.
    """

    name: str
    classes: tuple[str, ...]
    head: str = "linear"
    image_size: int = 224
    keep_aspect: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    threshold: float = 0.5
    threshold_rule: str = "default"
    temperature: float = 1.0
    tta: bool = False
    data_fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    weights_sha256: str = ""


def save_model(
    model: MedicalNet,
    path: str | os.PathLike[str],
    *,
    sidecar: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Write ``PATH.safetensors`` and, beside it, ``PATH.json``, each atomically.

    The card holds the sum of the weights, so that `load_model` can tell when the two are not of
    one writing.

    Parameters
    ----------
    model : MedicalNet
        What to keep.
    path : path
        With or without ``.safetensors``.
    sidecar : mapping, optional
        Fields of `ModelInfo` that the network does not know: threshold, temperature, ...

    Returns
    -------
    ModelInfo
        What the sidecar says.

    Raises
    ------
    ModelError
        When the sidecar has a field that `ModelInfo` lacks.
    """
    known = {f.name for f in fields(ModelInfo)}
    extra = dict(sidecar or {})
    if not set(extra) <= known:
        raise ModelError(
            f"the sidecar has unknown fields {sorted(set(extra) - known)}; known: {sorted(known)}"
        )
    own = {
        "name": model.name,
        "classes": tuple(model.classes),
        "head": "attention" if isinstance(model.head, AttentionHead) else "linear",
        "mean": tuple(round(float(v), 6) for v in model.mean.flatten()),
        "std": tuple(round(float(v), 6) for v in model.std.flatten()),
    }
    weights, card = _paths(path)
    content = save({key: value.cpu().contiguous() for key, value in model.state_dict().items()})
    sums = {"weights_sha256": hashlib.sha256(content).hexdigest()}
    info = ModelInfo(**(own | extra | sums))
    with atomic_write(weights) as file:
        file.write(content)
    with atomic_write(card, "w") as file:
        json.dump(asdict(info), file, indent=2, sort_keys=True)
        file.write("\n")
    return info


def load_model(path: str | os.PathLike[str]) -> tuple[MedicalNet, ModelInfo]:
    """Read a network back, ready to predict.

    Parameters
    ----------
    path : path
        Of the ``.safetensors`` file, with or without that ending.

    Returns
    -------
    MedicalNet
        In evaluation mode, on the CPU.
    ModelInfo
        Its sidecar.

    Raises
    ------
    ModelError
        When a file is missing or damaged, or the two do not belong together.
    """
    weights, card = _paths(path)
    for part in (weights, card):
        if not part.is_file():
            raise ModelError(
                f"no model at {part}; give the path of a .safetensors file that "
                "`medimg fit` wrote, its .json beside it"
            )
    info = _read_card(card)
    content = weights.read_bytes()
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ModelError(
            f"{weights} is not a safetensors file, or is cut short ({error})"
        ) from error
    if info.weights_sha256 not in ("", hashlib.sha256(content).hexdigest()):
        raise ModelError(
            f"{card} was not written with the weights in {weights}: their SHA-256 is not the one "
            "it names, so its threshold and temperature are of another network; bring the pair "
            "that belongs together, or fit again"
        )
    model = build_model(info.name, num_classes=len(info.classes), pretrained=False, head=info.head)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {weights.name} are not those of the {info.name} with "
            f"{len(info.classes)} classes and a {info.head} head that {card.name} describes"
        ) from error
    model.classes = info.classes
    return model.eval(), info


def _paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    plain = Path(path)
    base = plain.with_suffix("") if plain.suffix in (".safetensors", ".json") else plain
    return base.with_name(base.name + ".safetensors"), base.with_name(base.name + ".json")


def _read_card(card: Path) -> ModelInfo:
    try:
        content = json.loads(card.read_text(encoding="utf-8"))
        for key in ("classes", "mean", "std"):
            content[key] = tuple(content[key])
        return ModelInfo(**content)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{card} is not the sidecar of a model ({error}); write it with save_model"
        ) from error

"""Weights as safetensors with a JSON sidecar: nothing in them is ever executed."""

from __future__ import annotations

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


def save_model(
    model: MedicalNet,
    path: str | os.PathLike[str],
    *,
    sidecar: Mapping[str, Any] | None = None,
) -> ModelInfo:
    """Write ``PATH.safetensors`` and, beside it, ``PATH.json``, each atomically.

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
    info = ModelInfo(**(own | extra))
    weights, card = _paths(path)
    tensors = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_write(weights) as file:
        file.write(save(tensors))
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
    try:
        tensors = load(weights.read_bytes())
    except SafetensorError as error:
        raise ModelError(
            f"{weights} is not a safetensors file, or is cut short ({error})"
        ) from error
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

"""Weights as safetensors with a JSON sidecar: nothing in them is ever executed."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors.torch import save

from medimg.errors import ModelError
from medimg.models.build import build_model, load_weights, read_weights
from medimg.models.network import AttentionHead, MedicalNet
from medimg.runtime import versions
from medimg.storage import sha256, write_together


@dataclass(frozen=True)
class ModelInfo:
    """What a file of weights does not say itself.

    ``medimg/models/card.schema.json`` says which values each field may have.

    Attributes
    ----------
    name, head : str
        As given to `build_model`.
    classes : tuple of str
        Names of the outputs, the healthy class first.
    channels : int
        1 for grey images, 3 for colour.
    image_size : int
        Side of the images that it was trained on, in pixels.
    keep_aspect : bool
        Whether those were padded to squares instead of stretched.
    stretch : bool
        Whether each file was mapped from its lowest to its highest value, whatever window it names.
    mean, std : tuple of float
        Normalisation of the three channels; the network applies it itself.
    threshold : float
        An image is called diseased if P(disease) is at least this.
    threshold_rule : str
        How the threshold was chosen, and on what.
    temperature : float
        Logits are divided by it before softmax.
    tta : bool
        Whether threshold and temperature belong to scores averaged over several views of an
        image (test-time augmentation), so that it must be scored in the same way.
    ordinal : bool
        Whether the classes are grades, in rising order.
    by : {"image", "patient"}
        Whether the threshold belongs to scores of images or of patients.
    data_fingerprint : str
        Fingerprint of the training images and labels.
    settings, metrics : dict
        How it was trained, and what it reached on validation.
    versions : dict
        Versions of Python and of the packages that trained it.
    weights_sha256 : str
        SHA-256 of the file of weights that the card was written with; empty in older cards.
    """

    name: str
    classes: tuple[str, ...]
    head: str = "linear"
    channels: int = 1
    image_size: int = 224
    keep_aspect: bool = False
    stretch: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    threshold: float = 0.5
    threshold_rule: str = "default"
    temperature: float = 1.0
    tta: bool = False
    ordinal: bool = False
    by: str = "image"
    data_fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)
    weights_sha256: str = ""


def save_model(
    model: MedicalNet, path: str | os.PathLike[str], *, sidecar: Mapping[str, Any] | None = None,
    beside: Mapping[Path, bytes] | None = None,
) -> ModelInfo:  # fmt: skip
    """Write ``PATH.safetensors`` and, beside it, ``PATH.json``: both, or none.

    The card holds the SHA-256 of the weights, so that `load_model` can tell when the two were not
    written together.

    Parameters
    ----------
    model : MedicalNet
        What to keep.
    path : path
        With or without ``.safetensors``.
    sidecar : mapping, optional
        Fields of `ModelInfo` that the network does not know: threshold, temperature, ...
    beside : mapping of Path to bytes, optional
        Files that belong to the network, written with it or not at all.

    Returns
    -------
    ModelInfo
        What the sidecar says.

    Raises
    ------
    ModelError
        When the sidecar has a field that `ModelInfo` lacks, or a value that a card cannot have.
    """
    weights, card = model_paths(path)
    content = save({key: value.cpu().contiguous() for key, value in model.state_dict().items()})
    known: dict[str, Any] = {
        "name": model.name, "classes": model.classes, "channels": model.channels,
        "head": "attention" if isinstance(model.head, AttentionHead) else "linear",
        "mean": [round(float(v), 6) for v in model.mean.flatten()],
        "std": [round(float(v), 6) for v in model.std.flatten()],
        **(sidecar or {}), "weights_sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    info = _checked(json.dumps(known), card)
    text = json.dumps(asdict(info), indent=2, sort_keys=True) + "\n"
    write_together({weights: content, card: text.encode(), **(beside or {})})
    return info


def load_model(path: str | os.PathLike[str]) -> tuple[MedicalNet, ModelInfo]:
    """Read a network back, ready to predict.

    Parameters
    ----------
    path : path
        Path of the ``.safetensors`` file, with or without that ending.

    Returns
    -------
    MedicalNet
        In evaluation mode, on the CPU.
    ModelInfo
        Its sidecar.

    Raises
    ------
    ModelError
        When a file is missing or damaged, the two do not belong together, the card holds a value
        that a card cannot have, or a weight is not finite.
    """
    weights, card = model_paths(path)
    for part in (weights, card):
        if not part.is_file():
            raise ModelError(
                f"no model at {part}; give the path of a .safetensors file with its .json beside it"
            )
    info = _checked(card.read_bytes(), card)
    tensors = read_weights(weights)
    if info.weights_sha256 not in ("", sha256(weights)):
        raise ModelError(
            f"{card} was not written with the weights in {weights}: their SHA-256 is not the one "
            "it names, so its threshold and temperature are those of another network; bring the "
            "pair that belongs together, or fit again"
        )
    model = build_model(
        info.name, classes=info.classes, channels=info.channels, pretrained=False, head=info.head
    )
    load_weights(model, tensors, f"{info.name} ({weights.name})")
    return model.eval(), info


def model_paths(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the files of a network: weights and card.

    Examples
    --------
    >>> [file.name for file in model_paths("runs/lungs.v2")]
    ['lungs.v2.safetensors', 'lungs.v2.json']
    """
    plain = Path(path)
    base = plain.with_suffix("") if plain.suffix in (".safetensors", ".json") else plain
    return base.with_name(base.name + ".safetensors"), base.with_name(base.name + ".json")


def _checked(text: str | bytes, card: Path) -> ModelInfo:
    """Return what a card says, or refuse it and name the field."""
    from jsonschema import Draft202012Validator, exceptions  # here, since it takes a second

    schema = json.loads(files("medimg.models").joinpath("card.schema.json").read_bytes())
    try:
        content = json.loads(text, parse_constant=str)  # "NaN" is not a number: refused
        if wrong := exceptions.best_match(Draft202012Validator(schema).iter_errors(content)):
            raise ValueError(f"{wrong.json_path}: {' '.join(wrong.message.split())[-150:]}")
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{card} is not the sidecar of a model ({error}); write it with save_model"
        ) from error
    lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
    return ModelInfo(**(content | lists))

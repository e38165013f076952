"""Films to learn from, lesions to judge on and trained networks, for the explanation scripts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from medimg.datasets import ImageSet, decode, decode_masks, from_csv, load
from medimg.errors import ModelError
from medimg.models import MedicalNet, build_model
from medimg.training import FitSettings, fit, fit_head, recipe


@dataclass(frozen=True)
class Judged:
    """Films that no network here has seen, with the true lesion (all False in the healthy)."""

    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    patterns: np.ndarray

    def of(self, rows: np.ndarray) -> Judged:
        """Return only the given rows (a mask, or indices)."""
        return Judged(self.images[rows], self.masks[rows], self.labels[rows],
                      self.patients[rows], self.patterns[rows])  # fmt: skip

    @property
    def ill(self) -> Judged:
        """Only the films with a lesion."""
        return self.of(self.masks.any(axis=(1, 2)))


def judged(studies: pd.DataFrame, name: str) -> Judged:
    films = decode(studies, progress=False)
    who = np.array([f"{name}-{patient}" for patient in films.patients])
    patterns = studies["pattern"].fillna("").astype(str).to_numpy()
    return Judged(films.images, decode_masks(studies), films.labels, who, patterns)


def together(parts: list[Judged]) -> Judged:
    return Judged(*(np.concatenate([getattr(p, f) for p in parts])
                    for f in ("images", "masks", "labels", "patients", "patterns")))  # fmt: skip


def films(path: Path | None) -> tuple[ImageSet, Judged, Judged]:
    """Return what to learn from, the validation films and the films to judge on.

    With a table of other films, the networks learn from its training films, and the judges are its
    test films and all 100 of the sample. Without one, everything comes from the sample.
    """
    sample = load("sample")
    other = sample if path is None else from_csv(path)
    learn = decode(other, progress=False)
    validate = judged(other[other["split"] == "val"], "other")
    tests = [judged(other[other["split"] == "test"], "other")]
    if path is not None:
        tests.append(judged(sample, "sample"))
    return learn, validate, together(tests)


def start(name: str, seed: int) -> tuple[MedicalNet, str]:
    """Build a network from the best weights at hand, and say which these are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return build_model(name), "ImageNet"
        except ModelError:
            return build_model(name, pretrained=False), "random weights"


def settings_for(origin: str, count: int, seed: int) -> FitSettings:
    settings = recipe(count, seed=seed)
    if origin == "ImageNet":
        return settings
    # without pretraining nothing is worth freezing, and there is more to learn: small films first
    return replace(
        settings, strategy="all", freeze_norms=False, C=0.0, learning_rate=1e-3,
        epochs=12, patience=12, sizes=(0.5, 0.75, 1.0),
    )  # fmt: skip


def trained(
    name: str, seed: int, learn: ImageSet, cache: Path, *, strategy: str = "", few: int = 0
) -> tuple[MedicalNet, str]:
    """Train a network on the training films (or few of them), or read the last time's weights."""
    model, origin = start(name, seed)
    train, val = learn.subset("train"), learn.subset("val")
    if few:
        train = train.subset(np.random.default_rng(seed).permutation(len(train))[:few])
    settings = settings_for(origin, len(train), seed)
    file = cache / f"{name}_{len(train)}_{strategy}{seed}.pt"
    if strategy == "frozen" and not file.is_file():
        fit_head(model, train, val, C=settings.C, class_weights=settings.class_weights)
        torch.save(model.state_dict(), file)
    elif strategy != "frozen":
        settings = replace(settings, strategy=strategy or settings.strategy)
    return fitted(model, train, val, settings, file), origin


def attentive(learn: ImageSet, cache: Path) -> MedicalNet:
    """Train an attention head on the frozen EfficientNet, or read the last time's weights."""
    train, val = learn.subset("train"), learn.subset("val")
    settings = replace(recipe(len(train)), strategy="head", epochs=12, learning_rate=3e-3)
    model = build_model(head="attention")
    return fitted(model, train, val, settings, cache / f"attention_{len(train)}.pt")


def fitted(
    model: MedicalNet, train: ImageSet, val: ImageSet, settings: FitSettings, file: Path
) -> MedicalNet:
    """Train the network and keep its weights in a file, unless the file is there."""
    if not file.is_file():
        fit(model, train, val, settings=settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file, weights_only=True))
    return model.eval()

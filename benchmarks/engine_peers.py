"""The same job done by what a user would pick instead: each returns a Contestant.

All train EfficientNet-Lite0 with the same ImageNet weights on the same films with the same batch
size, each in the way that its own tutorial shows. Imports are inside, so that absent packages
leave their rows out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from engine_films import Films
from torch import nn

from medimg import datasets, models, training
from medimg.runtime import Precision, pick_precision


@dataclass
class Contestant:
    """How to train one more epoch, and how to judge the films to judge on."""

    epoch: Callable[[], None]
    judge: Callable[[], np.ndarray]  # P(disease) of each film
    prepared: float = 0.0  # seconds spent before the first epoch, such as decoding


def engine(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """Fine-tune plainly with the engine, for the speed of a step."""
    start = time.perf_counter()
    train, val = _decoded(films, size)
    prepared = time.perf_counter() - start
    model = models.build_model(seed=seed)
    settings = training.FitSettings(
        strategy="all", epochs=1, batch_size=batch, ema=0.0, seed=seed, monitor="loss"
    )

    def epoch() -> None:
        training.fit(model, train, settings=settings)

    return Contestant(
        epoch,
        lambda: training.probabilities(training.predict_logits(model, val.images)),
        prepared,
    )


def engine_by_recipe(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """Go the engine's way to a good network: first the probe, then epochs of fine-tuning."""
    train, val = _decoded(films, size)
    model = models.build_model(seed=seed)
    recipe = replace(training.recipe(len(train), seed=seed), batch_size=batch)
    epochs = iter([True, *[False] * 20])

    def epoch() -> None:
        if next(epochs):
            training.fit_head(model, train, C=recipe.C, class_weights=recipe.class_weights)
        else:
            training.fit(model, train, settings=replace(recipe, strategy="all", epochs=1))

    return Contestant(
        epoch, lambda: training.probabilities(training.predict_logits(model, val.images))
    )


def _decoded(films: Films, size: int) -> tuple[datasets.ImageSet, datasets.ImageSet]:
    paths, labels = [*films.train, *films.val], [*films.train_labels, *films.val_labels]
    names = [f"film{i}" for i in range(len(paths))]
    studies = pd.DataFrame(
        {
            "image_id": names,
            "path": paths,
            "label": np.where(labels, "pneumonia", "normal"),
            "patient_id": names,
            "split": ["train"] * len(films.train) + ["val"] * len(films.val),
        }
    )
    data = datasets.decode(studies, size=size, progress=False)
    return data.subset("train"), data.subset("val")


def bare_step(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """Do the tuned step alone on random tensors: the ceiling of the engine."""
    torch.manual_seed(seed)
    model: Any = models.build_model(seed=seed)
    precision: Precision = pick_precision(torch.device("cpu"))
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images, labels = torch.rand(batch, 1, size, size), torch.randint(0, 2, (batch,))

    def epoch() -> None:
        model.train()
        for _ in range(len(films.train) // batch):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=precision.dtype, enabled=precision.dtype is not None):
                logits = model(images)
            nn.functional.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    @torch.inference_mode()
    def judge() -> np.ndarray:
        model.eval()
        with torch.autocast("cpu", dtype=precision.dtype, enabled=precision.dtype is not None):
            found = [model(images) for _ in range(len(films.val) // batch)]
        return torch.cat(found).float().numpy()[:, 1]

    return Contestant(epoch, judge)


class _Folder(torch.utils.data.Dataset):
    """A Dataset as the torchvision tutorial's ImageFolder: open, convert, transform."""

    def __init__(self, paths: list[str], labels: list[int], transform: Any) -> None:
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def _plain_net(seed: int) -> nn.Module:
    """Build the network without our wrapper: three normalised channels in, two logits out."""
    ours = models.build_model(seed=seed)
    return nn.Sequential(ours.backbone, nn.Dropout(0.2), nn.Linear(1280, 2))


def tutorial(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """pytorch.org, "Transfer learning for computer vision": PIL transforms, DataLoader, SGD."""
    from torch.utils.data import DataLoader
    from torchvision import transforms

    torch.manual_seed(seed)
    normal = transforms.Normalize([0.5] * 3, [0.5] * 3)
    learn = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.RandomAffine(10, (0.05, 0.05), (0.9, 1.1)),
            transforms.ColorJitter(0.1, 0.1),
            transforms.ToTensor(),
            normal,
        ]
    )
    plain = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor(), normal])
    loader = DataLoader(
        _Folder(films.train, films.train_labels, learn), batch, shuffle=True, num_workers=2
    )
    judged = DataLoader(_Folder(films.val, films.val_labels, plain), batch, num_workers=2)
    model = _plain_net(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def epoch() -> None:
        model.train()
        for images, labels in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    @torch.no_grad()
    def judge() -> np.ndarray:
        model.eval()
        return torch.cat([model(images).softmax(1)[:, 1] for images, _ in judged]).numpy()

    return Contestant(epoch, judge)


def fastai(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """docs.fast.ai, vision_learner: the head for an epoch, then all, by fine_tune's own rates."""
    from fastai.vision.all import (
        CategoryBlock,
        ColReader,
        ColSplitter,
        CrossEntropyLossFlat,
        DataBlock,
        ImageBlock,
        Normalize,
        Resize,
        aug_transforms,
        default_split,
        model_meta,
        set_seed,
        vision_learner,
    )

    set_seed(seed, reproducible=True)
    rows = pd.DataFrame(
        {
            "path": [*films.train, *films.val],
            "label": [*films.train_labels, *films.val_labels],
            "is_valid": [False] * len(films.train) + [True] * len(films.val),
        }
    )
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=Resize(size, method="squish"),
        batch_tfms=[*aug_transforms(do_flip=False), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    loaders = block.dataloaders(rows, bs=batch, num_workers=2)

    def make(pretrained: bool = True) -> nn.Module:
        body = _plain_net(seed)[0]
        body.global_pool = nn.Identity()  # fastai's head pools by itself
        return nn.Sequential(body, nn.Identity())  # and fastai cuts the last part off

    model_meta[make] = {"cut": -1, "split": default_split}
    learner = vision_learner(
        loaders,
        make,
        loss_func=CrossEntropyLossFlat(),
        n_out=2,
        normalize=False,
    )
    learner.unfreeze()

    def epoch() -> None:
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(1, slice(1e-5, 1e-3))

    def judge() -> np.ndarray:
        with learner.no_bar(), learner.no_logging():
            return learner.get_preds(ds_idx=1)[0][:, 1].numpy()

    return Contestant(epoch, judge)


def monai(films: Films, *, size: int, batch: int, seed: int) -> Contestant:
    """MONAI's SupervisedTrainer with its own readers, transforms and CacheDataset."""
    from monai.data import CacheDataset, DataLoader, PILReader
    from monai.engines import SupervisedTrainer
    from monai.inferers import SimpleInferer
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        LoadImaged,
        NormalizeIntensityd,
        RandAdjustContrastd,
        RandAffined,
        RepeatChanneld,
        Resized,
        ScaleIntensityd,
    )
    from monai.utils import set_determinism

    set_determinism(seed)
    start = time.perf_counter()
    load = [
        LoadImaged("image", PILReader(converter=lambda image: image.convert("L"))),
        EnsureChannelFirstd("image"),
        ScaleIntensityd("image"),
        Resized("image", (size, size)),
    ]
    last = [RepeatChanneld("image", 3), NormalizeIntensityd("image", 0.5, 0.5)]
    learn = Compose(
        [
            *load,
            RandAffined(
                "image",
                prob=1.0,
                rotate_range=0.17,
                translate_range=0.05 * size,
                scale_range=0.1,
                padding_mode="zeros",
            ),
            RandAdjustContrastd("image", prob=0.5, gamma=(0.8, 1.25)),
            *last,
        ]
    )

    def rows(paths: list[str], labels: list[int]) -> list[dict[str, Any]]:
        return [{"image": p, "label": y} for p, y in zip(paths, labels, strict=True)]

    kept = CacheDataset(rows(films.train, films.train_labels), learn, progress=False)
    judged = CacheDataset(rows(films.val, films.val_labels), Compose([*load, *last]), 0)
    loader = DataLoader(kept, batch_size=batch, shuffle=True, num_workers=2)
    judging = DataLoader(judged, batch_size=batch, num_workers=2)
    prepared = time.perf_counter() - start
    model = _plain_net(seed)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)

    def epoch() -> None:
        SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=1,
            train_data_loader=loader,
            network=model,
            optimizer=optimizer,
            loss_function=nn.CrossEntropyLoss(),
            inferer=SimpleInferer(),
        ).run()

    @torch.no_grad()
    def judge() -> np.ndarray:
        model.eval()
        found = [model(part["image"].as_tensor()).softmax(1)[:, 1] for part in judging]
        return torch.cat(found).numpy()

    return Contestant(epoch, judge, prepared)


CONTESTANTS: dict[str, Callable[..., Contestant]] = {
    "medimg": engine,
    "bare tuned step": bare_step,
    "torchvision tutorial": tutorial,
    "fastai": fastai,
    "MONAI": monai,
}

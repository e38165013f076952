"""What `fit` refuses before it starts: data that cannot be trained on, or not honestly."""

from __future__ import annotations

import numpy as np

from medimg.errors import TrainingError
from medimg.training.settings import FitSettings
from medimg.training.types import ImageSet


def check_sets(train: ImageSet, val: ImageSet | None, classes: int) -> None:
    """Refuse data that cannot be trained on, naming what is wrong.

    Parameters
    ----------
    train, val : ImageSet
        What to learn from, and what to validate on (or None).
    classes : int
        Outputs of the head, K.

    Raises
    ------
    TrainingError
        For wrong shapes or types, one class only, more classes than the head has, two sets whose
        classes differ, or a patient who is in both.
    """
    for name, part in (("training", train), ("validation", val)):
        if part is None:
            continue
        shape = part.images.shape
        if part.images.ndim != 3 or part.images.dtype != np.uint8:
            raise TrainingError(
                f"the {name} images are {part.images.dtype} {shape}; expected uint8 (N, H, W), "
                "as decode() makes them"
            )
        if shape[1:] != train.images.shape[1:]:
            raise TrainingError(
                f"the {name} images are {shape[1]} x {shape[2]} and the training images "
                f"{train.images.shape[1]} x {train.images.shape[2]}; decode both at one size"
            )
        if len(part.labels) != len(part.images) or len(part.images) == 0:
            raise TrainingError(
                f"the {name} set has {len(part.images)} images and {len(part.labels)} labels; "
                "expected as many, and more than none"
            )
        if part.labels.min() < 0 or part.labels.max() >= classes:
            raise TrainingError(
                f"the {name} labels go up to {part.labels.max()} but the head has {classes} "
                f"outputs; build the model with num_classes={part.labels.max() + 1}"
            )
    present = np.unique(train.labels)
    if len(present) < 2:
        only = train.classes[present[0]] if len(train.classes) > present[0] else present[0]
        raise TrainingError(
            f"all {len(train.labels)} training images are of class {only!r}; "
            "training needs images of at least two classes"
        )
    if val is not None:
        _check_apart(train, val)


def check_size(fixed: int | None, train: ImageSet, settings: FitSettings) -> None:
    """Refuse what a network of a fixed size cannot take: other images, or smaller ones at first.

    Parameters
    ----------
    fixed : int or None
        Side of the only images that it takes, in pixels; None for any.
    train : ImageSet
        What to learn from.
    settings : FitSettings
        Whose ``sizes`` count.

    Raises
    ------
    TrainingError
        Before any time is spent, instead of in the first epoch of another size.
    """
    if fixed is None:
        return
    height, width = train.images.shape[1:]
    if (height, width) != (fixed, fixed):
        raise TrainingError(
            f"the network takes images of {fixed} x {fixed} only, and these are {height} x "
            f"{width}; decode with size={fixed}"
        )
    if settings.strategy != "frozen" and any(share != 1 for share in settings.sizes):
        raise TrainingError(
            f"the network takes images of {fixed} x {fixed} only, so it cannot train with "
            f"sizes={settings.sizes}; give sizes=()"
        )


def _check_apart(train: ImageSet, val: ImageSet) -> None:
    """Refuse two sets that number their classes differently or share a patient."""
    if tuple(train.classes) != tuple(val.classes):
        raise TrainingError(
            f"the training classes are {', '.join(train.classes)} and the validation classes "
            f"{', '.join(val.classes)}, so that one number means two things; decode both from "
            "one table, or give decode() the classes"
        )
    both = np.intersect1d(np.asarray(train.patients, str), np.asarray(val.patients, str))
    if len(both):
        raise TrainingError(
            f"patient {str(both[0])!r} is in the training and in the validation set "
            f"({len(both)} in all), so validation would not be of unseen patients; split with "
            "split_by_patient"
        )

"""Validation images as another place might have taken them, to choose a threshold by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from medimg.augment import Augment, augment
from medimg.training.types import ImageSet


def changed_copies(
    images: ImageSet, settings: Augment, *, copies: int, seed: int = 0, batch_size: int = 256
) -> Any:
    """Return images as they are, and after them so many copies of each, changed at random.

    A network tells nearly all validation images of its own place apart, so that any threshold in
    a wide gap looks right; changed copies fill the gap from both sides.

    Parameters
    ----------
    images : ImageSet
        N images; a dataclass.
    settings : Augment
        How far to change them.
    copies : int
        Changed copies of each image.
    seed : int
        Of the changes.
    batch_size : int
        Images changed at once.

    Returns
    -------
    ImageSet
        (1 + copies) * N images; the copies' names end in ``changed 1``, ``changed 2``, ...
    """
    count = len(images)
    whole: Any = images.subset(np.tile(np.arange(count), 1 + copies))
    pixels = np.array(whole.images)
    generator = torch.Generator().manual_seed(seed)
    for start in range(count, len(pixels), batch_size):
        part = torch.from_numpy(pixels[start : start + batch_size])[:, None].float() / 255
        changed = augment(part, settings, generator=generator)[:, 0]
        pixels[start : start + batch_size] = (changed * 255).round().byte().numpy()
    names = [
        str(name) if row < count else f"{name} changed {row // count}"
        for row, name in enumerate(whole.ids)
    ]
    return replace(whole, images=pixels, ids=np.array(names))

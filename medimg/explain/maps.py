"""One function for every kind of map, and what it returns."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from medimg.augment import check_images
from medimg.errors import ModelError
from medimg.explain.inspection import Class, Target, as_batches, classes_of
from medimg.explain.methods import CAMS, OTHERS, class_activation_maps
from medimg.progress import tqdm

METHODS = (*CAMS, *OTHERS)
CLASSLESS = ("eigencam", "attention", "rollout")
"""Methods whose map is the same for every class."""
SLOW = ("scorecam", "occlusion", "integrated_gradients")


@dataclass(frozen=True, repr=False)
class Maps:
    """Maps of some images. An array of them wherever one is expected: ``maps[0]`` is one map.

    Attributes
    ----------
    heat : float32 array (N, H, W)
        In [0, 1]: 1 at the strongest place of each image. All 0 where the map has no strongest
        place (nothing speaks for the class).
    method : str
        How they were made.
    names : tuple of N str
        Name of the class that each map explains, for titles and file names; empty where the method
        knows no class.
    """

    heat: npt.NDArray[np.float32] = field(compare=False)
    method: str
    names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Maps({len(self)} by {self.method} of {sorted(set(self.names))})"

    def __len__(self) -> int:
        return len(self.heat)

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return iter(self.heat)

    def __getitem__(self, where: Any) -> npt.NDArray[np.float32]:
        return np.asarray(self.heat[where])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.heat, dtype, copy=copy)


def explain(
    model: nn.Module,
    images: npt.NDArray[Any],
    *,
    method: str = "gradcam",
    target: Class = None,
    threshold: float = 0.5,
    layer: nn.Module | None = None,
    batch_size: int = 8,
) -> Maps:
    """Map what a network looked at, one map per image.

    Parameters
    ----------
    model : torch.nn.Module
        Network from (B, 1 or 3, H, W) in [0, 1] to logits (B, K). It comes back as it was given:
        the same modes, gradients and hooks, also after an error.
    images : uint8 array (N, H, W) or (N, H, W, 3)
        Grey or colour images.
    method : str
        One of :data:`METHODS`: the CAM family (``gradcam``, ``gradcam++``, ``hirescam``,
        ``layercam``, ``eigencam``, ``scorecam``), ``attention`` (the attention-pooling head's
        weights), ``rollout`` (vision transformers), ``occlusion``, ``integrated_gradients``.
    target : int, str, or N of them, optional
        Class to explain, by index or by its name in ``model.classes``. By default the class that
        the model calls for each image. ``eigencam``, ``attention`` and ``rollout`` know no class
        and ignore it.
    threshold : float
        Probability of class 1, as the network gives it, from which a model of two classes calls
        class 1. For scores with a temperature or averaged over views, give the called classes as
        ``target``.
    layer : torch.nn.Module, optional
        Layer of a class activation map; the last one that keeps places apart by default.
    batch_size : int
        Images at once. Small batches stay in the processor's cache and are the fastest there.

    Returns
    -------
    Maps
        The maps, and which class each of them explains.

    Raises
    ------
    ModelError
        Unknown method, a class that the model does not have, or a method that this architecture
        cannot have.
    TrainingError
        Images of another shape or type.

    Notes
    -----
    After a mean over places and one linear layer, as in our networks with the linear head,
    HiResCAM is Grad-CAM: every place has the same gradient.

    The last stage is the coarsest, a place being 32 pixels wide, and still points best for a
    fine-tuned EfficientNet-Lite0: 0.87 of 45 validation lesions, against 0.33 at the stage with
    16 pixels (``benchmarks/results/explain_methods.md``). The places of a frozen network are not
    local, whatever its AUC: maps need a network that was fine-tuned on some hundred films.

    References
    ----------
    Selvaraju et al., "Grad-CAM", ICCV 2017. Abnar and Zuidema, "Quantifying attention flow in
    transformers", ACL 2020. Gildenblat, https://github.com/jacobgil/pytorch-grad-cam

    Examples
    --------
    >>> conv = nn.Conv2d(1, 3, 3, padding=1)
    >>> net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    >>> films = np.random.default_rng(0).integers(0, 256, (4, 12, 16), dtype=np.uint8)
    >>> maps = explain(net, films, target=1, layer=conv)
    >>> maps
    Maps(4 by gradcam of ['class 1'])
    >>> maps.heat.shape
    (4, 12, 16)
    """
    images = check_images(images)
    if method not in METHODS:
        raise ModelError(f"There is no method {method!r}; choose one of: {', '.join(METHODS)}.")
    model.to(memory_format=torch.channels_last)  # half the time on a CPU; the weights are the same
    targets = [Target(threshold=threshold) for _ in images]
    if method in SLOW or (target is not None and method not in CLASSLESS):
        targets = [Target(int(k)) for k in classes_of(model, images, target, threshold=threshold)]
    heat = np.zeros(images.shape[:3], np.float32)
    with tqdm(total=len(images), desc=method, unit="image", disable=method not in SLOW) as progress:
        for where, batch in as_batches(model, images, batch_size):
            if method in CAMS:
                heat[where] = class_activation_maps(model, batch, targets[where], method, layer)
            else:
                heat[where] = OTHERS[method](model, batch, targets[where])
            progress.update(len(batch))
    known = {None: ""} | dict(enumerate(getattr(model, "classes", ())))
    names = [str(known.get(each.index, f"class {each.index}")) for each in targets]
    return Maps(heat, method, tuple(names))

"""Sanity checks: a map must change with the weights, and agree between equal trainings."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from medimg.errors import MetricsError, ModelError
from medimg.explain.inspection import predicted_classes
from medimg.explain.localisation import pointing_game
from medimg.explain.maps import explain
from medimg.explain.patients import mean_by_patient, patient_codes
from medimg.metrics import Estimate

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class Agreement:
    """How alike two sets of maps are.

    Attributes
    ----------
    estimate : Estimate
        Mean over the images, with its interval by patient.
    per_image : float64 array (N,)
        Rank correlation in [-1, 1]; 0 where a map is even.
    """

    estimate: Estimate
    per_image: npt.NDArray[np.float64] = field(compare=False)

    def __repr__(self) -> str:
        return f"rank correlation {self.estimate!r}, n = {len(self.per_image)}"


def agreement(a: Maps, b: Maps, *, patient_ids: Sequence[str] | None = None) -> Agreement:
    """Return Spearman's correlation between the pixels of two maps of the same image.

    Parameters
    ----------
    a, b : float array (N, H, W)
        Maps of the same images, by two networks or two methods.
    patient_ids : sequence of N str, optional
        Whose image it is; the interval is by patient.

    Returns
    -------
    Agreement
        1: the same order of places. 0: no relation; also when a map is even, for it orders nothing.

    Raises
    ------
    MetricsError
        Shapes that differ.

    Examples
    --------
    >>> a = np.array([[[0.1, 0.4, 0.9]], [[0.1, 0.4, 0.9]]])
    >>> b = np.array([[[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]])
    >>> agreement(a, b).per_image
    array([ 1., -1.])
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 3 or a.shape != b.shape:
        raise MetricsError(f"maps {a.shape} and {b.shape}: both must be (N, H, W) and alike.")
    ranks = [rankdata(m.reshape(len(m), -1), axis=1) for m in (a, b)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    values = np.where(size > 0, (x * y).sum(axis=1) / np.where(size > 0, size, 1), 0.0)
    return Agreement(mean_by_patient(values, patient_codes(patient_ids, len(a))), values)


def weight_groups(model: nn.Module, *, groups: int | None = None) -> list[list[str]]:
    """Return names of modules with weights of their own, from the output down, in groups.

    Parameters
    ----------
    model : torch.nn.Module
        Its modules are defined from input to output, as in every network that we build.
    groups : int, optional
        How many groups of about equal numbers of modules, the first being the last module alone
        (the classifier); each module its own by default.
    """
    names = [name for name, m in model.named_modules() if any(True for _ in m.parameters(False))]
    names.reverse()
    if groups is None or groups >= len(names):
        return [[name] for name in names]
    rest = np.array_split(names[1:], max(groups - 1, 1))
    return [names[:1], *[[str(name) for name in part] for part in rest]]


def randomise_weights(
    model: nn.Module, *, modules: Sequence[str] | None = None, seed: int = 0
) -> nn.Module:
    """Return a copy of a model that has forgotten what it learned.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is.
    modules : sequence of str, optional
        Names of the modules to randomise; all that have weights by default.
    seed : int
        For the shuffle.

    Returns
    -------
    torch.nn.Module
        Each weight tensor with its values shuffled.

    Raises
    ------
    ModelError
        A name that the model does not have.

    Notes
    -----
    Values are shuffled within each tensor, rather than drawn anew: a deep network with freshly
    drawn weights and the normalisation statistics of before fades to zero, and its empty maps
    would pass the check for the wrong reason.

    References
    ----------
    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.

    Examples
    --------
    >>> net = nn.Linear(50, 2)
    >>> other = randomise_weights(net)
    >>> bool((other.weight == net.weight).all())
    False
    >>> bool((other.weight.flatten().sort()[0] == net.weight.flatten().sort()[0]).all())
    True
    """
    copy = deepcopy(model)
    known = dict(copy.named_modules())
    missing = [name for name in modules or () if name not in known]
    if missing:
        raise ModelError(f"The model has no module {missing[0]!r}; see model.named_modules().")
    generator = torch.Generator().manual_seed(seed)
    for name in known if modules is None else modules:
        for parameter in known[name].parameters(recurse=False):
            parameter.data = _shuffled(parameter.data, generator)
    return copy


def _shuffled(values: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(values.numel(), generator=generator).to(values.device)
    return values.flatten()[order].view_as(values).clone()


def cascade_randomisation(
    model: nn.Module,
    images: npt.NDArray[Any],
    *,
    masks: npt.NDArray[np.bool_] | None = None,
    method: str = "gradcam",
    target: int | npt.ArrayLike | None = None,
    groups: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Randomise a network from its output down and watch its maps change.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network; left as it is.
    images : uint8 or float32 array (N, H, W)
        What to explain.
    masks : bool array (N, H, W), optional
        True lesions, for the pointing game at each step.
    method : str
        As in :func:`explain`.
    target : int or array of N ints, optional
        Class to explain, the same at each step; by default the one that the trained network
        predicts for each image.
    groups : int
        Steps from the classifier alone to the whole network.
    seed : int
        For the shuffle.

    Returns
    -------
    pandas.DataFrame
        One row a step: ``randomised`` (fraction of the weights), ``down_to`` (module),
        ``agreement`` with the trained network's maps (Estimate) and, with masks, ``pointing``
        (Estimate).

    References
    ----------
    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 4.1.
    """
    if target is None:  # a network with shuffled weights may predict another class
        target = predicted_classes(model, images)
    trained = explain(model, images, method=method, target=target)
    total = sum(p.numel() for p in model.parameters())
    rows, done, changed = [], 0, model
    steps: list[list[str]] = [[], *weight_groups(model, groups=groups)]
    for number, names in enumerate(steps):
        changed = randomise_weights(changed, modules=names, seed=seed + number)
        maps = explain(changed, images, method=method, target=target)
        modules = dict(model.named_modules())
        done += sum(p.numel() for n in names for p in modules[n].parameters(recurse=False))
        row: dict[str, Any] = {
            "randomised": done / total,
            "down_to": names[-1] if names else "",
            "agreement": agreement(trained, maps).estimate,
        }
        if masks is not None:
            row["pointing"] = pointing_game(maps, masks).estimate
        rows.append(row)
    return pd.DataFrame(rows)

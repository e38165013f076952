"""Sanity tests: whether a map changes with the weights, and the network misses what it marks."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from scipy.ndimage import gaussian_filter, sobel
from scipy.stats import rankdata
from torch import nn

from medimg.augment import check_images
from medimg.errors import MetricsError
from medimg.explain.inspection import Class, as_batches, frozen_eval, targets_of, unit_range
from medimg.explain.localisation import TESTS, MapTest, Masks, Patients, pointing_game
from medimg.explain.maps import explain
from medimg.metrics import mean_by_patient, patient_codes

BASELINES = ("centre", "edges")
REMOVED = (0.1, 0.3, 0.5)
"""Fractions of the pixels that ROAD removes."""
ROAD_IMAGES = 32
"""ROAD fills in removed pixels by a large linear system, about a second per image."""


def agreement(a: npt.ArrayLike, b: npt.ArrayLike, *, patient_ids: Patients = None) -> MapTest:
    """Return Spearman's correlation between the pixels of two maps of the same image.

    Parameters
    ----------
    a, b : float array (N, H, W)
        Maps of the same images, by two networks or two methods.
    patient_ids : sequence of N str, optional
        Patient of each image; the interval is by patient.

    Returns
    -------
    MapTest
        1: the same order of places. 0, as by chance: no relation; also when a map is even, for it
        orders nothing.

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
    one, other = np.asarray(a), np.asarray(b)
    if one.ndim != 3 or one.shape != other.shape:
        raise MetricsError(f"maps {one.shape} and {other.shape}: both must be (N, H, W) and alike.")
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (one, other)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    values = (x * y).sum(axis=1) / np.where(size > 0, size, 1)
    return MapTest("agreement", mean_by_patient(values, patient_ids), 0.0, values)


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
        Seed of the shuffle.

    Returns
    -------
    torch.nn.Module
        Each weight tensor with its values shuffled.

    Notes
    -----
    Adebayo and others draw the weights anew; here the values are shuffled within each tensor. A
    deep network with freshly drawn weights and the normalisation statistics of before fades to
    zero: the last features of EfficientNet-Lite0 then differ between films by 3e-8 (standard
    deviation), against 0.35 in the pretrained network and 0.3 in a shuffled one. Its blank maps
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
    generator = torch.Generator().manual_seed(seed)
    for name in known if modules is None else modules:
        for parameter in known[name].parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data = parameter.data.flatten()[order].view_as(parameter).clone()
    return copy


def weight_groups(model: nn.Module, groups: int) -> list[list[str]]:
    """Return the names of modules with weights, from the output down, in groups.

    The model's modules must be defined from input to output, as in every network that we build.
    The first group is the last module alone (the classifier); the others have about equal numbers.
    """
    names = [name for name, m in model.named_modules() if any(True for _ in m.parameters(False))]
    rest = np.array_split(names[-2::-1], max(groups - 1, 1))
    return [names[-1:], *[part.tolist() for part in rest if len(part)]]


def cascade_randomisation(
    model: nn.Module, images: npt.NDArray[Any], *, target: Class, masks: Masks | None = None,
    patient_ids: Patients = None, method: str = "gradcam", groups: int = 5, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Randomise a network from its output down and watch its maps change.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network; left as it is.
    images : uint8 array (N, H, W) or (N, H, W, 3)
        What to explain.
    target : int, str, or N of them
        Class to explain, the same at each step.
    masks : bool array (N, H, W), optional
        True lesions, for the pointing game at each step.
    patient_ids : sequence of N str, optional
        Patient of each image; the intervals are by patient.
    method : str
        As in :func:`explain`.
    groups : int
        Steps from the classifier alone to the whole network.
    seed : int
        Seed of the shuffle.

    Returns
    -------
    pandas.DataFrame
        One row per step: ``down_to`` (the deepest randomised module), ``agreement`` with the
        trained network's maps (Estimate) and, with masks, ``pointing`` (Estimate).

    Notes
    -----
    Weights are shuffled, not drawn anew as by Adebayo and others: see :func:`randomise_weights`.
    So agreement need not fall to 0, nor pointing to the lesions' area, even where nothing learned
    is left. Any network answers to edges and brightness, and its coarse map is dark at the
    padded border; and the maps of a shuffled network often peak at one place on every image, which
    hits or misses all lesions there at once. Compare with the maps of other patients, and repeat
    with several seeds.

    References
    ----------
    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, section 4.1.
    """
    trained = explain(model, images, method=method, target=target)
    rows, changed = [], model
    for number, names in enumerate([[], *weight_groups(model, groups)]):
        changed = randomise_weights(changed, modules=names, seed=seed + number)
        maps = explain(changed, images, method=method, target=target)
        found = {"agreement": agreement(trained, maps, patient_ids=patient_ids).estimate}
        if masks is not None:
            found["pointing"] = pointing_game(maps, masks, patient_ids=patient_ids).estimate
        rows.append({"down_to": "".join(names[-1:])} | found)
    return pd.DataFrame(rows)


def road(
    model: nn.Module, images: npt.NDArray[Any], maps: npt.ArrayLike, *, target: Class,
    patient_ids: Patients = None, seed: int = 0,
) -> MapTest:  # fmt: skip
    """Remove pixels in the map's order, fill them in from their neighbours, and predict again.

    Parameters
    ----------
    model : torch.nn.Module
        Network from (B, 1 or 3, H, W) in [0, 1] to logits (B, K).
    images : uint8 array (N, H, W) or (N, H, W, 3)
        What the maps explain.
    maps : float array (N, H, W)
        One map per image.
    target : int, str, or N of them
        Class whose probability is watched.
    patient_ids : sequence of N str, optional
        Patient of each image; the interval is by patient.
    seed : int
        Seed for the order of pixels that tie, the noise of the filling and the bootstrap.

    Returns
    -------
    MapTest
        Half the difference between the class's probability when the least important tenth (three
        tenths, half) of the pixels are removed and when the most important are, on average. Above
        0: removing what the map calls important hurts more. 0 is the chance level.

    Raises
    ------
    MetricsError
        Maps of another shape than the images.

    Notes
    -----
    A map cut off below zero ties over much of the image. Ties are broken at random: taken as a
    block they would remove far more than the fraction asked for.

    References
    ----------
    Rong et al., "A consistent and efficient evaluation strategy for attribution methods",
    ICML 2022. Petsiuk, Das and Saenko, "RISE", BMVC 2018 (insertion and deletion).
    """
    images, heats = check_images(images), np.asarray(maps)
    if heats.shape != images.shape[:3]:
        raise MetricsError(f"maps {heats.shape} do not belong to images {images.shape}.")
    rng, fill = np.random.default_rng(seed), NoisyLinearImputer()
    targets, scores = targets_of(model, target, len(images)), np.zeros(len(images))
    with frozen_eval(model), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for where, batch in as_batches(model, images, 1):
            heat, image = heats[where.start], batch[0].cpu().contiguous()
            # rank of each pixel from 0, the least important, to just under 1; ties at random
            order = np.lexsort([rng.random(heat.size), heat.ravel()])
            rank = torch.from_numpy(np.argsort(order).reshape(heat.shape) / heat.size)
            kept = [rank < 1 - part for part in REMOVED] + [rank >= part for part in REMOVED]
            filled = [fill(image, keep.float()) for keep in kept]
            logits = model(torch.stack(filled).to(batch.device))
            most, least = targets[where.start](logits).sigmoid().double().chunk(2)  # probabilities
            scores[where] = float(least.mean() - most.mean()) / 2
    return MapTest("ROAD", mean_by_patient(scores, patient_ids), 0.0, scores)


def baseline_maps(images: npt.NDArray[Any], *, kind: str) -> npt.NDArray[np.float32]:
    """Return maps that no network made: a bell in the middle, or the image's own blurred edges.

    Examples
    --------
    >>> baseline_maps(np.zeros((1, 3, 3), np.uint8), kind="centre")[0].round(1)
    array([[0. , 0.3, 0. ],
           [0.3, 1. , 0.3],
           [0. , 0.3, 0. ]], dtype=float32)
    """
    n, height, width = images.shape[:3]
    if kind == "centre":
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        return unit_range(np.tile(np.exp(-(x**2 + y**2)), (n, 1, 1)))
    values = images.astype(np.float32).reshape(n, height, width, -1).mean(axis=3)
    edges = np.hypot(sobel(values, axis=1), sobel(values, axis=2))
    sigma = min(height, width) / 40
    return unit_range(gaussian_filter(edges, (0, sigma, sigma)))


def compare_methods(
    model: nn.Module, images: npt.NDArray[Any], masks: Masks, *, target: Class,
    methods: Sequence[str] = ("gradcam", "hirescam", "layercam", "eigencam"),
    patient_ids: Patients = None,
) -> pd.DataFrame:  # fmt: skip
    """Put every method to every test, on the images that have a lesion (ROAD: the first 32).

    Parameters
    ----------
    model : torch.nn.Module
        A trained network.
    images : uint8 array (N, H, W) or (N, H, W, 3)
        Images of a test set.
    masks : bool array (N, H, W)
        True lesions; images without one are left out.
    target : int, str, or N of them
        Class to explain. Name the disease to ask about it where the model misses it, too.
    methods : sequence of str
        As in :func:`explain`.
    patient_ids : sequence of N str, optional
        Patient of each image; intervals are by patient.

    Returns
    -------
    pandas.DataFrame
        One row per method and test: ``method, test, estimate`` (Estimate), ``chance``. Pointing
        game, IoU at matched area, energy inside and ROAD should be high; the two tests of the
        network with randomised weights should be near chance. The methods ``centre`` and ``edges``
        never saw the network.

    Raises
    ------
    MetricsError
        When no mask shows a lesion.
    """
    images, lesion = check_images(images), np.asarray(masks).any(axis=(1, 2))
    who = patient_codes(patient_ids, len(images))
    classes = np.array([each.index for each in targets_of(model, target, len(images))])[lesion]
    images, masks, who = images[lesion], masks[lesion], who[lesion]
    blind, few, rows = randomise_weights(model), slice(ROAD_IMAGES), []
    for method in (*methods, *BASELINES):
        if method in BASELINES:
            made = [baseline_maps(images, kind=method)]
        else:
            made = [explain(net, images, method=method, target=classes) for net in (model, blind)]
        results = [test(made[0], masks, patient_ids=who) for test in TESTS]
        results.append(road(model, images[few], made[0][few], target=classes[few],
                            patient_ids=who[few]))  # fmt: skip
        if method not in BASELINES:
            again = [pointing_game(made[1], masks, patient_ids=who)]
            again.append(agreement(*made, patient_ids=who))
            results += [replace(each, test=f"{each.test}, randomised") for each in again]
        rows += [(method, each.test, each.estimate, each.chance) for each in results]
    return pd.DataFrame(rows, columns=["method", "test", "estimate", "chance"])

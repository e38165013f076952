"""Parts of training by hand-computed oracles: schedule, plans, losses, order, averages."""

import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from medimg.augment import Augment
from medimg.datasets import ImageSet
from medimg.errors import StudyTableError, TrainingError
from medimg.training import (
    STRATEGIES,
    FitSettings,
    check_trainable,
    linear_probe,
    make_loss,
    plan,
    recipe,
    validation_metrics,
)
from medimg.training.data import epoch_order, fingerprint, make_batch, split_batches
from medimg.training.optim import (
    class_weights,
    make_average,
    make_optimizer,
    schedule,
    set_rates,
    set_trainable,
)


class Net(nn.Module):
    """Two stages and a head: the least that training asks for."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, 2)
        self.num_classes = 2

    def stages(self):
        return {"stem": self.stem, "body": self.body}


# --- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "best"},
        {"epochs": 0},
        {"ema": 1.0},
        {"sizes": (160,)},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"epochs": 2.5},
        {"batch_size": "16"},
        {"learning_rate": "fast"},
        {"sizes": ("small", 1.0)},
        {"monitor": "f1"},
        {"strategy": "frozen"},
        {"seed": -1},
        {"seed": 2**32},
        {"learning_rate": math.inf},
        {"C": math.nan},
    ],
)
def test_settings_refuse_values_out_of_range(wrong):
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        FitSettings(**wrong)


def test_settings_that_json_cannot_hold_are_refused():
    with pytest.raises(
        TrainingError, match=r"epochs is np.int64\(3\); give int from 1 to below inf"
    ):
        FitSettings(epochs=np.int64(3))
    settings = FitSettings(sizes=[0.7, 1.0], class_weights=[1, 2], C=np.float64(0.1))
    assert json.loads(json.dumps(settings.to_json()))["C"] == 0.1


@pytest.mark.parametrize(
    ("given", "said"),
    [({"sizes": None}, "sizes is None"), ({"augment": "harsh"}, "give an Augment"),
     ({"tta": "no"}, "tta is 'no'"), ({"freeze_norms": 2}, "freeze_norms is 2"),
     ({"epochs": "3"}, "epochs is '3'")],
)  # fmt: skip
def test_settings_of_another_type_are_refused(given, said):
    with pytest.raises(TrainingError, match=said):
        FitSettings(**given)


def test_settings_to_json_holds_no_tuple():
    plain = FitSettings(sizes=(0.5, 1.0)).to_json()
    assert plain["sizes"] == [0.5, 1.0]
    assert plain["augment"]["zoom"] == [0.9, 1.1]


def test_recipe_grows_with_the_set():
    assert recipe(70).freeze_norms
    assert recipe(5000).strategy == "head_then_all"
    assert recipe(5000).augment == Augment.harsh()
    assert recipe(5000).tta
    assert not recipe(499).tta
    assert recipe(70, seed=3).seed == 3


# --- strategies


def test_frozen_trains_the_head_alone():
    table = plan("head", ["a", "b"], epochs=2)
    assert table.to_numpy().tolist() == [[0, 0, 10], [0, 0, 10]]
    assert list(table.columns) == ["a", "b", "head"]


def test_gradual_unfreezes_from_the_head_and_never_freezes_again():
    table = plan("gradual", list("abcd"), epochs=6)
    open_parts = (table > 0).sum(axis=1).tolist()
    assert open_parts == [1, 2, 3, 4, 5, 5]
    assert (np.diff((table > 0).to_numpy().astype(int), axis=0) >= 0).all()
    assert plan("gradual", list("abcd"), epochs=1).loc[1].tolist() == [1] * 5


def test_discriminative_rates_fall_by_1_6_a_stage():
    row = plan("discriminative", ["a", "b"], epochs=1).loc[1]
    np.testing.assert_allclose(row, [1 / 1.6**2, 1 / 1.6, 1.0], rtol=1e-12)


def test_unknown_strategy_names_the_known():
    with pytest.raises(TrainingError, match="head_then_all"):
        FitSettings(strategy="magic")
    assert set(STRATEGIES) == {"head", "head_then_all", "gradual", "discriminative", "all"}


def test_set_trainable_freezes_weights_and_norms():
    net = Net()
    set_trainable(net, {"stem": 0.0, "body": 1.0, "head": 1.0}, freeze_norms=False)
    assert [p.requires_grad for p in net.stem.parameters()] == [False] * 4
    assert [p.grad is None for p in net.stem.parameters()] == [True] * 4
    assert not any(p.grad.any() for p in net.body.parameters())  # there, to be added to
    assert not net.stem[1].training
    assert net.body[1].training
    set_trainable(net, {"stem": 1.0, "body": 1.0, "head": 1.0}, freeze_norms=True)
    assert all(p.requires_grad for p in net.parameters())
    assert not net.body[1].training
    assert net.head.training


# --- optimiser, schedule, average


def test_decay_spares_norms_and_biases():
    net = Net()
    optimizer = make_optimizer(net, weight_decay=0.1)
    decayed = {id(p) for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(net.stem[0].weight), id(net.body[0].weight), id(net.head.weight)}
    grouped = [p for g in optimizer.param_groups for p in g["params"]]
    assert len(grouped) == len(list(net.parameters()))
    set_rates(optimizer, {"stem": 0.0, "body": 0.5, "head": 10.0}, 0.01)
    assert {g["stage"]: g["lr"] for g in optimizer.param_groups} == {
        "stem": 0.0,
        "body": 0.005,
        "head": 0.1,
    }


def test_cosine_warms_up_linearly_then_falls_to_zero():
    values = [schedule(s, 100, "cosine", 0.1) for s in range(100)]
    np.testing.assert_allclose(values[:10], np.arange(1, 11) / 10)
    assert values[55] == pytest.approx(0.5)  # half-way down
    assert values[99] == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)
    assert all(a >= b for a, b in itertools.pairwise(values[10:]))


def test_constant_stays_and_no_warm_up_starts_at_the_top():
    assert schedule(50, 100, "constant", 0.1) == 1.0
    assert schedule(4, 100, "constant", 0.1) == 0.5
    assert schedule(0, 10, "cosine", 0.0) == 1.0


def test_average_follows_the_formula():
    net = Net()
    average = make_average(net, 0.25)
    with torch.no_grad():
        net.head.weight.fill_(1.0)
        average.update_parameters(net)  # the first one copies
        assert average.module.head.weight[0, 0].item() == 1.0
        net.head.weight.fill_(0.0)
        net.stem[1].running_mean.fill_(2.0)
        net.stem[1].num_batches_tracked.fill_(7)
    average.update_parameters(net)  # decay min(0.25, 2/11)
    assert average.module.head.weight[0, 0].item() == pytest.approx(2 / 11)
    assert average.module.stem[1].running_mean[0].item() == pytest.approx(2 * 9 / 11)
    assert average.module.stem[1].num_batches_tracked.item() == 7
    average.update_parameters(net)  # decay 0.25, as min(0.25, 3/12)
    assert average.module.head.weight[0, 0].item() == pytest.approx(2 / 11 / 4)


# --- losses


def test_cross_entropy_with_weights_and_smoothing_by_hand():
    logits, labels = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([1])
    plain = make_loss("cross_entropy", weights=None, smoothing=0.0)(logits, labels)
    assert plain.item() == pytest.approx(-math.log(0.75))
    weighted = make_loss("cross_entropy", weights=torch.tensor([1.0, 3.0]), smoothing=0.0)
    assert weighted(logits, labels).item() == pytest.approx(-3 * math.log(0.75))
    smooth = make_loss("cross_entropy", weights=None, smoothing=0.2)(logits, labels)
    assert smooth.item() == pytest.approx(-0.9 * math.log(0.75) - 0.1 * math.log(0.25))


def test_focal_loss_is_the_softmax_focal_loss():
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([2, 0])
    p = torch.softmax(logits, 1)[range(2), labels]
    expected = -((1 - p) ** 2) * torch.log(p)
    loss = make_loss("focal", weights=None, smoothing=0.0)
    torch.testing.assert_close(loss(logits, labels), expected)
    weights = torch.tensor([2.0, 1.0, 1.0])
    weighted = make_loss("focal", weights=weights, smoothing=0.0)(logits, labels)
    torch.testing.assert_close(weighted, expected * torch.tensor([1.0, 2.0]))


def test_scores_agree_with_scikit_learn(rng):
    logits = rng.normal(size=(50, 3))
    labels = rng.integers(0, 3, 50)
    shares = torch.softmax(torch.from_numpy(logits), 1).numpy()
    found = validation_metrics(logits, labels)
    assert found["loss"] == pytest.approx(log_loss(labels, shares))
    assert found["auc"] == pytest.approx(roc_auc_score(labels, shares, multi_class="ovr"))
    assert math.isnan(validation_metrics(logits[:3], np.array([1, 1, 1]))["auc"])


# --- data


def test_order_depends_on_seed_and_epoch_only():
    labels = np.array([0, 1] * 10)
    first = epoch_order(labels, 1, seed=0, sampler=None)
    assert first.tolist() == epoch_order(labels, 1, seed=0, sampler=None).tolist()
    assert first.tolist() != epoch_order(labels, 2, seed=0, sampler=None).tolist()
    assert sorted(first) == list(range(20))


def test_balanced_order_draws_each_class_equally():
    labels = np.array([0] * 9 + [1] * 3)
    order = epoch_order(labels, 1, seed=0, sampler="balanced")
    assert np.bincount(labels[order]).tolist() == [6, 6]
    assert set(order[labels[order] == 1]) == {9, 10, 11}


def test_batches_hold_every_row_once_and_are_even():
    parts = split_batches(np.arange(70), 16)
    assert [len(p) for p in parts] == [14] * 5
    assert np.concatenate(parts).tolist() == list(range(70))


def test_balanced_weights_match_the_formula():
    weights = class_weights(np.array([0, 0, 0, 2]), 3, "balanced")
    torch.testing.assert_close(weights, torch.tensor([4 / 9, 4 / 3, 4 / 3]))
    assert class_weights(np.array([0, 1]), 2, None) is None
    assert class_weights(np.array([0, 1]), 2, (1.0, 2.0)).tolist() == [1.0, 2.0]
    for wrong in ((1.0, 2.0, 3.0), (1.0, -1.0), (1.0, math.nan), "ev", "even", [1.0, "2"]):
        with pytest.raises(TrainingError, match="give 'balanced' or 2 numbers > 0"):
            class_weights(np.array([0, 1]), 2, wrong)


def test_batches_scale_and_resize(rng):
    images = rng.integers(0, 256, (3, 8, 12)).astype(np.uint8)
    cpu = torch.device("cpu")
    batch = make_batch(images, np.array([2, 0]), cpu)
    assert batch.shape == (2, 1, 8, 12)
    np.testing.assert_array_equal(batch[0, 0].numpy(), images[2].astype(np.float32) / 255)
    small = make_batch(np.full((2, 8, 8), 51, np.uint8), np.array([1]), cpu, size=4)
    torch.testing.assert_close(small, torch.full((1, 1, 4, 4), 0.2))


def test_fingerprint_sees_one_pixel_and_one_label(rng):
    images = rng.integers(0, 256, (5, 6, 7)).astype(np.uint8)
    labels = np.array([0, 1, 0, 1, 0])
    changed = images.copy()
    changed[3, 2, 1] ^= 1
    flipped = labels.copy()
    flipped[4] = 1
    sums = {fingerprint(images, labels), fingerprint(changed, labels), fingerprint(images, flipped)}
    assert len(sums) == 3
    assert fingerprint(images, labels) == fingerprint(images.copy(), labels.copy())


def _set(images, labels, classes=("normal", "ill"), patients=("a", "b")):
    ids = np.array([f"film{i}" for i in range(len(labels))])
    return ImageSet(images, np.array(labels), ids, np.array(patients), ids, classes)


def test_what_cannot_be_trained_on_is_named():
    good = _set(np.zeros((2, 4, 5), np.uint8), [0, 1])
    net = SimpleNamespace(num_classes=2, classes=("class 0", "class 1"), channels=1)
    check_trainable(net, good)
    with pytest.raises(TrainingError, match="the 2 training images are of fewer"):
        check_trainable(net, _set(good.images, [0, 0]))
    with pytest.raises(TrainingError, match="the 0 training images"):
        check_trainable(net, _set(good.images[:0], np.zeros(0, int), patients=()))
    with pytest.raises(TrainingError, match=r"classes=\['a', 'b', 'c'\]"):
        check_trainable(net, _set(good.images, [0, 2], ("a", "b", "c")))
    with pytest.raises(TrainingError, match=r"\(6, 5\)"):
        check_trainable(net, good, _set(np.zeros((2, 6, 5), np.uint8), [0, 1]))
    check_trainable(net, good, _set(good.images, [0, 1], patients=["c", "d"]))
    with pytest.raises(TrainingError, match="the 0 validation images"):
        check_trainable(net, good, _set(good.images[:0], np.zeros(0, int), patients=()))
    with pytest.raises(TrainingError, match=r"classes are normal, ill .* classes ill, normal"):
        check_trainable(net, good, _set(good.images, [0, 1], ("ill", "normal"), ["c", "d"]))
    with pytest.raises(TrainingError, match=r"patient 'b' is in .* \(1 in all\)"):
        check_trainable(net, good, _set(good.images, [0, 1], patients=["c", "b"]))


def test_what_is_no_set_of_images_cannot_even_be_made():
    images = np.zeros((2, 4, 5), np.uint8)
    for labels in ([0, 2], [-1, 0]):
        with pytest.raises(StudyTableError, match="numbers from 0 to 1"):
            _set(images, labels)
    with pytest.raises(StudyTableError, match="one row per image"):
        _set(images, [0, 1, 1])
    for wrong in (
        np.zeros((2, 4, 5)),
        np.zeros((2, 4, 5, 2), np.uint8),
        np.zeros((2, 4), np.uint8),
    ):
        with pytest.raises(StudyTableError, match=r"expected uint8 \(N, H, W\)"):
            _set(wrong, [0, 1])


# --- probe


def test_probe_is_scikit_learns_pipeline_folded_into_one_layer(rng):
    features = rng.normal(3, 5, (40, 7))
    labels = (features[:, 2] > 3).astype(np.int64)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, tol=1e-6))
    reference.fit(features, labels)
    logits = linear_probe(features, labels, C=0.01).logits(features)
    margin = reference.decision_function(features)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], margin, atol=1e-5)


def test_probe_of_three_classes_and_an_absent_one(rng):
    features = rng.normal(size=(60, 4)).astype(np.float32)
    labels = features[:, :3].argmax(axis=1)
    probe = linear_probe(features, labels, num_classes=4, C=1.0)
    logits = probe.logits(features)
    assert (logits.argmax(axis=1) == labels).mean() > 0.8
    assert (logits[:, 3] == -10).all()
    with pytest.raises(TrainingError, match="two or more"):
        linear_probe(features, np.ones(60, np.int64))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"labels": [0, 1, 2, 1]},
            r"the labels are 0, 1, 2; expected .* from 0 to 1 .num_classes=2",
        ),
        ({"labels": [0, 1, -1, 1]}, "the labels are -1, 0, 1;"),
        ({"labels": [0.0, 0.5, 1.0, 1.0]}, "whole numbers from 0 to 1"),
        ({"labels": [0, 1, 1]}, r"labels \(3,\) cannot be fitted"),
        ({"features": np.full((4, 2), np.nan)}, "finite numbers"),
        ({"C": 0.0}, "C is 0.0; give a number above 0"),
        ({"C": math.nan}, "C is nan"),
        ({"class_weights": "even"}, "class_weights is 'even'; give 'balanced' or 2 numbers"),
    ],
)
def test_what_a_probe_cannot_be_fitted_to_is_named(changes, says):
    given = {"features": np.eye(4)[:, :2], "labels": [0, 1, 0, 1], "C": 1.0} | changes
    features, labels = given.pop("features"), np.array(given.pop("labels"))
    with pytest.raises(TrainingError, match=says):
        linear_probe(features, labels, **given)


@pytest.mark.parametrize("weights", ["balanced", (1.0, 5.0)])
def test_probe_weighs_the_classes_as_scikit_learn_does(rng, weights):
    features = rng.normal(0, 1, (40, 3))
    labels = (features[:, 0] + rng.normal(0, 1, 40) > 1).astype(np.int64)
    given = weights if weights == "balanced" else dict(enumerate(weights))
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(tol=1e-6, class_weight=given)
    ).fit(features, labels)
    probe = linear_probe(features, labels, C=1.0, class_weights=weights)
    margin = np.diff(probe.logits(features), axis=1)[:, 0]
    np.testing.assert_allclose(margin, reference.decision_function(features), atol=1e-4)
    with pytest.raises(TrainingError, match="2 numbers > 0"):
        linear_probe(features, labels, class_weights=(1.0, 2.0, 3.0))


def test_replace_keeps_checking():
    with pytest.raises(TrainingError):
        replace(FitSettings(), epochs=-1)

"""A whole run: learns, stops, resumes to the same bits, refuses what does not fit."""

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from medimg.augment import Augment
from medimg.errors import TrainingError
from medimg.models import AttentionHead, LinearHead, build_model
from medimg.models.network import MedicalNet
from medimg.models.transformer import split_vit
from medimg.runtime import Precision
from medimg.training import (
    FitSettings,
    autocast,
    cross_validate,
    extract_features,
    fit,
    predict,
    predict_ensemble,
    predict_logits,
    recipe,
    scores,
    to_scores,
)
from medimg.training.folding import fold


@dataclass(frozen=True)
class Films:
    images: Any
    labels: Any
    ids: Any
    patients: Any
    classes: tuple[str, ...] = ("normal", "ill")

    def subset(self, rows):
        return replace(
            self,
            images=self.images[rows],
            labels=self.labels[rows],
            ids=self.ids[rows],
            patients=self.patients[rows],
        )

    def __len__(self):
        return len(self.labels)


def make_films(count=48, *, seed=0, contrast=60):
    """Noise of 20 x 24 pixels; the ill have a bright patch."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(0, 120, (count, 20, 24)).astype(np.uint8)
    images[labels == 1, 5:12, 6:16] += contrast
    return Films(
        images,
        labels.astype(np.int64),
        np.array([f"film{i}" for i in range(count)]),
        np.array([f"p{seed}-{i // 2}" for i in range(count)]),
    )


def make_net(head="linear", classes=2):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        backbone = nn.Sequential()
        stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        backbone.add_module("stem", stem)
        last = nn.Sequential(nn.Conv2d(8, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU())
        backbone.add_module("stage1", last)
        make = LinearHead if head == "linear" else AttentionHead
        half = (0.5, 0.5, 0.5)
        return MedicalNet(backbone, make(12, classes), name="small", mean=half, std=half)


def make_vit():
    """A small vision transformer for images of 32 x 32."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        whole = VisionTransformer(32, 16, num_layers=4, num_heads=2, hidden_dim=8, mlp_dim=16)
        backbone = nn.Sequential(*split_vit(whole))
        half = (0.5, 0.5, 0.5)
        return MedicalNet(backbone, LinearHead(8, 2), name="vit_small", mean=half, std=half)


QUICK = FitSettings(epochs=4, batch_size=16, learning_rate=0.01, patience=9, augment=Augment.none())
FIXED = ["train_loss", "val_loss", "val_auc", "val_accuracy"]


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def films():
    return make_films(48), make_films(24, seed=1)


# --- it learns


@pytest.mark.parametrize("head", ["linear", "attention"])
@pytest.mark.parametrize(
    "strategy", ["frozen", "head_then_all", "gradual", "discriminative", "all"]
)
def test_every_strategy_learns(films, strategy, head):
    settings = replace(QUICK, strategy=strategy, epochs=8, probe_strength=1.0, min_gain=0.0)
    model = make_net(head)
    before = model.backbone.stem[0].weight.clone()
    result = fit(model, *films, settings=settings)
    assert result.history["val_auc"].max() > 0.9
    if strategy == "frozen":
        assert torch.equal(before, model.backbone.stem[0].weight)
    assert not model.training


def test_frozen_linear_fit_is_the_probe_itself(films):
    train, val = films
    model = make_net()
    result = fit(model, train, val, settings=replace(QUICK, strategy="frozen"))
    assert len(result.history) == 1
    found = scores(predict_logits(model, val.images), val.labels)
    assert result.history.loc[1, "val_auc"] == found["auc"]
    assert result.history.loc[1, "val_loss"] == pytest.approx(found["loss"], abs=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": "balanced"},
        {"sampler": "balanced"},
        {"loss": "focal"},
        {"sizes": (0.7, 1.0)},
        {"ema": 0.0},
        {"schedule": "one_cycle"},
        {"freeze_norms": True},
        {"augment": Augment.strong()},
    ],
)
def test_every_setting_trains(films, change):
    result = fit(make_net(), *films, settings=replace(QUICK, strategy="all", epochs=2, **change))
    assert np.isfinite(result.history[FIXED].to_numpy()).all()


def test_three_classes(rng):
    labels = np.arange(30) % 3
    three, other = (
        replace(make_films(30, seed=s), labels=labels.astype(np.int64), classes=("a", "b", "c"))
        for s in (0, 1)
    )
    result = fit(make_net(classes=3), three, other, settings=replace(QUICK, epochs=2))
    found = predict(result.model, three)
    assert found.y_score.shape == (30, 3)
    np.testing.assert_allclose(found.y_score.sum(axis=1), 1, atol=1e-6)


def test_without_validation_the_last_weights_are_kept(films):
    result = fit(make_net(), films[0], settings=replace(QUICK, epochs=3))
    assert result.best_epoch == 3
    assert "val_auc" not in result.history
    frozen = fit(make_net(), films[0], settings=replace(QUICK, strategy="frozen"))
    assert frozen.history.loc[1, "train_auc"] > 0.5


def test_monitor_last_trains_to_the_end_whatever_validation_says(films):
    train, val = films
    upside_down = replace(val, labels=1 - val.labels)
    settings = replace(QUICK, strategy="all", epochs=4, patience=1, monitor="last", ema=0.0)
    result = fit(make_net(), train, upside_down, settings=settings)
    assert (result.best_epoch, len(result.history)) == (4, 4)
    found = scores(predict_logits(result.model, val.images), upside_down.labels)
    assert found["loss"] == pytest.approx(result.history.loc[4, "val_loss"], abs=1e-6)


def test_default_settings_come_from_the_recipe(films):
    result = fit(make_net(), *films)
    assert result.settings.freeze_norms


# --- it repeats, stops, restores


def test_same_seed_same_weights_other_seed_other_weights(films):
    runs = [fit(make_net(), *films, settings=replace(QUICK, seed=s)) for s in (0, 0, 1)]
    assert same(runs[0].model, runs[1].model)
    pd.testing.assert_frame_equal(runs[0].history[FIXED], runs[1].history[FIXED], check_exact=True)
    assert not same(runs[0].model, runs[2].model)


def test_stops_after_patience_and_restores_the_best(films):
    train, val = films
    upside_down = replace(val, labels=1 - val.labels)
    settings = replace(
        QUICK, strategy="all", epochs=20, patience=2, ema=0.0, monitor="loss", schedule="constant"
    )
    result = fit(make_net(), train, upside_down, settings=settings)
    losses = result.history["val_loss"]
    assert len(losses) == result.best_epoch + 2
    found = scores(predict_logits(result.model, val.images), upside_down.labels)
    assert found["loss"] == pytest.approx(losses[result.best_epoch], abs=1e-6)
    assert losses[result.best_epoch] == losses.min()


def test_gain_below_the_minimum_does_not_count(films):
    settings = replace(QUICK, strategy="all", patience=1, min_gain=10.0)
    result = fit(make_net(), *films, settings=settings)
    assert (result.best_epoch, len(result.history)) == (1, 2)


def test_on_epoch_sees_the_growing_history(films):
    seen = []
    fit(make_net(), *films, settings=QUICK, on_epoch=lambda history: seen.append(len(history)))
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("strategy", ["frozen", "head_then_all"])
def test_a_solved_head_heeds_class_weights_in_numbers(films, strategy):
    settings = replace(QUICK, strategy=strategy, epochs=1, probe_strength=0.1)
    heavy = replace(settings, class_weights=(1.0, 20.0))
    plain, weighed = (fit(make_net(), *films, settings=s).model for s in (settings, heavy))
    ill = [to_scores(predict_logits(m, films[1].images)).mean() for m in (plain, weighed)]
    assert ill[1] > ill[0] + 0.05


def test_on_epoch_sees_a_solved_head_once(films):
    seen = []
    settings = replace(QUICK, strategy="frozen")
    fit(make_net(), *films, settings=settings, on_epoch=lambda h: seen.append(h["val_auc"].size))
    assert seen == [1]


# --- nothing is lost


@pytest.mark.parametrize("strategy", ["head_then_all", "gradual", "frozen"])
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_run_ends_in_the_same_bits(films, tmp_path, strategy, stop):
    head = "attention" if strategy == "frozen" else "linear"
    settings = replace(QUICK, strategy=strategy, augment=Augment())
    whole = fit(make_net(head), *films, settings=settings)

    class CutError(Exception):
        pass

    def cut(history):
        if len(history) == stop:
            raise CutError

    with pytest.raises(CutError):
        fit(make_net(head), *films, settings=settings, out_dir=tmp_path, on_epoch=cut)
    again = fit(make_net(head), *films, settings=settings, out_dir=tmp_path, resume=True)
    assert same(whole.model, again.model)
    pd.testing.assert_frame_equal(whole.history[FIXED], again.history[FIXED], check_exact=True)
    finished = fit(make_net(head), *films, settings=settings, out_dir=tmp_path, resume=True)
    assert same(whole.model, finished.model)


def test_killed_process_resumes_to_the_same_bits(films, tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_training_fit import QUICK, fit, make_films, make_net
        def die(history):
            if len(history) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        fit(make_net(), make_films(48), make_films(24, seed=1), settings=QUICK,
            out_dir={str(tmp_path)!r}, on_epoch=die)
        """
    )
    environment = os.environ | {
        "TQDM_DISABLE": "1",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    code = subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode
    assert code == -signal.SIGKILL
    again = fit(make_net(), *films, settings=QUICK, out_dir=tmp_path, resume=True)
    assert same(again.model, fit(make_net(), *films, settings=QUICK).model)


def test_resume_without_a_checkpoint_starts_anew(films, tmp_path):
    result = fit(make_net(), *films, settings=QUICK, out_dir=tmp_path, resume=True)
    assert len(result.history) == 4
    with pytest.raises(TrainingError, match="out_dir"):
        fit(make_net(), *films, settings=QUICK, resume=True)


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_full_disk_keeps_the_last_checkpoint(films, tmp_path):
    import resource

    settings = replace(QUICK, epochs=3)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def no_more_space(history):
        if len(history) == 1:  # one checkpoint is written; the next one does not fit
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))

    try:
        with pytest.raises(OSError, match=r"checkpoint\.pt"):
            fit(make_net(), *films, settings=settings, out_dir=tmp_path, on_epoch=no_more_space)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert [p.name for p in tmp_path.glob("*checkpoint*")] == ["checkpoint.pt"]
    again = fit(make_net(), *films, settings=settings, out_dir=tmp_path, resume=True)
    assert len(again.history) == 3
    assert same(again.model, fit(make_net(), *films, settings=settings).model)


def test_checkpoint_of_something_else_is_refused(films, tmp_path):
    train, val = films
    fit(make_net(), train, val, settings=QUICK, out_dir=tmp_path)

    def resume(model=None, images=train, settings=QUICK):
        fit(model or make_net(), images, val, settings=settings, out_dir=tmp_path, resume=True)

    with pytest.raises(TrainingError, match="other model"):
        resume(make_net("attention"))
    with pytest.raises(TrainingError, match="other data"):
        resume(images=make_films(48, seed=5))
    with pytest.raises(TrainingError, match=r"learning_rate 0.01 -> 0.02"):
        resume(settings=replace(QUICK, learning_rate=0.02))
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="delete it"):
        resume()


# --- what it refuses


def test_loss_that_is_not_a_number_names_the_images(films):
    train, val = films
    model = make_net()
    with torch.no_grad():
        model.head.linear.bias[0] = torch.nan
    settings = replace(QUICK, strategy="all")
    with pytest.raises(TrainingError, match=r"epoch 1, step 0, at images film\d+.*and others"):
        fit(model, train, val, settings=settings)


def test_validation_of_one_class_cannot_give_an_auc(films):
    train, val = films
    one = val.subset(np.flatnonzero(val.labels == 1))
    with pytest.raises(TrainingError, match="monitor='loss'"):
        fit(make_net(), train, one, settings=QUICK)
    fit(make_net(), train, one, settings=replace(QUICK, epochs=1, monitor="loss"))


def test_a_network_of_one_size_is_never_given_another(monkeypatch):
    train, val = (
        replace(films, images=np.pad(films.images, ((0, 0), (0, 12), (0, 8))))
        for films in (make_films(24), make_films(12, seed=1))
    )
    with pytest.raises(TrainingError, match=r"sizes=\(0.7, 1.0\); give sizes=\(\)"):
        fit(make_vit(), train, val, settings=replace(QUICK, sizes=(0.7, 1.0)))
    with pytest.raises(TrainingError, match="32 x 32 only, and these are 20 x 24; decode with"):
        fit(make_vit(), make_films(24))
    assert recipe(600).sizes
    many = sys.modules["medimg.training.fit"]  # `medimg.training.fit` is the function
    monkeypatch.setattr(many, "recipe", lambda _, **given: recipe(600, **given))
    assert len(fit(make_vit(), train, val).history) == 7


def test_out_of_memory_in_a_step_says_the_batch_size(films, monkeypatch):
    def greedy(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB")

    monkeypatch.setattr("medimg.training.session.train_epoch", greedy)
    with pytest.raises(TrainingError, match="batch_size=8"):
        fit(make_net(), *films, settings=replace(QUICK, strategy="all"))


# --- inference and features


def test_folded_norms_change_nothing_but_rounding(films):
    model = fit(make_net(), *films, settings=QUICK).model
    images = torch.from_numpy(films[1].images)[:, None].float() / 255
    quick = fold(model, torch.device("cpu"), Precision())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    with torch.inference_mode():
        torch.testing.assert_close(quick(images), model(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_folded_activations_change_nothing_but_rounding(dtype, able, monkeypatch):
    monkeypatch.setattr("medimg.training.folding._can_clip", lambda: able)
    model = build_model(pretrained=False).eval()
    torch.manual_seed(0)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.bias, 0, 6)  # so that ReLU6 clips at both ends
    precision, device = Precision(dtype=dtype), torch.device("cpu")
    quick, images = fold(model, device, precision), torch.rand(2, 1, 64, 64)
    clipped = sum(type(m).__name__ == "_ClippedConvolution" for m in quick.modules())
    left = sum(isinstance(m, nn.ReLU6) for m in quick.modules())
    assert (clipped > 20) is able
    assert clipped + left == sum(isinstance(m, nn.ReLU6) for m in model.modules())
    with torch.inference_mode():
        with autocast(device, precision):
            found = quick.feature_map(images).float()
        wanted = model.feature_map(images)
    tolerance = 1e-4 if dtype is None else 0.05
    assert float((found - wanted).norm() / wanted.norm()) < tolerance


def test_prediction_does_not_depend_on_the_batch(films):
    model, val = make_net(), films[1]
    model.train()
    one = predict_logits(model, val.images, batch_size=5)
    np.testing.assert_allclose(one, predict_logits(model, val.images), atol=1e-6)
    assert model.training
    seen = predict_logits(model, val.images, tta=True)
    assert seen.shape == one.shape
    assert not np.allclose(seen, one)
    np.testing.assert_allclose(predict_ensemble([model, model], val.images), one, atol=1e-6)


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_head_is_judged_on_the_features_as_they_are(films, head):
    """Features are neither in [0, 1] nor positive; what decides the best epoch must be true."""
    train, val = films
    model = make_net(head)
    with torch.no_grad():
        model.backbone.stage1[1].weight.mul_(8)
    model.backbone.stage1[2] = nn.Identity()  # no ReLU: negative features, too
    settings = replace(
        QUICK, strategy="frozen", probe_strength=0.0, epochs=1, ema=0.0, label_smoothing=0.0
    )
    result = fit(model, train, val, settings=settings)
    found = scores(predict_logits(model, val.images), val.labels)
    assert result.history.loc[1, "val_loss"] == pytest.approx(found["loss"], abs=2e-3)
    assert result.history.loc[1, "val_auc"] == pytest.approx(found["auc"], abs=0.01)


def test_predictions_carry_names_patients_and_temperature(films):
    model, val = make_net(), films[1]
    found = predict(model, val, temperature=2.0)
    margin = np.diff(predict_logits(model, val.images).astype(float), axis=1)[:, 0]
    np.testing.assert_allclose(found.y_score, 1 / (1 + np.exp(-margin / 2)), atol=1e-6)
    assert found.ids.tolist() == val.ids.tolist()
    assert found.patient_ids.tolist() == val.patients.tolist()
    assert found.classes == val.classes


def test_scores_of_many_classes_sum_to_one():
    shares = to_scores(np.array([[0.0, np.log(2.0), 0.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.5, 0.25]])


def test_no_images_have_no_scores(films):
    for net, side in ((make_net(), (20, 24)), (make_net("attention"), (20, 24)),
                      (make_vit(), (32, 32))):  # fmt: skip
        logits = predict_logits(net, np.empty((0, *side), np.uint8), tta=True)
        assert logits.shape == (0, 2)
        assert to_scores(logits).shape == (0,)
    assert extract_features(make_net(), films[0].images[:0]).shape == (0, 12)


def test_scores_and_features_refuse_what_they_cannot_take(films):
    for temperature in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(TrainingError, match=r"temperature is .*; give a number above 0"):
            to_scores(np.zeros((1, 2)), temperature=temperature)
    with pytest.raises(TrainingError, match=r"shape \(3,\); expected \(N, K\)"):
        to_scores(np.zeros(3))
    with pytest.raises(TrainingError, match="kind is 'foo'; choose 'pooled' or 'map'"):
        extract_features(make_net(), films[0].images, kind="foo")


def test_features_are_cached_by_images_and_weights(films, tmp_path, monkeypatch):
    model, images = make_net(), films[0].images
    first = extract_features(model, images, cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("medimg.training.probe.run_batches", None)  # a second pass would fail
        np.testing.assert_array_equal(extract_features(model, images, cache=tmp_path), first)
    with torch.no_grad():
        model.backbone.stem[0].weight[0, 0, 0, 0] += 1
    assert not np.array_equal(extract_features(model, images, cache=tmp_path), first)
    assert extract_features(model, images, kind="map", cache=tmp_path).shape == (48, 12, 4, 5)
    assert len(list(tmp_path.iterdir())) == 3


def test_memory_mapped_images_train_alike(films, tmp_path):
    train, val = films
    np.save(tmp_path / "images.npy", train.images)
    mapped = replace(train, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    one = fit(make_net(), train, val, settings=QUICK)
    assert same(one.model, fit(make_net(), mapped, val, settings=QUICK).model)


# --- cross-validation


def test_cross_validation_keeps_patients_apart(monkeypatch):
    films = make_films(60)
    seen = []

    def spying(model, train, val, **arguments):
        seen.append((set(train.patients), set(val.patients)))
        return fit(model, train, val, **arguments)

    monkeypatch.setattr("medimg.training.crossval.fit", spying)
    settings = replace(QUICK, strategy="frozen", probe_strength=1.0)
    found = cross_validate(make_net, films, settings=settings)
    everyone = set(films.patients)
    judged = [everyone - train - val for train, val in seen]
    assert all(not train & val for train, val in seen)
    assert set.union(*judged) == everyone
    assert sum(map(len, judged)) == len(everyone)
    assert len(found.folds) == 5
    assert found.folds["images"].sum() == 60
    assert found.mean_auc == pytest.approx(found.folds["auc"].mean())
    assert found.spread_auc == pytest.approx(np.std(found.folds["auc"], ddof=1))
    assert scores(found.logits, films.labels)["auc"] > 0.9


def test_cross_validation_needs_patients_enough():
    with pytest.raises(TrainingError, match="folds=3 or fewer"):
        cross_validate(make_net, make_films(6), settings=QUICK)
    with pytest.raises(TrainingError, match="3 or more"):
        cross_validate(make_net, make_films(6), settings=QUICK, folds=2)

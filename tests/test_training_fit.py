"""A whole run: learns, stops, resumes to the same bits, refuses what does not fit."""

import contextlib
import copy
import io
import os
import platform
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
import timm
import torch
from machine import Small, needs_bfloat16
from torch import nn
from tqdm import tqdm

from medimg import progress
from medimg.augment import Augment
from medimg.errors import ModelError, TrainingError
from medimg.models import AttentionHead, LinearHead, build_model
from medimg.models.network import MedicalNet
from medimg.runtime import Precision
from medimg.training import (
    FitSettings,
    autocast,
    cross_validate,
    extract_features,
    fit,
    fit_head,
    linear_probe,
    patient_folds,
    predict,
    predict_logits,
    probabilities,
    recipe,
    run_model,
    speed,
    validation_metrics,
)
from medimg.training.data import fingerprint
from medimg.training.speed import fold


@dataclass(frozen=True)
class Films:
    images: Any
    labels: Any
    ids: Any
    patients: Any
    classes: tuple[str, ...] = ("normal", "ill")

    @property
    def patient_ids(self):
        return self.patients

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
        backbone = Small(
            nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU()),
            nn.Sequential(nn.Conv2d(8, 12, 3, stride=2), nn.BatchNorm2d(12), nn.ReLU()),
        )
        make = LinearHead if head == "linear" else AttentionHead
        half = (0.5, 0.5, 0.5)
        return MedicalNet(backbone, make(12, classes), name="small", mean=half, std=half)


def make_vit():
    """A small vision transformer."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        whole = timm.create_model(
            "test_vit", num_classes=0, dynamic_img_size=True, dynamic_img_pad=True
        )
        half = (0.5, 0.5, 0.5)
        return MedicalNet(whole, LinearHead(64, 2), name="vit", mean=half, std=half)


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
@pytest.mark.parametrize("strategy", ["head", "head_then_all", "gradual", "discriminative", "all"])
def test_every_strategy_learns(films, strategy, head):
    settings = replace(QUICK, strategy=strategy, epochs=8, C=1.0, min_delta=0.0)
    model = make_net(head)
    before = model.backbone.stem[0].weight.clone()
    result = fit(model, *films, settings=settings)
    assert result.history["val_auc"].max() > 0.9
    if strategy == "head":
        assert torch.equal(before, model.backbone.stem[0].weight)
    assert not model.training


def test_a_solved_head_is_the_probe_itself(films):
    train, val = films
    model = make_net()
    result = fit_head(model, train, val, C=0.01)
    assert len(result.history) == 1
    assert result.settings["C"] == 0.01
    found = validation_metrics(predict_logits(model, val.images), val.labels)
    assert result.history.loc[1, "val_auc"] == pytest.approx(found["auc"], abs=0.01)
    assert result.history.loc[1, "val_loss"] == pytest.approx(found["loss"], abs=2e-3)
    features = extract_features(make_net(), train.images)
    probe = linear_probe(features, train.labels, C=0.01)
    np.testing.assert_allclose(model.head.linear.weight.detach(), probe.weight, atol=1e-6)
    assert not model.training


def test_an_attention_head_cannot_be_solved(films):
    with pytest.raises(TrainingError, match="strategy='head'"):
        fit_head(make_net("attention"), films[0])


@pytest.mark.parametrize(
    "change",
    [
        {"class_weights": "balanced"},
        {"sampler": "balanced"},
        {"loss": "focal"},
        {"sizes": (0.7, 1.0)},
        {"ema": 0.0},
        {"schedule": "constant"},
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
    assert fit_head(make_net(), films[0]).history.loc[1, "train_auc"] > 0.5


def test_monitor_last_trains_to_the_end_whatever_validation_says(films):
    train, val = films
    upside_down = replace(val, labels=1 - val.labels)
    settings = replace(QUICK, strategy="all", epochs=4, patience=1, monitor="last", ema=0.0)
    result = fit(make_net(), train, upside_down, settings=settings)
    assert (result.best_epoch, len(result.history)) == (4, 4)
    found = validation_metrics(predict_logits(result.model, val.images), upside_down.labels)
    assert found["loss"] == pytest.approx(result.history.loc[4, "val_loss"], abs=1e-6)


def test_default_settings_come_from_the_recipe(films):
    result = fit(make_net(), *films)
    assert result.settings == recipe(48).to_json()


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
    found = validation_metrics(predict_logits(result.model, val.images), upside_down.labels)
    assert found["loss"] == pytest.approx(losses[result.best_epoch], abs=1e-6)
    assert losses[result.best_epoch] == losses.min()


def test_a_bar_that_stopped_early_is_not_left_unfinished(films, monkeypatch):
    bars = []

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **(kwargs | {"file": io.StringIO(), "disable": False}))
            bars.append(self)

    monkeypatch.setattr(sys.modules["medimg.training.fit"], "tqdm", Bar)
    settings = replace(QUICK, strategy="all", patience=1, min_delta=10.0)
    fit(make_net(), *films, settings=settings)
    assert bars[0].n == bars[0].total == 2 * 3


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_shown_on_terminals_only(monkeypatch, terminal):
    class File(io.StringIO):
        def isatty(self):
            return terminal

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    file = File()
    list(progress.tqdm(range(3), file=file))
    assert bool(file.getvalue()) is terminal


def test_gain_below_the_minimum_does_not_count(films):
    settings = replace(QUICK, strategy="all", patience=1, min_delta=10.0)
    result = fit(make_net(), *films, settings=settings)
    assert (result.best_epoch, len(result.history)) == (1, 2)


def test_on_epoch_sees_the_growing_history(films):
    seen = []
    fit(make_net(), *films, settings=QUICK, on_epoch=lambda history: seen.append(len(history)))
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("solved", [True, False])
def test_a_solved_head_heeds_class_weights_in_numbers(films, solved):
    def ill(weights):
        settings = replace(QUICK, epochs=1, C=0.1, class_weights=weights)
        model = make_net()
        if solved:
            fit_head(model, *films, C=0.1, class_weights=weights)
        else:
            fit(model, *films, settings=settings)
        return probabilities(predict_logits(model, films[1].images)).mean()

    assert ill((1.0, 20.0)) > ill(None) + 0.05


# --- nothing is lost


@pytest.mark.parametrize("strategy", ["head_then_all", "gradual", "head"])
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_run_ends_in_the_same_bits(films, tmp_path, strategy, stop):
    head = "attention" if strategy == "head" else "linear"
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


@pytest.mark.skipif(os.name != "posix", reason="needs a signal that cannot be caught")
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

    with pytest.raises(TrainingError, match=r"other data or settings .model small"):
        resume(make_net("attention"))
    with pytest.raises(TrainingError, match=r"data [0-9a-f]{16} -> "):
        resume(images=make_films(48, seed=5))
    with pytest.raises(TrainingError, match=r"learning_rate 0.01 -> 0.02"):
        resume(settings=replace(QUICK, learning_rate=0.02))
    with pytest.raises(TrainingError, match=r"validation data [0-9a-f]{16} -> "):
        fit(
            make_net(),
            train,
            replace(val, images=val.images + 1),
            settings=QUICK,
            out_dir=tmp_path,
            resume=True,
        )


def test_damaged_checkpoints_each_give_one_error(films, tmp_path):
    fit(make_net(), *films, settings=QUICK, out_dir=tmp_path)
    path = tmp_path / "checkpoint.pt"
    whole = path.read_bytes()
    content = torch.load(path, weights_only=True)

    def saved(**changes):
        buffer = io.BytesIO()
        torch.save(content | changes, buffer)
        return buffer.getvalue()

    short = {key: value for key, value in content.items() if key != "progress"}
    buffer = io.BytesIO()
    torch.save(short, buffer)
    bad = [b"", b"no checkpoint", whole[:1000], whole[:-1000], buffer.getvalue()]
    bad += [saved(progress={"wait": 1, "what": 2}), saved(model={}), saved(optimizer=None)]
    bad += [saved(signature=None), saved(average={})]
    other, at = bytearray(whole), whole.index(content["model"]["head.linear.weight"].numpy())
    other[at + 3] ^= 1 << 6  # one bit of one weight, which torch reads without a word
    bad += [bytes(other)]
    for damaged in bad:
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match="is damaged; delete it to start anew"):
            fit(make_net(), *films, settings=QUICK, out_dir=tmp_path, resume=True)


# --- what it refuses


def test_loss_that_is_not_a_number_names_the_images(films):
    train, val = films
    model = make_net()
    with torch.no_grad():
        model.head.linear.bias[0] = torch.nan
    settings = replace(QUICK, strategy="all")
    with pytest.raises(
        TrainingError, match=r"epoch 1, step 0, at images film\d+, film.*rate below 0.01"
    ):
        fit(model, train, val, settings=settings)


def test_validation_of_one_class_cannot_give_an_auc(films):
    train, val = films
    one = val.subset(np.flatnonzero(val.labels == 1))
    with pytest.raises(TrainingError, match="monitor='loss'"):
        fit(make_net(), train, one, settings=QUICK)
    fit(make_net(), train, one, settings=replace(QUICK, epochs=1, monitor="loss"))


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_train_and_predict(films, channels):
    def coloured(part):
        return replace(
            part,
            images=np.stack([part.images] * channels, axis=-1).squeeze(3 if channels == 1 else ()),
        )

    train, val = map(coloured, films)
    model = make_net()
    model.channels = channels
    settings = replace(QUICK, strategy="all", sizes=(0.7, 1.0), augment=Augment.none())
    result = fit(model, train, val, settings=settings)
    assert result.history["val_auc"].max() > 0.9
    assert predict(model, val, tta=True).y_score.shape == (24,)
    grey = predict_logits(model, films[1].images)  # three equal channels are a grey picture
    np.testing.assert_allclose(grey, predict_logits(model, val.images), atol=1e-5)


def test_a_grey_network_refuses_colour(films):
    colour = np.repeat(films[0].images[..., None], 3, axis=3)
    for act in (
        lambda: predict_logits(make_net(), colour),
        lambda: extract_features(make_net(), colour),
        lambda: fit(make_net(), replace(films[0], images=colour)),
    ):
        with pytest.raises(ModelError, match=r"takes images .*build with channels=3 for colour"):
            act()


def test_a_transformer_takes_any_size_and_grows_with_it():
    train, val = make_films(24), make_films(12, seed=1)
    settings = replace(QUICK, strategy="all", epochs=2, sizes=(0.7, 1.0))
    result = fit(make_vit(), train, val, settings=settings)
    assert np.isfinite(result.history[FIXED].to_numpy()).all()


def test_the_network_takes_the_names_of_the_classes_or_must_have_them(films):
    assert fit_head(make_net(), *films).model.classes == ("normal", "ill")
    other = make_net()
    other.classes = ("ill", "normal")
    for act in (fit, fit_head):
        with pytest.raises(
            TrainingError, match=r"tells ill, normal apart.*classes=\['normal', 'ill'\]"
        ):
            act(other, *films)


def test_an_output_that_is_not_a_number_is_no_prediction(films):
    model = make_net()
    with torch.no_grad():
        model.head.linear.weight[0, 0] = torch.inf
        model.head.linear.bias[1] = torch.nan
    with pytest.raises(TrainingError, match="not a finite number for 24 of 24 images"):
        predict(model, films[1])


# --- inference and features


def test_folded_norms_change_nothing_but_rounding(films):
    model = fit(make_net(), *films, settings=QUICK).model
    images = torch.from_numpy(films[1].images)[:, None].float() / 255
    quick = fold(model, torch.device("cpu"), Precision())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    with torch.inference_mode():
        torch.testing.assert_close(quick(images), model(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("dtype", [None, pytest.param(torch.bfloat16, marks=needs_bfloat16)])
def test_folded_activations_change_nothing_but_rounding(dtype, able, monkeypatch):
    monkeypatch.setattr("medimg.training.speed._can_clip", lambda: able)
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


@pytest.mark.parametrize("head", ["linear", "attention"])
def test_a_head_is_judged_on_the_features_as_they_are(films, head):
    """Features are neither in [0, 1] nor positive; what decides the best epoch must be true."""
    train, val = films
    model = make_net(head)
    with torch.no_grad():
        model.backbone.stages[0][1].weight.mul_(8)
    model.backbone.stages[0][2] = nn.Identity()  # no ReLU: negative features, too
    settings = replace(QUICK, strategy="head", epochs=1, ema=0.0, label_smoothing=0.0)
    result = fit(model, train, val, settings=settings)
    found = validation_metrics(predict_logits(model, val.images), val.labels)
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
    shares = probabilities(np.array([[0.0, np.log(2.0), 0.0]]))
    np.testing.assert_allclose(shares, [[0.25, 0.5, 0.25]])


def test_no_images_have_no_scores(films):
    for net, side in ((make_net(), (20, 24)), (make_net("attention"), (20, 24)),
                      (make_vit(), (32, 32))):  # fmt: skip
        logits = predict_logits(net, np.empty((0, *side), np.uint8), tta=True)
        assert logits.shape == (0, 2)
        assert probabilities(logits).shape == (0,)
    assert extract_features(make_net(), films[0].images[:0]).shape == (0, 12)


def test_scores_and_features_refuse_what_they_cannot_take(films):
    for temperature in (-1.0, 0.0, 1e-320, np.nan, np.inf):
        with pytest.raises(TrainingError, match=r"temperature is .*; give a number from 1e-6 on"):
            probabilities(np.ones((1, 2)), temperature=temperature)
    with pytest.raises(TrainingError, match=r"shape \(3,\); expected \(N, K\)"):
        probabilities(np.zeros(3))
    with pytest.raises(TrainingError, match="output is 'foo'; choose one of logits, pooled, map"):
        extract_features(make_net(), films[0].images, kind="foo")


def test_the_fingerprint_of_a_large_set_sees_every_image():
    images = np.zeros((5000, 4, 4), np.uint8)
    sums = set()
    for row in (None, 1, 2, 4999):
        changed = images.copy()
        if row is not None:
            changed[row, 3, 3] = 1
        sums.add(fingerprint(changed))
    assert len(sums) == 4


def test_memory_mapped_images_train_alike(films, tmp_path):
    train, val = films
    np.save(tmp_path / "images.npy", train.images)
    mapped = replace(train, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    one = fit(make_net(), train, val, settings=QUICK)
    assert same(one.model, fit(make_net(), mapped, val, settings=QUICK).model)


# --- quicker, and the same


def test_without_its_speed_everything_is_the_same_to_rounding(films, monkeypatch):
    """What `speed` does may be left out: plain torch gives the same network and predictions."""
    for name in ("fit", "predict"):
        monkeypatch.setattr(
            sys.modules[f"medimg.training.{name}"], "pick_precision", lambda _: Precision()
        )

    def outcome():
        model = build_model("efficientnet_lite0", pretrained=False)
        train, val = (replace(f, images=np.pad(f.images, ((0, 0), (0, 12), (0, 8)))) for f in films)
        settings = replace(QUICK, strategy="all", epochs=1, freeze_norms=True, learning_rate=1e-3)
        history = fit(model, train, val, settings=settings).history[FIXED].to_numpy()
        return history, predict_logits(model, val.images)

    quick = outcome()
    for name in ("fit", "predict"):
        module = sys.modules[f"medimg.training.{name}"]
        for trick, plain in {
            "autocast": lambda *_: contextlib.nullcontext(),
            "fold": lambda model, device, _: copy.deepcopy(model).eval().to(device),
            "place": lambda model, device: model.to(device),
        }.items():
            if hasattr(module, trick):
                monkeypatch.setattr(module, trick, plain)
    monkeypatch.setattr(speed, "fold", None)
    slow = outcome()
    for one, other in zip(quick, slow, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_freed_memory_is_used_again_without_asking_the_system():
    """A layer's output of 40 MB has 10,000 pages; each costs a visit to the system, or none."""
    import resource

    speed.place(make_net(), torch.device("cpu"))
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.zeros(10_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 1000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's allocator")
def test_freed_memory_goes_back_after_training():
    """In a process of its own: what other tests leave on the heap decides where a block lies."""
    code = """if True:
        import os, pathlib, torch
        from medimg.training import speed

        def resident():
            pages = pathlib.Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")

        speed.place(torch.nn.Conv2d(1, 1, 1), torch.device("cpu"))
        torch.ones(30_000_000)  # 120 MB, written and freed at once
        kept = resident()
        speed.return_memory()
        print(kept - resident())
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert int(done.stdout) > 100e6


# --- cross-validation


def test_cross_validation_keeps_patients_apart():
    films, seen = make_films(60), []

    def score(learn, judge):
        seen.append((set(films.patients[learn]), set(films.patients[judge])))
        return films.images[judge].mean(axis=(1, 2))

    found = cross_validate(score, films.labels, films.patients)
    np.testing.assert_allclose(found, films.images.mean(axis=(1, 2)))
    assert len(seen) == 5
    assert all(not learn & judge for learn, judge in seen)
    assert sorted(p for _, judge in seen for p in judge) == sorted(set(films.patients))


def test_cross_validation_of_networks_and_of_many_classes():
    films = make_films(36)

    def network(learn, judge):
        result = fit_head(make_net(), films.subset(learn), films.subset(judge), C=1.0)
        return run_model(result.model, films.images[judge])

    logits = cross_validate(network, films.labels, films.patients, folds=3)
    assert logits.shape == (36, 2)
    assert validation_metrics(logits, films.labels)["auc"] > 0.9


def test_folds_depend_on_the_seed_and_share_the_classes_out():
    films = make_films(60)
    first, again, other = (patient_folds(films.labels, films.patients, seed=s) for s in (0, 0, 1))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(first, other, strict=True))
    assert {int(films.labels[judge].sum()) for _, judge in first} == {6}


def test_cross_validation_takes_a_score_for_each_row_to_judge():
    x, labels, patients = np.arange(10.0), np.array([0, 1] * 5), np.arange(10)
    for wrong in (lambda learn, judge: x[learn], lambda learn, judge: np.r_[x[judge], 99]):
        with pytest.raises(TrainingError, match="one score for each row to judge"):
            cross_validate(wrong, labels, patients, folds=5)
    for folds in (1, 0, 6):
        with pytest.raises(TrainingError, match="give from 2 to 5"):
            patient_folds(labels, patients, folds=folds)


def test_cross_validation_needs_patients_enough():
    films = make_films(6)
    with pytest.raises(TrainingError, match="give from 2 to 3"):
        patient_folds(films.labels, films.patients)

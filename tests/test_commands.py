"""The command line: the whole way on a small folder, and one line for each kind of bad input."""

import errno
import io
import json
import os
import shutil
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import medimg
from medimg import datasets, images, models, plots, training
from medimg.__main__ import main
from medimg.errors import TrainingError
from medimg.tables import read_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 small films of 20 patients; the ill ones have a bright square."""
    root = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    for patient in range(20):
        label = "normal" if patient < 10 else "pneumonia"
        for visit in range(2):
            film = rng.integers(0, 90, (40, 36), dtype=np.uint8)
            if label == "pneumonia":
                film[10:25, 12:26] += 120
            path = root / label / f"p{patient:02}_{visit}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(film).save(path)
    return root


@pytest.fixture(scope="module")
def fitted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    status = main(
        ["fit", "--data", str(folder), "--patient-pattern", r"(p\d+)_", "--out", str(out),
         "--size", "32", "--epochs", "1", "--sensitivity", "0.9"]
    )  # fmt: skip
    assert status == 0
    return out


def test_fit_keeps_all_that_evaluate_needs(fitted):
    studies = pd.read_csv(fitted / "studies.csv")
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    info = json.loads((fitted / "model.json").read_text(encoding="utf-8"))
    assert info["classes"] == ["normal", "pneumonia"]
    assert info["image_size"] == 32
    assert info["threshold_rule"] == "sensitivity at least 0.9"
    assert pd.read_csv(fitted / "history.csv")["epoch"].tolist() == [1]


def test_a_fit_that_dies_leaves_the_last_table_beside_the_last_model(
    fitted, folder, tmp_path, monkeypatch, capsys
):
    """Otherwise evaluate would test the old network on films that it learned from."""
    for name in ("model.safetensors", "model.json", "studies.csv"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())

    def die(*_, **__):
        raise TrainingError("out of memory")

    monkeypatch.setattr(training, "fit_head", die)
    given = ["--data", str(folder), "--size", "32", "--out", str(tmp_path)]
    assert main(["fit", *given]) == 2
    assert "out of memory" in capsys.readouterr().err
    assert (tmp_path / "studies.csv").read_bytes() == (fitted / "studies.csv").read_bytes()


def test_the_patient_pattern_counts_for_a_folder_of_the_environment(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MEDIMG_DATASET", str(folder))
    given = ["--patient-pattern", r"(p\d+)_", "--size", "32", "--out", str(tmp_path)]
    assert main(["fit", *given]) == 0
    studies = pd.read_csv(tmp_path / "studies.csv")
    assert studies["patient_id"].nunique() == 20
    monkeypatch.delenv("MEDIMG_DATASET")
    assert main(["fit", *given]) == 2
    assert "sample: a patient pattern is for" in capsys.readouterr().err


def test_evaluate_tests_the_images_that_fit_set_aside(fitted, tmp_path, capsys):
    model = str(fitted / "model.safetensors")
    assert main(["evaluate", "--model", model, "--out", str(tmp_path)]) == 0
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    studies = pd.read_csv(fitted / "studies.csv")
    assert predictions["path"].tolist() == studies[studies["split"] == "test"]["path"].tolist()
    assert {"y_true", "y_score"} <= set(predictions)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") + page.count("data:image/") >= 2
    assert "auc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("fit", "(default: $MEDIMG_DATASET, else sample)"),
        ("evaluate", "(default: the studies.csv that fit wrote beside the model;"),
    ],
)
def test_help_says_which_data_a_command_takes(command, default, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert default in told
    assert "default: None" not in told


@pytest.fixture
def other_data(fitted, tmp_path):
    """Write a table of images of the fitted network's own split, and return how to evaluate it."""

    def write(split, **columns):
        studies = pd.read_csv(fitted / "studies.csv", dtype=str)
        table = studies[studies["split"] == split].assign(split="test", **columns)
        table.to_csv(tmp_path / "other.csv", index=False)
        model = str(fitted / "model.safetensors")
        return ["evaluate", "--model", model, "--data", str(tmp_path / "other.csv"),
                "--out", str(tmp_path / "out")]  # fmt: skip

    return write


def test_a_test_on_what_the_network_learned_from_is_refused(other_data, tmp_path, capsys, caplog):
    arguments = other_data("train", patient_id=[f"other{n}" for n in range(24)])
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "learned from 24 of these 24 images" in error  # by their bytes: the patients differ
    assert "studies.csv" in error
    table = pd.read_csv(tmp_path / "other.csv")
    table.assign(split="train").to_csv(tmp_path / "other.csv", index=False)
    for more in (["--split", "train"], ["--split", "train", "--allow-duplicates"]):
        caplog.clear()
        assert main([*arguments, *more]) == 0
        assert "measures its memory" in caplog.text


def test_a_test_on_patients_of_the_training_split_is_refused(fitted, other_data, tmp_path, capsys):
    """Their other films are no new patients; a number that only looks like theirs can be mended."""
    studies = pd.read_csv(fitted / "studies.csv", dtype=str)
    learned = studies.loc[studies["split"] == "train", "patient_id"].iloc[0]
    arguments = other_data("test")
    table = pd.read_csv(tmp_path / "other.csv", dtype=str)
    table.loc[0, "patient_id"] = learned
    table.to_csv(tmp_path / "other.csv", index=False)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert f"patient '{learned}'" in error
    assert "another patient_id" in error
    table.loc[0, "patient_id"] = "north-1"
    table.to_csv(tmp_path / "other.csv", index=False)
    assert main(arguments) == 0


def test_a_patient_in_capitals_is_the_same_patient(fitted, other_data, tmp_path, capsys):
    studies = pd.read_csv(fitted / "studies.csv", dtype=str)
    learned = studies.loc[studies["split"] == "train", "patient_id"].iloc[0]
    arguments = other_data("test")
    table = pd.read_csv(tmp_path / "other.csv", dtype=str)
    table.loc[0, "patient_id"] = learned.upper()
    table.to_csv(tmp_path / "other.csv", index=False)
    assert "learned from 1 of these" in refused(arguments, capsys)
    studies.loc[studies.index[studies["split"] == "test"][0], "patient_id"] = learned.upper()
    studies.to_csv(tmp_path / "both.csv", index=False)
    given = ["fit", "--data", str(tmp_path / "both.csv"), "--out", str(tmp_path / "o")]
    assert f"patient '{learned}' is in more than one split" in refused(given, capsys)


def test_images_without_splits_are_all_tested(other_data, tmp_path, capsys):
    arguments = other_data("test")
    table = pd.read_csv(tmp_path / "other.csv", dtype=str).drop(columns="split")
    table.to_csv(tmp_path / "other.csv", index=False)
    assert main([*arguments, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["n_images"] == len(table)
    assert "no splits given: all are test" in lines[0]["notes"]


def test_without_a_table_and_without_data_there_is_nothing_to_test(
    fitted, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("MEDIMG_DATASET", raising=False)
    for name in ("model.safetensors", "model.json"):
        shutil.copy(fitted / name, tmp_path)
    model = str(tmp_path / "model.safetensors")
    for empty in (None, ""):
        if empty is not None:
            monkeypatch.setenv("MEDIMG_DATASET", empty)
        assert "studies.csv; give --data" in refused(["evaluate", "--model", model], capsys)


def test_classes_in_another_order_than_the_networks_are_refused(other_data, capsys):
    arguments = [*other_data("test"), "--classes", "pneumonia,normal"]
    assert "classes are normal, pneumonia, in this order" in refused(arguments, capsys)


def test_copies_of_training_images_are_refused_and_names_alone_are_not(
    fitted, other_data, tmp_path, capsys
):
    studies = pd.read_csv(fitted / "studies.csv", dtype=str)
    learned = studies[studies["split"] == "train"]
    names = learned["image_id"].iloc[:8].tolist()
    arguments = other_data("test", image_id=names, patient_id=names)
    assert main(arguments) == 0
    table = pd.read_csv(tmp_path / "other.csv", dtype=str)
    shutil.copy(learned["path"].iloc[9], tmp_path / "copy.png")
    table.loc[0, "path"] = str(tmp_path / "copy.png")
    table.to_csv(tmp_path / "other.csv", index=False)
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "learned from 1 of these 8 images" in error
    assert "copy.png" in error


def test_images_that_chose_the_threshold_are_counted_in_the_report(fitted, tmp_path):
    model = str(fitted / "model.safetensors")
    out = tmp_path / "val"
    assert main(["evaluate", "--model", model, "--split", "val", "--out", str(out)]) == 0
    assert "8 of these images were also used" in (out / "report.json").read_text(encoding="utf-8")


def test_what_evaluate_cannot_know_or_must_not_mix_it_says(fitted, folder, tmp_path, caplog):
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    given = ["--data", str(folder), "--patient-pattern", r"(p\d+)_", "--out", str(tmp_path / "o")]
    assert main(["evaluate", "--model", str(tmp_path / "model"), *given, "--by", "patient"]) == 0
    assert "cannot be told" in caplog.text
    assert "chosen on scores by image and is now used by patient" in caplog.text


def test_predict_and_explain_images(fitted, folder, tmp_path, capsys):
    model = str(fitted / "model.safetensors")
    films = [str(folder / "normal" / "p00_0.png"), str(folder / "pneumonia" / "p15_1.png")]
    assert main(["predict", "--model", model, "--out", str(tmp_path / "p.csv"), *films]) == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert table["path"].tolist() == films
    assert set(table["called"]) <= {"normal", "pneumonia"}
    assert main(["explain", "--model", model, "--out", str(tmp_path / "maps"), *films]) == 0
    maps = sorted((tmp_path / "maps").iterdir())
    called = table["called"].tolist()  # each map explains the class that `predict` calls
    names = [f"000_p00_0_gradcam_{called[0]}.png", f"001_p15_1_gradcam_{called[1]}.png"]
    assert [p.name for p in maps] == names
    assert Image.open(maps[0]).width > 200
    assert str(maps[1]) in capsys.readouterr().out
    assert not plt.get_fignums()  # a thousand images must not fill the memory


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_explain_follows_the_models_own_threshold(fitted, folder, tmp_path, threshold):
    model = copied(fitted, tmp_path / "model", threshold=threshold)
    film = str(folder / "normal" / "p00_0.png")
    assert main(["explain", "--model", model, "--out", str(tmp_path / "maps"), film]) == 0
    called = "pneumonia" if threshold == 0 else "normal"
    assert [p.name for p in (tmp_path / "maps").iterdir()] == [f"000_p00_0_gradcam_{called}.png"]


def test_explain_a_named_class(fitted, folder, tmp_path, capsys, caplog):
    film = str(folder / "normal" / "p00_0.png")
    given = ["explain", "--model", str(fitted / "model.safetensors"), "--out", str(tmp_path)]
    for name in ("normal", "pneumonia"):
        assert main([*given, "--target", name, film]) == 0
    assert main([*given, "--method", "eigencam", "--target", "normal", film]) == 0
    assert "eigencam draws one map for all classes; --target changes nothing" in caplog.text
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["000_p00_0_eigencam.png", "000_p00_0_gradcam_normal.png",
                     "000_p00_0_gradcam_pneumonia.png"]  # fmt: skip
    assert main([*given, "--target", "fracture", film]) == 2
    assert "'fracture' is not a class of this model" in capsys.readouterr().err


def copied(fitted, path, **card):
    """Return the path of a copy of the fitted model whose card says something else."""
    shutil.copy(fitted / "model.safetensors", path.with_suffix(".safetensors"))
    info = json.loads((fitted / "model.json").read_text(encoding="utf-8"))
    path.with_suffix(".json").write_text(json.dumps(info | card), encoding="utf-8")
    return str(path.with_suffix(".safetensors"))


def test_a_network_kept_for_several_views_is_used_with_them(folder, tmp_path, monkeypatch, capsys):
    """Threshold and temperature belong to averaged views, so all commands must average."""
    recipe = replace(training.recipe(70), tta=True)
    monkeypatch.setattr(training, "recipe", lambda *_, **__: recipe)
    out = str(tmp_path / "run")
    given = ["--data", str(folder), "--patient-pattern", r"(p\d+)_", "--size", "32"]
    assert main(["fit", *given, "--out", out]) == 0
    model = f"{out}/model.safetensors"
    info = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert info["tta"]
    film = str(folder / "pneumonia" / "p15_1.png")
    assert main(["predict", "--model", model, "--out", str(tmp_path / "p.csv"), film]) == 0
    found = pd.read_csv(tmp_path / "p.csv").loc[0, "score_pneumonia"]
    net, card = models.load_model(model)
    pixels = images.resize(images.read_image(film), 32, keep_aspect=False)[None]
    logits = training.predict_logits(net, np.round(pixels * 255).astype(np.uint8), tta=True)
    expected = training.probabilities(logits, temperature=card.temperature)[0]
    assert found == pytest.approx(expected, abs=1e-4)


def test_what_would_leave_no_threshold_is_refused_before_training(
    folder, tmp_path, monkeypatch, capsys
):
    def never(*_, **__):
        raise AssertionError("it trained")

    for name in ("fit", "fit_head"):
        monkeypatch.setattr(training, name, never)
    studies = datasets.load(folder, patient_pattern=r"(p\d+)_")
    one = studies[(studies["split"] != "val") | (studies["label"] == "normal")]
    three = studies.assign(label=[f"{label} {n % 2}" for n, label in enumerate(studies["label"])])
    patient, val = ["--by", "patient"], studies["split"] == "val"  # each patient has two films
    first = studies["patient_id"].mask(val, "v" + studies.groupby("label").cumcount().astype(str))
    mixed = studies.assign(patient_id=first)
    for table, given, words in (
        (studies, ["--sensitivity", "95"], "95 is not a number from 0.001 to 1.0"),
        (three, ["--sensitivity", "0.9"], "for two classes, and here are 4"),
        (one, [], "split 'val' has no image of class 'pneumonia'"),
        (studies[studies["label"] == "normal"], [], "give two or more"),
        (studies[studies["split"] != "train"], [], "no image is in split 'train'"),
        (studies.assign(patient_id=studies["image_id"]), patient, "the patients are not known"),
        (three, patient, "of split 'val' has several classes"),
        (mixed, patient, "no patient of split 'val' has 'normal' alone"),
        (studies, ["--out", str(tmp_path / "t.csv" / "run")], "t.csv is not a folder to write to"),
    ):
        table.to_csv(tmp_path / "t.csv", index=False)
        data = ["--data", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run")]
        assert main(["fit", *data, "--size", "32", *given]) == 2
        assert words in capsys.readouterr().err


def test_fit_of_four_classes_says_how_good_it_is_and_keeps_a_temperature(folder, tmp_path, capsys):
    studies = datasets.load(folder, patient_pattern=r"(p\d+)_")
    studies["label"] = [f"{label} {n % 2}" for n, label in enumerate(studies["label"])]
    studies["split"] = ["train", "train", "val", "val"] * (len(studies) // 4)
    studies["patient_id"] = studies["image_id"]
    studies.to_csv(tmp_path / "t.csv", index=False)
    data = ["--data", str(tmp_path / "t.csv"), "--out", str(tmp_path / "run"), "--size", "32"]
    assert main(["fit", *data]) == 0
    assert "loss" in (said := capsys.readouterr().out)
    assert "validation on 20 images" in said
    card = json.loads((tmp_path / "run" / "model.json").read_text(encoding="utf-8"))
    assert len(card["classes"]) == 4
    assert card["temperature"] > 0
    assert set(card["metrics"]) == {"val_loss", "val_auc", "val_accuracy"}
    assert card["settings"]["strategy"] == "frozen"


def test_scan_lists_the_bad_file(tmp_path, capsys, rng):
    Image.fromarray(rng.integers(0, 255, (8, 9), dtype=np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.dcm").write_text("this is a letter", encoding="utf-8")
    assert main(["scan", str(tmp_path), "--out", str(tmp_path / "table.csv")]) == 0
    assert "bad.dcm" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "table.csv")) == 2


def test_deidentify_writes_a_report(tmp_path, capsys):
    from dicom_files import make_dicom

    (tmp_path / "in").mkdir()
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    make_dicom(tmp_path / "in" / "a.dcm", pixels, PatientName="Doe^Jane")
    assert main(["deidentify", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not any(b"Doe" in p.read_bytes() for p in written)
    assert (tmp_path / "out" / "report.html").is_file()


def test_fetch_says_where_to_get_what_needs_an_account(tmp_path, capsys):
    assert main(["fetch", "kermany", "--root", str(tmp_path)]) == 2
    out = capsys.readouterr()
    assert "data.mendeley.com" in out.err
    assert "not here" in out.err


def _bad_inputs(tmp_path, folder):
    """Return arguments of ``fit`` and words that its one line of error must hold."""
    empty = tmp_path / "set"
    (empty / "ill").mkdir(parents=True)
    (empty / "normal").mkdir()
    Image.new("L", (9, 9)).save(empty / "normal" / "a.png")
    text = tmp_path / "text"
    for label in ("normal", "ill"):
        for n in range(12):
            path = text / label / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (40, 40), n * 9 + 5 * (label == "ill")).save(path)
    (text / "ill" / "letter.dcm").write_text("Dear colleague", encoding="utf-8")
    cut = tmp_path / "cut"
    for label in ("normal", "ill"):
        for n in range(12):
            path = cut / label / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((text / label / f"{n}.png").read_bytes())
    whole = (folder / "normal" / "p00_0.png").read_bytes()
    (cut / "normal" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "t.csv").write_text("path,name\na.png,b\n", encoding="utf-8")
    return {
        "missing folder": (str(tmp_path / "none"), "neither a known data set nor a folder"),
        "empty class": (str(empty), "class 'normal' has 1 patient"),
        "text named .dcm": (str(text), "letter.dcm"),
        "truncated PNG": (str(cut), "cut.png"),
        "no label": (str(tmp_path / "t.csv"), "column 'label' is missing"),
    }


@pytest.mark.parametrize(
    "case", ["missing folder", "empty class", "text named .dcm", "truncated PNG", "no label"]
)
def test_bad_data_is_one_line(case, tmp_path, folder, capsys):
    data, words = _bad_inputs(tmp_path, folder)[case]
    out = tmp_path / "run"
    status = main(["fit", "--data", data, "--size", "32", "--epochs", "1", "--out", str(out)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert status == 2
    assert error.startswith("medimg: ")
    assert words in error
    assert not (out / "model.safetensors").exists()


def test_a_model_file_that_is_not_one_is_one_line(tmp_path, fitted, capsys):
    fake = tmp_path / "model.safetensors"
    fake.write_text("not weights", encoding="utf-8")
    (tmp_path / "model.json").write_bytes((fitted / "model.json").read_bytes())
    assert main(["predict", "--model", str(fake), "a.png"]) == 2
    assert "cannot be read safely as a dictionary of tensors" in capsys.readouterr().err
    assert main(["predict", "--model", str(tmp_path / "none"), "a.png"]) == 2
    assert "no model at" in capsys.readouterr().err


def test_whole_numbers_of_a_card_may_have_a_point(fitted, folder, tmp_path):
    """JSON has one kind of number, and programs that rewrite a card may write 32 as 32.0."""
    model = copied(fitted, tmp_path / "model", image_size=32.0, channels=1.0)
    film = str(folder / "normal" / "p00_0.png")
    assert main(["predict", "--model", model, film]) == 0


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "studies.csv"])
def test_damage_to_any_file_of_a_model_is_one_line(fitted, folder, tmp_path, name, capsys):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    whole, picture = (run / name).read_bytes(), (folder / "normal" / "p00_0.png").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x80
    for damaged in (b"", whole[:-40], whole[: len(whole) // 2], bytes(flipped), picture, b"[1]"):
        (run / name).write_bytes(damaged)
        arguments = ["evaluate", "--model", str(run / "model"), "--out", str(tmp_path / "e")]
        assert name in refused(arguments, capsys), damaged[:20]
    assert not (tmp_path / "e" / "report.html").exists()


def test_unknown_label_and_empty_split_are_named(fitted, folder, tmp_path, capsys):
    model = str(fitted / "model.safetensors")
    film = pd.read_csv(fitted / "studies.csv").query("split == 'test'")["path"].iloc[0]
    (tmp_path / "t.csv").write_text(
        f"path,label,split,patient_id\n{film},fracture,test,p1\n", encoding="utf-8"
    )
    assert main(["evaluate", "--model", model, "--data", str(tmp_path / "t.csv")]) == 2
    assert "the label 'fracture' is none of the classes" in capsys.readouterr().err
    arguments = ["evaluate", "--model", model, "--data", str(tmp_path / "t.csv"), "--split", "val"]
    assert main(arguments) == 2
    assert "no image is in split 'val'" in capsys.readouterr().err


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_broken_write_leaves_the_last_model_whole(
    fault, fitted, folder, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("model.safetensors", "model.json"):
        (out / name).write_bytes((fitted / name).read_bytes())
    before = (out / "model.safetensors").read_bytes()

    def fail(handle):
        raise fault

    monkeypatch.setattr("medimg.storage.os.fsync", fail)
    status = main(
        ["fit", "--data", str(folder), "--patient-pattern", r"(p\d+)_", "--size", "32",
         "--epochs", "1", "--out", str(out)]
    )  # fmt: skip
    assert status == (130 if isinstance(fault, KeyboardInterrupt) else 2)
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("medimg: ")
    assert (out / "model.safetensors").read_bytes() == before
    assert {p.name for p in out.iterdir()} == {"model.safetensors", "model.json"}


# What follows holds one command line each to what a user may give it.


def refused(arguments, capsys):
    """Run a command that must be refused, and return its one line."""
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("medimg: ")] == lines[-1:]
    assert "Traceback" not in "".join(lines)
    return lines[-1]


def test_no_command_writes_over_what_it_reads(fitted, folder, tmp_path, monkeypatch, capsys):
    films = tmp_path / "films"
    shutil.copytree(folder, films)
    film, table = films / "normal" / "p00_0.png", films / "studies.csv"
    studies = pd.read_csv(fitted / "studies.csv", dtype=str)
    studies["path"] = [str(films / "/".join(path.split("/")[-2:])) for path in studies["path"]]
    studies.to_csv(table, index=False)
    before = {p: p.read_bytes() for p in films.rglob("*") if p.is_file()}
    model = tmp_path / "model.safetensors"
    for name in ("model.safetensors", "model.json"):
        shutil.copy(fitted / name, tmp_path / name)
    small, m, state = ["--size", "32"], ["--model", str(model)], tmp_path / "checkpoint.pt"
    shutil.copy(fitted / "checkpoint.pt", state)
    (tmp_path / "linked").symlink_to(films)
    for arguments in (
        ["fit", "--data", str(table), "--out", str(films), *small],
        ["fit", "--data", str(table), "--out", str(tmp_path / "linked"), *small],
        ["fit", "--data", str(films / "normal" / ".."), "--out", str(films), *small],
        ["fit", "--data", str(table), "--weights", str(model), "--out", str(tmp_path), *small],
        ["fit", "--data", str(table), "--weights", str(state), "--out", str(tmp_path), *small],
        ["predict", str(film), "--out", str(film), *m],
        ["predict", str(film), "--out", str(table), *m],
        ["predict", str(film), "--out", str(model), *m],
        ["scan", str(films), "--out", str(film)],
        ["scan", str(films), "--out", str(table)],
    ):
        error = refused(arguments, capsys)
        assert "choose another --out" in error, arguments
    assert {p: p.read_bytes() for p in films.rglob("*") if p.is_file()} == before
    assert model.read_bytes() == (fitted / "model.safetensors").read_bytes()
    assert state.read_bytes() == (fitted / "checkpoint.pt").read_bytes()
    named = films / "predictions.csv"  # a table that the environment names is an input, too
    named.write_bytes(table.read_bytes())
    monkeypatch.setenv("MEDIMG_DATASET", str(named))
    assert "is an input" in refused(["evaluate", "--out", str(films), *m], capsys)
    named.unlink()
    for name, out in (("scan", films / "scan.csv"), ("predict", films / "p.csv")):
        given = [name, str(films), *(m if name == "predict" else ())]
        assert main([*given, "--out", str(out)]) == 0
        assert "exists already" in refused([*given, "--out", str(out)], capsys)  # a table, too
    shutil.copy(film, tmp_path / "000_x_gradcam_normal.png")
    (tmp_path / "x.png").symlink_to(tmp_path / "000_x_gradcam_normal.png")
    arguments = ["explain", str(tmp_path / "x.png"), "--target", "normal", *m]
    arguments += ["--out", str(tmp_path)]
    assert "is an input" in refused(arguments, capsys)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_output_works_on_any_terminal(fitted, folder, tmp_path, monkeypatch, encoding):
    film = tmp_path / "снимок\x1b[31m.png"
    shutil.copy(folder / "normal" / "p00_0.png", film)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    m = ["--model", str(fitted / "model.safetensors")]
    assert main(["predict", str(tmp_path), *m, "--out", str(tmp_path / "p.csv")]) == 0
    assert main(["scan", str(tmp_path)]) == 0
    assert main(["explain", str(film), *m, "--out", str(tmp_path / "maps")]) == 0
    terminal.flush()
    shown = terminal.buffer.getvalue().decode(encoding)
    assert r"\u0441\u043d\u0438\u043c\u043e\u043a\x1b[31m.png" in shown
    assert "\x1b" not in shown
    assert read_table(tmp_path / "p.csv")["path"].tolist() == [str(film)]


def test_a_run_reads_its_own_table_whatever_the_files_are_called(folder, tmp_path, capsys):
    films, out = tmp_path / "films", tmp_path / "run"
    shutil.copytree(folder, films)
    names = ["=1+1.png", "@x.png", "a\rb.png", "odd\udcff.png", 'c,d"e.png']
    for name, old in zip(names, sorted((films / "normal").iterdir()), strict=False):
        try:
            os.rename(old, films / "normal" / name)
        except (OSError, UnicodeError):  # not on this file system
            continue
    given = ["--data", str(films), "--size", "32", "--out", str(out)]
    assert main(["fit", *given]) == 0
    known = set(map(str, films.rglob("*.png")))
    assert set(datasets.from_csv(out / "studies.csv")["path"]) == known
    for split in ("train", "val", "test"):
        given = ["--model", str(out / "model"), "--split", split, "--out", str(out / split)]
        assert main(["evaluate", *given]) == 0
        assert set(read_table(out / split / "predictions.csv")["path"]) <= known
    (out / "studies.csv").read_bytes().decode("utf-8")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """36 colour photographs of 18 patients in three grades; the disease is red."""
    root = tmp_path_factory.mktemp("graded")
    rng = np.random.default_rng(1)
    rows = []
    for patient in range(18):
        grade = patient % 3
        for eye in "lr":
            photo = rng.integers(0, 90, (40, 60, 3), dtype=np.uint8)
            photo[10:30, 15:45, 0] += np.uint8(60 * grade)
            path = root / f"q{patient:02}_{eye}.png"
            Image.fromarray(photo).save(path)
            split = ("train", "train", "train", "train", "val", "test")[patient // 3]
            rows.append((str(path), str(grade), split, f"q{patient}", "FM"[patient % 2]))
    columns = ["path", "label", "split", "patient_id", "sex"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "grades.csv", index=False)
    return root / "grades.csv"


def test_three_grades_in_colour_by_patient_from_end_to_end(graded, tmp_path, capsys):
    out = tmp_path / "run"
    given = ["--data", str(graded), "--ordinal", "--channels", "3", "--keep-aspect", "--stretch",
             "--by", "patient", "--size", "32", "--out", str(out), "--json"]  # fmt: skip
    assert main(["fit", *given]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    card = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert (card["channels"], card["keep_aspect"], card["ordinal"], card["by"]) == (
        3, True, True, "patient"
    )  # fmt: skip
    assert card["stretch"] is True
    assert "stretch" not in card["settings"]
    assert card["classes"] == ["0", "1", "2"]
    assert {"val_loss", "val_auc", "val_accuracy"} <= set(card["metrics"])
    assert lines[-1]["metrics"] == card["metrics"]
    assert lines[-1]["temperature"] == card["temperature"] > 0
    model = ["--model", str(out / "model.safetensors")]
    assert main(["evaluate", *model, "--json", "--out", str(tmp_path / "e")]) == 0
    numbers = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (numbers["unit"], numbers["n_patients"]) == ("patient", 3)
    assert "kappa_quadratic" in numbers["metrics"]
    assert set(numbers["calibration"]["brier"]) == {"0", "1", "2"}
    assert {row["attribute"] for row in numbers["subgroups"]} == {"sex"}
    predictions = read_table(tmp_path / "e" / "predictions.csv")
    assert predictions["image_id"].tolist() == predictions["patient_id"].tolist()
    assert main(["evaluate", *model, "--by", "image", "--out", str(tmp_path / "i")]) == 0
    assert len(read_table(tmp_path / "i" / "predictions.csv")) == 6
    assert main(["predict", *model, str(graded.parent), "--out", str(tmp_path / "p.csv")]) == 0
    table = read_table(tmp_path / "p.csv")
    assert len(table) == 36
    assert main(["explain", *model, table["path"][0], "--out", str(tmp_path / "m")]) == 0
    assert [p.name for p in (tmp_path / "m").iterdir()] == [
        f"000_q00_l_gradcam_{table['called'][0]}.png"
    ]


def test_the_figure_names_the_class_that_it_explains(fitted, folder, tmp_path, monkeypatch):
    titles = []
    draw = plots.plot_map

    def spy(*arguments, **options):
        ax = draw(*arguments, **options)
        titles.append(ax.get_title())
        return ax

    monkeypatch.setattr(plots, "plot_map", spy)
    film = str(folder / "normal" / "p00_0.png")
    for threshold, name in ((0.0, "pneumonia"), (1.0, "normal")):
        model = copied(fitted, tmp_path / "model", threshold=threshold)
        assert main(["explain", "--model", model, "--out", str(tmp_path), film]) == 0
        assert titles[-1].startswith(f"p00_0.png\ncalled {name} (score of pneumonia 0.")
        assert titles[-1].endswith(f"threshold {threshold})\nmap for the class {name}")
    assert main(["explain", "--model", model, "--target", "pneumonia", "--out", str(tmp_path),
                 film]) == 0  # fmt: skip
    assert "called normal" in titles[-1]
    assert titles[-1].endswith("map for the class pneumonia")


@pytest.mark.parametrize(
    "name", ["$x$", "$\\bad$", "<b>", "{{1}}", "=1", "\x1b[31mred", "\u202e81 שלום 😀", "a\nb"]
)
def test_class_names_of_any_kind_go_all_the_way(fitted, folder, tmp_path, name, capsys):
    model = copied(fitted, tmp_path / "model", classes=["normal", name])
    studies = pd.read_csv(fitted / "studies.csv", dtype=str).replace({"pneumonia": name})
    studies.assign(site=[name, "north"] * 20).to_csv(tmp_path / "t.csv", index=False)
    given = ["--data", str(tmp_path / "t.csv"), "--classes", f"normal,{name}"]
    assert main(["evaluate", "--model", model, *given, "--out", str(tmp_path / "e")]) == 0
    assert len(list((tmp_path / "e").iterdir())) == 3
    film = str(folder / "normal" / "p00_0.png")
    assert main(["predict", "--model", model, film, "--out", str(tmp_path / "p.csv")]) == 0
    assert main(["explain", "--model", model, film, "--target", name, "--out", str(tmp_path)]) == 0
    assert list(read_table(tmp_path / "p.csv"))[1] == f"score_{name}"
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said


@pytest.mark.parametrize(
    ("command", "option", "words"),
    [
        ("fit", ["--size", "100000"], "100000 is not a number from 8 to 4,096"),
        ("fit", ["--size", "7"], "7 is not a number from 8"),
        ("fit", ["--size", "x"], "--size: invalid number value: 'x'"),
        ("fit", ["--size", "32.5"], "--size: invalid number value: '32.5'"),
        ("fit", ["--seed", "-1"], "-1 is not a number from 0"),
        ("fit", ["--epochs", "0"], "0 is not a number from 1"),
        ("fit", ["--sensitivity", "nan"], "nan is not a number from 0.001"),
        ("fit", ["--out", ""], "argument --out: '' is not a name or path; see `medimg fit --help`"),
        ("fit", ["--model", " "], "not a name or path"),
        ("fit", ["--data", "a\0b"], "not a name or path"),
        ("fit", ["--channels", "2"], "invalid choice"),
        ("fit", ["--strategy", "magic"], "invalid choice: 'magic' (choose from"),
        ("fit", ["--strategy", "frozen", "--epochs", "3"], "without epochs; leave out --epochs"),
        ("fit", ["--draw", "48"], "unrecognized arguments: --draw"),
        ("fit", ["--model", "none"], "none"),
        ("fit", ["--patient-pattern", "("], "("),
        ("fit", ["--nonsense"], "--nonsense"),
        ("evaluate", ["--model", ""], "not a name or path"),
        ("evaluate", ["--by", "eye"], "invalid choice"),
        ("predict", ["--model", "a\0b", "x.png"], "not a name or path"),
        ("predict", ["--model", ".", "x.png"], "not the path of a file"),
        ("predict", ["x.png", "--out", "/"], "not the path of a file"),
        ("scan", ["x", "--out", "."], "not the path of a file"),
        ("predict", [""], "not a name or path"),
        ("scan", [""], "not a name or path"),
        ("scan", ["a\0b"], "not a name or path"),
        ("deidentify", ["", "x"], "not a name or path"),
        ("deidentify", ["a", "b", "--blank", "x"], "x"),
        ("nonsense", [], "invalid choice"),
    ],
)
def test_a_bad_option_is_one_line(command, option, words, folder, tmp_path, capsys):
    given = []
    if command == "fit":
        given = ["--data", str(folder), "--size", "32", "--out", str(tmp_path / "run")]
    assert words in refused([command, *given, *option], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("WORLD_SIZE", "abc"), ("WORLD_SIZE", "2"), ("WORLD_SIZE", "-1"),
                        ("RANK", "1.5"), ("LOCAL_RANK", "x"), ("LOCAL_WORLD_SIZE", "x"),
                        ("LOCAL_WORLD_SIZE", "0")],
)  # fmt: skip
def test_a_bad_number_of_processes_is_one_line(name, value, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(name, value)
    given = ["--data", str(folder), "--size", "32", "--out", str(tmp_path / "run")]
    assert name in refused(["fit", *given], capsys)


def test_the_command_line_offers_the_strategies_of_the_library():
    path = Path(medimg.__file__).parent / "commands" / "options.toml"
    options = tomllib.loads(path.read_text(encoding="utf-8"))
    (strategy,) = [o for o in options["options"] if o["name"] == "--strategy"]
    assert set(strategy["choices"]) == {"frozen", *training.optim.STRATEGIES}


def test_a_rank_without_an_address_is_one_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    given = ["--data", str(folder), "--size", "32", "--out", str(tmp_path / "run")]
    assert "MASTER_ADDR" in refused(["fit", *given], capsys)


def test_evaluate_with_an_odd_number_of_processes_is_one_line(fitted, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "abc")
    model = str(fitted / "model.safetensors")
    assert "LOCAL_WORLD_SIZE" in refused(["evaluate", "--model", model], capsys)


def test_a_folder_that_is_not_there_yet_leads_to_no_input(fitted, folder, tmp_path, capsys):
    """`new/..` does not exist before it is made, and then names the folder of the input."""
    film = tmp_path / "film.png"
    shutil.copy(folder / "normal" / "p00_0.png", film)
    table = tmp_path / "studies.csv"
    shutil.copy(fitted / "studies.csv", table)
    before = film.read_bytes(), table.read_bytes()
    model = ["--model", str(fitted / "model.safetensors")]
    round_about = str(tmp_path / "new" / "..")
    for arguments in (
        ["fit", "--data", str(table), "--size", "32", "--out", round_about],
        ["predict", str(film), "--out", f"{round_about}/film.png", *model],
        ["scan", str(folder), "--out", f"{round_about}/film.png"],
    ):
        assert "choose another --out" in refused(arguments, capsys)
    assert (film.read_bytes(), table.read_bytes()) == before
    assert not (tmp_path / "new").exists()


def test_a_fit_writes_all_of_its_files_or_none(fitted, folder, tmp_path, monkeypatch, capsys):
    """A network beside the table of another run would be tested on its training images."""
    out = tmp_path / "run"
    shutil.copytree(fitted, out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    given = ["fit", "--data", str(folder), "--size", "32", "--out", str(out), "--seed", "5",
             "--patient-pattern", r"(p\d+)_", "--strategy", "frozen"]  # fmt: skip
    (out / "history.csv").unlink()
    (out / "history.csv").mkdir()
    assert "choose another --out" in refused(given, capsys)
    (out / "history.csv").rmdir()
    (out / "history.csv").write_bytes(before["history.csv"])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("medimg.storage.os.fsync", full)
    assert "No space left" in refused(given, capsys)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_grades_in_an_unknown_order_are_not_evaluated_as_grades(tmp_path, capsys):
    rng = np.random.default_rng(3)
    rows = []
    for number in range(30):
        label, split = (
            ("early", "late", "advanced")[number % 3],
            ("train", "val", "test")[number // 12],
        )
        path = tmp_path / f"s{number:02}.png"
        Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(path)
        rows.append((path.name, label, split, f"s{number}"))
    table = tmp_path / "stage.csv"
    pd.DataFrame(rows, columns=["path", "label", "split", "patient_id"]).to_csv(table, index=False)
    given = ["--data", str(table), "--size", "32", "--strategy", "frozen"]
    assert main(["fit", *given, "--out", str(tmp_path / "m")]) == 0
    model = ["--model", str(tmp_path / "m" / "model.safetensors")]
    said = refused(["evaluate", *model, "--ordinal", "--out", str(tmp_path / "e")], capsys)
    assert "the order of advanced, early, late is not known" in said
    assert not (tmp_path / "e").exists()
    ordered = ["--classes", "early,late,advanced", "--ordinal", "--out", str(tmp_path / "o")]
    assert main(["fit", *given, *ordered]) == 0
    assert main(["evaluate", "--model", str(tmp_path / "o" / "model.safetensors"),
                 "--out", str(tmp_path / "oe")]) == 0  # fmt: skip


def test_a_patient_has_the_worst_grade_of_the_images(graded, tmp_path, capsys):
    """And a column that differs within patients makes no groups, which is said."""
    table = pd.read_csv(graded, dtype=str)
    eyes = table["path"].str.endswith("_r.png")
    table["view"] = np.where(eyes, "right", "left")
    table.loc[eyes & table["label"].eq("1"), "label"] = "2"
    mixed = graded.with_name("mixed.csv")
    table.to_csv(mixed, index=False)
    given = [
        "--data",
        str(mixed),
        "--ordinal",
        "--channels",
        "3",
        "--by",
        "patient",
        "--size",
        "32",
    ]
    assert main(["fit", *given, "--out", str(tmp_path / "m")]) == 0
    model = ["--model", str(tmp_path / "m" / "model.safetensors")]
    assert main(["evaluate", *model, "--out", str(tmp_path / "e")]) == 0
    found = read_table(tmp_path / "e" / "predictions.csv")
    test = table[table["split"].eq("test")]
    worst = test.groupby("patient_id")["label"].max()
    assert test.groupby("patient_id")["label"].nunique().max() == 2
    truth = next(found[name] for name in found if name in ("label", "true", "y_true"))
    assert dict(zip(found["patient_id"], truth, strict=True)) == worst.to_dict()
    made = json.loads((tmp_path / "e" / "report.json").read_text(encoding="utf-8"))
    assert {row["attribute"] for row in made["subgroups"]} == {"sex"}
    unknown = table.drop(columns="patient_id")
    unknown.to_csv(graded.with_name("unknown.csv"), index=False)
    said = refused(["evaluate", *model, "--data", str(graded.with_name("unknown.csv")),
                    "--allow-duplicates", "--out", str(tmp_path / "u")], capsys)  # fmt: skip
    assert "the patients are not known" in said


def test_a_score_that_is_no_number_is_refused(fitted, folder, tmp_path, monkeypatch, capsys):
    def broken(_, pixels, **__):
        return np.full((len(pixels), 2), np.nan, np.float32)

    monkeypatch.setattr(sys.modules["medimg.training.predict"], "run_model", broken)
    film, model = str(folder / "normal" / "p00_0.png"), str(fitted / "model.safetensors")
    for command in ("predict", "explain"):
        out = tmp_path / command
        error = refused([command, "--model", model, film, "--out", str(out)], capsys)
        assert "not a finite number for 1 of 1 images" in error
        assert not out.exists()


def test_predict_a_folder_leaves_out_what_is_no_image(fitted, folder, tmp_path, capsys, caplog):
    (tmp_path / "films").mkdir()
    shutil.copy(folder / "normal" / "p00_0.png", tmp_path / "films" / "a.png")
    (tmp_path / "films" / "letter.dcm").write_text("Dear colleague", encoding="utf-8")
    for hidden in (".ipynb_checkpoints/a.png", "__MACOSX/._a.png", ".b.png"):
        path = tmp_path / "films" / hidden
        path.parent.mkdir(exist_ok=True)
        shutil.copy(folder / "normal" / "p00_0.png", path)
    given = ["--model", str(fitted / "model.safetensors"), str(tmp_path / "films")]
    assert main(["predict", *given, "--out", str(tmp_path / "p.csv")]) == 0
    assert read_table(tmp_path / "p.csv")["path"].tolist() == [str(tmp_path / "films" / "a.png")]
    assert "letter.dcm" in caplog.text
    assert caplog.text.count("hidden, or made by a program") == 3
    (tmp_path / "films" / "a.png").unlink()
    assert "no readable image" in refused(["predict", *given], capsys)


def test_no_file_of_ones_own_is_replaced(fitted, folder, tmp_path, capsys):
    given = ["--data", str(folder), "--size", "32", "--strategy", "frozen"]
    for name in ("history.csv", "model.json", "studies.csv", "model.safetensors"):
        (tmp_path / name).mkdir()
        mine = tmp_path / name / name
        mine.write_text('{"a": 1}', encoding="utf-8")
        error = refused(["fit", *given, "--out", str(mine.parent)], capsys)
        assert f"{name} may be a file of your own" in error
        assert mine.read_text(encoding="utf-8") == '{"a": 1}'
    model = ["evaluate", "--model", str(fitted / "model.safetensors")]
    mine = tmp_path / "e" / "predictions.csv"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    assert "predictions.csv may be a file of your own" in refused(
        [*model, "--out", str(tmp_path / "e")], capsys
    )
    for _ in range(2):  # those of an earlier run are replaced
        assert main([*model, "--out", str(tmp_path / "ours")]) == 0


def test_where_no_table_can_be_written_shows_before_the_work(fitted, folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    out = ["--out", str(tmp_path / "file" / "x.csv")]
    model = ["--model", str(fitted / "model.safetensors")]
    for command in (["scan", str(folder)], ["predict", *model, str(folder)]):
        assert "not a folder to write to" in refused([*command, *out], capsys)


def test_help_shows_no_empty_default(capsys):
    for command in ("fit", "evaluate", "predict", "explain", "scan", "deidentify", "fetch"):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
        assert "default: [])" not in capsys.readouterr().out

"""Layouts and tables of public data sets, each built small: read right, or refused."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg import datasets, storage
from medimg.__main__ import parser
from medimg.commands.data import named_studies
from medimg.datasets.names import split_word
from medimg.errors import StudyTableError

_RNG = np.random.default_rng(0)


def _png(*paths):
    """Write small pictures, no two alike."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = _RNG.integers(0, 256, (9, 12), dtype=np.uint8)
        Image.fromarray(picture).save(path, format="PNG")


def _csv(folder, text, name="t.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def _notes(studies):
    return "\n".join(datasets.summary(studies).notes)


def _counts(studies, by="label"):
    return studies[by].value_counts().to_dict()


# --- folders --------------------------------------------------------------------------------


def _kermany(folder, patients=20):
    for number in range(patients):
        _png(folder / "train" / "NORMAL" / f"IM-{number:04}-0001.jpeg",
             folder / "train" / "PNEUMONIA" / f"person{number}_virus_{number}.jpeg")  # fmt: skip
    for label, name in (("NORMAL", "IM-0001-0001"), ("PNEUMONIA", "person1_virus_6")):
        _png(folder / "test" / label / f"{name}.jpeg")
        _png(folder / "val" / label / f"{name.replace('1', '77')}.jpeg")


@pytest.mark.parametrize(
    "level", ["archive", "archive/chest_xray", "archive/chest_xray/chest_xray"]
)
def test_kaggle_chest_xray_nested_twice(tmp_path, level):
    """The archive holds the set twice, once more in a folder of its own, and __MACOSX."""
    outer = tmp_path / "archive" / "chest_xray"
    _kermany(outer)
    _kermany(outer / "chest_xray")
    _png(outer / "__MACOSX" / "train" / "NORMAL" / "._IM-0001-0001.jpeg")
    studies = datasets.load(tmp_path / level)
    assert len(studies) == 44
    assert _counts(studies) == {"NORMAL": 22, "PNEUMONIA": 22}
    assert (studies["split"] == "test").sum() == 2
    assert studies["patient_id"].str.startswith("test-").sum() == 2
    assert datasets.class_names(studies) == ("NORMAL", "PNEUMONIA")
    if level != "archive/chest_xray/chest_xray":
        assert "44 images in chest_xray left out: it repeats the split folders" in _notes(studies)
        assert "hidden files and folders left out (__MACOSX" in _notes(studies)


@pytest.mark.parametrize("level", ["", "ZhangLabData", "ZhangLabData/CellData",
                                   "ZhangLabData/CellData/chest_xray"])  # fmt: skip
def test_mendeley_names_carry_the_patient(tmp_path, level):
    folder = tmp_path / "ZhangLabData" / "CellData" / "chest_xray"
    for split, start in (("train", 100), ("test", 900)):
        for n in range(start, start + 8):
            for visit in (1, 2):
                _png(folder / split / "NORMAL" / f"NORMAL-{n}-{visit:04}.jpeg",
                     folder / split / "PNEUMONIA" / f"VIRUS-{n}-{visit:04}.jpeg",
                     folder / split / "PNEUMONIA" / f"BACTERIA-{n}-{visit:04}.jpeg")  # fmt: skip
    studies = datasets.load(tmp_path / level)
    assert studies["patient_id"].nunique() == 48
    assert (studies.groupby("patient_id").size() == 2).all()
    assert set(studies["split"]) == {"train", "val", "test"}
    assert set(studies.loc[studies["split"] == "test", "label"]) == {"NORMAL", "PNEUMONIA"}
    by_name = datasets.load("kermany", root=tmp_path)
    assert sorted(by_name["patient_id"]) == sorted(studies["patient_id"])


@pytest.mark.parametrize("junk", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".hidden"])
def test_hidden_folders_hold_no_patients(tmp_path, junk):
    for label in ("normal", "ill"):
        for number in range(4):
            _png(tmp_path / label / f"{number}.png", tmp_path / label / junk / f"{number}.png")
        _png(tmp_path / label / "deep" / junk / "9.png", tmp_path / label / f"._{label}.png")
    studies = datasets.load(tmp_path)
    assert len(studies) == 8
    assert "6 hidden files and folders left out" in _notes(studies)


def test_covid_radiography_masks_are_no_films(tmp_path):
    for label in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        for number in range(4):
            _png(tmp_path / label / "images" / f"{label}-{number}.png",
                 tmp_path / label / "masks" / f"{label}-{number}.png")  # fmt: skip
    (tmp_path / "README.md.txt").write_text("about", encoding="utf-8")
    studies = datasets.load(tmp_path)
    assert _counts(studies) == dict.fromkeys(
        ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"), 4
    )
    assert datasets.class_names(studies)[0] == "Normal"
    assert "16 masks left out (COVID/masks, Lung_Opacity/masks" in _notes(studies)
    assert "1 files that are not images (README.md.txt)" in _notes(studies)


def test_masks_beside_their_images_are_no_images(tmp_path):
    """The breast ultrasound set: `benign (1).png` and `benign (1)_mask.png`."""
    for label in ("benign", "malignant", "normal"):
        for n in range(4):
            name = tmp_path / label / f"{label} ({n})"
            _png(*(Path(f"{name}{end}.png") for end in ("", "_mask", "_mask_1")))
    studies = datasets.load(tmp_path)
    assert len(studies) == 12
    assert datasets.class_names(studies) == ("normal", "benign", "malignant")


def test_an_image_whose_name_only_speaks_of_masks_stays(tmp_path):
    for label in ("mask on", "no mask"):
        for n in range(4):
            _png(tmp_path / label / f"unmasked_{n}.png")
    assert len(datasets.from_folder(tmp_path)) == 8


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_images", "train"), ("test_images", "test"), ("Training", "train"),
        ("stage_2_train_images", "train"), ("VALID", "val"), ("validation set", "val"),
        ("testing", "test"), ("external_test", ""), ("eval", ""), ("normal", ""), ("contest", ""),
        ("train test", ""),
    ],
)  # fmt: skip
def test_words_for_splits(name, split):
    assert split_word(name) == split


def test_folders_named_train_images_are_splits(tmp_path):
    for split in ("train_images", "test_images"):
        for label in ("normal", "ill"):
            for n in range(4):
                _png(tmp_path / split / label / f"{split}{n}.png")
    studies = datasets.from_folder(tmp_path)
    assert _counts(studies, "split") == {"train": 8, "test": 8}
    assert set(studies["label"]) == {"normal", "ill"}


def test_an_unknown_folder_beside_the_splits_is_refused(tmp_path):
    for split in ("train", "external_test"):
        for label in ("normal", "ill"):
            _png(tmp_path / split / label / f"{split}.png")
    with pytest.raises(StudyTableError, match=r"external_test/.*: 2 of 4 images, .* in \{split\}/"):
        datasets.load(tmp_path)


def test_splits_below_the_classes(tmp_path):
    for label in ("normal", "ill"):
        for split in ("train", "test"):
            for n in range(3):
                _png(tmp_path / label / split / f"{n}.png")
    studies = datasets.from_folder(tmp_path)
    assert _counts(studies, "split") == {"train": 6, "test": 6}
    assert _counts(studies) == {"normal": 6, "ill": 6}
    _png(tmp_path / "ill" / "loose.png")
    with pytest.raises(
        StudyTableError, match=r"loose\.png: 1 of 13 images, .* lie in \{class\}/\{split\}"
    ):
        datasets.from_folder(tmp_path)


def test_a_folder_too_high_is_refused_or_entered(tmp_path):
    for place in ("north", "south"):
        for label in ("normal", "ill"):
            _png(tmp_path / "all" / place / label / "1.png")
    with pytest.raises(StudyTableError, match="this seems to be a folder too high; give one of"):
        datasets.from_folder(tmp_path / "all")
    _png(tmp_path / "all" / "south" / "other" / "1.png")
    with pytest.raises(StudyTableError, match="holds the folders ill, normal, so this seems"):
        datasets.from_folder(tmp_path / "all")
    for label in ("normal", "ill"):
        _png(*(tmp_path / "sides" / label / side / "1.png" for side in ("left", "right")))
    assert set(datasets.from_folder(tmp_path / "sides")["label"]) == {"normal", "ill"}
    studies = datasets.from_folder(tmp_path / "all" / "north")
    assert set(studies["label"]) == {"normal", "ill"}
    for label in ("normal", "ill"):
        _png(tmp_path / "one" / "unpacked" / "data" / label / "1.png")
    studies = datasets.from_folder(tmp_path / "one")
    assert set(studies["label"]) == {"normal", "ill"}
    assert f"read from the folder {Path('unpacked/data')}, which holds all" in _notes(studies)


@pytest.mark.parametrize("kinds", [("NORMAL", "ILL"), ("CNV", "DME")])
def test_two_sets_with_splits_of_their_own_are_refused(tmp_path, kinds):
    for data, labels in (("OCT", kinds), ("chest_xray", ("NORMAL", "ILL"))):
        for split in ("train", "test"):
            for label in labels:
                _png(tmp_path / data / split / label / "1.png")
    with pytest.raises(
        StudyTableError, match=r"OCT, chest_xray holds the folders .*ILL, NORMAL, so"
    ):
        datasets.from_folder(tmp_path)


def test_a_folder_too_low_says_so(tmp_path):
    _png(tmp_path / "normal" / "1.png", tmp_path / "train" / "normal" / "1.png")
    with pytest.raises(StudyTableError, match="if this is a class folder, give the folder above"):
        datasets.from_folder(tmp_path / "normal")
    _png(tmp_path / "train" / "2.png")
    with pytest.raises(
        StudyTableError, match=r"2 of 3 images, .* do not lie in \{split\}/\{class\} folders"
    ):
        datasets.from_folder(tmp_path)


def test_images_beside_the_class_folders_are_refused(tmp_path):
    _png(tmp_path / "normal" / "1.png", tmp_path / "ill" / "1.png", tmp_path / "cover.png")
    with pytest.raises(StudyTableError, match=r"cover\.png: 1 of 3 images, .* do not lie in"):
        datasets.from_folder(tmp_path)


def test_a_class_folder_without_a_file_is_noted(tmp_path):
    _png(tmp_path / "normal" / "1.png", tmp_path / "ill" / "1.png")
    (tmp_path / "other").mkdir()
    assert "1 folders without a file (other)" in _notes(datasets.from_folder(tmp_path))


def test_mura_labels_stand_in_the_study_folder(tmp_path):
    for split in ("train", "valid"):
        for patient in range(6):
            for study, label in (("1", "positive"), ("2", "negative")):
                folder = tmp_path / "MURA-v1.1" / split / "XR_WRIST" / f"patient{split}{patient:05}"
                _png(folder / f"study{study}_{label}" / "image1.png",
                     folder / f"study{study}_{label}" / "image2.png")  # fmt: skip
    for level in (tmp_path, tmp_path / "MURA-v1.1"):
        studies = datasets.from_folder(level)
        assert _counts(studies) == {"positive": 24, "negative": 24}
        assert _counts(studies, "split") == {"train": 24, "val": 24}
        assert studies["patient_id"].nunique() == 12
        assert datasets.class_names(studies) == ("negative", "positive")


def test_brats_like_volumes_in_patient_folders(tmp_path):
    for label in ("HGG", "LGG"):
        for patient in range(6):
            name = f"BraTS19_{label}_{patient}"
            for part in ("t1", "flair", "seg"):
                file = tmp_path / label / name / f"{name}_{part}.nii.gz"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(f"{name}{part}".encode())
    studies = datasets.load(tmp_path, classes=("LGG", "HGG"))
    assert len(studies) == 24
    assert not studies["path"].str.contains("_seg").any()
    assert studies["patient_id"].nunique() == 12
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    assert studies["image_id"][0] == "HGG/BraTS19_HGG_0/BraTS19_HGG_0_flair"
    assert "12 masks left out" in _notes(studies)
    assert datasets.class_names(studies) == ("LGG", "HGG")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("NORMAL", "Normal"), r"spelled in 2 ways: 'NORMAL' \(2 images\), 'Normal' \(1 images\)"),
        (("no finding", "no_finding"), "spelled in 2 ways"),
    ],
)
def test_a_class_spelled_in_two_ways_is_refused(tmp_path, labels, message):
    first, other = tmp_path / "f" / "train" / labels[0], tmp_path / "f" / "val"
    _png(first / "1.png", first / "2.png", other / labels[1] / "3.png", other / "ill" / "3.png")
    with pytest.raises(StudyTableError, match=message):
        datasets.load(tmp_path / "f")


def test_a_class_of_a_table_spelled_in_two_ways_is_refused(tmp_path):
    table = _csv(tmp_path, "path,label\na.png,normal\nb.png,Normal\nc.png,normal \nd.png,ill\n")
    with pytest.raises(StudyTableError, match=r"'Normal' \(1 images\), 'normal' \(2 images\)"):
        datasets.from_csv(table)


def test_files_come_in_one_order_on_every_system(tmp_path):
    _png(*(tmp_path / "a" / name for name in ("b.png", "C.png", "a-1.png", "a/1.png")))
    found = [path.relative_to(tmp_path).as_posix() for path in storage.walk_files(tmp_path).files]
    assert found == ["a/C.png", "a/a/1.png", "a/a-1.png", "a/b.png"]


def test_labels_that_differ_by_a_sign_are_two_classes(tmp_path):
    table = _csv(tmp_path, "path,label\na.png,HER2+\nb.png,HER2-\nc.png,non-COVID\nd.png,COVID\n")
    assert len(set(datasets.from_csv(table)["label"])) == 4


# --- folders that cannot be walked ----------------------------------------------------------


def _closed(monkeypatch, name):
    real = os.scandir

    def scandir(path):
        if Path(path).name == name:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_unreadable_folders_are_named(tmp_path, monkeypatch):
    for label in ("normal", "ill"):
        for n in range(4):
            _png(tmp_path / label / f"{n}.png", tmp_path / label / "closed" / f"{n}.png")
    _closed(monkeypatch, "closed")
    found = storage.walk_files(tmp_path)
    assert len(found.files) == 8
    assert [(p.name, why) for p, why in found.unreadable] == [("closed", "Permission denied")] * 2
    with pytest.raises(
        StudyTableError, match=r"closed: the folder could not be read \(Permission den"
    ):
        datasets.load(tmp_path)


@pytest.fixture
def deep(tmp_path):
    """Make folders 1,500 deep, and remove them again: shutil.rmtree would not get down there."""
    here = os.getcwd()
    os.chdir(tmp_path)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    Path("x.txt").write_text("deep", encoding="utf-8")
    os.chdir(here)
    yield tmp_path
    os.chdir(tmp_path)
    for _ in range(1500):
        os.chdir("d")
    os.unlink("x.txt")
    for _ in range(1500):
        os.chdir("..")
        os.rmdir("d")
    os.chdir(here)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no path of 3,000 characters")
def test_folders_1500_deep_are_walked(deep):
    found = storage.walk_files(deep)
    assert len(found.folders) == 1500
    assert [p.name for p in found.files] == ["x.txt"]
    _png(deep / "normal" / "1.png")
    assert "1 files that are not images (x.txt)" in _notes(datasets.from_folder(deep))


def test_links_are_followed_once_and_circles_end(tmp_path):
    _png(tmp_path / "far" / "1.png")
    (tmp_path / "root" / "b").mkdir(parents=True)
    try:
        (tmp_path / "root" / "far").symlink_to(tmp_path / "far", target_is_directory=True)
        (tmp_path / "root" / "b" / "up").symlink_to(tmp_path / "root", target_is_directory=True)
        (tmp_path / "root" / "gone").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("links cannot be made here")
    found = storage.walk_files(tmp_path / "root")
    assert [p.name for p in found.files] == ["1.png", "gone"]


def test_equal_files_are_found_by_their_bytes(tmp_path):
    parts = {
        "a": b"x" * 100_000,
        "b": b"x" * 100_000,
        "c": b"y" + b"x" * 99_999,
        "d": b"",
        "e": b"",
    }
    for name, data in parts.items():
        (tmp_path / name).write_bytes(data)
    paths = [tmp_path / name for name in ("a", "c", "b", "gone", "d", "e")]
    assert storage.equal_files(paths) == [[0, 2], [4, 5]]


# --- duplicates -----------------------------------------------------------------------------


def test_equal_files_that_contradict_each_other_are_refused(tmp_path):
    for split in ("train", "val", "test"):
        for label in ("normal", "ill"):
            for n in range(2):
                _png(tmp_path / split / label / f"{split}{n}.png")
    one = tmp_path / "train" / "normal" / "train0.png"
    same = tmp_path / "train" / "normal" / "again.png"
    same.write_bytes(one.read_bytes())
    datasets.decode(datasets.load(tmp_path), size=8)  # twice in one class of one split: only noted
    (tmp_path / "test" / "ill" / "copy.png").write_bytes(one.read_bytes())
    studies = datasets.load(tmp_path)
    assert "2 files repeat another byte for byte (1 groups" in str(datasets.summary(studies))
    words = r"1 group.*copy\.png \(test, ill\) and .*again\.png \(train, normal\).*allow-duplicates"
    with pytest.raises(StudyTableError, match=words):
        datasets.check_duplicates(studies)
    with pytest.raises(StudyTableError, match="allow_duplicates=True"):
        datasets.decode(studies, size=8)
    assert len(datasets.decode(studies, size=8, allow_duplicates=True)) == 14
    part = studies[studies["split"] == "train"]
    part = part.assign(label=["ill" if "again" in path else "normal" for path in part["path"]])
    with pytest.raises(StudyTableError, match="have two labels"):
        datasets.decode(part, size=8)


# --- tables ---------------------------------------------------------------------------------


def _nih(folder):
    rows = ["Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age"]
    findings = ("No Finding", "Effusion|Infiltration", "Effusion", "Mass")
    for patient in range(24):
        name = f"{patient:08}_000.png"
        _png(folder / f"images_{1 + patient % 2:03}" / "images" / name)
        rows.append(f"{name},{findings[patient % 4]},0,{patient},{40 + patient}")
    return _csv(folder, "\n".join(rows), "Data_Entry_2017.csv")


def test_nih_data_entry(tmp_path):
    table = _nih(tmp_path)
    words = r"'Effusion\|Infiltration' names several findings, as do 6 labels; .*: Effusion, Infilt"
    with pytest.raises(StudyTableError, match=words):
        datasets.load(table)
    studies = datasets.load(table, positive="Effusion")
    assert _counts(studies) == {"Effusion": 12, "no Effusion": 12}
    assert datasets.class_names(studies) == ("no Effusion", "Effusion")
    assert Path(studies["path"][5]) == tmp_path / "images_002" / "images" / "00000005_000.png"
    assert studies["patient_id"][5] == "5"
    assert set(studies["split"]) == {"train", "val", "test"}
    notes = _notes(studies)
    assert "column 'Finding Labels' read as label" in notes
    assert "24 images found by their name" in notes
    with pytest.raises(
        StudyTableError, match="no label is 'Edema'; give positive= one of Effusion"
    ):
        datasets.load(table, positive="Edema")


def test_a_comma_parts_findings_only_where_the_parts_are_labels(tmp_path):
    table = _csv(tmp_path, 'path,label\na,"mass, large"\nb,clear\n')
    assert set(datasets.from_csv(table)["label"]) == {"mass, large", "clear"}
    table = _csv(tmp_path, 'path,label\na,"mass, nodule"\nb,mass\nc,nodule\nd,clear\n')
    with pytest.raises(StudyTableError, match="'mass, nodule' names several findings"):
        datasets.from_csv(table)


def _chexpert(folder):
    rows = ["Path,Sex,Age,Frontal/Lateral,No Finding,Edema,Pleural Effusion"]
    for n in range(30):
        path = f"train/patient{n:05}/study1/view1_frontal.jpg"
        _png(folder / path)
        edema = ("1.0", "0.0", "-1.0", "", "1.0", "0.0")[n % 6]
        rows.append(f"CheXpert-v1.0-small/{path},Male,6{n % 10},Frontal,,{edema},0.0")
    return _csv(folder, "\n".join(rows), "train.csv")


@pytest.mark.parametrize(
    ("uncertain", "counts"),
    [
        ("ignore", {"Edema": 10, "no Edema": 15}),
        ("positive", {"Edema": 15, "no Edema": 15}),
        ("negative", {"Edema": 10, "no Edema": 20}),
    ],
)
@pytest.mark.parametrize("folder", ["CheXpert-v1.0-small", "renamed"])
def test_chexpert(tmp_path, uncertain, counts, folder):
    studies = datasets.load(_chexpert(tmp_path / folder), positive="Edema", uncertain=uncertain)
    assert _counts(studies) == counts
    assert datasets.class_names(studies) == ("no Edema", "Edema")
    assert studies["patient_id"][1] == "patient00001"
    assert all(Path(path).is_file() for path in studies["path"])
    assert f"5 uncertain labels (-1): {uncertain}" in _notes(studies)
    assert "5 blank cells of 'Edema' read as not present" in _notes(studies)


def test_chexpert_asks_what_is_not_told(tmp_path):
    table = _chexpert(tmp_path / "c")
    with pytest.raises(
        StudyTableError,
        match=r"found Path, Sex, .*, Edema, Pleural Effusion; .* or a finding \(--positive\)",
    ):
        datasets.load(table)
    with pytest.raises(
        StudyTableError,
        match="5 of 30 labels are -1, which means uncertain; give --uncertain",
    ):
        datasets.load(table, positive="Edema")
    with pytest.raises(
        StudyTableError, match="uncertain; give --uncertain ignore, positive or negative"
    ):
        datasets.load(table, positive="Edema", uncertain="maybe")


def test_numbers_sort_as_numbers_and_zero_is_healthy(tmp_path):
    table = _csv(tmp_path, "path,label\na,-1.0\nb,0.0\nc,1.0\nd,1\n")
    with pytest.raises(StudyTableError, match="1 of 4 labels are -1"):
        datasets.from_csv(table)
    studies = datasets.from_csv(table, uncertain="ignore")
    assert studies["label"].tolist() == ["0", "1", "1"]
    assert datasets.class_names(studies) == ("0", "1")


def test_rsna_has_one_row_per_box(tmp_path):
    rows = ["patientId,x,y,width,height,Target"]
    for n in range(20):
        _png(tmp_path / "stage_2_train_images" / f"id{n:03}.png")
        rows += [f"id{n:03},{x},2,3,4,1" for x in (1, 9)] if n % 2 else [f"id{n:03},,,,,0"]
    studies = datasets.load(_csv(tmp_path, "\n".join(rows), "stage_2_train_labels.csv"))
    assert _counts(studies) == {"0": 10, "1": 10}
    assert "20 images found by their name" in _notes(studies)
    assert "30 rows with one box each joined to 20 images" in _notes(studies)
    rows.append("id000,1,1,2,2,1")  # and without a box, 0
    with pytest.raises(StudyTableError, match=r"id000\.png' stands in 2 rows"):
        datasets.load(_csv(tmp_path, "\n".join(rows)))


def test_aptos_ids_without_suffix_or_folder(tmp_path):
    rows = ["id_code,diagnosis"]
    for n in range(25):
        _png(tmp_path / "train_images" / f"{n:012}.png")
        rows.append(f"{n:012},{n % 5}")
    _png(tmp_path / "test_images" / "other.png")
    table = _csv(tmp_path, "\n".join(rows), "train.csv")
    studies = datasets.load(table)
    assert Path(studies["path"][3]) == tmp_path / "train_images" / "000000000003.png"
    assert datasets.class_names(studies, ordinal=True) == ("0", "1", "2", "3", "4")
    assert studies["image_id"][3] == "000000000003"
    with pytest.raises(StudyTableError, match=r"rename their folders .*, or give a CSV study"):
        datasets.load(tmp_path)


def test_isic_has_one_column_per_class(tmp_path):
    rows = ["image,MEL,NV,BCC"]
    for n in range(24):
        _png(tmp_path / "ISIC_2019_Training_Input" / f"ISIC_{n:07}.jpg")
        rows.append(f"ISIC_{n:07}," + ",".join("1.0" if k == n % 3 else "0.0" for k in range(3)))
    table = _csv(tmp_path, "\n".join(rows), "GroundTruth.csv")
    assert _counts(datasets.load(table)) == {"MEL": 8, "NV": 8, "BCC": 8}
    studies = datasets.load(table, positive="MEL")
    assert datasets.class_names(studies) == ("no MEL", "MEL")
    assert _counts(studies) == {"no MEL": 16, "MEL": 8}


def test_mura_table_without_a_header_is_refused(tmp_path):
    _png(tmp_path / "MURA-v1.1" / "train" / "p" / "study1_positive" / "1.png")
    table = _csv(tmp_path, "MURA-v1.1/train/p/study1_positive/,1\n")
    with pytest.raises(StudyTableError, match=r"found MURA-.*; name yours \(--path-column"):
        datasets.load(table)
    table = _csv(tmp_path, "path,label\nMURA-v1.1/train/p/study1_positive/,1\n")
    with pytest.raises(StudyTableError, match=r"leads to .*; write the path of one file"):
        datasets.load(table)


@pytest.mark.parametrize("kind", ["retinamnist", "breastmnist", "organamnist"])
def test_medmnist_archives(tmp_path, kind):
    count = {"retinamnist": 5, "breastmnist": 2, "organamnist": 11}[kind]
    shape = (28, 28, 3) if kind == "retinamnist" else (28, 28)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = _RNG.integers(0, 256, (22, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(22) % count)[:, None].astype(np.uint8)
    np.savez(tmp_path / f"{kind}_28.npz", **arrays)
    studies = datasets.load(tmp_path / f"{kind}_28.npz", root=tmp_path / "kept")
    assert _counts(studies, "split") == {"train": 22, "val": 22, "test": 22}
    given = ("class_01", "class_00") if kind == "breastmnist" else None
    if given:  # 0 is the disease there, which its file does not say
        with pytest.raises(StudyTableError, match="neither of the classes 'class_00' and"):
            datasets.class_names(studies)
    channels = 3 if kind == "retinamnist" else 1
    data = datasets.decode(studies, size=28, channels=channels, classes=given)
    row = studies.index[studies["path"].str.contains("val.*00003")][0]
    np.testing.assert_array_equal(data.images[row], arrays["val_images"][3])
    assert data.ordinal == (kind == "retinamnist")
    assert data.classes[0] == {"retinamnist": "0", "breastmnist": "class_01",
                               "organamnist": "class_00"}[kind]  # fmt: skip


def test_a_column_for_each_role_can_be_given(tmp_path):
    rows = ["scan,dx,who,part"]
    for n, split in enumerate(["Training"] * 4 + ["TEST"] * 4):
        rows.append(f"{n}.png,{'ill' if n % 2 else 'normal'},p{n},{split}")
    table = _csv(tmp_path, "\n".join(rows))
    _png(*(tmp_path / "films" / f"{n}.png" for n in range(8)))
    columns = {"path": "scan", "label": "dx", "patient": "who", "split": "part"}
    studies = datasets.from_csv(table, columns=columns, image_dir=tmp_path / "films")
    assert Path(studies["path"][2]) == tmp_path / "films" / "2.png"
    assert studies["patient_id"][2] == "p2"
    assert _counts(studies, "split") == {"train": 4, "test": 4}
    assert not studies.attrs.get("notes")
    with pytest.raises(StudyTableError, match="the column 'path' is missing; found scan, dx, who"):
        datasets.from_csv(table)
    with pytest.raises(StudyTableError, match="no column 'film'; the table has scan, dx"):
        datasets.from_csv(table, columns={"path": "film"})
    with pytest.raises(StudyTableError, match="no column 'site'"):
        datasets.from_csv(table, columns={"site": "scan"})
    lost = datasets.from_csv(table, columns=columns, image_dir=tmp_path / "nowhere")
    assert "8 files are not there, the first" in str(datasets.summary(lost))
    with pytest.raises(StudyTableError, match="columns and an image folder are for a CSV table"):
        datasets.load(tmp_path / "films", columns=columns)


def test_two_columns_that_may_be_the_label_are_asked_about(tmp_path):
    table = _csv(tmp_path, "path,diagnosis,target\na,normal,0\nb,ill,1\n")
    with pytest.raises(StudyTableError, match="the columns diagnosis, target may all be the label"):
        datasets.from_csv(table)
    assert datasets.from_csv(table, columns={"label": "target"})["label"].tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("path,label,label", "'label', 'label'"),
        ("path,label, Label", "'label', 'Label'"),
        ("path,label,site,patient id,PatientID", "'patient id', 'PatientID'"),
        ("path,label,Path", "'path', 'Path'"),
    ],
)
@pytest.mark.parametrize("sep", [",", ";", "\t"])
def test_columns_of_one_name_are_refused(tmp_path, header, named, sep):
    rows = [header, *(",".join(f"{row}{k}" for k in range(header.count(",") + 1)) for row in "ab")]
    table = _csv(tmp_path, "\n".join(rows).replace(",", sep))
    words = (
        rf"t\.csv: the columns {named} have one name .*; rename or remove all but one of them\.$"
    )
    with pytest.raises(StudyTableError, match=words):
        datasets.load(table)


def test_columns_without_a_name_and_names_that_only_look_alike_stay(tmp_path):
    table = _csv(tmp_path, ",path,label,a_b,ab,,\n0,a.png,n,1,2,,x\n1,b.png,p,3,4,,\n")
    studies = datasets.from_csv(table)
    assert studies["label"].tolist() == ["n", "p"]
    assert (studies["a_b"].tolist(), studies["ab"].tolist()) == ([1, 3], [2, 4])


def test_text_stays_text_and_blanks_go(tmp_path):
    _png(tmp_path / "00000012", tmp_path / "a b.png", tmp_path / "sub" / "c.png")
    text = (
        "path,label,patient_id,split,code,age,site\n00000012,normal ,p1,train,007,40,NA\n"
        '" a b.png", normal,p1 ,Training,012, 41,x\nsub\\c.png,ill,p2,test,13,,y\n'
    )
    studies = datasets.from_csv(_csv(tmp_path, text))
    assert [Path(p) for p in studies["path"]] == [
        tmp_path / "00000012", tmp_path / "a b.png", tmp_path / "sub" / "c.png"
    ]  # fmt: skip
    assert studies["label"].tolist() == ["normal", "normal", "ill"]
    assert studies["patient_id"].tolist() == ["p1", "p1", "p2"]
    assert studies["split"].tolist() == ["train", "train", "test"]
    assert studies["code"].tolist() == ["007", "012", "13"]
    assert studies["age"].tolist()[:2] == [40, 41]
    assert studies["site"].isna().tolist() == [True, False, False]


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    _png(tmp_path / "film.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    table = _csv(tmp_path / "tables", "path,label\n~/film.png,normal\n")
    assert Path(datasets.from_csv(table)["path"][0]) == tmp_path / "film.png"


def test_a_path_that_leads_to_two_files_is_refused(tmp_path):
    _png(tmp_path / "train" / "1.png", tmp_path / "test" / "1.png")
    with pytest.raises(StudyTableError, match=r"'1\.png' leads to .* and to "):
        datasets.from_csv(_csv(tmp_path, "path,label\n1.png,normal\n"))
    studies = datasets.from_csv(_csv(tmp_path, "path,label\nval/1.png,normal\n"))
    assert "1 files are not there" in str(datasets.summary(studies))  # never train/1.png instead


@pytest.mark.parametrize("name", ["t.csv.zip", "t.csv.gz", "t.csv.xz", "t.csv"])
def test_what_is_no_table_is_one_error(tmp_path, name):
    for data in (b"PK\x03\x04 not a zip", b"\xff\xfe\x00", b"\x00" * 40, b"\x1f\x8b\x08\x00junk"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(StudyTableError, match=r"t\.csv"):
            datasets.load(tmp_path / name)


@pytest.mark.parametrize("sep", [";", "\t", ","])
def test_tables_of_spreadsheets_are_read(tmp_path, sep):
    table = tmp_path / "t.csv"
    text = f"path{sep}label\na.png{sep}normal\nb.png{sep}Pneumonie\n"
    table.write_text(text, encoding="utf-8-sig")
    assert datasets.from_csv(table)["label"].tolist() == ["normal", "Pneumonie"]


def test_one_finding_against_the_rest_of_a_folder(tmp_path):
    for label in ("covid", "normal", "pneumonia"):
        _png(*(tmp_path / label / f"{n}.png" for n in range(8)))
    studies = datasets.load(tmp_path, positive="covid")
    assert _counts(studies) == {"no covid": 16, "covid": 8}
    with pytest.raises(StudyTableError, match="no label is 'flu'"):
        datasets.load(tmp_path, positive="flu")
    ordered = datasets.load(tmp_path, classes=["normal", "pneumonia", "covid"])
    assert datasets.class_names(ordered) == ("normal", "pneumonia", "covid")
    assert datasets.summary(ordered).why == "as given"
    with pytest.raises(StudyTableError, match="the label 'covid' is none of the classes given"):
        datasets.class_names(datasets.load(tmp_path, classes=["normal", "pneumonia"]))
    assert len(datasets.load(tmp_path, classes=3)) == len(ordered)
    told = "its classes are normal, covid, pneumonia, and this works on 2 classes only"
    with pytest.raises(StudyTableError, match=told):
        datasets.load(tmp_path, classes=2)
    datasets.load(tmp_path, classes=2, positive="covid")


def test_the_summary_says_what_is_there_and_what_lacks(tmp_path):
    text = "image_id,path,label,split,patient_id\n" + "\n".join(
        f"i{n},{n}.png,{'ill' if n % 2 else 'normal'},{s},p{n // 2}"
        for n, s in enumerate(["train"] * 6 + ["val"] * 2)
    )
    studies = datasets.from_csv(_csv(tmp_path, text))
    found = datasets.summary(studies)
    assert found.images == {"train": {"normal": 3, "ill": 3}, "val": {"normal": 1, "ill": 1}}
    assert found.patients["train"] == {"normal": 3, "ill": 3}
    assert (found.healthy, found.why) == ("normal", "by its name")
    assert "there is no test split" in found.suspicious
    assert found.suspicious[0].startswith("8 files are not there, the first ")
    lacking = datasets.summary(studies[studies["image_id"] != "i7"])
    assert "val has no image of ill" in lacking.suspicious
    assert pd.Series(asdict(found)).index.tolist()[:3] == ["classes", "healthy", "why"]


# --- the command line -----------------------------------------------------------------------


def _studies_of(*words):
    return named_studies(parser().parse_args(["fit", *map(str, words)]))


def test_the_command_line_reads_a_table_as_told_and_prints_its_summary(tmp_path, capsys):
    table = _nih(tmp_path)
    studies = _studies_of("--data", table, "--positive", "Effusion", "--json")
    assert _counts(studies) == {"Effusion": 12, "no Effusion": 12}
    told = json.loads(capsys.readouterr().out)
    assert told["classes"] == ["no Effusion", "Effusion"]
    assert told == json.loads(json.dumps(asdict(datasets.summary(studies))))
    columns = ["--path-column", "Image Index", "--label-column", "Follow-up #"]
    columns += ["--patient-column", "Patient ID", "--image-dir", tmp_path / "images_001"]
    studies = _studies_of("--data", table, *columns, "--classes", "1, 0")
    assert datasets.class_names(studies) == ("1", "0")
    assert "classes: 1, 0\nhealthy: 1 (as given)" in capsys.readouterr().out


def test_the_command_line_refuses_copies(tmp_path, capsys):
    for label in ("normal", "ill"):
        _png(*(tmp_path / label / f"{n}.png" for n in range(40)))
    _studies_of("--data", tmp_path)
    assert "no splits given: split by patient" in capsys.readouterr().out
    (tmp_path / "ill" / "copy.png").write_bytes((tmp_path / "normal" / "1.png").read_bytes())
    with pytest.raises(StudyTableError, match="have two labels"):
        _studies_of("--data", tmp_path)
    assert len(_studies_of("--data", tmp_path, "--allow-duplicates")) == 81


# --- notebooks on tables of other people ----------------------------------------------------


def _lines(notebook, first, last):
    """Return the lines of a notebook's source from one to another."""
    source = Path(__file__).parents[1] / "notebooks" / "source" / f"{notebook}.py"
    text = source.read_text(encoding="utf-8")
    start = text.index(first)
    return text[start : text.index(last, start)]


@pytest.mark.parametrize("grades", [[0, 3, 2, 0], ["none", "weak", "strong", "none"]])
def test_a_numeric_column_grade_is_not_the_samples(grades):
    """The sample's `grade` is a word for how strongly a lesion was drawn; elsewhere it is not."""
    labels = ["normal", "ill", "ill", "normal"]
    studies = pd.DataFrame({"label": labels, "grade": grades, "place": "open", "split": "train"})
    names = {"studies": studies, "pd": pd, "np": np}
    exec(_lines("quickstart", "shown = studies[", "shown = shown.groupby"), names)
    words = isinstance(grades[0], str)
    assert set(names["shown"]["title"]) == (
        {"normal", "ill, weak", "ill, strong"} if words else {"normal", "ill"}
    )
    data = SimpleNamespace(images=np.zeros((4, 8, 8), np.uint8), classes=("normal", "ill"))
    names = {"studies": studies, "pd": pd, "np": np, "data": data}
    exec(_lines("04_evaluate", "brightness = data.images", "absent = sorted"), names)
    assert ("lesion" in names["groups"]) == words
    if words:
        assert names["groups"]["lesion"].tolist()[1:3] == ["weak", "strong"]

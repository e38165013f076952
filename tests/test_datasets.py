"""Study tables, splits and decoded arrays."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg import datasets
from medimg.errors import ImageReadError, StudyTableError


def _png(path, rng, size=(9, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)


def _table(**columns):
    base = {"image_id": list("abcd"), "path": list("abcd"), "label": list("npnp"),
            "split": ["train", "train", "val", "test"], "patient_id": list("wxyz")}  # fmt: skip
    return pd.DataFrame(base | columns)


@pytest.fixture
def folder(tmp_path, rng):
    for patient in range(8):
        for visit in range(1 + patient % 2):
            label = "normal" if patient < 4 else "pneumonia"
            _png(tmp_path / "set" / label / f"p{patient}_{visit}.png", rng)
    return tmp_path / "set"


# --- tables ---------------------------------------------------------------------------------


def test_from_folder_of_classes(folder):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    assert list(studies.columns) == ["image_id", "path", "label", "split", "patient_id"]
    assert len(studies) == 12
    assert set(studies["split"]) == {""}
    assert studies["patient_id"].nunique() == 8
    assert studies["image_id"][0] == "normal/p0_0"


def test_from_folder_of_splits_knows_the_usual_names(tmp_path, rng):
    for split in ("Training", "valid", "test"):
        for label in ("normal", "ill"):
            _png(tmp_path / split / label / f"{split}{label}.png", rng)
    studies = datasets.from_folder(tmp_path, patient_pattern=".+")
    assert studies["split"].tolist() == ["train", "train", "test", "test", "val", "val"]


def test_from_folder_warns_when_no_patient_is_known(folder, caplog):
    datasets.from_folder(folder)
    assert "No patient is known" in caplog.text


def test_from_folder_takes_the_patient_of_dicom_files(tmp_path):
    from dicom_files import make_dicom

    for number in range(3):
        for label in ("normal", "ill"):
            path = tmp_path / label / f"{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
            make_dicom(path, pixels, PatientID=f"P{number}")
    assert sorted(set(datasets.from_folder(tmp_path)["patient_id"])) == ["P0", "P1", "P2"]


@pytest.mark.parametrize("name", ["1.2.840.99.{}", "im{}.IMA", "{}.dicom", "slice{}"])
def test_dicom_files_of_any_name_keep_their_id_and_patient(tmp_path, name):
    """A UID ends in a number, which is no suffix; the header tells the patient all the same."""
    from dicom_files import make_dicom

    for number in range(4):
        path = tmp_path / ("normal", "ill")[number // 2] / name.format(number)
        path.parent.mkdir(exist_ok=True)
        make_dicom(path, np.arange(12, dtype=np.uint16).reshape(3, 4), PatientID=f"P{number // 2}")
    studies = datasets.from_folder(tmp_path)
    assert studies["image_id"].is_unique
    assert studies["patient_id"].tolist() == ["P1", "P1", "P0", "P0"]
    assert studies["image_id"][0] == "ill/" + name.format(2).split(".I")[0].removesuffix(".dicom")


def test_two_files_of_one_name_keep_their_suffix(tmp_path, rng):
    from dicom_files import make_dicom

    for name in ("a.png", "b.png"):
        _png(tmp_path / "normal" / name, rng)
        _png(tmp_path / "ill" / name, rng)
    make_dicom(tmp_path / "ill" / "a.dcm", np.arange(12, dtype=np.uint16).reshape(3, 4))
    found = datasets.from_folder(tmp_path)["image_id"].tolist()
    assert found == ["ill/a.dcm", "ill/a.png", "ill/b", "normal/a", "normal/b"]
    (tmp_path / "t.csv").write_text("path,label\na.png,n\na.dcm,p\n1.2.7,n\na.png.dcm,p\n")
    found = datasets.from_csv(tmp_path / "t.csv")["image_id"].tolist()
    assert found == ["a.png", "a.dcm", "1.2.7", "a.png.dcm"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.mkdir(), "no class folders"),
        (lambda p: (p / "normal").mkdir(parents=True), "class 'normal' has no images"),
    ],
)
def test_from_folder_refuses(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(StudyTableError, match=message):
        datasets.from_folder(tmp_path / "set")


def test_from_folder_refuses_a_pattern_that_does_not_match(folder):
    with pytest.raises(StudyTableError, match=r"p0_0\.png: the patient pattern 'x\+' does not"):
        datasets.from_folder(folder, patient_pattern="x+")
    with pytest.raises(StudyTableError, match=r"pattern '\(\[' is no regular expression"):
        datasets.from_folder(folder, patient_pattern="([")


def test_from_csv_makes_paths_absolute_and_fills_in(tmp_path, caplog):
    (tmp_path / "t.csv").write_text("path,label,mask_path\na.png,normal,\nb/b.png,ill,m.png\n")
    studies = datasets.from_csv(tmp_path / "t.csv")
    assert studies["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b/b.png")]
    assert studies["mask_path"].tolist() == ["", str(tmp_path / "m.png")]
    assert studies["image_id"].tolist() == ["a", "b/b"]
    assert studies["patient_id"].tolist() == ["a", "b/b"]
    assert "no column 'patient_id'" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "no CSV table"),
        ("path,name\na.png,b\n", "column 'label' is missing; found path, name"),
        ("path,label\n", "no rows"),
        ("path,label\na.png,\n", "'label' is empty in row 1"),
        ("image_id,path,label\na,a.png,n\na,b.png,n\n", "'a' stands in two rows"),
        ("path,label,split\na.png,n,training\n", "unknown split 'training'"),
        ("path,label,split,patient_id\na,n,train,p7\nb,n,test,p7\n", "'p7' is in more than one"),
    ],
)
def test_from_csv_refuses(tmp_path, text, message):
    if text is not None:
        (tmp_path / "t.csv").write_text(text)
    with pytest.raises(StudyTableError, match=message):
        datasets.from_csv(tmp_path / "t.csv")


def test_from_csv_takes_the_word_none_for_a_label(tmp_path):
    text = "path,label,patient_id,age\na.png,None,NA,40\nb.png,NA,null,\nc.png,ill,007,50\n"
    (tmp_path / "t.csv").write_text(text)
    studies = datasets.from_csv(tmp_path / "t.csv")
    assert studies["label"].tolist() == ["None", "NA", "ill"]
    assert studies["patient_id"].tolist() == ["NA", "null", "007"]
    assert studies["age"].isna().tolist() == [False, True, False]
    (tmp_path / "t.csv").write_text("path,label,patient_id\na.png,n,p1\nb.png,n\n")
    with pytest.raises(StudyTableError, match="'patient_id' is empty in row 2"):
        datasets.from_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("use", "column"),
    [
        (datasets.decode, "image_id"),
        (datasets.class_names, "label"),
        (lambda t: datasets.split_by_patient(t, rng=np.random.default_rng(0)), "patient_id"),
        (lambda t: datasets.draw(t, {"train": 1}, rng=np.random.default_rng(0)), "label"),
        (lambda t: datasets.draw_few(t, images=2, rng=np.random.default_rng(0)), "split"),
    ],
)
def test_a_table_without_a_column_is_refused_by_its_name(use, column):
    with pytest.raises(StudyTableError, match=rf"missing column\(s\) {column}; expected"):
        use(_table().drop(columns=column))


def test_check_studies_names_a_missing_column():
    with pytest.raises(StudyTableError, match="patient_id"):
        datasets.check_studies(_table().drop(columns="patient_id"))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["pneumonia", "normal"], ("normal", "pneumonia")),
        (["PNEUMONIA", "NORMAL"], ("NORMAL", "PNEUMONIA")),
        (["abscess", "clear"], ("clear", "abscess")),
        (["1", "0"], ("0", "1")),
        (["COVID", "non-COVID"], ("non-COVID", "COVID")),
        (["fractured", "not fractured"], ("not fractured", "fractured")),
        (["Parasitized", "Uninfected"], ("Uninfected", "Parasitized")),
        (["Mild", "Non_TB"], ("Non_TB", "Mild")),
        (["MildDemented", "NonDemented"], ("NonDemented", "MildDemented")),
        (["covid", "noncovid"], ("noncovid", "covid")),
        (["TB-positive", "TB-negative"], ("TB-negative", "TB-positive")),
        (["Malignant cases", "0_Normal cases"], ("0_Normal cases", "Malignant cases")),
        (["DR", "No_DR", "AMD"], ("No_DR", "AMD", "DR")),
        (["Non-small cell", "adenoma", "normal"], ("normal", "Non-small cell", "adenoma")),
    ],
)
def test_class_names_put_the_healthy_first(labels, expected, caplog):
    assert datasets.class_names(pd.DataFrame({"label": labels})) == expected
    assert not caplog.text


@pytest.mark.parametrize(
    ("labels", "expected", "word"),
    [
        (["b", "a"], ("a", "b"), "None"),
        (["nodule", "mass"], ("mass", "nodule"), "None"),
        (["not ill", "no pain"], ("no pain", "not ill"), "Each"),
    ],
)
def test_class_names_say_which_is_taken_for_healthy_in_doubt(labels, expected, word, caplog):
    assert datasets.class_names(pd.DataFrame({"label": labels})) == expected
    first, second = expected
    assert f"{word} of the classes '{first}' and '{second}' reads as healthy" in caplog.text
    assert "call the healthy one 'normal'" in caplog.text


# --- splits ---------------------------------------------------------------------------------


def _many(patients=100):
    rows = [
        {"image_id": f"{p}-{v}", "path": "x", "label": "p" if p % 4 == 0 else "n", "split": "",
         "patient_id": f"p{p}"}
        for p in range(patients) for v in range(1 + p % 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_split_by_patient_keeps_patients_whole_and_the_mix(rng):
    studies = datasets.split_by_patient(_many(), rng=rng)
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    people = studies.drop_duplicates("patient_id")
    assert people["split"].value_counts().to_dict() == {"train": 70, "val": 15, "test": 15}
    shares = people.assign(ill=people["label"] == "p").groupby("split")["ill"].mean()
    assert (abs(shares - 0.25) < 0.03).all()


def test_split_by_patient_is_the_same_for_a_seed():
    one, two, other = (
        datasets.split_by_patient(_many(), rng=np.random.default_rng(s))["split"] for s in (1, 1, 2)
    )
    assert one.equals(two)
    assert not one.equals(other)


def test_a_patient_with_a_healthy_and_an_ill_image_counts_as_ill(rng):
    """The healthy name comes last in the alphabet here: eight of the ten patients are ill."""
    rows = [(f"p{p}", label) for p in range(8) for label in ("covid", "normal")]
    rows += [(f"p{p}", "normal") for p in range(8, 10)]
    studies = pd.DataFrame(rows, columns=["patient_id", "label"])
    split = datasets.split_by_patient(studies, rng=rng, fractions=(0.5, 0.0, 0.5))
    ill = split[split["label"] == "covid"]
    assert ill["split"].value_counts().to_dict() == {"train": 4, "test": 4}


def test_split_by_patient_refuses(rng):
    with pytest.raises(StudyTableError, match="sum to 1"):
        datasets.split_by_patient(_many(), rng=rng, fractions=(0.5, 0.5, 0.5))
    with pytest.raises(StudyTableError, match="too few for 3 splits"):
        datasets.split_by_patient(_many(6), rng=rng)


def test_draw_sizes_and_balance(rng):
    studies = datasets.split_by_patient(_many(200), rng=rng)
    drawn = datasets.draw(studies, {"train": 30, "test": 11}, rng=rng, balanced=True)
    assert drawn.groupby("split").size().to_dict() == {"test": 11, "train": 30}
    assert drawn[drawn["split"] == "train"]["label"].value_counts().to_dict() == {"n": 15, "p": 15}
    kept = datasets.draw(studies, {"train": 40}, rng=rng)
    share = (studies[studies["split"] == "train"]["label"] == "p").mean()
    assert abs((kept["label"] == "p").sum() - 40 * share) <= 1


def test_draw_takes_many_patients_before_a_second_image(rng):
    studies = datasets.split_by_patient(_many(200), rng=rng)
    drawn = datasets.draw(studies, {"train": 30}, rng=rng)
    assert drawn["patient_id"].nunique() == 30


def test_draw_refuses_a_split_that_is_not_there(rng):
    with pytest.raises(StudyTableError, match="cannot draw 3 images of split 'other'"):
        datasets.draw(_table(), {"other": 3}, rng=rng)


def test_draw_few_learns_from_few_and_tests_on_others(rng):
    studies = datasets.split_by_patient(_many(200), rng=rng)
    few = datasets.draw_few(studies, images=40, test=25, rng=rng)
    assert (few["split"] == "test").sum() == 25
    learn = few[few["split"] != "test"]
    assert learn["label"].value_counts().to_dict() == {"n": 20, "p": 20}
    assert set(learn["split"]) == {"train", "val"}
    assert not set(learn["patient_id"]) & set(few[few["split"] == "test"]["patient_id"])
    assert len(datasets.draw_few(studies, rng=rng)) == len(studies)
    large = datasets.draw_few(studies, images=40, test=250, rng=rng)  # more than the test split
    assert (large["split"] == "test").sum() == 250
    homes = large.assign(test=large["split"] == "test").groupby("patient_id")["test"].nunique()
    assert homes.max() == 1


# --- arrays ---------------------------------------------------------------------------------


def test_decode_gives_rows_in_the_order_of_the_table(folder, rng):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")[::-1]
    decoded = datasets.decode(studies, size=16)
    assert decoded.images.shape == (12, 16, 16)
    assert decoded.images.dtype == np.uint8
    assert decoded.ids.tolist() == studies["image_id"].tolist()
    assert decoded.labels.tolist() == [int(v == "pneumonia") for v in studies["label"]]
    assert repr(decoded) == "ImageSet(12 images of 16 x 16: 6 normal, 6 pneumonia)"


def test_decode_takes_the_classes_as_given(folder):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    names = ("pneumonia", "effusion", "normal")
    decoded = datasets.decode(studies, size=16, classes=names)
    assert decoded.classes == names
    assert decoded.labels.tolist() == [2] * 6 + [0] * 6
    with pytest.raises(StudyTableError, match="'normal' is none of the classes pneumonia, effu"):
        datasets.decode(studies, size=16, classes=names[:2])


def test_decode_of_the_same_size_is_exact(tmp_path, rng):
    image = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    studies = _table(path=[str(tmp_path / "a.png")] * 4)
    np.testing.assert_array_equal(datasets.decode(studies, size=16).images[2], image)


def test_subset_by_split_mask_and_index(folder):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    studies["split"] = ["train"] * 7 + ["test"] * 5
    decoded = datasets.decode(studies, size=16)
    test = decoded.subset("test")
    assert len(test) == 5
    assert test.ids.tolist() == studies["image_id"][7:].tolist()
    np.testing.assert_array_equal(decoded.subset(decoded.labels == 1).labels, np.ones(6))
    assert decoded.subset(np.array([3, 1])).ids.tolist() == studies["image_id"][[3, 1]].tolist()
    for rows in ([-1], [-2, -1], [-1, 0]):
        found = decoded.subset(np.array(rows)).ids
        assert found.tolist() == decoded.ids[rows].tolist()
    with pytest.raises(StudyTableError, match="no image is in split 'val'; the splits here: test"):
        decoded.subset("val")


def test_cache_is_mapped_reused_and_renewed(folder, tmp_path, monkeypatch):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    first = datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert isinstance(first.images, np.memmap)
    np.testing.assert_array_equal(first.images, datasets.decode(studies, size=16).images)
    calls = []
    monkeypatch.setattr("medimg.datasets.cache.fill", lambda *a, progress: calls.append(a))
    datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert calls == []
    Image.new("L", (3, 5)).save(studies["path"][0])
    datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert len(calls) == 1


def test_a_split_of_a_mapped_file_stays_mapped(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    studies["split"] = ["train"] * 7 + ["test"] * 5
    decoded = datasets.decode(studies, size=16, cache=tmp_path)
    for split, rows in (("train", slice(0, 7)), ("test", slice(7, 12))):
        part = decoded.subset(split)
        assert np.shares_memory(part.images, decoded.images)
        np.testing.assert_array_equal(part.images, decoded.images[rows])
    assert not np.shares_memory(decoded.subset(np.array([0, 2])).images, decoded.images)


def test_cache_of_another_size_is_named(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    datasets.decode(studies, size=16, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("*.npy")
    np.save(file, np.zeros((12, 20, 20), np.uint8))
    with pytest.raises(StudyTableError, match=r"\(12, 20, 20\), expected uint8 \(12, 16, 16\)"):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")


def test_an_interrupted_decode_leaves_no_cache(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    (folder / "normal" / "p3_0.png").write_bytes(b"not a picture")
    with pytest.raises(ImageReadError, match="p3_0"):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_decode_left_behind_is_removed(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    datasets.decode(studies, size=16, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.unlink()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    start = file.parent / f".{file.name}.{platform.node()}"
    left, running, elsewhere = (
        Path(f"{start}.{gone.pid}"),
        Path(f"{start}.{os.getppid()}"),
        file.parent / f".{file.name}.another-machine.{gone.pid}",
    )
    for partial in (left, running, elsewhere):
        partial.write_bytes(b"half")
    datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert set(file.parent.iterdir()) == {file, running, elsewhere}


def test_decode_refuses(tmp_path):
    with pytest.raises(StudyTableError, match=r"gone\.png: no such file"):
        datasets.decode(_table(path=[str(tmp_path / "gone.png")] * 4))
    with pytest.raises(StudyTableError, match="size 4 is too small"):
        datasets.decode(_table(), size=4)


def test_decode_masks(tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[2:5, 3:9] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    studies = _table(mask_path=["", str(tmp_path / "m.png"), np.nan, ""])
    masks = datasets.decode_masks(studies, size=16)
    np.testing.assert_array_equal(masks[1], mask > 0)
    assert masks.sum() == 18
    with pytest.raises(StudyTableError, match="no column 'mask_path'"):
        datasets.decode_masks(_table())


# --- the catalogue --------------------------------------------------------------------------


def test_load_kermany_splits_children_by_number(tmp_path, rng):
    train = tmp_path / "chest_xray" / "train"
    for number in range(20):
        _png(train / "NORMAL" / f"IM-{number:04}-0001.jpeg", rng)
        _png(train / "NORMAL" / f"NORMAL2-IM-{number:04}-0001.jpeg", rng)
        _png(train / "PNEUMONIA" / f"person{number}_virus_{number}.jpeg", rng)
        _png(train / "PNEUMONIA" / f"person{number}_bacteria_{number}.jpeg", rng)
    studies = datasets.load("kermany", root=tmp_path)
    assert studies["patient_id"].nunique() == 40
    assert (studies.groupby("patient_id").size() == 2).all()
    assert studies["split"].value_counts().to_dict() == {"train": 56, "val": 12, "test": 12}
    for label in ("NORMAL", "PNEUMONIA"):
        _png(tmp_path / "chest_xray" / "test" / label / "person1_virus_6-IM-0001.jpeg", rng)
        _png(tmp_path / "chest_xray" / "val" / label / "person77_IM-0077.jpeg", rng)
    studies = datasets.load("kermany", root=tmp_path)
    assert (studies["split"] == "test").sum() == 2
    assert studies[studies["split"] == "test"]["patient_id"].str.startswith("test-").all()


def test_load_brain_mri(tmp_path, rng):
    for label in ("glioma", "meningioma", "notumor", "pituitary"):
        for number in range(10):
            _png(tmp_path / "brain-mri" / "Training" / label / f"{number}.jpg", rng)
    studies = datasets.load("brain-mri", root=tmp_path)
    assert datasets.class_names(studies)[0] == "notumor"
    assert studies["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 8}
    for label in ("glioma", "meningioma", "notumor", "pituitary"):  # as on Kaggle
        _png(tmp_path / "brain-mri" / "Testing" / label / "0.jpg", rng)
    studies = datasets.load("brain-mri", root=tmp_path)
    assert studies["split"].value_counts().to_dict() == {"train": 32, "val": 8, "test": 4}


def test_a_set_without_val_takes_it_from_train_by_patient(tmp_path, rng):
    for split, patients in (("train", 20), ("test", 3)):
        for label in ("normal", "ill"):
            for patient in range(patients):
                for visit in range(2):
                    name = f"{split}{label}{patient}_{visit}.png"
                    _png(tmp_path / "set" / split / label / name, rng)
    studies = datasets.load(tmp_path / "set", patient_pattern=r"(.+)_")
    assert studies["split"].value_counts().to_dict() == {"train": 68, "val": 12, "test": 12}
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    published = studies["path"].str.contains("/test/")
    assert (published == (studies["split"] == "test")).all()
    again = datasets.load(tmp_path / "set", patient_pattern=r"(.+)_")
    pd.testing.assert_frame_equal(studies, again)
    few = studies[studies["patient_id"].isin(["trainnormal0", "testill1"])].assign(split="test")
    few.iloc[:2, 3] = "train"
    few.to_csv(tmp_path / "few.csv", index=False)  # one patient cannot be on two sides
    assert set(datasets.load(tmp_path / "few.csv")["split"]) == {"train", "test"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kermany", "get it from https://data.mendeley.com"),
        ("brain-mri", "get it from https://www.kaggle.com"),
        ("pneumoniamnist", "fetch pneumoniamnist --size 224"),
        ("chexpert", "neither a known data set nor a folder"),
    ],
)
def test_load_says_where_to_get_what_is_not_there(tmp_path, name, message):
    with pytest.raises(StudyTableError, match=message):
        datasets.load(name, root=tmp_path)


def test_load_by_environment(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("MEDIMG_DATASET", str(folder))
    studies = datasets.load()
    assert set(studies["split"]) == {"train", "val", "test"}
    monkeypatch.setenv("MEDIMG_DATA", str(tmp_path))
    assert datasets.data_root() == tmp_path


def test_a_patient_pattern_counts_wherever_the_folder_is_named(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("MEDIMG_DATASET", str(folder))
    studies = datasets.load(patient_pattern=r"(p\d+)_")
    assert studies["patient_id"].nunique() == 8
    monkeypatch.delenv("MEDIMG_DATASET")
    (tmp_path / "t.csv").write_text("path,label\na.png,n\n")
    for name in (None, "sample_ct", "kermany", tmp_path / "t.csv"):
        with pytest.raises(StudyTableError, match="a patient pattern is for the file names of"):
            datasets.load(name, patient_pattern="x")
    with pytest.raises(StudyTableError, match="neither a known data set"):
        datasets.load("nowhere", patient_pattern="x")


def test_sample_is_split_by_patient():
    studies = datasets.load("sample")
    assert studies["label"].value_counts().to_dict() == {"normal": 60, "pneumonia": 40}
    assert studies.groupby("patient_id")["split"].nunique().max() == 1


def test_sample_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("medimg.datasets.catalogue.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(StudyTableError, match="clone the repository"):
        datasets.load("sample")

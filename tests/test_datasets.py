"""Study tables, splits and decoded arrays."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg import datasets, sources
from medimg.errors import ImageReadError, StudyTableError
from medimg.images import ImageWarning, read_image


def _png(path, rng, size=(9, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)


def _table(**columns):
    base = {"image_id": list("abcd"), "path": list("abcd"), "label": ["normal", "ill"] * 2,
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


def test_unknown_patients_stay_unknown(folder, tmp_path):
    studies = datasets.load(folder)
    assert not datasets.patients_known(studies)
    assert "patients: not known; each image counted as one" in str(datasets.summary(studies))
    data = datasets.decode(studies, size=16)
    assert data.patient_ids is None
    studies.to_csv(tmp_path / "t.csv", index=False)  # as `fit` keeps it beside the network
    assert not datasets.patients_known(datasets.from_csv(tmp_path / "t.csv"))
    told = datasets.load(folder, patient_pattern=r"(p\d+)_")
    assert datasets.patients_known(told)
    assert datasets.decode(told, size=16).patient_ids.tolist() == told["patient_id"].tolist()


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
    table = tmp_path / "elsewhere" / "t.csv"
    table.parent.mkdir()
    table.write_text("path,label\na.png,n\na.dcm,p\n1.2.7,n\na.png.dcm,p\n", encoding="utf-8")
    found = datasets.from_csv(table)["image_id"].tolist()
    assert found == ["a.png", "a.dcm", "1.2.7", "a.png.dcm"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.mkdir(), "no class folders"),
        (lambda p: (p / "normal").mkdir(parents=True), "no class folders"),
    ],
)
def test_from_folder_refuses(tmp_path, make, message):
    make(tmp_path / "set")
    with pytest.raises(StudyTableError, match=message):
        datasets.from_folder(tmp_path / "set")


def test_from_folder_refuses_a_pattern_that_does_not_match(folder):
    with pytest.raises(StudyTableError, match=r"p0_0\.png: the patient pattern 'x\+' does not"):
        datasets.from_folder(folder, patient_pattern="x+")
    with pytest.raises(StudyTableError, match=r"pattern '\(\[' is not a regular expression"):
        datasets.from_folder(folder, patient_pattern="([")


def test_from_csv_makes_paths_absolute_and_fills_in(tmp_path):
    (tmp_path / "t.csv").write_text(
        "path,label,mask_path\na.png,normal,\nb/b.png,ill,m.png\n", encoding="utf-8"
    )
    studies = datasets.from_csv(tmp_path / "t.csv")
    assert studies["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b/b.png")]
    assert studies["mask_path"].tolist() == ["", str(tmp_path / "m.png")]
    assert studies["image_id"].tolist() == ["a", "b/b"]
    assert studies["patient_id"].tolist() == ["a", "b/b"]
    assert not datasets.patients_known(studies)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "cannot be read as a CSV table"),
        ("path,name\na.png,b\n", "column 'label' is missing; found path, name"),
        ("path,label\n", "no rows"),
        ("path,label\na.png,\n", "'label' is empty in row 1"),
        ("image_id,path,label\na,a.png,n\na,b.png,n\n", "image_id 'a' stands in 2 rows"),
        ("path,label,split\na.png,n,external_test\n", "unknown split 'external_test'"),
        ("path,label,split\na.png,n,train\nb.png,n,\n", "1 of 2 rows have no split, as row 2"),
        ("path,label\na.png,n\n./a.png,n\n", "path '.*a.png' stands in 2 rows"),
        ("path,label\n,n\n", "'path' is empty in row 1"),
        ("path,label\na,b,n\n", "Expected 2 fields in line 2, saw 3"),
        ("path,label,split,patient_id\na,n,train,p7\nb,n,test,p7\n", "'p7' is in more than one"),
    ],
)
def test_from_csv_refuses(tmp_path, text, message):
    if text is not None:
        (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(StudyTableError, match=message):
        datasets.from_csv(tmp_path / "t.csv")


def test_from_csv_takes_the_word_none_for_a_label(tmp_path):
    text = "path,label,patient_id,age\na.png,None,NA,40\nb.png,NA,null,\nc.png,ill,007,50\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    studies = datasets.from_csv(tmp_path / "t.csv")
    assert studies["label"].tolist() == ["None", "NA", "ill"]
    assert studies["patient_id"].tolist() == ["NA", "null", "007"]
    assert studies["age"].isna().tolist() == [False, True, False]
    (tmp_path / "t.csv").write_text(
        "path,label,patient_id\na.png,n,p1\nb.png,n\n", encoding="utf-8"
    )
    with pytest.raises(StudyTableError, match="'patient_id' is empty in row 2"):
        datasets.from_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("use", "column"),
    [
        (datasets.decode, "image_id"),
        (datasets.class_names, "label"),
        (lambda t: datasets.split_by_patient(t, rng=np.random.default_rng(0)), "patient_id"),
        (lambda t: datasets.subsample(t, {"train": 1}, rng=np.random.default_rng(0)), "label"),
        (datasets.summary, "split"),
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
    ("labels", "expected"),
    [
        ([str(k) for k in range(12)], tuple(str(k) for k in range(12))),
        (["Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe"],
         ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")),
        (["Mild", "Moderate", "NonDemented", "VeryMild"],
         ("NonDemented", "VeryMild", "Mild", "Moderate")),
        (["MildDemented", "ModerateDemented", "NonDemented", "VeryMildDemented"],
         ("NonDemented", "VeryMildDemented", "MildDemented", "ModerateDemented")),
        (["3Moderate", "0Normal", "4Severe", "1Doubtful", "2Mild"],
         ("0Normal", "1Doubtful", "2Mild", "3Moderate", "4Severe")),
        (["stage 10", "stage 9", "stage 1"], ("stage 1", "stage 9", "stage 10")),
        (["KL-3", "KL-1", "KL-2"], ("KL-1", "KL-2", "KL-3")),
    ],
)  # fmt: skip
def test_grades_keep_their_order(labels, expected):
    table = pd.DataFrame({"label": labels})
    assert datasets.class_names(table) == expected
    assert datasets.class_names(table, ordinal=True) == expected


def test_ordinal_needs_a_known_order():
    tumours = pd.DataFrame({"label": ["glioma", "notumor", "meningioma", "class_02"]})
    with pytest.raises(StudyTableError, match="the order of the grades notumor, class_02, glioma"):
        datasets.class_names(tumours, ordinal=True)
    tumours.attrs["classes"] = ["notumor", "meningioma", "class_02", "glioma"]
    assert datasets.class_names(tumours, ordinal=True) == tuple(tumours.attrs["classes"])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["b", "a"], "neither of the classes 'a' and 'b' reads"),
        (["nodule", "mass"], "neither of the classes 'mass' and 'nodule' reads"),
        (["2", "1"], "neither of the classes '1' and '2' reads"),
        (["not ill", "no pain"], "both of the classes 'no pain' and 'not ill' read as"),
    ],
)
def test_class_names_ask_which_of_two_is_healthy(labels, words):
    table = pd.DataFrame({"label": labels})
    with pytest.raises(StudyTableError, match=words + ".*--classes"):
        datasets.class_names(table)
    table.attrs["classes"] = labels
    assert datasets.class_names(table) == tuple(labels)


def test_benign_comes_before_malignant_and_after_normal():
    names = datasets.class_names(pd.DataFrame({"label": ["malignant", "benign"]}))
    assert names == ("benign", "malignant")
    names = datasets.class_names(pd.DataFrame({"label": ["malignant", "benign", "normal"]}))
    assert names == ("normal", "benign", "malignant")


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


def test_subsample_sizes_and_balance(rng):
    studies = datasets.split_by_patient(_many(200), rng=rng)
    drawn = datasets.subsample(studies, {"train": 30, "test": 11}, rng=rng, balanced=True)
    assert drawn.groupby("split").size().to_dict() == {"test": 11, "train": 30}
    assert drawn[drawn["split"] == "train"]["label"].value_counts().to_dict() == {"n": 15, "p": 15}
    kept = datasets.subsample(studies, {"train": 40}, rng=rng)
    share = (studies[studies["split"] == "train"]["label"] == "p").mean()
    assert abs((kept["label"] == "p").sum() - 40 * share) <= 1


def test_subsample_takes_many_patients_before_a_second_image(rng):
    studies = datasets.split_by_patient(_many(200), rng=rng)
    drawn = datasets.subsample(studies, {"train": 30}, rng=rng)
    assert drawn["patient_id"].nunique() == 30


def test_subsample_refuses_a_split_that_is_not_there(rng):
    with pytest.raises(StudyTableError, match="cannot take 3 of 0 images of split 'other'"):
        datasets.subsample(_table(), {"other": 3}, rng=rng)


def test_equal_files_stay_in_one_split(tmp_path, rng):
    """Copies under other names would else be learned from and tested on."""
    for number in range(40):
        _png(tmp_path / ("normal", "ill")[number % 2] / f"{number}.png", rng)
    for number in range(0, 40, 2):
        image = tmp_path / "normal" / f"{number}.png"
        (tmp_path / "normal" / f"copy{number}.png").write_bytes(image.read_bytes())
    studies = datasets.load(tmp_path)
    home = dict(zip(studies["image_id"], studies["split"], strict=True))
    assert all(home[f"normal/{n}"] == home[f"normal/copy{n}"] for n in range(0, 40, 2))
    assert set(home.values()) == {"train", "val", "test"}
    assert any("20 files repeat another" in text for text in datasets.summary(studies).suspicious)


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
    with pytest.raises(StudyTableError, match=r"'normal' is none of the classes given \(pneumonia"):
        datasets.decode(studies, size=16, classes=names[:2])


def test_decode_of_the_same_size_is_exact(tmp_path, rng):
    image = rng.integers(0, 256, (16, 16), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    studies = _table(path=[str(tmp_path / "a.png")] * 4)
    with pytest.raises(StudyTableError, match="1 group"):
        datasets.decode(studies, size=16)
    studies["label"], studies["split"] = "normal", "train"
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


def test_cache_is_mapped_and_reused(folder, tmp_path, monkeypatch):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    first = datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert isinstance(first.images, np.memmap)
    np.testing.assert_array_equal(first.images, datasets.decode(studies, size=16).images)
    monkeypatch.setattr("medimg.datasets.arrays.read_image", None)
    again = datasets.decode(studies, size=16, cache=tmp_path / "cache")
    np.testing.assert_array_equal(again.images, first.images)


def test_cache_sees_a_file_that_changed_with_the_same_size_and_time(tmp_path):
    file = tmp_path / "a.bmp"
    Image.fromarray(np.full((16, 16), 10, np.uint8)).save(file)
    studies = _table(path=[str(file)] * 4).head(1)
    before, stat = datasets.decode(studies, size=16, cache=tmp_path / "c").images.max(), file.stat()
    Image.fromarray(np.full((16, 16), 99, np.uint8)).save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    after = datasets.decode(studies, size=16, cache=tmp_path / "c").images.max()
    assert (before, after) == (10, 99)


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b"",
        lambda b: b[: len(b) // 2],
        lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:],
        lambda b: b"PK\x03\x04" + b[4:],
        lambda b: b[:-1] + bytes([b[-1] ^ 1]),
        lambda b: b"\x93NUMPY\x01\x00v\x00" + b"{" * 118,
    ],
)
def test_a_damaged_cache_is_made_again(folder, tmp_path, damage):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    right = np.array(datasets.decode(studies, size=16, cache=tmp_path / "cache").images)
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    found = datasets.decode(studies, size=16, cache=tmp_path / "cache").images
    np.testing.assert_array_equal(found, right)
    assert list((tmp_path / "cache").iterdir()) == [file]


def test_a_full_disk_is_one_error_and_leaves_nothing(folder, tmp_path, monkeypatch):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    monkeypatch.setattr("medimg.datasets.arrays.read_image", None)  # nothing is decoded
    with pytest.raises(StudyTableError, match=r"cache of 0 MB cannot be written there \(No space"):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_fills_up_later_leaves_nothing(folder, tmp_path, monkeypatch):
    """Where a system cannot reserve space, a full disk shows while the blocks are written."""
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    monkeypatch.setattr("medimg.datasets.arrays._BLOCK", 4)
    real, written = Path.open, []

    def fill_up(self, mode="r", **how):
        written.append(mode)
        if written.count("r+b") == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, **how)

    monkeypatch.setattr(Path, "open", fill_up)
    with pytest.raises(StudyTableError, match=r"cannot be written there \(No space"):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def _count_decoded(monkeypatch):
    """Return a list to which each file is added that is decoded from now on, in this process."""
    decoded, real = [], datasets.arrays.decode_file

    def counted(path, **how):
        decoded.append(path)
        return real(path, **how)

    monkeypatch.setattr("medimg.datasets.arrays.decode_file", counted)
    return decoded


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_file_that_may_not_grow_is_one_error(folder, tmp_path):
    code = (
        "import resource, sys; from medimg import datasets; "
        "s = datasets.from_folder(sys.argv[1], patient_pattern=r'(p\\d+)_'); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "datasets.decode(s, size=16, cache=sys.argv[2])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(folder), str(tmp_path / "cache")],
                         capture_output=True, encoding="utf-8")  # fmt: skip
    last = run.stderr.strip().splitlines()[-1]
    assert "StudyTableError" in last
    assert "cannot be written there (File too large)" in last
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_named(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    (tmp_path / "cache").write_text("", encoding="utf-8")
    with pytest.raises(
        StudyTableError, match=r"cache of 0 MB cannot be written there \(File exists"
    ):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")


def test_two_processes_may_make_one_cache(folder, tmp_path):
    code = (
        "import sys, numpy as np; from medimg import datasets; "
        "s = datasets.from_folder(sys.argv[1], patient_pattern=r'(p\\d+)_'); "
        "print(int(datasets.decode(s, size=16, cache=sys.argv[2]).images.sum()))"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), str(tmp_path / "cache")],
            stdout=subprocess.PIPE, encoding="utf-8",
        )
        for _ in range(2)
    ]  # fmt: skip
    sums = {run.communicate()[0].strip() for run in runs}
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    assert sums == {str(int(datasets.decode(studies, size=16).images.sum()))}
    assert len(list((tmp_path / "cache").iterdir())) == 1


_SLOWLY = """
import os, sys, time
import pandas as pd
from medimg import datasets
from medimg.datasets import arrays

def slow(path, **how):
    time.sleep(0.02)
    print(path, flush=True)
    begun.append(path)
    if len(begun) == 200:
        sys.stdin.readline()  # here a test may end the process
    return real(path, **how)

real, arrays.decode_file, begun = arrays.decode_file, slow, []
arrays.cpu_count = lambda: 1  # all in this process
studies = pd.read_csv(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
datasets.decode(studies, size=16, cache=sys.argv[2], allow_duplicates=True)
"""
_PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}


@pytest.fixture
def long_table(folder, tmp_path):
    """A table of 600 rows, whose images are twelve files in turn."""
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    rows = pd.concat([studies] * 50, ignore_index=True)
    rows["image_id"] = [f"i{n}" for n in range(600)]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def test_a_killed_decode_goes_on_where_it_was(long_table, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", _SLOWLY, str(long_table), str(cache)]
    run = subprocess.Popen(command, **_PIPES)
    run.stdin.write("go\n")
    run.stdin.flush()
    assert all(run.stdout.readline() for _ in range(1 + 200))  # it waits within its 13th block
    run.kill()
    run.communicate()
    monkeypatch.setattr("medimg.datasets.arrays.cpu_count", lambda: 1)  # all in this process
    counted = _count_decoded(monkeypatch)
    studies = pd.read_csv(long_table)
    found = datasets.decode(studies, size=16, cache=cache, allow_duplicates=True).images
    assert len(counted) == 600 - 12 * 16
    whole = datasets.decode(studies, size=16, allow_duplicates=True).images
    np.testing.assert_array_equal(found, whole)
    assert len(list(cache.iterdir())) == 1


def test_several_processes_decode_a_large_set(long_table, tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.datasets.arrays.cpu_count", lambda: 2)
    monkeypatch.setattr("medimg.datasets.arrays._BLOCK", 4)
    counted = _count_decoded(monkeypatch)  # does not reach the other processes
    studies = pd.read_csv(long_table)
    found = datasets.decode(studies, size=16, cache=tmp_path / "c", allow_duplicates=True).images
    assert counted == []
    whole = datasets.decode(studies, size=16, allow_duplicates=True).images
    np.testing.assert_array_equal(found, whole)


def test_an_image_that_no_process_can_read_is_named(long_table, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("medimg.datasets.arrays.cpu_count", lambda: 2)
    monkeypatch.setattr("medimg.datasets.arrays._BLOCK", 4)
    (folder / "normal" / "p3_0.png").write_bytes(b"not a picture")
    with pytest.raises(ImageReadError, match="p3_0"):
        datasets.decode(pd.read_csv(long_table), size=16, cache=tmp_path / "c",
                        allow_duplicates=True)  # fmt: skip


def test_processes_of_torchrun_share_the_decoding(long_table, tmp_path):
    command = [sys.executable, "-c", _SLOWLY, str(long_table), str(tmp_path / "cache")]
    settings = [os.environ | {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"} for rank in "01"]
    runs = [subprocess.Popen(command, env=setting, **_PIPES) for setting in settings]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
    for run in runs:  # both begin at once, and do not wait again
        run.stdin.write("go\n" * 2)
        run.stdin.flush()
    shares = [len(run.communicate()[0].splitlines()) for run in runs]
    assert min(shares) >= 100
    assert 600 <= sum(shares) < 900  # alone, each would decode 600
    studies = pd.read_csv(long_table)
    (file,) = (tmp_path / "cache").iterdir()
    whole = datasets.decode(studies, size=16, allow_duplicates=True).images
    assert file.read_bytes()[: whole.size] == whole.tobytes()


def test_a_split_of_a_mapped_file_stays_mapped(folder, tmp_path):
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    studies["split"] = ["train"] * 7 + ["test"] * 5
    decoded = datasets.decode(studies, size=16, cache=tmp_path)
    for split, rows in (("train", slice(0, 7)), ("test", slice(7, 12))):
        part = decoded.subset(split)
        assert np.shares_memory(part.images, decoded.images)
        np.testing.assert_array_equal(part.images, decoded.images[rows])
    assert not np.shares_memory(decoded.subset(np.array([0, 2])).images, decoded.images)


def test_only_the_blocks_of_what_changed_are_decoded_again(folder, tmp_path, monkeypatch, rng):
    """An image that cannot be read costs the blocks that are whole nothing."""
    studies = datasets.from_folder(folder, patient_pattern=r"(p\d+)_")
    monkeypatch.setattr("medimg.datasets.arrays._BLOCK", 4)
    monkeypatch.setattr("medimg.datasets.arrays.cpu_count", lambda: 1)
    last = Path(studies["path"].iloc[-1])
    last.write_bytes(b"not a picture")
    with pytest.raises(ImageReadError, match=last.stem):
        datasets.decode(studies, size=16, cache=tmp_path / "cache")
    _png(last, rng)
    counted = _count_decoded(monkeypatch)
    found = datasets.decode(studies, size=16, cache=tmp_path / "cache").images
    assert counted == studies["path"].tolist()[-4:]
    np.testing.assert_array_equal(found, datasets.decode(studies, size=16).images)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    counted.clear()
    _png(Path(studies["path"][5]), rng)
    found = datasets.decode(studies, size=16, cache=tmp_path / "cache").images
    assert counted == studies["path"].tolist()[4:8]
    np.testing.assert_array_equal(found, datasets.decode(studies, size=16).images)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_decode_keeps_colour_and_shape_when_asked(tmp_path):
    image = np.zeros((10, 20, 3), np.uint8)
    image[..., 0], image[..., 2] = 200, 40
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "b.png")
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    studies = _table().head(2).assign(path=paths)
    colour = datasets.decode(studies, size=20, channels=3, keep_aspect=True)
    assert colour.images.shape == (2, 20, 20, 3)
    assert colour.channels == 3
    assert colour.images[0, 10, 10].tolist() == [200, 0, 40]
    assert colour.images[1, 10, 10].tolist() == [200, 200, 200]
    assert colour.images[0, 0, 0].tolist() == [0, 0, 0]  # padded
    assert repr(colour) == "ImageSet(2 images of 20 x 20 x 3: 1 normal, 1 ill)"
    grey = datasets.decode(studies, size=20)
    assert grey.channels == 1
    assert grey.images[0, 0, 0] == grey.images[0, 10, 10] > 0
    one = datasets.decode_file(paths[0], 20, channels=3, keep_aspect=True)
    np.testing.assert_array_equal(one, colour.images[0])


def test_decode_passes_on_the_frame_and_the_stretch(monkeypatch, tmp_path):
    asked = []

    def read(path, *, window, frame, colour):
        asked.append((window, frame, colour))
        return np.zeros((4, 4), np.float32)

    monkeypatch.setattr("medimg.datasets.arrays.read_image", read)
    (tmp_path / "v.nii").write_bytes(b"x")
    studies = _table(path=[str(tmp_path / "v.nii")] * 4, frame=[3, 0, 1, 2])
    datasets.decode(studies, size=8, stretch=True)
    assert sorted(asked) == [("full", k, False) for k in range(4)]


def test_twelve_bits_in_sixteen_are_stretched_when_asked(tmp_path):
    values = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "a.png")
    studies = _table(path=[str(tmp_path / "a.png")] * 4).head(1)
    with pytest.warns(ImageWarning, match="a.png"):
        dark = datasets.decode(studies, size=64, classes=("normal", "ill"))
    assert len(np.unique(dark.images)) == 17
    wide = datasets.decode(studies, size=64, classes=("normal", "ill"), stretch=True)
    assert len(np.unique(wide.images)) == 256


def test_volumes_are_decoded_by_their_axial_slice(tmp_path, rng):
    """BraTS-like: one folder per patient, one volume per contrast, and its segmentation."""
    nibabel = pytest.importorskip("nibabel")
    for number, label in enumerate(("LGG", "HGG") * 2):
        folder = tmp_path / label / f"BraTS19_{number}"
        folder.mkdir(parents=True)
        for part in ("flair", "seg"):
            volume = nibabel.Nifti1Image(rng.random((8, 8, 5), np.float32), np.eye(4))
            nibabel.save(volume, folder / f"BraTS19_{number}_{part}.nii.gz")
    studies = datasets.from_folder(tmp_path)
    assert studies["patient_id"].tolist() == [f"BraTS19_{n}" for n in (1, 3, 0, 2)]
    for frame in (0, 4):
        data = datasets.decode(studies.assign(frame=frame), size=8, classes=("LGG", "HGG"))
        slices = [read_image(path, frame=frame) for path in studies["path"]]
        np.testing.assert_array_equal(data.images, np.round(np.array(slices) * 255))
        assert data.labels.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 8, 8))}, "images are float64"),
        ({"images": np.zeros((2, 8, 8, 4), np.uint8)}, r"expected uint8 \(N, H, W\)"),
        ({"images": np.zeros((3, 8, 8), np.uint8)}, "one row per image"),
        ({"ids": np.array(["a"])}, "one row per image"),
        ({"labels": np.array([0, 2])}, "whole numbers from 0 to 1"),
        ({"labels": np.array([0, -1])}, "whole numbers from 0 to 1"),
        ({"labels": np.array([0.0, 1.0])}, "whole numbers from 0 to 1"),
    ],
)
def test_an_image_set_is_checked_once_on_making(change, message):
    names = np.array(["a", "b"])
    good = {"images": np.zeros((2, 8, 8), np.uint8), "labels": np.array([0, 1], np.int32),
            "ids": names, "patients": names, "splits": names, "classes": ("n", "p")}  # fmt: skip
    assert datasets.ImageSet(**good).labels.dtype == np.int64
    with pytest.raises(StudyTableError, match=message):
        datasets.ImageSet(**good | change)


def test_ordinal_and_healthy_belong_to_the_loaded_set(tmp_path, rng):
    for grade in ("10", "2", "0", "1"):
        for number in range(3):
            _png(tmp_path / grade / f"{number}.png", rng)
    studies = datasets.load(tmp_path)
    data = datasets.decode(studies, size=8)
    assert data.classes == ("0", "1", "2", "10")
    assert data.ordinal
    assert data.subset("train").ordinal
    found = datasets.summary(studies)
    assert found.healthy == "0"
    assert found.ordinal
    assert str(found).startswith("grades, lowest first: 0, 1, 2, 10\nhealthy: 0 (the lowest grade)")


def test_decode_refuses(tmp_path):
    with pytest.raises(StudyTableError, match=r"gone\.png: no such file"):
        datasets.decode(_table(path=[str(tmp_path / "gone.png")] * 4))
    with pytest.raises(StudyTableError, match=r"4 pixels .* cannot be made; give 8 to 4096"):
        datasets.decode(_table(), size=4)
    with pytest.raises(StudyTableError, match="images of 100000 pixels"):
        datasets.decode(_table(), size=100_000)
    with pytest.raises(StudyTableError, match=r"2 channels cannot .*, and 1 \(grey\) or 3"):
        datasets.decode(_table(), channels=2)


def test_decode_masks(tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[2:5, 3:9] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    studies = _table(mask_path=["", str(tmp_path / "m.png"), np.nan, ""])
    masks = datasets.decode_masks(studies, size=16)
    np.testing.assert_array_equal(masks[1], mask > 0)
    assert masks.sum() == 18
    with pytest.raises(StudyTableError, match=r"missing column\(s\) mask_path"):
        datasets.decode_masks(_table())


@pytest.mark.parametrize("shape", [(16, 16), (12, 24), (24, 12)])
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_masks_line_up_with_their_images(tmp_path, shape, keep_aspect):
    mask = np.zeros(shape, np.uint8)
    mask[2:7, 3:9] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    studies = _table(mask_path=[str(tmp_path / "m.png")] * 4)
    (found, *_) = datasets.decode_masks(studies, size=16, keep_aspect=keep_aspect)
    image = datasets.decode_file(tmp_path / "m.png", 16, keep_aspect=keep_aspect)
    np.testing.assert_array_equal(found, image >= 128)
    assert found.any()


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
        ("pneumoniamnist", "fetch pneumoniamnist` first"),
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
    assert sources.data_root() == tmp_path


def test_a_patient_pattern_counts_wherever_the_folder_is_named(tmp_path, folder, monkeypatch):
    monkeypatch.setenv("MEDIMG_DATASET", str(folder))
    studies = datasets.load(patient_pattern=r"(p\d+)_")
    assert studies["patient_id"].nunique() == 8
    monkeypatch.delenv("MEDIMG_DATASET")
    (tmp_path / "t.csv").write_text("path,label\na.png,n\n", encoding="utf-8")
    for name in (None, "sample_ct", "kermany", tmp_path / "t.csv"):
        with pytest.raises(StudyTableError, match="a patient pattern is for a folder"):
            datasets.load(name, patient_pattern="x")
    with pytest.raises(StudyTableError, match="neither a known data set"):
        datasets.load("nowhere", patient_pattern="x")


def test_sample_is_split_by_patient():
    studies = datasets.load("sample")
    assert studies["label"].value_counts().to_dict() == {"normal": 60, "pneumonia": 40}
    assert studies.groupby("patient_id")["split"].nunique().max() == 1


def test_an_installed_wheel_holds_the_tables_of_words_and_sets(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    root = Path(datasets.__file__).parents[2]
    shutil.copytree(root / "medimg", tmp_path / "medimg", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "data").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "data/LICENSE"):
        shutil.copy(root / name, tmp_path / name)
    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    packed = {Path(name).name for name in ZipFile(wheel).namelist() if "medimg/datasets/" in name}
    assert packed == {path.name for path in Path(datasets.__file__).parent.glob("*.*")}
    assert {"words.csv", "sets.csv"} <= packed


def test_sample_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr("medimg.datasets.layouts.__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(StudyTableError, match="clone the repository"):
        datasets.load("sample")


def test_a_column_of_splits_with_an_odd_cell_is_no_reason_to_split_anew(tmp_path, rng):
    """The published test images would be trained on, and the note would say that none were."""
    paths = [tmp_path / f"{n}.png" for n in range(6)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    splits = ["train", "train", "val", "val", "test", "external"]
    table = pd.DataFrame({"path": paths, "label": ["a", "b"] * 3, "Split": splits})
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(StudyTableError, match="unknown split 'external'"):
        datasets.load(tmp_path / "t.csv")


def test_a_patient_in_two_spellings_is_split_as_one(tmp_path, rng):
    paths = [tmp_path / f"{n}.png" for n in range(40)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    people = [f"{'pP'[n % 2]}{n // 4}" for n in range(40)]
    labels = ["a" if n < 20 else "b" for n in range(40)]
    table = pd.DataFrame({"path": paths, "label": labels, "patient_id": people})
    table.to_csv(tmp_path / "t.csv", index=False)
    found = datasets.load(tmp_path / "t.csv")
    assert found.groupby(found["patient_id"].str.casefold())["split"].nunique().max() == 1
    assert found["split"].nunique() == 3

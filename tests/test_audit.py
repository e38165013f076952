"""The shortcut audit finds what was planted and nothing else."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medimg.datasets.audit import audit_shortcuts
from medimg.errors import ImageReadError, StudyTableError


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(80):
        ill = i % 2
        image = rng.integers(60, 200, (30, 40)).astype(np.uint8)
        image[:6, :6] = 255 if ill else 0  # a planted marker
        path = folder / f"{i}.png"
        Image.fromarray(image).save(path)
        rows.append(
            {
                "image_id": f"i{i}",
                "path": str(path),
                "label": "pneumonia" if ill else "normal",
                "split": "train",
                "patient_id": f"p{i // 2 if i < 8 else i}",
                "site": "north" if ill else "south",
                "sex": "FM"[(i // 2) % 2],
                "pattern": "lobar" if ill else "",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def table(studies):
    return audit_shortcuts(studies, seed=1).set_index("shortcut")


def test_a_planted_site_and_marker_are_found(table):
    assert table.loc["column: site", "auc"] == 1
    assert table.loc["border strips", "auc"] > 0.95
    assert table.loc["column: site", "low"] > 0.9
    assert table.loc["column: site", ["high", "n", "class"]].tolist() == [1, 80, "pneumonia"]


def test_a_balanced_column_and_equal_sizes_tell_nothing(table):
    assert table.loc["image size", "auc"] == 0.5
    assert table.loc["column: sex", "low"] < 0.5 < table.loc["column: sex", "high"]


def test_a_column_that_describes_the_disease_is_left_out(table):
    assert "column: pattern" not in table.index
    assert not {"column: label", "column: patient_id"} & set(table.index)


def test_the_most_telling_comes_first_with_its_interval(table):
    assert table["auc"].is_monotonic_decreasing
    assert (table["low"] <= table["auc"]).all()
    assert (table["auc"] <= table["high"]).all()


def test_a_category_that_is_missing_for_some_is_audited(studies):
    bands = pd.Categorical([None if i % 5 == 0 else "old" for i in range(len(studies))])
    found = audit_shortcuts(studies.assign(band=bands), folds=2).set_index("shortcut")
    assert "column: band" in found.index
    nobody = pd.Categorical([None] * len(studies), categories=["old"])
    found = audit_shortcuts(studies.assign(band=nobody), folds=2).set_index("shortcut")
    assert "column: band" not in found.index


def test_a_missing_image_is_named(studies):
    gone = studies.assign(path=studies["path"].where(studies.index != 3, "/nowhere/film.png"))
    with pytest.raises(ImageReadError, match=r"/nowhere/film\.png: there is no such file"):
        audit_shortcuts(gone)
    with pytest.raises(ImageReadError, match="there is no such file"):
        audit_shortcuts(studies.assign(dicom_path="/nowhere/film.dcm"))


def test_header_fields_are_audited(studies, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian

    paths = []
    for i, label in enumerate(studies["label"]):
        data = pydicom.Dataset()
        data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        data.SOPInstanceUID = f"1.2.3.{i}"
        data.KVP = "70" if label == "normal" else "120"
        data.Modality = "DX"
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        paths.append(str(tmp_path / f"{i}.dcm"))
        data.save_as(paths[-1], enforce_file_format=True)
    found = audit_shortcuts(studies.assign(dicom_path=paths)).set_index("shortcut")
    assert found.loc["header: KVP", "auc"] == 1
    assert "header: Modality" not in found.index  # one value tells nothing
    assert found.loc["header: SOPInstanceUID", "auc"] == 0.5  # unique values: never seen before


def test_each_class_is_told_from_the_rest(studies):
    """Two of three classes look alike; the third comes from a site of its own."""
    kinds = ["normal", "covid", "pneumonia"]
    three = studies.assign(
        label=[kinds[i % 3] for i in range(80)],
        site=["own" if i % 3 == 1 else "shared" for i in range(80)],
    )
    found = audit_shortcuts(three, folds=3)
    site = found[found["shortcut"] == "column: site"].set_index("class")
    assert set(site.index) == set(kinds)
    assert site.loc["covid", "auc"] == 1
    assert (site.loc[["normal", "pneumonia"], "auc"] < 0.9).all()
    assert found.iloc[0][["shortcut", "class"]].tolist() == ["column: site", "covid"]
    assert found["auc"].is_monotonic_decreasing


def test_columns_that_hold_the_label_are_left_out_and_named(studies):
    told = studies.assign(
        grade=[3 if v == "pneumonia" else i % 4 // 2 for i, v in enumerate(studies["label"])],
        said=studies["label"].str.upper(),
    )
    found = audit_shortcuts(told, exclude=["sex"], folds=2)
    assert found.attrs["left_out"].keys() == {"grade", "said", "pattern", "sex"}
    assert found.attrs["left_out"]["grade"] == "it holds the label"
    assert not {"column: grade", "column: said", "column: sex"} & set(found["shortcut"])
    assert "column: site" in set(found["shortcut"])  # a hospital is a shortcut, not the label
    with pytest.raises(StudyTableError, match=r"missing column\(s\) colour"):
        audit_shortcuts(studies, exclude=["colour"])


def test_one_class_or_too_many_folds_is_refused(studies):
    with pytest.raises(StudyTableError, match="one class only"):
        audit_shortcuts(studies[studies["label"] == "normal"])
    with pytest.raises(StudyTableError, match="folds=50"):
        audit_shortcuts(studies, folds=50)
    with pytest.raises(StudyTableError, match=r"missing column\(s\) patient_id"):
        audit_shortcuts(studies.drop(columns="patient_id"))

"""Heads with one of three tumours or none: the plan, where tumours lie, and the written files."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simulate import brain
from simulate.errors import SimulationError
from simulate.mr_volume import head_volume, load_head
from simulate.tumours import SELLA

from medimg import datasets, images


@pytest.fixture(scope="module")
def table():
    return brain.plan(20, seed=2026)


@pytest.fixture(scope="module")
def head():
    pytest.importorskip("nilearn")
    return load_head()


def test_each_patient_has_one_split_one_label_and_three_or_four_slices(table):
    people = table.groupby("patient_id")
    assert len(people) == 80
    assert people[["split", "label"]].nunique().eq(1).all(axis=None)
    assert set(people.size()) == {3, 4}
    assert set(table["split"]) == {"train", "val", "test"}


def test_nothing_but_the_tumour_goes_with_the_label(table):
    people = table.drop_duplicates("patient_id")
    dealt = ["slices", "middle_mm", "age", "gain", "pixel", "noise", "contrast", "fat", "pitch"]
    means = people.groupby("label")[dealt].mean()
    spread = people[dealt].std()
    assert ((means.max() - means.min()) < 0.1 * spread).all()


@pytest.mark.parametrize("label", brain.LABELS)
def test_a_tumour_lies_where_its_kind_grows(head, table, label):
    for row in table[table["label"] == label].drop_duplicates("patient_id")[:3].to_dict("records"):
        scan = brain.draw_scan(head, row, 2026)
        stored, mask = brain.scan_slice(head, scan, scan.height)
        assert stored.shape == mask.shape == (brain.SIDE, brain.SIDE)
        assert stored.max() <= 4095
        assert mask.any() == (label != "notumor")
        if label == "notumor":
            continue
        depth = head.depth_at(scan.points(head, scan.height))
        aside = np.linalg.norm(np.subtract(scan.tumour.centre, SELLA)[1:])
        assert (aside < 8) == (label == "pituitary")
        if label != "pituitary":  # a meningioma reaches the surface; a glioma's centre is deep
            assert (depth[mask].max() > -1) >= (label == "meningioma")


def test_the_written_set_is_the_same_every_time_and_its_volume_is_read_alike(tmp_path):
    axis = np.linspace(-1, 1, 60, dtype=np.float32)
    ball = sum(np.meshgrid(axis**2, axis**2, axis**2, indexing="ij")) < 0.9
    grid = np.zeros((189, 233, 197), np.float32)
    grid[20:140, 56:176, 38:158] = np.kron(ball, np.ones((2, 2, 2)))
    small = head_volume(0.8 * grid, 0.3 * grid, 0.7 * grid)
    first, again = (brain.make_sample(tmp_path / n, patients=1, head=small) for n in ("a", "b"))
    pd.testing.assert_frame_equal(first, again)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    for row in first.to_dict("records"):
        with Image.open(tmp_path / "a" / "brain" / row["path"]) as picture:
            assert (picture.mode, picture.size) == ("L", (brain.SIDE, brain.SIDE))
        assert (row["mask_path"] != "") == (row["label"] != "notumor") == (row["area_cm2"] > 0)
    folder = tmp_path / "a" / "brain" / "volume"
    nifti, dicom = (images.read_series(folder / name) for name in ("head.nii.gz", "dicom"))
    np.testing.assert_array_equal(nifti.values, dicom.values)
    np.testing.assert_allclose(nifti.spacing, dicom.spacing, rtol=1e-5)
    np.testing.assert_allclose(nifti.places, dicom.places, atol=1e-4)


def test_the_committed_set_is_split_by_patient_and_has_a_mask_for_each_tumour():
    studies = datasets.load("sample_brain")
    assert studies.groupby("patient_id")["split"].nunique().max() == 1
    assert ((studies["mask_path"] != "") == (studies["label"] != "notumor")).all()
    assert datasets.class_names(studies)[0] == "notumor"


@pytest.mark.parametrize("wrong", [{"patients": 0}, {"seed": -1}])
def test_impossible_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(SimulationError):
        brain.make_sample(tmp_path, **wrong)

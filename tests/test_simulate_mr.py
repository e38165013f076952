"""The MR sample: on a tiny made-up head, and as it lies in data/mr."""

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from simulate.crosssection import make_dicom
from simulate.errors import SimulationError
from simulate.mr import write_mr, write_mr_series
from simulate.mr_findings import Mass, distractors
from simulate.mr_image import SHAPE, acquire
from simulate.mr_task import simulate_mr
from simulate.mr_volume import HeadVolume, head_volume, load_head
from sklearn.metrics import roc_auc_score

DATA = Path(__file__).parents[1] / "data" / "mr"


@pytest.fixture(scope="module")
def head():
    """An egg of white matter (0.8) in a shell of grey (0.5): (160, 150, 130) before padding."""
    z, y, x = np.mgrid[:160, :150, :130].astype(np.float32)
    radius = np.sqrt(((z - 90) / 75) ** 2 + ((y - 75) / 70) ** 2 + ((x - 65) / 58) ** 2)
    white = (radius < 0.85).astype(np.float32)
    grey = ((radius >= 0.85) & (radius < 1)).astype(np.float32)
    depth = np.pad((radius - 1) * 65, ((0, 0), (24, 24), (24, 24)), mode="edge")
    pad = [np.pad(v, ((0, 0), (24, 24), (24, 24))) for v in (0.8 * white + 0.5 * grey, grey, white)]
    return HeadVolume(*pad, depth.astype(np.float32))


@pytest.fixture(scope="module")
def records(head):
    return list(simulate_mr(head, patients=1, seed=5))


@pytest.fixture
def mass():
    return Mass((0.0, 0.0, 0.0), 10.0, "ring-enhancing", 0.4, 0.3, 1.0, 1.6, 3)


@pytest.fixture
def points():
    y, x = np.mgrid[-30:31, -40:41].astype(np.float32)
    return np.stack([np.zeros_like(y), y, x])


def test_a_person_has_two_slices_of_either_label(records):
    assert sorted(r.row["label"] for r in records) == ["lesion"] * 2 + ["no_lesion"] * 2
    assert [r.row["image_id"] for r in records] == ["m001", "m002", "m003", "m004"]
    assert [r.mask.any() for r in records] == [r.row["label"] == "lesion" for r in records]
    assert all(r.pixels.shape == SHAPE and r.pixels.max() <= 4095 for r in records)


def test_a_mass_is_dark_with_a_bright_rim_and_leaves_far_tissue_alone(mass, points):
    white = np.full((61, 81), 0.9, np.float32)
    painted = mass.paint(np.full_like(white, 0.8), white, points)
    assert painted[30, 40] < 0.45
    inside = mass.inside(points)
    edge = inside & ~np.roll(inside, 3, axis=1)
    assert painted[edge].mean() > 0.6
    np.testing.assert_allclose(painted[0, 0], 0.8, atol=2e-3)


def test_oedema_darkens_white_matter_only(mass, points):
    flat = np.full((61, 81), 0.8, np.float32)
    beside = (mass.distance(points) > 1.2) & (mass.distance(points) < 1.4)
    in_white = mass.paint(flat, np.ones_like(flat), points)[beside].mean()
    in_grey = mass.paint(flat, np.zeros_like(flat), points)[beside].mean()
    assert in_white < 0.65 < 0.75 < in_grey


def test_tissue_is_pushed_away_from_a_mass(mass, points):
    moved = mass.displaced(points)
    distance = np.hypot(*points[1:])
    asked = np.hypot(*moved[1:])
    assert (asked <= distance).all()
    assert asked[30, 52] == pytest.approx(12 * (1 - 0.4 * np.exp(-((1.2 / 1.9) ** 2))), rel=1e-5)
    assert asked[0, 0] == pytest.approx(50, abs=0.1)


def test_noise_in_air_is_rician():
    rng = np.random.default_rng(0)
    air = np.zeros((300, 200), np.float32)
    where = np.zeros((3, 300, 200), np.float32)
    stored = acquire(air, where, 2000.0, 0.05, rng, rng)
    # Rayleigh: the mean of the magnitude of two normals is sqrt(pi / 2) deviations.
    assert stored.mean() == pytest.approx(2000 * 0.05 * np.sqrt(np.pi / 2), rel=0.01)


def test_distractors_do_not_depend_on_what_else_is_there(head):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    points = np.stack([np.full_like(y, 90.0), y, x])
    depth = head.depth_at(points)
    flat = np.full(SHAPE, 0.5, np.float32)
    one = distractors(flat, points, depth, np.random.default_rng(2))
    two = distractors(flat, points, depth, np.random.default_rng(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, flat)
    np.testing.assert_array_equal(flat, 0.5)


def test_depth_is_negative_inside_and_grows_by_a_millimetre_a_voxel():
    t1 = np.zeros((60, 50, 40), np.float32)
    t1[10:50, 10:40, 8:32] = 0.7
    built = head_volume(t1, t1, t1)
    assert built.t1.shape == (60, 98, 88)
    middle = built.depth[30, :, 44]
    assert middle[49] < -7
    assert middle[4] - middle[14] == pytest.approx(10, abs=0.01)


def test_the_file_says_simulated_and_where_it_comes_from(records):
    record = records[0]
    content = make_dicom(record.pixels, record.header, pydicom.uid.JPEGLSLossless)
    dataset = pydicom.dcmread(io.BytesIO(content))
    np.testing.assert_array_equal(dataset.pixel_array, record.pixels)
    for keyword in ("ImageComments", "PatientComments", "SeriesDescription", "PatientName"):
        assert "SIMULATED" in str(dataset[keyword].value)
    assert "ICBM152" in dataset.DerivationDescription


def test_writing_twice_changes_no_byte(head, tmp_path):
    for name in ("a", "b"):
        write_mr(tmp_path / name, head, patients=1, seed=7)
        write_mr_series(tmp_path / name, head, slices=2, seed=7)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 4 + 2 + 1 + 2
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("patients", [0, -3, 2.5, True])
def test_impossible_number_of_people(head, patients):
    with pytest.raises(SimulationError, match=r"patients is .* at least 1"):
        next(simulate_mr(head, patients=patients))


def test_negative_numbers(head, tmp_path):
    with pytest.raises(SimulationError, match="seed is -1"):
        next(simulate_mr(head, seed=-1))
    with pytest.raises(SimulationError, match="slices is 0"):
        write_mr_series(tmp_path, head, slices=0)


def test_maps_of_different_grids_and_an_empty_template():
    empty = np.zeros((4, 5, 6), np.float32)
    with pytest.raises(SimulationError, match="one and the same grid"):
        HeadVolume(empty, empty[1:], empty, empty)
    with pytest.raises(SimulationError, match="template is empty"):
        head_volume(empty, empty, empty)


def test_missing_nilearn_is_one_clear_error(monkeypatch):
    from importlib import metadata

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(SimulationError, match="pip install nilearn"):
        load_head()


@pytest.mark.skipif(
    not (find_spec("nilearn") and find_spec("nibabel")), reason="needs nilearn and nibabel"
)
def test_the_template_is_found_without_a_network():
    from simulate.mr_volume import _find, _read

    t1 = _read(_find("t1"))
    assert t1.shape == (189, 233, 197)
    assert (t1.min(), t1.max()) == (0, 1)
    assert t1[:, 150:].sum() < t1[:, :150].sum()


@pytest.mark.skipif(not DATA.is_dir(), reason="the sample is not here")
class TestSample:
    def test_tables_files_and_masks_agree(self):
        table = pd.read_csv(DATA / "studies.csv")
        assert len(table) == 100
        assert table.groupby("patient_id")["split"].nunique().max() == 1
        ill = table["label"] == "lesion"
        assert (table["mask_path"].notna() == ill).all()
        for row in table[ill].itertuples():
            assert np.asarray(Image.open(DATA / row.mask_path)).shape == SHAPE

    def test_every_header_says_simulated(self):
        files = sorted(DATA.rglob("*.dcm"))
        assert len(files) == 124
        for path in files:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            assert header.ImageComments.startswith("SIMULATED")

    def test_mean_and_deviation_do_not_tell_the_label(self):
        table = pd.read_csv(DATA / "studies.csv")
        images = [pydicom.dcmread(DATA / path).pixel_array for path in table["path"]]
        for statistic in (np.mean, np.std):
            area = roc_auc_score(table["label"] == "lesion", [statistic(i) for i in images])
            assert 0.35 <= area <= 0.65

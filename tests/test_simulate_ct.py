"""The CT sample: on a tiny made-up chest, and as it lies in data/ct."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from simulate import warps
from simulate.crosssection import corner, make_dicom, stable_uid
from simulate.ct import write_ct, write_ct_series
from simulate.ct_findings import LOBES, consolidation
from simulate.ct_task import simulate_ct
from simulate.ct_volume import ChestVolume, chest_volume
from simulate.errors import SimulationError
from simulate.files import write_file
from simulate.volume import LOBES as LABELS
from simulate.volume import CtScan
from sklearn.metrics import roc_auc_score

DATA = Path(__file__).parents[1] / "data" / "ct"


def make_chest():
    """Two lungs of -850 HU in a body of 40 HU; 22 planes of 66 x 70 pixels of 5.5 mm."""
    _, y, x = np.mgrid[:22, :66, :70].astype(np.float32)
    body = ((y - 32) / 26) ** 2 + ((x - 35) / 31) ** 2 < 1
    hu = np.where(body, 40.0, -1000.0).astype(np.float32)
    lobes = np.zeros(hu.shape, np.uint8)
    for side, labels in ((50, (1, 2)), (20, (3, 4, 5))):
        lung = ((y - 32) / 19) ** 2 + ((x - side) / 11) ** 2 < 1
        hu[lung] = -850
        for label, part in zip(labels, np.array_split(np.arange(22), len(labels)), strict=True):
            lobes[part] = np.where(lung[part], label, lobes[part])
    return ChestVolume(hu, lobes, (12.0, 5.5, 5.5))


@pytest.fixture(scope="module")
def chest():
    return make_chest()


@pytest.fixture(scope="module")
def records(chest):
    return list(simulate_ct(chest, patients=1, seed=5))


def test_a_patient_has_two_slices_of_either_label(records):
    assert sorted(r.row["label"] for r in records) == ["clear"] * 2 + ["consolidation"] * 2
    assert [r.row["image_id"] for r in records] == ["c001", "c002", "c003", "c004"]
    assert [r.mask.any() for r in records] == [r.row["label"] == "consolidation" for r in records]


def test_filled_lung_is_denser_than_the_lung_of_the_clear_slices(records):
    for record in records:
        hu = record.pixels.astype(float) - 1024
        if record.mask.any():
            lung = (hu < -700) & (hu > -980) & ~record.mask
            assert np.median(hu[record.mask]) > np.median(hu[lung]) + 150


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(chest, records):
    def content(record):
        return make_dicom(record.pixels, record.header, pydicom.uid.JPEG2000Lossless)

    again = next(iter(simulate_ct(chest, patients=1, seed=5)))
    other = next(iter(simulate_ct(chest, patients=1, seed=6)))
    assert content(again) == content(records[0]) != content(other)


def test_the_file_says_simulated_and_gives_back_hounsfield_units(records):
    record = records[0]
    content = make_dicom(record.pixels, record.header, pydicom.uid.JPEG2000Lossless)
    dataset = pydicom.dcmread(io.BytesIO(content))
    np.testing.assert_array_equal(dataset.pixel_array, record.pixels)
    assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (1, -1024)
    for keyword in ("ImageComments", "PatientComments", "SeriesDescription", "PatientName"):
        assert "SIMULATED" in str(dataset[keyword].value)
    assert "LIDC-IDRI-0001" in dataset.DerivationDescription


def test_consolidation_keeps_to_its_lobe(chest, rng):
    y, x = np.mgrid[:66, :70].astype(np.float32) * 5.5
    points = np.stack([np.full_like(y, 60.0), y, x])
    lobes = chest.lobes[5]
    for _ in range(5):
        opacity = consolidation(points, lobes, chest.hila(), rng)
        label = next(k for k, name in LOBES.items() if name == opacity.lobe)
        far = np.pad(lobes != label, 3)  # three pixels from the lobe the blurred edge has ended
        far = np.all(
            [np.roll(far, (i, j), (0, 1))[3:-3, 3:-3] for i in (-3, 0, 3) for j in (-3, 0, 3)],
            axis=0,
        )
        assert opacity.fill.max() > 0.3
        assert opacity.fill[far].max() < 0.02


def test_noise_is_the_same_function_of_space_for_the_same_generator():
    points = np.mgrid[:2, :40, :50].astype(np.float32)
    planes = [np.stack([np.full((40, 50), z, np.float32), *points[1:, 0]]) for z in (0, 1)]
    values = [warps.smooth_noise(p, 20.0, np.random.default_rng(1)) for p in planes]
    assert np.abs(values[1] - values[0]).max() < 0.5 < np.ptp(values[0])


def test_plane_is_centred_turned_and_stretched():
    grid = warps.plane((3, 5), 2.0, 0.0, (1.0, 0.5))
    np.testing.assert_allclose(grid[0, :, 0], [-2, 0, 2])
    np.testing.assert_allclose(grid[1, 0], [-8, -4, 0, 4, 8])
    turned = warps.plane((3, 5), 1.0, 90.0, (1.0, 1.0))
    np.testing.assert_allclose(turned[0, 0], [-2, -1, 0, 1, 2], atol=1e-6)


def test_volume_is_binned_turned_to_the_back_and_freed_of_the_table():
    hu = np.full((2, 60, 40), -1000, np.int16)
    hu[:, 10:50, 8:32] = 20
    hu[:, 10:12, 8:32] = [[[40], [60]]]
    hu[:, 2:4, 5:35] = 300  # a table in front of the first row: too thin to survive the opening
    labels = np.zeros(hu.shape, np.int16)
    for row, value in enumerate(LABELS.values()):
        labels[:, 20 + 4 * row : 24 + 4 * row, 12:28] = value
    volume = chest_volume(CtScan(hu, labels, (3.0, 0.5, 0.5)))
    assert volume.hu.shape == (2, 30, 20)
    assert volume.spacing == (3.0, 1.0, 1.0)
    assert volume.hu[0, 24, 10] == 50  # rows 10 and 11, counted from the other end
    assert volume.hu[0, 28].max() == -1000
    assert volume.lobes[0, 30 - 11, 10] == 1


@pytest.mark.parametrize("bin_by", [0, -2, 1.5])
def test_impossible_binning(bin_by):
    with pytest.raises(SimulationError, match=r"bin_by is .* at least 1"):
        chest_volume(CtScan(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), (1, 1, 1)), bin_by=bin_by)


def test_series_holds_means_of_two_planes_and_their_lobes(tmp_path):
    chest = make_chest()
    ramp = np.arange(22, dtype=np.float32)[:, None, None] * 10
    chest = ChestVolume(np.broadcast_to(ramp, chest.hu.shape).copy(), chest.lobes, chest.spacing)
    paths = write_ct_series(tmp_path, chest, slices=11)
    first, second = (pydicom.dcmread(path) for path in paths[:2])
    assert first.pixel_array[0, 0] + first.RescaleIntercept == 5
    assert second.pixel_array[0, 0] + second.RescaleIntercept == 25
    assert second.ImagePositionPatient[2] - first.ImagePositionPatient[2] == 24
    assert first.SliceThickness == 24
    lobes = np.load(tmp_path / "series_lobes.npz")["lobes"]
    np.testing.assert_array_equal(lobes, chest.lobes[1::2])


def test_writing_twice_changes_no_byte(chest, tmp_path):
    for name in ("a", "b"):
        table = write_ct(tmp_path / name, chest, patients=1, seed=7)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 4 + 2 + 1
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert list(table.columns[:5]) == ["image_id", "path", "label", "split", "patient_id"]
    assert all((tmp_path / "a" / path).is_file() for path in table["path"])


@pytest.mark.parametrize("patients", [0, -3, 2.5, True])
def test_impossible_number_of_patients(chest, patients):
    with pytest.raises(SimulationError, match=r"patients is .* at least 1"):
        next(simulate_ct(chest, patients=patients))


def test_negative_seed(chest):
    with pytest.raises(SimulationError, match="seed is -1"):
        next(simulate_ct(chest, seed=-1))


def test_too_many_slices(chest, tmp_path):
    with pytest.raises(SimulationError, match=r"12 slices .* at most 11"):
        write_ct_series(tmp_path, chest, slices=12)


def test_wrong_labels():
    chest = make_chest()
    with pytest.raises(SimulationError, match=r"lobe labels are \[0, 1, 2, 3, 5\]"):
        ChestVolume(chest.hu, np.where(chest.lobes == 4, 0, chest.lobes), chest.spacing)
    with pytest.raises(SimulationError, match="labels of this very volume"):
        ChestVolume(chest.hu, chest.lobes[1:], chest.spacing)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(SimulationError, match="cannot be written"):
        write_file(tmp_path / "file" / "a.dcm", b"")


def test_helpers():
    assert corner((4, 6), 2.0, 10.25) == [-5.0, -3.0, 10.25]
    assert len(stable_uid("ct", 1)) <= 64


@pytest.mark.skipif(not DATA.is_dir(), reason="the sample is not here")
class TestSample:
    def test_tables_files_and_masks_agree(self):
        table = pd.read_csv(DATA / "studies.csv")
        assert len(table) == 100
        assert table.groupby("patient_id")["split"].nunique().max() == 1
        assert table.groupby("patient_id")["label"].value_counts().unique().tolist() == [2]
        ill = table["label"] == "consolidation"
        assert (table["mask_path"].notna() == ill).all()
        for row in table[ill].itertuples():
            mask = np.asarray(Image.open(DATA / row.mask_path))
            assert set(np.unique(mask)) == {0, 255}
            assert mask.shape == (256, 256)

    def test_every_header_says_simulated(self):
        files = sorted(DATA.rglob("*.dcm"))
        assert len(files) == 160
        for path in files:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            assert header.ImageComments.startswith("SIMULATED")
            assert header.ContrastBolusAgent == "IODINE"

    def test_mean_and_deviation_do_not_tell_the_label(self):
        table = pd.read_csv(DATA / "studies.csv")
        images = [pydicom.dcmread(DATA / path).pixel_array for path in table["path"]]
        for statistic in (np.mean, np.std):
            area = roc_auc_score(table["label"] == "consolidation", [statistic(i) for i in images])
            assert 0.35 <= area <= 0.65

    def test_sizes(self):
        series = [*(DATA / "series").iterdir(), DATA / "series_lobes.npz"]
        assert sum(path.stat().st_size for path in series) <= 8e6
        both = [p for part in ("ct", "mr") for p in (DATA.parent / part).rglob("*") if p.is_file()]
        assert sum(path.stat().st_size for path in both) <= 15e6

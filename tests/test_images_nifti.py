"""NIfTI volumes against nibabel, DICOM series against SimpleITK: values and geometry."""

import gzip
import warnings

import nibabel
import numpy as np
import pytest
from dicom_files import make_dicom
from pydicom.uid import UID

from medimg.images import ImageReadError, is_image_file, read_image, read_series, read_values, scan

VALUES = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)  # (x, y, z) in RAS
AFFINE = np.array([[0.5, 0, 0, -10], [0, 2, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1.0]])


def save(path, values=VALUES, affine=AFFINE, cls=nibabel.Nifti1Image, slope=None, inter=None):
    image = cls(values, affine)
    image.header.set_slope_inter(slope, inter)
    data = image.to_bytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "odd name"])
@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_volume_lies_as_axial_dicom_does(tmp_path, name, cls):
    volume = read_series(save(tmp_path / name, cls=cls))
    # Slices from the feet up, rows from front to back, columns from right to left.
    np.testing.assert_array_equal(volume.values, VALUES[::-1, ::-1].transpose(2, 1, 0))
    assert volume.values.dtype == np.float32
    assert volume.spacing == (3, 2, 0.5)
    assert volume.orientation == (1, 0, 0, 0, 1, 0)
    # The first voxel is x = 1, y = 2, z = 0: (-9.5, 24, -30) in RAS, mirrored in x and y.
    assert volume.origin == (9.5, -24, -30)
    assert volume.places.tolist() == [-30, -27, -24, -21]


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ILA"])
def test_order_of_the_axes_does_not_matter(tmp_path, codes):
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(image.as_reoriented(turn), tmp_path / "turned.nii.gz")
    volume = read_series(tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(volume.values, VALUES[::-1, ::-1].transpose(2, 1, 0))
    assert volume.spacing == (3, 2, 0.5)
    assert volume.origin == (9.5, -24, -30)


def test_oblique_volume_is_placed_as_nibabel_places_it(tmp_path):
    turned = AFFINE.copy()
    c, s = np.cos(0.3), np.sin(0.3)
    turned[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ AFFINE[:3, :3]
    volume = read_series(save(tmp_path / "a.nii", affine=turned))
    row, column = np.array(volume.orientation[:3]), np.array(volume.orientation[3:])
    along = np.cross(row, column)
    for k, j, i in ((0, 0, 0), (3, 2, 1), (1, 0, 1)):
        mm = np.array(volume.origin) + i * 0.5 * row + j * 2 * column + k * 3 * along
        stored = np.argwhere(volume.values[k, j, i] == VALUES)[0]
        expected = nibabel.affines.apply_affine(turned, stored) * [-1, -1, 1]
        np.testing.assert_allclose(mm, expected, atol=1e-5)


def test_slope_and_intercept_are_applied_as_nibabel_does(tmp_path):
    path = save(tmp_path / "a.nii.gz", VALUES.astype(np.float64) / 7, slope=0.25, inter=-7)
    expected = nibabel.load(path).get_fdata()
    np.testing.assert_allclose(
        read_series(path).values, expected[::-1, ::-1].transpose(2, 1, 0), atol=1e-6
    )


def test_header_scale_reaches_the_values(tmp_path):
    data = bytearray(nibabel.Nifti1Image(VALUES, AFFINE).to_bytes())
    data[112:120] = np.array([0.25, -7], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "a.nii").write_bytes(data)
    expected = VALUES[::-1, ::-1, 1].T * 0.25 - 7
    np.testing.assert_array_equal(read_values(tmp_path / "a.nii", frame=1), expected)


def test_slices_are_read_and_the_middle_one_is_the_default(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    plane = VALUES[::-1, ::-1, 2].T.astype(float)
    np.testing.assert_array_equal(read_values(path), plane)
    full = (plane - plane.min()) / np.ptp(plane)
    np.testing.assert_allclose(read_image(path, window="full"), full, atol=1e-6)
    middle = np.clip((plane - 10) / 10 + 0.5, 0, 1)
    np.testing.assert_allclose(read_image(path, window=(10.5, 11)), middle, atol=1e-6)
    low, high = np.percentile(plane, (1, 99))
    shown = np.clip((plane - low) / (high - low), 0, 1)
    np.testing.assert_allclose(read_image(path), shown, atol=1e-6)
    assert read_image(path, frame=0, colour=True).shape == (3, 2, 3)
    with pytest.raises(ImageReadError, match="no frame 4; choose one from 0 to 3"):
        read_image(path, frame=4)


def test_four_axes_are_refused_with_words(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.zeros((2, 3, 4, 5), np.int16))
    for read in (read_image, read_values, read_series):
        with pytest.raises(ImageReadError, match=r"4 axes \(2 x 3 x 4 x 5\).*four_to_three"):
            read(path)
    assert read_series(save(path, VALUES[..., None])).values.shape == (4, 3, 2)  # a fourth of one


def test_colours_pairs_and_cut_files_are_refused(tmp_path):
    rgb = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(ImageReadError, match="colours or complex numbers"):
        read_image(save(tmp_path / "a.nii", rgb))
    whole = save(tmp_path / "b.nii").read_bytes()
    (tmp_path / "b.nii").write_bytes(whole[:-1])
    with pytest.raises(ImageReadError, match="cut short"):
        read_image(tmp_path / "b.nii")
    packed = save(tmp_path / "c.nii.gz").read_bytes()
    (tmp_path / "c.nii.gz").write_bytes(packed[:-20])
    with pytest.raises(ImageReadError, match="cut short"):
        read_image(tmp_path / "c.nii.gz")
    (tmp_path / "d.hdr").write_bytes(whole[:344] + b"ni1\0")
    with pytest.raises(ImageReadError, match="half of a NIfTI pair"):
        read_image(tmp_path / "d.hdr")


def test_scan_lists_volumes_and_their_copies(tmp_path):
    save(tmp_path / "a.nii")
    save(tmp_path / "b.nii.gz")
    save(tmp_path / "c.nii.gz", VALUES + np.int16(1))
    (tmp_path / "d.gz").write_bytes(gzip.compress(b"text" * 200))
    table = scan(tmp_path, progress=False)
    assert table["kind"].tolist() == ["NIfTI", "NIfTI", "NIfTI", ""]
    assert table["readable"].tolist() == [True, True, True, False]
    assert table.loc[0, ["rows", "columns", "frames"]].tolist() == [3, 2, 4]
    assert table["duplicate_of"].tolist() == ["", str(tmp_path / "a.nii"), "", ""]
    assert is_image_file(tmp_path / "b.nii.gz")
    assert not is_image_file(tmp_path / "d.gz")
    with pytest.raises(
        ImageReadError,
        match=r"several series are mixed; .*a.nii NIfTI: 4 slices; b.nii.gz NIfTI: 4",
    ):
        read_series(tmp_path)


def test_dicom_series_agrees_with_simpleitk(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    pixels = np.random.default_rng(0).integers(0, 4096, (4, 5, 6)).astype(np.uint16)
    for place, z in enumerate((9.0, 0.0, 3.0, 6.0)):
        make_dicom(
            tmp_path / f"{place}.dcm", pixels[place], Modality="CT", RescaleSlope=1,
            RescaleIntercept=-1024, SeriesInstanceUID=UID("1.2.3"), PixelSpacing=[0.7, 0.4],
            SOPInstanceUID=UID(f"1.2.3.{place + 1}"), StudyInstanceUID=UID("1.2"),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[-11, 12, z],
        )  # fmt: skip
    names = itk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    theirs = itk.ReadImage(names)
    ours = read_series(tmp_path)
    np.testing.assert_array_equal(ours.values, itk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.spacing[::-1], theirs.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(ours.origin, theirs.GetOrigin(), atol=1e-6)
    direction = np.array(theirs.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(ours.orientation, [*direction[:, 0], *direction[:, 1]], atol=1e-6)


def test_simpleitk_reads_the_same_geometry_from_nifti(tmp_path):
    itk = pytest.importorskip("SimpleITK")
    path = save(tmp_path / "a.nii.gz")
    theirs = itk.DICOMOrient(itk.ReadImage(str(path)), "LPS")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = read_series(path)
    np.testing.assert_array_equal(ours.values, itk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.origin, theirs.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(ours.spacing[::-1], theirs.GetSpacing(), atol=1e-6)


def test_voxels_that_are_no_number_are_black(tmp_path):
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    values[:, 0, 2] = np.nan, np.inf
    path = save(tmp_path / "a.nii", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    for window in (None, "full", (5, 10)):
        image = read_image(path, window=window)
        assert image[0].tolist() == [0, 1]
        assert np.isfinite(image).all()

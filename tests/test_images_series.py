"""Series in space, and resizing."""

import numpy as np
import pytest
from dicom_files import item, make_dicom

from medimg.images import ImageReadError, apply_window, read_series, resize

AXIAL = [1, 0, 0, 0, 1, 0]


def add_slice(folder, name, z, *, value=None, **tags):
    tags = {
        "Modality": "CT", "SeriesInstanceUID": "1.2.3", "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [0, 0, z], "PixelSpacing": [2, 0.5], "RescaleSlope": 1,
        "RescaleIntercept": -100,
    } | tags  # fmt: skip
    pixels = np.full((3, 4), 100 + z if value is None else value, np.uint16)
    return make_dicom(folder / name, pixels, **tags)


def test_slices_are_sorted_by_position_not_by_name_or_number(tmp_path):
    for name, z in (("a", 20), ("b", 0), ("c", 10)):
        add_slice(tmp_path, name, z, InstanceNumber=ord(name))
    (tmp_path / "notes.txt").write_text("not a slice", encoding="utf-8")
    volume = read_series(tmp_path)
    assert volume.values[:, 0, 0].tolist() == [0, 10, 20]
    assert volume.spacing == (10, 2, 0.5)
    assert [path.name for path in volume.files] == ["b", "c", "a"]


def test_normal_of_a_coronal_series_points_along_its_own_axis(tmp_path):
    for name, y in (("a", 5), ("b", 7)):
        add_slice(tmp_path, name, y, ImagePositionPatient=[1, y, 2],
                  ImageOrientationPatient=[1, 0, 0, 0, 0, -1])  # fmt: skip
    volume = read_series(tmp_path)
    # row x column = (1, 0, 0) x (0, 0, -1) = (0, 1, 0): y grows along the normal
    assert volume.values[:, 0, 0].tolist() == [5, 7]
    assert volume.places.tolist() == [5, 7]


def test_missing_slices_are_named(tmp_path, caplog):
    for z in (0, 2, 4, 8, 10):
        add_slice(tmp_path, f"{z:02}", z)
    read_series(tmp_path)
    assert "2.00 to 4.00 mm apart, the most after 04 frame 0: some are missing" in caplog.text


def test_two_slices_at_one_place_are_refused(tmp_path):
    for name, z in (("a", 0), ("b", 2), ("c", 2)):
        add_slice(tmp_path, name, z)
    with pytest.raises(ImageReadError, match=r"same place .b frame 0 and c frame 0"):
        read_series(tmp_path)


def test_mixed_series_are_named(tmp_path):
    for name, z, uid in (("a", 0, "1.2.3"), ("b", 2, "1.2.3"), ("c", 4, "1.2.9")):
        add_slice(tmp_path, name, z, SeriesInstanceUID=uid)
    with pytest.raises(ImageReadError, match=r"1.2.3 CT: 2 slices; 1.2.9 CT: 1 slices"):
        read_series(tmp_path)


def test_localiser_among_the_slices_is_named(tmp_path):
    for z in (0, 2, 4):
        add_slice(tmp_path, f"{z}", z)
    add_slice(tmp_path, "scout", 1, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    with pytest.raises(ImageReadError, match=r"another orientation .*: scout"):
        read_series(tmp_path)


def test_slices_of_other_size_are_named(tmp_path):
    add_slice(tmp_path, "a", 0)
    add_slice(tmp_path, "b", 2)
    add_slice(tmp_path, "odd", 4, PixelSpacing=[1, 1])
    with pytest.raises(ImageReadError, match=r"another spacing .*: odd"):
        read_series(tmp_path)


def test_folder_without_slices_is_refused(tmp_path):
    with pytest.raises(ImageReadError, match="there is no DICOM or NIfTI image in it"):
        read_series(tmp_path)
    make_dicom(tmp_path / "a", np.zeros((3, 4), np.uint8))
    with pytest.raises(ImageReadError, match="it does not say where its slices lie"):
        read_series(tmp_path)
    with pytest.raises(ImageReadError, match="it does not say where its slices lie"):
        read_series(tmp_path / "a")
    with pytest.raises(ImageReadError, match="there is no such file"):
        read_series(tmp_path / "b")


def test_enhanced_file_counts_frame_by_frame(tmp_path):
    def groups(z):
        return item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])])

    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=AXIAL)],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    frames = np.array([9, 4], np.uint8)[:, None, None] * np.ones((2, 3, 4), np.uint8)
    make_dicom(
        tmp_path / "x", frames, Modality="MR", SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=[groups(3), groups(1.5)],
    )  # fmt: skip
    volume = read_series(tmp_path)
    assert volume.values[:, 0, 0].tolist() == [4, 9]
    assert volume.spacing[0] == 1.5


def test_resize_averages_what_a_pixel_covers():
    image = np.array([[0, 2, 4, 6], [0, 2, 4, 6], [8, 8, 0, 0], [8, 8, 0, 0]], np.float32)
    assert resize(image, 2).tolist() == [[1, 5], [8, 0]]


def test_resize_stretches_or_pads():
    image = np.ones((2, 4), np.float32)
    assert resize(image, 4).tolist() == np.ones((4, 4)).tolist()
    assert resize(image, 4, keep_aspect=True).tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]


def test_resize_keeps_colour_and_refuses_what_is_no_image():
    assert resize(np.ones((5, 3, 3)), 2).shape == (2, 2, 3)
    with pytest.raises(ImageReadError, match=r"not \(2, 3, 4, 5\)"):
        resize(np.ones((2, 3, 4, 5)), 2)
    with pytest.raises(ImageReadError, match="at least one pixel"):
        resize(np.ones((2, 3)), 0)


@pytest.mark.parametrize(
    ("function", "expected"),
    [("LINEAR", [0, 0, 0.5, 1, 1]), ("LINEAR_EXACT", [0, 0.125, 0.625, 1, 1])],
)
def test_windows_follow_the_standard(function, expected):
    # Centre 2.5, width 4: LINEAR runs from 2 - 1.5 to 2 + 1.5, LINEAR_EXACT from 0.5 to 4.5.
    values = [0, 1, 3, 5, 9] if function == "LINEAR_EXACT" else [0, 0.5, 2, 3.5, 9]
    assert apply_window(values, 2.5, 4, function=function).tolist() == expected


@pytest.mark.parametrize(
    ("width", "function"), [(0, "LINEAR"), (0.5, "LINEAR"), (0, "SIGMOID"), (np.nan, "LINEAR")]
)
def test_window_that_shows_nothing_is_refused(width, function):
    with pytest.raises(ImageReadError, match="shows nothing"):
        apply_window([1], 1, width, function=function)


def test_unknown_window_function_is_refused():
    with pytest.raises(ImageReadError, match=r"a CUBIC window .* give one of LINEAR"):
        apply_window([1], 1, 2, function="CUBIC")

"""Kinds of trouble that public files and bug reports showed, each with the right value."""

import io
import warnings
from pathlib import Path

import bombs
import imagecodecs
import numpy as np
import pytest
from dicom_files import make_dicom
from PIL import Image
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
)

from medimg import storage
from medimg.images import (
    ImageReadError,
    ImageWarning,
    decode,
    read_image,
    read_series,
    read_values,
    scan,
)

WORDS = (np.arange(16 * 24).reshape(16, 24) * 9).astype(np.uint16)
RGB = np.zeros((16, 24, 3), np.uint8) + np.array([200, 30, 60], np.uint8)


def j2k(pixels, **options):
    return imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", **options)


# What the stream says counts more than what the header says.


@pytest.mark.parametrize("low", [-32768, -2000, -1])
def test_signed_jpeg_2000_keeps_its_sign_under_an_unsigned_header(tmp_path, low):
    signed = (WORDS.astype(np.int32) + low).astype(np.int16)
    path = make_dicom(tmp_path / "x", WORDS, syntax=JPEG2000Lossless, frames=[j2k(signed)])
    np.testing.assert_array_equal(read_values(path), signed)
    image = read_image(path)
    assert (image.min(), image.max()) == (0, 1)


def test_unsigned_jpeg_2000_keeps_its_values(tmp_path):
    high = WORDS + np.uint16(60000)
    path = make_dicom(tmp_path / "x", high, syntax=JPEG2000Lossless, frames=[j2k(high)])
    np.testing.assert_array_equal(read_values(path), high)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT", "RGB"])
def test_transformed_colour_is_not_converted_twice(tmp_path, photometric):
    frame = j2k(RGB, mct=True)
    path = make_dicom(tmp_path / "x", RGB, syntax=JPEG2000Lossless, frames=[frame],
                      PhotometricInterpretation=photometric)  # fmt: skip
    np.testing.assert_allclose(read_image(path, colour=True), RGB / 255, atol=1e-6)


def test_untransformed_colour_is_what_the_header_says(tmp_path):
    ybr = np.zeros((16, 24, 3), np.uint8) + np.array([76, 85, 255], np.uint8)  # pure red
    path = make_dicom(tmp_path / "x", ybr, syntax=JPEG2000Lossless, frames=[j2k(ybr, mct=False)],
                      PhotometricInterpretation="YBR_FULL")  # fmt: skip
    expected = np.broadcast_to(np.array([254, 0, 0]) / 255, RGB.shape)
    np.testing.assert_allclose(read_image(path, colour=True), expected, atol=1e-6)


def test_supplemental_palette_is_named(tmp_path):
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 200, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = bytes(4)
    path = make_dicom(tmp_path / "x", WORDS, **tags)
    with pytest.warns(ImageWarning, match="supplemental palette"):
        image = read_image(path)
    np.testing.assert_allclose(image, WORDS / WORDS.max(), atol=1e-6)


# Bytes after a whole stream, and a second decoder.

TAILS = [b"\0", b"\0" * 500, b"\xff" * 9, b"vendor's trailer " * 40]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGBaseline8Bit, lambda grey: imagecodecs.jpeg8_encode(grey, level=100)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEG2000Lossless, j2k),
    ],
)
def test_bytes_after_a_whole_stream_do_no_harm(tmp_path, syntax, encode, tail):
    grey = (WORDS // 16).astype(np.uint8)
    stream = encode(grey)
    clean = make_dicom(tmp_path / "clean", grey, syntax=syntax, frames=[stream])
    longer = make_dicom(tmp_path / "longer", grey, syntax=syntax, frames=[stream + tail])
    np.testing.assert_array_equal(read_values(longer), read_values(clean))
    np.testing.assert_allclose(read_values(clean), grey, atol=3)


@pytest.mark.parametrize(
    ("codec", "syntax", "encode"),
    [
        ("JPEG", JPEGBaseline8Bit, lambda grey: imagecodecs.jpeg8_encode(grey, level=100)),
        ("JPEG-LS", JPEGLSLossless, imagecodecs.jpegls_encode),
        ("JPEG 2000", JPEG2000Lossless, j2k),
    ],
)
def test_second_decoder_reads_what_the_first_cannot(tmp_path, monkeypatch, codec, syntax, encode):
    def fails(*_, **__):
        raise RuntimeError(codec)

    grey = (WORDS // 16).astype(np.uint8) if codec == "JPEG" else WORDS
    stream = encode(grey)
    path = make_dicom(tmp_path / "x", grey, syntax=syntax, frames=[stream])
    expected = read_values(path)
    monkeypatch.setitem(decode._DECODERS, codec, (fails, decode._DECODERS[codec][1]))
    np.testing.assert_array_equal(read_values(path), expected)
    np.testing.assert_allclose(expected, grey, atol=3 if codec == "JPEG" else 0)
    make_dicom(path, grey, syntax=syntax, frames=[stream[: len(stream) // 2]])
    with pytest.raises(ImageReadError, match=r"cut short|damaged"):
        read_image(path)


def test_second_decoder_does_not_guess_at_colour(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError

    with_jfif = io.BytesIO()
    Image.fromarray(RGB).save(with_jfif, "JPEG", quality=95, subsampling=0)
    stream = with_jfif.getvalue()
    bare = stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]
    monkeypatch.setitem(decode._DECODERS, "JPEG", (fails, decode._DECODERS["JPEG"][1]))
    path = make_dicom(tmp_path / "x", RGB, syntax=JPEGBaseline8Bit, frames=[stream])
    np.testing.assert_allclose(read_image(path, colour=True), RGB / 255, atol=2 / 255)
    make_dicom(path, RGB, syntax=JPEGBaseline8Bit, frames=[bare])
    with pytest.raises(ImageReadError, match="damaged"):
        read_image(path)


# The range of a picture.


def save(path, samples, kind="PNG"):
    Image.fromarray(samples).save(path, kind)
    return path


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_twelve_bits_in_sixteen_are_named_and_stretched_on_request(tmp_path, kind):
    twelve = np.linspace(0, 4095, 300).astype(np.uint16).reshape(15, 20)
    path = save(tmp_path / "x", twelve, kind)
    with pytest.warns(ImageWarning, match=r"from 0 to 4095, .* 0 to 65535 .*window=\"full\""):
        image = read_image(path)
    np.testing.assert_allclose(image, twelve / 65535, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_image(path, window="full"), twelve / 4095, atol=1e-6)


def test_flat_picture_far_from_black_is_named_too(tmp_path):
    flat = (np.arange(300).reshape(15, 20) + 30000).astype(np.uint16)
    with pytest.warns(ImageWarning, match="from 30000 to 30299"):
        read_image(save(tmp_path / "x", flat))
    full = read_image(tmp_path / "x", window="full")
    np.testing.assert_allclose(full, (flat - 30000.0) / 299, atol=1e-6)


@pytest.mark.parametrize("high", [17000, 40000, 65535])
def test_picture_that_uses_its_range_is_not_warned_of(tmp_path, high):
    path = save(tmp_path / "x", np.linspace(0, high, 300).astype(np.uint16).reshape(15, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)


def test_full_range_of_dicom_passes_over_its_window_and_of_colour_keeps_the_hue(tmp_path):
    path = make_dicom(tmp_path / "x", WORDS, WindowCenter=100, WindowWidth=50)
    np.testing.assert_allclose(read_image(path, window="full"), WORDS / WORDS.max(), atol=1e-6)
    dark = save(tmp_path / "y", RGB // 10)  # 20, 3, 6
    with pytest.warns(ImageWarning, match="from 3 to 20"):
        read_image(dark, colour=True)
    shown = read_image(dark, colour=True, window="full")
    np.testing.assert_allclose(shown[0, 0], [1, 0, 3 / 17], atol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("grey", [True, False])
def test_colour_is_three_channels_of_float_for_every_file(tmp_path, kind, grey):
    path = save(tmp_path / "x", RGB[..., 0] + np.arange(24, dtype=np.uint8) if grey else RGB, kind)
    image = read_image(path, colour=True)
    assert (image.shape, image.dtype, image.flags["C_CONTIGUOUS"]) == ((16, 24, 3), "f4", True)
    assert (np.ptp(image, axis=-1) == 0).all() == grey


# Objects that are no series of slices, and series of an unusual kind.


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "RT Dose Storage"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage"),
    ],
)
def test_object_with_rows_and_without_pixels_is_not_called_cut_short(tmp_path, uid, name):
    path = make_dicom(tmp_path / "x", SOPClassUID=uid, Rows=1, Columns=1)
    with pytest.raises(ImageReadError, match=f"{name}, and holds no image"):
        read_image(path)


def add_slices(folder, places, **tags):
    for at, z in enumerate(places):
        make_dicom(
            folder / f"{at:02}", np.full((3, 4), 100 + at, np.uint16), Modality="CT",
            SeriesInstanceUID="1.2.3", PixelSpacing=[2, 0.5],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient=[0, 0, z],
            **{keyword: values[at] for keyword, values in tags.items()},
        )  # fmt: skip


def test_zones_of_other_distance_are_not_called_gaps(tmp_path, caplog):
    places = np.cumsum([0, *[4] * 14, *[7] * 13]).tolist()  # thin at the base of the skull
    add_slices(tmp_path, places)
    volume = read_series(tmp_path)
    assert "4.00 to 7.00 mm apart, the most after 14 frame 0: some are missing, or" in caplog.text
    assert volume.places.tolist() == places


def test_mosaic_is_explained(tmp_path):
    add_slices(tmp_path, [0], ImageType=[["ORIGINAL", "PRIMARY", "M", "MOSAIC"]])
    with pytest.raises(ImageReadError, match=r"a Siemens mosaic.*dcm2niix"):
        read_series(tmp_path)
    assert read_image(tmp_path / "00").shape == (3, 4)


def test_dose_lies_at_its_offsets(tmp_path):
    frames = np.stack([np.full((3, 4), value, np.uint16) for value in (5, 6, 7)])
    make_dicom(
        tmp_path / "x", frames, Modality="RTDOSE", DoseGridScaling=0.5, PixelSpacing=[2, 0.5],
        GridFrameOffsetVector=[0, 3, 6], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        ImagePositionPatient=[1, 2, -9],
    )  # fmt: skip
    volume = read_series(tmp_path / "x")
    assert volume.values[:, 0, 0].tolist() == [2.5, 3, 3.5]
    assert (volume.places.tolist(), volume.spacing) == ([-9, -6, -3], (3, 2, 0.5))


# Limits.


def test_no_small_file_takes_much_time_or_memory(tmp_path):
    found = bombs.costs(tmp_path)
    # Twice the aim of 2 s, for slow machines.
    dear = {name: cost for name, cost in found if cost["seconds"] > 4 or cost["megabytes"] > 1024}
    assert not dear


def test_hash_of_a_file_of_many_frames_tells_files_apart(tmp_path):
    tags = {"NumberOfFrames": 2**17, "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    one = np.zeros((1, 1), np.uint8)
    for name, last in (("a", 0), ("b", 1), ("c", 0)):
        make_dicom(tmp_path / name, one, data=bytes(2**14 - 1) + bytes([last]), **tags)
    table = scan(tmp_path, progress=False)
    assert table["frames"].tolist() == [2**17] * 3
    assert table["duplicate_of"].tolist() == ["", "", str(tmp_path / "a")]


def test_folder_that_cannot_be_listed_is_named_by_the_scan(tmp_path, monkeypatch, caplog):
    make_dicom(tmp_path / "b", WORDS)
    shut = tmp_path / "a" / "shut"
    found = storage.FoundFiles((tmp_path / "b",), (shut,), (), ((shut, "Permission denied"),))
    monkeypatch.setattr("medimg.images.folders.walk_files", lambda *_, **__: found)
    assert scan(tmp_path, progress=False)["path"].tolist() == [str(tmp_path / "b")]
    assert f"{shut}: this folder cannot be listed (Permission denied)" in caplog.text


def test_order_of_files_heeds_case_on_every_system(tmp_path):
    for name in ("b", "C", "a"):
        make_dicom(tmp_path / f"{name}.dcm", WORDS)
    assert [Path(path).stem for path in scan(tmp_path, progress=False)["path"]] == ["C", "a", "b"]

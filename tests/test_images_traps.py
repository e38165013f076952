"""Files made to be misread: each once gave a wrong picture here, or does so in other readers."""

import os
import struct
import time

import imagecodecs
import numpy as np
import pytest
from dicom_files import item, lut_item, make_dicom
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.uid import ExplicitVRBigEndian, HTJ2KLossless, JPEG2000Lossless, JPEGLSLossless

from medimg.__main__ import main
from medimg.images import ImageReadError, read_image, read_series, read_values, scan
from medimg.tables import read_table

RAMP = np.array([[0, 13107, 65535]], np.uint16)  # 0, a fifth, and all


@pytest.fixture
def target(tmp_path):
    return tmp_path / "image"


def shows(path, expected, **options):
    np.testing.assert_allclose(read_image(path, **options), expected, atol=1e-6)


# DICOM


def lut(vr, first, entries, bits):
    table = lut_item(0, entries, bits=bits)
    table[0x00283002] = DataElement(0x00283002, vr, [len(entries), first, bits])
    return table


def test_first_value_of_a_table_may_be_written_with_the_wrong_sign(target):
    signed = np.array([[-3, -2, -1, 0, 5]], np.int16)
    make_dicom(target, signed, ModalityLUTSequence=[lut("US", 65534, [7, 8, 500], 16)])
    assert read_values(target).tolist() == [[7, 7, 8, 500, 500]]
    unsigned = np.array([[0, 40000, 40001, 40002, 65535]], np.uint16)
    make_dicom(target, unsigned, VOILUTSequence=[lut("SS", 40000 - 65536, [0, 51, 255], 8)])
    shows(target, [[0, 0, 0.2, 1, 1]])


def test_table_from_below_zero_holds_for_values_above_it(target):
    entries = list(range(0, 256, 51))  # for -2 to 3
    make_dicom(target, np.array([[0, 1, 2]], np.uint8), VOILUTSequence=[lut("SS", -2, entries, 8)])
    shows(target, [[0.4, 0.6, 0.8]])


def test_voi_lut_then_inversion_once(target):
    make_dicom(
        target, np.array([[0, 1, 2]], np.uint8), VOILUTSequence=[lut_item(0, [0, 51, 255])],
        PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE",
    )  # fmt: skip
    shows(target, [[1, 0.8, 0]])


def test_negative_slope_padding_and_monochrome1_together(target):
    signed = np.array([[-2000, 0, 50, 100]], np.int16)
    make_dicom(
        target, signed, PixelPaddingValue=-2000, RescaleSlope=-1, RescaleIntercept=5,
        PhotometricInterpretation="MONOCHROME1", PixelRepresentation=1,
    )  # fmt: skip
    shows(target, [[0, 0, 0.5, 1]])  # 5, -45, -95 become 1, 0.5, 0, and are inverted


def test_palette_words_are_big_endian_in_a_big_endian_file(target):
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tags[f"{colour}PaletteColorLookupTableData"] = RAMP.astype(">u2").tobytes()
    make_dicom(target, np.array([[0, 1, 2]], np.uint8), syntax=ExplicitVRBigEndian, **tags)
    shows(target, [[0, 0.2, 1]])


@pytest.mark.parametrize("signed_stream", [False, True])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, JPEG2000Lossless])
def test_signed_values_survive_wavelets(target, syntax, signed_stream):
    signed = np.array([[-32768, -1, 0, 32767]] * 8, np.int16)
    stream = signed if signed_stream else signed.view(np.uint16)
    if syntax == HTJ2KLossless:
        frame = imagecodecs.htj2k_encode(stream, reversible=True)
    else:
        frame = imagecodecs.jpeg2k_encode(stream, level=0, reversible=True, codecformat="j2k")
    make_dicom(target, signed, syntax=syntax, frames=[frame])
    np.testing.assert_array_equal(read_values(target), signed)


def test_wavelet_colour_is_not_converted_twice(target):
    rgb = np.zeros((16, 24, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
    frame = imagecodecs.htj2k_encode(rgb, reversible=True)
    for photometric in ("YBR_RCT", "RGB"):
        make_dicom(
            target, rgb, syntax=HTJ2KLossless, frames=[frame],
            PhotometricInterpretation=photometric,
        )  # fmt: skip
        shows(target, rgb / 255, colour=True)


def test_many_frames_are_looked_up_once(tmp_path):
    frames = [imagecodecs.jpegls_encode(np.full((4, 4), n % 7, np.uint8)) for n in range(1500)]
    make_dicom(
        tmp_path / "x", np.zeros((1500, 4, 4), np.uint8), syntax=JPEGLSLossless, frames=frames
    )
    begun = time.process_time()
    assert scan(tmp_path, progress=False)["frames"].tolist() == [1500]
    assert time.process_time() - begun < 3  # it was 7 s when each frame walked the whole file


# TIFF, PNG and JPEG 2000


def tiff(path, data, size, tags):
    """Write a little-endian TIFF of one strip; `tags` of more than one value lie at its end."""
    rows, columns = size
    tags = {256: [columns], 257: [rows], 259: [1], 262: [1], 273: [8], 277: [1], 278: [rows],
            279: [len(data)]} | tags  # fmt: skip
    data += b"\0" * (len(data) % 2)
    entries, tail, after = b"", b"", 8 + len(data) + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        body = struct.pack(f"<{len(values)}H", *values)
        if len(body) > 4:
            tail, body = tail + body, struct.pack("<L", after + len(tail))
        entries += struct.pack("<HHL", tag, 3, len(values)) + body.ljust(4, b"\0")
    path.write_bytes(
        b"II*\0" + struct.pack("<L", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries
        + bytes(4) + tail
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("samples", "bits", "sample_format"),
    [
        (np.array([[-100, 0, 100]], np.int8), 8, 2),
        (np.array([[-300, 0, 300]], np.int16), 16, 2),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), 32, 1),
        (np.array([[-5, 0, 5]], np.float32), 32, 3),
    ],
)
def test_tiff_of_unusual_samples_is_refused(target, samples, bits, sample_format):
    tiff(target, samples.tobytes(), samples.shape, {258: [bits], 339: [sample_format]})
    with pytest.raises(ImageReadError, match=r"have a sign; save|not read here; save it as PNG"):
        read_image(target)


def test_tiff_whose_strips_do_not_cover_it_is_refused(target):
    tiff(target, bytes(range(6)), (2000, 3), {258: [8], 278: [2]})
    with pytest.raises(ImageReadError, match="lists the places of 6 of its 3 x 2000 pixels"):
        read_image(target)


def test_tiff_of_twelve_bits_is_as_bright_as_it_says(target):
    tiff(target, bytes([0x00, 0x0F, 0xFF]), (1, 2), {258: [12]})  # 0x000 and 0xFFF
    shows(target, [[0, 1]])


@pytest.mark.parametrize("planes", [1, 2])
def test_tiff_of_sixteen_bit_colour_is_refused(target, planes):
    tags = {258: [16] * 3, 262: [2], 277: [3], 284: [planes]}
    if planes == 2:  # one strip a plane, of which Pillow and libtiff need every offset
        tags |= {273: [8, 20, 32], 279: [12] * 3}
    tiff(target, bytes(36), (2, 3), tags)
    with pytest.raises(ImageReadError, match=r"not read here.*save it"):
        read_image(target)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: tiff(path, bytes(8), (1, 1), {258: [64], 339: [3]}),
        lambda path: tiff(path, bytes(10), (1, 2), {258: [8] * 5, 277: [5]}),
        lambda path: path.write_bytes(imagecodecs.jpegls_encode(np.zeros((8, 8), np.uint8))),
        lambda path: path.write_bytes(
            imagecodecs.jpeg8_encode(np.zeros((8, 8), np.uint16), bitspersample=12)
        ),
    ],
)
def test_kinds_that_are_not_read_are_refused_with_a_way_out(target, write):
    write(target)
    with pytest.raises(ImageReadError, match=r"not read here.*save it from another program"):
        read_image(target)


@pytest.mark.parametrize("space", ["CMYK", "YCCK"])
def test_ink_of_an_adobe_jpeg_is_stored_inverted(target, space):
    ink = np.zeros((8, 8, 4), np.uint8) + np.array([255, 255, 255, 100], np.uint8)
    target.write_bytes(imagecodecs.jpeg8_encode(ink, colorspace="CMYK", outcolorspace=space))
    assert b"Adobe" in target.read_bytes()
    np.testing.assert_allclose(read_image(target), 100 / 255, atol=1 / 255)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_frames_of_animations_are_chosen_and_told_apart(tmp_path, kind):
    first = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)

    def save(name, *others):
        more = [Image.fromarray(np.ascontiguousarray(other)) for other in others]
        Image.fromarray(first).save(tmp_path / name, kind, save_all=True, append_images=more)

    save("a", first[::-1])
    save("b", first[:, ::-1])
    shows(tmp_path / "a", first / 255)
    shows(tmp_path / "a", first[::-1] / 255, frame=1)
    table = scan(tmp_path, progress=False)
    assert table["frames"].tolist() == [2, 2]
    assert table["duplicate_of"].tolist() == ["", ""]  # only their first frames are the same


def test_orientation_of_jpeg_is_applied(target):
    grey = np.array([[0, 51, 102], [153, 204, 255]], np.uint8).repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(grey).save(target, "JPEG", exif=exif, quality=100)
    np.testing.assert_allclose(read_image(target), np.rot90(grey, -1) / 255, atol=2 / 255)


@pytest.mark.parametrize("kind", ["AVIF", "WEBP", "JPEG2000"])
def test_other_pictures_are_refused(target, kind):
    Image.new("L", (16, 16)).save(target, kind)
    with pytest.raises(ImageReadError, match="if it is a picture, save it as PNG"):
        read_image(target)


# folders


@pytest.mark.skipif(os.name != "posix", reason="needs pipes, links and names that are not UTF-8")
def test_scan_survives_pipes_links_and_strange_names(tmp_path):
    grey = np.array([[0, 51], [102, 255]], np.uint8)
    make_dicom(tmp_path / "a", grey, BurnedInAnnotation="YES")
    make_dicom(tmp_path / "c", grey, BurnedInAnnotation=None)
    (tmp_path / "b\udce9").write_bytes((tmp_path / "a").read_bytes())  # a name that is no UTF-8
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path)
    table = scan(tmp_path, progress=False)
    assert table["readable"].tolist() == [True, True, True, False, False]
    assert table["burned_in"].tolist() == ["YES", "YES", "", "", ""]
    assert table["duplicate_of"].tolist()[:3] == ["", str(tmp_path / "a"), str(tmp_path / "a")]
    assert "there is no such file" in table["reason"][3]
    assert "a device or pipe" in table["reason"][4]
    assert main(["scan", str(tmp_path), "--out", str(tmp_path / "out.csv")]) == 0
    # The byte that is not UTF-8 is written as Python shows it, and read back as it was.
    assert rb"b\udce9," in (tmp_path / "out.csv").read_bytes()
    assert read_table(tmp_path / "out.csv")["path"].tolist() == table["path"].tolist()


# series


def add_slice(folder, name, z, **tags):
    tags = {
        "Modality": "CT", "SeriesInstanceUID": "1.2.3", "ImagePositionPatient": [0, 0, z],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [2, 0.5],
    } | tags  # fmt: skip
    pixels = np.full((3, 4), 100 + z, np.uint16)
    kept = {keyword: value for keyword, value in tags.items() if value is not None}
    return make_dicom(folder / name, pixels, **kept)


def test_directions_need_not_be_of_unit_length_nor_quite_the_same(tmp_path):
    for z in (0, 1, 2):
        turn = 4.9e-4 + 2e-5 * z  # rounding to three digits would part the first from the others
        add_slice(
            tmp_path, f"{z}", z, ImageOrientationPatient=[2, 0, 0, 0, 2, 2 * turn],
            ImagePositionPatient=[0, 2000, z],
        )  # fmt: skip
    volume = read_series(tmp_path)
    assert volume.values[:, 0, 0].tolist() == [100, 101, 102]
    assert volume.spacing[0] == pytest.approx(1, abs=1e-3)


def test_directions_of_length_zero_are_no_place(tmp_path):
    add_slice(tmp_path, "a", 0, ImageOrientationPatient=[0] * 6)
    with pytest.raises(ImageReadError, match="it does not say where its slices lie"):
        read_series(tmp_path)


def test_damaged_and_unplaced_slices_are_named(tmp_path, caplog):
    for z in (0, 1, 2, 3):
        add_slice(tmp_path, f"{z}", z)
    (tmp_path / "2").write_bytes((tmp_path / "2").read_bytes()[:300])
    add_slice(tmp_path, "astray", 9, ImagePositionPatient=None)
    make_dicom(tmp_path / "report", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    assert len(read_series(tmp_path).values) == 3
    assert "2 file(s) are passed over" in caplog.text
    assert "lacks them: 2, astray" in caplog.text


def test_slice_beside_the_others_is_named(tmp_path, caplog):
    for z in range(6):
        add_slice(tmp_path, f"{z}", z, ImagePositionPatient=[0, 5 * (z == 2), z])
    read_series(tmp_path)
    assert "2 frame 0 lies 5.0 mm beside the line of the first" in caplog.text


def test_tilted_gantry_is_named(tmp_path, caplog):
    for z in range(4):
        add_slice(tmp_path, f"{z}", z, ImagePositionPatient=[0, 0.3 * z, z])
    read_series(tmp_path)
    assert "3 frame 0 lies 0.9 mm beside the line of the first: a tilted gantry" in caplog.text


def test_uneven_distances_are_warned_of(tmp_path, caplog):
    for at, z in enumerate((0, 1, 2, 3, 8, 13, 18, 23)):
        add_slice(tmp_path, f"{at}", z)
    read_series(tmp_path)
    assert "slices lie 1.00 to 5.00 mm apart" in caplog.text


def test_modalities_are_not_mixed(tmp_path):
    for z in (0, 1, 2):
        add_slice(tmp_path, f"{z}", z)
    add_slice(tmp_path, "odd", 3, Modality="MR")
    with pytest.raises(
        ImageReadError, match=r"several series are mixed.* CT: 3 slices; .* MR: 1 slices"
    ):
        read_series(tmp_path)


def test_series_of_an_enhanced_file_parses_it_once(tmp_path):
    count = 400
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, count - n])])
              for n in range(count)]  # fmt: skip
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1])],
    )
    frames = np.arange(count, dtype=np.uint16)[:, None, None] * np.ones((1, 4, 5), np.uint16)
    make_dicom(
        tmp_path / "x", frames, SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )  # fmt: skip
    begun = time.process_time()
    volume = read_series(tmp_path)
    assert time.process_time() - begun < 3  # 5 s when every frame parsed the header again
    assert volume.values[:, 0, 0].tolist() == list(range(count))[::-1]

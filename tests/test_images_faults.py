"""The 25 faults of real DICOM files, each built here, with values worked out by hand."""

import io
import logging
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import item, lut_item, make_dicom
from PIL import Image
from pydicom.dataelem import DataElement
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medimg.images import ImageReadError, read_header, read_image, read_values, scan

RAMP = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)  # min-max keeps it: value / 255


@pytest.fixture
def target(tmp_path):
    return tmp_path / "image.dcm"


def shows(path, expected, **options):
    np.testing.assert_allclose(read_image(path, **options), expected, atol=1e-6)


def refused(path, words, **options):
    with pytest.raises(ImageReadError, match=words) as caught:
        read_image(path, **options)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# 1. truncation


def test_truncated_native_pixels_are_refused(target):
    make_dicom(target, RAMP)
    target.write_bytes(target.read_bytes()[:-2])
    refused(target, "declares 6 bytes of pixels, and the file holds 4")


def test_short_pixel_data_are_refused(target):
    refused(
        make_dicom(target, RAMP, data=b"\0\0\0\0"),
        "declares 6 bytes of pixels, and the file holds 4",
    )


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_truncated_file_of_compressed_pixels_is_refused(target, rng, cut):
    grey = rng.integers(0, 256, (24, 32), dtype=np.uint8)
    make_dicom(target, grey, syntax=JPEGBaseline8Bit, frames=[jpeg(grey)])
    target.write_bytes(target.read_bytes()[: -8 - cut])
    refused(target, "cut short")


@pytest.mark.parametrize("codec", ["jpeg", "lossless", "jpegls", "j2k", "rle"])
def test_truncated_stream_in_a_whole_file_is_refused(target, rng, codec):
    grey = rng.integers(0, 256, (24, 32), dtype=np.uint8)
    syntax, encode = CODECS[codec]
    stream = encode(grey)
    make_dicom(target, grey, syntax=syntax, frames=[stream[: len(stream) // 2]])
    refused(target, "cut short|damaged")


# 2. and 3. preambles


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, "1.2.840.10008.1.2.1"])
def test_file_without_preamble_is_parsed(target, syntax):
    shows(make_dicom(target, RAMP, syntax=syntax, preamble=False), RAMP / 255)


def test_big_endian_file_without_preamble_is_parsed(target):
    words = RAMP.astype(np.uint16) * 257
    shows(make_dicom(target, words, syntax=ExplicitVRBigEndian, preamble=False), RAMP / 255)


def test_preamble_may_be_that_of_a_tiff(target):
    make_dicom(target, RAMP)
    target.write_bytes(b"II*\0" + target.read_bytes()[4:])
    shows(target, RAMP / 255)


# 4. objects without pixels


@pytest.mark.parametrize(
    ("uid", "words"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.11", "Basic Text SR Storage, and holds no image"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set Storage, and holds no image"),
        ("1.2.840.10008.5.1.4.1.1.2", "CT Image Storage whose pixel data are missing"),
    ],
)
def test_object_without_pixels_is_named(target, uid, words):
    refused(make_dicom(target, SOPClassUID=uid), words)


def test_dicomdir_is_named(target):
    make_dicom(target, DirectoryRecordSequence=[item(DirectoryRecordType="IMAGE")])
    refused(target, "a DICOMDIR, a list of other files, and holds no image")


def test_empty_pixel_data_are_refused(target):
    refused(make_dicom(target, RAMP, data=b""), "declares 6 bytes of pixels, and the file holds 0")


# 5. and 6. missing tags


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated"])
def test_missing_size_is_refused(target, keyword):
    make_dicom(target, RAMP, **{keyword: None})
    refused(target, "Rows and Columns|Bits Allocated")


@pytest.mark.parametrize(
    "keyword", ["PhotometricInterpretation", "PixelRepresentation", "BitsStored"]
)
def test_missing_description_is_taken_as_usual_with_a_warning(target, caplog, keyword):
    make_dicom(target, RAMP, **{keyword: None})
    shows(target, RAMP / 255)
    assert "missing" in caplog.text


# 7. several frames


def test_first_frame_is_the_default_and_others_can_be_chosen(target, caplog):
    make_dicom(target, np.stack([RAMP, RAMP[::-1, ::-1]]), NumberOfFrames=2)
    shows(target, RAMP / 255)
    assert "frame 1 of 2 is read" in caplog.text
    caplog.clear()
    shows(target, RAMP[::-1, ::-1] / 255, frame=1)
    assert "of 2 is read" not in caplog.text
    refused(target, "no frame 2; choose one from 0 to 1", frame=2)


def test_enhanced_file_has_its_transforms_by_frame(target):
    def groups(slope, centre):
        return item(
            PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=-10)],
            FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=101)],
        )

    make_dicom(
        target,
        np.full((2, 2, 3), 30, np.uint8),
        NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=[groups(1, 20.5), groups(2, 75.5)],
    )
    assert read_values(target, frame=0)[0, 0] == 20  # 30 * 1 - 10
    assert read_values(target, frame=1)[0, 0] == 50  # 30 * 2 - 10
    shows(target, np.full((2, 3), 0.5), frame=0)  # (20 - 20) / 100 + 0.5
    shows(target, np.full((2, 3), 0.25), frame=1)  # (50 - 75) / 100 + 0.5


def test_enhanced_file_shares_what_is_not_by_frame(target):
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope=3, RescaleIntercept=1)])
    make_dicom(
        target, np.stack([RAMP, RAMP]), NumberOfFrames=2, SharedFunctionalGroupsSequence=[shared]
    )
    np.testing.assert_array_equal(read_values(target, frame=1), RAMP * 3.0 + 1)


def test_one_bit_frames_may_begin_inside_a_byte(target):
    # Two frames of 3 x 1: 1 0 1 and 0 1 1, the least significant bit first: 0b110101.
    make_dicom(
        target, np.zeros((2, 1, 3), np.uint8), data=bytes([0b110101]),
        BitsAllocated=1,
        NumberOfFrames=2, BitsStored=1, HighBit=0,
    )  # fmt: skip
    shows(target, [[1, 0, 1]], frame=0)
    shows(target, [[0, 1, 1]], frame=1)


# 8. and 9. colour

RGB = np.array(
    [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]], [[0, 0, 0], [10, 20, 30]]],
    np.uint8,
)
GREY = np.array([[0.299, 0.587], [0.114, 1.0], [0, (2.99 + 11.74 + 3.42) / 255]])


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_becomes_luminance_for_either_planar_configuration(target, planar):
    data = (RGB.transpose(2, 0, 1) if planar else RGB).tobytes()
    make_dicom(target, RGB, data=data, PlanarConfiguration=planar)
    shows(target, GREY)
    shows(target, RGB / 255, colour=True)


def test_ybr_full_becomes_rgb(target):
    # Y Cb Cr of pure red by C.7.6.3.1.2: 76.245, 84.97, 255.5; and grey 100.
    ybr = np.array([[[76, 85, 255], [100, 128, 128]]], np.uint8)
    make_dicom(target, ybr, PhotometricInterpretation="YBR_FULL")
    # R = 76 + 1.402 * 127 = 254.05; G = 76 + 0.344136 * 43 - 0.714136 * 127 = 0.1; B = -0.2
    shows(target, np.array([[[254, 0, 0], [100, 100, 100]]]) / 255, colour=True)


def test_ybr_full_422_shares_chroma_between_two_pixels(target):
    make_dicom(
        target, np.zeros((1, 2, 3), np.uint8), data=bytes([100, 200, 128, 128]),
        PhotometricInterpretation="YBR_FULL_422",
    )  # fmt: skip
    shows(target, [[100 / 255, 200 / 255]])


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def without_jfif(stream):
    assert stream[2:4] == b"\xff\xe0"
    return stream[:2] + stream[4 + int.from_bytes(stream[4:6], "big") :]


def test_jfif_stream_marked_rgb_is_converted_from_ycbcr(target):
    red = np.zeros((16, 24, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
    make_dicom(target, red, syntax=JPEGBaseline8Bit, frames=[jpeg(red)])
    np.testing.assert_allclose(read_image(target, colour=True), red / 255, atol=2 / 255)


def test_plain_stream_marked_rgb_is_left_alone(target):
    red = np.zeros((16, 24, 3), np.uint8) + np.array([200, 30, 60], np.uint8)
    stream = without_jfif(jpeg(red))
    raw = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    make_dicom(target, red, syntax=JPEGBaseline8Bit, frames=[stream])
    shows(target, raw / 255, colour=True)
    make_dicom(
        target, red, syntax=JPEGBaseline8Bit, frames=[stream],
        PhotometricInterpretation="YBR_FULL_422",
    )  # fmt: skip
    np.testing.assert_allclose(read_image(target, colour=True), red / 255, atol=2 / 255)


# 10. palettes


def palette(**changes):
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, entries in zip(
        ("Red", "Green", "Blue"), ([0, 255], [0, 255], [0, 51]), strict=True
    ):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 1, 8]
        tags[f"{colour}PaletteColorLookupTableData"] = bytes(entries)
    return tags | changes


def test_palette_is_applied_and_its_ends_hold(target):
    make_dicom(target, np.array([[0, 1, 2, 9]], np.uint8), **palette())
    yellow = [1, 1, 0.2]  # entry 1; the first index is 1, and others take the nearest end
    shows(target, [[[0, 0, 0], [0, 0, 0], yellow, yellow]], colour=True)
    shows(target, [[0, 0, 0.299 + 0.587 + 0.0228, 0.299 + 0.587 + 0.0228]])


def test_segmented_palette_is_refused(target):
    tags = palette()
    for colour in ("Red", "Green", "Blue"):
        del tags[f"{colour}PaletteColorLookupTableData"]
        tags[f"Segmented{colour}PaletteColorLookupTableData"] = bytes([0, 1, 0])
    make_dicom(target, RAMP, **tags)
    refused(target, "stored in segments, which is not read here; save the picture as PNG")


def test_palette_image_without_palette_is_refused(target):
    make_dicom(target, RAMP, PhotometricInterpretation="PALETTE COLOR")
    refused(target, "it holds no palette")


# 11. transfer syntaxes


def rle(pixels):
    highest_first = pixels.view(np.uint8).reshape(*pixels.shape, -1)[..., ::-1]
    planes = [plane.tobytes() for plane in highest_first.transpose(2, 0, 1)]
    segments = [imagecodecs.packbits_encode(plane) for plane in planes]
    starts = 64 + np.cumsum([0] + [len(segment) for segment in segments])[:-1]
    head = struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments)))
    return head + b"".join(segments)


CODECS = {
    "jpeg": (JPEGBaseline8Bit, jpeg),
    "lossless": (JPEGLosslessSV1, lambda a: imagecodecs.jpeg8_encode(a, lossless=True)),
    "jpegls": (JPEGLSLossless, imagecodecs.jpegls_encode),
    "j2k": (JPEG2000Lossless, lambda a: imagecodecs.jpeg2k_encode(
        a, level=0, reversible=True, codecformat="j2k")),
    "rle": (RLELossless, rle),
}  # fmt: skip


@pytest.mark.parametrize("codec", ["lossless", "jpegls", "j2k", "rle"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_lossless_syntaxes_give_every_value_back(target, rng, codec, kind):
    grey = rng.integers(0, np.iinfo(kind).max, (24, 32), dtype=kind, endpoint=True)
    syntax, encode = CODECS[codec]
    make_dicom(target, grey, syntax=syntax, frames=[encode(grey)])
    np.testing.assert_array_equal(read_values(target), grey)


@pytest.mark.parametrize("codec", ["lossless", "jpegls", "j2k"])
def test_lossless_syntaxes_keep_signed_values(target, codec):
    signed = np.array([[-5, -1, 0, 7]] * 8, np.int16)
    words = signed.view(np.uint16)
    syntax, encode = CODECS[codec]
    make_dicom(target, signed, syntax=syntax, frames=[encode(words)])
    np.testing.assert_array_equal(read_values(target), signed)


def test_jpeg_of_twelve_bits_is_read(target):
    ramp = np.tile(np.linspace(0, 4095, 32).astype(np.uint16), (16, 1))
    stream = imagecodecs.jpeg8_encode(ramp, level=99, bitspersample=12)
    make_dicom(target, ramp, syntax=JPEGExtended12Bit, frames=[stream], BitsStored=12, HighBit=11)
    np.testing.assert_allclose(read_values(target), ramp, atol=8)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_uncompressed_syntaxes_are_read(target, syntax):
    words = np.array([[0, 1, 256], [4660, 65535, 2]], np.uint16)
    make_dicom(target, words, syntax=syntax)
    np.testing.assert_array_equal(read_values(target), words)


def test_bytes_in_big_endian_words_are_put_right(target):
    make_dicom(
        target, np.zeros((1, 3), np.uint8), syntax=ExplicitVRBigEndian, data=bytes([2, 1, 0, 3])
    )
    raw = target.read_bytes()
    at = raw.index(b"\x7f\xe0\x00\x10")
    target.write_bytes(raw[: at + 4] + b"OW" + raw[at + 6 :])
    assert read_values(target).tolist() == [[1, 2, 3]]


def test_fragments_are_gathered_into_frames(target, rng):
    first, second = rng.integers(0, 256, (2, 24, 32), dtype=np.uint8)
    pieces = [jpeg_ls[at : at + 200] for jpeg_ls in map(imagecodecs.jpegls_encode, (first, second))
              for at in range(0, len(jpeg_ls), 200)]  # fmt: skip
    items = b"".join(
        b"\xfe\xff\x00\xe0" + struct.pack("<L", len(piece) + len(piece) % 2) + piece
        + b"\0" * (len(piece) % 2) for piece in [b"", *pieces]
    )  # fmt: skip
    make_dicom(target, np.stack([first, second]), syntax=JPEGLSLossless, frames=[b"xx"])
    raw = target.read_bytes()
    head = raw[: raw.rindex(b"\xff\xff\xff\xff") + 4]
    target.write_bytes(head + items + b"\xfe\xff\xdd\xe0\0\0\0\0")
    np.testing.assert_array_equal(read_values(target, frame=1), second)


def test_video_is_refused_by_name(target):
    make_dicom(target, RAMP, syntax=MPEG2MPML, frames=[b"\0\0\1\xb3" + bytes(60)])
    refused(target, "compressed as MPEG2 Main Profile.*convert the file first")


def test_jpeg_xl_is_refused_by_name(target):
    stream = imagecodecs.jpegxl_encode(RAMP, lossless=True)
    make_dicom(target, RAMP, syntax="1.2.840.10008.1.2.4.110", frames=[stream])
    refused(target, "its pixels are compressed as .* not read here; convert the file first")


def test_unknown_syntax_is_refused(target):
    make_dicom(target, RAMP, syntax="1.2.3.4", frames=[bytes(64)])
    refused(target, "not read here")


# 12. polarity


def test_monochrome1_is_inverted_after_the_window(target):
    make_dicom(target, RAMP, PhotometricInterpretation="MONOCHROME1")
    shows(target, 1 - RAMP / 255)
    make_dicom(
        target, RAMP, PhotometricInterpretation="MONOCHROME1", WindowCenter=51.5, WindowWidth=103
    )
    shows(target, [[1, 0.5, 0], [0, 0, 0]])


def test_inverse_presentation_is_inverted_once(target):
    make_dicom(target, RAMP, PresentationLUTShape="INVERSE")
    shows(target, 1 - RAMP / 255)
    make_dicom(
        target, RAMP, PresentationLUTShape="INVERSE", PhotometricInterpretation="MONOCHROME1"
    )
    shows(target, 1 - RAMP / 255)


# 13. to 15. the modality LUT


def test_slope_and_intercept_give_hounsfield_units(target):
    make_dicom(target, RAMP, RescaleSlope=2, RescaleIntercept=-1024)
    np.testing.assert_array_equal(read_values(target), RAMP * 2.0 - 1024)


def test_modality_lut_comes_before_slope_and_its_ends_hold(target):
    table = lut_item(-1, [7, 8, 500], bits=16)
    make_dicom(
        target, np.array([[-3, -1, 0, 1, 9]], np.int16), ModalityLUTSequence=[table],
        RescaleSlope=2, RescaleIntercept=5,
    )  # fmt: skip
    assert read_values(target).tolist() == [[7, 7, 8, 500, 500]]


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [
        (DataElement(0x00281053, "UN", b"2 "), DataElement(0x00281052, "UN", b"-10 "), 92.0),
        (DataElement(0x00281053, "DS", ""), DataElement(0x00281052, "DS", ""), 51.0),
        (DataElement(0x00281053, "LO", "1,5"), DataElement(0x00281052, "LO", "0,5"), 77.0),
        (DataElement(0x00281053, "DS", "1e-9"), DataElement(0x00281052, "DS", "0"), 51e-9),
        (DataElement(0x00281053, "DS", "-2"), DataElement(0x00281052, "DS", "3"), -99.0),
        (DataElement(0x00281053, "DS", "0"), DataElement(0x00281052, "DS", "4"), 55.0),
    ],
)
def test_odd_slopes_are_parsed_or_ignored(target, slope, intercept, expected):
    make_dicom(target, RAMP, elements=[slope, intercept])
    assert read_values(target)[0, 1] == np.float32(expected)
    assert np.isfinite(read_image(target)).all()


def test_slope_zero_is_warned_of(target, caplog):
    make_dicom(target, RAMP, RescaleSlope=0)
    shows(target, RAMP / 255)
    assert "slope is 0" in caplog.text


def test_empty_lut_items_are_ignored(target):
    make_dicom(
        target, RAMP, ModalityLUTSequence=[item()], VOILUTSequence=[item(LUTExplanation="x")]
    )
    shows(target, RAMP / 255)


# 16. and 17. windows


def test_first_of_several_windows_is_the_default(target):
    make_dicom(target, RAMP, WindowCenter=[51.5, 204.5], WindowWidth=[103, 103])
    soft, hard = [[0, 0.5, 1], [1, 1, 1]], [[0, 0, 0], [0, 0.5, 1]]
    shows(target, soft)
    shows(target, hard, window=1)
    shows(target, hard, window=(204.5, 103))
    refused(target, "no window 2; choose one of the file's own 2, counted from 0", window=2)
    refused(target, "no window 'lung'; choose .* a preset for CT", window="lung")


def test_window_applies_to_rescaled_values(target):
    make_dicom(
        target, RAMP, RescaleSlope=10, RescaleIntercept=-1000, WindowCenter=-489.5, WindowWidth=1021
    )
    shows(target, [[0, 0.5, 1], [1, 1, 1]])  # 51 -> -490, the middle of -1000 to 20


def test_voi_lut_comes_before_windows_and_exactly_one_is_applied(target):
    table = lut_item(50, [0, 64, 255], bits=8)
    make_dicom(target, RAMP, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2)
    shows(target, np.array([[0, 64, 255], [255, 255, 255]]) / 255)
    shows(target, [[0, 1, 1], [1, 1, 1]], window=1)


def test_width_one_is_a_threshold(target):
    make_dicom(target, RAMP, WindowCenter=102.5, WindowWidth=1)
    shows(target, [[0, 0, 0], [1, 1, 1]])  # 102 is not above 102.5 - 0.5


@pytest.mark.parametrize("width", [0, 0.5, -4])
def test_illegal_width_is_ignored_with_a_warning(target, caplog, width):
    make_dicom(target, RAMP, WindowCenter=100, WindowWidth=width)
    shows(target, RAMP / 255)
    assert "too narrow" in caplog.text


def test_sigmoid_and_exact_functions_are_honoured(target):
    make_dicom(target, RAMP, WindowCenter=102, WindowWidth=204, VOILUTFunction="SIGMOID")
    assert read_image(target)[0, 2] == 0.5
    assert read_image(target)[0, 1] == np.float32(1 / (1 + np.e))  # exp(-4 * -51 / 204) = e
    make_dicom(target, RAMP, WindowCenter=102, WindowWidth=204, VOILUTFunction="LINEAR_EXACT")
    shows(target, [[0, 0.25, 0.5], [0.75, 1, 1]])


# 18. padding


@pytest.mark.parametrize(
    "padding",
    [
        DataElement(0x00280120, "SS", -2000),
        DataElement(0x00280120, "US", 63536),  # the same word, unsigned
    ],
)
def test_padding_is_kept_out_of_the_scale(target, padding):
    signed = np.array([[-2000, 0, 50, 100]], np.int16)
    make_dicom(target, signed, elements=[padding])
    shows(target, [[0, 0, 0.5, 1]])
    np.testing.assert_array_equal(read_values(target), [[np.nan, 0, 50, 100]])


def test_padding_range_is_kept_out_and_stays_black_when_inverted(target):
    make_dicom(
        target, np.array([[0, 50, 100, 240, 250, 255]], np.uint8), PixelPaddingValue=255,
        PixelPaddingRangeLimit=240, PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    shows(target, [[1, 0.5, 0, 0, 0, 0]])


# 19. bits


def test_overlay_bits_are_masked_and_the_sign_extended(target):
    words = np.array([[0xF005, 0x0FFF, 0x1800, 0x0001]], np.uint16)
    make_dicom(target, words, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert read_values(target).tolist() == [[5, -1, -2048, 1]]


def test_high_bit_above_the_stored_bits_is_shifted(target):
    words = np.array([[0x0010, 0x0FF0, 0xF020]], np.uint16)
    make_dicom(target, words, BitsStored=8, HighBit=11)
    assert read_values(target).tolist() == [[1, 255, 2]]


def test_twelve_bits_allocated_are_refused(target):
    make_dicom(
        target, np.zeros((1, 2), np.uint16), data=bytes([0x21, 0x43, 0x65]),
        BitsAllocated=12, BitsStored=12, HighBit=11,
    )  # fmt: skip
    refused(target, "pixels of 12 bits .* are not read here; convert the file")


def test_lossy_overshoot_is_clipped(target):
    bright = np.full((16, 24), 4095, np.uint16)
    stream = imagecodecs.jpeg8_encode(bright, level=95, bitspersample=12)
    make_dicom(target, bright, syntax=JPEGExtended12Bit, frames=[stream], BitsStored=10, HighBit=9)
    assert (read_values(target) == 1023).all()


# 20. to 22. are in test_images_pictures.py; 23. content


def test_empty_file_is_refused(target):
    target.touch()
    refused(target, "the file is empty")


def test_text_with_a_dicom_name_is_refused(target):
    target.write_text("See the attached report.\n" * 20, encoding="utf-8")
    refused(target, "this is not an image that can be read here .*, whatever its name says")


@pytest.mark.parametrize(
    ("start", "words"),
    [(b"PK\x03\x04", "an archive"), (b"\x1f\x8b\x08", "an archive"),
     (b"%PDF-1.4", "save it as PNG"), (b"<!doctype html>", "web page"),
     (bytes(600), "nothing but zero bytes")],
)  # fmt: skip
def test_other_files_are_named(target, start, words):
    target.write_bytes(start + bytes(400))
    refused(target, words)


def test_extension_does_not_count(tmp_path):
    shows(make_dicom(tmp_path / "image.png", RAMP), RAMP / 255)
    Image.fromarray(RAMP).save(tmp_path / "real.png")
    (tmp_path / "real.png").rename(tmp_path / "real.dcm")
    shows(tmp_path / "real.dcm", RAMP / 255)


def test_folder_and_missing_file_are_refused(tmp_path):
    refused(tmp_path, "this is a folder; use read_series")
    refused(tmp_path / "nothing.dcm", "no such file")


# 24. bombs


def test_giant_image_is_refused_from_the_header(target):
    make_dicom(target, RAMP, Rows=65535, Columns=65535)
    refused(target, "65535 x 65535 pixels, more than the limit of 67,108,864.*max_pixels=")
    refused(target, "declares 4294836225 bytes", max_pixels=2**33)


def test_limit_can_be_lowered_and_raised(target):
    make_dicom(target, RAMP)
    refused(target, "limit of 5", max_pixels=5)
    shows(target, RAMP / 255, max_pixels=6)


def test_million_frames_are_refused(target):
    make_dicom(target, RAMP, NumberOfFrames=1_000_000)
    refused(target, "declares 6000000 bytes of pixels")


def test_compressed_stream_larger_than_its_header_is_refused(target, rng):
    grey = rng.integers(0, 256, (24, 32), dtype=np.uint8)
    make_dicom(target, RAMP, syntax=JPEGLSLossless, frames=[imagecodecs.jpegls_encode(grey)])
    refused(target, "declares 3 x 2 pixels of 1 .*, but the JPEG-LS stream inside holds 32 x 24")


def test_deflated_file_is_refused(target):
    make_dicom(target, RAMP, syntax=DeflatedExplicitVRLittleEndian)
    refused(target, r"deflated as a whole, which is not read here; convert it with `dcmconv \+te`")


def test_deep_nesting_is_refused(target):
    make_dicom(target, RAMP)
    raw = target.read_bytes()
    at = raw.index(b"\xe0\x7f\x10\x00")
    opened = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    target.write_bytes(raw[:at] + opened * 3000)
    refused(target, "breaks its format .RecursionError.; it is damaged")


# 25. what cannot be shown


def test_constant_image_is_black(target):
    make_dicom(target, np.full((2, 3), 7, np.uint8))
    shows(target, np.zeros((2, 3)))


@pytest.mark.parametrize(("tag", "vr", "code"), [(8, "OF", "<f4"), (9, "OD", "<f8")])
def test_floating_pixels_are_refused(target, tag, vr, code):
    pixels = DataElement(0x7FE00000 + tag, vr, np.array([0, 1, 2, 3], code).tobytes())
    make_dicom(target, np.zeros((1, 4), np.uint32), data=b"", elements=[pixels])
    refused(target, "floating-point pixels are not read here; export the picture")


def test_burned_in_text_is_warned_of_and_no_value_is_logged(target, caplog):
    caplog.set_level(logging.DEBUG)
    make_dicom(
        target, RAMP, BurnedInAnnotation="YES", PatientName="DOE^JANE", PatientID="ID-77",
        elements=[DataElement(0x00281053, "LO", "DOE")],
    )  # fmt: skip
    read_image(target)
    assert "burned-in text" in caplog.text
    assert "DOE" not in caplog.text
    assert "ID-77" not in caplog.text


def test_unstated_burned_in_text_is_warned_of(target, caplog):
    from medimg.images import reader

    reader._warn_once.cache_clear()
    read_image(make_dicom(target, RAMP, BurnedInAnnotation=None))
    assert "does not say whether text is burned" in caplog.text


# and the rest of the house


def test_mr_without_window_is_scaled_by_percentiles(target):
    values = np.arange(201, dtype=np.uint16).reshape(3, 67)
    make_dicom(target, values, Modality="MR")
    shows(target, np.clip((values - 2.0) / 196, 0, 1))  # the 1st is 2, the 99th 198


def test_ct_presets_apply_to_hounsfield_units(target):
    make_dicom(
        target, np.array([[0, 424, 1064, 1464]], np.uint16), Modality="CT", RescaleSlope=1,
        RescaleIntercept=-1024,
    )  # fmt: skip
    expected = np.clip((np.array([[-1024, -600, 40, 440]]) - 39.5) / 399 + 0.5, 0, 1)
    shows(target, expected, window="mediastinum")


def test_decoder_that_panics_becomes_our_error(target, monkeypatch):
    class Panic(BaseException):
        pass

    def panic(*_):
        raise Panic

    make_dicom(target, RAMP)
    monkeypatch.setattr("medimg.images.lut.stored_frames", panic)
    refused(target, "breaks its format .Panic.")
    monkeypatch.setattr(
        "medimg.images.lut.stored_frames", lambda *_, **__: (_ for _ in ()).throw(MemoryError)
    )
    refused(target, "not enough memory")


def test_control_c_is_let_through(target, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    make_dicom(target, RAMP)
    monkeypatch.setattr("medimg.images.lut.stored_frames", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(target)


def test_header_is_read_without_pixels(target):
    make_dicom(target, RAMP, Modality="DX")
    header = read_header(target)
    assert header.Modality == "DX"
    assert "PixelData" not in header


def test_scan_survives_everything(tmp_path):
    make_dicom(tmp_path / "a.dcm", RAMP, Modality="DX", PatientID="7")
    words = RAMP.astype(np.uint16)
    make_dicom(tmp_path / "b.dcm", words, syntax=ExplicitVRBigEndian)
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    (tmp_path / "d.txt").write_text("no image\n", encoding="utf-8")
    (tmp_path / "e.dcm").touch()
    table = scan(tmp_path, progress=False)
    table.index = [Path(path).name for path in table["path"]]
    assert table.index.tolist() == ["a.dcm", "b.dcm", "c.png", "d.txt", "e.dcm"]
    assert table["readable"].tolist() == [True, True, True, False, False]
    assert table["duplicate_of"].tolist() == ["", *[str(tmp_path / "a.dcm")] * 2, "", ""]
    first = table.loc["a.dcm"]
    facts = ["kind", "modality", "rows", "columns", "frames"]
    assert first[facts].tolist() == ["DICOM", "DX", 2, 3, 1]
    assert first[["patient_id", "burned_in"]].tolist() == ["7", "NO"]
    assert "not an image that can be read" in table.loc["d.txt", "reason"]
    assert "empty" in table.loc["e.dcm", "reason"]


def test_shipped_file_is_read_as_pydicom_reads_it():
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    dataset = pydicom.dcmread(path)
    values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_array_equal(read_values(path), values)


def test_wide_signed_range_does_not_wrap(target):
    signed = np.full((160, 450), -20000, np.int16)  # more pixels than levels: the table is used
    signed[0, :3] = [32767, 0, -32768]
    image = read_image(make_dicom(target, signed))
    np.testing.assert_allclose(image[0, :4], np.array([65535, 32768, 0, 12768]) / 65535, atol=1e-6)

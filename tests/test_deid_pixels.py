"""Every byte of the pixels: samples stay, everything beside them goes, or the file is refused."""

import imagecodecs
import numpy as np
import pytest
from deid_files import COLUMNS, ROWS, plain
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from medimg.deid.dicomfile import RefusedError
from medimg.deid.pixels import clean, refuse_what_cannot_be_cleaned, risks

TEXT = b"Grunwald, Zoe 20210914"


def compressed(syntax, frames, bits=8, stored=None):
    ds = plain()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.Rows, ds.Columns = 16, 24
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, stored or bits, (stored or bits) - 1
    ds.NumberOfFrames = len(frames)
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in frames])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


@pytest.fixture
def grey(rng):
    return rng.integers(0, 256, (16, 24), dtype=np.uint8)


def frame_of(ds):
    return next(generate_frames(ds.PixelData, number_of_frames=1))


def segment(marker, body):
    return bytes([255, marker]) + (len(body) + 2).to_bytes(2) + body


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE2, 0xED, 0xEF])
def test_comments_and_application_segments_go_and_the_scan_stays(grey, marker):
    stream = bytes(imagecodecs.jpeg_encode(grey))
    ds = compressed(JPEGBaseline8Bit, [stream[:2] + segment(marker, TEXT) + stream[2:] + TEXT])
    clean(ds, ())
    assert TEXT not in ds.PixelData
    scan = stream[stream.index(b"\xff\xda") :]
    assert frame_of(ds).rstrip(b"\0") == frame_of(ds)[: frame_of(ds).index(scan)] + scan


def test_the_segments_that_tell_the_colours_stay(rng):
    colour = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
    stream = bytes(imagecodecs.jpeg_encode(colour, level=95))
    adobe = stream[:2] + segment(0xEE, b"Adobe\0d\0\0\0\0\0") + stream[20:]  # RGB, and no JFIF
    for one in (stream, adobe):
        ds = compressed(JPEGBaseline8Bit, [one])
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "YBR_FULL_422"
        clean(ds, ())
        after = imagecodecs.jpeg_decode(frame_of(ds))
        np.testing.assert_array_equal(after, imagecodecs.jpeg_decode(one))
    assert b"Adobe" in ds.PixelData


def test_a_table_with_more_bytes_than_it_needs_is_refused(grey):
    stream = bytes(imagecodecs.jpeg_encode(grey))
    extra = segment(0xDB, b"\3" + bytes(64) + TEXT)
    with pytest.raises(RefusedError, match="unknown segment or table"):
        clean(compressed(JPEGBaseline8Bit, [stream[:2] + extra + stream[2:]]), ())


def test_a_stream_of_another_size_and_one_of_too_many_scans_are_refused(grey):
    stream = bytes(imagecodecs.jpeg_encode(grey[:8]))
    with pytest.raises(RefusedError, match="another size"):
        clean(compressed(JPEGBaseline8Bit, [stream]), ())
    scan = stream[stream.index(b"\xff\xda") : -2]
    with pytest.raises(RefusedError, match="too many scans"):
        clean(compressed(JPEGBaseline8Bit, [stream[:-2] + scan * 70 + b"\xff\xd9"]), ())


def test_jpeg_2000_comments_and_boxes_go(grey):
    plain_stream = bytes(imagecodecs.jpeg2k_encode(grey, level=0, codecformat="j2k"))
    boxed = bytes(imagecodecs.jpeg2k_encode(grey, level=0, codecformat="jp2"))
    for stream in (plain_stream + TEXT, boxed):
        ds = compressed(JPEG2000Lossless, [stream])
        clean(ds, ())
        assert frame_of(ds)[:4] == b"\xff\x4f\xff\x51"
        assert b"OpenJPEG" not in ds.PixelData  # the encoder's own comment
        assert TEXT not in ds.PixelData
        np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(frame_of(ds)), grey)


def test_bits_above_the_stored_ones_in_a_compressed_stream_are_refused(rng):
    words = rng.integers(0, 4096, (16, 24), dtype=np.uint16)
    for extra, refused in ((0, False), (0x4000, True)):
        stream = bytes(imagecodecs.jpeg2k_encode(words | extra, level=0, codecformat="j2k"))
        ds = compressed(JPEG2000Lossless, [stream], bits=16, stored=12)
        if refused:
            with pytest.raises(RefusedError, match="bits above Bits Stored"):
                clean(ds, ())
        else:
            clean(ds, ())


def test_frames_and_fragments_beyond_the_stated_number_go(grey):
    stream = bytes(imagecodecs.jpeg_encode(grey))
    ds = compressed(JPEGBaseline8Bit, [stream, stream, TEXT])
    ds.NumberOfFrames = 2
    clean(ds, ())
    assert len(list(generate_frames(ds.PixelData, number_of_frames=2))) == 2
    assert TEXT not in ds.PixelData
    ds.NumberOfFrames = 3
    with pytest.raises(RefusedError, match=r"fewer frames|put together"):
        clean(ds, ())


def test_run_lengths_are_written_uncompressed_with_the_same_pixels():
    ds = plain()
    before = ds.pixel_array.copy()
    ds.compress(RLELossless)
    ds.PixelData = ds.PixelData[:-8] + TEXT + ds.PixelData[-8:]
    ds = plain()
    ds.compress(RLELossless)
    clean(ds, ())
    np.testing.assert_array_equal(ds.pixel_array, before)


@pytest.mark.parametrize(("signed", "stored"), [(0, 12), (1, 12)])
def test_bits_beside_the_stored_ones_are_cleared_and_signs_stay(signed, stored):
    ds = plain()
    ds.PixelRepresentation = signed
    values = np.arange(ROWS * COLUMNS) - 20 * signed
    inside = values & 0xFFF
    ds.PixelData = (inside | 0x4000).astype("<u2").tobytes()
    clean(ds, ())
    np.testing.assert_array_equal(np.frombuffer(ds.PixelData, "<i2"), values)


def test_signed_pixels_without_repeated_signs_are_left_alone():
    ds = plain()
    ds.PixelRepresentation = 1
    before = ds.PixelData = (np.arange(ROWS * COLUMNS) + 2040).astype("<u2").tobytes()
    clean(ds, ())
    assert ds.PixelData == before


def test_spare_bits_of_a_mask_are_cleared_and_floats_are_cut():
    ds = plain()
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 3, 3, 1, 1, 0
    ds.PixelData = b"\xff\xff"
    clean(ds, ())
    assert ds.PixelData == b"\xff\x01"
    del ds.PixelData, ds.HighBit
    ds.BitsAllocated = 32
    ds.FloatPixelData = np.ones(9, "<f4").tobytes() + TEXT
    clean(ds, ())
    assert ds.FloatPixelData == np.ones(9, "<f4").tobytes()


@pytest.mark.parametrize(
    ("uid", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "structured report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated document"),
        ("1.3.46.670589.5.0.11", "private SOP class"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(uid, reason):
    ds = plain()
    ds.SOPClassUID = uid
    with pytest.raises(RefusedError, match=reason):
        refuse_what_cannot_be_cleaned(ds)


def test_an_ophthalmic_image_is_no_secondary_capture():
    ds = plain()
    ds.BurnedInAnnotation = "NO"
    for uid, flagged in (
        ("1.2.840.10008.5.1.4.1.1.77.1.5.1", False),
        ("1.2.840.10008.5.1.4.1.1.7.4", True),
    ):
        ds.SOPClassUID = uid
        assert ("text: secondary capture" in risks(ds)) == flagged


def test_video_is_refused():
    ds = compressed("1.2.840.10008.1.2.4.102", [b"\0\0\0\1"])
    with pytest.raises(RefusedError, match="video"):
        clean(ds, ())


@pytest.mark.parametrize("change", [{"HighBit": 15}, {"BitsAllocated": 12}, {"Rows": 0}])
def test_bits_that_do_not_begin_at_the_lowest_and_odd_sizes_are_refused(change):
    ds = plain()
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    with pytest.raises(RefusedError, match="no usable image size or number of bits"):
        clean(ds, ())

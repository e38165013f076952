"""PNG, JPEG, TIFF and the like: faults 20 to 22 and 24, with values worked out by hand."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from medimg.images import ImageReadError, is_image_file, read_image, read_values

GREY = np.array([[0, 51, 102], [153, 204, 255]], np.uint8)
RGB = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [9, 9, 9]]],
               np.uint8)  # fmt: skip
LUMINANCE = np.array([[0.299, 0.587, 0.114], [1, 0, 9 / 255]])


def shows(path, expected, **options):
    np.testing.assert_allclose(read_image(path, **options), expected, atol=1e-6)


def save(path, image, kind="PNG", **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, kind, **options)
    return path


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "GIF"])
def test_grey_is_kept(tmp_path, kind):
    shows(save(tmp_path / "x", GREY, kind), GREY / 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_colour_becomes_luminance_or_stays_on_request(tmp_path, kind):
    path = save(tmp_path / "x", RGB, kind)
    shows(path, LUMINANCE)
    shows(path, RGB / 255, colour=True)


def test_grey_in_colour_has_three_equal_channels(tmp_path):
    path = save(tmp_path / "x", GREY)
    shows(path, np.stack([GREY / 255] * 3, axis=-1), colour=True)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_kept(tmp_path, kind):
    words = np.array([[0, 1, 256], [1000, 40000, 65535]], np.uint16)
    path = save(tmp_path / "x", words, kind)
    shows(path, words / 65535)
    np.testing.assert_array_equal(read_values(path), words)


def test_sixteen_bits_of_colour_are_refused(tmp_path):
    words = RGB.astype(np.uint16) * 200 + 7
    for samples in (words, words[..., :2]):  # colours, or grey with alpha
        (tmp_path / "x").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(samples)))
        with pytest.raises(ImageReadError, match=r"16 bits.* not read here; save it as PNG of 8"):
            read_image(tmp_path / "x")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_one_bit_is_black_and_white(tmp_path, kind):
    bits = np.array([[True, False, True], [False, False, True]])
    shows(save(tmp_path / "x", Image.fromarray(bits), kind), bits)


def test_palette_is_applied(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    shows(save(tmp_path / "x", image), LUMINANCE[:1])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped(tmp_path, mode):
    image = Image.fromarray(RGB if mode == "RGBA" else GREY).convert(mode)
    image.putalpha(3)
    shows(save(tmp_path / "x", image), LUMINANCE if mode == "RGBA" else GREY / 255)


def test_cmyk_is_converted(tmp_path):
    ink = Image.new("CMYK", (3, 2), (0, 0, 0, 255 - 100))  # no colour, black ink: grey 100
    shows(save(tmp_path / "x", ink, "TIFF"), np.full((2, 3), 100 / 255))


def test_floating_tiff_is_refused(tmp_path):
    path = save(tmp_path / "x", np.array([[-1.0, 0.0, 3.0]], np.float32), "TIFF")
    with pytest.raises(ImageReadError, match="samples of 32, are not read here; save it as PNG"):
        read_image(path)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_white_is_zero_in_a_tiff_of_either_depth(tmp_path, kind):
    top = np.iinfo(kind).max
    samples = np.array([[0, 1], [top // 5, top // 3], [top - 1, top]], kind)
    raw = save(tmp_path / "x", samples, "TIFF").read_bytes()
    at = raw.index(struct.pack("<HHL", 262, 3, 1)) + 8  # the value of PhotometricInterpretation
    (tmp_path / "x").write_bytes(raw[:at] + b"\0\0" + raw[at + 2 :])
    shows(tmp_path / "x", 1 - samples / top)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, GREY), (2, GREY[:, ::-1]), (3, GREY[::-1, ::-1]), (4, GREY[::-1]),
        (5, GREY.T), (6, np.rot90(GREY, -1)), (7, GREY.T[::-1, ::-1]), (8, np.rot90(GREY)),
    ],
)  # fmt: skip
def test_exif_orientation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shows(save(tmp_path / "x", GREY, exif=exif), expected / 255)


def test_turned_tiff_is_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    with pytest.raises(ImageReadError, match="stored turned; save it upright, or as PNG"):
        read_image(save(tmp_path / "x", GREY, "TIFF", exif=exif))


def test_first_frame_of_an_animation_is_the_default(tmp_path):
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    path = save(tmp_path / "x", frames[0], "TIFF", save_all=True, append_images=frames[1:])
    shows(path, GREY / 255)
    shows(path, GREY[::-1] / 255, frame=1)
    with pytest.raises(ImageReadError, match="no frame 2; choose one from 0 to 1"):
        read_image(path, frame=2)


def test_a_window_applies_to_grey_values_only(tmp_path):
    shows(save(tmp_path / "x", GREY), [[0, 0.5, 1], [1, 1, 1]], window=(51.5, 103))
    with pytest.raises(ImageReadError, match="there is no window 'lung'"):
        read_image(tmp_path / "x", window="lung")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_truncated_pictures_are_refused(tmp_path, rng, kind):
    noise = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    path = save(tmp_path / "x", noise, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=r"cut short|damaged"):
        read_image(path)


def test_a_damaged_png_is_known_by_its_checksums(tmp_path, rng):
    path = save(tmp_path / "x", rng.integers(0, 256, (40, 60), dtype=np.uint8))
    whole = path.read_bytes()
    for at in range(60, len(whole) - 20, 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ImageReadError, match=r"checksum|damaged|cut short"):
            read_image(path)


def chunk(name, body):
    return struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body))


def test_png_bomb_is_refused_from_its_header(tmp_path):
    header = struct.pack(">LLBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9)))
    (tmp_path / "x").write_bytes(bomb)
    with pytest.raises(ImageReadError, match="60000 x 60000 pixels, more"):
        read_image(tmp_path / "x")
    with pytest.raises(ImageReadError, match="bytes cannot hold the 3,600,000,000 pixels"):
        read_image(tmp_path / "x", max_pixels=2**33)


def test_is_image_file_goes_by_content(tmp_path):
    assert is_image_file(save(tmp_path / "picture.txt", GREY))
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    assert not is_image_file(tmp_path / "text.png")
    assert not is_image_file(tmp_path)

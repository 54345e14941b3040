import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
from image_help import save, smooth
from PIL import Image

from facemae_jax.data.images import (
    BadImage,
    decode,
    decode_record,
    encode_jpeg,
    encode_png,
    to_square,
)
from facemae_jax.types import FacemaeError

LARGE = 10**9


def png(image_HWC: np.ndarray, depth: int, colour: int) -> bytes:
    """A PNG as its specification says; Pillow writes no 16-bit colour."""
    height, width = image_HWC.shape[:2]
    rows = image_HWC.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_pixels(kind, options):
    image = smooth(5, 9)
    np.testing.assert_array_equal(decode(save(Image.fromarray(image), kind, **options), "x", LARGE), image)


def test_jpeg_is_close():
    image = decode(save(Image.fromarray(smooth()), "JPEG", quality=95), "x", LARGE)
    assert image.dtype == np.uint8 and np.abs(image.astype(int) - smooth()).mean() < 3


def test_grey_becomes_rgb():
    grey = smooth()[..., 0]
    for kind in ("PNG", "BMP"):
        image = decode(save(Image.fromarray(grey), kind), "x", LARGE)
        np.testing.assert_array_equal(image, np.stack([grey] * 3, -1))
    assert decode(save(Image.fromarray(grey), "JPEG"), "x", LARGE).shape == (16, 16, 3)


def test_bilevel_and_palette_become_rgb():
    bilevel = Image.fromarray((smooth()[..., 0] > 100).astype(np.uint8) * 255).convert("1")
    np.testing.assert_array_equal(decode(save(bilevel, "PNG"), "x", LARGE)[..., 1], np.asarray(bilevel) * 255)
    palette = Image.fromarray(smooth()).convert("P")
    np.testing.assert_array_equal(decode(save(palette, "PNG"), "x", LARGE), np.asarray(palette.convert("RGB")))


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    deep = np.linspace(0, 65535, 256).round().reshape(16, 16)
    image = decode(png(deep, 16, 0), "x", LARGE)
    np.testing.assert_array_equal(image, np.stack([(deep / 257).round()] * 3, -1))


def test_sixteen_bit_colour_is_within_one_level():
    deep = np.random.default_rng(0).integers(0, 65536, (16, 16, 3))
    image = decode(png(deep, 16, 2), "x", LARGE)
    assert np.abs(image - deep / 257).max() <= 1


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparency_lies_over_mid_grey(alpha):
    image = np.concatenate([smooth(), np.full((16, 16, 1), alpha, np.uint8)], -1)
    expected = smooth() * (alpha / 255) + 128 * (1 - alpha / 255)
    assert np.abs(decode(png(image, 8, 6), "x", LARGE) - expected).max() <= 1


def test_transparent_colour_of_a_palette_lies_over_mid_grey():
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 1)
    image = decode(save(palette, "PNG", transparency=0), "x", LARGE)
    assert image[0, 0].tolist() == [0, 0, 255] and image[1, 1].tolist() == [128, 128, 128]


def test_cmyk_of_adobe_is_not_inverted():
    file = save(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=100)
    at = file.index(b"\xff\xee")
    assert file[at + 4 : at + 9] == b"Adobe"
    assert np.abs(decode(file, "x", LARGE).astype(int) - smooth()).mean() < 3
    # Files without Adobe's marker are read by the same convention, as browsers do.
    length = int.from_bytes(file[at + 2 : at + 4], "big")
    assert np.abs(decode(file[:at] + file[at + 2 + length :], "x", LARGE).astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(orientation, upright):
    image = decode(save(Image.fromarray(smooth(6, 10)), "PNG", exif=exif(orientation)), "x", LARGE)
    np.testing.assert_array_equal(image, upright(smooth(6, 10)))


def test_unreadable_exif_does_not_spoil_the_pixels():
    file = save(Image.fromarray(smooth()), "PNG", exif=b"Exif\0\0this is no TIFF")
    np.testing.assert_array_equal(decode(file, "x", LARGE), smooth())


def test_first_view_of_a_camera_file():
    views = [Image.fromarray(smooth()), Image.fromarray(255 - smooth())]
    file = save(views[0], "MPO", save_all=True, append_images=views[1:], quality=95)
    assert np.abs(decode(file, "x", LARGE).astype(int) - smooth()).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_file_is_named(kind, share):
    file = save(Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)), kind)
    with pytest.raises(BadImage, match=r"^ada/1\.jpg: .*(truncated|no image that can be read)"):
        decode(file[: int(share * len(file))], "ada/1.jpg", LARGE)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"these are words, not a picture", "no image that can be read"),
        (save(Image.fromarray(smooth()), "GIF"), "no image that can be read"),
    ],
)
def test_what_is_no_image_is_said(data, reason):
    with pytest.raises(BadImage, match=reason) as caught:
        decode(data, "ada/1.jpg", LARGE)
    assert str(caught.value).startswith("ada/1.jpg: ") and "on_bad_record=skip" in str(caught.value)
    assert isinstance(caught.value, FacemaeError) and "on_bad_record" not in caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animated_images_are_refused(kind):
    views = [Image.fromarray(smooth()), Image.fromarray(255 - smooth())]
    with pytest.raises(BadImage, match="animated"):
        decode(save(views[0], kind, save_all=True, append_images=views[1:]), "x", LARGE)


def test_too_many_pixels_are_refused_from_the_header():
    header = png(np.zeros((1, 1)), 8, 2)
    size = struct.pack(">IIBBBBB", 10_000, 5_000, 8, 2, 0, 0, 0)
    start = header.index(b"IHDR")
    huge = header[:start] + b"IHDR" + size + struct.pack(">I", zlib.crc32(b"IHDR" + size)) + header[start + 21 :]
    with pytest.raises(BadImage, match=r"10000×5000 is 50,000,000 pixels.*max_pixels=40,000,000"):
        decode(huge, "x", 40_000_000)  # decoding it would say "truncated": it has the pixels of a 1×1 image
    with pytest.raises(BadImage, match="truncated"):
        decode(huge, "x", 50_000_000)


@pytest.mark.parametrize(("height", "width"), [(16, 40), (40, 16)])
def test_square_is_the_centre(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[(height - 16) // 2 : (height + 16) // 2, (width - 16) // 2 : (width + 16) // 2] = smooth()
    np.testing.assert_array_equal(to_square(image, 16, True, "x"), smooth())


def test_resizing_averages():
    checkers = np.kron(np.indices((32, 32)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, -1) * 255
    small = to_square(checkers.astype(np.uint8), 8, True, "x")
    assert small.shape == (8, 8, 3) and np.abs(small.astype(int) - 127).max() < 12  # without antialiasing: 0 or 255


def test_right_size_is_left_alone_and_others_may_be_refused():
    assert to_square(smooth(), 16, False, "x") is not None
    np.testing.assert_array_equal(to_square(smooth(), 16, True, "x"), smooth())
    with pytest.raises(BadImage, match=r"ada/1\.jpg: it has 20×10 pixels, not 16×16, and data\.resize is off"):
        to_square(smooth(10, 20), 16, False, "ada/1.jpg")


def test_jpeg_keeps_colour_at_full_resolution_and_is_repeatable():
    file = encode_jpeg(smooth()[:, ::-1], 95)
    assert simplejpeg.decode_jpeg_header(file) == (16, 16, "YCbCr", "444")
    assert file == encode_jpeg(smooth()[:, ::-1].copy(), 95)
    assert len(encode_jpeg(smooth(), 50)) < len(file)


def test_png_keeps_every_pixel():
    np.testing.assert_array_equal(decode_record(encode_png(smooth())), smooth())


def test_record_is_decoded_whatever_its_form():
    file = encode_jpeg(smooth(), 95)
    np.testing.assert_array_equal(decode_record(file), np.asarray(Image.open(io.BytesIO(file))))
    cmyk = save(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(decode_record(cmyk).astype(int) - smooth()).mean() < 3
    with pytest.raises(BadImage, match="record 7: the image is damaged"):
        decode_record(file[:-100], "record 7")

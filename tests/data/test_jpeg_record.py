import numpy as np
import pytest
import simplejpeg
from image_help import save, smooth
from PIL import Image

from facemae_jax.data.images import BadImage, decode, decode_record, encode_jpeg
from facemae_jax.data.jpeg_record import as_jpeg

LARGE = 10**9


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def test_plain_jpeg_passes_through_byte_for_byte():
    plain = save(Image.fromarray(smooth()), "JPEG", quality=70, subsampling=2)
    assert convert(plain) == (plain, True)
    upright = save(Image.fromarray(smooth()), "JPEG", exif=exif(1))
    assert convert(upright) == (upright, True)


@pytest.mark.parametrize(
    "file",
    [
        save(Image.fromarray(smooth()), "PNG"),
        save(Image.fromarray(smooth(20, 20)), "JPEG"),
        save(Image.fromarray(smooth()[..., 0]), "JPEG"),
        save(Image.fromarray(smooth()).convert("CMYK"), "JPEG"),
        save(Image.fromarray(smooth()), "JPEG", exif=exif(6)),
        save(Image.fromarray(smooth()), "MPO", save_all=True, append_images=[Image.fromarray(smooth())]),
    ],
    ids=["png", "other size", "grey", "cmyk", "turned", "several views"],
)
def test_everything_else_is_encoded_anew(file):
    data, same = convert(file)
    assert not same and simplejpeg.decode_jpeg_header(data) == (16, 16, "YCbCr", "444")


def test_turned_jpeg_is_turned():
    data, _ = convert(save(Image.fromarray(smooth()), "JPEG", quality=95, exif=exif(6)))
    assert np.abs(decode_record(data).astype(int) - np.rot90(smooth(), -1)).mean() < 4


def test_truncated_jpeg_of_the_right_size_does_not_pass():
    with pytest.raises(BadImage, match="truncated"):
        convert(encode_jpeg(smooth(), 95)[:-40])


def convert(file: bytes) -> tuple[bytes, bool]:
    return as_jpeg(file, "x", size=16, resize=True, quality=95, max_pixels=LARGE)


GREY = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)


@pytest.mark.parametrize("quality", [30, 95, 100])
@pytest.mark.parametrize("kept", [20, 95])
def test_grey_becomes_what_decoding_and_encoding_make_of_it(monkeypatch, kept, quality):
    file = save(Image.fromarray(GREY), "JPEG", quality=kept)
    wanted = encode_jpeg(decode(file, "x", LARGE), quality)
    monkeypatch.setattr("facemae_jax.data.jpeg_record.decode", lambda *_: pytest.fail("by the long way"))
    assert as_jpeg(file, "x", size=16, resize=True, quality=quality, max_pixels=LARGE) == (wanted, False)


def test_grey_of_another_kind_goes_the_long_way():
    turned = save(Image.fromarray(smooth()[..., 1]), "JPEG", quality=95, exif=exif(6))
    found = decode_record(convert(turned)[0])
    assert np.abs(found[..., 0].astype(int) - np.rot90(smooth()[..., 1], -1)).mean() < 3
    wide = save(Image.fromarray(smooth(20, 20)[..., 0]), "JPEG")
    assert simplejpeg.decode_jpeg_header(convert(wide)[0])[:2] == (16, 16)


def test_damaged_grey_is_refused_and_so_is_a_large_one():
    file = save(Image.fromarray(GREY), "JPEG", quality=95)
    with pytest.raises(BadImage, match="truncated"):
        convert(file[:-40])
    with pytest.raises(BadImage, match="more than data.max_pixels=255"):
        as_jpeg(file, "x", size=16, resize=True, quality=95, max_pixels=255)

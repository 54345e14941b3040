import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from facemae_jax.data import jpeg_parts
from facemae_jax.data.images import BadImage, decode_record, encode_jpeg
from facemae_jax.data.jpeg_parts import header_end, promise
from facemae_jax.data.jpeg_record import as_jpeg, passes_through

SIZE = 16
NOISE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
PLAIN = encode_jpeg(NOISE, 90)
SCAN = header_end(PLAIN)


def saved(**options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(NOISE).save(file, "JPEG", **options)
    return file.getvalue()


def segment(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2, "big") + data


def without(kind: int) -> bytes:
    """The plain file without its segments of a kind."""
    made, place = PLAIN[:2], 2
    while place < SCAN:
        end = place + 2 + int.from_bytes(PLAIN[place + 2 : place + 4], "big")
        made += PLAIN[place:end] if PLAIN[place + 1] != kind else b""
        place = end
    return made + PLAIN[SCAN:]


@pytest.mark.parametrize(
    "data",
    [PLAIN, saved(optimize=True), saved(subsampling=2), saved(restart_marker_rows=1), PLAIN + bytes(7),
     PLAIN[:2] + segment(0xFE, b"\xff\xd8\xff\xda\0\2\xff\xd9 a comment that looks like a picture") + PLAIN[2:]],
    ids=["plain", "optimized", "4:2:0", "restarts", "padded", "comment"],
)  # fmt: skip
def test_plain_files_are_promised_without_decoding(data, monkeypatch):
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("it was decoded"))
    assert promise(data) == (SIZE, SIZE, "YCbCr", False)
    assert passes_through(data, SIZE) and not passes_through(data, SIZE - 1)


def impossible() -> bytes:
    """The plain file with three codes of one bit, and as many codes as before."""
    at = PLAIN.index(b"\xff\xc4") + 5
    counts = bytearray(PLAIN[at : at + 16])
    most = counts.index(max(counts))
    counts[0], counts[most] = counts[0] + 3, counts[most] - 3
    return PLAIN[:at] + counts + PLAIN[at + 16 :]


@pytest.mark.parametrize(
    "data",
    [impossible(), PLAIN.replace(b"\xff\xc0", b"\xff\xc2", 1), saved(progressive=True), PLAIN + PLAIN,
     PLAIN + b"\0rest", PLAIN[:-2], PLAIN[:SCAN], PLAIN[: SCAN - 1], PLAIN[:1],
     PLAIN[:SCAN] + PLAIN[-2:], PLAIN[: SCAN + 40] + b"\xff\xc4" + PLAIN[SCAN + 40 :],
     PLAIN[: SCAN + 40] + PLAIN, without(0xDB), without(0xC4), without(0xC0), b"\xff\xd8" * 9, b"BM" + PLAIN[2:]],
    ids=["impossible codes", "another coding", "progressive", "two", "rest", "no end", "header", "cut header", "one byte", "no scan",
         "mark in the scan", "cut, then another", "no quantisation", "no codes", "no frame", "starts", "no start"],
)  # fmt: skip
def test_of_everything_else_nothing_is_said(data):
    assert promise(data) is None


def test_what_may_be_turned_is_told():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert promise(saved(exif=turned)) == (SIZE, SIZE, "YCbCr", True)


def test_long_headers_are_not_remembered(monkeypatch):
    jpeg_parts._read.cache_clear()
    assert promise(PLAIN[:2] + segment(0xEF, bytes(5000)) + PLAIN[2:]) == (SIZE, SIZE, "YCbCr", False)
    assert jpeg_parts._read.cache_info().currsize == 0
    assert promise(PLAIN) == promise(PLAIN) and jpeg_parts._read.cache_info().hits == 1


def test_whatever_passes_through_can_be_decoded_later():
    """Every byte of the header damaged in turn, and many of the scan: a record must never stop a training."""
    draws, passed = np.random.default_rng(1), 0
    places = [*range(2, SCAN)] * 2 + draws.integers(SCAN, len(PLAIN), 300).tolist()
    for place in places:
        damaged = bytearray(PLAIN)
        damaged[place] ^= int(draws.integers(1, 256))
        try:
            record, same = as_jpeg(bytes(damaged), "x", size=SIZE, resize=True, quality=90, max_pixels=10**6)
        except BadImage:
            continue
        assert decode_record(record).shape == (SIZE, SIZE, 3), place
        passed += same
    assert passed > len(places) // 3


def test_damaged_pixels_are_refused_on_demand():
    wanted = {"size": SIZE, "resize": True, "quality": 90, "max_pixels": 10**6}
    damaged = PLAIN[: SCAN + 60] + bytes(len(PLAIN) - SCAN - 62) + PLAIN[-2:]
    assert as_jpeg(damaged, "x", **wanted) == (damaged, True)
    with pytest.raises(BadImage, match="^ada/1: its pixels are damaged"):
        as_jpeg(damaged, "ada/1", **wanted, check_pixels=True)
    with pytest.raises(BadImage, match="^ada/1: its pixels are damaged"):
        as_jpeg(damaged, "ada/1", **(wanted | {"size": 8}), check_pixels=True)
    assert as_jpeg(PLAIN, "x", **wanted, check_pixels=True) == (PLAIN, True)
    for image in (Image.fromarray(NOISE).convert("CMYK"), Image.fromarray(NOISE).convert("L")):
        file = io.BytesIO()
        image.save(file, "JPEG")
        assert not as_jpeg(file.getvalue(), "x", **wanted, check_pixels=True)[1]
    with pytest.raises(BadImage, match="16×16 is 256 pixels, more than"):
        as_jpeg(PLAIN, "x", **(wanted | {"max_pixels": 255}), check_pixels=True)

import unicodedata

import pytest

from facemae_jax.data.formats.names import check_names, ending_of, file_for, identity_of, number_name, why_ignored
from facemae_jax.types import FacemaeError


@pytest.mark.parametrize(
    "key",
    [
        "ada/1.jpg",
        "a/b/c/1.JPEG",
        "李/一.png",
        "عمر/١.webp",
        "x y/z/1.bmp",
        "a/1.jpg.png",
        "a/ .jpg",
    ],
)
def test_images_of_people(key):
    assert why_ignored(key) == ""


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("ada/notes.txt", ".txt files"),
        ("ada/Thumbs.db", ".db files"),
        ("ada/1.gif", ".gif files"),
        ("ada/README", "files without an ending"),
        ("ada/.1.jpg", "hidden files"),
        ("ada/._1.jpg", "hidden files"),
        (".cache/ada/1.jpg", "hidden files"),
        ("__MACOSX/ada/._1.jpg", "files of __MACOSX"),
        ("1.jpg", "images outside the folders of identities"),
    ],
)
def test_everything_else_has_a_reason(key, reason):
    assert why_ignored(key) == reason


def test_identity_is_the_folder():
    assert [identity_of(key) for key in ("ada/1.jpg", "x/ada/1.jpg")] == ["ada", "x/ada"]


def test_good_names_pass():
    keys = sorted(["ada/1.jpg", "Ada/1.jpg", "李/1.jpg", "josé/1.jpg", "jose/1.jpg", "عمر/1.jpg"])
    check_names(keys, [identity_of(key) for key in keys], "here")
    check_names([], [], "here")


def test_double_name_is_refused():
    with pytest.raises(FacemaeError, match="here: the name 'b/1.jpg' stands twice"):
        check_names(["a/1.jpg", "b/1.jpg", "b/1.jpg"], ["a", "b", "b"], "here")


@pytest.mark.parametrize("image", ["1.jpg", "2.jpg"])
def test_unicode_forms_of_one_name_are_refused(image):
    composed, parted = (unicodedata.normalize(form, "josé") for form in ("NFC", "NFD"))
    keys = sorted([f"{composed}/1.jpg", f"{parted}/{image}"])
    with pytest.raises(
        FacemaeError, match=r"here: the names '.*' and '.*' differ only in their Unicode form"
    ) as caught:
        check_names(keys, [identity_of(key) for key in keys], "here")
    assert "jose\\u0301" in str(caught.value) and "jos\\xe9" in str(caught.value)


def test_image_names_in_two_forms_and_a_sign_that_becomes_ascii():
    with pytest.raises(FacemaeError, match="Unicode form"):
        check_names(["a/e\u0301.jpg", "a/\u00e9.jpg"], ["a", "a"], "here")
    with pytest.raises(FacemaeError, match="Unicode form"):  # the sign of kelvin is K, by its normal form
        check_names(["K/1.jpg", "\u212a/2.jpg"], ["K", "\u212a"], "here")


def test_broken_name_is_refused():
    with pytest.raises(FacemaeError, match=r"here: the file name 'a\\udcff' is not valid UTF-8"):
        check_names(["a\udcff/1.jpg"], ["a\udcff"], "here")


@pytest.mark.parametrize(
    "names", [["e\u0301\u0323", "e\u0323\u0301"], ["e\u0323\u0301", "\u1eb9\u0301"], ["\u1eb9\u0301", "\u00e9\u0323"]]
)
def test_any_two_forms_of_one_name(names):
    for pair in (names, names[::-1]):
        with pytest.raises(FacemaeError, match="Unicode form"):
            check_names([f"{name}/1.jpg" for name in pair], ["x"], "here")
    check_names(["e\u0301/1.jpg", "\u00e8/1.jpg"], ["e\u0301", "\u00e8"], "here")


def test_numbers_sort_as_their_labels():
    assert [number_name(label, 120) for label in (0, 7, 120)] == ["000", "007", "120"] and number_name(0, 0) == "0"


def test_the_ending_follows_the_bytes():
    starts = {"jpg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n", "webp": b"RIFF\0\0\0\0WEBPVP8 ", "bmp": b"BM6"}
    assert {ending: ending_of(data + bytes(9), "x") for ending, data in starts.items()} == {e: e for e in starts}
    with pytest.raises(FacemaeError, match="record k: this is no JPEG, PNG, WebP or BMP"):
        ending_of(b"RIFF\0\0\0\0WAVE", "record k")


@pytest.mark.parametrize(
    ("key", "identity", "ending", "file"),
    [
        ("ada/1.jpeg", "ada", "jpg", "ada/1.jpeg"),
        ("ada/1.PNG", "ada", "jpg", "ada/1.PNG.jpg"),
        ("x/ada/1.png", "x/ada", "png", "x/ada/1.png"),
        ("9f3c", "0007", "jpg", "0007/9f3c.jpg"),
        ("bo/old/2", "bo", "webp", "bo/old_2.webp"),
        ("adam/1.jpg", "ada", "jpg", "ada/adam_1.jpg"),
        (".x", "a", "jpg", "a/_.x.jpg"),
    ],
)
def test_where_a_record_lies_in_a_folder(key, identity, ending, file):
    assert file_for(key, identity, ending, "x") == file
    assert not why_ignored(file)


@pytest.mark.parametrize("identity", ["..", "a/../b", "/a", "", ".", "a\0b"])
def test_identities_that_lead_out_are_refused(identity):
    with pytest.raises(FacemaeError, match="cannot be a path in a folder"):
        file_for("k", identity, "jpg", "x")

import dataclasses

import pytest

from facemae_jax.data.distort import NAMES, Distortion
from facemae_jax.data.variants import KINDS, STRENGTHS, face_sets, parse_variant, variant_names
from facemae_jax.types import FacemaeError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("original", ("original", None)),
        ("blur", ("blur", None)),
        ("blur@2", ("blur", 2.0)),
        ("blur@0.125", ("blur", 0.125)),
        ("pixelate@16", ("pixelate", 16)),
        ("pixelate@1", ("pixelate", 1)),
        ("pixelate@112", ("pixelate", 112)),
        ("mask@0.9", ("mask", 0.9)),
        ("noise@1", ("noise", 1.0)),
        ("ksame@2", ("ksame", 2)),
        ("dppix@0.5", ("dppix", 0.5)),
    ],
)
def test_kind_and_strength(name, expected):
    kind, strength = parse_variant(name)
    assert (kind, strength) == expected
    assert isinstance(strength, int) == (strength is not None and STRENGTHS[kind].whole)


def test_other_names_are_taken_where_the_caller_says_so():
    assert parse_variant("reconstruction", others=("reconstruction",)) == ("reconstruction", None)
    with pytest.raises(FacemaeError, match="reconstruction: no such variant"):
        parse_variant("reconstruction")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "blurr@2",
            r"blurr@2: no such variant \(did you mean blur@2\?\); choose one of original, mask, .*, reconstruction",
        ),
        ("Reconstruction", r"did you mean reconstruction\?"),
        ("zzz", "zzz: no such variant; choose"),
        ("", "no such variant"),
        ("original@1", "original@1: original has no strength; write original"),
        ("reconstruction@1", "reconstruction has no strength"),
        ("blur@", "blur@: nothing after @ is no plain decimal number.*σ in pixels at 112"),
        ("blur@0", "blur@0: 0 is out of range.*above 0"),
        ("blur@112", "out of range"),
        ("mask@1", "mask@1: 1 is out of range.*above 0 and below 1"),
        ("pixelate@0", "out of range.*from 1 to 112"),
        ("pixelate@113", "out of range"),
        ("pixelate@2.5", "pixelate@2.5: 2.5 is out of range.*whole"),
        ("ksame@1", "ksame@1: 1 is out of range.*at least 2"),
        ("dppix@0", "out of range.*ε"),
    ],
)
def test_what_is_wrong_is_told(name, message):
    with pytest.raises(FacemaeError, match=message):
        parse_variant(name, others=("reconstruction",))


@pytest.mark.parametrize(
    "text", ["2.0", "02", "2.", ".5", "1e1", "-2", "+2", " 2", "nan", "inf", "2@3", "2,5", "0.50", "1٢", "2\n"]
)
def test_one_strength_has_one_spelling(text):
    """Otherwise blur@2 and blur@2.0 would be trained and shown twice."""
    with pytest.raises(FacemaeError, match="no plain decimal number in its shortest spelling"):
        parse_variant(f"blur@{text}")


def test_every_strength_is_a_field_of_its_distortion():
    fields = {field.name for field in dataclasses.fields(Distortion)}
    assert set(KINDS) == {*NAMES, "ksame"}
    for kind in NAMES[1:]:
        assert STRENGTHS[kind].field in fields
        weak = Distortion(kind, 112)
        assert repr(weak) != repr(dataclasses.replace(weak, **{STRENGTHS[kind].field: 3}))


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["/a/dcface"], ["dcface"]),
        (["/a/dcface/"], ["dcface"]),
        (["/a/dcface/1.0.0"], ["dcface"]),
        (["/a/DigiFace 1M.zip"], ["DigiFace-1M"]),
        (["/a/x", "/b/x", "/c/x"], ["x", "x-2", "x-3"]),
        (["/a/x", "/b/x-2", "/c/x"], ["x", "x-2", "x-3"]),
        (["/a/mask", "/a/reconstruction"], ["set-mask", "set-reconstruction"]),
        (["/a/blur@2", "teacher", "../.."], ["blur-2", "set-teacher", "set"]),
        (["/a/顔"], ["顔"]),
    ],
)
def test_a_set_is_called_after_its_folder(places, names):
    found = face_sets(["original", *(f"set:{place}" for place in places), "blur@2"])
    assert list(found.items()) == list(zip(names, places, strict=True))


def test_names_keep_the_order_of_the_variants():
    asked = ("set:/a/x", "original", "set:/b/x", "blur@2")
    assert variant_names(asked) == ("x", "original", "x-2", "blur@2")
    assert face_sets(("original", "mask")) == {}

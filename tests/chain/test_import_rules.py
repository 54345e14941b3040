import pytest

from facemae_jax.chain import rules, settings
from facemae_jax.types import FacemaeError

REAL = {"data.seen": "/faces", "data.terms": "research"}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            REAL | {"data.landmarks": "/p.csv", "data.detect": "dlib"},
            "data.detect=dlib: data.landmarks=/p.csv says where",
        ),
        ({"data.landmarks": "/p.csv"}, "data.landmarks=/p.csv: rendered faces are aligned as they are"),
        ({"data.detect": "dlib"}, "data.detect=dlib: rendered faces"),
        (REAL | {"data.detect": "dlip"}, "did you mean dlib"),
        (REAL | {"data.seen": "/lfw.bin"}, "data.seen=/lfw.bin: a verification set does not say who is on its images"),
        (REAL | {"data.unseen": "/LFW.BIN"}, "data.unseen=/LFW.BIN: a verification set"),
        ({"recognizer.variants": "original,set:/a.bin,set:/b"}, "recognizer.variants=/a.bin: a verification set"),
        ({"verify.faces": "/lfw.bin", "verify.pairs": "/p.txt"}, "verify.faces=/lfw.bin has pairs of its own"),
        ({"verify.protocols.lfw.faces": "/lfw.zip"}, "verify.protocols.lfw.pairs is empty"),
        ({"verify.protocols.ijbb.faces": "/lfw.bin"}, "verify.protocols.ijbb.media is empty"),
    ],
)
def test_contradictions(overrides, said):
    with pytest.raises(FacemaeError) as caught:
        rules.check(settings.load("configs/base.py", list(overrides.items())))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        REAL | {"data.landmarks": "/p.csv"},
        {"data.unseen": "/faces", "data.terms": "research", "data.detect": "dlib"},
        {"verify.faces": "/lfw.bin"},
        {"verify.faces": "/lfw.bin", "verify.pairs": "/lfw.bin"},
        {"verify.protocols.agedb_30.faces": "/agedb_30.bin"},
    ],
)
def test_sound_ones(overrides):
    rules.check(settings.load("configs/base.py", list(overrides.items())))

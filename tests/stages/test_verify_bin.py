"""A .bin as faces to verify on: its images are imported, and its own pairs are asked."""

import numpy as np
import pytest
from verify_help import SIZE, make_world, png, settings, stage

from facemae_jax.chain.fingerprint import view
from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.formats.verification_bin import write_bin
from facemae_jax.stages import import_faces, verify, verify_protocols
from facemae_jax.stages.inputs import Input, Inputs


@pytest.fixture
def world(tmp_path, monkeypatch):
    return make_world(tmp_path, monkeypatch)


@pytest.fixture
def set_bin(tmp_path):
    """Forty pairs of colour patterns, the same person's with noise."""
    random = np.random.default_rng(0)
    patterns = random.uniform(30, 225, (20, SIZE, SIZE, 3))

    def image(person):
        return png((patterns[person] + random.normal(scale=10, size=(SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8))

    images, same = [], []
    for n in range(40):
        images += [image(n % 20), image((n + n % 2) % 20)]
        same.append(n % 2 == 0)
    write_bin(tmp_path / "own.bin", images, same)
    return tmp_path / "own.bin"


def imported(config, place, variant, out):
    out.mkdir(exist_ok=True)
    inputs = Inputs({"source": Input(place, str(place))}, out)
    import_faces.run(view(config, import_faces, variant), inputs, out, variant)
    return Input(out, variant)


def test_as_the_main_faces(world, set_bin, tmp_path):
    tmp_path, inputs = world
    config = settings(verify_faces=str(set_bin))
    config.data.jpeg_quality = 100
    assert verify.outside(config, "")["pairs"] == str(set_bin)
    faces = imported(config, set_bin, "verify", tmp_path / "import-bin")
    assert len(open_face_set(faces.path / "faces")) == 80
    _, result = stage(config, inputs | {"faces": faces, "pairs": Input(set_bin)}, tmp_path)
    told = result["protocol"]
    assert (told["pairs"], told["count"], told["positive"], told["folds"], told["images"]) == ("file", 40, 20, 10, 80)
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["original"]["auc"] > 0.95 and len(rows["original"]["accuracy"]["folds"]) == 10


def test_beside_the_main_faces(world, set_bin):
    tmp_path, inputs = world
    config = settings()
    config.verify.protocols.agedb_30.faces = str(set_bin)
    assert verify_protocols.outside(config) == {"pairs:agedb_30": str(set_bin)}
    assert verify_protocols.imports(config) == {"verify@agedb_30": str(set_bin)}
    faces = imported(config, set_bin, "verify@agedb_30", tmp_path / "import-bin")
    more = {"faces:agedb_30": faces, "pairs:agedb_30": Input(set_bin)}
    _, result = stage(config, inputs | more, tmp_path)
    found = result["protocols"]["agedb_30"]
    assert found["protocol"]["count"] == 40 and found["rows"][0]["auc"] > 0.95
    assert result["protocol"]["pairs"] == "generated"


def test_a_list_of_its_own_goes_before(world):
    config = settings()
    config.verify.protocols.lfw.update(faces="/lfw.bin", pairs="/other.bin")
    assert verify_protocols.outside(config) == {"pairs:lfw": "/other.bin"}
    config.verify.protocols.lfw.update(faces="/lfw.zip", pairs="")
    assert verify_protocols.outside(config) == {"pairs:lfw": ""}

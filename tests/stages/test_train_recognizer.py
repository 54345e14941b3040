import numpy as np
import pytest
from training_help import SIZE, handed_on, run_stage, settings, write_faces

from facemae_jax.checkpoint import load_model
from facemae_jax.data.distort import Distortion
from facemae_jax.data.split import split_identities
from facemae_jax.stages import train_recognizer
from facemae_jax.stages.inputs import SHARED, Input, Ref
from facemae_jax.types import FacemaeError

PEOPLE, IMAGES = 16, 2


@pytest.fixture
def asked(monkeypatch):
    return handed_on(monkeypatch, train_recognizer)


def keys_of(subset):
    seen = split_identities([str(person) for person in range(PEOPLE)], 0.5, 0)
    wanted = {"seen": seen, "unseen": ~seen, "all": np.ones(PEOPLE, bool)}[subset]
    return sorted(f"{n}/{i}" for n in range(PEOPLE) for i in range(IMAGES) if wanted[n])


DISTORTED = dict(
    original=None,
    mask=Distortion("mask", SIZE, mask_ratio=0.5, patch=4),
    blur=Distortion("blur", SIZE, blur=9.0),
    pixelate=Distortion("pixelate", SIZE, pixelate=28),
    noise=Distortion("noise", SIZE, noise=0.7),
    dppix=Distortion("dppix", SIZE, dppix_epsilon=3.0, dppix_m=4, pixelate=28),
)
NAMED = {  # the strength of the name, not the config's
    "mask@0.25": Distortion("mask", SIZE, mask_ratio=0.25, patch=4),
    "blur@2": Distortion("blur", SIZE, blur=2.0),
    "pixelate@14": Distortion("pixelate", SIZE, pixelate=14),
    "noise@1.5": Distortion("noise", SIZE, noise=1.5),
    "dppix@0.5": Distortion("dppix", SIZE, dppix_epsilon=0.5, dppix_m=4, pixelate=28),
}


@pytest.mark.parametrize("variant", [*DISTORTED, *NAMED])
def test_a_variant_is_the_unseen_faces_under_its_own_distortion(tmp_path, monkeypatch, asked, variant):
    distort = dict(distort__mask_ratio=0.5, distort__blur=9.0, distort__pixelate=28, distort__noise=0.7)
    distort |= dict(distort__dppix_epsilon=3.0, distort__dppix_m=4)
    config = settings(monkeypatch, **distort)
    given = {"faces": Input(write_faces(tmp_path / "import", PEOPLE, IMAGES), SHARED)}
    run_stage(train_recognizer, config, given, tmp_path / "out", variant)
    (call,) = asked
    assert sorted(call["faces"].keys()) == keys_of("unseen")
    assert call["transform"] == (DISTORTED | NAMED)[variant]
    assert (call["label"], call["field"]) == (variant, "recognizer") and call["section"].network == "tiny"
    if variant != "original":
        image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        assert (call["transform"](image, "key") != image).any()


@pytest.mark.parametrize(("variant", "people"), [("ksame", 2), ("ksame@3", 3)])
def test_k_same_averages_the_unseen_faces_alone(tmp_path, monkeypatch, asked, variant, people):
    given = {"faces": Input(write_faces(tmp_path / "import", PEOPLE, IMAGES), SHARED)}
    run_stage(train_recognizer, settings(monkeypatch, distort__ksame=2), given, tmp_path / "out", variant)
    faces, transform = asked[0]["faces"], asked[0]["transform"]
    key = faces.keys()[0]
    assert people <= len(transform.group_of(key)) < 2 * people
    assert sorted(transform._faces.keys()) == keys_of("unseen")


@pytest.mark.parametrize("subset", ["seen", "all"])
def test_it_takes_the_faces_that_are_reconstructed(tmp_path, monkeypatch, asked, subset):
    config = settings(monkeypatch, reconstruct__subset=subset)
    given = {"faces": Input(write_faces(tmp_path / "import", PEOPLE, IMAGES), SHARED)}
    run_stage(train_recognizer, config, given, tmp_path / "out", "blur")
    assert sorted(asked[0]["faces"].keys()) == keys_of(subset)


def test_the_reconstruction_is_taken_as_it_is(tmp_path, monkeypatch, asked):
    given = {"reconstruct": write_faces(tmp_path / "reconstruct-00000000", people=5, images=3)}
    run_stage(train_recognizer, settings(monkeypatch), given, tmp_path / "out", "reconstruction")
    assert len(asked[0]["faces"]) == 15 and asked[0]["transform"] is None
    assert asked[0]["label"] == "reconstruction"


def test_own_faces_are_taken_as_they_are(tmp_path, monkeypatch, asked):
    place = write_faces(tmp_path / "mine", people=3, images=4)
    config = settings(monkeypatch, recognizer__faces=str(place))
    assert train_recognizer.variants(config) == ("faces",)
    run_stage(train_recognizer, config, {"faces": Input(place, str(place))}, tmp_path / "out", "faces")
    assert len(asked[0]["faces"]) == 12 and asked[0]["transform"] is None and asked[0]["label"] == "faces"


def test_a_set_from_elsewhere_is_taken_whole_and_as_it_is(tmp_path, monkeypatch, asked):
    config = settings(monkeypatch, recognizer__variants=("original", "set:/x/dcface", "set:/y/dcface"))
    assert train_recognizer.variants(config) == ("original", "dcface", "dcface-2")
    assert train_recognizer.reads(config, "dcface-2") == {"faces": Ref("import-faces", "set@dcface-2")}
    assert train_recognizer.outside(config, "dcface") == {}
    given = {"faces": Input(write_faces(tmp_path / "import", people=5, images=3), "set@dcface-2")}
    run_stage(train_recognizer, config, given, tmp_path / "out", "dcface-2")
    (call,) = asked
    assert len(call["faces"]) == 15 and call["transform"] is None and call["label"] == "dcface-2"


def test_it_trains_on_a_variant_and_names_the_model_by_it(tmp_path, monkeypatch):
    config = settings(monkeypatch)
    given = {"faces": Input(write_faces(tmp_path / "import", PEOPLE, IMAGES), SHARED)}
    summary = run_stage(train_recognizer, config, given, tmp_path / "noise-00000000", "noise")
    variables, description = load_model(tmp_path / "noise-00000000")
    people = len(keys_of("unseen")) // IMAGES
    assert (description["kind"], description["name"], description["identities"]) == ("recognizer", "noise", people)
    assert summary["images"] == len(keys_of("unseen")) and "centres_KE" not in variables["params"]


def test_a_batch_larger_than_the_faces_is_refused(tmp_path, monkeypatch):
    given = {"reconstruct": write_faces(tmp_path / "reconstruct", people=5, images=3)}
    with pytest.raises(FacemaeError, match="reconstruction: optim.batch=16 is more than the 15 images to train on"):
        run_stage(
            train_recognizer, settings(monkeypatch, recognizer__optim__batch=16), given, tmp_path / "out", "reconstruction"
        )  # fmt: skip


def test_what_it_reads(monkeypatch):
    config = settings(monkeypatch)
    assert train_recognizer.variants(config) == ("original", "mask", "blur", "reconstruction")
    assert train_recognizer.reads(config, "mask") == {"faces": Ref("import-faces", SHARED)}
    assert train_recognizer.reads(config, "reconstruction") == {"reconstruct": Ref("reconstruct")}
    assert train_recognizer.outside(config, "mask") == {}
    config = settings(monkeypatch, data__unseen="/elsewhere", recognizer__optim__init_from="/weights")
    assert train_recognizer.reads(config, "mask") == {"faces": Ref("import-faces", "unseen")}
    assert train_recognizer.outside(config, "mask") == {"init_from": "checkpoint:/weights"}
    config = settings(monkeypatch, recognizer__faces="/mine", recognizer__optim__init_from="/weights")
    assert train_recognizer.reads(config, "faces") == {}
    assert train_recognizer.outside(config, "faces") == {"faces": "/mine", "init_from": "checkpoint:/weights"}

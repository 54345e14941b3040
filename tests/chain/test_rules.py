import pytest

from facemae_jax.chain import rules, settings
from facemae_jax.types import FacemaeError


@pytest.mark.parametrize("name", ["base.py", "demo.py", "celeba_lfw.py", "celeba_lfw.py:cpu"])
def test_shipped_configs_are_sound(name):
    config = settings.load(f"configs/{name}")
    rules.check(config)
    resolved = rules.resolve(config)
    assert 0 < resolved.mae.visible < (config.data.image_size // config.mae.patch) ** 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"teacher.network": "iresnet5"}, "did you mean iresnet50"),
        ({"recognizer.variants": "original,smear"}, "recognizer.variants=smear"),
        ({"recognizer.variants": "original,original"}, "stands twice"),
        (
            {"recognizer.variants": "original,blurr@2"},
            "recognizer.variants=blurr@2: no such variant (did you mean blur@2?)",
        ),
        ({"audit.variants": "mask@75"}, "audit.variants=mask@75: 75 is out of range"),
        ({"teacher.source": "torch:x"}, "onnx:PATH"),
        ({"teacher.source": "onnx:"}, "onnx:PATH"),
        ({"teacher.more": "onnx:/a,train"}, "teacher.more=train"),
        ({"teacher.count": "0"}, "greater than 0"),
        ({"teacher.count": "2", "teacher.source": "onnx:/a"}, "name further ones in teacher.more"),
        ({"mae.mask_focus": "-1"}, "0 or greater"),
        ({"mae.shift_share": "1.1"}, "from 0 to 1"),
        ({"mae.mask_ratio": "1.5"}, "between 0 and 1"),
        ({"mae.patch": "9"}, "does not divide data.image_size=112"),
        ({"mae.visible": "196"}, "an image has 196 patches"),
        ({"mae.size": "custom"}, "needs mae.width"),
        ({"mae.width": "64"}, "fixes width"),
        ({"mae.size": "custom", "mae.width": "66", "mae.depth": "1", "mae.heads": "4"}, "divisible"),
        ({"irm.group": "some"}, "irm.group=some"),
        ({"irm.form": "gram", "irm.kind": "euclidean"}, "irm.form=gram"),
        ({"mae.pixel_weight": "0", "mae.irm_weight": "0"}, "every loss weight is 0"),
        ({"mae.norm_pix_loss": "true"}, "a leak"),
        ({"reconstruct.composition": "paste"}, "allow_real_pixels"),
        (
            {"reconstruct.composition": "paste", "publish.allow_real_pixels": "true", "reconstruct.people": "2"},
            "reconstruct.people=2 with composition=paste",
        ),
        ({"reconstruct.people": "0"}, "greater than 0"),
        ({"reconstruct.people": "99"}, "reconstruct.people=99: 49 patches of a face are visible"),
        ({"data.seen": "/faces"}, "data.terms is empty"),
        ({"verify.pairs": "/pairs.txt"}, "verify.faces is synthetic"),
        ({"recognizer.variants": "original,set:"}, "name a folder, a zip or a face set directory, as in set:PATH"),
        ({"recognizer.variants": "original,seet:/dcface"}, "set:PATH"),
        (
            {"audit.variants": "original,set:/dcface"},
            "audit.variants=set:/dcface: a set from elsewhere has no originals",
        ),
        (
            {"recognizer.variants": "original,set:/dcface", "audit.judges": "recognizer:set:/dcface"},
            "judges by its weights",
        ),
        ({"verify.protocols.cfp_fp.faces": "/cfp"}, "verify.protocols.cfp_fp.pairs is empty, but"),
        ({"verify.protocols.cfp_fp.pairs": "/cfp"}, "verify.protocols.cfp_fp.faces is empty, but"),
        (
            {"verify.protocols.ijbb.faces": "/ijbb", "verify.protocols.ijbb.pairs": "/pairs.txt"},
            "verify.protocols.ijbb.media is empty",
        ),
        (
            {"verify.protocols.lfw.faces": "synthetic", "verify.protocols.lfw.pairs": "/pairs.txt"},
            "this protocol has faces of its own",
        ),
        (
            {"verify.protocols.lfw.faces": "/lfw", "verify.protocols.lfw.pairs": "/pairs.txt", "verify.faces": ""},
            "but verify.faces is empty",
        ),
        ({"verify.groups": "/groups.csv", "verify.faces": ""}, "so that nobody is verified"),
        ({"audit.judges": "recognizer:noise"}, "among recognizer.variants"),
        ({"audit.judges": "()"}, "at least one judge"),
        ({"audit.max_gallery": "10"}, "must hold the sources"),
        ({"publish.formats": "()"}, "publish.formats is empty"),
        ({"publish.on_excess": "dropp"}, "did you mean drop"),
        ({"publish.budget.figure": "same_face"}, "choose one of same_image, same_identity"),
        ({"publish.budget.limit": "20"}, "from 0 to 1"),
        ({"publish.on_excess": "drop"}, "limit=1.0 is no budget"),
        ({"publish.budget.judge": "teacher"}, "limit=1.0 is no budget"),
        (
            {"publish.budget.limit": "0.2", "publish.budget.images": "4", "publish.on_excess": "resample"},
            "only refuse is possible",
        ),
        (
            {"publish.budget.limit": "0.2", "publish.budget.images": "4", "publish.budget.figure": "same_image"},
            "choose same_identity",
        ),
        (
            {"publish.budget.limit": "0.2", "publish.budget.images": "4", "audit.attacks": "copy"},
            "add fusion to audit.attacks",
        ),
        (
            {"publish.budget.limit": "0.2", "audit.variants": "original,mask", "audit.trained_on": "mask"},
            "add reconstruction to audit.variants",
        ),
        ({"publish.name": "My Faces"}, "small letters"),
        ({"publish.version": "1"}, "MAJOR.MINOR.PATCH"),
        ({"reconstruct.subset": "all", "data.unseen": "/other", "data.terms": "x"}, "one face set"),
    ],
)
def test_contradictions_fail_before_any_work(overrides, expected):
    config = settings.load("configs/base.py", list(overrides.items()))
    with pytest.raises(FacemaeError) as error:
        rules.check(config)
    assert expected in str(error.value)


def test_a_set_from_elsewhere_and_a_whole_protocol_are_sound():
    given = {
        "recognizer.variants": "original,set:/x/dcface,set:faces.zip", "verify.groups": "/groups.csv",
        "verify.protocols.cfp_ff.faces": "/cfp", "verify.protocols.cfp_ff.pairs": "/cfp/Protocol",
        "verify.protocols.ijbc.faces": "/c", "verify.protocols.ijbc.media": "/m", "verify.protocols.ijbc.pairs": "/p",
    }  # fmt: skip
    rules.check(settings.load("configs/base.py", list(given.items())))


def test_every_field_with_choices_or_limits_exists():
    fields = settings.flat(settings.load("configs/base.py"))
    assert not (set(rules.CHOICES) | set(rules.LIMITS) | set(rules.SOURCES)) - set(fields)


def test_every_number_has_a_limit():
    fields = settings.flat(settings.load("configs/base.py"))
    numbers = {name for name, value in fields.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    assert numbers <= set(rules.LIMITS)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"mae.optim.batch": "12"}, "mae.optim.batch"),
        ({"mae.optim.accumulate": "3"}, "does not divide mae.optim.batch"),
        ({"mesh.fsdp": "16"}, "16"),
        ({"irm.group": "7"}, "irm.group=7"),
    ],
)
def test_what_does_not_fit_the_machine_is_said_with_the_field(overrides, expected):
    config = settings.load("configs/base.py", list(overrides.items()))
    rules.check(config)
    with pytest.raises(FacemaeError) as error:
        rules.resolve(config)
    assert expected in str(error.value)


def test_derived_values():
    config = rules.resolve(settings.load("configs/base.py", [("irm.group", "device")]))
    assert config.mae.visible == 49
    assert config.irm.group == str(256 // 8)

import pytest

from facemae_jax.chain import fingerprint as marks
from facemae_jax.chain import graph, rules, settings
from facemae_jax.stages import import_faces
from facemae_jax.stages.verify_protocols import NAMES, TEMPLATES
from facemae_jax.types import FacemaeError

# Fields that only say how fast, how often or where: no stage's result depends on them.
FREE = {
    "name", "mesh.data", "mesh.fsdp", "data.threads", "report.show_originals", "report.images", "mae.keep_pixels",
    *(f"{part}.optim.{name}" for part in ("teacher", "mae", "recognizer") for name in ("log_every", "save_every", "keep_latest", "keep_best")),
}  # fmt: skip


def all_marks(config):
    """ref → fingerprint of the whole chain; outside content is represented by its name in the config."""
    known = {}
    for ref in graph.in_order(config, graph.targets(config)):
        module = graph.STAGES[ref.stage]
        upstream = {name: known[up] for name, up in graph.reads(config, ref).items()}
        known[ref] = marks.fingerprint(config, module, ref.variant, upstream, module.outside(config, ref.variant))
    return known


def other(field, value):
    """Another sound value for a field."""
    special = {
        "data.seen": "/faces", "data.unseen": "/faces", "verify.faces": "/faces", "verify.pairs": "/pairs.txt",
        "data.on_bad_record": "skip", "data.detect": "dlib", "data.landmarks": "/points.csv",
        "teacher.input_range": "bytes", "teacher.colour_order": "bgr",
        "audit.judge_input_range": "bytes", "audit.judge_colour_order": "bgr", "recognizer.variants": ("original", "noise"),
        "audit.variants": ("original", "noise"), "audit.attacks": ("fusion",),
        "audit.trained_on": ("blur",), "audit.aware_start": "tune", "audit.judges": ("recognizer:original",), "publish.formats": ("array_record",),
        "teacher.source": "onnx:/model.onnx", "teacher.more": ("onnx:/more.onnx",),
        "mae.source": "checkpoint:/model", "irm.kind": "euclidean", "irm.form": "gram",
        "irm.group": "16", "reconstruct.subset": "seen", "reconstruct.composition": "paste", "reconstruct.encoding": "png",
        "mae.size": "base", "mae.visible": 50, "mae.optim.optimizer": "sgd", "teacher.optim.optimizer": "adamw",
        "recognizer.optim.optimizer": "adamw", "teacher.network": "cpu", "recognizer.network": "cpu", "mae.patch": 16,
        "mae.optim.betas": (0.8, 0.9), "recognizer.faces": "/faces",
    }  # fmt: skip
    if field in special:
        return special[field]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value * 0.5 + 0.1
    if isinstance(value, tuple):
        return tuple(x * 0.5 for x in value)
    return {"float32": "bfloat16"}.get(value, value + "x")


# With one face set of one's own there is no recognizer:original, so no judge may be that. A list matters beside its faces; only
# real faces are aligned.
BESIDE = (
    {"recognizer.faces": [("audit.judges", "teacher")]}
    | {field: [("data.seen", "/faces")] for field in ("data.detect", "data.landmarks")}
    | {
        f"verify.protocols.{name}.{leaf}": [(f"verify.protocols.{name}.faces", "/faces")]
        for name in NAMES
        for leaf in (("media", "pairs") if name in TEMPLATES else ("pairs",))
    }
)


def changed(field):
    """The stages whose fingerprint changes with one field."""
    before = settings.load("configs/base.py", BESIDE.get(field, ()))
    after = settings.load("configs/base.py", BESIDE.get(field, ()))
    parent = after
    for section in field.split(".")[:-1]:
        parent = parent[section]
    with after.unlocked():
        parent[field.split(".")[-1]] = other(field, settings.flat(before)[field])
    old, new = all_marks(before), all_marks(after)
    return {str(ref) for ref in set(old) | set(new) if old.get(ref) != new.get(ref)}


FIELDS = list(settings.flat(settings.load("configs/base.py")))


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_read_by_some_stage_and_moves_some_result(field, monkeypatch):
    monkeypatch.setattr(
        import_faces, "predictor_path", lambda: "/weights.dat"
    )  # of data.detect, which need not be installed
    # A few fields matter only beside another value: an ONNX teacher, an ONNX judge, a pixelated or noisy variant, a custom size.
    idle = {
        "teacher.input_range", "teacher.colour_order", "audit.judge_input_range", "audit.judge_colour_order",
    }  # fmt: skip
    moved = changed(field)
    if field in FREE:
        assert moved <= {"report"}
    elif field not in idle:
        assert moved
    declared = set()
    config = settings.load("configs/base.py")
    for module in graph.MODULES:
        for variant in module.FIELDS:
            declared |= marks.expand(config, (*module.FIELDS[variant], *module.UNHASHED))
    in_structure = {"data.seen", "data.unseen", "verify.faces", "verify.pairs", "recognizer.faces"}
    assert field in declared | in_structure


def test_a_strength_in_a_name_takes_the_place_of_the_field():
    def marks_of(**distort):
        config = settings.load("configs/base.py", [("recognizer.variants", "original,blur,blur@2,blur@3")])
        config.distort.update(distort)
        return {str(ref): mark for ref, mark in all_marks(config).items()}

    old, new = marks_of(), marks_of(blur=2.5)
    moved = {name for name in old if name.startswith("train-recognizer") and old[name] != new[name]}
    assert moved == {"train-recognizer/blur"}
    assert old["train-recognizer/blur@2"] != old["train-recognizer/blur@3"]


def test_a_further_protocol_touches_what_is_measured_alone():
    given = [("verify.protocols.lfw.faces", "/lfw"), ("verify.protocols.lfw.pairs", "/pairs.txt")]
    old, new = (
        {str(ref): mark for ref, mark in all_marks(settings.load("configs/base.py", more)).items()}
        for more in ([], given)
    )
    moved = {name for name in new if old.get(name) != new[name]}
    assert moved == {"import-faces/verify@lfw", "verify", "publish", "report"}


def test_a_set_from_elsewhere_is_known_by_its_name_and_content():
    def chain(*variants, **data):
        config = settings.load("configs/base.py", [("recognizer.variants", ",".join(variants))])
        config.data.update(data)
        config.synthetic.seed = len(data)
        verify = graph.STAGES["verify"]
        return {str(ref): mark for ref, mark in all_marks(config).items()}, marks.hashed_fields(config, verify, "")

    known, fields = chain("original", "set:/a/dcface", "set:/b/dcface")
    assert {"import-faces/set@dcface", "train-recognizer/dcface", "import-faces/set@dcface-2"} <= set(known)
    assert known["train-recognizer/dcface"] != known["train-recognizer/dcface-2"]
    assert fields["recognizer.variants"] == ("original", "set:dcface", "set:dcface-2")  # no place
    other = chain("original", "set:/a/dcface", "set:/b/dcface", seen_share=0.25)[0]
    moved = {name for name in known if known[name] != other[name]}
    # A set from elsewhere has nothing to do with our people.
    assert "train-recognizer/original" in moved and not [name for name in moved if "dcface" in name]


def test_what_a_change_touches():
    everything_after_mae = {
        "train-mae",
        "reconstruct",
        "train-recognizer/reconstruction",
        "verify",
        "audit",
        "publish",
        "report",
    }
    assert changed("mae.irm_weight") == everything_after_mae
    # The page is on what was measured: it is there, too, where publishing is refused.
    assert changed("publish.description") == {"publish"}
    assert changed("distort.blur") == {"train-recognizer/blur", "verify", "audit", "publish", "report"}
    assert "train-mae" not in changed("verify.count") and "train-recognizer/original" not in changed("verify.count")
    assert "train-mae" not in changed("audit.max_queries")
    assert not {"train-teacher", "train-mae"} & changed("recognizer.optim.epochs")


def test_a_stage_sees_only_what_it_declares():
    config = rules.resolve(settings.load("configs/base.py"))
    part = marks.view(config, graph.STAGES["train-teacher"], "")
    assert part.teacher.network == "iresnet18"
    with pytest.raises(AttributeError):
        _ = part.mae


def test_outside_content_counts_and_its_place_does_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.bin").write_bytes(b"one")
    cache = tmp_path / "cache"
    first = marks.outside_digest("source", str(tmp_path / "a"), cache)
    (tmp_path / "a").rename(tmp_path / "b")
    assert marks.outside_digest("source", str(tmp_path / "b"), cache) == first
    (tmp_path / "b" / "x.bin").write_bytes(b"two")
    assert marks.outside_digest("source", str(tmp_path / "b"), cache) != first
    with pytest.raises(FacemaeError, match="does not exist"):
        marks.outside_digest("source", str(tmp_path / "c"), cache)


def test_the_secret_is_never_hashed_openly(tmp_path):
    import hashlib

    (tmp_path / "secret").write_bytes(bytes(range(32)))
    digest = marks.outside_digest("secret", str(tmp_path / "secret"), tmp_path / "cache")
    assert digest != hashlib.sha256(bytes(range(32))).hexdigest() and len(digest) == 64

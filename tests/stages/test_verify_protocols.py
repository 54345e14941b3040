"""Several protocols and groups in one ``verify``: on the toy people of ``verify_help``, whose recognizers see or are blind."""

import numpy as np
import pytest
from verify_help import IMAGES, PEOPLE, make_world, settings, stage

from facemae_jax.data.pairs import generate_pairs
from facemae_jax.metrics.gaps import gaps
from facemae_jax.stages import import_faces, verify, verify_protocols
from facemae_jax.stages.inputs import Input, Ref
from facemae_jax.stages.verify_protocols import AVERAGED, NAMES, TEMPLATES
from facemae_jax.types import FacemaeError

KEYS = [f"p{person:02d}/{image}" for person in range(PEOPLE) for image in range(IMAGES)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    return make_world(tmp_path, monkeypatch)


def asked(**places):
    """A config that asks for these protocols: name → place of the faces."""
    config = settings()
    for name, place in places.items():
        config.verify.protocols[name].update({leaf: f"/{name}.{leaf}" for leaf in config.verify.protocols[name]})
        config.verify.protocols[name].faces = place
    return config


def csv_list(path, people=8):
    """Of each person two pairs with himself and two with the next."""
    lines = ["left,right,same,fold"]
    for person in range(people):
        here, there = IMAGES * person, IMAGES * ((person + 1) % people)
        for other in (1, 2):
            lines += [
                f"{KEYS[here]},{KEYS[here + other]},1,{person % 4}",
                f"{KEYS[here]},{KEYS[there + other]},0,{person % 4}",
            ]
    path.write_text("\n".join(lines) + "\n")
    return Input(path)


def ijb_lists(folder):
    """Two templates of two images for every person; all pairs of templates."""
    media, pairs = folder / "tid_mid.txt", folder / "pair_label.txt"
    template = [2 * (n // IMAGES) + (n % IMAGES) // 2 for n in range(len(KEYS))]
    named = [(key, t) for key, t, n in zip(KEYS, template, range(len(KEYS)), strict=True) if n % IMAGES < 4]
    media.write_text("".join(f"{key}.png {100 + t} {place}\n" for place, (key, t) in enumerate(named)))
    count = 2 * PEOPLE
    pairs.write_text(
        "".join(f"{100 + a} {100 + b} {int(a // 2 == b // 2)}\n" for a in range(count) for b in range(a + 1, count))
    )
    return {"media:ijbb": Input(media), "pairs:ijbb": Input(pairs)}


def test_without_protocols_the_result_has_its_old_form(world):
    tmp_path, inputs = world
    _, result = stage(settings(), inputs, tmp_path)
    assert list(result) == ["protocol", "rows", "differences"]
    assert list(result["protocol"]) == ["pairs", "count", "positive", "folds", "images", "flip"]


def test_pairs_and_templates_beside_the_main_pairs(world, capsys):
    tmp_path, inputs = world
    faces = Input(tmp_path / "import-faces", "verify@csv")
    inputs |= {"faces:csv": faces, "faces:ijbb": faces, "pairs:csv": csv_list(tmp_path / "own.csv")} | ijb_lists(
        tmp_path
    )
    plain = stage(settings(), {k: v for k, v in inputs.items() if not k.endswith(("csv", "ijbb"))}, tmp_path)[1]
    capsys.readouterr()
    _, result = stage(asked(csv="/x", ijbb="/x"), inputs, tmp_path)
    assert {name: result[name] for name in plain} == plain  # the main pairs stay as they are
    assert list(result["protocols"]) == ["csv", "ijbb"] and "average" not in result
    own, ijb = result["protocols"]["csv"], result["protocols"]["ijbb"]
    assert own["protocol"] == dict(count=32, positive=16, folds=4, images=8 * 3, flip=True)
    assert ijb["protocol"] == dict(count=24 * 23 // 2, positive=12, templates=24, images=12 * 4, flip=True)
    names = [row["name"] for row in result["rows"]]
    assert [row["name"] for row in own["rows"]] == [row["name"] for row in ijb["rows"]] == names
    seeing, blind = own["rows"][0], own["rows"][1]
    assert seeing["accuracy"]["mean"] > 0.9 > 0.8 > blind["accuracy"]["mean"]
    assert ijb["rows"][0]["tar_at_far"]["0.1"] > 0.9 > 0.6 > ijb["rows"][1]["tar_at_far"]["0.1"]
    real = seeing["accuracy"]["mean"]
    assert own["gap_to_real"]["mask"] == pytest.approx((real - blind["accuracy"]["mean"]) / blind["accuracy"]["mean"])
    assert result["gap_to_real"] == gaps(result["rows"]) and set(result["gap_to_real"]) == {"mask", "reconstruction"}
    told = capsys.readouterr().out
    (line,) = [line for line in told[told.index("every protocol") :].splitlines() if line.split()[:1] == ["mask"]]
    assert f"{100 * blind['accuracy']['mean']:.2f}" in line and f"{100 * own['gap_to_real']['mask']:+.2f}" in line


def test_the_five_of_the_papers_have_an_average(world, monkeypatch, capsys):
    tmp_path, inputs = world
    lists = {
        name: generate_pairs(np.repeat(np.arange(PEOPLE), IMAGES), count=80, folds=4, seed=n)
        for n, name in enumerate(AVERAGED)
    }
    monkeypatch.setattr(verify_protocols, "read_protocol", lambda name, path, faces: lists[name])
    for name in AVERAGED:
        inputs |= {f"faces:{name}": Input(tmp_path / "import-faces"), f"pairs:{name}": Input(tmp_path)}
    _, result = stage(asked(**dict.fromkeys(AVERAGED, "/x")), inputs, tmp_path)
    average = result["average"]
    assert average["over"] == ["lfw", "cfp_fp", "agedb_30", "calfw", "cplfw"]
    for place, row in enumerate(average["rows"]):
        parts = [result["protocols"][name]["rows"][place]["accuracy"] for name in AVERAGED]
        assert row["name"] == result["rows"][place]["name"]
        assert row["accuracy"]["mean"] == pytest.approx(np.mean([part["mean"] for part in parts]))
        errors = [part["standard_error"] for part in parts]
        assert row["accuracy"]["standard_error"] == pytest.approx(np.sqrt(np.sum(np.square(errors))) / 5)
    mask, real = average["rows"][1]["accuracy"]["mean"], average["rows"][0]["accuracy"]["mean"]
    assert average["gap_to_real"]["mask"] == pytest.approx((real - mask) / mask)
    assert "average" in capsys.readouterr().out


def test_groups_are_told_apart(world, capsys):
    tmp_path, inputs = world
    people = [f"{person}" for person in range(PEOPLE)]
    lines = [f"{name},{'a' if int(name) % 2 else 'b'}" for name in people[:-2]]
    (tmp_path / "groups.csv").write_text("identity,group\n" + "\n".join(lines) + "\n")
    config = settings(verify_groups="/groups.csv")
    _, result = stage(config, inputs | {"groups": Input(tmp_path / "groups.csv")}, tmp_path)
    assert [row["name"] for row in result["groups"]] == [row["name"] for row in result["rows"]]
    row = result["groups"][0]
    assert list(row["groups"]) == ["a", "b"] and row["pairs"] + row["left_out"] == 200 and row["left_out"] > 0
    accuracies = [group["accuracy"] for group in row["groups"].values()]
    assert row["trade_off"] == pytest.approx(np.mean(accuracies) - np.std(accuracies)) and row["mean"] > 0.9
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    pairs = generate_pairs(labels, count=200, folds=5, seed=verify.PAIRS_SEED)
    left, right = labels[pairs.left_n], labels[pairs.right_n]
    alike = (left % 2 == right % 2) & (left < PEOPLE - 2) & (right < PEOPLE - 2)
    assert row["pairs"] == np.count_nonzero(alike) > np.count_nonzero(alike & pairs.same_n) > 0
    assert sum(group["positive"] for group in row["groups"].values()) == np.count_nonzero(alike & pairs.same_n)
    told = capsys.readouterr().out
    assert (
        f"{row['pairs']} pairs within a group, {row['left_out']} others" in told
        and f"{100 * row['trade_off']:.2f}" in told
    )


def test_what_it_reads_and_imports():
    config = asked(cfp_ff="/cfp", cfp_fp="/cfp", lfw="/lfw", ijbc="/ijbc")
    config.verify.faces = "/lfw"
    reads = {name: ref for name, ref in verify.reads(config, "").items() if name.startswith("faces")}
    assert reads == {
        "faces": Ref("import-faces", "verify"), "faces:lfw": Ref("import-faces", "verify"),
        "faces:cfp_ff": Ref("import-faces", "verify@cfp_ff"), "faces:cfp_fp": Ref("import-faces", "verify@cfp_ff"),
        "faces:ijbc": Ref("import-faces", "verify@ijbc"),
    }  # fmt: skip
    lists = {name: place for name, place in verify.outside(config, "").items() if ":" in name}
    assert lists == {
        "pairs:lfw": "/lfw.pairs", "pairs:cfp_ff": "/cfp_ff.pairs", "pairs:cfp_fp": "/cfp_fp.pairs", "pairs:ijbc": "/ijbc.pairs",
        "media:ijbc": "/ijbc.media",
    }  # fmt: skip
    assert import_faces.variants(config) == ("faces", "verify", "verify@cfp_ff", "verify@ijbc")
    assert import_faces.outside(config, "verify@ijbc") == {"source": "/ijbc"}
    config.verify.faces = ""
    assert import_faces.variants(config) == ("faces",)


def test_the_config_has_every_protocol_and_no_other():
    config = settings()
    assert set(config.verify.protocols) == set(NAMES) and set(AVERAGED) < set(NAMES)
    assert {name for name in NAMES if "media" in config.verify.protocols[name]} == set(TEMPLATES)


def test_an_image_that_is_not_there_is_named(world):
    tmp_path, inputs = world
    (tmp_path / "own.csv").write_text("left,right,same,fold\np00/0,nobody/0,1,0\n")
    inputs |= {"faces:csv": Input(tmp_path / "import-faces"), "pairs:csv": Input(tmp_path / "own.csv")}
    with pytest.raises(FacemaeError, match="nobody/0"):
        stage(asked(csv="/x"), inputs, tmp_path)
    assert not (tmp_path / "verify-00000000" / "verify.json").exists()

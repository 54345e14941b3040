import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from facemae_jax.audit.matching import matching
from facemae_jax.audit.retrieval_attack import retrieval_attack
from facemae_jax.chain import settings as files
from facemae_jax.chain.fingerprint import view
from facemae_jax.chain.provenance import hardware, versions
from facemae_jax.data.face_set_writer import FaceSetWriter
from facemae_jax.data.images import encode_png
from facemae_jax.metrics.verification import verification
from facemae_jax.stages import report
from facemae_jax.stages.inputs import SHARED, Input, Inputs, Ref
from facemae_jax.types import Record

SIZE, COUNT = 8, 12
PEOPLE = ("Ada_Lovelace", "Grace_Hopper", "José Núñez", "李小龍")
PLACES = ("/srv/private-faces/celebrities.zip", "hidden_folder")
ORDER = np.random.default_rng(5).permutation(COUNT)
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)


def write_faces(path, images, labels, keys, **more):
    writer = FaceSetWriter(path / "faces" / "1.0.0", name="faces", image_size=SIZE, encoding="png", **more)
    records = [Record(encode_png(i), int(n), key) for i, n, key in zip(images, labels, keys, strict=True)]
    writer.write_shard(0, records)
    writer.finish(len(records))


def audit():
    random, labels = np.random.default_rng(1), np.arange(COUNT) // 3
    rows = random.normal(size=(2, COUNT, 4)) + 2 * random.normal(size=(4, 4))[labels]
    gallery, queries = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    truth = dict(sources_Q=np.arange(COUNT), labels_G=labels)
    variants = {
        "reconstruction": dict(
            retrieval=retrieval_attack(queries, gallery, **truth), matching=matching(queries, gallery, **truth)
        )
    }
    judge = dict(
        name="teacher",
        independent=False,
        reason="itself",
        variants=variants,
        ceiling=retrieval_attack(gallery, gallery, **truth),
    )
    return dict(queries=COUNT, gallery=COUNT, judges=[judge])


def verify():
    same, fold = np.tile([True, False], 60), np.repeat(np.arange(3), 40)
    row = verification(same + np.random.default_rng(2).normal(size=120), same, fold)
    protocol = dict(pairs="generated", count=120, positive=60, folds=3, images=40, flip=True)
    return dict(protocol=protocol, rows=[dict(name="reconstruction", kind="recognizer") | row], differences={})


def settings(**changes):
    config = files.load("configs/base.py")
    config.name = "toy run"
    config.data.seen_share = 0.0
    config.recognizer.variants = ("reconstruction",)
    config.audit.update(judges=("teacher",), variants=("reconstruction",))
    for field, value in changes.items():
        section, _, leaf = field.partition("_")
        config[section][leaf] = value
    return config


def done(number):
    """As the chain writes it; some of the settings are places of files."""
    fields = {"seed": 0, "mae.width": 32, "data.terms": f"as of {PLACES[0]}", "recognizer.faces": PLACES[1]}
    return dict(
        fields=fields, commit=f"abc{number % 2}", versions=versions() | {"toy": number}, hardware=hardware(), began=float(number), seconds=1.5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Finished stages: originals with names, a release that is their negative in another order, figures, logs."""
    path, labels = tmp_path_factory.mktemp("world"), np.arange(COUNT) // 3
    keys = [f"{PEOPLE[label]}/{n:04d}.png" for n, label in enumerate(labels)]
    write_faces(path / "import-faces/faces", IMAGES, labels, keys, identity_names=PEOPLE)
    write_faces(path / "reconstruct", 255 - IMAGES[ORDER], labels[ORDER], [f"{n:024x}" for n in ORDER])
    np.savez(path / "reconstruct" / "private.npz", source_positions_n=ORDER)
    made = dict(images=COUNT, identities=4, visible_share=0.25, composition="full", people=1)
    for stage, name, content in (
        ("reconstruct", "reconstruct", made),
        ("audit", "audit", audit()),
        ("verify", "verify", verify()),
    ):
        (path / stage).mkdir(exist_ok=True)
        (path / stage / f"{name}.json").write_text(json.dumps(content))
    for stage in ("train-mae", "train-recognizer/reconstruction"):
        (path / stage).mkdir(parents=True)
        lines = [dict(step=step, loss=1.0 / step, pixel=None if step == 2 else 1.0) for step in (1, 2, 3)]
        (path / stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def page(world, out, **changes):
    """The page and the stage's summary."""
    config = settings(**changes)
    asked = {**report.reads(config, ""), **report.outside(config, "")}
    given = {name: Input(world / str(ref), ref.variant) for name, ref in asked.items()}
    for number, found in enumerate(given.values()):
        found.path.mkdir(parents=True, exist_ok=True)
        (found.path / "done.json").write_text(json.dumps(done(number)))
    out.mkdir(exist_ok=True)
    summary = report.run(view(config, report, ""), Inputs(given, world), out, "")
    return (out / "report.html").read_text(encoding="utf-8"), summary


@pytest.fixture(scope="module")
def plain(world, tmp_path_factory):
    return page(world, tmp_path_factory.mktemp("report"))


def grids(text):
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def cells(grid):
    """The images of a grid of eight columns and two white pixels between them, in order; empty places left out."""
    step = SIZE + 2
    places = [(y, x) for y in range(0, grid.shape[0], step) for x in range(0, grid.shape[1], step)]
    found = [grid[y : y + SIZE, x : x + SIZE] for y, x in places]
    return np.stack([cell for cell in found if (cell != 255).any()])


def test_the_page_shows_reconstructions_and_no_original(plain):
    text, _ = plain
    (grid,) = grids(text)  # and no other picture
    np.testing.assert_array_equal(cells(grid), 255 - IMAGES[ORDER])
    assert not {image.tobytes() for image in cells(grid)} & {image.tobytes() for image in IMAGES}
    assert "shows original faces" not in text


def test_originals_stand_in_the_order_of_their_reconstructions(world, tmp_path):
    text, _ = page(world, tmp_path, report_show_originals=True, report_images=5)
    painted, originals = map(cells, grids(text))
    assert len(painted) == 5
    np.testing.assert_array_equal(originals, 255 - painted)
    assert "shows original faces" in text


def test_without_originals_their_key_is_not_even_read(world, plain, tmp_path, monkeypatch):
    """Which reconstruction is whose is in a private file; a page without originals does not open it."""
    monkeypatch.setattr(report.np, "load", lambda *_: pytest.fail("private.npz was opened"))
    monkeypatch.setattr(report, "pick_faces", lambda *_: pytest.fail("the originals were opened"))
    assert page(world, tmp_path)[0] == plain[0]  # and the same figures give the same bytes


@pytest.mark.parametrize("originals", [False, True])
def test_no_name_key_or_place_is_in_the_page(world, plain, tmp_path, originals):
    text = page(world, tmp_path, report_show_originals=True)[0] if originals else plain[0]
    words = re.sub(r"base64,[^\"]*", "", text).casefold()
    hidden = {*PEOPLE, "Lovelace", "Hopper", "Núñez", *PLACES, "celebrities", "private-faces"}
    hidden |= {str(world), world.name, str(tmp_path), f"{0:024x}", "0004.png"}
    assert not [word for word in hidden if word.casefold() in words]


def test_the_page_needs_nothing_but_itself(plain):
    text = plain[0]
    assert not re.findall(r"<(?:script|link|iframe|object|embed|base)\b", text)
    assert not [value for value in re.findall(r'(?:src|href)="([^"]*)"', text) if not value.startswith(("data:", "#"))]
    assert not re.search(r"\b(nan|NaN|None)\b", re.sub(r"base64,[^\"]*", "", text))


def test_provenance_and_figures_are_told(plain):
    text, summary = plain
    stages = len(report.reads(settings(), ""))
    assert "toy run" in text and "abc0, abc1" in text and f"<dd>{1.5 * stages:.0f} s</dd>" in text
    assert f"jax {versions()['jax']}" in text and f"toy {stages - 1}<" in text  # versions of the newest stage
    assert "<dt>mae.width</dt><dd>32</dd>" in text and "data.terms" not in text
    for figure in ("train-mae", "train-recognizer/reconstruction"):
        assert f"<figcaption>{figure}<p" in text
    assert 'id="verification"' in text
    assert "reconstruction" in summary["table"].splitlines()[-1] and "±" in summary["table"]


def test_without_faces_to_verify_on(world, tmp_path):
    text, summary = page(world, tmp_path, verify_faces="", audit_judges=("teacher",))
    assert "Utility was not measured" in text and summary["table"].splitlines()[-1].split()[1] == "–"


@pytest.mark.parametrize(
    ("wanted", "expected"), [(5, [0, 3, 6, 8, 11]), (1, [0]), (0, [0]), (12, list(range(12))), (99, list(range(12)))]
)
def test_images_are_spread_evenly_and_not_chosen(wanted, expected):
    assert report._spread(COUNT, wanted).tolist() == expected


def test_what_it_reads():
    found = report.reads(settings(), "")
    assert {"audit", "reconstruct", "faces", "train-mae", "verify", "train-recognizer/reconstruction"} <= set(found)
    assert found["faces"] == Ref("import-faces", SHARED) and found["verify"] == Ref("verify")
    assert report.outside(settings(), "") == {} and "verify" not in report.reads(settings(verify_faces=""), "")
    two = settings(data_seen="/a", data_unseen="/b")
    assert report.reads(two, "")["faces"] == Ref("import-faces", "unseen")

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemae_jax.chain.fingerprint import view
from facemae_jax.chain.settings import load
from facemae_jax.data.face_set import check_image_size, open_face_set
from facemae_jax.data.images import decode_record
from facemae_jax.data.split import split_identities
from facemae_jax.data.synthetic import render
from facemae_jax.stages import import_faces
from facemae_jax.stages.inputs import Input, Inputs, pick_faces
from facemae_jax.types import FacemaeError

SIZE = 16


def picture(number: int, kind: str = "JPEG", size: int = SIZE, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def fill(path: Path, images: dict[str, bytes]) -> Path:
    for key, data in images.items():
        (path / key).parent.mkdir(parents=True, exist_ok=True)
        (path / key).write_bytes(data)
    return path


def people(count: int, images: int = 2) -> dict[str, bytes]:
    return {f"p{k:02d}/{i}.jpg": picture(10 * k + i) for k in range(count) for i in range(images)}


def run(out: Path, source: Path | str, variant: str = "faces", **fields) -> dict:
    config = load("configs/base.py", [("data.image_size", str(SIZE)), *((f, str(v)) for f, v in fields.items())])
    out.mkdir(exist_ok=True)
    inputs = Inputs({"source": Input(Path(source), str(source))}, out)
    return import_faces.run(view(config, import_faces, variant), inputs, out, variant)


def test_variants_and_sources_follow_the_config():
    def config(**fields):
        return load("configs/base.py", [(f.replace("_", "."), v) for f, v in fields.items()])

    shared = config(data_seen="a.zip")
    assert import_faces.variants(shared) == ("faces", "verify")
    assert import_faces.variants(config(data_seen="a.zip", data_unseen="a.zip")) == ("faces", "verify")
    assert import_faces.variants(config(verify_faces="")) == ("faces",)
    parted = config(data_seen="a.zip", data_unseen="b.zip", verify_faces="c.zip")
    assert import_faces.variants(parted) == ("seen", "unseen", "verify")
    sources = {variant: import_faces.outside(parted, variant)["source"] for variant in import_faces.variants(parted)}
    assert sources == {"seen": "a.zip", "unseen": "b.zip", "verify": "c.zip"}
    assert import_faces.outside(shared, "faces") == {"source": "a.zip"} and import_faces.reads(shared, "faces") == {}


def test_sets_from_elsewhere_are_imported_for_their_recognizers_alone():
    def config(**fields):
        return load("configs/base.py", [("recognizer.variants", "original,set:a/dcface,set:b/dcface"), *fields.items()])

    assert import_faces.variants(config()) == ("faces", "verify", "set@dcface", "set@dcface-2")
    assert import_faces.outside(config(), "set@dcface-2") == {"source": "b/dcface"}
    assert import_faces.variants(config(**{"recognizer.faces": "/mine"})) == ("faces", "verify")


def test_people_with_few_images_are_left_out_of_training_and_not_of_protocols(tmp_path):
    source = fill(tmp_path / "in", people(3) | {"lonely/0.jpg": picture(99)})
    for variant, left in (("set@dcface", 1), ("verify@lfw", 0)):
        run(tmp_path / variant, source, variant, **{"data.min_images": 2})
        report = json.loads((tmp_path / variant / "report.json").read_text())
        assert report["left_out"]["identities"] == left and report["variant"] == variant and "split" not in report


def test_folder_is_imported_split_and_told(tmp_path, capsys):
    images = people(5) | {
        "p00/2.png": picture(99, "PNG", 40),
        "p00/notes.txt": b"x",
        "Thumbs.db": b"x",
        "p05/only.webp": picture(7, "WEBP"),
    }
    summary = run(tmp_path / "out", fill(tmp_path / "in", images))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["skipped"] == [] and summary == report | {"skipped": 0}
    names = [f"p{k:02d}" for k in range(6)]
    seen_K = split_identities(names, 0.5, 0)
    per_K = np.array([3, 2, 2, 2, 2, 1])
    expected = {
        "images": 12,
        "identities": 6,
        "images_per_identity": {"min": 1, "median": 2.0, "max": 3},
        "one_image": 1,
        "unchanged": 10,
        "encoded": 2,
        "ignored": {".db files": 1, ".txt files": 1},
        "left_out": {"identities": 0, "images": 0, "min_images": 1},
        "split": {
            "seen_share": 0.5,
            "split_seed": 0,
            "seen": {"identities": 3, "images": int(per_K[seen_K].sum())},
            "unseen": {"identities": 3, "images": int(per_K[~seen_K].sum())},
        },
    }
    assert {name: report[name] for name in expected} == expected
    said = capsys.readouterr().out
    for words in (
        "12 images of 6 identities (1–3 each)",
        "single image",
        "seen: 3 identities",
        "1 .db files, 1 .txt files",
    ):
        assert words in said
    faces = open_face_set(tmp_path / "out" / "faces")
    assert faces.path == tmp_path / "out" / "faces" / "1.0.0" and faces.identity_names == names
    assert faces.keys() == sorted(key for key in images if "." in key and "/" in key and "notes" not in key)
    check_image_size(faces, SIZE)
    config = load("configs/base.py")
    seen, unseen = (pick_faces(config, Input(tmp_path / "out", "faces"), side) for side in ("seen", "unseen"))
    assert len(seen) + len(unseen) == 12 and not set(seen.labels_n) & set(unseen.labels_n)
    assert not (tmp_path / "out" / "notes").exists() and not list(tmp_path.glob("out/faces/*.partial"))


def test_zip_gives_the_same_as_its_folder(tmp_path):
    images = people(3)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as file:
        for key, data in images.items():
            file.writestr(key, data)
    run(tmp_path / "a", tmp_path / "in.zip")
    run(tmp_path / "b", fill(tmp_path / "in", images))
    assert open_face_set(tmp_path / "a").digest == open_face_set(tmp_path / "b").digest


def test_names_in_any_script(tmp_path):
    names = ["Ελένη", "Дмитрий", "李 小龙", "عمر", "José", "नेहा"]
    run(tmp_path / "out", fill(tmp_path / "in", {f"{name}/фото {i}.jpg": picture(i) for i, name in enumerate(names)}))
    faces = open_face_set(tmp_path / "out")
    assert faces.identity_names == sorted(names) and all(faces[i].key in faces.keys() for i in range(6))


def test_face_set_of_another_size_is_resized(tmp_path):
    run(tmp_path / "a", fill(tmp_path / "in", people(3)))
    summary = run(tmp_path / "b", tmp_path / "a" / "faces" / "1.0.0", "unseen", **{"data.image_size": 8})
    before, after = open_face_set(tmp_path / "a"), open_face_set(tmp_path / "b")
    assert summary["encoded"] == 6 and "split" not in summary
    assert after.keys() == before.keys() and after.identity_names == before.identity_names
    assert after.image_size == 8 and decode_record(after[0].image).shape == (8, 8, 3)
    again = run(tmp_path / "c", tmp_path / "a" / "faces" / "1.0.0", "seen")
    assert again["unchanged"] == 6 and open_face_set(tmp_path / "c").digest == before.digest


def test_rendered_people_and_those_for_evaluation_are_others(tmp_path):
    fields = {"synthetic.identities": 3, "synthetic.images": 2, "verify.identities": 2, "verify.images": 3}
    run(tmp_path / "faces", "synthetic", "faces", **fields)
    run(tmp_path / "verify", "synthetic", "verify", **fields)
    faces, verify = (open_face_set(tmp_path / variant) for variant in ("faces", "verify"))
    assert (len(faces), faces.identities, len(verify), verify.identities) == (6, 3, 6, 2)
    assert not set(faces.identity_names) & set(verify.identity_names)
    number = int(verify.identity_names[0].removeprefix("person-"))
    assert number >= import_faces.EVALUATION
    expected = render(number, 0, seed=0, size=SIZE)
    assert np.abs(decode_record(verify[0].image).astype(int) - expected).mean() < 4


def test_too_many_rendered_people_would_meet_those_for_evaluation(tmp_path):
    with pytest.raises(FacemaeError, match=r"--config\.synthetic\.identities=1000001: at most 1000000"):
        run(tmp_path / "out", "synthetic", **{"synthetic.identities": 1_000_001})


def test_min_images_is_for_training_and_not_for_verification(tmp_path):
    source = fill(tmp_path / "in", people(3, 3) | {"alone/1.jpg": picture(1)})
    assert run(tmp_path / "a", source, **{"data.min_images": 2})["left_out"] == {
        "identities": 1,
        "images": 1,
        "min_images": 2,
    }
    config = load("configs/base.py", [("data.image_size", str(SIZE)), ("data.min_images", "2")])
    (tmp_path / "b").mkdir()
    inputs = Inputs({"source": Input(source, str(source))}, tmp_path)
    told = import_faces.run(view(config, import_faces, "verify"), inputs, tmp_path / "b", "verify")
    assert told["identities"] == 4


def test_finished_import_reads_nothing_again(tmp_path, monkeypatch):
    source = fill(tmp_path / "in", people(2))
    before = run(tmp_path / "out", source)
    monkeypatch.setattr(import_faces, "open_source", None)
    assert run(tmp_path / "out", source) == before


@pytest.mark.parametrize("damage", ["report", "faces"])
def test_import_killed_at_its_end_is_finished(tmp_path, monkeypatch, damage):
    source = fill(tmp_path / "in", people(2))

    def killed(*_, **__):
        raise KeyboardInterrupt

    target = (import_faces, "write_json") if damage == "report" else (import_faces.shutil, "rmtree")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(*target, killed)
        run(tmp_path / "out", source)
    assert run(tmp_path / "out", source)["images"] == 4 and not (tmp_path / "out" / "notes").exists()


BAD = {
    "empty": (b"", "empty"),
    "text": (b"not a picture", "no image that can be read"),
    "truncated": (picture(1)[:200], "truncated"),
    "large": (picture(1, size=80), "6,400 pixels, more than data.max_pixels=5,000"),
    "animated": (picture(1, "WEBP", save_all=True, append_images=[Image.new("RGB", (SIZE, SIZE))]), "animated"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_image_is_named_or_skipped(tmp_path, kind, capsys):
    data, reason = BAD[kind]
    source = fill(tmp_path / "in", people(2) | {"p01/bad.jpg": data})
    with pytest.raises(FacemaeError, match=rf"p01/bad\.jpg: .*{reason}.*data\.on_bad_record=skip") as caught:
        run(tmp_path / "fail", source, **{"data.max_pixels": 5000})
    assert "\n" not in str(caught.value)
    summary = run(tmp_path / "skip", source, **{"data.max_pixels": 5000, "data.on_bad_record": "skip"})
    report = json.loads((tmp_path / "skip" / "report.json").read_text())
    assert summary["skipped"] == 1 and summary["images"] == 4
    assert report["skipped"][0]["file"] == "p01/bad.jpg" and reason in report["skipped"][0]["reason"]
    assert "1 bad images skipped" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [
        picture(1, "PNG", mode="L"),
        picture(1, mode="CMYK"),
        picture(1, "PNG", mode="RGBA"),
        picture(1, "PNG", mode="P"),
        picture(1, "BMP"),
    ],
    ids=["grey", "cmyk", "rgba", "palette", "bmp"],
)
def test_unusual_images_are_converted(tmp_path, data):
    summary = run(tmp_path / "out", fill(tmp_path / "in", people(2) | {"p00/odd.png": data}))
    faces = open_face_set(tmp_path / "out")
    odd = next(record for record in faces if record.key == "p00/odd.png")
    assert summary["encoded"] == 1 and decode_record(odd.image).shape == (SIZE, SIZE, 3)


def refusals(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    def packed(name: str, *entries: tuple[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for entry, data in entries:
                file.writestr(entry, data)
        return tmp_path / name

    whole = [*people(2).items()]
    return {
        "empty folder": (
            fill(tmp_path / "empty", {"notes.txt": b"x"}),
            r"no faces found; .*identity/image.*ignored: 1 \.txt files",
        ),
        "flat folder": (
            fill(tmp_path / "flat", {"1.jpg": picture(1)}),
            r"no faces found.*images outside the folders of identities",
        ),
        "one identity": (fill(tmp_path / "one", people(1)), r"1 identity with images, but at least two are needed"),
        "nowhere": (tmp_path / "nowhere", "no such file or folder"),
        "climbing zip": (packed("climb.zip", *whole, ("../x/1.jpg", b"x")), "leads out of the archive"),
        "empty zip": (packed("empty.zip"), "no faces found"),
        "one form": (
            fill(tmp_path / "forms", people(1) | {"jos\u00e9/1.jpg": b"", "jose\u0301/1.jpg": b""}),
            "Unicode form",
        ),
    }


@pytest.mark.parametrize(
    "kind", ["empty folder", "flat folder", "one identity", "nowhere", "climbing zip", "empty zip", "one form"]
)
def test_source_that_is_no_use_is_refused_before_any_work(tmp_path, kind):
    source, message = refusals(tmp_path)[kind]
    with pytest.raises(FacemaeError, match=message) as caught:
        run(tmp_path / "out", source)
    assert "\n" not in str(caught.value) and not (tmp_path / "out" / "faces" / "1.0.0").exists()

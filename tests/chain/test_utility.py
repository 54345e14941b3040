"""A whole chain with two sets from elsewhere of one folder name, a protocol of its own, and groups of people."""

import csv
import json
import re

import pytest
from PIL import Image

from facemae_jax.data.face_set import open_face_set
from facemae_jax.data.synthetic import render

SIZE = 32


def write_people(folder, first, count=4, images=4):
    for person in range(first, first + count):
        (folder / f"person{person}").mkdir(parents=True)
        for image in range(images):
            pixels = render(person, image, seed=9, size=SIZE)
            Image.fromarray(pixels).save(folder / f"person{person}" / f"{image}.png")
    return folder


@pytest.mark.slow
def test_sets_protocols_and_groups_reach_the_report(enter, tmp_path):
    rivals = [write_people(tmp_path / place / "rival", first) for place, first in (("here", 0), ("there", 10))]
    faces = write_people(tmp_path / "hidden_place" / "faces", 20, count=8)
    with open(tmp_path / "own.csv", "w") as file:
        rows = csv.writer(file)
        rows.writerow(["left", "right", "same", "fold"])
        for person in range(20, 28):
            other = 20 + (person - 19) % 8
            rows.writerow([f"person{person}/0.png", f"person{person}/1.png", 1, person % 2])
            rows.writerow([f"person{person}/0.png", f"person{other}/1.png", 0, person % 2])
    workdir = tmp_path / "w"
    arguments = [
        f"--config.recognizer.variants=original,reconstruction,set:{rivals[0]},set:{rivals[1]}", "--config.audit.variants=reconstruction",
        "--config.audit.judges=recognizer:original", "--config.audit.attacks=fusion", "--config.mae.irm_weight=0",
        f"--config.verify.protocols.csv.faces={faces}", f"--config.verify.protocols.csv.pairs={tmp_path / 'own.csv'}",
    ]  # fmt: skip
    code, _, err = enter("import-faces", workdir, *arguments)
    assert code == 0, err
    names = open_face_set(next(workdir.glob("import-faces/verify-*/faces"))).identity_names
    groups = tmp_path / "groups.csv"
    groups.write_text(
        "identity,group\n" + "".join(f"{name},{'odd' if n % 2 else 'even'}\n" for n, name in enumerate(names))
    )
    code, told, err = enter("run", workdir, *arguments, f"--config.verify.groups={groups}")
    assert code == 0, err
    trained = sorted(path.name.rpartition("-")[0] for path in (workdir / "train-recognizer").iterdir())
    assert trained == ["original", "reconstruction", "rival", "rival-2"]
    result = json.loads(next(workdir.glob("verify-*/verify.json")).read_text())
    variants = ["original", "reconstruction", "rival", "rival-2"]
    assert [row["name"] for row in result["rows"]] == variants
    assert result["protocols"]["csv"]["protocol"]["count"] == 16 and set(result["gap_to_real"]) == set(variants[1:])
    assert list(result["groups"][0]["groups"]) == ["even", "odd"]
    assert "every protocol" in told and "accuracy within groups" in told
    page = next(workdir.glob("report-*/report.html")).read_text()
    words = re.sub(r"base64,[^\"]*", "", page)
    assert "Utility on every protocol" in words and "rival-2" in words and "Accuracy within groups" in words
    assert not [place for place in (str(tmp_path), "hidden_place", "here/rival") if place in words]
    assert str(tmp_path) not in next(workdir.glob("verify-*/done.json")).read_text()
    code, told, err = enter("run", workdir, *arguments, f"--config.verify.groups={groups}")
    assert code == 0 and "started" not in told, err

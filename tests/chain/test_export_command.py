import pytest

from facemae_jax import __main__ as door
from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.types import Record


@pytest.fixture
def place(tmp_path):
    writer = FaceSetWriter(tmp_path / "faces" / "1.0.0", name="toy", image_size=8, identity_names=["ann", "bo"])
    writer.write_shard(0, [Record(b"\xff\xd8%d" % n, n % 2, f"{'ann bo'.split()[n % 2]}/{n}.jpg") for n in range(4)])
    writer.finish(4)
    return tmp_path


def test_the_last_line_says_what_is_where(place, capsys):
    assert door.main(["export-faces", str(place), "--to=folder", f"--out={place}/a"]) == 0
    told = capsys.readouterr()
    assert told.out == f"export-faces: {place}/a (folder; 4 images of 2 people, numbers for names and paths)\n"
    assert "warning: these are images of real people unless the set was rendered" in told.err
    assert (place / "a" / "1" / "1.jpg").read_bytes() == b"\xff\xd83"
    assert door.main(["export-faces", "--allow-names", str(place), "--to", "zip", "--out", f"{place}/b.zip"]) == 0
    assert "(zip; 4 images of 2 people, with names and paths)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "export-faces takes one face set, found 0"),
        (["a", "b"], "takes one face set, found 2"),
        (["a"], "--to is missing; choose one of folder, zip, recordio"),
        (["a", "--to=recordoi"], "--to=recordoi: no such form (did you mean recordio?)"),
        (["a", "--to=zip"], "--out is missing: name the file to make"),
        (["no-such", "--to=zip", "--out=x"], "no-such: no such folder"),
        (["a", "--config=configs/demo.py"], "--config: export-faces takes neither a config nor a workdir"),
        (["a", "--config.seed=1"], "--config.seed: export-faces takes neither"),
        (["a", "--allow-names=yes"], "--allow-names takes no value"),
        (["a", "--grid=x"], "--grid belongs to the verb sweep"),
    ],
)
def test_a_wrong_line_is_told_in_one_sentence(words, said, capsys):
    assert door.main(["export-faces", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.startswith("error: ") and told.count("\n") == 1


def test_flags_of_this_verb_alone(capsys):
    assert door.main(["run", "--to=zip", "--config=x", "--workdir=y"]) == 2
    assert "--to belongs to the verb export-faces" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert door.main(["export-faces", "--help"]) == 0
    told = capsys.readouterr().out
    for word in ("recordio", "webdataset", "lmdb", "--allow-names", "hides words, not faces", "--to=recordio"):
        assert word in told
    assert door.main(["--help"]) == 0
    assert "export-faces" in capsys.readouterr().out

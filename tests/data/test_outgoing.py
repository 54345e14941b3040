import pytest

from facemae_jax.data.face_set import FaceSetWriter, open_face_set
from facemae_jax.data.outgoing import OutgoingFaces
from facemae_jax.types import Record

RECORDS = [Record(b"i%d" % n, label, f"{'abcd'[label]}/{n}.jpg") for n, label in enumerate([1, 3, 1, 0, 3, 3])]


def written(folder, records=RECORDS, **more):
    writer = FaceSetWriter(folder / "1.0.0", name="toy", image_size=8, **more)
    writer.write_shard(0, records)
    return open_face_set(writer.finish(len(records)))


@pytest.fixture
def faces(tmp_path):
    return written(tmp_path, identity_names=["ann", "bo", "cy", "di"], num_labels=4)


def test_names_and_paths_stay_behind(faces):
    read = []
    out = OutgoingFaces(faces, read=lambda: read.append(1))
    assert [record.image for record in out] == [record.image for record in RECORDS]
    assert [record.label for record in out] == out.labels_n.tolist() == [1, 2, 1, 0, 2, 2]
    assert [out[n].key for n in range(6)] == out.keys() == ["1/0", "2/0", "1/1", "0/0", "2/1", "2/2"]
    assert out[-1].key == "2/2" and out.identity_names == ["0", "1", "2"] and out.identities == 3
    assert not out.names and not out.sealed and len(read) == 19
    for part in (lambda: out.subset([0]), out.relabelled):
        with pytest.raises(TypeError, match="would have the source's keys"):
            part()


def test_names_and_paths_go_along_where_they_may(faces):
    out = OutgoingFaces(faces, names=True)
    assert out.names and out.identity_names == ["ann", "bo", "di"]
    assert out.keys() == [record.key for record in RECORDS] == [record.key for record in out]


@pytest.mark.parametrize("names", [False, True])
def test_a_release_keeps_its_keys(tmp_path, names):
    records = [record._replace(key=f"{n:024x}") for n, record in enumerate(RECORDS)]
    out = OutgoingFaces(written(tmp_path, records, num_labels=12), names=names)
    assert out.sealed and not out.names and out.keys() == [record.key for record in records]
    assert out.identity_names == ["0", "1", "2"]


def test_one_key_that_is_a_path_hides_all(tmp_path):
    records = [record._replace(key=f"{n:024x}") for n, record in enumerate(RECORDS[:-1])] + [RECORDS[-1]]
    out = OutgoingFaces(written(tmp_path, records, num_labels=4))
    assert not out.sealed and out.keys()[0] == "1/0"


def test_numbers_have_equally_many_digits(tmp_path):
    records = [Record(b"x", n // 11, f"p{n:03d}") for n in range(121)]
    out = OutgoingFaces(written(tmp_path, records))
    assert out.keys()[0] == "00/00" and out.keys()[-1] == "10/10" and sorted(out.keys()) == out.keys()

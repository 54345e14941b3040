import pytest

from facemae_jax.data.face_set import FaceSetWriter
from facemae_jax.data.formats.face_set_source import FaceSetSource
from facemae_jax.types import FacemaeError, Record

RECORDS = [Record(b"one", 1, "z/1"), Record(b"two", 0, "a/2"), Record(b"three", 1, "m/3")]


@pytest.mark.parametrize(("names", "whom"), [(["ada", "bo"], ["ada", "bo", "bo"]), (None, ["0", "1", "1"])])
def test_records_in_the_order_of_their_keys(tmp_path, names, whom):
    writer = FaceSetWriter(tmp_path / "1.0.0", name="toy", image_size=8, identity_names=names)
    writer.write_shard(0, RECORDS)
    source = FaceSetSource(writer.finish(3))
    assert source.keys == ["a/2", "m/3", "z/1"] and not source.ignored
    assert [source.read(i) for i in range(3)] == [b"two", b"three", b"one"]
    assert [source.identity(i) for i in range(3)] == whom
    assert source.where(0).endswith("1.0.0, record a/2")
    source.close()


def test_no_face_set(tmp_path):
    with pytest.raises(FacemaeError, match="no dataset_info.json"):
        FaceSetSource(tmp_path)

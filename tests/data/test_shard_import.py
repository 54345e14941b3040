import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from import_help import SIZE, Odd, fill

from facemae_jax.data.shard_import import Shard, Target, Wanted, import_shard, note_file
from facemae_jax.data.shard_writer import ShardWriter


def prepared(tmp_path, **wanted) -> tuple[Shard, Target]:
    """The last forty of fifty images, of which the first two are no images."""
    source = Odd(fill(tmp_path / "in", 50, n10=b"", n11=b"text"))
    (tmp_path / "out").mkdir()
    writer = ShardWriter(tmp_path / "out", tmp_path, 40, ("array_record",), None)
    shard = Shard(3, source.part(range(10, 50)), range(40), range(10, 50), list(range(40)))
    return shard, Target(writer, tmp_path / "out", Wanted(SIZE, **wanted))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_notes_and_counts_are_of_the_whole_source(tmp_path, threads):
    shard, target = prepared(tmp_path, on_bad_record="skip", threads=threads)
    counted = []
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            import_shard(shard, target, counted.append, pool)
    else:
        import_shard(shard, target, counted.append)
    note = json.loads(note_file(target.notes, 3).read_text())
    assert [position for position, _ in note["skipped"]] == [10, 11] and note["unchanged"] == 38
    assert sum(counted) == 40 and len(counted) == (3 if threads else 40)


def test_whoever_is_told_can_end_it(tmp_path):
    shard, target = prepared(tmp_path, on_bad_record="skip")

    def enough(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_shard(shard, target, enough)
    assert not list((tmp_path / "out").iterdir())

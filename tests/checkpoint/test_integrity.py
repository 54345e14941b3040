import json

import jax
import numpy as np
import pytest
from checkpoint_help import cut, delete, flip

from facemae_jax import processes
from facemae_jax.checkpoint import integrity


@pytest.fixture
def step(tmp_path):
    """The files of a checkpoint, and their sums."""
    directory = tmp_path / "7"
    (directory / "state" / "d").mkdir(parents=True)
    (directory / "state" / "d" / "arrays").write_bytes(bytes(range(256)) * 40)
    (directory / "state" / "manifest").write_text("123456789")
    (directory / "empty").write_bytes(b"")
    (directory / integrity.SUMS).write_text(json.dumps(integrity.sums(directory)))
    return directory


def test_sums_name_every_file_with_its_size(step):
    found = integrity.sums(step)
    assert {name: size for name, (size, _) in found.items()} == {
        "state/d/arrays": 256 * 40,
        "state/manifest": 9,
        "empty": 0,
    }
    # The published check value of CRC-32C: other programs find the same sums.
    assert found["empty"][1] == 0 and found["state/manifest"][1] == 0xE3069283


def test_markers_of_the_storage_layer_are_not_summed(step):
    before = integrity.sums(step)
    for name in ("commit_success.txt", "_CHECKPOINT_METADATA", integrity.SUMS):
        (step / name).write_text("written again after the sums")
    assert integrity.sums(step) == before


@pytest.mark.parametrize(
    ("harm", "said"),
    [(cut, "has 5120 bytes where 10240 were written"), (delete, "is missing"), (flip, "has other bytes")],
)
def test_damage_names_the_file_and_what_is_wrong(step, harm, said):
    assert integrity.damage(step) == ""
    harm(step)
    assert integrity.damage(step).startswith("state/d/arrays ") and said in integrity.damage(step)


def test_lost_or_damaged_sums_are_damage(step):
    (step / integrity.SUMS).write_text('{"empty": ')
    assert integrity.damage(step).startswith(integrity.SUMS)
    (step / integrity.SUMS).unlink()
    assert integrity.damage(step).startswith(integrity.SUMS)


def test_leaves_are_named_by_their_path():
    tree = {"params": {"encoder": {"kernel": 1}}, "steps": (2, 3)}
    assert integrity.named(tree) == [("params/encoder/kernel", 1), ("steps/0", 2), ("steps/1", 3)]


def test_the_digest_tells_names_shapes_and_types_apart():
    base = np.zeros(4, np.float32)
    trees = [{"a": base}, {"b": base}, {"a": base.reshape(2, 2)}, {"a": base.view(np.int32)}, {"a": base + 1}]
    assert len({integrity.digest_of(tree) for tree in trees}) == len(trees)


def test_the_digest_is_of_values_and_not_of_their_layout_in_memory():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    tree = {"a": values, "b": np.ones(2)}
    same = {"b": np.ones(2), "a": np.asfortranarray(values)}
    assert integrity.digest_of(same) == integrity.digest_of(tree)
    assert integrity.digest_of(tree | {"a": values.T.reshape(3, 4)}) != integrity.digest_of(tree)


def test_one_process_agrees_with_itself():
    assert jax.process_count() == 1
    assert processes.everywhere(True) and not processes.everywhere(False)
    processes.barrier("returns at once")

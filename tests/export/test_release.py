import hmac
import os
import stat
import subprocess
import sys

import jax
import numpy as np
import pytest

from facemae_jax.export import release
from facemae_jax.keys import image_keys, keys_for
from facemae_jax.models.masking import random_mask
from facemae_jax.types import FacemaeError

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
SOURCE = [f"Ada_{number // 4:02d}/{number:04d}.jpg" for number in range(200)]
PATCHES, VISIBLE = 196, 49


def masks(seeds_n2):
    """The visible patches of every record, as the painter draws them."""
    keys = jax.random.wrap_key_data(np.asarray(seeds_n2), impl="threefry2x32")
    return visible_of(keys)


def visible_of(keys):
    return {tuple(row) for row in np.asarray(random_mask(keys, patches=PATCHES, visible=VISIBLE).visible_BV).tolist()}


def parts(secret=SECRET, release_id="release-1"):
    key = release.release_key(secret, release_id)
    return (
        release.record_keys(key, SOURCE),
        release.release_order(key, SOURCE),
        release.label_map(key, 50),
        release.mask_seeds(key, SOURCE),
    )


def test_everything_is_hmac_sha256_of_secret_and_release_id():
    """Written out by hand: what was released must come out the same in every later version."""

    def mac(key, text):
        return hmac.new(key, text, "sha256").digest()

    key = mac(SECRET, b"release\0release-1")
    source = SOURCE[7].encode()
    keys, order, labels, seeds = parts()
    assert release.release_key(SECRET, "release-1") == key
    assert keys[7] == mac(key, b"key\0" + source).hex()[:24]
    assert seeds[7].tolist() == np.frombuffer(mac(key, b"mask\0" + source)[:8], "<u4").tolist()
    assert order.tolist() == sorted(range(200), key=lambda n: mac(key, b"order\0" + SOURCE[n].encode()))
    by_mark = sorted(range(50), key=lambda label: mac(key, b"label\0" + str(label).encode()))
    assert [int(labels[label]) for label in by_mark] == list(range(50))


def test_shapes_kinds_and_permutations():
    keys, order, labels, seeds = parts()
    assert all(len(key) == 24 and set(key) <= set("0123456789abcdef") for key in keys) and len(set(keys)) == 200
    assert sorted(order.tolist()) == list(range(200)) and order.dtype == np.int64
    assert sorted(labels.tolist()) == list(range(50)) and labels.dtype == np.int64
    assert seeds.shape == (200, 2) and seeds.dtype == np.uint32 and len(np.unique(seeds, axis=0)) == 200
    key = release.release_key(SECRET, "x")
    assert release.record_keys(key, []) == [] and release.mask_seeds(key, []).shape == (0, 2)
    assert len(release.release_order(key, [])) == len(release.label_map(key, 0)) == 0


def test_the_same_secret_and_id_give_the_same_release():
    for one, two in zip(parts(), parts(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("other", [dict(release_id="release-2"), dict(secret=OTHER)])
def test_another_id_or_secret_shares_nothing(other):
    (keys, order, labels, seeds), (keys_2, order_2, labels_2, seeds_2) = parts(), parts(**other)
    assert not set(keys) & set(keys_2)
    # Two random permutations agree in one place on average; more than five has a chance of one in a thousand.
    assert (order == order_2).sum() <= 5 and (labels == labels_2).sum() <= 5
    assert not masks(seeds) & masks(seeds_2)
    # Not even who stands beside whom: neighbours in one order are no neighbours in the other.
    beside = [{frozenset(pair) for pair in zip(o, o[1:], strict=False)} for o in (order.tolist(), order_2.tolist())]
    assert len(beside[0] & beside[1]) <= 10  # two expected


def test_what_a_record_gets_does_not_depend_on_the_others():
    key = release.release_key(SECRET, "release-1")
    keys, seeds = release.record_keys(key, SOURCE), release.mask_seeds(key, SOURCE)
    assert release.record_keys(key, SOURCE[150:100:-1]) == keys[150:100:-1]
    np.testing.assert_array_equal(release.mask_seeds(key, SOURCE[9:10]), seeds[9:10])
    order = release.release_order(key, SOURCE)
    reversed_order = release.release_order(key, SOURCE[::-1])
    assert [SOURCE[n] for n in order] == [SOURCE[::-1][n] for n in reversed_order]


def test_kinds_of_derived_values_do_not_share_their_bits():
    """Whoever reads a key in the release learns nothing of the mask of that record."""
    key = release.release_key(SECRET, "release-1")
    shown = release.record_keys(key, SOURCE)
    seeds = release.mask_seeds(key, SOURCE).astype("<u4")
    assert not any(row.tobytes().hex() in text for row, text in zip(seeds, shown, strict=True))
    assert release.sealed(SECRET, "release-1") != release.release_key(SECRET, "release-1").hex()[:16]


def test_no_seed_of_a_config_reproduces_a_mask():
    """What somebody with the config, the code and the source keys, but without the secret, would try."""
    released = masks(parts()[3])
    assert len(released) == 200
    for seed in range(3):
        root = jax.random.key(seed)
        assert not released & visible_of(jax.random.split(root, 200))
        assert not released & visible_of(image_keys(root, 200))
        for step in range(3):
            assert not released & visible_of(image_keys(keys_for(seed, step, ("mask",))["mask"], 200))
    for guessed in (b"", bytes(32), b"release-1"):
        assert not released & masks(parts(secret=guessed)[3])


def test_two_records_of_one_key_are_refused():
    key = release.release_key(SECRET, "release-1")
    with pytest.raises(FacemaeError, match="same key: import the faces again"):
        release.record_keys(key, [*SOURCE, SOURCE[3]])


def test_sealed_tells_only_the_holder_of_the_secret():
    one = release.sealed(SECRET, "reconstruct-0123abcd")
    assert len(one) == 16 and int(one, 16) >= 0 and one == release.sealed(SECRET, "reconstruct-0123abcd")
    assert (
        len({one, release.sealed(OTHER, "reconstruct-0123abcd"), release.sealed(SECRET, "reconstruct-0123abce")}) == 3
    )


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "private" / "secret"
    old = os.umask(0)  # as open as a system may be
    try:
        secret = release.read_or_make_secret(path)
    finally:
        os.umask(old)
    assert len(secret) == 32 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    written = path.stat().st_mtime_ns
    assert release.read_or_make_secret(path) == secret == path.read_bytes() and path.stat().st_mtime_ns == written
    assert [file.name for file in path.parent.iterdir()] == ["secret"]
    assert release.read_or_make_secret(tmp_path / "another" / "secret") != secret


def test_two_processes_that_make_a_secret_get_the_same(tmp_path):
    code = "import sys; from facemae_jax.export.release import *; print(read_or_make_secret(Path(sys.argv[1])).hex())"
    command = [sys.executable, "-c", code, str(tmp_path / "secret")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate()[0].strip() for process in started}
    assert told == {(tmp_path / "secret").read_bytes().hex()}


def test_a_secret_made_meanwhile_is_kept(tmp_path, monkeypatch):
    """The other process wins between the look and the link."""
    link = os.link

    def late(source, target):
        target.write_bytes(OTHER)
        target.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(release.os, "link", late)
    assert release.read_or_make_secret(tmp_path / "secret") == OTHER
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_secret_that_others_may_open_is_refused(tmp_path, mode):
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(FacemaeError, match="can be read by others: run `chmod 600"):
        release.read_or_make_secret(tmp_path / "secret")


@pytest.mark.parametrize("content", [b"", SECRET[:31], SECRET + b"\n", SECRET.hex().encode()])
def test_a_secret_of_another_length_is_refused_and_not_replaced(tmp_path, content):
    (tmp_path / "secret").write_bytes(content)
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(FacemaeError, match=f"holds {len(content)} bytes, a secret has 32"):
        release.read_or_make_secret(tmp_path / "secret")
    assert (tmp_path / "secret").read_bytes() == content


def test_contributors_are_the_same_people_for_all_images_of_one_and_follow_from_the_key():
    labels_n = np.random.default_rng(0).integers(0, 9, 200)
    labels_n[:9] = np.arange(9)
    keys = [f"{n}" for n in range(200)]
    mixed_nM = release.contributors(release.release_key(bytes(32), "one"), labels_n, keys, 3)
    np.testing.assert_array_equal(mixed_nM[:, 0], np.arange(200))
    people = {tuple(row) for row in labels_n[mixed_nM].tolist()}
    assert len(people) == 9 and all(len(set(row)) == 3 for row in people)
    assert len({frozenset(row) for row in people}) == 9  # no two have the same people behind them
    assert all(sorted(row[place] for row in people) == list(range(9)) for place in range(3))
    assert len({*mixed_nM[labels_n == 0, 1].tolist()}) > 5  # other images of that person for other images of this one
    other_nM = release.contributors(release.release_key(bytes(32), "two"), labels_n, keys, 3)
    assert {tuple(row) for row in labels_n[other_nM].tolist()} != people
    np.testing.assert_array_equal(release.contributors(b"any", labels_n, keys, 1), np.arange(200)[:, None])


def test_as_many_people_as_are_mixed_are_too_few():
    with pytest.raises(FacemaeError, match="reconstruct.people=2: of 2 people"):
        release.contributors(bytes(32), np.array([0, 1, 1]), ["a", "b", "c"], 2)

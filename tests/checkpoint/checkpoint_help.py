"""What the tests of this folder share: comparing trees exactly, and harming the largest file of a directory."""

import jax
import numpy as np


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def largest_file(step):
    return max((path for path in step.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def cut(step):
    path = largest_file(step)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.name


def delete(step):
    path = largest_file(step)
    path.unlink()
    return path.name


def flip(step):
    path = largest_file(step)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name

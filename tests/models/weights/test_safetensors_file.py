import json

import ml_dtypes
import numpy as np
import pytest

from facemae_jax.models.weights.safetensors_file import read_safetensors, write_safetensors
from facemae_jax.types import FacemaeError


def by_hand(path, header, content):
    """A file as the published form says."""
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(dtype, shape, begin, end):
    return dict(dtype=dtype, shape=shape, data_offsets=[begin, end])


def test_a_file_made_by_hand_is_read(tmp_path):
    half, brain = np.array([1.5, -2], np.float16), np.array([[0.5]], ml_dtypes.bfloat16)
    header = {
        "__metadata__": {"format": "pt"}, "b": entry("F16", [2], 12, 16), "a": entry("F32", [3, 1], 0, 12),
        "c": entry("BF16", [1, 1], 16, 18), "d": entry("I64", [], 18, 26), "e": entry("F32", [0, 2], 26, 26),
    }  # fmt: skip
    content = np.arange(3, dtype="<f4").tobytes() + half.tobytes() + brain.tobytes() + np.int64(7).tobytes()
    found = read_safetensors(by_hand(tmp_path / "x", header, content))
    assert found.keys() == {"a", "b", "c", "d", "e"}
    np.testing.assert_array_equal(found["a"], [[0], [1], [2]])
    np.testing.assert_array_equal(found["b"], half)
    assert found["c"].dtype == ml_dtypes.bfloat16 and found["c"].astype(np.float32) == 0.5
    assert found["d"].shape == () and found["d"] == 7 and found["e"].shape == (0, 2)


def test_a_round_trip_keeps_all(tmp_path):
    arrays = dict(
        odd=np.array([True, False, True]), a=np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
        turned=np.arange(6, dtype=np.float64).reshape(2, 3).T, brain=np.ones(3, ml_dtypes.bfloat16), count=np.array(7, np.int64),
    )  # fmt: skip
    path = tmp_path / "x.safetensors"
    write_safetensors(path, arrays, {"format": "pt"})
    found = read_safetensors(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
    for told in header.values():  # every number lies where its type wants it
        width = {"F64": 8, "I64": 8, "F32": 4, "BF16": 2, "BOOL": 1}[told["dtype"]]
        assert told["data_offsets"][0] % width == 0
    assert [path.name] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ({"a": entry("F32", [2], 0, 12)}, "damaged or torn"),
        ({"a": entry("F32", [3], 4, 16)}, "damaged or torn"),
        ({"a": entry("F32", [3], 0, 12), "b": entry("F32", [3], 0, 12)}, "damaged or torn"),
        ({"a": entry("F32", [2], 0, 8)}, "damaged or torn"),
        ({"a": entry("F32", [4], 0, 16)}, "damaged or torn"),
        ({"a": entry("F32", [-3], 12, 0)}, "negative length"),
        ({"a": entry("Q4", [3], 0, 12)}, "Q4.*no part"),
        ({"a": {"dtype": "F32"}}, "data_offsets.*no part"),
        (["a"], "no safetensors file"),
        ({"a": 3}, "no safetensors file"),
    ],
)
def test_a_wrong_header_is_refused(tmp_path, header, match):
    with pytest.raises(FacemaeError, match=match):
        read_safetensors(by_hand(tmp_path / "x", header, np.arange(3, dtype="<f4").tobytes()))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x02}q\x00.", b"<html>404</html>", (2**60).to_bytes(8, "little") + b"{}", b"\x03" + 7 * b"\0" + b"abc"],
)
def test_another_file_is_told(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(FacemaeError, match="no safetensors file"):
        read_safetensors(tmp_path / "x")
    with pytest.raises(FacemaeError, match="no such file"):
        read_safetensors(tmp_path / "y")

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pth_help import Call, Outside, Raw, dumped, row_file, tensor, zip_file

from facemae_jax.models.weights.pth_file import read_pth
from facemae_jax.types import FacemaeError

GOLDEN = Path(__file__).parent / "golden"
SIX = np.arange(6, dtype="<f4").tobytes()
TURNED = np.arange(12).reshape(3, 4).T


@pytest.mark.parametrize("file", ["zip.pth", "row.pth"])
def test_a_file_of_torch_is_read_without_it(file):
    found = read_pth(GOLDEN / file)
    assert list(found) == ["weight", "turned", "part", "half", "brain", "count"]
    for name, wanted in dict(
        weight=np.arange(6).reshape(2, 3), turned=TURNED, part=np.arange(4, 8), half=[0.5, -2], brain=[0.5, -2], count=7
    ).items():
        assert found[name].shape == np.shape(wanted), name
        np.testing.assert_array_equal(found[name].astype(np.float32), np.asarray(wanted, np.float32))
    kinds = ["float32", "float32", "float32", "float16", "bfloat16", "int64"]
    assert [str(array.dtype) for array in found.values()] == kinds


@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: {"state_dict": d}, lambda d: {"model": {"state_dict": d}, "epoch": 3}]
)
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_wrappers_and_prefixes_are_taken_away(tmp_path, wrap, prefix):
    saved = wrap(
        {f"{prefix}a.weight": tensor(), f"{prefix}b": tensor(rebuild="_rebuild_tensor", shape=(6,), strides=(1,))}
    )
    found = read_pth(zip_file(tmp_path / "x.pth", dumped(saved), {"0": SIX}))
    assert {name: array.shape for name, array in found.items()} == {"a.weight": (2, 3), "b": (6,)}


def test_what_a_pickle_remembers_is_found_again(tmp_path):
    """As protocol 4 does it: numbered in order, no number said."""
    code = b"}\x94U\x05model\x94}\x94U\x01a\x940h\x03" + dumped(tensor())[2:-1] + b"ss."
    assert list(read_pth(zip_file(tmp_path / "x.pth", b"\x80\x04" + code, {"0": SIX}))) == ["a"]


def touch(tmp_path):
    """A command whose running would be seen."""
    return f"touch {tmp_path / 'ran'}"


class Reduced:
    """What Python's own pickler makes of an object that wants to run something."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def payloads(command):
    """Name told, object."""
    named = Call("os", "system", (command,))
    return {
        "os.system": {"a": tensor(), "b": named},
        "posix.system": Raw(pickle.dumps({"model": Reduced(command)}, 2)[2:-1]),
        "builtins.eval": {"a": Call("builtins", "eval", (f"__import__('os').system({command!r})",))},
        "builtins.getattr": {"a": Call("builtins", "getattr", (Call("os", "path"), "os"))},
        "torch.load": {"a": Call("torch", "load", ("other.pth",))},
        "subprocess.Popen": Raw(
            b"}U\x01aX\x0a\x00\x00\x00subprocessX\x05\x00\x00\x00Popen\x93" + b"U\x02ls\x85R" + b"s"
        ),
        "numpy.load": {"a": tensor()._replace(arguments=(Call("numpy", "load"), 0, (1,), (1,)))},
        "INST": Raw(b"(U\x04true" + b"ios\nsystem\n"),
        "OBJ": Raw(b"(ctorch\nSize\nU\x04trueo"),
        "EXT1": Raw(b"\x82\x01"),
        "torch.FloatStorage": {"a": Call("torch", "FloatStorage", ())},
        "a str": Raw(b"U\x04true)R"),
    }


@pytest.mark.parametrize("name", payloads(""))
@pytest.mark.parametrize("container", [zip_file, row_file])
def test_a_malicious_pickle_is_refused_by_name_and_runs_nothing(tmp_path, name, container):
    path = container(tmp_path / "x.pth", dumped(payloads(touch(tmp_path))[name]), {"0": SIX})
    with pytest.raises(FacemaeError, match=rf"x\.pth (names|calls|holds the pickle instruction) {name}\b.*not read"):
        read_pth(path)
    assert not (tmp_path / "ran").exists()


def test_the_payload_would_run_in_an_ordinary_reader(tmp_path):
    pickle.loads(dumped(Call("os", "system", (touch(tmp_path),))))
    assert (tmp_path / "ran").exists()


def test_attributes_reach_no_function_of_ours(tmp_path):
    changed = Call("torch._utils", "_rebuild_tensor_v2")
    code = dumped({"a": Raw(dumped(changed)[2:-1] + b"N}U\x0c__defaults__)s\x86b")})
    with pytest.raises(FacemaeError, match="damaged.*attributes"):
        read_pth(zip_file(tmp_path / "x.pth", code, {}))


def test_what_a_training_run_leaves_beside_its_weights_is_kept_out(tmp_path):
    namespace = Raw(b"cargparse\nNamespace\n)\x81}U\x02lrK\x01sb")
    scalar = Call(
        "numpy.core.multiarray",
        "scalar",
        (Call("numpy", "dtype", ("f8", 0, 1)), Call("_codecs", "encode", ("", "latin1"))),
    )
    saved = {
        "model": {"a": tensor(), "steps": 3},
        "args": namespace,
        "best": scalar,
        "seen": Call("__builtin__", "set", ()),
    }
    found = read_pth(zip_file(tmp_path / "x.pth", dumped(saved), {"0": SIX}))
    assert list(found) == ["a"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(offset=1), "outside of storage 0"),
        (dict(offset=-1), "outside of storage 0"),
        (dict(strides=(3, -1)), "outside of storage 0"),
        (dict(shape=(10**12,), strides=(0,)), "outside of storage 0"),
        (dict(length=7, shape=(7,), strides=(1,)), "has 6 numbers where 7"),
        (dict(key="1"), "damaged"),
        (dict(kind="QuantStorage"), "names torch.QuantStorage"),
    ],
)
def test_a_tensor_outside_of_its_numbers_is_refused(tmp_path, change, match):
    with pytest.raises(FacemaeError, match=match):
        read_pth(zip_file(tmp_path / "x.pth", dumped({"a": tensor(**change)}), {"0": SIX}))


def test_other_files_are_told(tmp_path):
    def told(path):
        with pytest.raises(FacemaeError) as error:
            read_pth(path)
        return str(error.value)

    path, whole = tmp_path / "x.pth", dumped({"a": tensor()})
    assert "no such file" in told(path)
    path.write_bytes(b"<html>not found</html>")
    assert "not a file of PyTorch" in told(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    assert "not a file of PyTorch" in told(path)
    assert "TorchScript" in told(zip_file(path, whole, {"0": SIX}, **{"constants.pkl": b""}))
    assert "big-endian" in told(zip_file(path, whole, {"0": SIX}, byteorder=b"big"))
    assert "big-endian" in told(row_file(path, whole, {"0": SIX}, machine={"little_endian": False}))
    assert "compressed" in told(zip_file(path, whole, {"0": SIX}, zipfile.ZIP_DEFLATED))
    assert "no weights by name, but a dictionary of epoch" in told(zip_file(path, dumped({"epoch": 3}), {}))
    assert "no weights by name, but a list" in told(zip_file(path, dumped([1]), {}))
    assert "no weights" in told(
        zip_file(path, dumped({"model": Raw(b"}q\x07U\x05modelh\x07s")}), {})
    )  # it holds itself
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("faces/a.jpg", b"")
    assert "no data.pkl" in told(path)


@pytest.mark.parametrize("file", ["zip.pth", "row.pth"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9, 0.99])
def test_a_torn_file_is_told(tmp_path, file, share):
    whole = (GOLDEN / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FacemaeError, match="damaged|not a file of PyTorch|ends too early"):
        read_pth(tmp_path / file)


def test_a_flipped_byte_in_the_zip_is_told(tmp_path):
    whole = bytearray((GOLDEN / "zip.pth").read_bytes())
    at = whole.index(np.arange(6, dtype="<f4").tobytes())
    whole[at] ^= 1
    (tmp_path / "x.pth").write_bytes(whole)
    with pytest.raises(FacemaeError, match="damaged"):
        read_pth(tmp_path / "x.pth")


def test_a_storage_of_the_older_form_is_measured_by_its_type(tmp_path):
    doubles = np.arange(3, dtype="<f8").tobytes()
    saved = {"a": tensor("7", length=3, shape=(3,), strides=(1,), kind="DoubleStorage"), "b": tensor("3")}
    path = tmp_path / "x.pth"
    row_file(path, dumped(saved), {"7": doubles}, size=8)
    with path.open("r+b") as file:  # the second storage, whose place follows from the first one's type
        content = file.read().replace(pickle.dumps(["7"], 2), pickle.dumps(["7", "3"], 2))
        file.seek(0)
        file.write(content + (6).to_bytes(8, "little") + SIX)
    found = read_pth(path)
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    np.testing.assert_array_equal(found["b"].ravel(), np.arange(6))


def test_storages_without_names_are_refused(tmp_path):
    path = row_file(tmp_path / "x.pth", dumped({"a": tensor()}), {"0": SIX})
    for keys in (b"N", b"](]" + b"2a" * 60 + b"e"):
        whole = path.read_bytes().replace(pickle.dumps(["0"], 2), b"\x80\x02" + keys + b".")
        (tmp_path / "y.pth").write_bytes(whole)
        with pytest.raises(FacemaeError, match=r"y\.pth is damaged \(its storages have no names\)"):
            read_pth(tmp_path / "y.pth")


def test_a_thing_outside_that_is_no_storage_is_refused(tmp_path):
    for given in (("module", "x"), ("storage", Call("torch", "float32"), "0", "cpu", 6)):
        with pytest.raises(FacemaeError, match="damaged"):
            read_pth(zip_file(tmp_path / "x.pth", dumped({"a": Outside(given)}), {"0": SIX}))
